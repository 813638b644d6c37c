//! Whether the sensor itself was let do its work: that it ran, that its programs are where it put them, and that
//! the run before ended as it was asked to. What isn't so is told in `coverage`, and again when it is so.

use std::path::Path;

use super::{Pipeline, PipelineError};
use crate::{
    event::{
        coverage::{self, ACTION, Coverage, Gap, State},
        process_snapshot,
    },
    format::rfc3339,
    record::Time,
    runs::{Run, Runs, RunsError},
};

/// A pause of the loop that is none of its own, nanoseconds: it sleeps a tenth of a second at most.
const GAP: u64 = 3_000_000_000;
/// Most earlier runs that are told each by itself.
const RUNS_MOST: usize = 8;
/// What is looked at, as `coverage` names it.
const PACE: &str = "self/pace";
const LAST: &str = "self/last_run";
const STATE: &str = "self/state";
const STOP: &str = "self/run";
const FIRST: &str = "self/first_process";

/// What is known of it.
#[derive(Default)]
pub(super) struct Guard {
    runs: Option<Runs>,
    /// What was noted for the next run.
    noted: u64,
    rows: Vec<Coverage>,
    /// When the last round began, nanoseconds since boot; 0 before the first.
    awake: u64,
}

impl Guard {
    /// What isn't as it should be.
    pub(super) fn coverage(&self) -> impl Iterator<Item = &Coverage> {
        self.rows.iter()
    }

    /// Whether the kernel shows process 1 to programs, which one that was built to guard it doesn't: then it calls none
    /// in its time either, and counts that nowhere.
    pub(super) fn first_process(&mut self, shown: bool) {
        if !shown {
            let gap = Gap {
                reason: "the kernel shows process 1 to no program".to_owned(),
                effect: "what process 1 does, and what interrupts bring in its time; neither is counted"
                    .to_owned(),
                remedy: "ask who built this kernel: it is changed so that it hides a process".to_owned(),
                ..Gap::default()
            };
            self.rows.push(Coverage::unseen(process_snapshot::ACTION.name, FIRST, gap));
        }
    }

    /// The loop runs.
    pub(super) fn awake(&mut self, now: u64) {
        self.awake = now;
    }

    fn trouble(&mut self, error: &RunsError) {
        let gap = Gap {
            reason: error.to_string(),
            missing: "state.folder".to_owned(),
            effect: "by the next run, that this one was killed".to_owned(),
            remedy: "make the folder root's own, or set state.folder to another, or to nothing".to_owned(),
        };
        self.rows.push(Coverage::unseen(ACTION.name, STATE, gap));
        self.runs = None;
    }
}

impl Pipeline<'_> {
    /// Notes in this folder how far the run comes, and tells of those that were killed.
    pub fn leave_for_the_next(&mut self, folder: &Path) {
        let run = Run {
            id: self.run.clone(),
            boot: self.host.boot_id.clone(),
            pid: std::process::id(),
            sequence: 0,
            seconds: self.seconds(),
        };
        match Runs::begin(folder, run) {
            Ok((runs, broken)) => {
                self.guard.runs = Some(runs);
                self.guard.rows.extend(told(&broken, &self.host.boot_id));
            }
            Err(error) => self.guard.trouble(&error),
        }
    }

    /// The clock of the host, seconds since the epoch.
    pub(super) fn seconds(&self) -> u64 {
        let now = self.host.boot().at(self.host.boot_now());
        u64::try_from(now.0 / 1_000_000_000).unwrap_or(0)
    }

    /// Tells when the sensor wasn't run for long: nothing of its own takes it so much time.
    pub(super) fn notice_gap(&mut self, now: u64) -> Result<(), PipelineError> {
        let before = std::mem::replace(&mut self.guard.awake, now);
        let gap = now.saturating_sub(before);
        if before == 0 || gap < GAP {
            return Ok(());
        }
        let reason = format!(
            "the sensor did nothing for {}.{} s: it was stopped (SIGSTOP), got no processor, was held up by its output, or \
             the host slept",
            gap / 1_000_000_000,
            gap / 100_000_000 % 10,
        );
        let gap = Gap {
            reason,
            effect: "in time, what happened meanwhile; what found no room is in the next loss events"
                .to_owned(),
            remedy: "find who stopped it, or what keeps the host or its output busy".to_owned(),
            ..Gap::default()
        };
        self.guard.rows.retain(|row| row.hook != PACE);
        self.guard.rows.push(Coverage::unseen(ACTION.name, PACE, gap));
        self.tell_coverage(now)
    }

    /// Each second: are the programs where they were put? And notes how far the run came.
    pub(super) fn watch_over(&mut self, now: u64) -> Result<(), PipelineError> {
        // What was once, and is told, is over.
        let over = self.guard.rows.len();
        self.guard.rows.retain(|row| [STATE, FIRST].contains(&row.hook));
        let (links, marks, functions) = (self.kernel.check(), self.marks_taken(), self.functions_switched());
        if links || marks || functions || self.guard.rows.len() < over {
            self.tell_coverage(now)?;
        }
        Ok(())
    }

    /// Notes for the next run how far this one came: what the output was given by now.
    pub(super) fn note(&mut self, now: u64) -> Result<(), PipelineError> {
        if self.guard.noted == self.sequence {
            return Ok(());
        }
        self.guard.noted = self.sequence;
        let seconds = self.seconds();
        let noted = self.guard.runs.as_mut().map(|runs| runs.note(self.sequence, seconds));
        if let Some(Err(error)) = noted {
            self.guard.trouble(&error);
            self.tell_coverage(now)?;
        }
        Ok(())
    }

    /// Whether it is news that the marks on file systems are there or not. Those that are gone are set again.
    fn marks_taken(&mut self) -> bool {
        let taken = self.kernel.marks_taken();
        if taken {
            self.mounts_changed();
            // Those that were set just now were gone for the same reason.
            self.kernel.marks_taken();
        }
        self.kernel.note_names(!taken)
    }

    /// Whether it is news that the kernel calls programs at its functions or not. In the meantime marks serve.
    fn functions_switched(&mut self) -> bool {
        let news = self.kernel.note_functions(|| self.reader.functions_traced());
        if news {
            self.mounts_changed();
        }
        news
    }

    /// The last word: from now on nothing is seen, because somebody said so.
    pub(super) fn tell_stop(&mut self) -> Result<(), PipelineError> {
        let mut rows: Vec<_> = self.coverage().into_iter().filter(|row| row.state == State::Seen).collect();
        let gap = Gap {
            reason: "the sensor was asked to stop (SIGTERM or SIGINT)".to_owned(),
            effect: "anything, from now on".to_owned(),
            ..Gap::default()
        };
        rows.insert(0, Coverage::unseen(ACTION.name, STOP, gap.clone()));
        for row in &mut rows {
            (row.state, row.gap) = (State::Off, gap.clone());
        }
        let record = coverage::record(rows.iter());
        self.deliver(ACTION.name, self.host.boot_now(), record)
    }

    /// It ended as it was asked to.
    pub(super) fn end_run(&mut self) {
        if let Some(runs) = self.guard.runs.take() {
            runs.end();
        }
    }
}

/// Runs that were killed, as rows.
fn told(broken: &[Run], boot: &str) -> Vec<Coverage> {
    let row = |reason: String| {
        let gap = Gap {
            reason,
            effect: "what happened from then until now, and that run's events after that one".to_owned(),
            remedy: "find who ended it (kill -9, the kernel's OOM killer, a crash, a loss of power)"
                .to_owned(),
            ..Gap::default()
        };
        Coverage::unseen(ACTION.name, LAST, gap)
    };
    let mut rows: Vec<_> = broken
        .iter()
        .take(RUNS_MOST)
        .map(|run| {
            let mut when = Vec::new();
            rfc3339(Time(i64::try_from(run.seconds).unwrap_or(0).saturating_mul(1_000_000_000)), &mut when);
            let when = String::from_utf8_lossy(&when);
            let how = if run.boot == boot { "was killed" } else { "was cut off by the end of that boot" };
            row(format!(
                "run {} (pid {}) {how}: its last known event is {}-{}, at {when}",
                run.id, run.pid, run.id, run.sequence
            ))
        })
        .collect();
    if broken.len() > RUNS_MOST {
        rows.push(row(format!("{} more runs were killed", broken.len() - RUNS_MOST)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn killed_runs_are_told_each_and_not_without_end() {
        let run =
            |boot: &str| Run { id: "a1".into(), boot: boot.into(), pid: 7, sequence: 42, seconds: 86_400 };
        let rows = told(&[run("here"), run("there")], "here");
        assert_eq!(
            rows[0].gap.reason,
            "run a1 (pid 7) was killed: its last known event is a1-42, at 1970-01-02T00:00:00.000000000Z"
        );
        assert!(rows[1].gap.reason.contains("was cut off by the end of that boot"), "{rows:?}");
        let rows = told(&vec![run("here"); RUNS_MOST + 3], "here");
        assert_eq!(rows.len(), RUNS_MOST + 1);
        assert_eq!(rows[RUNS_MOST].gap.reason, "3 more runs were killed");
    }
}
