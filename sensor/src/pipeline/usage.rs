//! What is used: read at each interval, counted at each exit, told by process and by user.

use std::time::Duration;

use super::{Pipeline, PipelineError};
use crate::{
    account::{Account, Owner, Subject, User},
    enrich::container,
    event::{
        self, Event, Fact, Key, Stamp,
        exit::Exit,
        usage::{self, Reading, Scope, Total, Used},
    },
    kernel::KernelError,
    process::Process,
};

/// When an exit that wasn't told for so long was lost, nanoseconds.
const EXIT_LOST: u64 = 10_000_000_000;

/// The accounts, and when they are read.
pub(super) struct Usage {
    account: Account,
    /// Nanoseconds.
    interval: u64,
    /// When the next reading is due, nanoseconds since boot.
    due: u64,
}

impl Pipeline<'_> {
    /// Begins to count, unless nobody wants it or the kernel can't tell.
    pub(super) fn begin_usage(&mut self) -> Result<(), PipelineError> {
        let Some(interval) = self.interval.filter(|_| self.kernel.tells_usage()) else {
            return Ok(());
        };
        let (now, interval) = (self.host.boot_now(), interval.as_nanos().try_into().unwrap_or(u64::MAX));
        let account = Account::new(now, &self.used()?);
        self.usage = Some(Usage { account, interval, due: now.saturating_add(interval) });
        Ok(())
    }

    /// Reads and tells what was used, when it is time.
    pub(super) fn usage(&mut self, now: u64) -> Result<(), PipelineError> {
        let Some(usage) = self.usage.as_mut().filter(|usage| usage.due <= now) else {
            return Ok(());
        };
        let next = usage.due.saturating_add(usage.interval);
        usage.due = if next > now { next } else { now.saturating_add(usage.interval) };
        self.read_usage()?;
        self.close_usage()
    }

    /// Tells of each process what it used since the last reading.
    pub(super) fn read_usage(&mut self) -> Result<(), PipelineError> {
        if self.usage.is_none() {
            return Ok(());
        }
        self.read_traffic()?;
        let totals = self.used()?;
        let now = self.host.boot_now();
        for mut total in totals {
            total.used.net = self.net_of(total.key);
            if let Some(actor) = total.actor {
                self.refresh_actor(total.key, actor);
            }
            let Some(usage) = &mut self.usage else { return Ok(()) };
            // Of one whose birth wasn't told yet, the next reading tells all.
            let Some(process) = self.table.get(total.key) else { continue };
            let owner = || owner(process);
            let Some(used) = usage.account.read(&total, owner) else { continue };
            let ms = usage.account.ms(now);
            self.tell_usage(total.key, now, ms, &used)?;
        }
        self.tell_late()
    }

    /// A process ended: counts what wasn't told, and tells it if the rest was.
    pub(super) fn end_usage(&mut self, key: Key, time: u64, life: &Used) -> Result<(), PipelineError> {
        let Some(usage) = &mut self.usage else { return Ok(()) };
        let Some(process) = self.table.get(key) else { return Ok(()) };
        let owner = || owner(process);
        let Some(used) = usage.account.end(key, life, time, owner) else {
            return Ok(());
        };
        let ms = usage.account.ms(time);
        self.tell_usage(key, time, ms, &used)
    }

    fn tell_usage(&mut self, key: Key, time: u64, ms: u64, used: &Used) -> Result<(), PipelineError> {
        let stamp = Stamp { time, key, thread: key.pid };
        self.tell_process(&usage::ACTION, stamp, |record| usage::set(record, Scope::Process, ms, used))
    }

    /// Tells it this often from now on; where it wasn't told at all, or no more shall be, that begins with the next run.
    pub(super) fn tell_usage_each(&mut self, interval: Option<Duration>) {
        if let (Some(usage), Some(interval)) = (&mut self.usage, interval) {
            usage.interval = interval.as_nanos().try_into().unwrap_or(u64::MAX);
        }
    }

    /// Ends the interval, and tells of each user what was used in it.
    pub(super) fn close_usage(&mut self) -> Result<(), PipelineError> {
        let now = self.host.boot_now();
        let Some(usage) = &mut self.usage else { return Ok(()) };
        let interval = usage.account.interval(now);
        self.counts.lost("account", usage::ACTION.name, "full", usage.account.crowded());
        for row in interval.rows {
            let Subject::User(User { effective, login }) = row.subject else { continue };
            let mut record = usage::ACTION.record();
            self.enricher.set_user(effective, login, &mut record);
            usage::set(&mut record, Scope::User, interval.ms, &row.used);
            self.deliver(usage::ACTION.name, now, record)?;
        }
        self.tell_nobodys(interval.ms)
    }

    /// What each process used since it began, or since the sensor did where that isn't known.
    fn used(&mut self) -> Result<Vec<Total>, KernelError> {
        // Before the threads: one that ends meanwhile is in neither, and all of it in the next reading.
        let ended = self.kernel.ended_threads();
        self.kernel.usage(&mut self.rows)?;
        let mut reading = Reading::default();
        for row in event::decode_rows(&self.rows) {
            match row {
                Ok(Event { stamp, actor, fact: Fact::Usage(usage) }) => reading.add(stamp.key, actor, &usage),
                _ => self.counts.lost("decode", usage::ACTION.name, "malformed", 1),
            }
        }
        let long_ago = self.host.boot_now().saturating_sub(EXIT_LOST);
        for (key, io) in ended {
            let lives = reading.add_ended(key, &Used::of_io(io));
            if !lives && self.table.get(key).is_none() && key.start < long_ago {
                self.kernel.take_ended_threads(key);
            }
        }
        Ok(reading.totals())
    }

    /// Everything that a process used in its life.
    pub(super) fn life(&mut self, key: Key, exit: &Exit) -> Result<Used, PipelineError> {
        let last = Used { cpu_ns: exit.cpu_ns, io: exit.io, net: self.moved_in_life(key)? };
        let before = if exit.threads { self.kernel.take_ended_threads(key) } else { Vec::new() };
        Ok(before.into_iter().fold(last, |sum, io| sum.and(&Used::of_io(io))))
    }
}

impl Usage {
    /// Counts what the sockets of a process moved that had ended; gives how long the interval is so far.
    pub(super) fn late(&mut self, key: Key, used: &Used, now: u64, owner: Owner) -> u64 {
        self.account.late(key, used, now, owner);
        self.account.ms(now)
    }
}

/// Whose sums what a process uses goes to.
pub(super) fn owner(process: &Process) -> Owner {
    Owner { user: User::of(&process.actor), container: process.cgroup.as_ref().and_then(container) }
}
