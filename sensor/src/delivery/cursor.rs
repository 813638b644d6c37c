//! Where an output reads from: its place in the journal.

use std::time::Duration;

pub use crate::journal::Entry;
use crate::{
    journal::{self, Most},
    output::Load,
};

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

impl Cursor for journal::Cursor {
    fn read(&mut self, most: Load) -> Result<Vec<Entry>, CursorError> {
        let Load { events, bytes } = most;
        Ok(self.read(Most { events, bytes })?)
    }

    fn acknowledge(&mut self, position: u64) -> Result<(), CursorError> {
        Ok(self.acknowledge(position)?)
    }

    fn refuse(&mut self, entry: &Entry, reason: &str) -> Result<(), CursorError> {
        Ok(self.refuse(entry, reason)?)
    }

    fn rewind(&mut self) {
        self.rewind();
    }

    fn dropped(&mut self) -> u64 {
        self.dropped()
    }

    fn wait(&self, at_most: Duration) {
        self.wait(at_most);
    }
}
