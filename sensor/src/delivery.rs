//! Events on their way out of the journal: a thread an output, each at its own pace.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver},
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

/// All outputs at work.
pub struct Delivery {
    at_work: Vec<AtWork>,
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

impl Delivery {
    /// Begins with these outputs, each with its place in the journal.
    ///
    /// # Errors
    /// When there is no thread for one.
    pub fn begin(host: &Host, outlets: Vec<(Outlet, Box<dyn Cursor>)>) -> io::Result<Self> {
        let clock = outlet::clock(host);
        let begun = outlets.into_iter().map(|(outlet, cursor)| {
            let shared = Arc::<Shared>::default();
            let (name, hook) = (outlet.name.clone(), outlet.hook);
            let courier = Courier::new(outlet, cursor, Arc::clone(&shared), Arc::clone(&clock));
            let (at_end, ended) = mpsc::channel();
            background::begin("output", move || {
                let all = courier.work();
                // Nobody waits any more when that is too late.
                let _ = at_end.send(all);
            })?;
            Ok(AtWork { name, hook, shared, ended })
        });
        let at_work = begun.collect::<io::Result<_>>()?;
        Ok(Self { at_work, clock })
    }

    /// Who can have all outputs open anew what they write to, from elsewhere.
    #[must_use]
    pub fn reopener(&self) -> Reopener {
        Reopener(self.at_work.iter().map(|one| Arc::clone(&one.shared)).collect())
    }

    /// How each is, by name, and what became of events since this was last asked; and the rows of `coverage`, if those are
    /// others than then.
    pub fn tidings(&self) -> (Vec<(&str, Tidings)>, Option<Vec<Coverage>>) {
        let (mut all, mut rows, mut otherwise) = (Vec::new(), Vec::new(), false);
        for one in &self.at_work {
            let (tidings, changed) = one.shared.tidings();
            otherwise |= changed;
            rows.extend(row(&one.name, one.hook, &tidings));
            all.push((one.name.as_str(), tidings));
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
        self.at_work.iter().filter(left).map(|one| one.name.as_str()).collect()
    }
}

/// Has outputs open anew what they write to: somebody moved it, or renewed certificates.
#[derive(Clone)]
pub struct Reopener(Vec<Arc<Shared>>);

impl Reopener {
    /// At the next load of each.
    pub fn reopen(&self) {
        self.0.iter().for_each(|one| one.reopen());
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
