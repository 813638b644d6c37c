//! Records on their way out: completed, written, and counted whatever becomes of them.

use super::{Pipeline, PipelineError, SKIPPED};
use crate::{
    event::{self, Action, Stamp, exe_deleted, exe_memfd, exec, loss, process_snapshot, usage},
    field::Field,
    kernel::{Batch, Coverage, Gap, State},
    output::{Fault, Output, OutputError, Taken},
    process::Process,
    record::{Record, Text, Value},
    verdict::Found,
};

impl Pipeline<'_> {
    pub(super) fn tell_lost(&mut self, found: &Found) -> Result<(), PipelineError> {
        let mut record = exe_deleted::ACTION.record();
        if let Some(hint) = &found.hint {
            self.enricher.set(&hint.actor, &mut record);
            if let Some(thread) = hint.thread {
                record.set(Field::ProcessThreadId, thread);
            }
        }
        found.lost.set(&mut record);
        if let Some(first) = found.runners.first() {
            record.set(Field::SensorExeDevice, Value::Id(exe_deleted::device(first.now.device)));
            record.set(Field::SensorExeInode, Value::Id(first.now.inode));
            record.set(Field::SensorExeNlink, first.now.nlink);
            record.set(Field::SensorExeState, crate::enrich::state(first));
        }
        record.set(Field::SensorRunners, found.runners.iter().map(runner).collect::<Vec<_>>());
        if found.runner_count > found.runners.len() {
            record.set(Field::SensorRunnersCount, found.runner_count as u64);
        }
        let when = found.hint.as_ref().map_or(found.time, |hint| hint.time);
        let file = &found.lost.running;
        self.deliver_with_evidence(exe_deleted::ACTION.name, when, record, file, &found.runners)
    }

    pub(super) fn tell_process(
        &mut self,
        action: &'static Action,
        stamp: Stamp,
        set: impl FnOnce(&mut Record),
    ) -> Result<(), PipelineError> {
        let mut record = self.of_process(action, stamp);
        set(&mut record);
        self.deliver(action.name, stamp.time, record)
    }

    /// An image without a name.
    pub(super) fn tell_nameless(
        &mut self,
        stamp: Stamp,
        set: impl FnOnce(&mut Record),
    ) -> Result<(), PipelineError> {
        let mut record = self.of_process(&exe_memfd::ACTION, stamp);
        set(&mut record);
        let Some(process) = self.table.get(stamp.key).cloned() else {
            return self.deliver(exe_memfd::ACTION.name, stamp.time, record);
        };
        let file = process.image.running;
        self.deliver_with_evidence(exe_memfd::ACTION.name, stamp.time, record, &file, &[process])
    }

    fn of_process(&mut self, action: &'static Action, stamp: Stamp) -> Record {
        let mut record = action.record();
        // An ending process closes what it has open after its end was told.
        if let Some(process) = self.table.known(stamp.key) {
            self.enricher.set(process, &mut record);
        }
        record.set(Field::ProcessThreadId, stamp.thread);
        record
    }

    pub(super) fn tell_coverage(&mut self, time: u64) -> Result<(), PipelineError> {
        let record = event::coverage::record(self.coverage().iter());
        self.deliver(event::coverage::ACTION.name, time, record)
    }

    /// What is seen by which hook.
    pub(super) fn coverage(&self) -> Vec<Coverage> {
        let own = [self.reaches.coverage()].into_iter().chain(self.guard.coverage());
        let mut rows: Vec<_> = self.kernel.coverage().iter().chain(own).cloned().collect();
        rows.extend(self.capture.coverage().chain(self.requested.coverage()));
        rows.extend(self.journaled.coverage().chain(self.delivered.coverage()).cloned());
        if self.interval.is_none() {
            for row in rows.iter_mut().filter(|row| row.action == usage::ACTION.name) {
                let gap = Gap {
                    reason: "the configuration says so (usage.interval_s)".to_owned(),
                    effect: "what processes use while they run; their exits still tell the totals".to_owned(),
                    ..Gap::default()
                };
                (row.state, row.gap) = (State::Off, gap);
            }
        }
        rows
    }

    /// What would be told of coverage at the start, and nothing else: begins as a run does, and ends at once.
    ///
    /// # Errors
    /// As a run's beginning.
    pub fn examine(mut self) -> Result<Vec<Coverage>, PipelineError> {
        self.begin(&mut Batch::default())?;
        self.kernel.stop();
        Ok(self.coverage())
    }

    pub(super) fn tell_losses(&mut self) -> Result<(), PipelineError> {
        self.count_skipped();
        self.counts.lost("table", process_snapshot::ACTION.name, "full", self.table.forgotten());
        let counters = self.kernel.counters()?;
        for (action, reason, count) in counters.lost_since(&self.counters) {
            self.counts.lost("kernel", action, reason, count);
        }
        self.counters = counters;
        self.missed.lost(self.counts.lost_of(exec::ACTION.name), self.host.boot_now());
        let news = self.counts.news();
        if news.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = news
            .into_iter()
            .map(|(stage, action, reason, count)| loss::Row { stage, action, reason, count })
            .collect();
        let record = loss::record(&rows);
        self.deliver(loss::ACTION.name, self.host.boot_now(), record)
    }

    pub(super) fn count_skipped(&mut self) {
        for (action, fd, stead) in self.kernel.programs() {
            // In this order: what is skipped and told between the two readings is no loss.
            let misses = self.reader.program_misses(fd);
            let told = stead.map_or(0, |place| self.kernel.told_nested(place));
            let lost = self.skipped.entry(fd).or_default().read(misses, told);
            self.counts.lost("kernel", action, SKIPPED, lost);
        }
    }

    /// Completes a record and gives its line to the output.
    pub(super) fn deliver(
        &mut self,
        action: &'static str,
        time: u64,
        mut record: Record,
    ) -> Result<(), PipelineError> {
        self.sequence += 1;
        record.extend_from(&self.common);
        record.set(Field::Timestamp, self.enricher.boot.at(time));
        record.set(Field::EventSequence, self.sequence);
        record.set(Field::EventId, Text::numbered(&self.run, self.sequence));
        self.line.clear();
        self.format.write(&record, &mut self.line);
        match self.output.write(&record, &self.line) {
            Ok(Taken::Kept) => self.waiting.push_back(action),
            Ok(Taken::Refused { stage, reason }) => self.counts.lost(stage, action, reason, 1),
            Err(error) => return self.trouble(error),
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), PipelineError> {
        let result = self.output.flush();
        // In order: what the output doesn't wait with any more is out.
        let waiting = usize::try_from(self.output.counts().waiting).unwrap_or(usize::MAX);
        for _ in waiting..self.waiting.len() {
            if let Some(action) = self.waiting.pop_front() {
                self.counts.delivered(action);
            }
        }
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.troubled) {
                    say!("the output takes events again; what it refused meanwhile is told in a loss event");
                }
                Ok(())
            }
            Err(error) => self.trouble(error),
        }
    }

    /// An output that is gone ends the sensor; one that is full or busy is tried again.
    pub(super) fn trouble(&mut self, error: OutputError) -> Result<(), PipelineError> {
        if error.fault == Fault::Closed {
            return Err(error.into());
        }
        if !std::mem::replace(&mut self.troubled, true) {
            say!("{error}: {}", error.source);
        }
        Ok(())
    }
}

/// One who runs the file, as an object of `sensor.runners`.
fn runner(process: &Process) -> Record {
    let mut record = Record::with_capacity(4);
    record.set(Field::RunnerPid, process.key.pid);
    record.set(Field::RunnerEntityId, process.entity.clone());
    if let Some(executable) = &process.image.executable {
        record.set(Field::RunnerExecutable, executable.clone());
    }
    record.set(Field::RunnerArgs, process.image.args.clone());
    record
}
