//! The sensor's output, read as it comes: what is waited for, and of everything else how old it was.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::super::failed;
use super::super::lab::Lab;
use super::super::lines::{action_and_executable, text_after, time};
use super::super::number::Sample;
use super::super::sensor::Sensor;
use crate::error::{Error, Result};

/// An event that isn't there by then does not come.
const DEADLINE: Duration = Duration::from_secs(5);
/// Events that wake nobody.
const BULK: [&[u8]; 3] = [b"fork", b"exec", b"exit"];
/// Events that are waited for.
const AWAITED: [&[u8]; 2] = [b"exec", b"exe_deleted"];

/// A line, and when it was there.
struct Arrival {
    action: String,
    /// `file.path`, else the executable of the process.
    path: PathBuf,
    pid: Option<i32>,
    at: Duration,
}

/// The sensor's output.
pub(super) struct Watch {
    arrivals: Receiver<Arrival>,
    bulk: Arc<Mutex<Sample>>,
}

/// What the reader looks for.
struct Wanted {
    /// Where the files lie of which lines are waited for.
    folder: Vec<u8>,
    arrivals: Sender<Arrival>,
    /// From the hook to the line, milliseconds.
    bulk: Arc<Mutex<Sample>>,
}

impl Watch {
    pub(super) fn of(sensor: &mut Sensor, folder: &Path) -> Result<Self> {
        let output =
            sensor.take_output().ok_or_else(|| Error::Check("the sensor has no output".to_owned()))?;
        let (sender, arrivals) = channel();
        let bulk = Arc::new(Mutex::new(Sample::default()));
        let folder = folder.as_os_str().as_encoded_bytes().to_owned();
        let wanted = Wanted { folder, arrivals: sender, bulk: Arc::clone(&bulk) };
        thread::spawn(move || wanted.read_all(output));
        Ok(Self { arrivals, bulk })
    }

    /// When the line of this event about this file came; nothing when it didn't.
    pub(super) fn wait(&self, action: &str, path: &Path, pid: Option<Pid>) -> Option<Duration> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let arrival = self.arrivals.recv_timeout(left).ok()?;
            let same = pid.is_none_or(|pid| arrival.pid == Some(pid.as_raw()));
            if same && arrival.action == action && arrival.path == path {
                return Some(arrival.at);
            }
        }
    }

    /// How old the events that wake nobody were when their lines came, since this was last asked: milliseconds.
    pub(super) fn bulk(&self) -> Sample {
        std::mem::take(&mut *self.bulk.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Wanted {
    /// Reads until the sensor ends, or nobody wants to know.
    fn read_all(&self, mut output: ChildStdout) {
        let (mut piece, mut rest) = (vec![0; 1 << 16], Vec::new());
        while let Ok(length @ 1..) = output.read(&mut piece) {
            let (Ok(at), Ok(clock)) = (now(), wall_clock()) else { return };
            rest.extend_from_slice(piece.get(..length).unwrap_or_default());
            let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let lines = rest.get(..whole).unwrap_or_default();
            if !lines.split_inclusive(|byte| *byte == b'\n').all(|line| self.take(line, at, clock)) {
                return;
            }
            rest.drain(..whole);
        }
    }

    /// False when nobody wants to know any more.
    fn take(&self, line: &[u8], at: Duration, clock: Duration) -> bool {
        let Some((action, _)) = text_after(line, b"\"action\":\"") else { return true };
        if BULK.contains(&action)
            && let Some(seen) = time(line)
        {
            self.bulk.lock().unwrap_or_else(PoisonError::into_inner).add(milliseconds(seen, clock));
        }
        // Most of a storm is looked into no further: who reads too slowly measures himself.
        if !AWAITED.contains(&action) {
            return true;
        }
        let arrival = arrival(line, &self.folder, at);
        arrival.is_none_or(|arrival| self.arrivals.send(arrival).is_ok())
    }
}

/// What a line tells, if it is about a file in the folder.
fn arrival(line: &[u8], folder: &[u8], at: Duration) -> Option<Arrival> {
    let (action, executable) = action_and_executable(line)?;
    let file = text_after(line, b"\"file\":{\"path\":\"").map(|(path, _)| path);
    let path = file.unwrap_or(executable);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let inside = path.starts_with(folder);
    inside.then(|| Arrival { action: text(action), path: text(path).into(), pid: pid(line), at })
}

/// Of the process; its own number comes first.
fn pid(line: &[u8]) -> Option<i32> {
    let key = b"\"process\":{\"pid\":";
    let start = line.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = line.get(start..)?.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// CLOCK_MONOTONIC, as the programs to measure with read it too.
pub(super) fn now() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).map_err(failed("read the clock"))
}

/// CLOCK_REALTIME, as events have it.
fn wall_clock() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_REALTIME).map(Duration::from).map_err(failed("read the clock"))
}

pub(super) fn milliseconds(from: Duration, to: Duration) -> f64 {
    // The line may be there before the call has returned to its caller.
    to.saturating_sub(from).as_secs_f64() * 1e3
}

/// The folder in which the files lie that are waited for; the load's lie elsewhere.
pub(super) fn folder(lab: &Lab) -> Result<PathBuf> {
    lab.empty("images")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_about_their_file() {
        let line = br#"{"event":{"action":"exe_deleted"},"process":{"pid":42,"executable":"/r"},"file":{"path":"/t/a"}}"#;
        let found = arrival(line, b"/t/", Duration::ZERO).unwrap();
        assert_eq!((found.action.as_str(), found.path.as_path()), ("exe_deleted", Path::new("/t/a")));
        assert_eq!(found.pid, Some(42));
        assert!(arrival(line, b"/u/", Duration::ZERO).is_none());
    }

    #[test]
    fn execs_are_about_their_executable() {
        let line = br#"{"event":{"action":"exec"},"process":{"pid":7,"executable":"/t/b"}}"#;
        let found = arrival(line, b"/t/", Duration::ZERO).unwrap();
        assert_eq!((found.path.as_path(), found.pid), (Path::new("/t/b"), Some(7)));
    }

    #[test]
    fn what_wakes_nobody_is_as_old_as_its_time_says() {
        let (arrivals, _receiver) = channel();
        let wanted = Wanted { folder: b"/t/".to_vec(), arrivals, bulk: Arc::default() };
        let line = br#"{"@timestamp":"1970-01-01T00:00:01.500000000Z","event":{"action":"fork"},"process":{"executable":"/b"}}"#;
        assert!(wanted.take(line, Duration::ZERO, Duration::from_millis(1512)));
        assert!((wanted.bulk.lock().unwrap().median() - 12.0).abs() < 1e-6);
    }
}
