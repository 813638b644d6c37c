//! What the outputs bring out of the journal, and what is told of how they fare.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use super::{Pipeline, PipelineError};
use crate::{
    background, config,
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
    /// Outputs that begin when those before have ended, which come by this.
    next: Option<(Vec<Outlet>, Receiver<Delivery>)>,
}

impl Delivered {
    /// What isn't as it should be.
    pub(super) fn coverage(&self) -> impl Iterator<Item = &Coverage> {
        self.rows.iter()
    }
}

impl Pipeline<'_> {
    /// Brings what is in the journal to these outputs; others' places in it are forgotten.
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
        let delivery = Delivery::begin(self.host, placed).map_err(PipelineError::Outputs)?;
        self.delivered.delivery = Some(delivery);
        Ok(())
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
            match (reload.outlets, self.delivered.delivery.take()) {
                (Some(outlets), Some(old)) => self.replace(outlets, old)?,
                (Some(outlets), None) => {
                    if let Some((next, _)) = &mut self.delivered.next {
                        *next = outlets;
                    }
                }
                (None, same) => {
                    same.iter().for_each(Delivery::reopen);
                    self.delivered.delivery = same;
                }
            }
        }
        let Some((outlets, ended)) = self.delivered.next.take() else { return Ok(()) };
        match ended.try_recv() {
            Ok(old) => {
                self.count_delivered(&old);
                self.bring_to(outlets)
            }
            Err(_) => {
                self.delivered.next = Some((outlets, ended));
                Ok(())
            }
        }
    }

    /// Begins with others as soon as these have ended: two would bring the same.
    fn replace(&mut self, outlets: Vec<Outlet>, old: Delivery) -> Result<(), PipelineError> {
        let (sender, ended) = channel();
        let retire = move || {
            old.retire();
            // At the end of the run nobody wants it any more.
            drop(sender.send(old));
        };
        background::begin("outputs", retire).map_err(PipelineError::Outputs)?;
        self.delivered.next = Some((outlets, ended));
        Ok(())
    }

    /// Counts what became of events; gives the rows of `coverage`, if those are others than before.
    fn count_delivered(&mut self, delivery: &Delivery) -> Option<Vec<Coverage>> {
        let (all, rows) = delivery.tidings();
        for (_, Tidings { refused, dropped, .. }) in all {
            // Which ones they were, nobody knows any more.
            self.counts.lost_later("journal", "unknown", "expired", dropped);
            for (action, count) in refused {
                self.counts.lost_later("output", action, "refused", count);
            }
        }
        rows
    }

    /// Each second: how do they fare?
    pub(super) fn watch_delivery(&mut self, now: u64) -> Result<(), PipelineError> {
        self.take_reloads()?;
        let Some(delivery) = self.delivered.delivery.take() else { return Ok(()) };
        let rows = self.count_delivered(&delivery);
        self.delivered.delivery = Some(delivery);
        let Some(rows) = rows.filter(|rows| *rows != self.delivered.rows) else { return Ok(()) };
        self.delivered.rows = rows;
        self.tell_coverage(now)
    }

    /// All is in the journal: what waits there is brought as far as that goes.
    pub(super) fn end_delivery(&mut self) {
        let Some(delivery) = self.delivered.delivery.take() else { return };
        for name in delivery.stop(PATIENCE) {
            eprintln!(
                "sensor: output {name}: not all has arrived; the rest is in the journal for the next run"
            );
        }
    }
}
