//! What ran, kept: held open while it runs and a moment longer, hashed off the event path, and written to a folder
//! when an alert is about it.
//!
//! Four threads: one takes the files that the kernel gives as they are executed, one hashes, one writes, one closes. The loop asks, and
//! is answered later; it never waits for a file. Each queue is bounded, and what finds no room is said.

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::Notify;

use crate::{background::begin, config, event::Running, record::Text};

pub mod digest;
pub mod folder;
mod held;
mod store;
pub mod wanted;

use folder::FolderError;
pub use held::State;
use held::{Held, Taken};
pub use store::{Captured, Missing, Store};

/// Most files that are held open.
const HELD_MOST: u64 = 4096;
/// Descriptors that are left for all else.
const DESCRIPTORS_LEFT: u64 = 512;
/// Most files that wait to be hashed.
const HASHES_MOST: usize = 1024;
/// Most rounds of files that wait to be closed; more are closed by the loop.
const CLOSES_MOST: usize = 1024;
/// Most executables that wait to be written.
const WRITES_MOST: usize = 256;

/// Where files come from as they are executed.
pub trait Source: Send + Sync {
    /// Waits for the next, and says how many more there were that can't be had.
    ///
    /// # Errors
    /// When there will be nothing more.
    fn next(&self) -> io::Result<(Vec<OwnedFd>, u64)>;
    /// What was given last is held.
    fn held(&self);
    /// Doesn't give this file any more until it is written to.
    fn leave_out(&self, file: BorrowedFd<'_>);
    /// Gives it again.
    fn take_in(&self, file: BorrowedFd<'_>);
}

/// What is told to the loop.
#[derive(Debug)]
pub enum Told {
    /// The hash of a file in this state.
    Hashed(State, Text),
    /// What became of what was asked to be kept.
    Kept(u64, Result<Captured, Missing>),
}

/// What is to be hashed.
type Hash = (State, Arc<File>);

/// What is to be written.
struct Keep {
    ticket: u64,
    file: Arc<File>,
    runners: Vec<(Text, u32)>,
    now: u64,
}

/// All of it.
pub struct Evidence {
    shared: Arc<Shared>,
    keep: SyncSender<Keep>,
    told: Receiver<Told>,
    wake: Arc<Notify>,
    tickets: u64,
}

/// What the threads have in common.
struct Shared {
    held: Held,
    hash: SyncSender<Hash>,
    close: SyncSender<Vec<Arc<File>>>,
    source: Option<Box<dyn Source>>,
    known: Sender<Told>,
    unopened: AtomicU64,
    unhashed: AtomicU64,
    large: AtomicU64,
}

/// How many files that were executed weren't held, or not hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// The kernel couldn't open them, or had no room for them in its queue.
    pub unopened: u64,
    /// They found no room among those that wait to be hashed.
    pub unhashed: u64,
    /// They are larger than is hashed.
    pub large: u64,
}

impl Skipped {
    /// How many more.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            unopened: self.unopened.saturating_sub(before.unopened),
            unhashed: self.unhashed.saturating_sub(before.unhashed),
            large: self.large.saturating_sub(before.large),
        }
    }
}

impl Evidence {
    /// Begins. `now`: seconds since the epoch.
    ///
    /// # Errors
    /// When the folder can't be used.
    pub fn begin(
        folder: &std::path::Path,
        limits: &config::Evidence,
        source: Option<Box<dyn Source>>,
        now: u64,
    ) -> Result<Self, FolderError> {
        let store = Store::open(folder, limits, now)?;
        store.clear(now);
        let (hash, to_hash) = sync_channel(HASHES_MOST);
        let (close, to_close) = sync_channel::<Vec<Arc<File>>>(CLOSES_MOST);
        let (keep, to_keep) = sync_channel(WRITES_MOST);
        let (tell, told) = channel();
        let wake = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            held: Held::new(room()),
            hash,
            close,
            source,
            known: tell.clone(),
            unopened: AtomicU64::new(0),
            unhashed: AtomicU64::new(0),
            large: AtomicU64::new(0),
        });
        let (catcher, hasher, waker) = (Arc::clone(&shared), Arc::clone(&shared), Arc::clone(&wake));
        let most = limits.max_hash_bytes;
        let failed = |error: io::Error| FolderError::new(folder, &error);
        begin("evidence-catch", move || catcher.catch()).map_err(failed)?;
        begin("evidence-hash", move || hasher.hash(&to_hash, most)).map_err(failed)?;
        // Closing the last descriptor of a large file that has no name takes its time.
        begin("evidence-close", move || to_close.into_iter().for_each(drop)).map_err(failed)?;
        let writer = Arc::clone(&shared);
        begin("evidence-write", move || writer.write(store, &to_keep, &tell, &waker)).map_err(failed)?;
        Ok(Self { shared, keep, told, wake, tickets: 0 })
    }

    /// Waits until something that was asked for is there.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What is known of a file that runs: whether it is held, and its hash.
    #[must_use]
    pub fn known(&self, running: &Running) -> (bool, Option<Text>) {
        self.shared.held.known(running)
    }

    /// Holds a file that runs, which the kernel didn't give.
    pub fn hold(&self, file: File) {
        self.shared.take(file);
    }

    /// Whether a file that runs is held.
    #[must_use]
    pub fn holds(&self, running: &Running) -> bool {
        self.held(running).is_some()
    }

    /// A file that runs, or ran, if it is held.
    #[must_use]
    pub fn held(&self, running: &Running) -> Option<Arc<File>> {
        self.shared.held.get(running)
    }

    /// Asks that a file that runs is kept, with who ran it. Gives the ticket that comes with the answer; none when it isn't
    /// held, or too much is waiting.
    pub fn keep(&mut self, running: &Running, runners: Vec<(Text, u32)>, now: u64) -> Option<u64> {
        let file = self.held(running)?;
        self.tickets += 1;
        let ticket = self.tickets;
        self.keep.try_send(Keep { ticket, file, runners, now }).is_ok().then_some(ticket)
    }

    /// What was told since this was last asked.
    pub fn told(&self) -> impl Iterator<Item = Told> {
        self.told.try_iter()
    }

    /// Waits for what is told next, so long.
    #[must_use]
    pub fn wait(&self, time: Duration) -> Option<Told> {
        self.told.recv_timeout(time).ok()
    }

    /// A second has passed, and these run.
    pub fn beat<'r>(&self, running: impl Iterator<Item = &'r Running>) {
        let closed = self.shared.held.keep(running, |file| self.shared.take_in(file));
        self.shared.close(closed);
    }

    /// Somebody ended on these devices.
    pub fn release<'r>(&self, devices: &HashSet<u32>, running: impl Iterator<Item = &'r Running>) {
        let closed = self.shared.held.release(devices, running, |file| self.shared.take_in(file));
        self.shared.close(closed);
    }

    /// What wasn't held or hashed until now.
    #[must_use]
    pub fn skipped(&self) -> Skipped {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { unopened, unhashed, large, .. } = &*self.shared;
        Skipped { unopened: read(unopened), unhashed: read(unhashed), large: read(large) }
    }
}

impl Shared {
    /// Takes what the kernel gives, until there is nothing more.
    fn catch(&self) {
        let Some(source) = &self.source else { return };
        // Until it is taken out of the queue a file holds the mount by which it was executed. Without the right to it, at the usual turn.
        let _: rustix::io::Result<()> = rustix::process::setpriority_process(None, -20);
        while let Ok((files, missed)) = source.next() {
            self.unopened.fetch_add(missed, Ordering::Relaxed);
            files.into_iter().for_each(|file| self.take(file.into()));
            source.held();
        }
    }

    fn take(&self, file: File) {
        let mut closed = Vec::new();
        let copy = file.as_fd().try_clone_to_owned();
        let taken = self.held.take(file, &mut closed);
        self.close_those(closed);
        if let (Some(source), Ok(copy)) = (&self.source, &copy)
            && !matches!(taken, Taken::Refused)
        {
            source.leave_out(copy.as_fd());
        }
        match taken {
            Taken::New(state, file) => {
                if self.hash.try_send((state, file)).is_err() {
                    self.unhashed.fetch_add(1, Ordering::Relaxed);
                }
            }
            Taken::Known(state, sha256) => drop(self.known.send(Told::Hashed(state, sha256))),
            Taken::Before | Taken::Refused => {}
        }
    }

    fn take_in(&self, file: &File) {
        if let Some(source) = &self.source {
            source.take_in(file.as_fd());
        }
    }

    fn close_those(&self, closed: Vec<Arc<File>>) {
        closed.iter().for_each(|file| self.take_in(file));
        self.close(closed);
    }

    fn close(&self, closed: Vec<Arc<File>>) {
        if !closed.is_empty() {
            // With no room they are closed here.
            drop(self.close.try_send(closed));
        }
    }

    /// Hashes what is new.
    fn hash(&self, to_hash: &Receiver<Hash>, most: u64) {
        for (state, file) in to_hash {
            if state.size > most {
                self.large.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let Ok(Some(found)) = digest::digest(&file, most) else { continue };
            // What was changed meanwhile has another state, or will be told as new when it is executed again.
            if found.size == state.size {
                self.hashed(&file, state, found.sha256);
            }
        }
    }

    /// A file has this hash, unless it was changed meanwhile.
    fn hashed(&self, file: &File, before: State, sha256: Text) {
        if State::of(file).is_ok_and(|now| now == Some(before)) {
            self.held.hashed(before, &sha256);
            drop(self.known.send(Told::Hashed(before, sha256)));
        }
    }

    /// Writes what is asked for, by which its hash is known too.
    fn write(&self, mut store: Store, to_keep: &Receiver<Keep>, tell: &Sender<Told>, wake: &Notify) {
        for Keep { ticket, file, runners, now } in to_keep {
            let before = State::of(&file);
            let result = store.keep(&file, &runners, now);
            if let (Ok(Some(before)), Ok(kept)) = (before, &result) {
                self.hashed(&file, before, kept.sha256.clone());
            }
            if tell.send(Told::Kept(ticket, result)).is_err() {
                return;
            }
            wake.notify_one();
        }
    }
}

/// How many files may be held: as many as descriptors allow, of which this process takes all it can get.
fn room() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1 };
    let most = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    usize::try_from(most.saturating_sub(DESCRIPTORS_LEFT).clamp(16, HELD_MOST)).unwrap_or(16)
}
