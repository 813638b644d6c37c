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
    /// It was the caller's own image that lost its name.
    pub own: bool,
    /// The path that went, if something running has its last component as a name.
    pub old: Option<Named>,
    /// The path that was replaced, likewise.
    pub new: Option<Named>,
    /// The very file that lost this name, as it is after the call, where the hook knows.
    pub lost: Option<Running>,
    /// It is told before it is carried out.
    pub ahead: bool,
}

/// The end of a path, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Of the last component.
    pub name: u32,
    /// Of the one before, which may be missing or another name of the directory.
    pub parent: u32,
}

impl Named {
    /// Of a path.
    #[must_use]
    pub fn of(path: &[u8]) -> Self {
        let mut components = path.rsplit(|byte| *byte == b'/').map(hash);
        let name = components.next().unwrap_or(wire::name::HASH_START);
        Self { name, parent: components.next().unwrap_or(wire::name::HASH_START) }
    }
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
    let lost = (body.lost.inode != 0).then_some(body.lost);
    let is_own = |lost: &Running| lost.same_file(&body.running) && lost.dentry == body.running.dentry;
    Name {
        running: body.running,
        call: if has(Bits::RENAME) { Call::Rename } else { Call::Unlink },
        own: has(Bits::OWN) || lost.as_ref().is_some_and(is_own),
        old: has(Bits::OLD).then_some(Named { name: body.old, parent: body.old_parent }),
        new: has(Bits::NEW).then_some(Named { name: body.new, parent: body.new_parent }),
        lost,
        ahead: has(Bits::URING),
    }
}
