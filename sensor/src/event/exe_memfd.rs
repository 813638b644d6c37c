//! `exe_memfd`: an image without a name is executed.

use super::{Action, severity};
use crate::{field::Field, record::Record};

/// What the catalogue says.
pub const ACTION: Action = Action {
    name: "exe_memfd",
    kind: "alert",
    category: &["process"],
    types: &["start"],
    sentence: "The image of an exec never had, or no longer has, a name: memfd, O_TMPFILE, unlinked before.",
    hooks: "BTF tracepoint sched_process_exec; a look each second, where its record was lost",
    fields: &[
        Field::EventSeverity,
        Field::SensorMethod,
        Field::SensorReason,
        Field::SensorEvidenceSha256,
        Field::SensorEvidenceSize,
        Field::SensorEvidencePath,
        Field::SensorEvidenceMissing,
        Field::ProcessPreviousExecutable,
    ],
    process: true,
};

/// Sets how odd it is, and why. `runtime`: a container runtime re-executes itself.
pub fn set(record: &mut Record, memfd: bool, runtime: bool) {
    let (severity, reason) = match (memfd, runtime) {
        (_, true) => (
            severity::LOW,
            "a container runtime re-executes itself from memory, as it does to protect its binary",
        ),
        (true, _) => (severity::HIGH, "the image is only in memory: it never had a name on a file system"),
        (false, _) => (severity::HIGH, "the image has no name in any directory at the moment it is executed"),
    };
    record.set(Field::EventSeverity, severity);
    record.set(Field::SensorReason, reason);
}
