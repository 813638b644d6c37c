//! Histories as lines for a person.

use super::row::Row;
use crate::{
    field::Field,
    format::{
        table::{Head, Line, fit, size},
        text::{
            cell::{findings, plain, shown},
            command as shown_command, escape,
        },
    },
    record::{Time, Value},
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
        shown(record, Field::SensorHistorySource),
        fit(&(line + &refused.unwrap_or_default()), COMMAND_MOST),
    ];
    Line { cells, severity: row.severity, notes: findings(record) }
}

/// A file.
pub(super) fn file(row: &Row) -> Line {
    let record = &row.record;
    let cells = vec![
        escape(row.user.as_bytes()),
        shown(record, Field::SensorHistorySource),
        record.number(Field::FileSize).map(size).unwrap_or_default(),
        row.at.map(moment).unwrap_or_default(),
        shown(record, Field::FilePath),
    ];
    Line { cells, severity: row.severity, notes: findings(record) }
}

/// How many there are.
pub(super) fn sum(files: &[&Row], commands: &[&Row]) -> String {
    let odd = |rows: &[&Row]| rows.iter().filter(|row| row.severity != 0).count();
    let timeless = commands.iter().filter(|row| !row.record.has(Field::ProcessStart)).count();
    format!(
        "\n{} commands, {} of them odd, {timeless} without a time of their own; {} histories, {} of them odd; \
         the sensor's own events are no source: where a journal is kept, `sensor query` tells them\n",
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
