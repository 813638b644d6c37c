//! `coverage`: what is seen on this host, and what isn't and why.

use std::fmt;

use super::Action;
use crate::{
    field::Field,
    record::{Record, Text},
};

/// What the catalogue says.
pub const ACTION: Action = Action {
    name: "coverage",
    kind: "state",
    category: &["configuration"],
    types: &["info"],
    sentence: "Which hook serves each event on this host, and what is not seen, why, and what to do; at the start, when it changes, when something was done to the sensor, and when it is asked to stop.",
    hooks: "what the kernel answered when the hooks were attached, and each second whether they still are",
    fields: &[Field::SensorCoverage],
    process: false,
};

/// How far a hook serves its event, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Something isn't seen.
    Unseen,
    /// It was refused, and another hook serves in its place, less exactly.
    Replaced,
    /// It was refused, and another hook tells the same in its place, later or at more cost.
    Fallback,
    /// Who runs the sensor said so.
    Off,
    /// The kernel has no such call: nothing is missed.
    Absent,
    /// The hook is attached.
    Seen,
}

impl State {
    /// Every one of them.
    pub const ALL: [Self; 6] =
        [Self::Unseen, Self::Replaced, Self::Fallback, Self::Off, Self::Absent, Self::Seen];

    /// Its word in a `coverage` event.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unseen => "unseen",
            Self::Replaced => "replaced",
            Self::Fallback => "fallback",
            Self::Off => "off",
            Self::Absent => "absent",
            Self::Seen => "seen",
        }
    }

    /// Whether the user misses something that could be had.
    #[must_use]
    pub fn lacks(self) -> bool {
        matches!(self, Self::Unseen | Self::Replaced)
    }
}

/// Why a hook doesn't serve, and what that means. What isn't known, or isn't so, is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// What the kernel said, or who decided.
    pub reason: String,
    /// What this host lacks, in a word: a capability, a file system, a setting, a part of the kernel.
    pub missing: String,
    /// Which events or fields are missing, late or less exact.
    pub effect: String,
    /// What to do.
    pub remedy: String,
}

impl Gap {
    /// The same, with what it means.
    #[must_use]
    pub fn effect(self, effect: &str) -> Self {
        Self { effect: effect.to_owned(), ..self }
    }
}

/// As one sentence.
impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        for (lead, text) in
            [("; missing: ", &self.missing), ("; not seen: ", &self.effect), (": ", &self.remedy)]
        {
            if !text.is_empty() {
                write!(f, "{lead}{text}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Gap {}

/// What became of one hook for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The event it serves.
    pub action: &'static str,
    /// The hook, or the kernel member that a field needs.
    pub hook: &'static str,
    /// Whether it is seen.
    pub state: State,
    /// Why not.
    pub gap: Gap,
}

impl Coverage {
    /// It is attached.
    #[must_use]
    pub fn seen(action: &'static str, hook: &'static str) -> Self {
        Self { action, hook, state: State::Seen, gap: Gap::default() }
    }

    /// Something isn't seen.
    #[must_use]
    pub fn unseen(action: &'static str, hook: &'static str, gap: Gap) -> Self {
        Self { action, hook, state: State::Unseen, gap }
    }
}

/// The event for these rows.
#[must_use]
pub fn record<'a>(rows: impl Iterator<Item = &'a Coverage>) -> Record {
    let mut record = ACTION.record();
    let rows = rows.map(|row| {
        let mut inner = Record::with_capacity(7);
        inner.set(Field::CoverageAction, row.action);
        inner.set(Field::CoverageHook, row.hook);
        inner.set(Field::CoverageState, row.state.word());
        for (field, text) in [
            (Field::CoverageReason, &row.gap.reason),
            (Field::CoverageMissing, &row.gap.missing),
            (Field::CoverageEffect, &row.gap.effect),
            (Field::CoverageRemedy, &row.gap.remedy),
        ] {
            if !text.is_empty() {
                inner.set(field, Text::from(text.clone()));
            }
        }
        inner
    });
    record.set(Field::SensorCoverage, rows.collect::<Vec<_>>());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_come_first() {
        let mut states = State::ALL;
        states.reverse();
        states.sort();
        assert_eq!(states, State::ALL);
        assert!(states.iter().rev().skip_while(|state| !state.lacks()).all(|state| state.lacks()));
    }

    #[test]
    fn a_gap_is_a_sentence() {
        let gap = Gap { reason: "EPERM".into(), missing: "CAP_BPF".into(), ..Gap::default() };
        assert_eq!(gap.to_string(), "EPERM; missing: CAP_BPF");
        let gap = Gap { remedy: "give it".into(), ..gap.effect("binds") };
        assert_eq!(gap.to_string(), "EPERM; missing: CAP_BPF; not seen: binds: give it");
    }
}
