//! A process is born.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The header and the actor are of the child.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Fork {
    /// Start time of the process that made the call, nanoseconds since boot; with `CLONE_PARENT` not the parent.
    pub creator_start: u64,
    /// Its pid.
    pub creator: u32,
    /// Zero.
    pub reserved: u32,
}
