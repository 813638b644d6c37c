//! Between the one loop and the thread that writes: a bounded queue that never makes the loop wait, and what the thread says of
//! itself.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use super::batch::Batch;
use crate::{
    event::{coverage, loss, wanted::Told as _},
    record::Record,
};

/// Most that waits to be written: bytes of memory, and events.
const BYTES_MOST: usize = 32 * 1024 * 1024;
const EVENTS_MOST: usize = 65_536;
/// The share of both that is kept for alerts, and for what is told of losses and of coverage: a flood leaves it free.
const KEPT: usize = 8;
/// So much is worth being written without waiting for more.
const ENOUGH: usize = 4 * 1024 * 1024;
/// How long is waited for more.
const GATHER: Duration = Duration::from_secs(1);
/// Bytes that the loop gathers before it hands them over unasked.
const FILL: usize = 256 * 1024;

/// What keeps the thread from writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In a sentence.
    pub what: String,
    /// Whether there is no space.
    pub full: bool,
}

/// How the journal fares.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Events that are stored, by this run.
    pub written: u64,
    /// Events that wait.
    pub waiting: u64,
    /// Position of the oldest event that is there; those before it were dropped.
    pub oldest: u64,
    /// Position of the last event that is there; 0 before the first ever.
    pub last: u64,
    /// What keeps it from being written to.
    pub fault: Option<Fault>,
    /// Where the one is that was damaged and is replaced, and what was wrong with it.
    pub aside: Option<(PathBuf, String)>,
}

/// What both sides know.
#[derive(Default)]
pub(super) struct State {
    batches: VecDeque<Batch>,
    bytes: usize,
    pub status: Status,
    /// The database can be used.
    pub ready: bool,
    /// Cursors of other names are to be forgotten.
    pub cursors: Option<Vec<String>>,
    /// Something shall be written at once.
    urgent: bool,
    /// Nothing more comes.
    ended: bool,
    /// The thread is done.
    done: bool,
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// For the thread: there is something to do.
    work: Condvar,
    /// For all others: the state changed.
    news: Condvar,
    /// Rises when another database comes into the old one's place. Who opens or uses one holds it meanwhile.
    pub generation: RwLock<u64>,
}

/// What the thread is to do.
pub(super) struct Work {
    pub batches: Vec<Batch>,
    /// Nothing comes after these.
    pub last: bool,
    pub cursors: Option<Vec<String>>,
}

impl Queue {
    /// Nobody who holds the lock can fail half way.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do, and a moment for more of it. Takes so many bytes at most, but for a batch that has more by itself.
    pub fn take(&self, most: usize) -> Work {
        let nothing = |state: &mut State| state.batches.is_empty() && !state.ended && state.cursors.is_none();
        let state = self.work.wait_while(self.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        let little = |state: &mut State| state.bytes < ENOUGH && !state.urgent && !state.ended;
        let waited = self.work.wait_timeout_while(state, GATHER, little);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = state.batches.pop_front() {
            if bytes != 0 && bytes + batch.bytes() > most {
                state.batches.push_front(batch);
                break;
            }
            bytes += batch.bytes();
            batches.push(batch);
        }
        state.urgent &= !state.batches.is_empty();
        let (last, cursors) = (state.ended && state.batches.is_empty(), state.cursors.take());
        Work { batches, last, cursors }
    }

    /// Waits so long, or until nothing more comes; gives whether that is so.
    pub fn pause(&self, time: Duration) -> bool {
        let waited = self.work.wait_timeout_while(self.lock(), time, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Changes what is known, and wakes who waits for that.
    pub fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.news.notify_all();
    }

    /// These are stored.
    pub fn stored(&self, batches: &[Batch], oldest: u64, last: u64) {
        let (mut bytes, mut events) = (0, 0);
        for batch in batches {
            bytes += batch.bytes();
            events += batch.len() as u64;
        }
        self.tell(|state| {
            state.bytes = state.bytes.saturating_sub(bytes);
            let status = &mut state.status;
            status.waiting = status.waiting.saturating_sub(events);
            status.written += events;
            (status.oldest, status.last, status.fault) = (oldest, last, None);
        });
    }

    /// Cursors of other names are to be forgotten.
    pub fn want_cursors(&self, names: Vec<String>) {
        self.lock().cursors = Some(names);
        self.work.notify_one();
    }

    /// The thread ends.
    pub fn done(&self) {
        self.tell(|state| state.done = true);
    }

    /// Waits so long for a state.
    pub fn wait(&self, time: Duration, until: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.news.wait_timeout_while(self.lock(), time, |state| !until(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The loop's end of the queue.
pub struct Inlet {
    queue: Arc<Queue>,
    batch: Batch,
    /// What has room beside what was handed over when that was last asked.
    room: (usize, usize),
    urgent: bool,
    refused: u64,
}

impl Inlet {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue, batch: Batch::default(), room: (BYTES_MOST, EVENTS_MOST), urgent: false, refused: 0 }
    }

    /// Takes an event with its line, as the format ECS writes it; never waits. False when it has no room and is counted.
    #[must_use = "a refused event is a loss, to be told"]
    pub fn write(&mut self, record: &Record, line: &[u8]) -> bool {
        let alert = record.number(crate::field::Field::EventSeverity).is_some();
        let kept = alert || [loss::ACTION.name, coverage::ACTION.name].contains(&record.action());
        if !self.has_room(line, kept) {
            self.flush();
            if !self.has_room(line, kept) {
                self.refused += 1;
                return false;
            }
        }
        self.batch.push(record, line);
        // Who kills the sensor shall not keep the alert about him from being stored.
        self.urgent |= alert;
        if self.batch.bytes() >= FILL {
            self.flush();
        }
        true
    }

    fn has_room(&self, line: &[u8], kept: bool) -> bool {
        let (bytes, events) = match kept {
            true => (0, 0),
            false => (BYTES_MOST / KEPT, EVENTS_MOST / KEPT),
        };
        self.batch.bytes() + line.len() + bytes < self.room.0 && self.batch.len() + events < self.room.1
    }

    /// Hands over what was gathered.
    pub fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let mut state = self.queue.lock();
        let (before, urgent) = (state.bytes, std::mem::take(&mut self.urgent));
        if batch.len() != 0 {
            state.bytes += batch.bytes();
            state.status.waiting += batch.len() as u64;
            state.urgent |= urgent;
            state.batches.push_back(batch);
        }
        let waiting = usize::try_from(state.status.waiting).unwrap_or(usize::MAX);
        self.room = (BYTES_MOST.saturating_sub(state.bytes), EVENTS_MOST.saturating_sub(waiting));
        // Else it is awake, or will be in time.
        let wakes = before == 0 || urgent || (before < ENOUGH && state.bytes >= ENOUGH);
        let wake = wakes && state.bytes != before;
        drop(state);
        if wake {
            self.queue.work.notify_one();
        }
    }

    /// How the journal fares; what was gathered and not handed over waits too.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self.queue.lock().status.clone();
        status.waiting += self.batch.len() as u64;
        status
    }

    /// What keeps it from being written to.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.queue.lock().status.fault.clone()
    }

    /// Events that are stored and that wait, as [`Inlet::status`] tells, and that had no room.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        let state = self.queue.lock();
        (state.status.written, state.status.waiting + self.batch.len() as u64, self.refused)
    }

    /// Nothing more comes: waits so long until all is stored, unless that can't be.
    pub fn end(&mut self, patience: Duration) {
        self.flush();
        self.queue.lock().ended = true;
        self.queue.work.notify_one();
        drop(self.queue.wait(patience, |state| state.done));
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.queue.lock().ended = true;
        self.queue.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;

    #[test]
    fn what_has_no_room_is_refused_and_never_waits() {
        let queue = Arc::new(Queue::default());
        let mut inlet = Inlet::new(Arc::clone(&queue));
        let (record, line) = (Record::new(), vec![b'x'; 1024 * 1024]);
        let taken = (0..40).filter(|_| inlet.write(&record, &line)).count();
        assert_eq!((taken, inlet.counts()), (27, (0, 27, 13)), "its words and heads take some room too");
        let work = queue.take(3 * 1024 * 1024);
        assert_eq!((work.batches.len(), work.last), (2, false));
        assert!(!inlet.write(&record, &line), "what is being written is in memory");
        queue.stored(&work.batches, 1, 2);
        assert!(inlet.write(&record, &line) && inlet.write(&record, &line) && !inlet.write(&record, &line));
        assert_eq!(inlet.counts(), (2, 27, 15));
        assert!(inlet.write(&record, b"short\n"));
    }

    #[test]
    fn small_events_have_a_bound_too() {
        let mut inlet = Inlet::new(Arc::default());
        let taken = (0..70_000).filter(|_| inlet.write(&Record::new(), b"x\n")).count();
        assert_eq!(taken, EVENTS_MOST / KEPT * (KEPT - 1));
    }

    #[test]
    fn a_flood_leaves_room_for_alerts_and_losses() {
        let mut inlet = Inlet::new(Arc::default());
        let line = vec![b'x'; 1024 * 1024];
        while inlet.write(&Record::new(), &line) {}
        let mut alert = Record::new();
        alert.set(Field::EventSeverity, 73_u64);
        let losses = loss::record(&[]);
        assert!(inlet.write(&alert, &line) && inlet.write(&losses, &line));
        assert!(!inlet.write(&Record::new(), &line));
        assert!((0..9).any(|_| !inlet.write(&alert, &line)), "they have a bound too");
    }

    #[test]
    fn alerts_and_the_end_wait_for_nothing() {
        let queue = Arc::new(Queue::default());
        let mut inlet = Inlet::new(Arc::clone(&queue));
        let mut alert = Record::new();
        alert.set(Field::EventSeverity, 73_u64);
        assert!(inlet.write(&alert, b"x\n"));
        inlet.flush();
        let began = std::time::Instant::now();
        assert_eq!(queue.take(1).batches.len(), 1);
        assert!(inlet.write(&Record::new(), b"x\n"));
        drop(inlet);
        let work = queue.take(1);
        assert!(
            work.last && work.batches.is_empty(),
            "who drops it without an end gives up what he gathered"
        );
        assert!(queue.pause(GATHER));
        assert!(began.elapsed() < GATHER / 2);
    }
}
