//! Histories as lines for a person.

use super::row::Row;
use crate::{
    field::Field,
    format::{
        table::{Head, Line, fit, size},
        text::{command as shown_command, escape},
    },
    record::{Record, Time, Value},
};

/// What a command may take at most, characters.
const COMMAND_MOST: usize = 4096;

/// The columns of commands.
pub(super) fn heads() -> [Head; 6] {
    ["TIME", "USER", "AS", "TTY", "FROM", "COMMAND"].map(|title| Head { title, right: false })
}

/// The columns of files that are odd.
pub(super) fn file_heads() -> [Head; 5] {
    let columns = [("USER", false), ("SHELL", false), ("SIZE", true), ("CHANGED", false), ("HISTORY", false)];
    columns.map(|(title, right)| Head { title, right })
}

/// A command.
pub(super) fn command(row: &Row) -> Line {
    let record = &row.record;
    let time = match (record.get(Field::ProcessStart), record.get(Field::SensorHistoryBefore)) {
        (Some(Value::Time(time)), _) => moment(*time),
        (_, Some(Value::Time(time))) => format!("before {}", moment(*time)),
        _ => "unknown".to_owned(),
    };
    let line = match record.text(Field::ProcessCommandLine) {
        Some(line) => plain(line.as_bytes()),
        None => shown_command(record),
    };
    let refused = record.text(Field::SensorReason).map(|why| format!(" [{}]", plain(why.as_bytes())));
    let cells = vec![
        time,
        escape(row.user.as_bytes()),
        shown(record, Field::UserEffectiveName),
        shown(record, Field::SensorTty),
        word(record),
        fit(&(line + &refused.unwrap_or_default()), COMMAND_MOST),
    ];
    Line { cells, severity: row.severity, notes: notes(record) }
}

/// A file.
pub(super) fn file(row: &Row) -> Line {
    let record = &row.record;
    let cells = vec![
        escape(row.user.as_bytes()),
        word(record),
        record.number(Field::FileSize).map(size).unwrap_or_default(),
        row.at.map(moment).unwrap_or_default(),
        shown(record, Field::FilePath),
    ];
    Line { cells, severity: row.severity, notes: notes(record) }
}

/// How many there are.
pub(super) fn sum(files: &[&Row], commands: &[&Row]) -> String {
    let odd = |rows: &[&Row]| rows.iter().filter(|row| row.severity != 0).count();
    let timeless = commands.iter().filter(|row| !row.record.has(Field::ProcessStart)).count();
    format!(
        "\n{} commands, {} of them odd, {timeless} without a time of their own; {} histories, {} of them odd; \
         the sensor's own events are no source, as it keeps no journal\n",
        commands.len(),
        odd(commands),
        files.len(),
        odd(files)
    )
}

/// To the second, UTC.
fn moment(Time(ns): Time) -> String {
    let time = jiff::Timestamp::from_second(ns.div_euclid(1_000_000_000)).unwrap_or_default();
    time.to_string()
}

/// A command line as it was typed: what would mislead is escaped, blanks and quotes are left.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match crate::format::misleads(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

fn word(record: &Record) -> String {
    match record.get(Field::SensorHistorySource) {
        Some(Value::Word(word)) => (*word).to_owned(),
        _ => String::new(),
    }
}

fn notes(record: &Record) -> Vec<String> {
    record.texts(Field::SensorFindings).iter().map(|note| plain(note.as_bytes())).collect()
}

fn shown(record: &Record, field: Field) -> String {
    record.text(field).map(|text| escape(text.as_bytes())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_what_was_typed_and_nothing_that_misleads() {
        assert_eq!(plain(b"echo \"a b\" > /x"), "echo \"a b\" > /x");
        assert_eq!(plain(b"a\nb\x1b[2J\xff"), "a\\nb\\u{1b}[2J\u{fffd}");
        assert_eq!(moment(Time(1_764_180_000_999_999_999)), "2025-11-26T18:00:00Z");
    }
}
