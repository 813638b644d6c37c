//! `coverage`: what is seen on this host, and what isn't and why.

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
    sentence: "Which hook serves each event on this host, and what is not seen and why; at the start and when it changes.",
    hooks: "what the kernel answered when the hooks were attached",
    fields: &[Field::SensorCoverage],
    process: false,
};

/// One row: event, hook, state, reason and remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The event.
    pub action: &'static str,
    /// The hook.
    pub hook: &'static str,
    /// `seen`, `absent` or `unseen`.
    pub state: &'static str,
    /// Why not; empty when it is.
    pub reason: &'a str,
    /// What to do; empty when nothing.
    pub remedy: &'static str,
}

/// The event for these rows.
#[must_use]
pub fn record<'a>(rows: impl Iterator<Item = Row<'a>>) -> Record {
    let mut record = ACTION.record();
    let rows = rows.map(|row| {
        let mut inner = Record::with_capacity(5);
        inner.set(Field::CoverageAction, row.action);
        inner.set(Field::CoverageHook, row.hook);
        inner.set(Field::CoverageState, row.state);
        if !row.reason.is_empty() {
            inner.set(Field::CoverageReason, Text::from(row.reason.to_owned()));
        }
        if !row.remedy.is_empty() {
            inner.set(Field::CoverageRemedy, row.remedy);
        }
        inner
    });
    record.set(Field::SensorCoverage, rows.collect::<Vec<_>>());
    record
}
