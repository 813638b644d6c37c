//! Processes as lines for a person.

use super::Row;
use crate::{
    field::Field,
    format::{
        table::{Head, Line, fit, size, span},
        text::{
            cell::{container, findings, named, shown, words},
            command,
        },
    },
    look::executable::Verdict,
    record::{Record, Value},
};

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
    let user = named(record, Field::UserName, Field::UserId);
    let login = named(record, Field::SensorLoginName, Field::SensorLoginUid);
    let cells = vec![
        row.pid.to_string(),
        user.clone(),
        // Who logged in is of interest where it is another than who acts.
        if login == user { String::new() } else { login },
        words(record, Field::SensorMatches).join(","),
        shown(record, Field::SensorTty),
        age(record).map(span).unwrap_or_default(),
        record.number(Field::SensorUsageCpuNs).map(|ns| span(ns / 1_000_000_000)).unwrap_or_default(),
        record.number(Field::SensorUsageRssBytes).map(size).unwrap_or_default(),
        row.verdict.word().replace('_', " "),
        shown(record, Field::PackageName),
        what(row, tree),
    ];
    Line { cells, severity: row.severity, notes: findings(record) }
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
    what.push_str(&container(&row.record));
    // As other tools show what has no executable.
    match row.record.has(Field::ProcessExecutable) {
        true => what.push_str(&fit(&command(&row.record), COMMAND_MOST)),
        false => what.push_str(&format!("[{}]", shown(&row.record, Field::ProcessName))),
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
