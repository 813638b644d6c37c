//! What open connections of TCP have moved, by the kernel's own count, summed up over those that hold them.

use std::collections::{HashMap, HashSet};

use super::Sockets;
use crate::{
    look::{
        Look,
        open::{Open, Unread},
    },
    net::found::{Found, Kind, State},
    sockdiag::{MPTCP, Scope, TCP},
};

/// Bytes of connections, received and sent; none where the kernel tells no count.
type Moved = Option<(u64, u64)>;

/// What is known of the connections of all processes.
#[derive(Debug)]
pub struct Traffic {
    /// Of each socket that is known, by inode: a connection, or something else that moves none of these bytes.
    sockets: HashMap<u64, Moved>,
    /// The sockets of each process.
    held: HashMap<u32, Vec<u64>>,
    unread: Unread,
    /// What couldn't be looked at: what isn't known may be there.
    parts: Vec<String>,
}

/// Why a sum isn't known: one of some connections would pass for one of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsummed {
    /// What one of the processes has open isn't known.
    Unread,
    /// One has a socket that wasn't found, and not all could be looked at.
    Unfound,
    /// The kernel doesn't count for one of the connections: one of MPTCP, or where sock_diag isn't there.
    Uncounted,
}

impl Traffic {
    /// Looks at all.
    #[must_use]
    pub fn at(look: &Look) -> Self {
        let open = Open::at(look);
        let sockets = Sockets::at(look, &open, Scope::All);
        let mut held: HashMap<u32, Vec<u64>> = HashMap::new();
        for (inode, holders) in &open.sockets {
            holders.iter().for_each(|holder| held.entry(holder.pid).or_default().push(*inode));
        }
        let known = sockets.found.iter().map(|found| (found.inode, moved(found))).collect();
        Self { sockets: known, held, unread: open.unread, parts: sockets.parts }
    }

    /// Bytes received and sent by the connections that these have open: each connection once, whoever shares it.
    ///
    /// # Errors
    /// When not all of them are known.
    pub fn of(&self, pids: impl Iterator<Item = u32> + Clone) -> Result<(u64, u64), Unsummed> {
        if pids.clone().any(|pid| self.unread.has(pid)) {
            return Err(Unsummed::Unread);
        }
        let inodes: HashSet<u64> = pids.filter_map(|pid| self.held.get(&pid)).flatten().copied().collect();
        let mut sum = (0_u64, 0_u64);
        for inode in inodes {
            match self.sockets.get(&inode) {
                Some(Some((received, sent))) => {
                    sum = (sum.0.saturating_add(*received), sum.1.saturating_add(*sent));
                }
                Some(None) => return Err(Unsummed::Uncounted),
                // One that is neither bound nor connected is in no table.
                None if self.parts.is_empty() => {}
                None => return Err(Unsummed::Unfound),
            }
        }
        Ok(sum)
    }

    /// What isn't known, where that was the reason: a sentence each.
    #[must_use]
    pub fn parts(&self, why: Unsummed) -> Vec<String> {
        let of_bytes = |what: &str| format!("bytes of the network of some sessions: {what}");
        match why {
            Unsummed::Unread => self.unread.told().iter().map(|what| of_bytes(what)).collect(),
            Unsummed::Unfound => self.parts.clone(),
            Unsummed::Uncounted => {
                vec![of_bytes("the kernel doesn't tell them of all their connections")]
            }
        }
    }
}

/// What a connection has moved; nothing, if it is none.
fn moved(found: &Found) -> Moved {
    match &found.kind {
        Kind::Inet(inet) if found.state == State::Connected && matches!(inet.protocol, TCP | MPTCP) => {
            inet.traffic
        }
        _ => Some((0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::descriptors::Closed;

    #[test]
    fn each_connection_counts_once_and_a_sum_of_some_is_none() {
        let mut unread = Unread::default();
        unread.add(9, Closed::Late);
        let mut traffic = Traffic {
            sockets: [(1, Some((10, 1))), (2, Some((20, u64::MAX))), (3, None)].into(),
            held: [(5, vec![1, 2]), (6, vec![1, 4]), (7, vec![3])].into(),
            unread,
            parts: Vec::new(),
        };
        assert_eq!(traffic.of([5, 6].into_iter()), Ok((30, u64::MAX)));
        assert_eq!(traffic.of([8].into_iter()), Ok((0, 0)), "it has none");
        assert_eq!(traffic.of([5, 7].into_iter()), Err(Unsummed::Uncounted));
        assert_eq!(traffic.of([5, 9].into_iter()), Err(Unsummed::Unread));
        assert!(
            traffic.parts(Unsummed::Unread)[0].ends_with("process 9 has open, which wasn't told in time")
        );
        traffic.parts.push("a network namespace".to_owned());
        assert_eq!(traffic.of([6].into_iter()), Err(Unsummed::Unfound));
    }
}
