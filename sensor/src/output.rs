//! Bytes to somewhere: one file an output.

pub mod elasticsearch;
mod far;
pub mod file;
pub mod hec;
pub mod kafka;
pub mod otlp;
mod over_http;
pub mod post;
mod split;
pub mod standard;
pub mod stdout;
pub mod syslog;
mod tee;

use std::io;

use crate::record::Record;

pub use far::{Clock, Far, FarError, Fate, Load, Parcel};
use over_http::{ByHttp, Courier, Said, Sort, Who};
use split::{Sent, bring, fitting, short};
pub use tee::Tee;

/// A place to which events go, one line each.
pub trait Output: Send {
    /// Takes an event: its record, and that as one whole line with its end. It may wait here for the next flush.
    ///
    /// # Errors
    /// [`Fault::Closed`] once nobody will ever read again: nothing more will be delivered.
    fn write(&mut self, record: &Record, line: &[u8]) -> Result<Taken, OutputError>;

    /// Gives on all that waits. To be called again after an error that is not final: what waits is
    /// kept for it.
    ///
    /// # Errors
    /// What keeps the lines from going, and how many wait.
    fn flush(&mut self) -> Result<(), OutputError>;

    /// Waits, not for ever, until what another thread has to give on is out, or can't be. Nothing more comes.
    fn settle(&mut self) {}

    /// Nothing more comes: what waits is given up, and no part of it is left behind where that can be.
    fn end(&mut self);

    /// The stage at which what waits is lost when it is given up, as a `loss` event names it.
    fn stage(&self) -> &'static str {
        "output"
    }

    /// What became of all lines so far.
    fn counts(&self) -> Counts;
}

/// What an output did with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused line is a loss, to be told"]
pub enum Taken {
    /// It is given on or will be.
    Kept,
    /// It is dropped and counted: the output is stuck and has no more room to keep lines. At which stage and why, as a `loss` event
    /// tells it.
    Refused {
        /// The stage.
        stage: &'static str,
        /// The reason.
        reason: &'static str,
    },
}

/// What became of the lines given to an output; the sum is what was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that are out, whole.
    pub delivered: u64,
    /// Lines kept for the next flush, among them one that may be out in part. After a final fault
    /// they are lost.
    pub waiting: u64,
    /// Lines dropped.
    pub refused: u64,
}

/// Why an output does not take bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody will ever read again (EPIPE, EBADF): final.
    Closed,
    /// There is no space (ENOSPC, EDQUOT, EFBIG): goes on when there is.
    Full,
    /// The reader is behind (EAGAIN): goes on when it has read.
    Busy,
    /// Something else; tried again at each flush.
    Failed,
}

impl Fault {
    /// What sort of fault the error is.
    pub fn of(error: &io::Error) -> Self {
        const EBADF: i32 = nix::errno::Errno::EBADF as i32;
        match error.kind() {
            _ if error.raw_os_error() == Some(EBADF) => Fault::Closed,
            io::ErrorKind::BrokenPipe => Fault::Closed,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Fault::Full
            }
            io::ErrorKind::WouldBlock => Fault::Busy,
            _ => Fault::Failed,
        }
    }

    /// What happened and what to do about it.
    fn advice(self) -> &'static str {
        match self {
            Fault::Closed => "the reader has closed it; start the sensor again with a reader that stays",
            Fault::Full => "there is no space; free some, and it goes on by itself",
            Fault::Busy => "the reader is behind; make it read faster, or write to a file",
            Fault::Failed => "it is tried again; see the cause",
        }
    }
}

/// Lines could not be given on.
#[derive(Debug, thiserror::Error)]
#[error("could not {attempted} ({undelivered} events not delivered): {}", fault.advice())]
pub struct OutputError {
    /// What was attempted, such as `write to standard output`.
    pub attempted: &'static str,
    /// Lines that are not out, whole or in part; kept for the next flush unless the fault is final.
    pub undelivered: u64,
    /// Why.
    pub fault: Fault,
    /// What the system said.
    pub source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn faults_are_told_apart() {
        let of = |errno: Errno| Fault::of(&errno.into());
        assert_eq!(of(Errno::EPIPE), Fault::Closed);
        assert_eq!(of(Errno::EBADF), Fault::Closed);
        assert_eq!(of(Errno::ENOSPC), Fault::Full);
        assert_eq!(of(Errno::EDQUOT), Fault::Full);
        assert_eq!(of(Errno::EFBIG), Fault::Full);
        assert_eq!(of(Errno::EAGAIN), Fault::Busy);
        assert_eq!(of(Errno::EIO), Fault::Failed);
    }

    #[test]
    fn an_error_says_what_to_do_and_carries_its_source() {
        let error = OutputError {
            attempted: "write to standard output",
            undelivered: 3,
            fault: Fault::Full,
            source: Errno::ENOSPC.into(),
        };
        assert_eq!(
            error.to_string(),
            "could not write to standard output (3 events not delivered): \
             there is no space; free some, and it goes on by itself"
        );
        assert!(std::error::Error::source(&error).is_some());
    }
}
