//! Images that processes run and of which no exec told: it was lost in a flood, and what runs is known by a look.

use std::collections::HashMap;

use crate::event::{Key, Running};

/// How long after a loss an image that isn't the known one is taken for one whose exec was lost, nanoseconds. Without a
/// loss it isn't: a process can have the kernel call another file its executable (`PR_SET_MM_EXE_FILE`, `prctl(2)`).
const NEAR: u64 = 3_000_000_000;
/// How long the exec may still be under way: the kernel tells it when the image is loaded, nanoseconds.
const PATIENCE: u64 = 900_000_000;
/// Most processes of which that is remembered.
const MOST: usize = 65_536;

/// What doesn't fit, and since when.
#[derive(Debug, Default)]
pub(super) struct Missed {
    since: HashMap<Key, (u64, u64)>,
    /// When execs were last found to be lost, nanoseconds since boot.
    lost: Option<u64>,
    /// How many were, up to then.
    count: u64,
}

impl Missed {
    /// So many execs were lost up to now.
    pub(super) fn lost(&mut self, count: u64, now: u64) {
        if count > self.count {
            (self.count, self.lost) = (count, Some(now));
        }
    }

    /// A look shows what a process runs, and it is known to run something: whether its exec was lost.
    pub(super) fn exec(&mut self, key: Key, known: &Running, shown: &Running, now: u64) -> bool {
        if shown.inode == 0 || (known.same_file(shown) && known.dentry == shown.dentry) {
            if !self.since.is_empty() {
                self.since.remove(&key);
            }
            return false;
        }
        if self.since.len() >= MOST && !self.since.contains_key(&key) {
            return false;
        }
        let (since, dentry) = *self.since.entry(key).or_insert((now, shown.dentry));
        if dentry != shown.dentry {
            self.since.insert(key, (now, shown.dentry));
            return false;
        }
        // Of one that was only met by what it did, nothing is known.
        let lost = known.inode == 0 || self.lost.is_some_and(|lost| lost.saturating_add(NEAR) > since);
        lost && now.saturating_sub(since) >= PATIENCE
    }

    /// Keeps nothing of those that a look didn't show.
    pub(super) fn forget(&mut self, shown: &HashMap<u32, u64>) {
        self.since.retain(|key, _| shown.get(&key.pid) == Some(&key.start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { pid: 7, start: 1 };

    fn image(inode: u64) -> Running {
        Running { inode, dentry: inode + 100, nlink: 1, ..Running::default() }
    }

    #[test]
    fn an_image_is_taken_in_when_execs_were_lost_and_none_comes() {
        let mut missed = Missed::default();
        assert!(!missed.exec(KEY, &image(1), &image(1), 0));
        assert!(!missed.exec(KEY, &image(1), &image(2), 10));
        assert!(!missed.exec(KEY, &image(1), &image(2), 10 + PATIENCE), "nothing was lost");
        missed.lost(1, 20);
        assert!(missed.exec(KEY, &image(1), &image(2), 10 + PATIENCE));
        assert!(!missed.exec(KEY, &image(1), &image(3), 20 + PATIENCE), "another again");
    }

    #[test]
    fn a_loss_long_before_is_no_reason() {
        let mut missed = Missed::default();
        missed.lost(1, 20);
        missed.lost(1, NEAR);
        assert!(!missed.exec(KEY, &image(1), &image(2), 20 + NEAR));
        assert!(!missed.exec(KEY, &image(1), &image(2), 20 + NEAR + PATIENCE));
        missed.forget(&HashMap::new());
        assert!(missed.since.is_empty());
    }

    #[test]
    fn one_that_was_only_met_is_looked_at() {
        let mut missed = Missed::default();
        assert!(!missed.exec(KEY, &image(0), &image(2), 10));
        assert!(missed.exec(KEY, &image(0), &image(2), 10 + PATIENCE));
        assert!(!missed.exec(KEY, &image(1), &image(0), 20));
    }
}
