//! Which class of the framework each action is, and where a record's subject stands there: the one table.

use super::word;
use crate::field::Field;
use crate::record::Record;

/// What a record is about, which decides where its parts stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A process that another one began: that is the actor.
    Born,
    /// A process that ended, which is its own actor.
    Ended,
    /// A process as it was found.
    Process,
    /// A session as it was found.
    Session,
    /// A socket as it was found.
    Socket,
    /// An open file as it was found.
    Opened,
    /// What happened to a file, as the evidence of a finding.
    File,
    /// What a process executes, as the evidence of a finding.
    Image,
    /// An end of a connection, or both.
    Network,
    /// A process to which somebody did something.
    Contained,
    /// What somebody changed of the firewall.
    Ruled,
    /// What somebody did, and to nobody in the end.
    Done,
    /// Something that the framework has no class for.
    Other,
}

impl Subject {
    pub(super) const ALL: [Self; 13] = [
        Self::Born,
        Self::Ended,
        Self::Process,
        Self::Session,
        Self::Socket,
        Self::Opened,
        Self::File,
        Self::Image,
        Self::Network,
        Self::Contained,
        Self::Ruled,
        Self::Done,
        Self::Other,
    ];
}

/// A class, and what of it happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    /// `event.action`.
    pub(super) action: &'static str,
    /// `sensor.contain.method`, where that decides.
    method: &'static str,
    pub(super) uid: u64,
    pub(super) name: &'static str,
    pub(super) activity: (u64, &'static str),
    pub(super) subject: Subject,
    /// How a process was begun (`launch_type_id`), where it was.
    pub(super) launch: (u64, &'static str),
    /// A finding in a few words.
    pub(super) title: &'static str,
}

impl Class {
    const fn new(
        action: &'static str,
        (uid, name): (u64, &'static str),
        activity: (u64, &'static str),
        subject: Subject,
    ) -> Self {
        Self { action, method: "", uid, name, activity, subject, launch: (0, "Unknown"), title: "" }
    }

    const fn contained(method: &'static str, activity: (u64, &'static str), subject: Subject) -> Self {
        let class = match subject {
            Subject::Contained => (7003, "Process Remediation Activity"),
            Subject::Ruled => (7004, "Network Remediation Activity"),
            _ => (7001, "Remediation Activity"),
        };
        Self { method, ..Self::new("contain", class, activity, subject) }
    }

    const fn launched(self, id: u64, name: &'static str) -> Self {
        Self { launch: (id, name), ..self }
    }

    const fn titled(self, title: &'static str) -> Self {
        Self { title, ..self }
    }

    /// Whether it is a connection that comes about, or doesn't.
    pub(super) fn opens(&self) -> bool {
        (self.uid, self.activity.0) == (NETWORK.0, OPEN.0)
    }

    /// Its category: the thousands of its number.
    pub(super) fn category(&self) -> (u64, &'static str) {
        let uid = self.uid / 1000;
        let name = match uid {
            1 => "System Activity",
            2 => "Findings",
            4 => "Network Activity",
            5 => "Discovery",
            7 => "Remediation",
            _ => "Uncategorized",
        };
        (uid, name)
    }
}

const PROCESS: (u64, &str) = (1007, "Process Activity");
const FINDING: (u64, &str) = (2004, "Detection Finding");
const NETWORK: (u64, &str) = (4001, "Network Activity");
const EVIDENCE: (u64, &str) = (5040, "Live Evidence Info");
const BASE: (u64, &str) = (0, "Base Event");
const OTHER: u64 = 99;
const QUERY: (u64, &str) = (1, "Query");
const OPEN: (u64, &str) = (1, "Open");
const ISOLATE: (u64, &str) = (1, "Isolate");
const EVICT: (u64, &str) = (2, "Evict");
const RESTORE: (u64, &str) = (3, "Restore");
const HARDEN: (u64, &str) = (4, "Harden");
/// What a connection is that didn't come about.
pub(super) const FAILED: (u64, &str) = (4, "Fail");

/// Whatever isn't in the table.
pub(super) const NONE: Class = Class::new("", BASE, (0, "Unknown"), Subject::Other);

/// Each action; `event.action` of those without a class names their activity.
pub(super) const CLASSES: [Class; 29] = [
    Class::new("process_snapshot", EVIDENCE, QUERY, Subject::Process),
    Class::new("session_snapshot", EVIDENCE, QUERY, Subject::Session),
    Class::new("port_snapshot", EVIDENCE, QUERY, Subject::Socket),
    Class::new("file_snapshot", EVIDENCE, QUERY, Subject::Opened),
    Class::new("fork", PROCESS, (1, "Launch"), Subject::Born).launched(2, "Fork"),
    Class::new("exec", PROCESS, (1, "Launch"), Subject::Born).launched(3, "Exec"),
    Class::new("exit", PROCESS, (2, "Terminate"), Subject::Ended),
    Class::new("exe_deleted", FINDING, (1, "Create"), Subject::File)
        .titled("A running executable lost its name"),
    Class::new("exe_memfd", FINDING, (1, "Create"), Subject::Image).titled("An executable without a name"),
    Class::new("socket_bind", NETWORK, (OTHER, "Bind"), Subject::Network),
    Class::new("socket_listen", NETWORK, (7, "Listen"), Subject::Network),
    Class::new("socket_connect", NETWORK, OPEN, Subject::Network),
    Class::new("socket_accept", NETWORK, OPEN, Subject::Network),
    Class::new("socket_close", NETWORK, (2, "Close"), Subject::Network),
    Class::new("loss", BASE, (OTHER, "Loss"), Subject::Other),
    Class::new("coverage", BASE, (OTHER, "Coverage"), Subject::Other),
    Class::contained("kill", EVICT, Subject::Contained),
    Class::contained("freeze", ISOLATE, Subject::Contained),
    Class::contained("thaw", RESTORE, Subject::Contained),
    Class::contained("kill", EVICT, Subject::Done),
    Class::contained("freeze", ISOLATE, Subject::Done),
    Class::contained("thaw", RESTORE, Subject::Done),
    Class::contained("port_close", ISOLATE, Subject::Ruled),
    Class::contained("port_isolate", ISOLATE, Subject::Ruled),
    Class::contained("port_confirm", HARDEN, Subject::Ruled),
    Class::contained("port_undo", RESTORE, Subject::Ruled),
    Class::contained("port_expire", RESTORE, Subject::Ruled),
    Class::contained("", (OTHER, "Contain"), Subject::Done),
    Class::new("usage", BASE, (OTHER, "Usage"), Subject::Other),
];

/// The class of what a record tells.
pub(super) fn of(record: &Record) -> &'static Class {
    let (action, method) = (word(record, Field::EventAction), word(record, Field::SensorContainMethod));
    let is = |class: &&Class| {
        class.action.as_bytes() == action
            && (class.method.is_empty() || class.method.as_bytes() == method)
            && (class.subject != Subject::Contained || record.has(Field::SensorTargets))
    };
    CLASSES.iter().find(is).unwrap_or(&NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_has_a_layout() {
        assert!(CLASSES.iter().all(|class| Subject::ALL.contains(&class.subject)));
        assert_eq!(Subject::ALL.last(), Some(&NONE.subject));
    }

    #[test]
    fn what_is_in_no_row_is_a_base_event() {
        let uid = |action: &'static str| {
            let mut record = Record::new();
            record.set(Field::EventAction, action);
            of(&record).uid
        };
        assert_eq!((uid("exec"), uid("nothing"), uid("contain")), (1007, 0, 7001));
    }

    #[test]
    fn what_is_done_to_nobody_has_no_process() {
        let mut record = Record::new();
        record.set(Field::EventAction, "contain");
        record.set(Field::SensorContainMethod, "kill");
        assert_eq!(of(&record).uid, 7001);
        record.set(Field::SensorTargets, vec![Record::new()]);
        assert_eq!((of(&record).uid, of(&record).activity), (7003, EVICT));
    }
}
