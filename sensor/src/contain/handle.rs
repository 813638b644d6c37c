//! One process and no other: its descriptor (`pidfd_open(2)`), and whether it is the one that began then.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::{event::Key, procfs::Reader};

/// How exactly /proc tells when a process began: in ticks.
pub(super) const TICK_NS: u64 = 10_000_000;

/// A process, held by its descriptor: signals reach it, or nobody.
pub(super) struct Handle(OwnedFd);

impl Handle {
    /// Of the process that began then; none when it is gone.
    pub(super) fn open(reader: &Reader, key: Key) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(key.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => Self(descriptor),
            // A thread that isn't a process has none (EINVAL): the number belongs to another by now.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        // Whoever the descriptor is of still had the number when it was looked at, if it lives after that.
        let is_it = reader.seen(key.pid).is_some_and(|seen| is_same(seen.start, key.start));
        Ok(Some(handle).filter(|handle| is_it && !handle.ended()))
    }

    /// Whether no thread of it lives any more; who waits to be reaped has ended.
    pub(super) fn ended(&self) -> bool {
        let mut asked = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Sends it a signal; it may have ended.
    pub(super) fn send(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Sends a signal to the process that began then, if it lives.
pub(super) fn send(reader: &Reader, key: Key, signal: Signal) -> io::Result<()> {
    Handle::open(reader, key)?.map_or(Ok(()), |handle| handle.send(signal))
}

/// Whether the process that began then lives. What can't be asked is taken for alive.
pub(super) fn lives(reader: &Reader, key: Key) -> bool {
    Handle::open(reader, key).map_or(true, |handle| handle.is_some())
}

/// Whether two times are of one start: one of them may be told in ticks.
pub(super) fn is_same(one: u64, other: u64) -> bool {
    one / TICK_NS == other / TICK_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pid: u32) -> Key {
        Key { pid, start: Reader::new("/proc".into()).seen(pid).unwrap().start }
    }

    #[test]
    fn another_start_is_another_process() {
        let reader = Reader::new("/proc".into());
        let own = key(std::process::id());
        assert!(lives(&reader, own));
        assert!(!lives(&reader, Key { start: own.start + TICK_NS, ..own }));
        assert!(!lives(&reader, Key { pid: u32::MAX, start: 0 }));
    }

    #[test]
    fn who_waits_to_be_reaped_has_ended() {
        let reader = Reader::new("/proc".into());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let key = key(child.id());
        assert!(lives(&reader, key));
        send(&reader, key, Signal::KILL).unwrap();
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        poll(&mut [PollFd::new(handle.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        assert!(!lives(&reader, key), "it isn't reaped yet");
        child.wait().unwrap();
    }
}
