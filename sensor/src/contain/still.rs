//! Whether those who were held are still: who left the cgroup, was let go on, or was never held.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io, thread,
};

use super::{Containment, PAUSE, QUIET};
use crate::{event::Key, procfs::Reader};

/// How long it may take until all that were moved are still.
const STILL_NS: u64 = 2_000_000_000;

impl Containment<'_> {
    /// Of these, those who were held and aren't any more: they left the cgroup, or somebody let them go on.
    pub(super) fn strayed(&self, keys: impl IntoIterator<Item = Key>) -> io::Result<Vec<Key>> {
        let held = |key: &Key| self.targets.members.contains_key(key) && !self.failed.contains_key(key);
        let keys = keys.into_iter().filter(held);
        let reader = &self.sweeper.reader;
        let Some(group) = &self.group else { return Ok(keys.filter(|key| runs(reader, key.pid)).collect()) };
        let inside: HashSet<u32> = group.pids()?.into_iter().collect();
        // One whose main thread has ended isn't listed by its number.
        let elsewhere = |pid: u32| {
            let mut threads = reader.threads(pid).into_iter();
            !threads.any(|thread| reader.cgroups(thread).is_some_and(|cgroups| group.is(&cgroups)))
        };
        let strays = |key: &Key| match self.stopped.contains(key) {
            true => runs(reader, key.pid),
            false => !inside.contains(&key.pid) && elsewhere(key.pid),
        };
        Ok(keys.filter(strays).collect())
    }

    /// Whether all in the cgroup are still, for which it may take a moment.
    pub(super) fn wait_until_still(&self) -> bool {
        let Some(group) = &self.group else { return true };
        let end = self.host.boot_now().saturating_add(STILL_NS);
        while !group.is_frozen() {
            if self.host.boot_now() > end {
                return false;
            }
            thread::sleep(PAUSE);
        }
        true
    }

    /// What holding didn't come to, a sentence each.
    #[must_use]
    pub fn unheld(&self) -> Vec<String> {
        let mut unheld = Vec::new();
        if !self.calm {
            unheld.push(
                "they were born, or somebody let them go on, faster than they could be held still".to_owned(),
            );
        }
        if !self.still {
            unheld.push(
                "not all are still: the kernel waits for one that can't be interrupted, or is traced; it is still once \
                 it comes back"
                    .to_owned(),
            );
        }
        unheld
    }

    /// Who of those who live isn't held, and why. It is looked several times: one that is let go on again and again is stopped
    /// at times.
    pub fn loose(&mut self) -> BTreeMap<Key, String> {
        let mut loose: BTreeSet<Key> = std::mem::take(&mut self.restless);
        let mut blind = None;
        self.still = self.wait_until_still();
        for look in 0..QUIET {
            if look != 0 {
                thread::sleep(PAUSE);
            }
            // Who goes on may have had children meanwhile, whom nobody holds.
            let (rows, new) = self.sweep(look + 1 == QUIET);
            loose.extend(new);
            match self.strayed(rows.iter().map(|row| row.key)) {
                Ok(strayed) => loose.extend(strayed),
                Err(error) => blind = Some(error),
            }
        }
        let living = self.living();
        let why = |key: &Key| match &blind {
            Some(error) if !loose.contains(key) && !self.stopped.contains(key) => Some(format!(
                "whether it is held isn't known, as it couldn't be read who is in the frozen cgroup: {error}"
            )),
            _ => loose.contains(key).then(|| self.why_loose().to_owned()),
        };
        living.into_iter().filter_map(|key| Some((key, why(&key)?))).collect()
    }

    /// Why one goes on that was held, and what helps.
    fn why_loose(&self) -> &'static str {
        match self.group {
            Some(_) => {
                "it isn't in the frozen cgroup: somebody moves it out, or it was born too late to be held; the same command without --freeze ends it"
            }
            None => {
                "it goes on: somebody lets it go on (SIGCONT), or it was born too late to be held; a frozen cgroup holds against that (--means cgroup), and the same command without --freeze ends it"
            }
        }
    }
}

/// Whether a process isn't stopped: one of its threads, where the first has ended.
fn runs(reader: &Reader, pid: u32) -> bool {
    let state = |pid: u32| reader.seen(pid).map(|seen| seen.state);
    match state(pid) {
        Some(b'Z') => reader.threads(pid).into_iter().filter_map(state).any(goes_on),
        state => state.is_some_and(goes_on),
    }
}

/// Whether a thread in this state (`proc_pid_stat(5)`) goes on: one that can't be interrupted stops when it comes back.
fn goes_on(state: u8) -> bool {
    !matches!(state, b'T' | b't' | b'Z' | b'X' | b'D')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Waits until it runs, or doesn't.
    fn until(pid: u32, wanted: bool) {
        let reader = Reader::new("/proc".into());
        let mut looks = 0;
        while runs(&reader, pid) != wanted {
            looks += 1;
            assert!(looks < 1_000_000, "it stays as it is");
        }
    }

    #[test]
    fn who_is_let_go_on_runs() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let send = |signal| rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal);
        until(child.id(), true);
        send(rustix::process::Signal::STOP).unwrap();
        until(child.id(), false);
        send(rustix::process::Signal::CONT).unwrap();
        until(child.id(), true);
        send(rustix::process::Signal::KILL).unwrap();
        until(child.id(), false);
        child.wait().unwrap();
        assert!(!runs(&Reader::new("/proc".into()), u32::MAX), "nobody");
    }
}
