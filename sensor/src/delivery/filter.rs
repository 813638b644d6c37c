//! What is asked of an event that comes from the journal, to know whether an output wants it.

use super::cursor::Entry;
use crate::{
    config,
    event::wanted::{Told, Wanted},
    format::ecs,
};

/// As an output is configured.
#[must_use]
pub fn wanted(config: &config::Wanted) -> Wanted {
    let config::Wanted { actions, users, severity_min } = config.clone();
    Wanted { actions, users, severity_min, pid: None }
}

impl Told for Entry {
    fn action(&self) -> &str {
        &self.action
    }

    fn severity(&self) -> u64 {
        self.severity
    }

    fn is_of_process(&self, pid: u32) -> bool {
        ecs::whose(&self.line).pid() == Some(pid)
    }

    fn is_of_user(&self, user: &str) -> bool {
        self.user.as_deref() == Some(user) || ecs::whose(&self.line).users().any(|one| one == user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::wanted::USERS,
        field::Field,
        format::Format,
        record::{Record, Text},
    };

    /// As the journal gives it back.
    fn entry(record: &Record) -> Entry {
        let mut line = Vec::new();
        ecs::Ecs.write(record, &mut line);
        Entry {
            position: 1,
            id: String::new(),
            time: 0,
            action: record.action().to_owned(),
            severity: record.severity(),
            user: None,
            line: String::from_utf8(line).unwrap(),
        }
    }

    #[test]
    fn what_was_kept_is_judged_as_what_is_told() {
        for field in USERS {
            let mut record = Record::new();
            record.set(Field::EventAction, "exec");
            record.set(Field::EventSeverity, 47_u64);
            record.set(Field::ProcessPid, 7_u32);
            record.set(field, Text::from("17"));
            let entry = entry(&record);
            for user in ["17", "1", "eve"] {
                assert_eq!(entry.is_of_user(user), record.is_of_user(user), "{} {user}", field.name());
            }
            for pid in [7, 8] {
                assert_eq!(entry.is_of_process(pid), record.is_of_process(pid));
            }
        }
    }

    #[test]
    fn what_is_no_event_is_nobodys() {
        for text in ["", "{", "[]", "{\"user\": 1}", "{\"user\": {\"id\": 17}}"] {
            let entry = Entry { line: text.to_owned(), ..entry(&Record::new()) };
            assert!(!entry.is_of_user("17") && !entry.is_of_process(7), "{text}");
        }
    }
}
