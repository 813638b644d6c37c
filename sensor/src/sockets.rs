//! Which sockets are open and whose they are: keyed by cookie, bounded, seeded from what was there and kept by events.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use crate::event::{
    Key,
    socket::{Ends, SCTP, Side, Socket},
};

/// What is known of a socket that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Whose it is; none where that was never seen.
    pub owner: Option<Key>,
    /// Who began the connection.
    pub began: Side,
    /// Between which ends it is; none where its end can't be missed.
    pub ends: Option<Ends>,
}

#[derive(Clone, Copy, Debug)]
struct Listener {
    cookie: u64,
    address: IpAddr,
    owner: Key,
}

/// All sockets that matter later.
#[derive(Default)]
pub struct Sockets {
    connected: HashMap<u64, Known>,
    /// By network namespace and port.
    listening: HashMap<(u32, u16), Vec<Listener>>,
    ports: HashMap<u64, (u32, u16)>,
    /// The last that stopped: what nobody took of it ends after it.
    stopped: HashMap<(u32, u16), Key>,
}

/// Most connections that are remembered, each some 130 bytes; of those above, the end is told without who began.
const MOST: usize = 262_144;
/// Most listeners.
const LISTENERS_MOST: usize = 65_536;
/// Most that stopped; all are forgotten for one more.
const STOPPED_MOST: usize = 4096;

impl Sockets {
    /// A connection is there.
    pub fn connected(&mut self, cookie: u64, known: Known) {
        if self.connected.len() < MOST || self.connected.contains_key(&cookie) {
            self.connected.insert(cookie, known);
        }
    }

    /// It ended.
    pub fn ended(&mut self, cookie: u64) -> Option<Known> {
        let known = self.connected.remove(&cookie);
        if self.connected.len() < self.connected.capacity() / 8 {
            self.connected.shrink_to(self.connected.len() * 2);
        }
        known
    }

    /// What is known of a connection.
    #[must_use]
    pub fn known(&self, cookie: u64) -> Option<Known> {
        self.connected.get(&cookie).copied()
    }

    /// Connections whose end may have been missed, as none of these open sockets is theirs.
    pub fn not_among<'s>(&'s self, open: &'s HashSet<u64>) -> impl Iterator<Item = u64> + 's {
        let missed = |(cookie, known): &(&u64, &Known)| known.ends.is_some() && !open.contains(cookie);
        self.connected.iter().filter(missed).map(|(cookie, _)| *cookie)
    }

    /// A socket listens.
    pub fn listens(&mut self, socket: &Socket, owner: Key) {
        let (address, port) = socket.local;
        if self.ports.len() < LISTENERS_MOST
            && self.ports.insert(socket.cookie, (socket.netns, port)).is_none()
        {
            let listener = Listener { cookie: socket.cookie, address, owner };
            self.listening.entry((socket.netns, port)).or_default().push(listener);
        }
    }

    /// It listens no more: whose it was.
    pub fn stopped(&mut self, cookie: u64) -> Option<Key> {
        let place = self.ports.remove(&cookie)?;
        let listeners = self.listening.get_mut(&place)?;
        let at = listeners.iter().position(|listener| listener.cookie == cookie)?;
        let listener = listeners.remove(at);
        if listeners.is_empty() {
            self.listening.remove(&place);
        }
        if self.stopped.len() >= STOPPED_MOST {
            self.stopped.clear();
        }
        self.stopped.insert(place, listener.owner);
        Some(listener.owner)
    }

    /// Whose listener took a connection to this address: as `listener`, else the last that stopped there.
    #[must_use]
    pub fn taker(&self, netns: u32, local: (IpAddr, u16)) -> Option<Key> {
        let live = self.listener(netns, local).map(|(_, owner)| owner);
        live.or_else(|| self.stopped.get(&(netns, local.1)).copied())
    }

    /// Whose listener takes connections to this address: the one that is bound to it, else one bound to all.
    #[must_use]
    pub fn listener(&self, netns: u32, (address, port): (IpAddr, u16)) -> Option<(u64, Key)> {
        // The latest first: the end of an earlier one may have been lost.
        let mut listeners = self.listening.get(&(netns, port))?.iter().rev();
        let exact = listeners.clone().find(|listener| listener.address == address);
        exact
            .or_else(|| listeners.find(|listener| listener.address.is_unspecified()))
            .map(|it| (it.cookie, it.owner))
    }
}

/// Each socket of a look once: with the process whose it was, if that still has it, else with the one of
/// those who have it that began first, for a child has what its parent had.
pub fn owners(
    rows: impl Iterator<Item = (Key, u32, Socket)>,
    whose: impl Fn(u64) -> Option<Key>,
) -> Vec<(Key, u32, Socket)> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_cached_key(|(key, _, socket)| (whose(socket.cookie) != Some(*key), key.start));
    let mut seen = HashSet::new();
    // Some kernels give a connection of SCTP the cookie of its listener (`sctp_clone_sock`).
    let other = |socket: &Socket| (socket.protocol == SCTP).then_some(socket.remote);
    rows.retain(|(.., socket)| seen.insert((socket.cookie, other(socket))));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::socket::{KEPT, kept};

    fn socket(cookie: u64, address: &str, port: u16) -> Socket {
        Socket { cookie, local: (address.parse().unwrap(), port), netns: 1, ..kept([0; KEPT]) }
    }

    #[test]
    fn the_nearest_listener_takes_a_connection() {
        let mut sockets = Sockets::default();
        let owner = |pid| Key { pid, start: 1 };
        sockets.listens(&socket(1, "::", 80), owner(1));
        sockets.listens(&socket(2, "10.0.0.1", 80), owner(2));
        let at = |address: &str, port| (address.parse().unwrap(), port);
        assert_eq!(sockets.listener(1, at("10.0.0.1", 80)), Some((2, owner(2))));
        assert_eq!(sockets.listener(1, at("10.0.0.2", 80)), Some((1, owner(1))));
        assert_eq!(sockets.listener(1, at("10.0.0.2", 81)), None);
        assert_eq!(sockets.listener(2, at("10.0.0.1", 80)), None);
        assert_eq!(sockets.stopped(1), Some(owner(1)));
        assert_eq!(sockets.stopped(1), None);
        assert_eq!(sockets.listener(1, at("10.0.0.2", 80)), None);
        assert_eq!(sockets.taker(1, at("10.0.0.2", 80)), Some(owner(1)));
        sockets.stopped(2);
        assert!(sockets.listening.is_empty() && sockets.ports.is_empty());
        assert_eq!(sockets.taker(1, at("10.0.0.2", 80)), Some(owner(2)), "the last");
    }

    #[test]
    fn a_listener_whose_end_was_lost_takes_nothing_from_the_next() {
        let mut sockets = Sockets::default();
        let owner = |pid| Key { pid, start: 1 };
        sockets.listens(&socket(1, "::", 80), owner(1));
        sockets.listens(&socket(2, "::", 80), owner(2));
        assert_eq!(sockets.taker(1, ("::1".parse().unwrap(), 80)), Some(owner(2)));
    }

    #[test]
    fn a_connection_is_known_until_it_ends() {
        let mut sockets = Sockets::default();
        let owner = Some(Key { pid: 1, start: 2 });
        let ends = Ends { netns: 1, local: ("::1".parse().unwrap(), 1), remote: ("::1".parse().unwrap(), 2) };
        let known = Known { owner, began: Side::There, ends: Some(ends) };
        sockets.connected(5, known);
        sockets.connected(6, Known { ends: None, ..known });
        sockets.connected(7, known);
        assert_eq!(sockets.not_among(&HashSet::from([7])).collect::<Vec<_>>(), [5], "6 can't be missed");
        assert_eq!((sockets.known(5), sockets.ended(5)), (Some(known), Some(known)));
        assert_eq!((sockets.known(5), sockets.ended(5)), (None, None));
    }

    #[test]
    fn a_shared_socket_is_its_oldest_owners() {
        let row = |pid, start, cookie| (Key { pid, start }, pid, socket(cookie, "::", 1));
        let rows = [row(9, 9, 1), row(3, 3, 1), row(4, 4, 2)];
        let pids = |rows: Vec<(Key, u32, Socket)>| rows.iter().map(|(key, ..)| key.pid).collect::<Vec<_>>();
        assert_eq!(pids(owners(rows.into_iter(), |_| None)), [3, 4]);
        let nine = |cookie| (cookie == 1).then_some(Key { pid: 9, start: 9 });
        assert_eq!(pids(owners(rows.into_iter(), nine)), [9, 4], "it still has it");
        let gone = |_| Some(Key { pid: 1, start: 1 });
        assert_eq!(pids(owners(rows.into_iter(), gone)), [3, 4]);
    }
}
