//! `usage`: what was used in an interval, by a process or a user.

use std::collections::{HashMap, hash_map::Entry};

use sensor_common::wire::{self, exit::Io};

use super::{Action, Actor, Key, Tail, with_used};
use crate::{field::Field, net::Amount, record::Record};

/// What the catalogue says.
pub const ACTION: Action = Action {
    name: "usage",
    kind: "metric",
    category: &["process"],
    types: &["info"],
    sentence: "What was used since the last reading: at each interval of each process that did something and, with \
               those that ended, of each user; of network bytes that are nobody's; and once more, before its \
               `exit`, of a process that was told before. The sum of a process's is what its `exit` tells, but for \
               what it used before the sensor began, and for what its sockets moved after its end.",
    hooks: "the kernel's own counters of each thread, by the task iterator; and what `exit` tells",
    fields: with_used!([SensorIntervalMs, SensorUsageScope], []),
    process: true,
};

/// What was used, of everything that is accounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// CPU time, nanoseconds.
    pub cpu_ns: u64,
    /// Disk and files.
    pub io: Io,
    /// Network, where it is known.
    pub net: Option<Amount>,
}

impl Used {
    /// Of I/O as the kernel counts it, in its order.
    #[must_use]
    pub fn of_io(words: [u64; 7]) -> Self {
        let [rchar, wchar, syscr, syscw, read_bytes, write_bytes, cancelled_write_bytes] = words;
        let io = Io { rchar, wchar, syscr, syscw, read_bytes, write_bytes, cancelled_write_bytes };
        Self { io, ..Self::default() }
    }

    /// Whether it is nothing at all.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let Self { cpu_ns, io, net } = self;
        *cpu_ns == 0 && *io == Io::default() && net.unwrap_or_default() == Amount::default()
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// What came since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.each(earlier, u64::saturating_sub)
    }

    /// The larger of each.
    #[must_use]
    pub fn at_least(&self, other: &Self) -> Self {
        self.each(other, u64::max)
    }

    fn each(&self, other: &Self, of: fn(u64, u64) -> u64) -> Self {
        let (a, b) = (&self.io, &other.io);
        Self {
            cpu_ns: of(self.cpu_ns, other.cpu_ns),
            io: Io {
                rchar: of(a.rchar, b.rchar),
                wchar: of(a.wchar, b.wchar),
                syscr: of(a.syscr, b.syscr),
                syscw: of(a.syscw, b.syscw),
                read_bytes: of(a.read_bytes, b.read_bytes),
                write_bytes: of(a.write_bytes, b.write_bytes),
                cancelled_write_bytes: of(a.cancelled_write_bytes, b.cancelled_write_bytes),
            },
            net: match (self.net, other.net) {
                (None, None) => None,
                (a, b) => Some(a.unwrap_or_default().with(b.unwrap_or_default(), of)),
            },
        }
    }

    /// Sets the fields of it.
    pub fn set(&self, record: &mut Record) {
        record.set(Field::SensorUsageDiskReadBytes, self.io.read_bytes);
        record.set(Field::SensorUsageDiskWriteBytes, self.io.write_bytes);
        record.set(Field::SensorUsageDiskCancelledWriteBytes, self.io.cancelled_write_bytes);
        record.set(Field::SensorUsageFileReadBytes, self.io.rchar);
        record.set(Field::SensorUsageFileWriteBytes, self.io.wchar);
        record.set(Field::SensorUsageFileReadCalls, self.io.syscr);
        record.set(Field::SensorUsageFileWriteCalls, self.io.syscw);
        if let Some(net) = &self.net {
            set_net(record, net);
        }
        record.set(Field::SensorUsageCpuNs, self.cpu_ns);
    }
}

fn set_net(record: &mut Record, net: &Amount) {
    record.set(Field::SensorUsageNetRxBytes, net.rx_bytes);
    record.set(Field::SensorUsageNetTxBytes, net.tx_bytes);
    record.set(Field::SensorUsageNetRxPackets, net.rx_packets);
    record.set(Field::SensorUsageNetTxPackets, net.tx_packets);
}

/// Whom an event is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A process.
    Process,
    /// A user.
    User,
    /// Nobody: what the network moved for no process that is known.
    Unaccounted,
}

impl Scope {
    /// Its word in the event.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::User => "user",
            Self::Unaccounted => "unaccounted",
        }
    }
}

/// Sets what is told of that which can't be given to a process.
pub fn set_unaccounted(record: &mut Record, interval_ms: u64, net: &Amount) {
    record.set(Field::SensorIntervalMs, interval_ms);
    record.set(Field::SensorUsageScope, Scope::Unaccounted.word());
    set_net(record, net);
}

/// Sets what each of these events has.
pub fn set(record: &mut Record, scope: Scope, interval_ms: u64, used: &Used) {
    record.set(Field::SensorIntervalMs, interval_ms);
    record.set(Field::SensorUsageScope, scope.word());
    used.set(record);
}

/// What one thread used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// By itself, as far as that isn't among the ended already.
    pub own: Used,
    /// The process's threads that ended.
    pub ended: Used,
    /// Whether the event's actor is told.
    pub acts: bool,
}

pub(super) fn decode(body: &wire::usage::Usage, _: &Tail<'_>, flags: u16) -> Usage {
    use wire::usage::Usage as Wire;
    let own = Used {
        cpu_ns: if flags & Wire::ENDED == 0 { body.cpu } else { 0 },
        io: if flags & Wire::ENDING == 0 { body.io } else { Io::default() },
        net: None,
    };
    let ended = Used { cpu_ns: body.ended_cpu, ..Used::default() };
    Usage { own, ended, acts: flags & Wire::ACTOR != 0 }
}

/// What one process used since it began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Total {
    /// Which.
    pub key: Key,
    /// Who it is, when its first thread was shown.
    pub actor: Option<Actor>,
    /// How much.
    pub used: Used,
}

/// Makes a reading: each process's sum of its threads, in the order in which they came.
///
/// A thread that ends meanwhile is in one reading with nothing and in the next with all: what the ended
/// did is taken from the first look at the process, when each thread that is looked at later was alive.
#[derive(Debug, Default)]
pub struct Reading {
    totals: Vec<Total>,
    at: HashMap<Key, usize>,
}

impl Reading {
    /// Takes what is told of one thread.
    pub fn add(&mut self, key: Key, actor: Actor, usage: &Usage) {
        let actor = usage.acts.then_some(actor);
        match self.at.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(self.totals.len());
                self.totals.push(Total { key, actor, used: usage.ended.and(&usage.own) });
            }
            Entry::Occupied(entry) => {
                if let Some(total) = self.totals.get_mut(*entry.get()) {
                    total.used = total.used.and(&usage.own);
                    total.actor = total.actor.or(actor);
                }
            }
        }
    }

    /// Takes the I/O of threads that had ended before the first was looked at; false when nothing of their
    /// process lives.
    pub fn add_ended(&mut self, key: Key, used: &Used) -> bool {
        let total = self.at.get(&key).and_then(|at| self.totals.get_mut(*at));
        total.map(|total| total.used = total.used.and(used)).is_some()
    }

    /// All of them.
    #[must_use]
    pub fn totals(self) -> Vec<Total> {
        self.totals
    }
}

#[cfg(test)]
mod tests {
    use sensor_common::wire::USAGE;

    use super::*;
    use crate::event::{Fact, decode as decode_record, tests::wire_record};

    fn thread(cpu: u64, ended_cpu: u64, flags: u16) -> Usage {
        let body = wire::usage::Usage { cpu, ended_cpu, ..Default::default() };
        let mut bytes = wire_record(USAGE, &body, &[]);
        bytes[30..32].copy_from_slice(&flags.to_le_bytes());
        match decode_record(&bytes).unwrap().fact {
            Fact::Usage(usage) => usage,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_process_is_its_threads_and_what_ended_before_the_first_look() {
        let (one, two) = (Key { pid: 1, start: 1 }, Key { pid: 1, start: 2 });
        let actor = Actor { session: 9, ..Actor::default() };
        let mut reading = Reading::default();
        reading.add(one, Actor::default(), &thread(5, 100, 0));
        reading.add(two, actor, &thread(1, 0, wire::usage::Usage::ACTOR));
        // One ended since the first look, so it is neither seen nor among the ended of that look.
        reading.add(one, actor, &thread(7, 130, wire::usage::Usage::ACTOR));
        let totals = reading.totals();
        let found: Vec<_> = totals.iter().map(|total| (total.key, total.used.cpu_ns)).collect();
        assert_eq!(found, [(one, 112), (two, 1)]);
        assert!(totals.iter().all(|total| total.actor == Some(actor)));
    }

    #[test]
    fn a_thread_among_the_ended_is_not_counted_again() {
        let mut reading = Reading::default();
        reading.add(Key::default(), Actor::default(), &thread(5, 105, wire::usage::Usage::ENDED));
        assert_eq!(reading.totals()[0].used.cpu_ns, 105);
    }

    #[test]
    fn the_io_of_ended_threads_goes_to_those_that_live() {
        let (one, two) = (Key { pid: 1, start: 1 }, Key { pid: 1, start: 2 });
        let mut reading = Reading::default();
        reading.add(one, Actor::default(), &thread(5, 0, 0));
        let ended = Used::of_io([1, 2, 3, 4, 5, 6, 7]);
        assert!(reading.add_ended(one, &ended) && !reading.add_ended(two, &ended));
        let totals = reading.totals();
        assert_eq!((totals.len(), totals[0].used), (1, Used { cpu_ns: 5, ..ended }));
    }

    #[test]
    fn a_thread_that_is_ending_is_left_to_the_sum_of_the_ended() {
        let body = wire::usage::Usage { cpu: 3, io: Io { wchar: 9, ..Io::default() }, ..Default::default() };
        let used = |flags| decode(&body, &Tail(&[]), flags).own;
        assert_eq!(used(0), Used { cpu_ns: 3, io: body.io, net: None });
        assert_eq!(used(wire::usage::Usage::ENDING), Used { cpu_ns: 3, ..Used::default() });
        assert_eq!(used(wire::usage::Usage::ENDED), Used { io: body.io, ..Used::default() });
    }

    #[test]
    fn what_is_used_never_goes_down() {
        let less = Used { cpu_ns: 5, ..Used::default() };
        let net = Some(Amount { rx_bytes: 7, ..Amount::default() });
        let more = Used { cpu_ns: 9, net, io: Io { wchar: 3, ..Io::default() } };
        assert_eq!(less.since(&more), Used { net: Some(Amount::default()), ..Used::default() });
        assert!(less.since(&more).is_nothing() && !more.since(&less).is_nothing());
        assert_eq!(less.at_least(&more), more);
        assert_eq!(more.since(&less).and(&less), more);
    }

    #[test]
    fn the_network_is_told_where_it_is_known() {
        let mut record = Record::new();
        Used::default().set(&mut record);
        assert!(record.has(Field::SensorUsageDiskReadBytes) && !record.has(Field::SensorUsageNetRxBytes));
        Used { net: Some(Amount::default()), ..Used::default() }.set(&mut record);
        assert!(record.has(Field::SensorUsageNetRxBytes));
        assert!(record.misfits().is_empty());
    }
}
