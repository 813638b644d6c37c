//! What one live thread used, as the task iterator shows it.

use super::exit::Io;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The header's time is when it was looked at. Only of a process's first thread the actor is told.
///
/// CPU time of a process is what its ended threads used, as the first of its records has it, and what each
/// of its records has. Its I/O is that of its records and what stands in the map of ended threads, which was
/// read before: the kernel's own sum holds that of reaped children too.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Usage {
    /// I/O of this thread.
    pub io: Io,
    /// CPU time of this thread, nanoseconds.
    pub cpu: u64,
    /// CPU time of the process's threads that ended, nanoseconds.
    pub ended_cpu: u64,
}

impl Usage {
    /// Bit of the header's flags: the actor is told.
    pub const ACTOR: u16 = 1;
    /// Bit of the header's flags: the CPU time of this thread is among that of those that ended.
    pub const ENDED: u16 = 2;
    /// Bit of the header's flags: this thread is ending, and its I/O may be among that of those that ended.
    pub const ENDING: u16 = 4;
}
