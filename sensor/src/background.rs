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

/// What another program said.
#[derive(Debug, Default)]
pub struct Said {
    /// Its bytes, from the first on.
    pub bytes: Vec<u8>,
    /// It said more, which wasn't read.
    pub cut: bool,
}

/// Reads what another program says, so many bytes at most, for who can do without the rest. The answer can be given up; there is none
/// without a thread.
pub fn read(
    name: &str,
    from: Option<impl Read + Send + 'static>,
    most: u64,
) -> Receiver<io::Result<Vec<u8>>> {
    asked(name, move || said(from, most).map(|said| said.bytes))
}

/// The same, for who has to know whether that was all.
pub fn read_or_cut(
    name: &str,
    from: Option<impl Read + Send + 'static>,
    most: u64,
) -> Receiver<io::Result<Said>> {
    asked(name, move || said(from, most))
}

fn asked<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (answer, answers) = mpsc::channel();
    // Nobody waits any more when it comes too late, and who waits is told by the end of the channel that there is no thread.
    let _: io::Result<()> = begin(name, move || drop(answer.send(work())));
    answers
}

fn said(from: Option<impl Read>, most: u64) -> io::Result<Said> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // One byte more than is wanted says that there is more.
        from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let cut = bytes.len() > most;
    bytes.truncate(most);
    Ok(Said { bytes, cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_known_as_cut() {
        for (most, bytes, cut) in [(4, "abc", false), (3, "abc", false), (2, "ab", true), (0, "", true)] {
            let said = read_or_cut("test", Some(&b"abc"[..]), most).recv().unwrap().unwrap();
            assert_eq!((said.bytes.as_slice(), said.cut), (bytes.as_bytes(), cut), "{most}");
            assert_eq!(read("test", Some(&b"abc"[..]), most).recv().unwrap().unwrap(), bytes.as_bytes());
        }
        assert!(!read_or_cut("test", None::<io::Empty>, 1).recv().unwrap().unwrap().cut);
    }
}
