//! Events on their way out of the journal: a thread an output, each at its own pace.

use std::{
    cell::Cell,
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, TryRecvError},
    },
    time::Duration,
};

use courier::Courier;
use shared::Shared;

use crate::{
    background,
    event::coverage::{self, Coverage, Gap, State},
    host::Host,
    output::Clock,
};

mod courier;
mod cursor;
mod filter;
mod outlet;
mod pace;
mod shared;
#[cfg(test)]
mod tests;

pub use cursor::{Cursor, CursorError, Entry};
pub use outlet::{Outlet, OutletError};
pub use shared::{ByAction, Tidings};

/// How long, at a stop, what waits is still tried.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// After so long one that is to end, and doesn't, is told.
const LATE: Duration = Duration::from_secs(2);

/// An output, and its place in the journal.
pub type Placed = (Outlet, Box<dyn Cursor>);

/// All outputs at work.
pub struct Delivery {
    at_work: Vec<AtWork>,
    /// Those that others take the place of, which begin when these have ended: two would bring the same.
    ending: Vec<Ending>,
    /// Others are at work than when it was last asked how they fare.
    changed: Cell<bool>,
    clock: Clock,
}

/// One of them, as seen from outside.
struct AtWork {
    name: String,
    hook: &'static str,
    shared: Arc<Shared>,
    /// Whether all was brought, when its thread ends.
    ended: Receiver<bool>,
}

/// One that is to end.
struct Ending {
    old: AtWork,
    since: Duration,
    /// What comes in its place.
    next: Option<Placed>,
}

impl Delivery {
    /// Begins with these outputs.
    ///
    /// # Errors
    /// When there is no thread for one.
    pub fn begin(host: &Host, outlets: Vec<Placed>) -> io::Result<Self> {
        let clock = outlet::clock(host);
        let at_work = outlets.into_iter().map(|placed| AtWork::begin(placed, &clock));
        Ok(Self {
            at_work: at_work.collect::<io::Result<_>>()?,
            ending: Vec::new(),
            changed: Cell::new(false),
            clock,
        })
    }

    /// Goes on with these outputs: each when the one of its name has ended, whatever the others do.
    ///
    /// # Errors
    /// When there is no thread for one.
    pub fn replace(&mut self, mut outlets: Vec<Placed>) -> io::Result<()> {
        let since = (self.clock)();
        let mut next = |name: &str| {
            let at = outlets.iter().position(|(outlet, _)| outlet.name == name)?;
            Some(outlets.swap_remove(at))
        };
        for ending in &mut self.ending {
            ending.next = next(&ending.old.name);
        }
        for old in std::mem::take(&mut self.at_work) {
            old.shared.stop(since);
            let next = next(&old.name);
            self.ending.push(Ending { old, since, next });
        }
        for placed in outlets {
            self.at_work.push(AtWork::begin(placed, &self.clock)?);
        }
        self.changed.set(true);
        Ok(())
    }

    /// Begins with those whose forerunners have ended; gives what became of these at last.
    ///
    /// # Errors
    /// When there is no thread for one.
    pub fn tend(&mut self) -> io::Result<Vec<Tidings>> {
        let mut last = Vec::new();
        for ending in std::mem::take(&mut self.ending) {
            if matches!(ending.old.ended.try_recv(), Err(TryRecvError::Empty)) {
                self.ending.push(ending);
                continue;
            }
            self.changed.set(true);
            last.push(ending.old.shared.tidings().0);
            if let Some(placed) = ending.next {
                self.at_work.push(AtWork::begin(placed, &self.clock)?);
            }
        }
        Ok(last)
    }

    /// Has all outputs open anew what they write to, at the next load of each: somebody moved it, or renewed certificates.
    pub fn reopen(&self) {
        self.at_work.iter().for_each(|one| one.shared.reopen());
    }

    /// How each is, by name, and what became of events since this was last asked; and the rows of `coverage`, if those may be
    /// others than then.
    pub fn tidings(&self) -> (Vec<(&str, Tidings)>, Option<Vec<Coverage>>) {
        let now = (self.clock)();
        let (mut all, mut rows) = (Vec::new(), Vec::new());
        let mut otherwise = self.changed.take() || !self.ending.is_empty();
        for one in &self.at_work {
            let (tidings, changed) = one.shared.tidings();
            otherwise |= changed;
            rows.extend(row(&one.name, one.hook, &tidings));
            all.push((one.name.as_str(), tidings));
        }
        for Ending { old, since, .. } in &self.ending {
            let (mut tidings, _) = old.shared.tidings();
            if now.saturating_sub(*since) >= LATE {
                tidings.trouble =
                    Some("it is still held up by what it had begun before it was configured anew".to_owned());
                rows.extend(row(&old.name, old.hook, &tidings));
            }
            all.push((old.name.as_str(), tidings));
        }
        (all, otherwise.then_some(rows))
    }

    /// Nothing more comes into the journal: what is there is still tried for so long, and then left to the next run. Gives the
    /// names of those that left something, or are held up.
    pub fn stop(&self, patience: Duration) -> Vec<&str> {
        let until = (self.clock)() + patience;
        self.at_work.iter().for_each(|one| one.shared.stop(until));
        let left = |one: &&AtWork| {
            // A moment more, for one that is just told.
            let wait = until.saturating_sub((self.clock)()) + Duration::from_millis(100);
            one.ended.recv_timeout(wait) != Ok(true)
        };
        let ending = self.ending.iter().map(|ending| &ending.old);
        self.at_work.iter().chain(ending).filter(left).map(|one| one.name.as_str()).collect()
    }
}

impl AtWork {
    fn begin((outlet, cursor): Placed, clock: &Clock) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (name, hook) = (outlet.name.clone(), outlet.hook);
        let courier = Courier::new(outlet, cursor, Arc::clone(&shared), Arc::clone(clock));
        let (at_end, ended) = mpsc::channel();
        background::begin("output", move || {
            let all = courier.work();
            // Nobody waits any more when that is too late.
            let _ = at_end.send(all);
        })?;
        Ok(Self { name, hook, shared, ended })
    }
}

/// What there is to say of an output that isn't well.
fn row(name: &str, hook: &'static str, tidings: &Tidings) -> Option<Coverage> {
    let (state, reason, effect) = match (&tidings.trouble, &tidings.doubt) {
        (Some(trouble), _) => {
            (State::Unseen, trouble, "events wait in the journal, as long as it keeps them")
        }
        (None, Some(doubt)) => (State::Replaced, doubt, "events that got lost on the way aren't sent again"),
        (None, None) => return None,
    };
    let gap = Gap {
        reason: format!("{name}: {reason}"),
        missing: String::new(),
        effect: effect.to_owned(),
        remedy: format!("see to what the output `{name}` brings events to"),
    };
    Some(Coverage { action: coverage::ACTION.name, hook, state, gap })
}
