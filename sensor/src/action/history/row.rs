//! A command, or a file of commands, as a record.

use crate::{
    field::Field,
    histories::{Command, History, homes::User, sudo},
    host::Host,
    look::described::find,
    record::{Record, Text, Time, Value},
};

/// A command that was run, or a file that remembers some.
pub(super) struct Row {
    pub(super) record: Record,
    pub(super) user: Text,
    /// When it was run, or by when.
    pub(super) at: Option<Time>,
    pub(super) severity: u64,
    pub(super) is_file: bool,
}

/// Makes records of one host and moment.
pub(super) struct Maker {
    common: Record,
}

impl Maker {
    pub(super) fn of(host: &Host) -> Self {
        let mut common = host.common();
        common.set(Field::EventKind, "event");
        common.set(Field::EventType, &["info"][..]);
        common.set(Field::Timestamp, host.boot().at(host.boot_now()));
        Self { common }
    }

    fn record(
        &self,
        action: &'static str,
        category: &'static [&'static str],
        uid: Option<u32>,
        user: &Text,
    ) -> Record {
        let mut record = self.common.clone();
        record.set(Field::EventAction, action);
        record.set(Field::EventCategory, category);
        if let Some(uid) = uid {
            record.set(Field::UserId, Value::Id(uid.into()));
        }
        if !user.is_empty() {
            record.set(Field::UserName, user.clone());
        }
        record
    }

    /// A command of a shell's history.
    pub(super) fn command(&self, command: &Command, history: &History, user: &Text) -> Row {
        let mut record = self.record("history_command", &["process"], Some(history.uid), user);
        record.set(Field::SensorHistorySource, history.shell.word());
        record.set(Field::ProcessCommandLine, command.text.clone());
        record.set(Field::FilePath, history.path.clone());
        record.set(Field::SensorHistoryLine, command.line);
        let times = [
            (Field::ProcessStart, command.time),
            (Field::ProcessEnd, command.end),
            (Field::SensorHistoryBefore, command.before),
        ];
        for (field, time) in times {
            if let Some(time) = time {
                record.set(field, time);
            }
        }
        row(record, user, command.time.or(command.before), false)
    }

    /// A line of sudo's.
    pub(super) fn sudo(&self, entry: &sudo::Entry, uid: Option<u32>) -> Row {
        let mut record = self.record("history_command", &["process"], uid, &entry.user);
        record.set(Field::SensorHistorySource, if entry.rs { "sudo-rs" } else { "sudo" });
        record.set(Field::ProcessCommandLine, entry.command.clone());
        record.set(Field::UserEffectiveName, entry.effective.clone());
        record.set(Field::SensorHistoryLine, entry.line);
        if entry.origin.as_bytes().starts_with(b"/") {
            record.set(Field::FilePath, entry.origin.clone());
        }
        let texts = [
            (Field::SensorTty, &entry.tty),
            (Field::ProcessWorkingDirectory, &entry.directory),
            (Field::SensorReason, &entry.refused),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                record.set(field, text.clone());
            }
        }
        record.set(Field::EventOutcome, if entry.refused.is_some() { "failure" } else { "success" });
        if let Some(time) = entry.time {
            record.set(Field::ProcessStart, time);
        }
        row(record, &entry.user, entry.time, false)
    }

    /// A process that lives, as it was described.
    pub(super) fn live(mut record: Record) -> Row {
        record.set(Field::EventAction, "history_command");
        record.set(Field::SensorHistorySource, "live");
        let user = record.text(Field::UserName).cloned().unwrap_or_default();
        let at = match record.get(Field::ProcessStart) {
            Some(Value::Time(time)) => Some(*time),
            _ => None,
        };
        Row { severity: record.number(Field::EventSeverity).unwrap_or(0), ..row(record, &user, at, false) }
    }

    /// A file that remembers commands.
    pub(super) fn file(&self, history: &History, user: &Text) -> Row {
        let mut record = self.record("history_file", &["file"], Some(history.uid), user);
        record.set(Field::SensorHistorySource, history.shell.word());
        record.set(Field::FilePath, history.path.clone());
        if let Some(size) = history.size {
            record.set(Field::FileSize, size);
        }
        if let Some(modified) = history.modified {
            record.set(Field::FileMtime, modified);
        }
        let mut row = row(record, user, history.modified, true);
        row.found(history.findings.iter().cloned());
        row
    }

    /// A variable in the environment of a user's process.
    pub(super) fn variable(
        &self,
        pid: u32,
        user: &User,
        shell: &'static str,
        (severity, odd): (u64, &str),
    ) -> Row {
        let mut record = self.record("history_file", &["file"], Some(user.uid), &user.name);
        record.set(Field::SensorHistorySource, shell);
        record.set(Field::ProcessPid, pid);
        let mut row = row(record, &user.name, None, true);
        row.found([(severity, format!("in the environment of process {pid}, {odd}"))]);
        row
    }
}

impl Row {
    /// Notes what is odd.
    pub(super) fn found(&mut self, findings: impl IntoIterator<Item = (u64, String)>) {
        self.severity = find(&mut self.record, findings);
    }
}

fn row(record: Record, user: &Text, at: Option<Time>, is_file: bool) -> Row {
    Row { record, user: user.clone(), at, severity: 0, is_file }
}
