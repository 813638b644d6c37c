//! What is delivered is also stored, in the journal: one more output, and what is told of how it fares.

use std::{io, path::Path, time::Duration};

use super::{Pipeline, PipelineError};
use crate::{
    config,
    event::coverage::{ACTION, Coverage, Gap},
    format::Format,
    journal::{Folder, Inlet, Journal, Status},
    output::{Counts, Fault, Output, OutputError, Taken},
    record::Record,
};

/// What `coverage` names it.
const HOOK: &str = "self/journal";
/// After so long without anything written while something waits, the disk is stuck, nanoseconds.
const STUCK: u64 = 5_000_000_000;
/// How long the end waits for all to be stored.
const PATIENCE: Duration = Duration::from_secs(10);

/// The journal as an output.
struct Stored {
    inlet: Inlet,
    /// The format that is stored, and the line in it, where the lines that come are in another.
    own: Option<(&'static dyn Format, Vec<u8>)>,
}

impl Output for Stored {
    fn write(&mut self, record: &Record, line: &[u8]) -> Result<Taken, OutputError> {
        let line = match &mut self.own {
            None => line,
            Some((format, own)) => {
                own.clear();
                format.write(record, own);
                own
            }
        };
        Ok(match self.inlet.write(record, line) {
            true => Taken::Kept,
            false => Taken::Refused { stage: self.stage(), reason: "queue_full" },
        })
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.inlet.flush();
        let Some(why) = self.inlet.fault() else { return Ok(()) };
        let fault = if why.full { Fault::Full } else { Fault::Failed };
        let (undelivered, source) = (self.counts().waiting, io::Error::other(why.what));
        Err(OutputError { attempted: "write to the journal", undelivered, fault, source })
    }

    fn settle(&mut self) {
        self.inlet.end(PATIENCE);
    }

    fn end(&mut self) {}

    fn stage(&self) -> &'static str {
        "journal"
    }

    fn counts(&self) -> Counts {
        let (delivered, waiting, refused) = self.inlet.counts();
        Counts { delivered, waiting, refused }
    }
}

/// What is known of it.
#[derive(Default)]
pub(super) struct Journaled {
    journal: Option<Journal>,
    /// What isn't as it should be.
    rows: Vec<Coverage>,
    /// That one was set aside is told.
    aside: bool,
    /// What was stored when that last changed, and when: nanoseconds since boot.
    moved: (u64, u64),
}

impl Journaled {
    /// It, if one is kept.
    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// What isn't as it should be.
    pub(super) fn coverage(&self) -> impl Iterator<Item = &Coverage> {
        self.rows.iter()
    }

    /// What is to be told of this.
    fn faults(&mut self, status: &Status, now: u64) -> Vec<Coverage> {
        if self.moved.0 != status.written || status.waiting == 0 {
            self.moved = (status.written, now);
        }
        let stuck = now.saturating_sub(self.moved.1);
        let mut rows = Vec::new();
        match &status.fault {
            Some(fault) => rows.push(unstored(fault.what.clone())),
            None if stuck >= STUCK => {
                rows.push(unstored("the disk has taken nothing for some seconds".to_owned()));
            }
            None => {}
        }
        if let Some((path, what)) = status.aside.as_ref().filter(|_| !self.aside) {
            self.aside = true;
            let gap = Gap {
                reason: format!("{what}; it is at {} now, and a new one was begun", path.display()),
                effect: "what was stored before, and which of it had arrived where".to_owned(),
                remedy: "look at it with sqlite3's .recover, and at the disk".to_owned(),
                ..Gap::default()
            };
            say!("{gap}");
            rows.push(Coverage::unseen(ACTION.name, HOOK, gap));
        }
        rows
    }
}

/// It can't be written to.
fn unstored(reason: String) -> Coverage {
    let gap = Gap {
        reason,
        missing: "journal.folder".to_owned(),
        effect:
            "events, by who reads them from the journal, once its queue is full; those are counted as lost"
                .to_owned(),
        remedy:
            "make the folder root's own and give it room, or set journal.folder to another, or to nothing"
                .to_owned(),
    };
    Coverage::unseen(ACTION.name, HOOK, gap)
}

impl Pipeline<'_> {
    /// Stores in this folder what is delivered. `own`: the format that is stored, where it isn't the one of the pipeline.
    pub fn keep_journal(
        &mut self,
        folder: &Path,
        limits: &config::Journal,
        own: Option<&'static dyn Format>,
    ) {
        match Journal::begin(folder, limits) {
            Ok((journal, inlet)) => {
                let own = own.map(|format| (format, Vec::new()));
                self.output.add(Box::new(Stored { inlet, own }));
                self.journaled.journal = Some(journal);
            }
            Err(error) => {
                let row = unstored(error.sentence());
                say!("{}", row.gap);
                self.journaled.rows = vec![row];
            }
        }
    }

    /// Only looks whether a journal could be kept there.
    pub fn examine_journal(&mut self, folder: &Path) {
        if let Err(error) = Folder::usable(folder) {
            self.journaled.rows = vec![unstored(error.sentence())];
        }
    }

    /// Each second: how does it fare?
    pub(super) fn watch_journal(&mut self, now: u64) -> Result<(), PipelineError> {
        let Some(journal) = &self.journaled.journal else { return Ok(()) };
        let status = journal.status();
        let rows = self.journaled.faults(&status, now);
        if rows == self.journaled.rows {
            return Ok(());
        }
        self.journaled.rows = rows;
        self.tell_coverage(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_nothing_is_told_and_what_was_set_aside_once() {
        let mut journaled = Journaled::default();
        let mut status = Status { written: 7, waiting: 1, ..Status::default() };
        assert!(journaled.faults(&status, 1).is_empty());
        assert!(journaled.faults(&status, STUCK).is_empty());
        let rows = journaled.faults(&status, STUCK + 1);
        assert!(rows[0].gap.reason.contains("taken nothing"), "{rows:?}");
        status.written = 8;
        assert!(journaled.faults(&status, STUCK + 2).is_empty());
        status.waiting = 0;
        status.aside = Some(("/x".into(), "it is damaged".to_owned()));
        assert!(journaled.faults(&status, 9 * STUCK)[0].gap.reason.contains("at /x now"));
        assert!(journaled.faults(&status, 9 * STUCK).is_empty());
    }
}
