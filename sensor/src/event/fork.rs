//! `fork`: a process is born.

use sensor_common::wire;

use super::{Action, Key, Tail};

/// What the catalogue says.
pub const ACTION: Action = Action {
    name: "fork",
    kind: "event",
    category: &["process"],
    types: &["start"],
    sentence: "A process, not a thread, is born; it still runs its parent's image.",
    hooks: "BTF tracepoint sched_process_fork",
    fields: &[],
    process: true,
};

/// The event is about the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// Who made the call; not the parent when it was made with `CLONE_PARENT`.
    pub creator: Key,
}

pub(super) fn decode(body: &wire::fork::Fork, _: &Tail<'_>, _: u16) -> Fork {
    Fork { creator: Key { pid: body.creator, start: body.creator_start } }
}
