//! The sockets of a port, and who holds them: also who was given one by its parent after it was looked who has it.

use std::collections::{BTreeMap, BTreeSet};

use super::handle::is_same;
use crate::{
    event::Key,
    procfs::descriptors::{Descriptor, Target},
};

/// The sockets of a port by inode number, and of each who was seen to hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard(BTreeMap<u64, BTreeSet<Key>>);

impl Heard {
    /// These sockets, each with its holders.
    #[must_use]
    pub fn of(sockets: impl IntoIterator<Item = (u64, Vec<Key>)>) -> Self {
        let mut heard = Self::default();
        for (inode, holders) in sockets {
            heard.0.entry(inode).or_default().extend(holders);
        }
        heard
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them has no holder that was seen.
    #[must_use]
    pub fn has_unheld(&self) -> bool {
        self.0.values().any(BTreeSet::is_empty)
    }

    /// Everybody who was seen to hold one.
    #[must_use]
    pub fn holders(&self) -> BTreeSet<Key> {
        self.0.values().flatten().copied().collect()
    }

    /// Whether it was seen to hold one: by the kernel's list, or by /proc, which tells in ticks when it began.
    pub(super) fn is_held_by(&self, key: Key) -> bool {
        let of_its_number = Key { start: 0, ..key }..=Key { start: u64::MAX, ..key };
        let is_it = |holder: &Key| is_same(holder.start, key.start);
        self.0.values().any(|holders| holders.range(of_its_number.clone()).any(is_it))
    }

    /// Takes in what a process has open. Whether one of them is among it.
    pub(super) fn learn(&mut self, key: Key, open: &[Descriptor]) -> bool {
        for descriptor in open {
            if let Target::Socket(inode) = descriptor.target
                && let Some(holders) = self.0.get_mut(&inode)
            {
                holders.insert(key);
            }
        }
        self.is_held_by(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_inherits_a_socket_holds_it() {
        let key = |pid| Key { pid, start: 7 };
        let mut heard = Heard::of([(10, vec![key(1)]), (11, Vec::new()), (10, vec![key(2)])]);
        assert!(heard.has_unheld() && !heard.is_empty());
        assert_eq!(heard.holders(), BTreeSet::from([key(1), key(2)]));
        let open = |inode| [Descriptor { number: 4, target: Target::Socket(inode) }];
        assert!(!heard.learn(key(3), &open(12)), "another's socket");
        assert!(heard.has_unheld());
        assert!(heard.learn(key(3), &open(11)) && heard.is_held_by(key(3)));
        assert!(!heard.has_unheld());
        assert!(!heard.is_held_by(Key { pid: 3, start: 1 << 40 }), "another that has its number by now");
    }

    #[test]
    fn without_a_socket_nobody_is_missing() {
        assert!(Heard::default().is_empty() && !Heard::default().has_unheld());
    }
}
