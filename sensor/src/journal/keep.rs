//! The thread that writes: what comes through the queue is stored, whatever stands in the way in the meantime.

use std::{fs::File, sync::Arc, thread, time::Duration};

use nix::fcntl::Flock;

use super::{
    Folder, JournalError,
    batch::Batch,
    queue::{Fault, Queue},
    store::{Span, Store},
};
use crate::config;

/// How long after something went wrong it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is tried at the end, and how soon again.
const LAST_TRIES: u32 = 5;
const LAST_AGAIN: Duration = Duration::from_millis(200);

/// All of it.
pub(super) struct Keeper {
    queue: Arc<Queue>,
    folder: Folder,
    limits: config::Journal,
    /// None while there is no space to begin with one, and after a damaged one was closed and no new one could be opened yet.
    store: Option<Store>,
    span: Span,
    /// Held as long as this writes.
    _lock: Flock<File>,
}

impl Keeper {
    /// Opens the database of a folder that is locked. One that can't be read is set aside.
    pub fn open(
        queue: Arc<Queue>,
        folder: Folder,
        limits: config::Journal,
        lock: Flock<File>,
    ) -> Result<Self, JournalError> {
        let span = Span { oldest: 1, next: 1 };
        let mut keeper = Self { queue, folder, limits, store: None, span, _lock: lock };
        match keeper.reopen() {
            Err(error) if error.damaged() => keeper.replace(&error)?,
            // It goes on by itself, and until then all waits.
            Err(error) if error.full() || error.unwritten() => keeper.tell(&error),
            opened => opened?,
        }
        Ok(keeper)
    }

    fn reopen(&mut self) -> Result<(), JournalError> {
        let store = Store::open(&self.folder, &self.limits, self.span.next)?;
        self.span = store.span();
        self.store = Some(store);
        let Span { oldest, next } = self.span;
        self.queue.tell(|state| (state.status.oldest, state.status.last) = (oldest, next - 1));
        Ok(())
    }

    /// Sets a damaged one aside and begins a new one, whose positions follow those of the old one.
    fn replace(&mut self, error: &JournalError) -> Result<(), JournalError> {
        let queue = Arc::clone(&self.queue);
        // Nobody opens what is being moved.
        let mut generation = queue.generation.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *generation += 1;
        self.store = None;
        if self.folder.database().exists() {
            let aside = self.folder.set_aside()?;
            let what = error.sentence();
            self.queue.tell(|state| state.status.aside = Some((aside, what)));
        }
        self.span.oldest = self.span.next;
        self.reopen()
    }

    /// Writes until nothing more comes.
    pub fn run(mut self) {
        let checked = self.store.as_ref().map_or(Ok(()), Store::check);
        if let Err(error) = checked {
            self.cope(&error);
        }
        self.queue.tell(|state| state.ready = self.store.is_some());
        let most = Store::load_most(&self.limits);
        loop {
            let work = self.queue.take(most);
            if let Some((store, names)) = self.store.as_mut().zip(work.cursors)
                && let Err(error) = store.keep_cursors(&names)
            {
                self.cope(&error);
            }
            let stored = work.batches.is_empty() || self.store(&work.batches);
            if work.last || !stored {
                break;
            }
        }
        if let Some(store) = self.store.take() {
            store.close();
        }
        let queue = Arc::clone(&self.queue);
        // The next run may begin.
        drop(self);
        queue.done();
    }

    /// Stores these; false when that can't be at the end.
    fn store(&mut self, batches: &[Batch]) -> bool {
        let mut tries = 0;
        loop {
            let written = match &mut self.store {
                Some(store) => store.write(batches),
                None => self.begin_late().and_then(|()| {
                    let store = self.store.as_mut();
                    store.map_or(Ok(()), |store| store.write(batches))
                }),
            };
            if let Some(store) = &self.store {
                self.span = store.span();
            }
            let Err(error) = written else {
                self.queue.stored(batches, self.span.oldest, self.span.next - 1);
                return true;
            };
            self.cope(&error);
            if self.queue.pause(AGAIN) {
                tries += 1;
                if tries == LAST_TRIES {
                    return false;
                }
                thread::sleep(LAST_AGAIN);
            }
        }
    }

    /// Says what is wrong, and begins a new database in place of a damaged one.
    /// Opens what couldn't be opened before, and looks whether it is whole.
    fn begin_late(&mut self) -> Result<(), JournalError> {
        self.reopen()?;
        self.store.as_ref().map_or(Ok(()), Store::check)?;
        self.queue.tell(|state| state.ready = true);
        Ok(())
    }

    fn cope(&mut self, error: &JournalError) {
        self.tell(error);
        if error.damaged()
            && let Err(error) = self.replace(error)
        {
            self.tell(&error);
        }
    }

    fn tell(&self, error: &JournalError) {
        let fault = Fault { what: error.sentence(), full: error.full() };
        self.queue.tell(|state| state.status.fault = Some(fault));
    }
}
