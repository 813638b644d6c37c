//! How far an output is: it reads on from there, and says what has arrived.

use std::{ops::Range, sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::{
    Folder, JournalError,
    block::Lines,
    queue::Queue,
    schema::{self, Access},
    store::{signed, unsigned},
};

/// Most that an output has refused for good and that is kept, of all outputs: events, and bytes of them.
const DEAD_MOST: i64 = 4096;
const DEAD_BYTES_MOST: i64 = 4 * 1024 * 1024;
/// Longest reason that is kept, bytes: it is the far side's words.
const REASON_MOST: usize = 1024;

/// What stands in the way of an event in the order of positions, first of all.
const READ_SQL: &str = "SELECT event.position, event.block, event.time, event.severity, event.sequence, run.text, action.text, \
    user.text FROM event CROSS JOIN run ON run.id = event.run CROSS JOIN action ON action.id = event.action \
    LEFT JOIN user ON user.id = event.user WHERE event.position > ?1 ORDER BY event.position LIMIT ?2";

/// Most that is read at once: what a far side takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Events.
    pub events: usize,
    /// Bytes of their lines.
    pub bytes: usize,
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Rises by one with each event that was stored.
    pub position: u64,
    /// `event.id`.
    pub id: String,
    /// `@timestamp`, nanoseconds since 1970.
    pub time: i64,
    /// `event.action`.
    pub action: String,
    /// `event.severity`; 0 where there is none.
    pub severity: u64,
    /// `user.name`, else `user.id`.
    pub user: Option<String>,
    /// The event in ECS as JSON, without its end; empty where what is stored of it is damaged.
    pub line: String,
}

/// The place of one output in the journal. It has its own connection, and may be in a thread of its own.
pub struct Cursor {
    queue: Arc<Queue>,
    folder: Folder,
    name: String,
    connection: Option<Connection>,
    /// Of the database that the connection is to.
    generation: u64,
    /// Up to where was read, and up to where has arrived; none before that is known.
    places: Option<(u64, u64)>,
    /// Positions after what has arrived that are lost, and counted.
    gone: Vec<Range<u64>>,
    /// Of those, how many nobody was told of.
    dropped: u64,
    /// The block that was read last, by the position of its first event.
    block: Option<(i64, Lines)>,
}

impl Cursor {
    pub(super) fn new(queue: Arc<Queue>, folder: Folder, name: &str) -> Self {
        Self {
            queue,
            folder,
            name: name.to_owned(),
            connection: None,
            generation: 0,
            places: None,
            gone: Vec::new(),
            dropped: 0,
            block: None,
        }
    }

    /// What comes after what was read last, in order; empty when there is nothing. One event is given also when it alone has more bytes.
    ///
    /// # Errors
    /// When the journal can't be read at this moment. Reading goes on at the same place.
    pub fn read(&mut self, most: Most) -> Result<Vec<Entry>, JournalError> {
        let (ready, last) = {
            let state = self.queue.lock();
            (state.ready, state.status.last)
        };
        if !ready || self.places.is_some_and(|(read, _)| read >= last) {
            return Ok(Vec::new());
        }
        let entries = self.connected(|cursor, connection| {
            let (read, _) = cursor.places(connection)?;
            entries(connection, &mut cursor.block, read, most)
        })?;
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            self.skip_to(first.position);
            self.places = self.places.map(|(_, arrived)| (last.position, arrived));
        }
        Ok(entries)
    }

    /// All up to there has arrived. It is noted before this returns.
    ///
    /// # Errors
    /// When it can't be noted: then more comes again after a restart than must.
    pub fn acknowledge(&mut self, position: u64) -> Result<(), JournalError> {
        if let Some((_, arrived)) = &mut self.places {
            *arrived = position.max(*arrived);
        }
        self.gone.retain(|range| range.end > position.saturating_add(1));
        self.connected(|cursor, connection| {
            let (_, arrived) = cursor.places(connection)?;
            let sql = "INSERT INTO cursor(name, position) VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET position = \
                excluded.position";
            let note = connection.prepare_cached(sql).and_then(|mut note| note.execute(params![cursor.name, signed(arrived)]));
            note.map(drop).map_err(JournalError::database("noting how far an output is in"))
        })
    }

    /// The far side will never take this one: it is kept with the reason, as one of the last.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn refuse(&mut self, entry: &Entry, reason: &str) -> Result<(), JournalError> {
        let reason = reason.get(..reason.floor_char_boundary(REASON_MOST)).unwrap_or_default();
        self.connected(|cursor, connection| {
            bury(connection, &cursor.name, entry, reason)
                .map_err(JournalError::database("keeping a refused event in"))
        })
    }

    /// Reading goes on after what has arrived.
    pub fn rewind(&mut self) {
        self.places = self.places.map(|(_, arrived)| (arrived, arrived));
    }

    /// How many events the journal dropped before they had arrived, since this was last asked.
    pub fn dropped(&mut self) -> u64 {
        let oldest = self.queue.lock().status.oldest;
        self.skip_to(oldest);
        std::mem::take(&mut self.dropped)
    }

    /// Waits so long, or until there is something to be read.
    pub fn wait(&self, at_most: Duration) {
        let read = self.places.map_or(0, |(read, _)| read);
        drop(self.queue.wait(at_most, |state| state.ready && state.status.last > read));
    }

    /// What lies before this position and was not read is gone.
    fn skip_to(&mut self, oldest: u64) {
        let Some((read, _)) = &mut self.places else { return };
        let from = *read + 1;
        if oldest <= from {
            return;
        }
        *read = oldest - 1;
        let lost = from..oldest;
        let inside = |range: &Range<u64>| range.end.min(lost.end).saturating_sub(range.start.max(lost.start));
        // After a rewind, what was skipped before is there once more, and is told already.
        let known: u64 = self.gone.iter().map(inside).sum();
        self.dropped += (lost.end - lost.start).saturating_sub(known);
        self.gone.retain(|range| inside(range) == 0);
        self.gone.push(lost);
    }

    /// Up to where was read, and has arrived. An output that was never there begins with the oldest event.
    fn places(&mut self, connection: &Connection) -> Result<(u64, u64), JournalError> {
        if let Some(places) = self.places {
            return Ok(places);
        }
        let noted = connection
            .query_row("SELECT position FROM cursor WHERE name = ?1", [&self.name], |row| row.get(0))
            .optional()
            .map_err(JournalError::database("reading"))?;
        let oldest = self.queue.lock().status.oldest;
        // One that was noted in another database may be ahead of this.
        let last = self.queue.lock().status.last;
        let arrived = noted.map_or(oldest.saturating_sub(1), unsigned).min(last);
        self.places = Some((arrived, arrived));
        Ok((arrived, arrived))
    }

    /// Does something with the connection, which is made where there is none to the present database.
    fn connected<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut Connection) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let queue = Arc::clone(&self.queue);
        let generation = queue.generation.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.generation != *generation {
            (self.connection, self.block, self.generation) = (None, None, *generation);
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => schema::open(&self.folder, Access::Note)?,
        };
        let result = work(self, &mut connection);
        self.connection = Some(connection);
        result
    }
}

/// A row of an event: what is known of it but its line, and where that is.
fn row(row: &Row<'_>) -> rusqlite::Result<(Entry, i64)> {
    let (position, sequence): (i64, Option<i64>) = (row.get(0)?, row.get(4)?);
    let run: String = row.get(5)?;
    let entry = Entry {
        position: unsigned(position),
        id: sequence.map_or_else(|| run.clone(), |sequence| format!("{run}-{sequence}")),
        time: row.get(2)?,
        action: row.get(6)?,
        severity: row.get::<_, Option<i64>>(3)?.map_or(0, unsigned),
        user: row.get(7)?,
        line: String::new(),
    };
    Ok((entry, row.get(1)?))
}

fn entries(
    connection: &mut Connection,
    known: &mut Option<(i64, Lines)>,
    after: u64,
    most: Most,
) -> Result<Vec<Entry>, JournalError> {
    let failed = JournalError::database("reading");
    // All of one moment: rows and their lines.
    let work = connection.transaction().map_err(&failed)?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let mut read = work.prepare_cached(READ_SQL).map_err(&failed)?;
    let limit = i64::try_from(most.events.max(1)).unwrap_or(i64::MAX);
    let mut rows = read.query(params![signed(after), limit]).map_err(&failed)?;
    while let Some(next) = rows.next().map_err(&failed)? {
        let (mut entry, block) = row(next).map_err(&failed)?;
        let place = entry.position.saturating_sub(unsigned(block));
        let line = match line(&work, known, block, place) {
            // What else is of this block is as good as it was.
            Err(JournalError::Damaged { .. }) => String::new(),
            line => line?,
        };
        if !entries.is_empty() && bytes + line.len() > most.bytes {
            break;
        }
        bytes += line.len();
        entry.line = line;
        entries.push(entry);
    }
    Ok(entries)
}

/// The line at a place of a block, which is remembered.
pub(super) fn line(
    connection: &Connection,
    known: &mut Option<(i64, Lines)>,
    block: i64,
    place: u64,
) -> Result<String, JournalError> {
    let place = usize::try_from(place).unwrap_or(usize::MAX);
    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    // The last block still grows.
    if let Some((_, lines)) = known.as_ref().filter(|(first, _)| *first == block)
        && let Some(line) = lines.get(place)
    {
        return Ok(text(line));
    }
    let read =
        connection.prepare_cached("SELECT lines, bytes FROM block WHERE first = ?1").and_then(|mut read| {
            let packed = |row: &Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?));
            read.query_row([block], packed).optional()
        });
    let missing = || JournalError::Damaged { what: "the line of an event is missing".to_owned() };
    let (packed, bytes) = read.map_err(JournalError::database("reading"))?.ok_or_else(missing)?;
    let lines = Lines::unpack(&packed, usize::try_from(bytes).unwrap_or(usize::MAX))?;
    let line = lines.get(place).map(text).ok_or_else(missing)?;
    *known = Some((block, lines));
    Ok(line)
}

/// Keeps an event that was refused, and no more of them than may be.
fn bury(connection: &mut Connection, output: &str, entry: &Entry, reason: &str) -> rusqlite::Result<()> {
    let work = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = "SELECT coalesce((SELECT sum + octet_length(line) + octet_length(reason) FROM dead ORDER BY id DESC LIMIT 1), 0)";
    let before: i64 = work.query_row(before, [], |row| row.get(0))?;
    let all = before.saturating_add(signed((entry.line.len() + reason.len()) as u64));
    let sql = "INSERT INTO dead(output, position, event, time, reason, line, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let position = signed(entry.position);
    work.execute(sql, params![output, position, entry.id, entry.time, reason, entry.line, before])?;
    let last = work.last_insert_rowid();
    work.execute(
        "DELETE FROM dead WHERE id <= ?1 OR (sum < ?2 AND id <> ?3)",
        [last - DEAD_MOST, all - DEAD_BYTES_MOST, last],
    )?;
    work.commit()
}
