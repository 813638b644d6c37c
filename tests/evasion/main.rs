//! Tricks to get around the sensor: each is tried, and must be told in full, or be a stated limit.
//!
//! The table of all of them is in `tricks.rs`; `README.md` is made from it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that can't go on fails the test, there is nobody else to tell"
)]

mod arguments;
mod bounds;
mod index;
mod lost;
mod net;
mod processes;
mod sources;
mod tricks;
mod where_it_is;
