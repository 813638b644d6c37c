//! Words as numbers: each word is stored once, and the last ones are remembered.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{JournalError, batch::WORDS};

/// Most bytes of words that are remembered; then all are forgotten.
const BYTES_MOST: usize = 8 * 1024 * 1024;
/// What a short word takes beside its bytes.
const EACH: usize = 64;

/// Numbers of words that are known to be stored.
#[derive(Debug, Default)]
pub(super) struct Words {
    known: [HashMap<Box<[u8]>, i64>; WORDS.len()],
    bytes: usize,
}

impl Words {
    /// The number of a word of this kind, which is stored when it is new.
    pub fn number(&mut self, work: &Connection, kind: usize, word: &[u8]) -> Result<i64, JournalError> {
        let Some((known, table)) = self.known.get_mut(kind).zip(WORDS.get(kind)) else {
            return Err(JournalError::Damaged { what: format!("there are no words of kind {kind}") });
        };
        if let Some(number) = known.get(word) {
            return Ok(*number);
        }
        let number = stored(work, table, word).map_err(JournalError::database("writing a word to"))?;
        self.bytes += word.len() + EACH;
        known.insert(word.into(), number);
        if self.bytes > BYTES_MOST {
            *self = Self::default();
        }
        Ok(number)
    }

    /// Drops those words that only events before this position have.
    pub fn drop_before(&mut self, work: &Connection, cut: i64) -> Result<(), JournalError> {
        for (table, known) in WORDS.iter().zip(&mut self.known) {
            let sql = format!(
                "DELETE FROM {table} WHERE id IN (SELECT DISTINCT {table} FROM event NOT INDEXED WHERE position < ?1)
                 AND NOT EXISTS (SELECT 1 FROM event WHERE event.{table} = {table}.id AND position >= ?1) RETURNING text"
            );
            let gone = work.prepare_cached(&sql).and_then(|mut delete| {
                delete.query_map([cut], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()
            });
            for word in gone.map_err(JournalError::database("dropping the oldest words of"))? {
                known.remove(word.as_bytes());
            }
        }
        Ok(())
    }
}

fn stored(work: &Connection, table: &str, word: &[u8]) -> rusqlite::Result<i64> {
    let word = String::from_utf8_lossy(word);
    // Most words that aren't remembered are new.
    let sql = format!("INSERT INTO {table}(text) VALUES (?1) ON CONFLICT(text) DO NOTHING");
    if work.prepare_cached(&sql)?.execute([&word])? == 1 {
        return Ok(work.last_insert_rowid());
    }
    work.prepare_cached(&format!("SELECT id FROM {table} WHERE text = ?1"))?
        .query_row([&word], |row| row.get(0))
}
