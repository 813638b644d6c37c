//! The durable, bounded log of events: what is delivered is stored with what it is found by; outputs read on from where they are, and
//! who asks gets answers by SQL.
//!
//! The loop hands events over through a bounded queue and never waits; a thread of its own writes. Each cursor has a connection of its
//! own, and its own pace. See docs/decisions/0027-journal.md.

use std::{path::Path, sync::Arc};

use crate::{background, config};

mod ask;
mod batch;
mod block;
mod cursor;
mod error;
mod folder;
mod keep;
mod queue;
mod read;
mod schema;
mod store;
mod words;

pub use ask::{Answer, AskError, Asker, Cell, Limits, Reads, Table};
pub use cursor::{Cursor, Entry, Most};
pub use error::JournalError;
pub use folder::Folder;
pub use queue::{Fault, Inlet, Status};
pub use read::read_only;

/// A journal that is kept by this process. A clone is of the same.
#[derive(Clone)]
pub struct Journal {
    queue: Arc<queue::Queue>,
    folder: Folder,
}

impl Journal {
    /// Begins to keep one in this folder, with what is there already. Events go in through the inlet.
    ///
    /// # Errors
    /// When the folder can't be used, another sensor keeps a journal there, or that is of a newer sensor.
    pub fn begin(path: &Path, limits: &config::Journal) -> Result<(Self, Inlet), JournalError> {
        let folder = Folder::make(path)?;
        let lock = folder.lock()?;
        let queue = Arc::new(queue::Queue::default());
        let keeper = keep::Keeper::open(Arc::clone(&queue), folder.clone(), limits.clone(), lock)?;
        let begun = background::begin("journal", move || keeper.run());
        begun.map_err(|source| JournalError::System { attempted: "beginning to write", source })?;
        let inlet = Inlet::new(Arc::clone(&queue));
        Ok((Self { queue, folder }, inlet))
    }

    /// The place of an output of this name; it goes on where it was, or begins with the oldest event.
    #[must_use]
    pub fn cursor(&self, name: &str) -> Cursor {
        Cursor::new(Arc::clone(&self.queue), self.folder.clone(), name)
    }

    /// Forgets the places of all outputs but these, soon.
    pub fn keep_cursors(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.queue.want_cursors(names);
    }

    /// How it fares.
    #[must_use]
    pub fn status(&self) -> Status {
        self.queue.lock().status.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::FileExt,
        path::PathBuf,
        time::{Duration, Instant},
    };

    use rusqlite::Connection;

    use super::*;
    use crate::{
        field::Field,
        record::{Record, Text, Time},
    };

    const PATIENCE: Duration = Duration::from_secs(20);
    const ALL: Most = Most { events: usize::MAX, bytes: usize::MAX };

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sensor-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path.join("journal")
    }

    fn limits(max_bytes: u64) -> config::Journal {
        config::Journal { max_bytes: max_bytes.try_into().unwrap(), ..config::Journal::default() }
    }

    fn record(number: u64) -> Record {
        let mut record = Record::new();
        record.set(Field::Timestamp, Time(number as i64 * 1_000_000_000));
        record.set(Field::EventId, Text::numbered("a1", number));
        record.set(Field::EventAction, ["exec", "exit"][number as usize % 2]);
        record.set(Field::ProcessEntityId, Text::from(format!("{:032x}", number / 2)));
        record.set(Field::UserName, Text::from(["root", "eve"][number as usize % 2]));
        record.set(Field::ProcessExecutable, Text::from(format!("/bin/{}", number % 7)));
        record
    }

    fn line(number: u64) -> String {
        // Bytes that don't pack: what is kept of them is of the size that it says.
        let noise: String = (0..64_u64)
            .map(|at| format!("{:016x}", (number * 64 + at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        format!("{{\"number\":{number},\"noise\":\"{noise}\"}}")
    }

    /// Writes events of these numbers and waits until they are stored.
    fn write(inlet: &mut Inlet, numbers: std::ops::Range<u64>) {
        let last = numbers.end - 1;
        for number in numbers {
            let mut record = record(number);
            if number == last {
                // It is written at once, with all before it.
                record.set(Field::EventSeverity, 21_u64);
            }
            while !inlet.write(&record, format!("{}\n", line(number)).as_bytes()) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        inlet.flush();
        let began = Instant::now();
        while inlet.status().waiting != 0 {
            assert!(began.elapsed() < PATIENCE, "{:?}", inlet.status());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn numbers(entries: &[Entry]) -> Vec<u64> {
        let number = |entry: &Entry| entry.id.strip_prefix("a1-").unwrap().parse().unwrap();
        for entry in entries {
            assert_eq!(entry.line, line(number(entry)), "each has its own line");
        }
        entries.iter().map(number).collect()
    }

    /// Reads until there is nothing, in pieces.
    fn rest(cursor: &mut Cursor, most: Most) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            let entries = cursor.read(most).unwrap();
            if entries.is_empty() {
                return all;
            }
            all.extend(numbers(&entries));
        }
    }

    fn end(mut inlet: Inlet) {
        inlet.end(PATIENCE);
        assert_eq!(inlet.status().waiting, 0, "{:?}", inlet.status());
    }

    #[test]
    fn outputs_read_on_from_where_they_are() {
        let path = place("cursors");
        let (journal, mut inlet) = Journal::begin(&path, &limits(64 << 20)).unwrap();
        let (mut one, mut two) = (journal.cursor("one"), journal.cursor("two"));
        assert_eq!(one.read(ALL).unwrap(), []);
        write(&mut inlet, 1..1001);
        one.wait(PATIENCE);
        let some = one.read(Most { events: 300, bytes: usize::MAX }).unwrap();
        assert_eq!(numbers(&some), Vec::from_iter(1..301));
        let first = &some[0];
        assert_eq!((first.position, &*first.id, first.time), (1, "a1-1", 1_000_000_000));
        assert_eq!((&*first.action, first.severity, first.user.as_deref()), ("exit", 0, Some("eve")));
        one.acknowledge(200).unwrap();
        assert_eq!(rest(&mut one, Most { events: 999, bytes: 10_000 }), Vec::from_iter(301..1001));
        one.rewind();
        assert_eq!(rest(&mut one, ALL), Vec::from_iter(201..1001));
        assert_eq!(two.read(Most { events: 5, bytes: 1 }).unwrap().len(), 1, "one too large goes alone");
        two.acknowledge(1).unwrap();
        drop((one, two));
        end(inlet);
        let (journal, mut inlet) = Journal::begin(&path, &limits(64 << 20)).unwrap();
        write(&mut inlet, 1001..1003);
        let (mut one, mut two) = (journal.cursor("one"), journal.cursor("two"));
        assert_eq!(rest(&mut one, ALL), Vec::from_iter(201..1003));
        assert_eq!(rest(&mut two, ALL), Vec::from_iter(2..1003));
        assert_eq!((one.dropped(), two.dropped()), (0, 0));
        journal.keep_cursors(&["two"]);
        write(&mut inlet, 1003..1004);
        end(inlet);
        let known = read_only(&path)
            .unwrap()
            .query_row("SELECT group_concat(name) FROM cursor", [], |row| row.get(0));
        assert_eq!(known, Ok("two".to_owned()));
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_damaged_block_takes_no_others_with_it() {
        let path = place("block");
        let (journal, mut inlet) = Journal::begin(&path, &limits(64 << 20)).unwrap();
        write(&mut inlet, 1..1001);
        let second: u64 = {
            let beside = Connection::open(path.join("journal.db")).unwrap();
            let second = "SELECT first FROM block ORDER BY first LIMIT 1 OFFSET 1";
            let first: i64 = beside.query_row(second, [], |row| row.get(0)).unwrap();
            beside.execute("UPDATE block SET lines = zeroblob(9) WHERE first = ?1", [first]).unwrap();
            first as u64
        };
        let mut cursor = journal.cursor("one");
        let entries = cursor.read(ALL).unwrap();
        assert_eq!(entries.len(), 1000, "none is left out");
        let (damaged, whole): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.line.is_empty());
        let positions = damaged.iter().map(|entry| entry.position).collect::<Vec<_>>();
        assert!(damaged.len() > 10 && positions == Vec::from_iter(second..second + damaged.len() as u64));
        assert_eq!(damaged[0].id, format!("a1-{second}"), "what isn't in the block is known");
        assert_eq!(numbers(&whole).len(), 1000 - damaged.len());
        end(inlet);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn it_stays_within_its_bounds_and_the_count_is_exact() {
        let path = place("bounds");
        let most = 8 << 20;
        let (journal, mut inlet) = Journal::begin(&path, &limits(most)).unwrap();
        let folder = Folder::open(&path).unwrap();
        let (mut slow, mut reading) = (journal.cursor("slow"), journal.cursor("reading"));
        write(&mut inlet, 1..101);
        assert_eq!(slow.read(Most { events: 50, bytes: usize::MAX }).unwrap().len(), 50);
        slow.acknowledge(20).unwrap();
        let (mut next, mut read, mut lost) = (101, Vec::new(), 0);
        while next < 15_000 {
            write(&mut inlet, next..next + 1000);
            next += 1000;
            assert!(folder.bytes() <= most, "{} bytes after {next} events", folder.bytes());
            if [4_101, 12_101].contains(&next) {
                read.extend(rest(&mut reading, ALL));
                lost += reading.dropped();
            }
        }
        read.extend(rest(&mut reading, ALL));
        lost += reading.dropped();
        assert_eq!(read.len() as u64 + lost, next - 1, "all are read or lost");
        assert!(read.is_sorted() && lost > 0);
        let Status { oldest, last, .. } = journal.status();
        assert!(oldest > 1000 && last == next - 1);
        assert_eq!(slow.dropped(), oldest - 51);
        assert_eq!(slow.dropped(), 0);
        slow.rewind();
        assert_eq!(rest(&mut slow, ALL), Vec::from_iter(oldest..next));
        assert_eq!(slow.dropped(), 30, "what was read and had not arrived is lost too, the rest was told");
        end(inlet);
        // What only dropped events had is dropped.
        let kept = read_only(&path).unwrap();
        let count = |sql: &str| kept.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as u64;
        assert_eq!(count("SELECT count(*) FROM entity"), (next - 1) / 2 - oldest / 2 + 1);
        assert_eq!(count("SELECT count(*) FROM executable"), 7);
        assert_eq!(count("SELECT sum(events) FROM block"), next - oldest);
        assert!(count("SELECT count(*) FROM event") > 1500, "it holds more than next to nothing");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_journal_that_may_have_less_gives_it_back() {
        let path = place("smaller");
        let (_, mut inlet) = Journal::begin(&path, &limits(32 << 20)).unwrap();
        write(&mut inlet, 1..12_000);
        end(inlet);
        let folder = Folder::open(&path).unwrap();
        let before = folder.bytes();
        assert!(before > 9 << 20, "{before}");
        let (_, mut inlet) = Journal::begin(&path, &limits(8 << 20)).unwrap();
        write(&mut inlet, 12_000..12_010);
        end(inlet);
        assert!(folder.bytes() <= 8 << 20, "{} of {before}", folder.bytes());
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_is_too_old_goes_by_the_time_of_what_is_new() {
        let path = place("age");
        let limits = config::Journal { max_age_s: 1000, ..limits(64 << 20) };
        let (journal, mut inlet) = Journal::begin(&path, &limits).unwrap();
        write(&mut inlet, 1..2001);
        write(&mut inlet, 2001..2002);
        let oldest = journal.status().oldest;
        assert!((700..=1001).contains(&oldest), "whole blocks go: {oldest}");
        // A clock that is set back makes nothing old, and the order is that of writing.
        write(&mut inlet, 1..3);
        assert_eq!(journal.status().oldest, oldest);
        let all = rest(&mut journal.cursor("a"), ALL);
        assert_eq!(all[all.len() - 3..], [2001, 1, 2]);
        end(inlet);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn questions_are_answered_by_indexes() {
        let path = place("questions");
        let (_, mut inlet) = Journal::begin(&path, &limits(64 << 20)).unwrap();
        write(&mut inlet, 1..1001);
        let asked = read_only(&path).unwrap();
        let lines = |condition: &str| {
            let sql = format!("SELECT line FROM events WHERE {condition} ORDER BY position");
            let mut read = asked.prepare(&sql).unwrap();
            let lines = read.query_map([], |row| row.get(0)).unwrap();
            lines.collect::<Result<Vec<String>, _>>().unwrap()
        };
        assert_eq!(lines("id = 'a1-7'"), [line(7)]);
        assert_eq!(lines("user = 'eve' AND action = 'exit'").len(), 500);
        for (condition, index, count) in [
            ("entity = '0000000000000000000000000000000a'", "event_entity", 2),
            ("executable = '/bin/3'", "event_executable", 143),
            ("user = 'root'", "event_user", 500),
            ("action = 'exec'", "event_action", 500),
            ("time BETWEEN 5000000000 AND 9000000000", "event_time", 5),
            ("run = 'a1' AND sequence = 9", "event_sequence", 1),
            ("severity > 0", "event_severity", 1),
            ("remote = '192.0.2.1'", "event_remote", 0),
            ("login = 'eve'", "event_login", 0),
        ] {
            assert_eq!(lines(condition).len(), count, "{condition}");
            let mut plan = asked
                .prepare(&format!("EXPLAIN QUERY PLAN SELECT id FROM events WHERE {condition}"))
                .unwrap();
            let steps =
                plan.query_map([], |row| row.get(3)).unwrap().collect::<Result<Vec<String>, _>>().unwrap();
            assert!(steps.iter().any(|step| step.contains(index)), "{condition}: {steps:?}");
        }
        assert!(asked.execute("DELETE FROM event", []).is_err());
        end(inlet);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn dead_letters_are_kept_within_bounds() {
        let path = place("dead");
        let (journal, mut inlet) = Journal::begin(&path, &limits(64 << 20)).unwrap();
        write(&mut inlet, 1..3);
        let mut cursor = journal.cursor("out");
        let entry = cursor.read(ALL).unwrap().remove(1);
        let large = Entry { line: "x".repeat(1 << 20), ..entry.clone() };
        cursor.refuse(&entry, &"é".repeat(2000)).unwrap();
        (0..6).for_each(|_| cursor.refuse(&large, "too large").unwrap());
        let asked = read_only(&path).unwrap();
        let (count, reason): (i64, String) = asked
            .query_row("SELECT count(*), max(reason) FROM dead", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!((count, &*reason), (3, "too large"));
        cursor.refuse(&Entry { line: "y".repeat(9 << 20), ..entry.clone() }, &"é".repeat(2000)).unwrap();
        let row =
            asked.query_row("SELECT event, length(reason), length(line), count(*) FROM dead", [], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            });
        assert_eq!(row.unwrap(), ("a1-2".to_owned(), 512, 9 << 20, 1), "the last is kept whatever it has");
        end(inlet);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_damaged_one_is_set_aside_when_it_is_begun() {
        let path = place("damaged");
        let (_, mut inlet) = Journal::begin(&path, &limits(64 << 20)).unwrap();
        write(&mut inlet, 1..5001);
        end(inlet);
        let folder = Folder::open(&path).unwrap();
        let size = folder.bytes();
        let file = fs::OpenOptions::new().write(true).open(folder.database()).unwrap();
        file.write_all_at(&[0x5a; 40_960], size / 8 * 4 / 4096 * 4096).unwrap();
        let (journal, mut inlet) = Journal::begin(&path, &limits(64 << 20)).unwrap();
        let mut cursor = journal.cursor("out");
        write(&mut inlet, 1..11);
        let (aside, what) = journal.status().aside.unwrap();
        assert!(
            aside.exists() && (what.contains("damaged") || what.contains("malformed")),
            "{aside:?} {what}"
        );
        assert_eq!(rest(&mut cursor, ALL), Vec::from_iter(1..11));
        end(inlet);
        fs::write(folder.database(), "this is no database and never was one").unwrap();
        let (journal, inlet) = Journal::begin(&path, &limits(64 << 20)).unwrap();
        assert!(journal.status().aside.is_some());
        end(inlet);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn one_that_is_damaged_meanwhile_is_replaced_and_outputs_are_told() {
        let path = place("meanwhile");
        let (journal, mut inlet) = Journal::begin(&path, &limits(64 << 20)).unwrap();
        let mut cursor = journal.cursor("out");
        write(&mut inlet, 1..101);
        assert_eq!(cursor.read(Most { events: 40, bytes: usize::MAX }).unwrap().len(), 40);
        cursor.acknowledge(40).unwrap();
        // As no program of ours does: an index is gone from under it.
        let spoiler = Connection::open(Folder::open(&path).unwrap().database()).unwrap();
        let spoilt = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 1 WHERE name = 'event_time'; \
            PRAGMA schema_version = 99";
        spoiler.execute_batch(spoilt).unwrap();
        drop(spoiler);
        write(&mut inlet, 101..201);
        assert!(journal.status().aside.is_some(), "{:?}", journal.status());
        assert_eq!(rest(&mut cursor, ALL), Vec::from_iter(101..201));
        assert_eq!(cursor.dropped(), 60);
        cursor.acknowledge(150).unwrap();
        cursor.rewind();
        assert_eq!(rest(&mut cursor, ALL), Vec::from_iter(151..201));
        drop(cursor);
        assert_eq!(rest(&mut journal.cursor("out"), ALL), Vec::from_iter(151..201));
        end(inlet);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_reader_that_stays_holds_it_up_within_its_bounds() {
        let path = place("reader");
        let most = 8 << 20;
        let (journal, mut inlet) = Journal::begin(&path, &limits(most)).unwrap();
        write(&mut inlet, 1..101);
        let mut asked = read_only(&path).unwrap();
        let reading = asked.transaction().unwrap();
        let count = |reading: &Connection| {
            reading.query_row("SELECT count(*) FROM event", [], |row| row.get::<_, i64>(0))
        };
        assert_eq!(count(&reading), Ok(100));
        let (mut number, began) = (101, Instant::now());
        while journal.status().fault.is_none() {
            assert!(began.elapsed() < PATIENCE);
            number += u64::from(inlet.write(&record(number), format!("{}\n", line(number)).as_bytes()));
            inlet.flush();
        }
        let fault = journal.status().fault.unwrap();
        assert!(fault.full && fault.what.contains("while somebody reads"), "{fault:?}");
        assert!(Folder::open(&path).unwrap().bytes() <= most);
        assert_eq!(count(&reading), Ok(100));
        drop(reading);
        write(&mut inlet, number..number + 1);
        let Status { fault, last, .. } = journal.status();
        assert_eq!((fault, last), (None, number), "nothing that was taken is lost");
        end(inlet);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn two_at_once_is_one_too_many() {
        let path = place("two");
        let (_, inlet) = Journal::begin(&path, &limits(64 << 20)).unwrap();
        let error = Journal::begin(&path, &limits(64 << 20)).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(&format!("(pid {})", std::process::id())), "{error}");
        end(inlet);
        end(Journal::begin(&path, &limits(64 << 20)).unwrap().1);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
