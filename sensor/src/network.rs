//! Whose the bytes of sockets are: each socket has one owner, and each process the sum of its sockets.
//!
//! Who that is, is learnt from events and from looks at all open files. The kernel counts by socket; what is
//! new of a socket goes to who owns it at that time. A socket may be read before its event is: what has no owner
//! waits a while for one, and then is nobody's. What a socket moves after its owner's end is told later.

use std::{
    collections::{HashMap, HashSet},
    mem,
};

use crate::{
    event::{Key, traffic::Traffic},
    net::Amount,
};

#[derive(Clone, Copy, Debug)]
struct Owned {
    by: Key,
    /// It isn't open any more; its last bytes may still come.
    closed: bool,
}

/// What one process's sockets moved.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    sockets: u32,
    /// Since the sensor knows it.
    all: Amount,
    /// Since its end.
    late: Amount,
    ended: bool,
    /// It was seen at work, so its usage is told.
    lived: bool,
    /// When something of it was last read.
    read: u64,
}

impl Sum {
    fn moved(&mut self, amount: Amount) {
        let to = if self.ended { &mut self.late } else { &mut self.all };
        *to = to.plus(amount);
    }
}

/// Owners and sums.
#[derive(Debug, Default)]
pub struct Network {
    owners: HashMap<u64, Owned>,
    /// Sockets that were closed since the last reading but one.
    closed: [Vec<u64>; 2],
    sums: HashMap<Key, Sum>,
    /// Of sockets that have no owner yet, and since when.
    waiting: HashMap<u64, (Amount, u64)>,
    /// Of nobody, since it was last asked.
    nobody: Amount,
    /// All that the kernel couldn't give to a socket, as of the last reading.
    rest: Amount,
    crowded: u64,
}

/// Most sockets whose owner is remembered, each some 40 bytes; the bytes of those above are nobody's.
const MOST: usize = 262_144;
/// Most sockets that wait for an owner, and how long, nanoseconds: a look at all that is open comes each second.
const WAITING_MOST: usize = 65_536;
const PATIENCE: u64 = 3_000_000_000;
/// Most processes; each some 100 bytes.
const PROCESSES_MOST: usize = 262_144;

impl Network {
    /// A socket is this process's from now on.
    pub fn owns(&mut self, cookie: u64, by: Key) {
        let known = self.owners.get(&cookie).map(|owned| owned.by);
        if known == Some(by) {
            return;
        }
        if known.is_none() && self.owners.len() >= MOST {
            self.crowded += 1;
            return;
        }
        if !self.sums.contains_key(&by) && self.sums.len() >= PROCESSES_MOST {
            self.crowded += 1;
            return;
        }
        self.disown(cookie);
        self.owners.insert(cookie, Owned { by, closed: false });
        let waited = self.waiting.remove(&cookie);
        let sum = self.sums.entry(by).or_default();
        sum.sockets += 1;
        if let Some((amount, _)) = waited {
            sum.moved(amount);
        }
    }

    /// A socket is a process's that has ended already: what it moved is told later.
    pub fn owned(&mut self, cookie: u64, by: Key) {
        if self.sums.len() < PROCESSES_MOST {
            self.sums.entry(by).or_default().ended = true;
        }
        self.owns(cookie, by);
    }

    /// Whether anything is known of a process.
    #[must_use]
    pub fn knows(&self, key: Key) -> bool {
        self.sums.contains_key(&key)
    }

    /// Whose a socket is.
    #[must_use]
    pub fn owner(&self, cookie: u64) -> Option<Key> {
        self.owners.get(&cookie).map(|owned| owned.by)
    }

    /// A socket was closed: what is new of it up to the reading after next is still its owner's.
    pub fn closed(&mut self, cookie: u64) {
        let [last, _] = &mut self.closed;
        if let Some(owned) = self.owners.get_mut(&cookie)
            && !mem::replace(&mut owned.closed, true)
        {
            last.push(cookie);
        }
    }

    fn disown(&mut self, cookie: u64) {
        let Some(owned) = self.owners.remove(&cookie) else { return };
        if let Some(sum) = self.sums.get_mut(&owned.by) {
            sum.sockets = sum.sockets.saturating_sub(1);
        }
    }

    /// A reading: what is new of each socket, and all that belongs to none since the sensor began. `listener`:
    /// the one that took a connection which nobody has accepted yet.
    pub fn read(
        &mut self,
        now: u64,
        sockets: &[Traffic],
        rest: Amount,
        listener: impl Fn(&Traffic) -> Option<u64>,
    ) {
        for socket in sockets {
            let news = socket.news();
            let by = self.owner(socket.cookie).or_else(|| self.owner(listener(socket)?));
            match by.and_then(|by| self.sum(by)) {
                Some(sum) => {
                    sum.read = now;
                    sum.moved(news);
                }
                None => self.wait(socket.cookie, news, now),
            }
            if socket.ended {
                self.disown(socket.cookie);
            }
        }
        self.give_up(now.saturating_sub(PATIENCE));
        self.nobody = self.nobody.plus(rest.since(self.rest));
        self.rest = rest;
        let [last, before] = &mut self.closed;
        for cookie in mem::replace(before, mem::take(last)) {
            self.disown(cookie);
        }
    }

    fn wait(&mut self, cookie: u64, news: Amount, now: u64) {
        if news == Amount::default() {
            return;
        }
        if self.waiting.len() >= WAITING_MOST && !self.waiting.contains_key(&cookie) {
            return self.forfeit(news);
        }
        let (amount, _) = self.waiting.entry(cookie).or_insert((Amount::default(), now));
        *amount = amount.plus(news);
    }

    /// What has waited for an owner since then or longer is nobody's.
    pub fn give_up(&mut self, since: u64) {
        let mut nobody = self.nobody;
        self.waiting.retain(|_, (amount, began)| {
            let waits = *began > since;
            if !waits {
                nobody = nobody.plus(*amount);
            }
            waits
        });
        self.nobody = nobody;
    }

    fn sum(&mut self, by: Key) -> Option<&mut Sum> {
        if !self.sums.contains_key(&by) && self.sums.len() >= PROCESSES_MOST {
            self.crowded += 1;
            return None;
        }
        Some(self.sums.entry(by).or_default())
    }

    /// Whether there are so many owners that those of sockets which aren't open any more matter.
    #[must_use]
    pub fn needs_room(&self) -> bool {
        self.owners.len() >= MOST / 2
    }

    /// A look showed all sockets that a process has open: when room is needed, the owners of others needn't be
    /// known. A look that shows nothing was refused.
    pub fn shown(&mut self, open: &HashSet<u64>) {
        if open.is_empty() || !self.needs_room() {
            return;
        }
        let idle: Vec<u64> = self.owners.keys().filter(|cookie| !open.contains(cookie)).copied().collect();
        for cookie in idle {
            self.closed(cookie);
        }
    }

    /// Whether a process has sockets, of which there may be something new.
    #[must_use]
    pub fn has(&self, key: Key) -> bool {
        self.sums.get(&key).is_some_and(|sum| sum.sockets != 0)
    }

    /// All that a process's sockets moved, as of the last reading.
    #[must_use]
    pub fn of(&self, key: Key) -> Amount {
        self.sums.get(&key).map_or_else(Amount::default, |sum| sum.all)
    }

    /// A process ended: all that its sockets moved; whether some of them may still move something.
    pub fn end(&mut self, key: Key) -> (Amount, bool) {
        let Some(sum) = self.sums.get_mut(&key) else {
            return (Amount::default(), false);
        };
        sum.ended = true;
        let (all, lingers) = (sum.all, sum.sockets != 0);
        if !lingers {
            self.sums.remove(&key);
        }
        (all, lingers)
    }

    /// What sockets moved after their owner's end, since this was last asked; of those that ended with nothing
    /// more to come it is the last. Processes that neither live nor have sockets are forgotten: those of which
    /// nothing was ever seen after a while, as their events may still come, and what they moved is nobody's.
    pub fn late(&mut self, now: u64, lives: impl Fn(Key) -> bool) -> Vec<(Key, Amount, bool)> {
        let mut late = Vec::new();
        let mut nobody = self.nobody;
        self.sums.retain(|key, sum| {
            let last = sum.sockets == 0;
            if sum.ended {
                if last || sum.late != Amount::default() {
                    late.push((*key, mem::take(&mut sum.late), last));
                }
                return !last;
            }
            let lives = lives(*key);
            sum.lived |= lives;
            if !last || lives {
                return true;
            }
            if sum.lived || sum.all == Amount::default() {
                return false;
            }
            let waits = sum.read.saturating_add(PATIENCE) > now;
            if !waits {
                nobody = nobody.plus(sum.all);
            }
            waits
        });
        self.nobody = nobody;
        late
    }

    /// Nobody can be told of this any more: it is nobody's.
    pub fn forfeit(&mut self, amount: Amount) {
        self.nobody = self.nobody.plus(amount);
    }

    /// What was nobody's since this was last asked.
    pub fn nobodys(&mut self) -> Amount {
        mem::take(&mut self.nobody)
    }

    /// How often there was no room for an owner since this was last asked.
    pub fn crowded(&mut self) -> u64 {
        mem::take(&mut self.crowded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = Key { pid: 1, start: 10 };
    const B: Key = Key { pid: 2, start: 20 };

    fn sent(tx_bytes: u64) -> Amount {
        Amount { tx_bytes, ..Amount::default() }
    }

    fn row(cookie: u64, told: u64, total: u64) -> Traffic {
        Traffic {
            cookie,
            netns: 1,
            protocol: 6,
            local: "127.0.0.1:1".parse().unwrap(),
            remote: None,
            user: None,
            total: sent(total),
            told: sent(told),
            ended: false,
        }
    }

    fn ended(row: Traffic) -> Traffic {
        Traffic { ended: true, ..row }
    }

    #[test]
    fn what_is_new_goes_to_who_owns_the_socket_then() {
        let mut network = Network::default();
        network.owns(7, A);
        network.read(1, &[row(7, 0, 100)], Amount::default(), |_| None);
        network.owns(7, B);
        network.read(1, &[row(7, 100, 130)], Amount::default(), |_| None);
        assert_eq!((network.of(A), network.of(B)), (sent(100), sent(30)));
        assert!(!network.has(A) && network.has(B));
        network.read(1, &[ended(row(7, 130, 131))], Amount::default(), |_| None);
        assert!(!network.has(B));
        assert_eq!((network.of(B), network.nobodys()), (sent(31), Amount::default()));
    }

    #[test]
    fn without_an_owner_it_is_the_listeners_or_nobodys() {
        let mut network = Network::default();
        network.owns(9, B);
        network.read(1, &[row(2, 0, 6), row(3, 0, 7)], sent(1000), |row| (row.cookie == 2).then_some(9));
        assert_eq!((network.of(B), network.nobodys()), (sent(6), sent(1000)));
        network.give_up(0);
        assert_eq!(network.nobodys(), Amount::default(), "its owner may still come");
        network.give_up(1);
        assert_eq!(network.nobodys(), sent(7));
        assert_eq!(network.owner(2), None, "nobody has accepted it");
        network.read(1, &[], sent(1001), |_| None);
        assert_eq!((network.nobodys(), network.nobodys()), (sent(1), Amount::default()));
    }

    #[test]
    fn what_is_read_before_its_event_is_its_owners() {
        let mut network = Network::default();
        network.read(1, &[row(7, 0, 5), ended(row(8, 0, 6))], Amount::default(), |_| None);
        network.owns(7, A);
        network.owns(8, A);
        network.closed(8);
        network.give_up(1);
        assert_eq!((network.of(A), network.nobodys()), (sent(11), Amount::default()));
        for _ in 0..2 {
            network.read(PATIENCE, &[ended(row(7, 5, 5))], Amount::default(), |_| None);
        }
        assert!(!network.has(A));
        network.read(1, &[ended(row(9, 0, 4))], Amount::default(), |_| None);
        network.owned(9, B);
        assert_eq!(network.late(1, |_| false), [(B, sent(4), false)], "it ended before its event came");
    }

    #[test]
    fn what_comes_after_the_end_is_told_later_and_once() {
        let mut network = Network::default();
        network.owns(7, A);
        network.owns(8, A);
        network.read(1, &[row(7, 0, 100)], Amount::default(), |_| None);
        assert_eq!(network.end(A), (sent(100), true));
        network.read(1, &[ended(row(7, 100, 140))], Amount::default(), |_| None);
        assert_eq!(network.late(1, |_| false), [(A, sent(40), false)]);
        network.read(1, &[ended(row(8, 0, 2))], Amount::default(), |_| None);
        assert_eq!(network.late(1, |_| false), [(A, sent(2), true)]);
        assert_eq!(network.late(1, |_| false), []);
        assert!(network.sums.is_empty() && network.owners.is_empty());
        assert_eq!(network.end(B), (Amount::default(), false));
    }

    #[test]
    fn who_ends_before_anything_is_known_of_it_has_its_bytes_told() {
        let mut network = Network::default();
        network.owns(7, A);
        network.read(1, &[ended(row(7, 0, 100))], Amount::default(), |_| None);
        assert_eq!(network.late(1, |_| false), [], "its events are still to come");
        assert_eq!(network.end(A), (sent(100), false));
        network.owns(8, B);
        network.read(1, &[ended(row(8, 0, 50))], Amount::default(), |_| None);
        assert_eq!(network.late(1 + PATIENCE, |_| false), []);
        assert_eq!((network.nobodys(), network.sums.len()), (sent(50), 0), "they never came");
    }

    #[test]
    fn a_socket_without_traffic_is_forgotten_after_its_close() {
        let mut network = Network::default();
        network.owns(7, A);
        network.closed(7);
        network.closed(7);
        network.read(1, &[], Amount::default(), |_| None);
        assert_eq!(network.owner(7), Some(A), "its last row may still come");
        network.read(1, &[], Amount::default(), |_| None);
        assert_eq!(network.owner(7), None);
        assert_eq!(network.late(1, |_| true), []);
        assert!(network.sums.contains_key(&A), "it lives, and its sum is that of its life");
        network.late(1, |_| false);
        assert!(network.sums.is_empty(), "its exit was lost");
    }

    #[test]
    fn owners_are_bounded_and_what_is_idle_makes_room() {
        let mut network = Network::default();
        for cookie in 0..=MOST as u64 {
            network.owns(cookie, A);
        }
        assert_eq!((network.crowded(), network.crowded()), (1, 0));
        network.read(1, &[row(MOST as u64, 0, 9)], Amount::default(), |_| None);
        network.give_up(1);
        assert_eq!(network.nobodys(), sent(9));
        network.shown(&HashSet::from([3]));
        network.read(1, &[], Amount::default(), |_| None);
        network.read(1, &[], Amount::default(), |_| None);
        assert_eq!(network.owners.len(), 1);
    }
}
