//! Whether they stay ended: who comes again, and who still lives and why.

use std::{collections::BTreeMap, thread, time::Duration};

use super::{
    Containment, PAUSE,
    handle::is_same,
    targets::{Rule, parent},
};
use crate::{
    event::Key,
    look::Row,
    procfs::{Reader, Whom},
    record::Text,
};

/// Between two sweeps while nobody comes.
const CALM: Duration = Duration::from_millis(20);
/// Most who came again that are described.
const COMERS_MOST: usize = 256;

/// Who came again, as it was found.
#[derive(Clone, Debug)]
pub struct Comer {
    /// As it was found.
    pub row: Row,
    /// The name of its main thread.
    pub name: Text,
    /// What it executes.
    pub executable: Option<Text>,
    /// Its arguments.
    pub args: Vec<Text>,
    /// Its cgroup.
    pub cgroup: Option<Text>,
    /// What its parent is called.
    pub parent: Option<Text>,
    /// It isn't meant by the rule, but does as one of those who were ended: it was left alone.
    pub spared: bool,
}

/// Who came again.
#[derive(Debug, Default)]
pub struct Comers {
    /// Each, so many of them as are described.
    pub all: BTreeMap<Key, Comer>,
}

impl Comers {
    fn take(&mut self, reader: &mut Reader, row: &Row, spared: bool) {
        if self.all.len() < COMERS_MOST && !self.all.contains_key(&row.key) {
            self.all.insert(row.key, describe(reader, row, spared));
        }
    }
}

impl Containment<'_> {
    /// Looks so long for who comes again, and ends them too. Each is told as it comes.
    pub fn verify(&mut self, time: Duration, mut come: impl FnMut(&mut Self, &[Key])) {
        let end = self.host.boot_now().saturating_add(time.as_nanos().try_into().unwrap_or(u64::MAX));
        loop {
            let last = self.host.boot_now() >= end;
            let (rows, new) = self.sweep(last);
            self.note_comers(&rows, &new);
            come(self, &new);
            self.living().into_iter().for_each(|key| self.kill_one(key));
            self.note_alike(&rows);
            if last {
                return self.settle_down();
            }
            thread::sleep(if new.is_empty() { CALM } else { PAUSE });
        }
    }

    /// Notes who came again.
    pub(super) fn note_comers(&mut self, rows: &[Row], new: &[Key]) {
        let came = rows.iter().filter(|row| new.contains(&row.key));
        for row in came {
            self.comers.take(&mut self.sweeper.reader, row, false);
        }
    }

    /// Of one process or a tree the rule doesn't know who is started in its place: by the same parent, the same file, as the
    /// same user.
    fn note_alike(&mut self, rows: &[Row]) {
        if matches!(self.targets.rule(), Rule::User { .. } | Rule::Hash(_)) {
            return;
        }
        let (targets, comers) = (&self.targets, &mut self.comers);
        let alike = |row: &&Row| {
            let key = &row.key;
            key.start >= targets.began
                && !targets.members.contains_key(key)
                && !targets.refused.contains_key(key)
                && targets.members.values().any(|member| is_alike(&member.row, row))
        };
        for row in rows.iter().filter(alike) {
            comers.take(&mut self.sweeper.reader, row, true);
        }
    }

    /// Why one still lives who was killed.
    #[must_use]
    pub fn why_alive(&self, key: Key) -> String {
        if let Some(failed) = self.failed.get(&key) {
            return failed.why.clone();
        }
        let reader = &self.sweeper.reader;
        let seen = reader.seen(key.pid).filter(|seen| is_same(seen.start, key.start));
        let tracer = reader.kept(key.pid).map_or(0, |kept| kept.tracer);
        match seen.map(|seen| seen.state) {
            Some(b'D') => {
                let place = reader.waits_in(key.pid).map_or_else(String::new, |place| format!(" ({place})"));
                format!(
                    "the kernel waits in it for something that can't be interrupted{place}: it is killed, and ends when that comes; \
                     look at what it waits for: a disk, a file system of another host or of a program (FUSE)"
                )
            }
            Some(b't') if tracer != 0 => format!("process {tracer} traces it and holds it back"),
            _ => "it was killed, and the kernel hasn't ended it yet".to_owned(),
        }
    }
}

fn is_alike(before: &Row, now: &Row) -> bool {
    let file = |row: &Row| (row.running.device, row.running.inode);
    before.running.inode != 0
        && file(before) == file(now)
        && before.actor.ids == now.actor.ids
        && parent(before) == parent(now)
}

fn describe(reader: &mut Reader, row: &Row, spared: bool) -> Comer {
    let details = reader.details(Whom::of(row.key, &row.running)).unwrap_or_default();
    let called = |pid: u32| reader.seen(pid).map(|seen| seen.name);
    Comer {
        row: *row,
        name: details.name.unwrap_or_default(),
        executable: details.executable,
        args: details.args,
        cgroup: details.cgroup,
        parent: called(row.actor.parent),
        spared,
    }
}
