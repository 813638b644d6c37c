//! The whole process ends.

use super::Running;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Totals are those of the whole life of the process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Exit {
    /// What was executed, where the kernel still held it.
    pub running: Running,
    /// I/O of the last thread, and of those on their way out with it that are in no other sum.
    pub io: Io,
    /// CPU time, nanoseconds.
    pub cpu: u64,
    /// Largest resident size, pages.
    pub max_rss: u64,
    /// As `wait(2)` gives it: signal in the low 7 bits, 0x80 for a core dump, code in the next byte.
    pub status: u32,
    /// Zero.
    pub reserved: u32,
}

impl Exit {
    /// Bit of the header's flags: threads of it ended before, and their I/O is in a map.
    pub const THREADS: u16 = 1;
}

/// The process, and the processor on which threads of it ended: so no two write one sum at once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ended {
    /// When the process began, nanoseconds since boot.
    pub start: u64,
    /// Its process id.
    pub pid: u32,
    /// The processor; `ANY` says that there are others of this process.
    pub cpu: u32,
}

impl Ended {
    /// The key that is there when another of the process is.
    pub const ANY: u32 = u32::MAX;
}

/// The kernel's `struct task_io_accounting`, same order (`include/linux/task_io_accounting.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Io {
    /// Bytes asked for by read calls.
    pub rchar: u64,
    /// Bytes given to write calls.
    pub wchar: u64,
    /// Read calls.
    pub syscr: u64,
    /// Write calls.
    pub syscw: u64,
    /// Bytes fetched from storage.
    pub read_bytes: u64,
    /// Bytes sent to storage.
    pub write_bytes: u64,
    /// Bytes that were to be written and were truncated away before.
    pub cancelled_write_bytes: u64,
}
