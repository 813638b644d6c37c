//! The hooks, one room a kind.

mod exec;
mod exit;
mod fork;
mod image;
mod name;
mod socket;
mod traffic;
mod usage;
