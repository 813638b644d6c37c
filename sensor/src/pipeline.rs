//! The one loop: rings → event → process → enrich → format → output; order, back-pressure, stop.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::RawFd,
    time::Duration,
};

use sensor_common::wire::KINDS;

use skips::Skips;
use usage::Usage;

use crate::{
    config,
    count::Counts,
    enrich::Enricher,
    event::{self, Event, Fact, exe_deleted, exe_memfd, process_snapshot, usage as usage_event},
    format::Format,
    host::Host,
    kernel::{Batch, Counters, Kernel, KernelError},
    output::{Output, OutputError, Tee},
    process::Table,
    procfs::Reader,
    record::Record,
    redact::Redactor,
    sockets::Sockets,
    verdict::Verdicts,
};

mod capture;
mod connect;
mod delivered;
mod ended;
mod guard;
mod journaled;
mod look;
mod missed;
mod network;
mod reach;
mod requested;
mod skips;
mod socket;
mod take;
mod tell;
mod usage;
mod watch;

pub use delivered::Reload;

/// How often the bulk ring is looked at while there is something in it.
const BUSY: Duration = Duration::from_millis(10);
/// And while there is nothing: the first record wakes, only names that go wait in a queue.
const IDLE: Duration = Duration::from_millis(100);
/// And while a name that went is being cleared up.
const WATCHFUL: Duration = Duration::from_millis(1);
/// So many names that went at once are a storm of them, which would fill the queue while we sleep.
const MANY_GONE: usize = 256;
/// How often everything that runs is looked at again, nanoseconds.
const SWEEP: u64 = 1_000_000_000;
/// Why something was lost that not even the hooks saw.
const SKIPPED: &str = "skipped";

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is in its message")]
pub enum PipelineError {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("waiting for changes of what is mounted, in /proc/self/mountinfo: mount proc on /proc")]
    Mounts(#[source] std::io::Error),
    #[error("there is no journal for the outputs to read from: see what was said about it")]
    NoJournal,
    #[error("beginning with the outputs")]
    Outputs(#[source] std::io::Error),
    #[error(
        "writing the last {waiting} events: the output has no space for them or doesn't take them; free some and start again"
    )]
    Waiting { waiting: u64 },
}

/// The sensor at work.
pub struct Pipeline<'a> {
    host: &'a Host,
    kernel: Kernel,
    output: Tee,
    format: &'a dyn Format,
    reader: Reader,
    table: Table,
    enricher: Enricher,
    verdicts: Verdicts,
    sockets: Sockets,
    looks: look::Looks,
    reaches: reach::Reaches,
    connects: connect::Connects,
    missed: missed::Missed,
    counts: Counts,
    /// Events that the output has and has not written, oldest first.
    waiting: VecDeque<&'static str>,
    counters: Counters,
    /// How often the kernel skipped a program, by its descriptor.
    skipped: HashMap<RawFd, Skips>,
    /// What every record has.
    common: Record,
    run: String,
    sequence: u64,
    line: Vec<u8>,
    rows: Vec<u8>,
    /// When what is mounted in another mount namespace is read again, nanoseconds since boot.
    spaces: HashMap<u32, u64>,
    asked: take::Asked,
    /// When everything was last looked at, nanoseconds since boot.
    swept: u64,
    /// Until when everything is looked at each round.
    ahead: u64,
    /// Everything is to be looked at now.
    hinted: bool,
    troubled: bool,
    /// How often it is told what was used; never without.
    interval: Option<Duration>,
    usage: Option<Usage>,
    /// None where the kernel doesn't count.
    traffic: Option<network::Traffic>,
    guard: guard::Guard,
    capture: capture::Capture,
    requested: requested::Requested,
    journaled: journaled::Journaled,
    delivered: delivered::Delivered,
}

impl<'a> Pipeline<'a> {
    /// With programs that run already, and where lines go at once; none where all goes by the journal.
    #[must_use]
    pub fn new(
        host: &'a Host,
        kernel: Kernel,
        format: &'a dyn Format,
        output: impl IntoIterator<Item = Box<dyn Output>>,
    ) -> Self {
        let mut tee = Tee::default();
        output.into_iter().for_each(|output| tee.add(output));
        Self {
            host,
            kernel,
            output: tee,
            format,
            reader: Reader::new(host.proc()),
            table: Table::new(host.boot_id.clone(), host.boot()),
            enricher: Enricher::new(host.passwd(), host.boot()),
            verdicts: Verdicts::default(),
            sockets: Sockets::default(),
            looks: look::Looks::default(),
            reaches: reach::Reaches::default(),
            connects: connect::Connects::default(),
            missed: missed::Missed::default(),
            counts: Counts::default(),
            waiting: VecDeque::new(),
            counters: Counters::default(),
            skipped: HashMap::new(),
            common: host.common(),
            run: host.run_id(),
            sequence: 0,
            line: Vec::new(),
            rows: Vec::new(),
            spaces: HashMap::new(),
            asked: take::Asked::default(),
            swept: 0,
            ahead: 0,
            hinted: false,
            troubled: false,
            interval: None,
            usage: None,
            traffic: None,
            guard: guard::Guard::default(),
            capture: capture::Capture::default(),
            requested: requested::Requested::default(),
            journaled: journaled::Journaled::default(),
            delivered: delivered::Delivered::default(),
        }
    }

    /// Tells what was used, this often.
    #[must_use]
    pub fn with_usage(mut self, interval: Option<Duration>) -> Self {
        self.interval = interval;
        self
    }

    /// Masks secrets in arguments before anything is told of them.
    #[must_use]
    pub fn with_redaction(mut self, redact: &config::Redact) -> Self {
        self.redact(redact);
        self
    }

    fn redact(&mut self, redact: &config::Redact) {
        self.table.mask((!redact.off).then(|| Redactor::new(redact.expressions())));
    }

    /// Streams until told to stop, and then all that was seen.
    ///
    /// # Errors
    /// When the kernel or the output fails for good.
    pub async fn run(
        &mut self,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce(),
    ) -> Result<(), PipelineError> {
        let result = self.stream(stop, ready).await;
        match &result {
            Ok(()) => self.end_run(),
            Err(_) => {
                self.kernel.stop();
                self.output.settle();
                self.count_rest();
            }
        }
        result
    }

    async fn stream(
        &mut self,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce(),
    ) -> Result<(), PipelineError> {
        let mut batch = Batch::default();
        self.begin(&mut batch)?;
        self.flush()?;
        ready();
        let mut stop = std::pin::pin!(stop);
        let (mut pause, mut quiet) = (BUSY, false);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = self.capture.woken() => {}
                () = self.requested.woken() => {}
                // A timer of no length would take up to a millisecond all the same.
                () = tokio::task::yield_now(), if pause.is_zero() => {}
                woken = tokio::time::timeout(pause, self.kernel.woken()), if !pause.is_zero() => {
                    if let Ok(woken) = woken && woken? {
                        self.mounts_changed();
                    }
                }
            }
            pause = self.round(&mut batch)?;
            if pause != IDLE {
                quiet = false;
            } else if !quiet {
                self.kernel.sleep_long()?;
                // What came before that woke nobody.
                pause = Duration::ZERO;
                quiet = true;
            }
        }
        self.end(&mut batch)
    }

    /// What was there before: coverage, then each process once.
    fn begin(&mut self, batch: &mut Batch) -> Result<(), PipelineError> {
        let now = self.host.boot_now();
        self.watch_here()?;
        self.follow_addresses();
        self.kernel.sweep(&mut self.rows)?;
        self.kernel.drain(batch);
        let mut born = HashMap::new();
        for record in batch.iter() {
            if let Ok(Event { stamp, fact: Fact::Fork(_), .. }) = event::decode(record) {
                born.insert(stamp.key.pid, stamp.key.start);
            }
        }
        let rows = std::mem::take(&mut self.rows);
        let mut found = Vec::new();
        for row in event::decode_rows(&rows) {
            match row {
                Ok(event) => found.push(event),
                Err(error) => self.counts.lost("decode", process_snapshot::ACTION.name, error.word(), 1),
            }
        }
        self.guard.first_process(found.iter().any(|event| event.stamp.key.pid == 1));
        self.tell_coverage(now)?;
        // Parents first, so that their children know them.
        found.sort_by_key(|event| event.stamp.key.start);
        for event in found {
            if let Fact::Image(image) = event.fact
                && image.alive
                && born.get(&event.stamp.key.pid) != Some(&event.stamp.key.start)
            {
                self.adopt(event.stamp, event.actor, &image.running, take::Until::AsNow);
                self.watch_space(&event.actor, event.stamp.key.pid);
                self.mark(event.stamp.key, &image.running)?;
                self.tell_process(&process_snapshot::ACTION, event.stamp, |_| {})?;
            }
        }
        self.rows = rows;
        self.begin_usage()?;
        self.begin_traffic();
        self.swept = self.host.boot_now();
        self.begin_sockets(batch)?;
        self.process(batch)?;
        self.guard.awake(self.host.boot_now());
        Ok(())
    }

    /// One round: what the rings hold, what a look at everything shows, what was lost.
    ///
    /// Gives how long to wait for the next.
    fn round(&mut self, batch: &mut Batch) -> Result<Duration, PipelineError> {
        let (began, open) = (self.host.boot_now(), self.verdicts.open());
        self.take_answers()?;
        self.notice_gap(began)?;
        // Before the rings: who did it, and to what, is told there by then.
        self.take_touched(began);
        let gone = self.take_gone();
        self.kernel.drain(batch);
        let (more, busy) = (batch.is_full(), !batch.is_empty() || gone > MANY_GONE);
        self.process(batch)?;
        self.look_back();
        if !more {
            self.tell_gone()?;
        }
        let due = began.saturating_sub(self.swept) >= SWEEP;
        // While more waits in the rings, what a look shows may be told there already.
        if !more && (due || self.hinted || self.ahead > began) {
            self.hinted = false;
            self.sweep(began)?;
        }
        self.settle(self.host.boot_now())?;
        self.take_requests()?;
        self.captured(began)?;
        self.usage(began)?;
        self.traffic(began)?;
        self.look_at_sockets(due)?;
        self.look_at_addresses()?;
        self.settle_connects(due, false)?;
        if due {
            self.swept = began;
            self.enricher.refresh(self.host.boot());
            self.table.refresh_clock(self.enricher.boot);
            self.watch_over(began)?;
            self.watch_journal(began)?;
            self.watch_delivery(began)?;
            self.beat(began)?;
            self.tell_losses()?;
        }
        self.flush()?;
        if due {
            self.note(began)?;
        }
        Ok(match () {
            // What a look has just shown to be lost was lost before it: who did it is told by now, and what that one is.
            () if more || self.verdicts.open() && !open => Duration::ZERO,
            () if self.verdicts.open() || self.ahead > began || self.capture.asks() => WATCHFUL,
            () if busy || self.looks.waiting() || self.capture.waits() => BUSY,
            () => IDLE,
        })
    }

    /// Out of the kernel first, then everything that is still in the rings.
    fn end(&mut self, batch: &mut Batch) -> Result<(), PipelineError> {
        self.read_usage()?;
        self.settle_connects(true, true)?;
        let rows = self.open_sockets()?;
        self.doubt_connections(&rows, true)?;
        // Programs that are gone can't be asked.
        self.count_skipped();
        self.kernel.stop();
        loop {
            self.kernel.drain(batch);
            if batch.is_empty() {
                break;
            }
            self.process(batch)?;
        }
        self.look_back();
        self.tell_gone()?;
        // Nobody comes forward any more.
        self.settle(u64::MAX)?;
        self.end_evidence()?;
        self.end_traffic()?;
        self.close_usage()?;
        self.end_sockets()?;
        self.tell_losses()?;
        self.tell_stop()?;
        self.flush()?;
        self.output.settle();
        self.flush()?;
        self.end_delivery();
        match self.output.counts().waiting {
            0 => Ok(()),
            waiting => {
                let stage = self.output.stage();
                for action in std::mem::take(&mut self.waiting) {
                    self.counts.lost(stage, action, "not_written", 1);
                }
                self.output.end();
                Err(PipelineError::Waiting { waiting })
            }
        }
    }

    fn process(&mut self, batch: &mut Batch) -> Result<(), PipelineError> {
        let taken = std::mem::take(batch);
        for record in taken.iter() {
            match event::decode(record) {
                Ok(event) => self.take(event)?,
                Err(error) => self.counts.lost("decode", event::action_meant(record), error.word(), 1),
            }
        }
        *batch = taken;
        batch.clear();
        Ok(())
    }

    /// The output is gone: what is still in the rings, or came since, is lost.
    fn count_rest(&mut self) {
        let Ok(counters) = self.kernel.counters() else { return };
        for (action, reason, count) in counters.lost_since(&self.counters) {
            self.counts.lost("kernel", action, reason, count);
        }
        self.counters = counters;
        for (kind, seen, delivered, lost) in self.sums() {
            self.counts.lost("output", kind, "closed", seen.saturating_sub(delivered).saturating_sub(lost));
        }
    }

    /// What became of all that the hooks saw, by event: seen, delivered, lost.
    #[must_use]
    pub fn sums(&self) -> Vec<(&'static str, u64, u64, u64)> {
        let of_user_space = [exe_deleted::ACTION.name, exe_memfd::ACTION.name, usage_event::ACTION.name];
        let own =
            KINDS.iter().filter(|(_, name)| event::action(name) == *name && !of_user_space.contains(name));
        let mut sums: Vec<_> = own
            .map(|(kind, name)| {
                let seen = self.counters.seen(*kind)
                    + self.counters.seen_besides(*kind)
                    + self.counts.found_of(name)
                    + self.counts.lost_for(name, SKIPPED);
                (*name, seen, self.counts.delivered_of(name), self.counts.lost_of(name))
            })
            .collect();
        // Of the hints few become an alert, and of the readings few an event: seen are those that did, and
        // those that were lost before.
        for name in of_user_space {
            let (delivered, lost) = (self.counts.delivered_of(name), self.counts.lost_of(name));
            sums.push((name, delivered + lost, delivered, lost));
        }
        sums
    }
}
