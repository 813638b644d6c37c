//! A hint that a running executable may have lost its name, with who did it.

use super::Running;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The actor is who made the call.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Name {
    /// The actor's own image after the call.
    pub running: Running,
    /// The very file that lost this name, as it is now, where the hook knows; else the inode is 0.
    pub lost: Running,
    /// Bits: what was called and why it is told.
    pub flags: u32,
    /// Hash of the last component of the path that goes, as it was given; see `hash`.
    pub old: u32,
    /// Hash of the last component of the path that is made, for a rename.
    pub new: u32,
    /// Hash of the component before the last of the path that goes; `HASH_START` when it has none.
    pub old_parent: u32,
    /// The same of the path that is made.
    pub new_parent: u32,
    /// Zero.
    pub reserved: u32,
}

/// The hash by which names are matched: FNV-1a, 32 bits.
#[must_use]
pub fn hash(name: &[u8]) -> u32 {
    name.iter().fold(HASH_START, |hash, byte| hash_step(hash, *byte))
}

/// Before the first byte of a name.
pub const HASH_START: u32 = 0x811c_9dc5;

/// One byte more.
#[inline(always)]
#[must_use]
pub fn hash_step(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}

impl Name {
    /// `unlink`, `unlinkat`.
    pub const UNLINK: u32 = 1;
    /// `rename`, `renameat`, `renameat2`.
    pub const RENAME: u32 = 2;
    /// The name that goes is that of something running.
    pub const OLD: u32 = 4;
    /// The name that is replaced is that of something running.
    pub const NEW: u32 = 8;
    /// The actor's own image has no name any more.
    pub const OWN: u32 = 16;
    /// By io_uring, told before it is carried out.
    pub const URING: u32 = 32;
}
