//! Who used how much: by process, by user, by container; each interval, and nothing twice.
//!
//! The kernel counts what a process used since it began. Here stands what of that was told already, so
//! that each reading, and its exit, add only the rest. What ended within the interval is in its sums.

use std::collections::{HashMap, VecDeque, hash_map::Entry};
use std::hash::Hash;

use crate::{
    event::{
        Actor, Key,
        usage::{Total, Used},
    },
    record::Text,
};

/// For whom a process works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct User {
    /// The effective user id.
    pub effective: u32,
    /// The login user id, `u32::MAX` when unset: it stays through su and sudo.
    pub login: u32,
}

impl User {
    /// The one of an actor.
    #[must_use]
    pub fn of(actor: &Actor) -> Self {
        let [_, _, _, _, effective, ..] = actor.ids;
        Self { effective, login: actor.login_uid }
    }
}

/// Whose sums what a process used goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its user.
    pub user: User,
    /// Its container, when it is in one.
    pub container: Option<Text>,
}

/// Of whom a row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A process, and whose it was.
    Process(Key, Owner),
    /// Processes that ended, for which there was no row left.
    Ended,
    /// A user; the sum over its processes.
    User(User),
    /// Users for which there was no row left.
    OtherUsers,
    /// A container.
    Container(Text),
    /// Containers for which there was no row left.
    OtherContainers,
}

/// What somebody used in an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who.
    pub subject: Subject,
    /// How much.
    pub used: Used,
    /// When it ended, nanoseconds since boot, if it did.
    pub ended: Option<u64>,
}

/// One interval: a row for each process, user and container that used something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// How long it was, milliseconds.
    pub ms: u64,
    /// The rows: processes, then users, then containers.
    pub rows: Vec<Row>,
}

/// What of one process was told.
#[derive(Clone, Copy, Debug)]
struct Known {
    used: Used,
    /// Somebody adds up what is told of it: the rest at its end is told too.
    told: bool,
    /// The reading that showed it last.
    seen: u32,
}

/// Sums by somebody, bounded.
#[derive(Debug)]
struct Sums<K> {
    of: HashMap<K, Used>,
    others: Used,
}

impl<K: Eq + Hash> Sums<K> {
    fn new() -> Self {
        Self { of: HashMap::new(), others: Used::default() }
    }

    /// Adds; false when there was no row left for it.
    fn add(&mut self, who: K, used: &Used) -> bool {
        let full = self.of.len() >= SUMS_MOST;
        match self.of.entry(who) {
            Entry::Vacant(_) if full => {
                self.others = self.others.and(used);
                return false;
            }
            entry => {
                let sum = entry.or_default();
                *sum = sum.and(used);
            }
        }
        true
    }

    fn take(&mut self, subject: impl Fn(K) -> Subject, others: Subject, rows: &mut Vec<Row>) {
        let sums = self.of.drain().map(|(who, used)| Row { subject: subject(who), used, ended: None });
        rows.extend(sums);
        let used = std::mem::take(&mut self.others);
        if !used.is_nothing() {
            rows.push(Row { subject: others, used, ended: None });
        }
    }
}

/// The accounts.
#[derive(Debug)]
pub struct Account {
    known: HashMap<Key, Known>,
    /// What the interval came to so far.
    processes: Vec<Row>,
    ended: VecDeque<Row>,
    /// Of those that ended and are no row any more.
    ended_others: Used,
    users: Sums<User>,
    containers: Sums<Text>,
    /// Which reading is under way.
    reading: u32,
    /// When the first reading was, nanoseconds since boot: what began before had used something already.
    began: u64,
    /// When the last reading was.
    since: u64,
    most: usize,
    unread: u64,
}

/// As many processes as the table holds; each takes about 150 bytes.
const MOST: usize = 262_144;
/// Most users, and most containers, that have a row in an interval.
const SUMS_MOST: usize = 16_384;
/// Most processes that ended within an interval and have a row of their own.
const ENDED_MOST: usize = 4096;

impl Account {
    /// Of what is used from now on, nanoseconds since boot; begins with the totals of all that live now.
    #[must_use]
    pub fn new(now: u64, totals: &[Total]) -> Self {
        let mut account = Self {
            known: HashMap::new(),
            processes: Vec::new(),
            ended: VecDeque::new(),
            ended_others: Used::default(),
            users: Sums::new(),
            containers: Sums::new(),
            reading: 0,
            began: now,
            since: now,
            most: MOST,
            unread: 0,
        };
        for total in totals.iter().take(MOST) {
            account.known.insert(total.key, Known { used: total.used, told: true, seen: 0 });
        }
        account
    }

    /// How long the interval is so far, milliseconds.
    #[must_use]
    pub fn ms(&self, now: u64) -> u64 {
        now.saturating_sub(self.since) / 1_000_000
    }

    /// A process used so much since it began; gives what is new of that, if anything.
    pub fn read(&mut self, total: &Total, owner: impl FnOnce() -> Owner) -> Option<Used> {
        let (full, reading) = (self.known.len() >= self.most, self.reading);
        let known = match self.known.entry(total.key) {
            Entry::Vacant(_) if full => {
                self.unread += 1;
                return None;
            }
            entry => entry.or_insert(Known { used: Used::default(), told: false, seen: reading }),
        };
        known.seen = reading;
        let used = total.used.since(&known.used);
        if used.is_nothing() {
            return None;
        }
        known.used = known.used.at_least(&total.used);
        known.told = true;
        let owner = owner();
        self.add(&owner, &used);
        self.processes.push(Row { subject: Subject::Process(total.key, owner), used, ended: None });
        Some(used)
    }

    /// A process ended at this time, and used so much in its life; gives what wasn't told of that, if
    /// somebody adds up what was.
    pub fn end(&mut self, key: Key, life: &Used, time: u64, owner: impl FnOnce() -> Owner) -> Option<Used> {
        let known = match self.known.remove(&key) {
            Some(known) => known,
            // What it used before isn't known.
            None if key.start < self.began => return None,
            None => Known { used: Used::default(), told: false, seen: 0 },
        };
        let used = life.since(&known.used);
        if used.is_nothing() {
            return None;
        }
        let owner = owner();
        self.add(&owner, &used);
        self.row_of_ended(key, owner, &used, time);
        known.told.then_some(used)
    }

    /// The sockets of a process that had ended moved this much more.
    pub fn late(&mut self, key: Key, used: &Used, time: u64, owner: Owner) {
        self.add(&owner, used);
        self.row_of_ended(key, owner, used, time);
    }

    fn row_of_ended(&mut self, key: Key, owner: Owner, used: &Used, time: u64) {
        if self.ended.len() >= ENDED_MOST
            && let Some(oldest) = self.ended.pop_front()
        {
            self.ended_others = self.ended_others.and(&oldest.used);
        }
        self.ended.push_back(Row { subject: Subject::Process(key, owner), used: *used, ended: Some(time) });
    }

    fn add(&mut self, owner: &Owner, used: &Used) {
        let mut fits = self.users.add(owner.user, used);
        if let Some(container) = &owner.container {
            fits &= self.containers.add(container.clone(), used);
        }
        self.unread += u64::from(!fits);
    }

    /// The interval is over: gives what it came to, and begins the next.
    pub fn interval(&mut self, now: u64) -> Interval {
        let ms = self.ms(now);
        self.since = now;
        // Their exit was lost: two readings don't show them.
        let reading = self.reading;
        self.known.retain(|_, known| reading.wrapping_sub(known.seen) < 2);
        self.reading = reading.wrapping_add(1);
        let mut rows = std::mem::take(&mut self.processes);
        rows.extend(self.ended.drain(..));
        let used = std::mem::take(&mut self.ended_others);
        if !used.is_nothing() {
            rows.push(Row { subject: Subject::Ended, used, ended: Some(now) });
        }
        self.users.take(Subject::User, Subject::OtherUsers, &mut rows);
        self.containers.take(Subject::Container, Subject::OtherContainers, &mut rows);
        Interval { ms, rows }
    }

    /// How often something found no room here since this was last asked: a process whose usage is told at
    /// its end only, a user or a container whose usage is told with others.
    pub fn crowded(&mut self) -> u64 {
        std::mem::take(&mut self.unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: User = User { effective: 0, login: 1000 };
    const NOBODY: User = User { effective: 65534, login: u32::MAX };

    fn used(cpu_ns: u64) -> Used {
        Used { cpu_ns, ..Used::default() }
    }

    fn total(pid: u32, start: u64, cpu_ns: u64) -> Total {
        Total { key: Key { pid, start }, actor: None, used: used(cpu_ns) }
    }

    fn of(user: User) -> impl FnOnce() -> Owner {
        move || Owner { user, container: None }
    }

    fn users(interval: &Interval) -> Vec<(User, u64)> {
        let of = |row: &Row| match row.subject {
            Subject::User(user) => Some((user, row.used.cpu_ns)),
            _ => None,
        };
        let mut users: Vec<_> = interval.rows.iter().filter_map(of).collect();
        users.sort_unstable();
        users
    }

    fn processes(interval: &Interval) -> Vec<(u32, u64, Option<u64>)> {
        let of = |row: &Row| match row.subject {
            Subject::Process(key, _) => Some((key.pid, row.used.cpu_ns, row.ended)),
            _ => None,
        };
        interval.rows.iter().filter_map(of).collect()
    }

    #[test]
    fn the_sum_of_what_is_told_is_the_life() {
        let mut account = Account::new(100, &[]);
        assert_eq!(account.read(&total(1, 150, 10), of(ROOT)), Some(used(10)));
        assert_eq!(account.read(&total(1, 150, 10), || panic!("nothing new")), None);
        assert_eq!(account.read(&total(1, 150, 35), of(ROOT)), Some(used(25)));
        let end = account.end(Key { pid: 1, start: 150 }, &used(40), 300, of(NOBODY));
        assert_eq!(end, Some(used(5)));
        let interval = account.interval(5_000_100);
        assert_eq!(interval.ms, 5);
        assert_eq!(users(&interval), [(ROOT, 35), (NOBODY, 5)]);
        assert_eq!(processes(&interval), [(1, 10, None), (1, 25, None), (1, 5, Some(300))]);
        assert_eq!(account.interval(6_000_100), Interval { ms: 1, rows: Vec::new() });
    }

    #[test]
    fn a_short_life_is_in_the_sums_and_told_by_its_exit_alone() {
        let mut account = Account::new(100, &[]);
        assert_eq!(account.end(Key { pid: 1, start: 150 }, &used(40), 300, of(ROOT)), None);
        let interval = account.interval(200);
        assert_eq!(users(&interval), [(ROOT, 40)]);
        assert_eq!(processes(&interval), [(1, 40, Some(300))]);
    }

    #[test]
    fn what_was_used_before_the_sensor_is_never_told() {
        let mut account = Account::new(100, &[total(1, 50, 1000), total(2, 50, 1000)]);
        assert_eq!(account.read(&total(1, 50, 1001), of(ROOT)), Some(used(1)));
        assert_eq!(account.end(Key { pid: 2, start: 50 }, &used(1003), 300, of(ROOT)), Some(used(3)));
        assert_eq!(account.end(Key { pid: 3, start: 50 }, &used(9), 300, || panic!("unknown")), None);
        assert_eq!(users(&account.interval(200)), [(ROOT, 4)]);
    }

    #[test]
    fn a_reading_that_shows_less_takes_nothing_back() {
        let mut account = Account::new(100, &[]);
        account.read(&total(1, 150, 30), of(ROOT));
        // A thread ended between two looks, and is in neither.
        assert_eq!(account.read(&total(1, 150, 20), of(ROOT)), None);
        assert_eq!(account.read(&total(1, 150, 33), of(ROOT)), Some(used(3)));
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut account = Account::new(100, &[]);
        account.read(&total(1, 150, 30), of(ROOT));
        assert_eq!(account.read(&total(1, 160, 5), of(ROOT)), Some(used(5)));
    }

    #[test]
    fn everything_is_bounded_and_no_sum_loses_anything() {
        let mut account = Account { most: 1, ..Account::new(100, &[]) };
        account.read(&total(1, 150, 1), of(ROOT));
        assert_eq!(account.read(&total(2, 150, 7), of(ROOT)), None);
        assert_eq!((account.crowded(), account.crowded()), (1, 0));
        // Told at its end instead.
        account.end(Key { pid: 2, start: 150 }, &used(7), 300, of(ROOT));
        assert_eq!(users(&account.interval(200)), [(ROOT, 8)]);
        let many = u32::try_from(SUMS_MOST).unwrap() + 5;
        for pid in 0..many {
            let owner = || Owner {
                user: User { effective: pid, login: 0 },
                container: Some(Text::from(pid.to_string())),
            };
            account.end(Key { pid, start: 160 }, &used(1), 300, owner);
        }
        assert_eq!(account.crowded(), 5);
        let interval = account.interval(300);
        let sum = |is: fn(&Subject) -> bool| -> u64 {
            interval.rows.iter().filter(|row| is(&row.subject)).map(|row| row.used.cpu_ns).sum()
        };
        assert_eq!(sum(|of| matches!(of, Subject::Process(..) | Subject::Ended)), u64::from(many));
        assert_eq!(sum(|of| matches!(of, Subject::User(_) | Subject::OtherUsers)), u64::from(many));
        assert_eq!(sum(|of| matches!(of, Subject::Container(_) | Subject::OtherContainers)), u64::from(many));
        assert!(interval.rows.len() <= 3 * (SUMS_MOST + 1));
    }

    #[test]
    fn whose_exit_was_lost_is_forgotten_after_two_readings() {
        let mut account = Account::new(100, &[total(1, 50, 5)]);
        for _ in 0..2 {
            account.interval(200);
            assert_eq!(account.known.len(), 1);
        }
        account.interval(200);
        assert!(account.known.is_empty());
    }
}
