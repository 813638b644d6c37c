//! Who runs a file that lost its name.

use std::collections::BTreeSet;

use crate::event::{Key, Running};
use crate::process::{Process, Table};

/// Most that are told in full: anybody may run a file a thousand times, and rename it as often in a moment.
pub(super) const MOST: usize = 64;

/// The first of them in full, and which the others are.
pub(super) struct Runners {
    first: Vec<Process>,
    others: BTreeSet<Key>,
}

impl Runners {
    /// All that run the file by that name: they know now that it is gone, and are told once.
    pub(super) fn mark(table: &mut Table, was: &Running, now: &Running) -> Self {
        let mut keys = BTreeSet::new();
        for process in
            table.iter_mut().filter(|process| process.now.same_file(was) && process.now.dentry == was.dentry)
        {
            process.now = *now;
            keys.insert(process.key);
        }
        let others = keys.iter().nth(MOST).copied().map_or_else(BTreeSet::new, |key| keys.split_off(&key));
        Self { first: keys.iter().filter_map(|key| table.get(*key).cloned()).collect(), others }
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.others.contains(&key) || self.first.iter().any(|runner| runner.key == key)
    }

    /// Takes another in, if it isn't yet.
    pub(super) fn add(&mut self, runner: &Process) {
        if self.contains(runner.key) {
            return;
        }
        if self.first.len() < MOST {
            let at = self.first.partition_point(|other| other.key < runner.key);
            self.first.insert(at, runner.clone());
        } else {
            self.others.insert(runner.key);
        }
    }

    /// Leaves one out.
    pub(super) fn remove(&mut self, key: Key) {
        self.first.retain(|runner| runner.key != key);
        self.others.remove(&key);
    }

    /// Leaves those out that aren't so by now, as far as they are still known.
    pub(super) fn retain(&mut self, table: &Table, is: impl Fn(&Process) -> bool) {
        let stays = |key| table.get(key).is_none_or(&is);
        self.first.retain(|runner| stays(runner.key));
        self.others.retain(|key| stays(*key));
    }

    /// Another file has their name now.
    pub(super) fn replaced(&mut self) {
        self.first.iter_mut().for_each(|runner| runner.replaced = true);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.first.len() + self.others.len()
    }

    /// Since when the youngest of them runs it, nanoseconds since boot.
    pub(super) fn since(&self, table: &Table) -> Option<u64> {
        let others = self.others.iter().filter_map(|key| table.get(*key));
        self.first.iter().chain(others).map(|runner| runner.image.since).min()
    }

    /// Those that are told in full.
    pub(super) fn into_first(self) -> Vec<Process> {
        self.first
    }
}
