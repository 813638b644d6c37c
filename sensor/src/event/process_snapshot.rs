//! `process_snapshot`: each process that was there before the sensor.

use super::Action;

/// What the catalogue says.
pub const ACTION: Action = Action {
    name: "process_snapshot",
    kind: "event",
    category: &["process"],
    types: &["info"],
    sentence: "A process was there already when the sensor started.",
    hooks: "task iterator, and /proc for arguments and paths",
    fields: &[],
    process: true,
};
