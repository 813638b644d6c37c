//! A hint from the kernel that a running executable may have lost its name; `exe_deleted` comes of it.

use sensor_common::wire;

use super::{Running, Tail};

pub use sensor_common::wire::name::hash;

/// Who called what, and why it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The caller's own image after the call.
    pub running: Running,
    /// What was called.
    pub call: Call,
    /// The caller's own image has no name any more.
    pub own: bool,
    /// Hash of the last component of the path that went, if something running has that name.
    pub old: Option<u32>,
    /// Hash of the last component of the path that was replaced, likewise.
    pub new: Option<u32>,
    /// It is told before it is carried out.
    pub ahead: bool,
}

/// A family of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `unlink(2)`, `unlinkat(2)`.
    Unlink,
    /// `rename(2)`, `renameat(2)`, `renameat2(2)`.
    Rename,
}

pub(super) fn decode(body: &wire::name::Name, _: &Tail<'_>, _: u16) -> Name {
    use wire::name::Name as Bits;
    let has = |bit| body.flags & bit != 0;
    Name {
        running: body.running,
        call: if has(Bits::RENAME) { Call::Rename } else { Call::Unlink },
        own: has(Bits::OWN),
        old: has(Bits::OLD).then_some(body.old),
        new: has(Bits::NEW).then_some(body.new),
        ahead: has(Bits::URING),
    }
}
