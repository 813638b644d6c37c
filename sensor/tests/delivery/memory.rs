//! A journal in memory, in the place of the one on the disk.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use sensor::{
    delivery::{Cursor, CursorError, Entry},
    output::Load,
};

/// The journal; clones share it.
#[derive(Clone, Default)]
pub struct Memory(Arc<(Mutex<State>, Condvar)>);

/// What it holds, and what became of that.
#[derive(Default)]
pub struct State {
    entries: Vec<Entry>,
    read: usize,
    /// All up to here is dealt with.
    pub acknowledged: u64,
    /// What was refused, with the reason.
    pub dead: Vec<(String, String)>,
}

impl Memory {
    /// With so many events of that size, told by their ids.
    pub fn with(count: u64, size: usize) -> Self {
        let memory = Self::default();
        memory.add(1..=count, size);
        memory
    }

    /// More of them.
    pub fn add(&self, numbers: impl Iterator<Item = u64>, size: usize) {
        let padding = "x".repeat(size.saturating_sub(60));
        let entry = |number: u64| Entry {
            position: number,
            id: id(number),
            time: 1_709_210_096_123_456_789,
            action: "exec".to_owned(),
            severity: 0,
            user: Some("root".to_owned()),
            line: format!(r#"{{"event":{{"action":"exec","id":"{}"}},"message":"é{padding}"}}"#, id(number)),
        };
        self.state().entries.extend(numbers.map(entry));
        self.0.1.notify_all();
    }

    /// One of these words.
    pub fn push(&self, line: &str) {
        let mut state = self.state();
        let number = state.entries.len() as u64 + 1;
        let (action, user) = ("exec".to_owned(), Some("root".to_owned()));
        let (id, line) = (id(number), line.to_owned());
        state.entries.push(Entry { position: number, id, time: 0, action, severity: 0, user, line });
        self.0.1.notify_all();
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    /// Waits until it has come to that.
    pub fn until(&self, so: impl Fn(&State) -> bool) {
        let wait = tests::patience(tests::DEADLINE) * 4;
        let waited = self.0.1.wait_timeout_while(self.state(), wait, |state| !so(state)).unwrap();
        assert!(!waited.1.timed_out(), "acknowledged up to {}", waited.0.acknowledged);
    }
}

/// The id of the event of this number.
pub fn id(number: u64) -> String {
    format!("e4057c27660c0d4b-{number}")
}

impl Cursor for Memory {
    fn read(&mut self, most: Load) -> Result<Vec<Entry>, CursorError> {
        let mut state = self.state();
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.line.len();
            bytes <= most.bytes || bytes == entry.line.len()
        };
        let found: Vec<_> =
            state.entries.iter().skip(state.read).take(most.events).take_while(fits).cloned().collect();
        state.read += found.len();
        Ok(found)
    }

    fn acknowledge(&mut self, position: u64) -> Result<(), CursorError> {
        self.state().acknowledged = position;
        self.0.1.notify_all();
        Ok(())
    }

    fn refuse(&mut self, entry: &Entry, reason: &str) -> Result<(), CursorError> {
        self.state().dead.push((entry.id.clone(), reason.to_owned()));
        Ok(())
    }

    fn rewind(&mut self) {
        let mut state = self.state();
        state.read = state.acknowledged as usize;
    }

    fn dropped(&mut self) -> u64 {
        0
    }

    fn wait(&self, at_most: Duration) {
        let nothing = |state: &mut State| state.read >= state.entries.len();
        drop(self.0.1.wait_timeout_while(self.state(), at_most, nothing).unwrap());
    }
}
