//! Network bytes: when they are read, and what becomes of those whose owner has ended.

use std::collections::{HashMap, HashSet};

use super::{Pipeline, PipelineError, usage};
use crate::{
    event::{Key, usage as usage_event, usage::Used},
    net::Amount,
    network::Network,
    process::Process,
};

/// Least time between readings for the sake of exits, and the share of the time that they may take: one part
/// in so many.
const AGAIN: u64 = 10_000_000;
const SHARE: u64 = 50;
/// Most time between readings, nanoseconds.
const SELDOM: u64 = 10_000_000_000;
/// Most processes that have ended and still have sockets; what those of others move is nobody's.
const LINGERING_MOST: usize = 16_384;

/// Whose the bytes are, and when they are read.
#[derive(Default)]
pub(super) struct Traffic {
    network: Network,
    /// Processes that ended before their sockets did.
    lingering: HashMap<Key, Process>,
    /// When there may be a reading again, nanoseconds since boot.
    after: u64,
    /// When there must be one.
    due: u64,
    refused: u64,
    full: u64,
}

impl Pipeline<'_> {
    /// A socket is this process's from now on, as far as anybody counts; false where it isn't known who that is.
    pub(super) fn owns(&mut self, cookie: u64, key: Key) -> bool {
        let Some(traffic) = self.traffic.as_mut().filter(|_| key.pid != 0) else { return false };
        if self.table.get(key).is_some() || traffic.network.knows(key) {
            traffic.network.owns(cookie, key);
        } else if let Some(process) = self.table.known(key)
            && traffic.lingering.len() < LINGERING_MOST
        {
            // It closes what it has open after its end was told.
            traffic.network.owned(cookie, key);
            traffic.lingering.insert(key, process.clone());
        } else {
            return false;
        }
        true
    }

    /// A process sent the first that a socket moved. That may be read before the process's own events, and after
    /// its end was told.
    fn uses(&mut self, cookie: u64, key: Key) {
        if self.owner_of(cookie).is_some() || self.owns(cookie, key) {
            return;
        }
        if let Some(traffic) = &mut self.traffic {
            traffic.network.owns(cookie, key);
        }
    }

    /// It is closed.
    pub(super) fn owned_till_now(&mut self, cookie: u64) {
        if let Some(traffic) = &mut self.traffic {
            traffic.network.closed(cookie);
        }
    }

    /// Whose it is.
    pub(super) fn owner_of(&self, cookie: u64) -> Option<Key> {
        self.traffic.as_ref()?.network.owner(cookie)
    }

    /// A look showed who has which sockets.
    pub(super) fn owners_shown(&mut self, owners: impl Iterator<Item = (u64, Key)>) {
        let Some(traffic) = &mut self.traffic else { return };
        let full = traffic.network.needs_room();
        let mut open = HashSet::new();
        for (cookie, key) in owners {
            if full {
                open.insert(cookie);
            }
            traffic.network.owns(cookie, key);
        }
        traffic.network.shown(&open);
    }

    /// Begins to count, unless the kernel can't.
    pub(super) fn begin_traffic(&mut self) {
        self.traffic = self.kernel.tells_traffic().then(Traffic::default);
    }

    /// Reads from time to time in any case, for what ended waits in memory; sooner where much of it does.
    pub(super) fn traffic(&mut self, now: u64) -> Result<(), PipelineError> {
        let waits = self.kernel.traffic_waits();
        if !self.traffic.as_ref().is_some_and(|traffic| waits || traffic.due <= now) {
            return Ok(());
        }
        self.read_traffic()?;
        match self.usage {
            Some(_) => Ok(()),
            None => self.tell_late(),
        }
    }

    /// Reads what is new of all sockets.
    pub(super) fn read_traffic(&mut self) -> Result<(), PipelineError> {
        if self.traffic.is_none() {
            return Ok(());
        }
        let began = self.host.boot_now();
        let reading = self.kernel.traffic()?;
        for socket in &reading.sockets {
            if let Some(user) = socket.user {
                self.uses(socket.cookie, user);
            }
        }
        let Some(traffic) = &mut self.traffic else { return Ok(()) };
        let sockets = &self.sockets;
        traffic.network.read(began, &reading.sockets, reading.rest.amount, |row| {
            sockets.listener(row.netns, (row.local.ip(), row.local.port())).map(|(cookie, _)| cookie)
        });
        let now = self.host.boot_now();
        traffic.after = now.saturating_add(AGAIN.max(now.saturating_sub(began).saturating_mul(SHARE)));
        traffic.due = now.saturating_add(SELDOM);
        let usage = usage_event::ACTION.name;
        for (reason, count) in reading.lost {
            self.counts.lost("decode", usage, reason, count);
        }
        let rest = reading.rest;
        self.counts.lost("kernel", usage, "map_full", rest.refused.saturating_sub(traffic.refused));
        self.counts.lost("kernel", usage, "ring_full", rest.full.saturating_sub(traffic.full));
        self.counts.lost("account", usage, "full", traffic.network.crowded());
        (traffic.refused, traffic.full) = (rest.refused, rest.full);
        Ok(())
    }

    /// The last reading: nobody claims anything any more.
    pub(super) fn end_traffic(&mut self) -> Result<(), PipelineError> {
        self.read_traffic()?;
        if let Some(traffic) = &mut self.traffic {
            traffic.network.give_up(u64::MAX);
        }
        self.tell_late()
    }

    /// All that a process's sockets moved as of the last reading; none where nobody counts.
    pub(super) fn net_of(&self, key: Key) -> Option<Amount> {
        self.traffic.as_ref().map(|traffic| traffic.network.of(key))
    }

    /// All that the sockets of a process moved that ends, read anew if it has some and that isn't done too often.
    pub(super) fn moved_in_life(&mut self, key: Key) -> Result<Option<Amount>, PipelineError> {
        let now = self.host.boot_now();
        if self.traffic.as_ref().is_some_and(|traffic| traffic.network.has(key) && traffic.after <= now) {
            self.read_traffic()?;
        }
        let Some(traffic) = &mut self.traffic else { return Ok(None) };
        let (moved, lingers) = traffic.network.end(key);
        if lingers && let Some(process) = self.table.get(key) {
            if traffic.lingering.len() < LINGERING_MOST {
                traffic.lingering.insert(key, process.clone());
            } else {
                self.counts.lost("account", usage_event::ACTION.name, "full", 1);
            }
        }
        Ok(Some(moved))
    }

    /// Tells what the sockets of processes moved that have ended, if anybody wants to know.
    pub(super) fn tell_late(&mut self) -> Result<(), PipelineError> {
        let Some(traffic) = &mut self.traffic else { return Ok(()) };
        let now = self.host.boot_now();
        let table = &self.table;
        let late = traffic.network.late(now, |key| table.get(key).is_some());
        for (key, moved, last) in late {
            let Some(traffic) = &mut self.traffic else { return Ok(()) };
            let process = match last {
                true => traffic.lingering.remove(&key),
                false => traffic.lingering.get(&key).cloned(),
            };
            if moved == Amount::default() {
                continue;
            }
            let (Some(process), Some(usage)) = (process, &mut self.usage) else {
                traffic.network.forfeit(moved);
                continue;
            };
            let used = Used { net: Some(moved), ..Used::default() };
            let ms = usage.late(key, &used, now, usage::owner(&process));
            let mut record = usage_event::ACTION.record();
            self.enricher.set(&process, &mut record);
            usage_event::set(&mut record, usage_event::Scope::Process, ms, &used);
            self.deliver(usage_event::ACTION.name, now, record)?;
        }
        Ok(())
    }

    /// Tells what is nobody's.
    pub(super) fn tell_nobodys(&mut self, ms: u64) -> Result<(), PipelineError> {
        let Some(moved) = self.traffic.as_mut().map(|traffic| traffic.network.nobodys()) else {
            return Ok(());
        };
        if moved == Amount::default() {
            return Ok(());
        }
        let mut record = usage_event::ACTION.record();
        usage_event::set_unaccounted(&mut record, ms, &moved);
        self.deliver(usage_event::ACTION.name, self.host.boot_now(), record)
    }
}
