//! Whose the bytes of sockets are: joins what the kernel counted with who holds, or held, which socket.

use std::{collections::HashMap, net::IpAddr};

use super::row::{Metric, Usage};
use crate::{
    event::{Key, traffic::Traffic},
    net::Amount,
};

/// Most sockets whose holder is remembered; each takes about 50 bytes.
const MOST: usize = 262_144;
/// How long a socket is remembered that no look shows any more: it may still send what was left to be sent.
const ORPHANED: u64 = 300_000_000_000;

/// What was sent and received, by whom and with whom.
#[derive(Debug, Default)]
pub struct Shares {
    /// By process.
    pub processes: HashMap<Key, Amount>,
    /// By the address of the other end.
    pub remotes: HashMap<IpAddr, Amount>,
    /// All of it.
    pub all: Amount,
}

/// And one that no look has shown: most of them have ended already.
const ACTED: u64 = 10_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Holder {
    key: Key,
    /// When it was last seen to be held, nanoseconds since boot.
    seen: u64,
    /// How long it is remembered from then on, nanoseconds.
    keep: u64,
}

/// Who holds which socket, by cookie.
#[derive(Debug, Default)]
pub struct Holders {
    of: HashMap<u64, Holder>,
    /// There were more than are remembered.
    pub truncated: bool,
}

impl Holders {
    /// A look at all open files shows a socket with its one owner.
    pub fn holds(&mut self, cookie: u64, key: Key, now: u64) {
        self.remember(cookie, Holder { key, seen: now, keep: ORPHANED });
    }

    fn remember(&mut self, cookie: u64, holder: Holder) {
        if self.of.len() < MOST || self.of.contains_key(&cookie) {
            self.of.insert(cookie, holder);
        } else {
            self.truncated = true;
        }
    }

    /// Somebody did something with a socket: it is theirs as long as nobody knows better.
    pub fn acts(&mut self, cookie: u64, key: Key, now: u64) {
        if key.pid != 0 && !self.of.contains_key(&cookie) {
            self.remember(cookie, Holder { key, seen: now, keep: ACTED });
        }
    }

    /// Who holds a socket, as far as that is known.
    pub fn holder(&self, cookie: u64) -> Option<Key> {
        self.of.get(&cookie).map(|holder| holder.key)
    }

    /// Gives each socket's news to its holder; without one to who first sent by it. Forgets what has ended.
    pub fn share(&mut self, sockets: &[Traffic], unowned: Amount, now: u64) -> Shares {
        let mut shares = Shares { all: unowned, ..Shares::default() };
        for socket in sockets {
            let news = socket.news();
            shares.all = shares.all.plus(news);
            let holder = self.holder(socket.cookie).or(socket.user);
            if let Some(key) = holder {
                add(shares.processes.entry(key).or_default(), news);
            }
            if let Some(remote) = socket.remote {
                add(shares.remotes.entry(remote.ip()).or_default(), news);
            }
            if socket.ended {
                self.of.remove(&socket.cookie);
            }
        }
        self.of.retain(|_, holder| now.saturating_sub(holder.seen) < holder.keep);
        shares
    }
}

fn add(sum: &mut Amount, more: Amount) {
    *sum = sum.plus(more);
}

/// Nothing in it but this.
pub fn usage(amount: Amount) -> Usage {
    let mut usage = Usage::default();
    usage.set(Metric::NetRx, Some(amount.rx_bytes));
    usage.set(Metric::NetTx, Some(amount.tx_bytes));
    usage.set(Metric::RxPackets, Some(amount.rx_packets));
    usage.set(Metric::TxPackets, Some(amount.tx_packets));
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Key = Key { pid: 1, start: 10 };
    const OTHER: Key = Key { pid: 2, start: 20 };

    fn sent(cookie: u64, tx_bytes: u64, user: Option<Key>, remote: Option<&str>) -> Traffic {
        Traffic {
            cookie,
            netns: 1,
            protocol: 17,
            local: "127.0.0.1:1".parse().unwrap(),
            remote: remote.map(|address| address.parse().unwrap()),
            user,
            total: Amount { tx_bytes, tx_packets: 1, ..Amount::default() },
            told: Amount::default(),
            ended: false,
        }
    }

    fn tx(shares: &Shares, key: Key) -> u64 {
        shares.processes.get(&key).map_or(0, |amount| amount.tx_bytes)
    }

    #[test]
    fn bytes_go_to_the_holder_then_to_the_sender_then_to_nobody() {
        let mut holders = Holders::default();
        holders.holds(1, ONE, 0);
        holders.acts(1, OTHER, 0);
        holders.acts(3, Key { pid: 0, start: 0 }, 0);
        let rows = [
            sent(1, 100, Some(OTHER), Some("10.0.0.1:5")),
            sent(2, 20, Some(OTHER), Some("10.0.0.1:6")),
            sent(3, 3, None, None),
        ];
        let shares = holders.share(&rows, Amount { tx_bytes: 1000, ..Amount::default() }, 0);
        assert_eq!((tx(&shares, ONE), tx(&shares, OTHER)), (100, 20));
        assert_eq!((shares.all.tx_bytes, shares.all.tx_packets), (1123, 3));
        let remote = shares.remotes.get(&"10.0.0.1".parse().unwrap()).unwrap();
        assert_eq!((remote.tx_bytes, shares.remotes.len()), (120, 1));
    }

    #[test]
    fn a_holder_is_remembered_until_the_socket_has_ended() {
        let mut holders = Holders::default();
        holders.holds(1, ONE, 0);
        let last = Traffic { ended: true, ..sent(1, 5, None, None) };
        for row in [sent(1, 5, None, None), last] {
            assert_eq!(tx(&holders.share(&[row], Amount::default(), 1), ONE), 5);
        }
        assert_eq!(tx(&holders.share(&[last], Amount::default(), 1), ONE), 0);
        holders.holds(1, ONE, 0);
        holders.acts(2, ONE, 0);
        holders.share(&[], Amount::default(), ACTED);
        assert_eq!(holders.of.keys().collect::<Vec<_>>(), [&1]);
        holders.share(&[], Amount::default(), ORPHANED);
        assert!(holders.of.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut holders = Holders::default();
        for cookie in 0..=MOST as u64 {
            holders.holds(cookie, ONE, 0);
        }
        assert!(holders.truncated && holders.of.len() == MOST);
    }
}
