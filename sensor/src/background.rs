//! Threads that nobody waits for. Where the host has none to give, as in a flood of processes, that is an error; the library's own
//! way to begin one is a panic then.

use std::{
    io::{self, Read},
    sync::mpsc::{self, Receiver},
    thread,
};

/// Begins one. What it would have done is dropped when there is none.
///
/// # Errors
/// When the kernel gives no thread.
pub fn begin(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let failed = |error| io::Error::other(format!("starting a thread: {error}"));
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(failed)
}

/// Reads what another program says, so many bytes at most. The answer can be given up; there is none without a thread.
pub fn read(
    name: &str,
    from: Option<impl Read + Send + 'static>,
    most: u64,
) -> Receiver<io::Result<Vec<u8>>> {
    let (answer, answers) = mpsc::channel();
    let work = move || {
        let mut bytes = Vec::new();
        let read = from.map_or(Ok(0), |from| from.take(most).read_to_end(&mut bytes));
        // Nobody waits any more when it comes too late.
        drop(answer.send(read.map(|_| bytes)));
    };
    // Who waits is told by the end of the channel.
    let _: io::Result<()> = begin(name, work);
    answers
}
