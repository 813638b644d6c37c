//! Every reason for which the programs can lose something, as one table.
//!
//! The programs count per kind and reason in a per-CPU array; `slot` is where. Slot `SEEN` of a
//! kind counts what the hook saw at all, so that seen = delivered + lost can be checked.

use crate::wire::KINDS;

/// Counters kept for each kind: the seen ones and one for each reason, with room to grow.
pub const PER_KIND: u32 = 8;

/// All counters of the array.
#[expect(clippy::cast_possible_truncation, reason = "a handful of kinds")]
pub const SLOTS: u32 = (KINDS.len() as u32 + 1) * PER_KIND;

/// The reason that is none: the hook saw one.
pub const SEEN: u32 = 0;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $word:literal;)*) => {
        $($(#[$doc])* pub const $name: u32 = $id;)*
        /// Each reason with its word in a `loss` event.
        pub const REASONS: &[(u32, &str)] = &[$(($id, $word)),*];
    };
}

reasons! {
    /// The ring had no room: user space was not quick enough.
    RING_FULL = 1, "ring_full";
    /// The per-CPU scratch area could not be had.
    SCRATCH = 2, "scratch";
    /// A map was full.
    MAP_FULL = 3, "map_full";
}

/// Where the counter of `kind` and `reason` is.
#[must_use]
pub const fn slot(kind: u16, reason: u32) -> u32 {
    kind as u32 * PER_KIND + reason
}
