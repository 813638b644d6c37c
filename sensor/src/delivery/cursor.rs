//! Where an output reads from: its place in the journal.

use std::time::Duration;

use crate::output::Load;

/// One event of the journal, and what is asked of it without reading its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place: rises from one to the next.
    pub position: u64,
    /// `event.id`.
    pub id: String,
    /// `@timestamp`, nanoseconds since 1970.
    pub time: i64,
    /// `event.action`.
    pub action: String,
    /// `event.severity`, 0 where there is none.
    pub severity: u64,
    /// `user.name`, else `user.id`; none where nobody acted.
    pub user: Option<String>,
    /// The event as the format `ecs` writes it, without the line's end.
    pub line: String,
}

/// Why the journal gives nothing.
pub type CursorError = Box<dyn std::error::Error + Send + Sync>;

/// An output's place in the journal. What isn't acknowledged is read again by the next run.
pub trait Cursor: Send {
    /// What comes after what was read last, in order: so much at most, and at least one event if there is any.
    ///
    /// # Errors
    /// When the journal can't be read.
    fn read(&mut self, most: Load) -> Result<Vec<Entry>, CursorError>;

    /// All up to this position is dealt with, for good.
    ///
    /// # Errors
    /// When it can't be noted; it is told again by a later position.
    fn acknowledge(&mut self, position: u64) -> Result<(), CursorError>;

    /// The far side will never take it: keeps it with the reason.
    ///
    /// # Errors
    /// When it can't be kept.
    fn refuse(&mut self, entry: &Entry, reason: &str) -> Result<(), CursorError>;

    /// Reading goes on after what was acknowledged.
    fn rewind(&mut self);

    /// How many events the journal dropped before this cursor had read them, since this was last asked.
    fn dropped(&mut self) -> u64;

    /// Waits until there may be something new, so long at most.
    fn wait(&self, at_most: Duration);
}
