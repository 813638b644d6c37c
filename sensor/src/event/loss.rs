//! `loss`: something was not seen or not delivered.

use super::Action;
use crate::{field::Field, record::Record};

/// What the catalogue says.
pub const ACTION: Action = Action {
    name: "loss",
    kind: "metric",
    category: &["process"],
    types: &["info"],
    sentence: "Something was seen and could not be told, since the last such event: where, what, why, how many.",
    hooks: "the counters of each place that can drop",
    fields: &[Field::SensorLost],
    process: false,
};

/// One count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where: `kernel`, `table`, `decode`, `output`, `journal`.
    pub stage: &'static str,
    /// What: an action, or the kind of a record.
    pub action: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

/// The event for these counts.
#[must_use]
pub fn record(rows: &[Row]) -> Record {
    let mut record = ACTION.record();
    let rows = rows.iter().map(|row| {
        let mut inner = Record::with_capacity(4);
        inner.set(Field::LostStage, row.stage);
        inner.set(Field::LostAction, row.action);
        inner.set(Field::LostReason, row.reason);
        inner.set(Field::LostCount, row.count);
        inner
    });
    record.set(Field::SensorLost, rows.collect::<Vec<_>>());
    record
}
