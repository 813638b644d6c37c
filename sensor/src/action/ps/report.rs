//! Processes as lines for a person.

use super::Row;
use crate::{
    field::Field,
    format::{
        table::{Head, Line, fit, size, span},
        text::{command, escape},
    },
    look::executable::Verdict,
    record::{Record, Value},
};

/// Characters of a container's id: enough to tell it from others.
const SHORT_ID: usize = 12;
/// What a command may take at most, characters.
const COMMAND_MOST: usize = 1024;

/// The columns.
pub(super) fn heads() -> [Head; 11] {
    let columns = [
        ("PID", true),
        ("USER", false),
        ("LOGIN", false),
        ("AS", false),
        ("TTY", false),
        ("AGE", true),
        ("CPU", true),
        ("RSS", true),
        ("EXECUTABLE", false),
        ("PACKAGE", false),
        ("COMMAND", false),
    ];
    columns.map(|(title, right)| Head { title, right })
}

/// A process.
pub(super) fn line(row: &Row, tree: bool) -> Line {
    let record = &row.record;
    let shown = |field| record.text(field).map(|text| escape(text.as_bytes())).unwrap_or_default();
    let user = shown(Field::UserName);
    let user = if user.is_empty() { id(record, Field::UserId) } else { user };
    let login = shown(Field::SensorLoginName);
    let login = if login.is_empty() { id(record, Field::SensorLoginUid) } else { login };
    let cells = vec![
        row.pid.to_string(),
        user.clone(),
        // Who logged in is of interest where it is another than who acts.
        if login == user { String::new() } else { login },
        sentence(record, Field::SensorMatches, ","),
        shown(Field::SensorTty),
        age(record).map(span).unwrap_or_default(),
        record.number(Field::SensorUsageCpuNs).map(|ns| span(ns / 1_000_000_000)).unwrap_or_default(),
        record.number(Field::SensorUsageRssBytes).map(size).unwrap_or_default(),
        row.verdict.word().replace('_', " "),
        shown(Field::PackageName),
        what(row, tree),
    ];
    let notes = match record.get(Field::SensorFindings) {
        Some(Value::Texts(notes)) => notes.iter().map(|note| note.to_str_lossy().into_owned()).collect(),
        _ => Vec::new(),
    };
    Line { cells, severity: row.severity, notes }
}

/// How many there are, and how many are odd.
pub(super) fn sum(rows: &[Row], kernel_threads: usize) -> String {
    let odd = rows.iter().filter(|row| row.severity != 0).count();
    let unread = rows.iter().filter(|row| row.verdict == Verdict::Unread).count();
    let mut sum = format!("\n{} processes, {odd} of them odd", rows.len());
    if unread != 0 {
        sum.push_str(&format!("; {unread} executables could not be read"));
    }
    if kernel_threads != 0 {
        sum.push_str(&format!("; {kernel_threads} threads of the kernel are not shown (--kernel)"));
    }
    sum + "\n"
}

/// The container, the place in the tree, the command.
fn what(row: &Row, tree: bool) -> String {
    let mut what = String::new();
    if tree && row.depth > 0 {
        what.extend(["  ".repeat(row.depth.min(64) - 1), "\\_ ".to_owned()]);
    }
    if let Some(id) = row.record.text(Field::ContainerId) {
        let id: String = escape(id.as_bytes()).chars().take(SHORT_ID).collect();
        what.push_str(&format!("({id}) "));
    }
    let name = || row.record.text(Field::ProcessName).map(|name| escape(name.as_bytes())).unwrap_or_default();
    // As other tools show what has no executable.
    match row.record.has(Field::ProcessExecutable) {
        true => what.push_str(&fit(&command(&row.record), COMMAND_MOST)),
        false => what.push_str(&format!("[{}]", name())),
    }
    what
}

fn age(record: &Record) -> Option<u64> {
    let (Value::Time(start), Value::Time(now)) =
        (record.get(Field::ProcessStart)?, record.get(Field::Timestamp)?)
    else {
        return None;
    };
    u64::try_from(now.0.saturating_sub(start.0)).ok().map(|ns| ns / 1_000_000_000)
}

fn id(record: &Record, field: Field) -> String {
    match record.get(field) {
        Some(Value::U64(id) | Value::Id(id)) => id.to_string(),
        _ => String::new(),
    }
}

fn sentence(record: &Record, field: Field, between: &str) -> String {
    match record.get(field) {
        Some(Value::Texts(words)) => {
            words.iter().map(|word| escape(word.as_bytes())).collect::<Vec<_>>().join(between)
        }
        _ => String::new(),
    }
}
