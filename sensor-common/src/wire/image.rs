//! One live process, as the task iterator shows it.

use super::Running;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The header's time is when it was looked at.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Image {
    /// What is executed.
    pub running: Running,
}

impl Image {
    /// Bit of the header's flags: some thread of it still lives.
    pub const ALIVE: u16 = 1;
    /// None lives, and the last one is still on its way to where its end is told.
    pub const ENDING: u16 = 2;
}
