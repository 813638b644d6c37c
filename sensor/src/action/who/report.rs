//! Sessions as lines for a person.

use super::row::Row;
use crate::{
    field::Field,
    format::{
        table::{Head, Line, fit, size, span},
        text::cell::{findings, named, shown, words},
    },
    logins::Logins,
    record::{Record, Value},
};

/// What a command may take at most, characters.
const COMMAND_MOST: usize = 1024;

/// The columns.
pub(super) fn heads() -> [Head; 15] {
    let columns = [
        ("USER", false),
        ("LOGIN", false),
        ("KIND", false),
        ("TTY", false),
        ("FROM", false),
        ("SINCE", true),
        ("IDLE", true),
        ("PROCS", true),
        ("CPU", true),
        ("RSS", true),
        ("DISK", true),
        ("NET", true),
        ("CONN", true),
        ("KNOWN BY", false),
        ("COMMAND", false),
    ];
    columns.map(|(title, right)| Head { title, right })
}

/// A session.
pub(super) fn line(row: &Row) -> Line {
    let record = &row.record;
    let number = |field| record.number(field);
    let seconds = |ns: u64| ns / 1_000_000_000;
    let user = named(record, Field::UserName, Field::UserId);
    let login = named(record, Field::SensorLoginName, Field::SensorLoginUid);
    let age = || {
        let Some(Value::Time(now)) = record.get(Field::Timestamp) else { return None };
        u64::try_from(now.0.saturating_sub(row.since?.0)).ok()
    };
    let both = |one, other| Some(number(one)?.saturating_add(number(other)?));
    let disk = both(Field::SensorUsageDiskReadBytes, Field::SensorUsageDiskWriteBytes);
    let net = both(Field::SensorUsageNetRxBytes, Field::SensorUsageNetTxBytes);
    let cells = vec![
        user.clone(),
        // Who logged in is of interest where it is another than who acts.
        if login == user { String::new() } else { login },
        kind(record, row),
        shown(record, Field::SensorTty),
        from(record),
        age().map(|ns| span(seconds(ns))).unwrap_or_default(),
        number(Field::SensorSessionIdleS).map(span).unwrap_or_default(),
        number(Field::SensorProcesses).map(|count| count.to_string()).unwrap_or_default(),
        number(Field::SensorUsageCpuNs).map(|ns| span(seconds(ns))).unwrap_or_default(),
        number(Field::SensorUsageRssBytes).map(size).unwrap_or_default(),
        disk.map(size).unwrap_or_default(),
        net.map(size).unwrap_or_default(),
        number(Field::SensorUsageConnections).map(|count| count.to_string()).unwrap_or_default(),
        words(record, Field::SensorSessionSources).join(","),
        fit(&words(record, Field::SensorSessionCommand).join(" "), COMMAND_MOST),
    ];
    Line { cells, severity: row.severity, notes: findings(record) }
}

/// How many there are, and who could tell of them.
pub(super) fn sum(rows: &[Row], logins: &Logins) -> String {
    let odd = rows.iter().filter(|row| row.severity != 0).count();
    let of = |there: bool, name: &str| format!("{name} {}", if there { "asked" } else { "isn't here" });
    let unlisted = rows.iter().filter(|row| row.record.texts(Field::SensorSessionSources).len() == 1);
    let unlisted = unlisted.filter(|row| row.record.has(Field::ProcessPid)).count();
    format!(
        "\n{} sessions, {odd} of them odd; {unlisted} only /proc knows ({}, {})\n",
        rows.len(),
        of(logins.logind, "logind"),
        of(logins.utmp, "utmp")
    )
}

/// How it came, and whether it is a session yet.
fn kind(record: &Record, row: &Row) -> String {
    let state = match record.get(Field::SensorSessionState) {
        Some(Value::Word(state)) => format!(" ({state})"),
        _ => String::new(),
    };
    row.kind.word().to_owned() + &state
}

/// The address of the connection, else what is on record.
fn from(record: &Record) -> String {
    let address = shown(record, Field::SourceIp);
    if address.is_empty() { shown(record, Field::SourceAddress) } else { address }
}
