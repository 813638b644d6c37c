//! Their end: all of a frozen cgroup at once, else each by its descriptor, else all of a user by one signal.

use std::{io, thread};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::thread::{CapabilitySet, capabilities, set_thread_res_uid};

use super::{
    Containment, Failed, PAUSE, QUIET, Way, group, handle,
    targets::{By, Rule},
};
use crate::{event::Key, look::Row};

/// How long it is looked for somebody who still lives.
const END_NS: u64 = 5_000_000_000;
/// How long those who were killed last may take to end, nanoseconds.
const SETTLE_NS: u64 = 300_000_000;
/// After so long one who was killed and lives is taken for held up, nanoseconds.
const SLOW_NS: u64 = 200_000_000;

impl Containment<'_> {
    /// Kills all who are meant, until a sweep shows nobody of them.
    pub fn end(&mut self) {
        if self.way == Way::User && !self.end_user() {
            self.way = Way::Signals;
        }
        self.end_group();
        // Who forks faster than each can be killed is outrun by none.
        if !self.end_each() && self.end_user() {
            self.end_each();
        }
    }

    /// All who were moved into the cgroup, if nobody else was.
    fn end_group(&mut self) {
        let Some(group) = &self.group else { return };
        let inside = group.pids().unwrap_or_default();
        let refused = |pid: &u32| self.targets.refused.keys().any(|key| key.pid == *pid);
        let meant = |pid: &u32| self.targets.members.keys().any(|key| key.pid == *pid);
        let strangers: Vec<u32> = inside.iter().copied().filter(|pid| refused(pid) || !meant(pid)).collect();
        for pid in &strangers {
            self.told
                .push(format!("process {pid} was moved into the cgroup by somebody else, and was moved out"));
            if let Err(error) = group.put_back(*pid, None) {
                self.told.push(format!("process {pid} couldn't be moved out: {error}"));
            }
        }
        if strangers.is_empty()
            && let Err(error) = group.kill()
            && error.kind() != io::ErrorKind::NotFound
        {
            self.told.push(format!("the cgroup couldn't be killed at once, so each was: {error}"));
        }
    }

    fn end_each(&mut self) -> bool {
        let start = self.host.boot_now();
        let mut quiet = 0;
        while quiet < QUIET {
            let now = self.host.boot_now();
            if now > start.saturating_add(END_NS) {
                return false;
            }
            let (rows, new) = self.sweep(quiet + 1 == QUIET);
            if self.settled {
                self.note_comers(&rows, &new);
            }
            let mut stuck = !self.targets.fleeting;
            for key in self.living() {
                self.kill_one(key);
                let since = *self.killed.entry(key).or_insert(now);
                let slow = now > since.saturating_add(SLOW_NS);
                if slow {
                    self.thaw(key);
                }
                // All that can be done has been done: the rest is up to the kernel.
                stuck &= slow || self.failed.contains_key(&key);
            }
            quiet = if stuck { quiet + 1 } else { 0 };
            thread::sleep(PAUSE);
        }
        true
    }

    /// Gives the kernel a moment to end those who were killed, and removes the cgroup: one that it still holds is removed by
    /// a later command.
    pub(super) fn settle_down(&mut self) {
        let end = self.host.boot_now().saturating_add(SETTLE_NS);
        while !self.living().is_empty() && self.host.boot_now() < end {
            thread::sleep(PAUSE);
        }
        if let Some(group) = &self.group {
            let _: bool = group.remove();
        }
    }

    pub(super) fn kill_one(&mut self, key: Key) {
        match handle::send(&self.sweeper.reader, key, rustix::process::Signal::KILL) {
            Ok(()) => {}
            Err(error) => drop(self.failed.insert(key, Failed::new("it can't be killed", &error))),
        }
    }

    /// Who is held by the freezer of version 1 dies only once it goes on. So does, on some kernels (seen on 5.10), who is
    /// traced and was frozen on its way to its death by ours.
    fn thaw(&mut self, key: Key) {
        if let Some(group) = &self.group
            && group.pids().is_ok_and(|inside| inside.contains(&key.pid))
            && let Err(error) = group.put_back(key.pid, None)
        {
            self.failed.insert(key, Failed::new("it can't be moved out of the frozen cgroup to die", &error));
        }
        match group::thaw_first_version(&self.sweeper.reader, key.pid) {
            Ok(true) => self.told.push(format!(
                "process {} was held by the freezer of cgroups of version 1, and was let go on to die",
                key.pid
            )),
            Ok(false) => {}
            Err(error) => drop(self.failed.insert(key, Failed::new("the freezer holds it", &error))),
        }
    }

    /// One signal to all whose real or saved id is the user's: nobody forks while the kernel goes through them. Not where
    /// it would reach somebody who isn't meant. Whether it was sent.
    fn end_user(&mut self) -> bool {
        let Rule::User { uid, by } = *self.targets.rule() else { return false };
        let (rows, _) = self.sweep(false);
        if !reaches_only_meant(&rows, uid, by, |key| self.targets.refused.contains_key(&key)) {
            return false;
        }
        match kill_all_of(uid) {
            Ok(()) => {
                self.told.push("all processes of the user were killed by one signal".to_owned());
                true
            }
            Err(error) => {
                self.told
                    .push(format!("all processes of the user couldn't be killed by one signal: {error}"));
                false
            }
        }
    }
}

/// Whether a signal of a process of this user (`kill(2)`) reaches only those who are meant.
fn reaches_only_meant(rows: &[Row], uid: u32, by: By, refused: impl Fn(Key) -> bool) -> bool {
    let reached = |row: &&Row| {
        let [real, _, saved, ..] = row.actor.ids;
        real == uid || saved == uid
    };
    let meant = |row: &Row| {
        let [real, _, _, _, effective, ..] = row.actor.ids;
        match by {
            By::Any => real == uid || effective == uid || row.actor.login_uid == uid,
            By::Login => row.actor.login_uid == uid,
            By::Real => real == uid,
            By::Effective => effective == uid,
        }
    };
    uid != 0 && rows.iter().filter(reached).all(|row| meant(row) && !refused(row.key))
}

/// Kills all that a process of this user may kill. A thread of ours takes the user's id for good and ends with it: the kernel
/// sends such a signal to everybody but the process that sends it.
fn kill_all_of(uid: u32) -> io::Result<()> {
    let all = move || -> io::Result<()> {
        let user = rustix::fs::Uid::from_raw(uid);
        // Only of this thread, and without a way back.
        set_thread_res_uid(user, user, user)?;
        // Who kept a right to kill others would reach everybody: so not without root's usual loss of rights, and asked twice.
        let first = kill(Pid::from_raw(1), None);
        if capabilities(None)?.effective.contains(CapabilitySet::KILL)
            || first != Err(nix::errno::Errno::EPERM)
        {
            return Err(io::Error::other(
                "it would reach others too: the right to kill them stays with the thread",
            ));
        }
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            // Nobody was left.
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    };
    let thread = thread::Builder::new().name("kill".to_owned()).spawn(all)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that does it broke off")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Actor, Running};

    #[test]
    fn nobody_else_is_reached() {
        let row = |pid: u32, [real, saved, effective]: [u32; 3]| {
            let ids = [real, 0, saved, 0, effective, 0, effective, 0];
            let actor = Actor { ids, login_uid: u32::MAX, ..Actor::default() };
            Row { key: Key { pid, start: 0 }, actor, running: Running::default() }
        };
        let rows = [row(5, [7, 7, 7]), row(6, [7, 0, 0]), row(8, [0, 0, 0])];
        let only =
            |rows: &[Row], uid, by, refused: u32| reaches_only_meant(rows, uid, by, |key| key.pid == refused);
        assert!(only(&rows, 7, By::Any, 0));
        assert!(!only(&rows, 7, By::Any, 6), "one is left alone");
        assert!(!only(&rows, 7, By::Effective, 0), "another acts as root");
        assert!(!only(&[row(5, [1, 7, 1])], 7, By::Any, 0), "one only could take the id");
        assert!(!only(&rows, 0, By::Any, 0), "never as root");
    }
}
