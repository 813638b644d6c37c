//! What one live thread used, as the task iterator shows it.

use super::exit::Io;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The header's time is when it was looked at. Only of a process's first thread the actor is told.
///
/// What a process used is what its ended threads did, as the first of its records has it, and what
/// each of its records has of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Usage {
    /// I/O of this thread.
    pub io: Io,
    /// CPU time of this thread, nanoseconds.
    pub cpu: u64,
    /// I/O of the process's threads that ended.
    pub ended_io: Io,
    /// CPU time of the process's threads that ended, nanoseconds.
    pub ended_cpu: u64,
}

impl Usage {
    /// Bit of the header's flags: the actor is told.
    pub const ACTOR: u16 = 1;
    /// Bit of the header's flags: this thread is counted among those that ended.
    pub const ENDED: u16 = 2;
}
