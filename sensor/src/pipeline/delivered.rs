//! What the outputs bring out of the journal, and what is told of how they fare.

use super::{Pipeline, PipelineError};
use crate::{
    delivery::{Cursor, Delivery, Outlet, PATIENCE, Reopener, Tidings},
    event::coverage::Coverage,
};

/// The outputs at work.
#[derive(Default)]
pub(super) struct Delivered {
    delivery: Option<Delivery>,
    /// What isn't as it should be.
    rows: Vec<Coverage>,
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
    pub fn bring_to(&mut self, outlets: Vec<Outlet>) -> Result<Reopener, PipelineError> {
        let journal = self.journaled.journal().ok_or(PipelineError::NoJournal)?;
        journal.keep_cursors(&outlets.iter().map(|outlet| outlet.name.as_str()).collect::<Vec<_>>());
        let placed = outlets.into_iter().map(|outlet| {
            let cursor: Box<dyn Cursor> = Box::new(journal.cursor(&outlet.name));
            (outlet, cursor)
        });
        let placed = placed.collect();
        let delivery = Delivery::begin(self.host, placed).map_err(PipelineError::Outputs)?;
        let reopener = delivery.reopener();
        self.delivered.delivery = Some(delivery);
        Ok(reopener)
    }

    /// Each second: how do they fare?
    pub(super) fn watch_delivery(&mut self, now: u64) -> Result<(), PipelineError> {
        let Some(delivery) = &self.delivered.delivery else { return Ok(()) };
        let (all, rows) = delivery.tidings();
        for (_, Tidings { refused, dropped, .. }) in all {
            // Which ones they were, nobody knows any more.
            self.counts.lost_later("journal", "unknown", "expired", dropped);
            for (action, count) in refused {
                self.counts.lost_later("output", action, "refused", count);
            }
        }
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
