//! The plan and the report as text.

use super::{
    Asked, Kill,
    row::{Result as Became, Row},
};
use crate::{
    action::table,
    contain::Containment,
    field::Field,
    format::{
        table::{Head, Line, fit},
        text::{
            cell::{findings, named, shown, words},
            command,
        },
    },
};

/// What a command may take at most, characters.
const COMMAND_MOST: usize = 512;
/// Most processes that are named in an error.
const NAMED_MOST: usize = 16;

fn heads() -> [Head; 7] {
    let columns = [
        ("PID", true),
        ("USER", false),
        ("AS", false),
        ("RESULT", false),
        ("EXECUTABLE", false),
        ("SHA256", false),
        ("COMMAND", false),
    ];
    columns.map(|(title, right)| Head { title, right })
}

fn line(row: &Row) -> Line {
    let record = &row.record;
    let what = match record.has(Field::ProcessExecutable) {
        true => fit(&command(record), COMMAND_MOST),
        false => format!("[{}]", shown(record, Field::ProcessName)),
    };
    let cells = vec![
        row.key.pid.to_string(),
        named(record, Field::UserName, Field::UserId),
        words(record, Field::SensorMatches).join(","),
        row.became.word().to_owned(),
        shown(record, Field::SensorExeVerdict).replace('_', " "),
        // Enough to tell them apart; below stands all of it.
        shown(record, Field::ProcessHashSha256).chars().take(12).collect(),
        what,
    ];
    let notes = findings(record).into_iter().chain(row.notes.iter().cloned()).collect();
    Line { cells, severity: row.severity, notes }
}

fn lines(rows: &[Row]) -> String {
    table(&heads(), &rows.iter().map(line).collect::<Vec<_>>())
}

pub(super) fn count(rows: &[Row], became: Became) -> usize {
    rows.iter().filter(|row| row.became == became).count()
}

/// What would be done.
pub(super) fn plan(rows: &[Row], asked: &Asked, freeze: bool) -> String {
    let (meant, refused) = (count(rows, Became::Planned), count(rows, Became::Refused));
    let what = if freeze { "frozen" } else { "frozen, their executables kept, and killed" };
    format!(
        "{}\n{}: {meant} processes would be {what}, {refused} left alone; who is born meanwhile is found too\n",
        lines(rows),
        asked.shown
    )
}

/// What was done.
pub(super) fn after(rows: &[Row], contain: &Containment<'_>, told: &[String], args: &Kill) -> String {
    let mut text = format!("{}\n{}; by {}", lines(rows), sentence(rows), contain.way.word());
    if !args.freeze {
        text.push_str(&format!("; looked for more for {} s", args.verify.as_secs_f64()));
    }
    text.push('\n');
    let mut kept: Vec<String> = rows
        .iter()
        .filter(|row| row.record.has(Field::SensorEvidencePath))
        .map(|row| format!("kept {}\n", shown(&row.record, Field::SensorEvidencePath)))
        .collect();
    kept.sort_unstable();
    kept.dedup();
    text.extend(kept);
    let missing = rows.iter().filter(|row| row.record.has(Field::SensorEvidenceMissing)).map(|row| {
        let why = shown(&row.record, Field::SensorEvidenceMissing);
        format!("not kept: what process {} executes: {why}\n", row.key.pid)
    });
    text.extend(missing.take(NAMED_MOST));
    text.extend(told.iter().map(|sentence| format!("{sentence}\n")));
    if args.freeze {
        let (id, frozen) = (contain.id, count(rows, Became::Frozen));
        text.push_str(&format!(
            "{frozen} are frozen. To let them go on: sensor kill --thaw {id}\nTo end them: the same command without --freeze\n"
        ));
    }
    text
}

/// How many there were of what.
pub(super) fn sentence(rows: &[Row]) -> String {
    let kinds =
        [Became::Ended, Became::Frozen, Became::Alive, Became::Respawned, Became::Spared, Became::Refused];
    let counts = kinds.into_iter().map(|kind| (kind, count(rows, kind))).filter(|(_, count)| *count != 0);
    let counts: Vec<String> = counts.map(|(kind, count)| format!("{count} {}", kind.word())).collect();
    format!("{} processes: {}", rows.len(), counts.join(", "))
}

/// Who isn't as wanted, and why: the first of them.
pub(super) fn left(rows: &[Row]) -> Vec<String> {
    let left: Vec<&Row> = rows.iter().filter(|row| !row.became.is_done()).collect();
    let named = left.iter().take(NAMED_MOST).map(|row| {
        let name = shown(&row.record, Field::ProcessName);
        let notes = row.notes.join(", ");
        let why = if notes.is_empty() { String::new() } else { format!(": {notes}") };
        format!("process {} ({name}) {}{why}", row.key.pid, row.became.word())
    });
    let mut named: Vec<String> = named.collect();
    if left.len() > NAMED_MOST {
        named.push(format!("{} more", left.len() - NAMED_MOST));
    }
    named
}
