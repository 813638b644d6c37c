//! The database as the one who keeps it sees it: events are added, the oldest are dropped, and it stays within its bounds.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{
    Folder, JournalError,
    batch::{ALWAYS, Batch},
    block::Open,
    schema::{self, Access, PATIENCE},
    words::Words,
};
use crate::config;

/// Part of all bytes that is for what is written before it reaches the database, and most of it.
const AHEAD_PART: u64 = 4;
const AHEAD_MOST: u64 = 96 * 1024 * 1024;
/// SQLite's index of that, and what rounding takes.
const INDEX: u64 = 256 * 1024;
/// Part of all bytes that may be written at once, and bounds of it: what is written in one go changes each page once.
const LOAD_PART: u64 = 64;
const LOAD_LEAST: u64 = 64 * 1024;
const LOAD_MOST: u64 = 16 * 1024 * 1024;
/// What an event takes at most beside its line and words: its row, and a row of each index.
const EVENT: u64 = 768;
/// What is written beside all events at most: pages that are split.
const BESIDE: u64 = 64 * 4096;
/// Part of all events that is dropped at once, and most of them: nobody else can write meanwhile.
const DROP_PART: i64 = 64;
const DROP_MOST: i64 = 2048;
/// How long is waited for readers to let go of what was written ahead.
const BRIEF: std::time::Duration = std::time::Duration::from_millis(100);

const EVENT_SQL: &str = "INSERT INTO event(position, block, time, severity, sequence, run, action, entity, user, login, \
    executable, remote) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
const BLOCK_SQL: &str = "INSERT INTO block(first, events, until, bytes, lines) VALUES (?1, ?2, ?3, ?4, ?5) \
    ON CONFLICT(first) DO UPDATE SET events = excluded.events, until = excluded.until, bytes = excluded.bytes, \
    lines = excluded.lines";

/// The positions that are there: the first, and the one after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub oldest: u64,
    pub next: u64,
}

/// The database.
pub(super) struct Store {
    connection: Connection,
    folder: Folder,
    limits: config::Journal,
    words: Words,
    /// The block that the next event goes into.
    open: Option<Open>,
    span: Span,
}

/// As SQLite counts.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// As we do: SQLite holds nothing that is less than 0.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Store {
    /// Opens the one in this folder, or makes it. The first event of an empty one is at this position.
    pub fn open(folder: &Folder, limits: &config::Journal, first: u64) -> Result<Self, JournalError> {
        let connection = schema::open(folder, Access::Keep)?;
        let failed = JournalError::database("opening");
        let page: u64 = connection
            .pragma_query_value(None, "page_size", |row| row.get(0))
            .map(unsigned)
            .map_err(&failed)?;
        let mut store = Self {
            connection,
            folder: folder.clone(),
            limits: limits.clone(),
            words: Words::default(),
            open: None,
            span: Span { oldest: first, next: first },
        };
        let pages = signed(store.ahead_most() / 4 / page.max(1));
        store.connection.pragma_update(None, "wal_autocheckpoint", pages).map_err(&failed)?;
        store.span = store.look(first)?;
        Ok(store)
    }

    /// Looks through all of it for damage.
    pub fn check(&self) -> Result<(), JournalError> {
        schema::check(&self.connection)
    }

    /// What is there.
    pub fn span(&self) -> Span {
        self.span
    }

    /// So many bytes are to be written at once at most.
    pub fn load_most(limits: &config::Journal) -> usize {
        let most = (limits.max_bytes.get() / LOAD_PART).clamp(LOAD_LEAST, LOAD_MOST);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    fn ahead_most(&self) -> u64 {
        (self.limits.max_bytes.get() / AHEAD_PART).min(AHEAD_MOST)
    }

    fn look(&self, first: u64) -> Result<Span, JournalError> {
        let read = self.connection.query_row("SELECT min(position), max(position) FROM event", [], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
        });
        Ok(match read.map_err(JournalError::database("reading"))? {
            (Some(oldest), Some(last)) => Span { oldest: unsigned(oldest), next: unsigned(last) + 1 },
            _ => Span { oldest: first, next: first },
        })
    }

    /// Adds events after those that are there, all or none, and drops what has to go for them.
    pub fn write(&mut self, batches: &[Batch]) -> Result<(), JournalError> {
        let (mut bytes, mut events) = (0, 0);
        for batch in batches {
            bytes += batch.bytes() as u64;
            events += batch.len() as u64;
        }
        // A word stands in its table and in the index of that.
        let need = 2 * bytes + EVENT * events + BESIDE;
        let result = self
            .make_room(need, batches.iter().rev().find_map(Batch::newest))
            .and_then(|()| self.add(batches));
        if result.is_err() {
            // Whatever was begun is not there.
            (self.words, self.open) = (Words::default(), None);
        }
        result
    }

    fn add(&mut self, batches: &[Batch]) -> Result<(), JournalError> {
        let failed = JournalError::database("writing to");
        let Self { connection, words, open, span, .. } = self;
        let work = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let mut next = span.next;
        {
            let mut event = work.prepare_cached(EVENT_SQL).map_err(&failed)?;
            for item in batches.iter().flat_map(Batch::iter) {
                let block = open.get_or_insert_with(|| Open::new(next));
                let mut numbers = [None; super::batch::WORDS.len()];
                for (kind, (word, number)) in item.words.iter().zip(&mut numbers).enumerate() {
                    let word = word.or((kind < ALWAYS).then_some(&[][..]));
                    *number = word.map(|word| words.number(&work, kind, word)).transpose()?;
                }
                let [run, action, entity, user, login, executable, remote] = numbers;
                let head = item.head;
                let (severity, sequence) = (head.severity.map(signed), head.sequence.map(signed));
                let (position, first) = (signed(next), signed(block.first));
                event
                    .execute(params![
                        position, first, head.time, severity, sequence, run, action, entity, user, login,
                        executable, remote
                    ])
                    .map_err(&failed)?;
                block.push(item.line, head.time);
                next += 1;
                if block.is_full() {
                    put(&work, block)?;
                    *open = None;
                }
            }
        }
        if let Some(block) = open {
            put(&work, block)?;
        }
        work.commit().map_err(&failed)?;
        span.next = next;
        Ok(())
    }

    /// Drops the oldest until so many bytes have room, and what is too old beside what is new.
    fn make_room(&mut self, need: u64, newest: Option<i64>) -> Result<(), JournalError> {
        let most = self.limits.max_bytes.get().saturating_sub(self.ahead_most()).saturating_sub(INDEX);
        let age = signed(self.limits.max_age_s).saturating_mul(1_000_000_000);
        let old = newest.map_or(i64::MIN, |newest| newest.saturating_sub(age));
        loop {
            self.shorten_ahead()?;
            let (used, all, page) = self.sizes()?;
            if used + need <= most && self.oldest_until()?.is_none_or(|until| until >= old) {
                return match all.saturating_sub(most.max(used + need)) / page.max(1) {
                    0 => Ok(()),
                    // It was allowed to be larger before.
                    pages => self.shrink(pages),
                };
            }
            if !self.drop_some()? {
                return Ok(());
            }
        }
    }

    /// Bytes in use, of the whole database, and of a page.
    fn sizes(&self) -> Result<(u64, u64, u64), JournalError> {
        let number = |name| -> Result<u64, JournalError> {
            let read = self.connection.pragma_query_value(None, name, |row| row.get(0));
            read.map(unsigned).map_err(JournalError::database("reading the size of"))
        };
        let (page, all, free) = (number("page_size")?, number("page_count")?, number("freelist_count")?);
        Ok((all.saturating_sub(free) * page, all * page, page))
    }

    fn shrink(&self, pages: u64) -> Result<(), JournalError> {
        let failed = JournalError::database("shrinking");
        let mut shrink =
            self.connection.prepare(&format!("PRAGMA incremental_vacuum({pages})")).map_err(&failed)?;
        let mut rows = shrink.query([]).map_err(&failed)?;
        // A page a row.
        while rows.next().map_err(&failed)?.is_some() {}
        Ok(())
    }

    /// The latest time of an event of the oldest block.
    fn oldest_until(&self) -> Result<Option<i64>, JournalError> {
        let read = self
            .connection
            .prepare_cached("SELECT until FROM block ORDER BY first LIMIT 1")
            .and_then(|mut read| read.query_row([], |row| row.get(0)).optional());
        read.map_err(JournalError::database("reading"))
    }

    /// Moves into the database what was written ahead of it where that is much.
    fn shorten_ahead(&mut self) -> Result<(), JournalError> {
        let most = self.ahead_most() / 2;
        if self.folder.bytes_ahead() <= most {
            return Ok(());
        }
        let failed = JournalError::database("moving what was written into");
        self.connection.busy_timeout(BRIEF).map_err(&failed)?;
        let moved = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.connection.busy_timeout(PATIENCE).map_err(&failed)?;
        moved.map_err(&failed)?;
        match self.folder.bytes_ahead() <= most {
            true => Ok(()),
            false => Err(JournalError::Held),
        }
    }

    /// Drops some of the oldest blocks; false where there is but one.
    fn drop_some(&mut self) -> Result<bool, JournalError> {
        let failed = JournalError::database("dropping the oldest of");
        let Self { connection, words, span, .. } = self;
        let (oldest, next) = (signed(span.oldest), signed(span.next));
        let some = oldest.saturating_add(((next - oldest) / DROP_PART).clamp(1, DROP_MOST));
        let work = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let first = "SELECT coalesce((SELECT first FROM block WHERE first >= ?1 ORDER BY first LIMIT 1), (SELECT max(first) \
            FROM block), 0)";
        let cut: i64 = work.query_row(first, [some], |row| row.get(0)).map_err(&failed)?;
        if cut <= oldest {
            return Ok(false);
        }
        words.drop_before(&work, cut)?;
        for sql in ["DELETE FROM event WHERE position < ?1", "DELETE FROM block WHERE first < ?1"] {
            work.execute(sql, [cut]).map_err(&failed)?;
        }
        work.commit().map_err(&failed)?;
        span.oldest = unsigned(cut);
        Ok(true)
    }

    /// Forgets cursors that have none of these names.
    pub fn keep_cursors(&mut self, names: &[String]) -> Result<(), JournalError> {
        let failed = JournalError::database("forgetting an output in");
        let work =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let known = work.prepare("SELECT name FROM cursor").and_then(|mut read| {
            read.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()
        });
        for name in known.map_err(&failed)?.iter().filter(|name| !names.contains(name)) {
            work.execute("DELETE FROM cursor WHERE name = ?1", [name]).map_err(&failed)?;
        }
        work.commit().map_err(&failed)
    }

    /// Nothing more comes: all is in the database itself, unless somebody reads.
    pub fn close(self) {
        // What stays ahead of it is read there.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

fn put(work: &Transaction<'_>, block: &Open) -> Result<(), JournalError> {
    let values = params![
        signed(block.first),
        block.events,
        block.until,
        signed(block.lines.len() as u64),
        block.packed()
    ];
    let put = work.prepare_cached(BLOCK_SQL).and_then(|mut put| put.execute(values));
    put.map(drop).map_err(JournalError::database("writing to"))
}
