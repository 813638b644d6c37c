//! The hooks, one room a kind.

mod connect;
mod exec;
mod exit;
mod filter;
mod fork;
mod image;
mod mptcp;
mod name;
mod sctp;
mod socket;
mod traffic;
mod usage;
