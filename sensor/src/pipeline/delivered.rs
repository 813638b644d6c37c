//! What the outputs bring out of the journal, and what is told of how they fare.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use super::{Pipeline, PipelineError};
use crate::{
    config,
    delivery::{Cursor, Delivery, Outlet, PATIENCE, Tidings},
    event::coverage::Coverage,
};

/// What of a configuration that was read again is used at once.
pub struct Reload {
    /// Other outputs than before; none where they are the same, and open anew what they write to.
    pub outlets: Option<Vec<Outlet>>,
    /// Which secrets are masked.
    pub redact: config::Redact,
    /// How often it is told what was used.
    pub interval: Option<Duration>,
}

/// The outputs at work.
#[derive(Default)]
pub(super) struct Delivered {
    delivery: Option<Delivery>,
    /// What isn't as it should be.
    rows: Vec<Coverage>,
    reloads: Option<Receiver<Reload>>,
}

impl Delivered {
    /// What isn't as it should be.
    pub(super) fn coverage(&self) -> impl Iterator<Item = &Coverage> {
        self.rows.iter()
    }
}

impl Pipeline<'_> {
    /// Brings what is in the journal to these outputs from now on; others' places in it are forgotten.
    ///
    /// # Errors
    /// When there is no journal, or no thread for one.
    pub fn bring_to(&mut self, outlets: Vec<Outlet>) -> Result<(), PipelineError> {
        let journal = self.journaled.journal().ok_or(PipelineError::NoJournal)?;
        journal.keep_cursors(&outlets.iter().map(|outlet| outlet.name.as_str()).collect::<Vec<_>>());
        let placed = outlets.into_iter().map(|outlet| {
            let cursor: Box<dyn Cursor> = Box::new(journal.cursor(&outlet.name));
            (outlet, cursor)
        });
        let placed = placed.collect();
        match &mut self.delivered.delivery {
            Some(delivery) => delivery.replace(placed).map_err(PipelineError::Outputs),
            none => {
                *none = Some(Delivery::begin(self.host, placed).map_err(PipelineError::Outputs)?);
                Ok(())
            }
        }
    }

    /// By whom a configuration that was read again comes in.
    pub fn reloads(&mut self) -> Sender<Reload> {
        let (sender, reloads) = channel();
        self.delivered.reloads = Some(reloads);
        sender
    }

    fn take_reloads(&mut self) -> Result<(), PipelineError> {
        while let Some(reload) = self.delivered.reloads.as_ref().and_then(|reloads| reloads.try_recv().ok()) {
            self.redact(&reload.redact);
            self.tell_usage_each(reload.interval);
            match reload.outlets {
                Some(outlets) => self.bring_to(outlets)?,
                None => self.delivered.delivery.iter().for_each(Delivery::reopen),
            }
        }
        Ok(())
    }

    fn count_tidings(&mut self, Tidings { refused, dropped, .. }: Tidings) {
        // Which ones they were, nobody knows any more.
        self.counts.lost_later("journal", "unknown", "expired", dropped);
        for (action, count) in refused {
            self.counts.lost_later("output", action, "refused", count);
        }
    }

    /// Each second: how do they fare, and what became of events?
    pub(super) fn watch_delivery(&mut self, now: u64) -> Result<(), PipelineError> {
        self.take_reloads()?;
        let Some(mut delivery) = self.delivered.delivery.take() else { return Ok(()) };
        let ended = delivery.tend();
        let (all, rows) = delivery.tidings();
        all.into_iter().for_each(|(_, tidings)| self.count_tidings(tidings));
        self.delivered.delivery = Some(delivery);
        ended.map_err(PipelineError::Outputs)?.into_iter().for_each(|tidings| self.count_tidings(tidings));
        let Some(rows) = rows.filter(|rows| *rows != self.delivered.rows) else { return Ok(()) };
        self.delivered.rows = rows;
        self.tell_coverage(now)
    }

    /// All is in the journal: what waits there is brought as far as that goes.
    pub(super) fn end_delivery(&mut self) {
        let Some(delivery) = self.delivered.delivery.take() else { return };
        for name in delivery.stop(PATIENCE) {
            say!("output {name}: not all has arrived; the rest is in the journal for the next run");
        }
        // There is no event any more that could count them.
        for (name, Tidings { refused, dropped, .. }) in delivery.tidings().0 {
            for (action, count) in refused {
                say!("output {name}: lost {action}: {count} at output (refused), after the last loss event");
            }
            if dropped > 0 {
                say!(
                    "output {name}: lost unknown: {dropped} at journal (expired), after the last loss event"
                );
            }
        }
    }
}
