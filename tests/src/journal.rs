//! The journal as it lies on the disk, read by its documented tables alone.

use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// One event that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the order of all.
    pub position: i64,
    /// `event.id`, of the columns that it is made of.
    pub id: String,
    /// `event.action`.
    pub action: String,
    /// Its line.
    pub line: String,
}

fn opened(folder: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let path = folder.join("journal.db");
    Connection::open_with_flags(&path, flags).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// All events in order. Whatever isn't as it is documented fails the test.
#[must_use]
pub fn events(folder: &Path) -> Vec<Stored> {
    let mut journal = opened(folder);
    let moment = journal.transaction().unwrap();
    let sound: String = moment.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let mut lines = Vec::new();
    let mut blocks = moment.prepare("SELECT first, events, bytes, lines FROM block ORDER BY first").unwrap();
    let mut rows = blocks.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (first, count, bytes): (i64, i64, i64) =
            (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap());
        let packed: Vec<u8> = row.get(3).unwrap();
        let all = lz4_flex::block::decompress(&packed, usize::try_from(bytes).unwrap()).unwrap();
        let text = String::from_utf8(all).unwrap();
        assert_eq!(i64::try_from(text.lines().count()).unwrap(), count, "block {first}");
        lines.extend(text.lines().zip(first..).map(|(line, position)| (position, line.to_owned())));
    }
    drop(rows);
    let sql = "SELECT position, run.text || '-' || sequence, action.text FROM event JOIN run ON run.id = run \
        JOIN action ON action.id = action ORDER BY position";
    let mut read = moment.prepare(sql).unwrap();
    let found = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let found: Vec<(i64, String, String)> = found.map(Result::unwrap).collect();
    assert_eq!(found.len(), lines.len(), "events, and lines");
    let stored = found.into_iter().zip(lines).zip(1..).map(|(((position, id, action), (at, line)), _)| {
        assert_eq!(position, at, "the line of each is where it should be");
        Stored { position, id, action, line }
    });
    stored.collect()
}

/// The `event.id` of the last event that is stored, if any is yet.
#[must_use]
pub fn last(folder: &Path) -> Option<String> {
    let sql = "SELECT run.text || '-' || sequence FROM event JOIN run ON run.id = run ORDER BY position DESC LIMIT 1";
    folder.join("journal.db").exists().then(|| opened(folder))?.query_row(sql, [], |row| row.get(0)).ok()
}

/// Bytes of all its files.
#[must_use]
pub fn bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().filter_map(Result::ok);
    files.filter_map(|file| file.metadata().ok()).map(|facts| facts.len()).sum()
}
