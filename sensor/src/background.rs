//! Threads that nobody waits for. Where the host has none to give, as in a flood of processes, that is an error; the library's own
//! way to begin one is a panic then.

use std::{io, thread};

/// Begins one. What it would have done is dropped when there is none.
///
/// # Errors
/// When the kernel gives no thread.
pub fn begin(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let failed = |error| io::Error::other(format!("starting a thread: {error}"));
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(failed)
}
