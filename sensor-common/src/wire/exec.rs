//! An image is committed.

use super::{Path, Running, Span};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The process is already the new one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Exec {
    /// What is executed.
    pub running: Running,
    /// Size of all arguments, bytes, each with its NUL.
    pub args_bytes: u64,
    /// Path of the image.
    pub executable: Path,
    /// Working directory.
    pub working_directory: Path,
    /// The file name that was given to the call; a script's when `SCRIPT` is set.
    pub filename: Span,
    /// Names of the cgroup from the leaf up, each ended by a NUL.
    pub cgroup: Span,
    /// Arguments, each ended by a NUL.
    pub args: Span,
    /// Bits: `SCRIPT`, `ARGS_UNREAD`.
    pub flags: u32,
    /// How many arguments there are, also those that are not here; 0 where unknown.
    pub args_count: u32,
    /// Zero.
    pub reserved: u32,
}

impl Exec {
    /// The image is the interpreter of a script.
    pub const SCRIPT: u32 = 1;
    /// The arguments couldn't be read in the program (a page was not there).
    pub const ARGS_UNREAD: u32 = 2;
}
