//! The one loop: rings → event → process → enrich → format → output; order, back-pressure, stop.

use std::{collections::HashMap, time::Duration};

use sha2::{Digest, Sha256};

use crate::{
    count::Counts,
    enrich::Enricher,
    event::{self, Action, Actor, Event, Fact, Key, Stamp, exec::Exec, exe_deleted, exe_memfd, exit, fork, image, loss, name::Name, process_snapshot},
    field::Field,
    format::Format,
    host::Host,
    kernel::{Batch, Counters, Kernel, KernelError},
    output::{Fault, Output, OutputError, Taken},
    process::{Image, Process, Table},
    procfs::{Details, Reader},
    record::{Record, Text},
    verdict::{Found, Hint, Verdicts, runtime},
};

/// How often the bulk ring is looked at while there is something in it.
const BUSY: Duration = Duration::from_millis(10);
/// And while there is nothing.
const IDLE: Duration = Duration::from_millis(20);
/// How often everything that runs is looked at again, nanoseconds.
const SWEEP: u64 = 1_000_000_000;
/// For how long after a hint that came ahead of the deed everything is looked at each round, nanoseconds.
const AHEAD: u64 = 300_000_000;
/// And after something running was touched.
const TOUCHED: u64 = 50_000_000;
/// The version of the schema that the fields are those of.
const ECS_VERSION: &str = "9.4.0";

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is in its message")]
pub enum PipelineError {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("the output never took the last {waiting} events")]
    Waiting { waiting: u64 },
}

/// The sensor at work.
pub struct Pipeline<'a> {
    host: &'a Host,
    kernel: Kernel,
    output: Box<dyn Output>,
    format: &'a dyn Format,
    reader: Reader,
    table: Table,
    enricher: Enricher,
    verdicts: Verdicts,
    counts: Counts,
    counters: Counters,
    /// Records that the rings gave, by kind; with those lost it is what the hooks saw.
    taken: HashMap<&'static str, u64>,
    /// What every record has.
    common: Record,
    run: String,
    sequence: u64,
    line: Vec<u8>,
    rows: Vec<u8>,
    /// When everything was last looked at, nanoseconds since boot.
    swept: u64,
    /// Until when everything is looked at each round.
    ahead: u64,
    /// Everything is to be looked at now.
    hinted: bool,
    troubled: bool,
}

impl<'a> Pipeline<'a> {
    /// With programs that run already.
    #[must_use]
    pub fn new(host: &'a Host, kernel: Kernel, format: &'a dyn Format, output: Box<dyn Output>) -> Self {
        Self {
            host,
            kernel,
            output,
            format,
            reader: Reader::new(host.proc()),
            table: Table::new(host.boot_id.clone()),
            enricher: Enricher::new(host.passwd(), host.boot()),
            verdicts: Verdicts::default(),
            counts: Counts::default(),
            counters: Counters::default(),
            taken: HashMap::new(),
            common: common(host),
            run: run_id(host),
            sequence: 0,
            line: Vec::new(),
            rows: Vec::new(),
            swept: 0,
            ahead: 0,
            hinted: false,
            troubled: false,
        }
    }

    /// Streams until told to stop, and then all that was seen.
    ///
    /// # Errors
    /// When the kernel or the output fails for good.
    pub async fn run(&mut self, stop: impl Future<Output = ()>, ready: impl FnOnce()) -> Result<(), PipelineError> {
        let mut batch = Batch::default();
        self.begin(&mut batch)?;
        self.flush()?;
        ready();
        let mut stop = std::pin::pin!(stop);
        let mut pause = BUSY;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                woken = tokio::time::timeout(pause, self.kernel.woken()) => {
                    if let Ok(result) = woken {
                        result?;
                    }
                }
            }
            pause = if self.round(&mut batch)? { BUSY } else { IDLE };
        }
        self.end(&mut batch)
    }

    /// What was there before: coverage, then each process once.
    fn begin(&mut self, batch: &mut Batch) -> Result<(), PipelineError> {
        let now = self.host.boot_now();
        self.tell_coverage(now)?;
        self.kernel.sweep(&mut self.rows)?;
        self.kernel.drain(batch);
        let mut born = HashMap::new();
        for record in batch.iter() {
            if let Ok(Event { stamp, fact: Fact::Fork(_), .. }) = event::decode(record) {
                born.insert(stamp.key.pid, stamp.key.start);
            }
        }
        let rows = std::mem::take(&mut self.rows);
        let mut found: Vec<Event> = event::decode_rows(&rows).filter_map(Result::ok).collect();
        // Parents first, so that their children know them.
        found.sort_by_key(|event| event.stamp.key.start);
        for event in found {
            if let Fact::Image(image) = event.fact
                && image.alive
                && born.get(&event.stamp.key.pid) != Some(&event.stamp.key.start)
            {
                self.adopt(event.stamp, event.actor, image);
                self.mark(event.stamp.key, &image.running)?;
                self.tell_process(&process_snapshot::ACTION, event.stamp, |_| {})?;
            }
        }
        self.rows = rows;
        self.swept = self.host.boot_now();
        self.process(batch)
    }

    /// One round: what the rings hold, what a look at everything shows, what was lost.
    fn round(&mut self, batch: &mut Batch) -> Result<bool, PipelineError> {
        let began = self.host.boot_now();
        self.kernel.drain(batch);
        let busy = !batch.is_empty();
        self.process(batch)?;
        self.take_touched(began);
        let due = began.saturating_sub(self.swept) >= SWEEP;
        if due || self.hinted || self.ahead > began {
            self.hinted = false;
            self.sweep(began)?;
        }
        if due {
            self.swept = began;
            self.enricher.refresh(self.host.boot());
            self.tell_losses()?;
        }
        self.flush()?;
        Ok(busy)
    }

    /// Out of the kernel first, then everything that is still in the rings.
    fn end(&mut self, batch: &mut Batch) -> Result<(), PipelineError> {
        self.kernel.stop();
        loop {
            self.kernel.drain(batch);
            if batch.is_empty() {
                break;
            }
            self.process(batch)?;
        }
        self.tell_losses()?;
        self.flush()?;
        match self.output.counts().waiting {
            0 => Ok(()),
            waiting => Err(PipelineError::Waiting { waiting }),
        }
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), PipelineError> {
        let taken = std::mem::take(batch);
        for record in taken.iter() {
            match event::decode(record) {
                Ok(event) => self.take(event)?,
                Err(error) => self.counts.lost("decode", "unknown", error.word(), 1),
            }
        }
        *batch = taken;
        batch.clear();
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<(), PipelineError> {
        let Event { stamp, actor, fact } = event;
        match fact {
            Fact::Fork(fork) => self.take_fork(stamp, actor, fork),
            Fact::Exec(exec) => self.take_exec(stamp, actor, exec),
            Fact::Exit(exit) => self.take_exit(stamp, actor, exit),
            Fact::Name(name) => self.take_name(stamp, actor, &name),
            Fact::Image(image) => self.look(stamp, &image),
        }
    }

    fn take_fork(&mut self, stamp: Stamp, actor: Actor, fork: fork::Fork) -> Result<(), PipelineError> {
        self.taken("fork");
        self.table.born(stamp.key, actor, fork.creator);
        self.tell_process(&fork::ACTION, stamp, |_| {})
    }

    fn take_exec(&mut self, stamp: Stamp, actor: Actor, mut exec: Exec) -> Result<(), PipelineError> {
        self.taken("exec");
        if exec.executable.cut || exec.working_directory.cut || exec.args_unread {
            self.complete(stamp.key, &mut exec);
        }
        self.mark(stamp.key, &exec.running)?;
        let (_, before) = self.table.became(stamp.key, stamp.time, actor, &exec);
        let Some(process) = self.table.get(stamp.key) else { return Ok(()) };
        let mut extra = Record::new();
        Enricher::set_before(process, before.as_ref(), &mut extra);
        let nameless = exec.executable.nameless || exec.running.nlink == 0 || exec.running.flags & event::Running::UNHASHED != 0;
        self.tell_process(&event::exec::ACTION, stamp, |record| record.extend(extra.clone()))?;
        if !nameless {
            return Ok(());
        }
        let memfd = exec.executable.path.as_bytes().starts_with(b"memfd:");
        let runtime = memfd && before.is_some_and(|before| runtime(before.image.executable.as_ref(), &before.image.running));
        self.tell_process(&exe_memfd::ACTION, stamp, |record| {
            record.extend(extra);
            exe_memfd::set(record, memfd, runtime);
        })
    }

    /// Asks /proc for what the program couldn't read, if the process still lives.
    fn complete(&mut self, key: Key, exec: &mut Exec) {
        let deleted = exec.running.nlink == 0 || exec.running.flags & event::Running::UNHASHED != 0;
        let Some(details) = self.reader.details(key.pid, key.start, deleted) else { return };
        if let (true, Some(path)) = (exec.executable.cut, details.executable) {
            exec.executable.path = path;
        }
        if let (true, Some(path)) = (exec.working_directory.cut, details.working_directory) {
            exec.working_directory.path = path;
        }
        if exec.args_unread && !details.args_unread {
            exec.args = details.args.into();
            exec.args_unread = details.args_truncated;
        }
    }

    fn take_exit(&mut self, stamp: Stamp, actor: Actor, exit: exit::Exit) -> Result<(), PipelineError> {
        self.taken("exit");
        if self.table.get(stamp.key).is_none() {
            self.table.found(stamp.key, actor, Image::default());
        }
        self.table.refresh(stamp.key, actor);
        // The last net: what no hook and no sweep saw shows in the image at the end.
        self.look(stamp, &image::Image { running: exit.running, alive: true })?;
        let (end, page) = (self.enricher.boot.at(stamp.time), self.host.page_bytes());
        self.tell_process(&exit::ACTION, stamp, |record| {
            record.set(Field::ProcessEnd, end);
            exit.set(record, page, signal_name);
        })?;
        self.table.ended(stamp.key);
        Ok(())
    }

    fn take_name(&mut self, stamp: Stamp, actor: Actor, name: &Name) -> Result<(), PipelineError> {
        self.taken("name");
        if self.table.get(stamp.key).is_none() {
            self.adopt(stamp, actor, image::Image { running: name.running, alive: true });
        }
        self.table.refresh(stamp.key, actor);
        let Some(process) = self.table.get(stamp.key) else { return Ok(()) };
        self.verdicts.hint(Hint {
            time: stamp.time,
            actor: process.clone(),
            thread: stamp.thread,
            call: Some(name.call),
            names: Some([name.old, name.new]),
            own: name.own,
        });
        self.hinted |= name.old.is_some() || name.new.is_some();
        if name.ahead {
            self.ahead = stamp.time.saturating_add(AHEAD);
        }
        if name.own {
            return self.look(stamp, &image::Image { running: name.running, alive: true });
        }
        Ok(())
    }

    /// Somebody touched a file that is running: who is known, what became of it shows in a look.
    fn take_touched(&mut self, now: u64) {
        for pid in self.kernel.touched() {
            self.hinted = true;
            // The kernel tells a link less before the name is gone, so a look or two more.
            self.ahead = self.ahead.max(now.saturating_add(TOUCHED));
            if let Some(actor) = self.table.at(pid) {
                self.verdicts.hint(Hint { time: now, actor: actor.clone(), thread: pid, call: None, names: None, own: false });
            }
        }
    }

    /// Asks the kernel to tell when the image of a process is touched.
    fn mark(&mut self, key: Key, running: &event::Running) -> Result<(), PipelineError> {
        let named = running.inode != 0 && running.nlink != 0 && running.flags & event::Running::UNHASHED == 0;
        if named && self.kernel.mark(running, &self.reader.executable(key.pid)) {
            self.tell_coverage(self.host.boot_now())?;
        }
        Ok(())
    }

    /// Looks at everything that runs: what lost its name, what began or ended unseen.
    fn sweep(&mut self, began: u64) -> Result<(), PipelineError> {
        self.kernel.sweep(&mut self.rows)?;
        let rows = std::mem::take(&mut self.rows);
        let mut shown = HashMap::new();
        for event in event::decode_rows(&rows) {
            let Ok(Event { stamp, actor, fact: Fact::Image(image) }) = event else {
                self.counts.lost("decode", "image", "malformed", 1);
                continue;
            };
            if !image.alive {
                continue;
            }
            shown.insert(stamp.key.pid, stamp.key.start);
            if self.table.get(stamp.key).is_none() && stamp.key.start < began {
                self.adopt(stamp, actor, image);
                self.mark(stamp.key, &image.running)?;
            }
            self.look(stamp, &image)?;
        }
        self.rows = rows;
        self.table.keep(began, &shown);
        self.kernel.keep_marks(self.table.iter().map(|process| &process.now));
        Ok(())
    }

    /// Takes in a process whose birth wasn't seen, with what /proc tells of it.
    fn adopt(&mut self, stamp: Stamp, actor: Actor, image: image::Image) {
        let deleted = image.running.flags & event::Running::UNHASHED != 0 || image.running.nlink == 0;
        let details = self.reader.details(stamp.key.pid, stamp.key.start, deleted).unwrap_or_default();
        let Details { executable, working_directory, args, args_truncated, args_unread, cgroup, name } = details;
        let nameless = executable.as_ref().is_some_and(|path: &Text| path.as_bytes().starts_with(b"memfd:"));
        let process = self.table.found(
            stamp.key,
            actor,
            Image {
                executable,
                args: args.into(),
                args_truncated: args_truncated || args_unread,
                running: image.running,
                nameless,
                since: stamp.key.start,
                ..Image::default()
            },
        );
        process.working_directory = working_directory;
        process.cgroup = cgroup;
        process.name = name;
    }

    /// Compares what a process runs with what it ran, and tells a name that was lost.
    fn look(&mut self, stamp: Stamp, image: &image::Image) -> Result<(), PipelineError> {
        let (reader, pid) = (&self.reader, stamp.key.pid);
        let taken = |path: &Text| reader.leads(pid, path);
        match self.verdicts.look(&mut self.table, stamp.key, &image.running, stamp.time, taken) {
            Some(found) => self.tell_lost(&found, stamp.time),
            None => Ok(()),
        }
    }

    fn tell_lost(&mut self, found: &Found, time: u64) -> Result<(), PipelineError> {
        let mut record = exe_deleted::ACTION.record();
        if let Some(hint) = &found.hint {
            self.enricher.set(&hint.actor, &mut record);
            record.set(Field::ProcessThreadId, hint.thread);
        }
        found.lost.set(&mut record);
        if let Some(first) = found.runners.first() {
            record.set(Field::SensorExeDevice, exe_deleted::device(first.now.device).to_string());
            record.set(Field::SensorExeInode, first.now.inode.to_string());
            record.set(Field::SensorExeNlink, first.now.nlink);
            record.set(Field::SensorExeState, crate::enrich::state(first));
        }
        record.set(Field::SensorRunners, found.runners.iter().map(runner).collect::<Vec<_>>());
        let when = found.hint.as_ref().map_or(time, |hint| hint.time);
        self.deliver(exe_deleted::ACTION.name, when, record)
    }

    fn tell_process(&mut self, action: &'static Action, stamp: Stamp, set: impl FnOnce(&mut Record)) -> Result<(), PipelineError> {
        let mut record = action.record();
        if let Some(process) = self.table.get(stamp.key) {
            self.enricher.set(process, &mut record);
        }
        record.set(Field::ProcessThreadId, stamp.thread);
        set(&mut record);
        self.deliver(action.name, stamp.time, record)
    }

    fn tell_coverage(&mut self, time: u64) -> Result<(), PipelineError> {
        let rows = self.kernel.coverage().iter().map(|row| event::coverage::Row {
            action: row.action,
            hook: row.hook,
            state: row.state.word(),
            reason: &row.reason,
            remedy: row.remedy,
        });
        let record = event::coverage::record(rows);
        self.deliver(event::coverage::ACTION.name, time, record)
    }

    fn tell_losses(&mut self) -> Result<(), PipelineError> {
        let counters = self.kernel.counters()?;
        for (action, reason, count) in counters.lost_since(&self.counters) {
            self.counts.lost("kernel", action, reason, count);
        }
        self.counters = counters;
        let news = self.counts.news();
        if news.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = news.into_iter().map(|(stage, action, reason, count)| loss::Row { stage, action, reason, count }).collect();
        let record = loss::record(&rows);
        self.deliver(loss::ACTION.name, self.host.boot_now(), record)
    }

    /// Completes a record and gives its line to the output.
    fn deliver(&mut self, action: &'static str, time: u64, mut record: Record) -> Result<(), PipelineError> {
        self.sequence += 1;
        record.extend(self.common.clone());
        record.set(Field::Timestamp, self.enricher.boot.at(time));
        record.set(Field::EventSequence, self.sequence);
        record.set(Field::EventId, format!("{}-{}", self.run, self.sequence));
        self.line.clear();
        self.format.write(&record, &mut self.line);
        match self.output.write(&self.line) {
            Ok(Taken::Kept) => self.counts.delivered(action),
            Ok(Taken::Refused) => self.counts.lost("output", action, "full", 1),
            Err(error) => return self.trouble(error),
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PipelineError> {
        match self.output.flush() {
            Ok(()) => {
                if std::mem::take(&mut self.troubled) {
                    eprintln!("sensor: the output takes events again; what it refused meanwhile is told in a loss event");
                }
                Ok(())
            }
            Err(error) => self.trouble(error),
        }
    }

    /// An output that is gone ends the sensor; one that is full or busy is tried again.
    fn trouble(&mut self, error: OutputError) -> Result<(), PipelineError> {
        if error.fault == Fault::Closed {
            return Err(error.into());
        }
        if !std::mem::replace(&mut self.troubled, true) {
            eprintln!("sensor: {error}: {}", error.source);
        }
        Ok(())
    }

    fn taken(&mut self, kind: &'static str) {
        *self.taken.entry(kind).or_default() += 1;
    }

    /// What became of all that the hooks saw: kind, seen, delivered, lost.
    #[must_use]
    pub fn sums(&self) -> Vec<(&'static str, u64, u64, u64)> {
        sensor_common::wire::KINDS
            .iter()
            .filter(|(kind, _)| self.counters.seen(*kind) != 0)
            .map(|(kind, name)| {
                // A hint is delivered when it was weighed: few of them become an alert.
                let delivered = match *name {
                    "name" => self.taken.get(name).copied().unwrap_or(0),
                    _ => self.counts.delivered_of(name),
                };
                (*name, self.counters.seen(*kind), delivered, self.counts.lost_of(name))
            })
            .collect()
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

fn signal_name(signal: u8) -> Option<&'static str> {
    nix::sys::signal::Signal::try_from(i32::from(signal)).ok().map(nix::sys::signal::Signal::as_str)
}

fn common(host: &Host) -> Record {
    let mut record = Record::new();
    record.set(Field::EcsVersion, ECS_VERSION);
    record.set(Field::HostName, host.name.clone());
    if !host.id.is_empty() {
        record.set(Field::HostId, host.id.clone());
    }
    record.set(Field::HostBootId, host.boot_id.clone());
    record.set(Field::SensorVersion, env!("CARGO_PKG_VERSION"));
    record
}

/// Tells this run from others, also of other hosts.
fn run_id(host: &Host) -> String {
    let mut hash = Sha256::new();
    hash.update(host.boot_id.as_bytes());
    hash.update(host.boot_now().to_le_bytes());
    hash.update(std::process::id().to_le_bytes());
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
