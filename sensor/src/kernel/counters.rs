//! The programs' counters: what each kind's hooks saw, and what was lost and why.

use sensor_common::{
    loss::{REASONS, SEEN, SLOTS, slot},
    wire::KINDS,
};

use crate::event::action;

/// The counters of one processor.
pub(super) type Slots = [u64; SLOTS as usize];

/// A reading of the programs' counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters(Slots);

impl Default for Counters {
    fn default() -> Self {
        Self([0; SLOTS as usize])
    }
}

impl Counters {
    /// What the processors counted, together.
    pub(super) fn of(processors: &[Slots]) -> Self {
        let mut counters = Self::default();
        for slots in processors {
            for (sum, value) in counters.0.iter_mut().zip(slots) {
                *sum = sum.wrapping_add(*value);
            }
        }
        counters
    }

    /// How many the hooks of a kind saw.
    #[must_use]
    pub fn seen(&self, kind: u16) -> u64 {
        self.at(kind, SEEN)
    }

    /// How many the hooks of other kinds saw that become the event of this one.
    #[must_use]
    pub fn seen_besides(&self, kind: u16) -> u64 {
        let of = |wanted: u16| KINDS.iter().find(|(kind, _)| *kind == wanted).map(|(_, name)| action(name));
        let others = KINDS.iter().filter(|(other, name)| *other != kind && Some(action(name)) == of(kind));
        others.map(|(other, _)| self.seen(*other)).sum()
    }

    /// What was lost since an earlier reading: the event that it would have been, reason, how many.
    #[must_use]
    pub fn lost_since(&self, earlier: &Self) -> Vec<(&'static str, &'static str, u64)> {
        let mut rows = Vec::new();
        for (kind, name) in KINDS {
            let name = action(name);
            for (reason, word) in REASONS {
                let count = self.at(*kind, *reason).wrapping_sub(earlier.at(*kind, *reason));
                if count != 0 {
                    rows.push((name, *word, count));
                }
            }
        }
        rows
    }

    fn at(&self, kind: u16, reason: u32) -> u64 {
        self.0.get(slot(kind, reason) as usize).copied().unwrap_or(0)
    }
}
