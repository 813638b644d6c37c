//! Who is alive: keyed by pid and start time, bounded, seeded from what was there and kept by events.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, OnceLock},
};

use sha2::{Digest, Sha256};

use crate::{
    event::{Actor, Key, Running, exec::Exec},
    record::{Boot, Text, Time},
    redact::Redactor,
};

/// What a process runs, and how it was started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Where the executable is, or was.
    pub executable: Option<Text>,
    /// The arguments.
    pub args: Arc<[Text]>,
    /// Bytes of all arguments, 0 where unknown.
    pub args_bytes: u64,
    /// How many arguments there were, also those that are not here.
    pub args_count: u64,
    /// There were more arguments.
    pub args_truncated: bool,
    /// The script that it interprets.
    pub script: Option<Text>,
    /// The file as it was when it was executed, or first seen.
    pub running: Running,
    /// It never had a name.
    pub nameless: bool,
    /// Its mount was gone already.
    pub detached: bool,
    /// When it was executed, nanoseconds since boot.
    pub since: u64,
    /// SHA-256 of the file, once it is known: to all that run it.
    pub sha256: OnceLock<Text>,
}

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Which.
    pub key: Key,
    /// Its entity id.
    pub entity: Text,
    /// When it was born by the host's clock, as that was when the process became known: the same in all that is told of it.
    pub started: Time,
    /// Who it is, as last told.
    pub actor: Actor,
    /// What it runs.
    pub image: Arc<Image>,
    /// The file as it was last seen.
    pub now: Running,
    /// Its name was taken by another file.
    pub replaced: bool,
    /// Where it works.
    pub working_directory: Option<Text>,
    /// The cgroup's path.
    pub cgroup: Option<Text>,
    /// The name of its main thread, where it has no executable.
    pub name: Option<Text>,
    /// Who started it; this stays when the parent ends and the kernel gives it another.
    pub parent: Option<Parent>,
    /// When it ended, nanoseconds since boot, if it has.
    pub ended: Option<u64>,
    /// Sweeps in which it was missing.
    missing: u8,
}

impl Process {
    /// Whether its file has been given another name since it was executed.
    #[must_use]
    pub fn moved(&self) -> bool {
        let was = &self.image.running;
        (was.parent, was.name_hash) != (self.now.parent, self.now.name_hash)
    }
}

/// Who started a process, as it was then.
#[derive(Clone, Debug)]
pub struct Parent {
    /// Which.
    pub key: Key,
    /// Its entity id.
    pub entity: Text,
    /// When it was born, as told of itself.
    pub started: Time,
    /// What it ran.
    pub image: Arc<Image>,
}

impl Process {
    /// By which of its ids it is one of a user's.
    #[must_use]
    pub fn ids_of(&self, user: u32) -> Vec<Text> {
        let [real, _, saved, _, effective, _, file_system, _] = self.actor.ids;
        let ids = [
            ("login", self.actor.login_uid),
            ("real", real),
            ("effective", effective),
            ("saved", saved),
            ("file_system", file_system),
        ];
        ids.into_iter().filter(|(_, id)| *id == user).map(|(name, _)| Text::from(name)).collect()
    }

    fn as_parent(&self) -> Parent {
        let (entity, image) = (self.entity.clone(), Arc::clone(&self.image));
        Parent { key: self.key, entity, started: self.started, image }
    }
}

/// What an exec changed.
#[derive(Clone, Debug)]
pub struct Before {
    /// What ran before.
    pub image: Arc<Image>,
    /// Permitted capabilities before.
    pub permitted: u64,
}

/// All processes.
pub struct Table {
    boot_id: String,
    boot: Boot,
    /// Each by itself: tables grow by doubling, and a flood's would stay.
    live: HashMap<u32, Box<Process>>,
    /// The last that ended, for what is told of them a moment later.
    recent: VecDeque<Box<Process>>,
    most: usize,
    /// Processes that made room for others, and are known anew only by what they do next.
    forgotten: u64,
    /// By whom secrets in arguments are masked before anybody hears of them.
    redactor: Option<Redactor>,
    /// Paths of cgroups, by their ids: who moves tells its new id alone.
    cgroups: HashMap<u64, Text>,
}

/// More than any host runs; each takes about a kilobyte.
const MOST: usize = 262_144;
/// How many that ended are kept: as many as end in what a full ring holds, so that a flood of others doesn't hide who did
/// something before it ended; each takes some 500 bytes.
const RECENT_MOST: usize = 16_384;
/// More cgroups than a host has; of more all are forgotten, and known again by whoever executes in them.
const CGROUPS_MOST: usize = 16_384;
/// A process is forgotten when as many sweeps in a row didn't show it.
const MISSING_MOST: u8 = 2;

impl Table {
    /// An empty one, for this boot.
    #[must_use]
    pub fn new(boot_id: String, boot: Boot) -> Self {
        let (live, recent) = (HashMap::new(), VecDeque::new());
        let cgroups = HashMap::new();
        Self { boot_id, boot, live, recent, most: MOST, forgotten: 0, redactor: None, cgroups }
    }

    /// Masks secrets in the arguments of all that come from now on, or doesn't.
    pub fn mask(&mut self, redactor: Option<Redactor>) {
        self.redactor = redactor;
    }

    /// Arguments as they may be told.
    fn masked(&self, args: &Arc<[Text]>) -> Arc<[Text]> {
        let Some(redactor) = &self.redactor else { return Arc::clone(args) };
        let bytes: Vec<&[u8]> = args.iter().map(Text::as_bytes).collect();
        let masked = redactor.arguments(&bytes);
        if masked.iter().zip(&bytes).all(|(masked, bytes)| masked.as_ref() == *bytes) {
            return Arc::clone(args);
        }
        args.iter().zip(masked).map(|(arg, masked)| arg.replaced(&masked)).collect()
    }

    /// The host's clock was looked at again: for what becomes known from now on.
    pub fn refresh_clock(&mut self, boot: Boot) {
        self.boot = boot;
    }

    /// The id of a process over the boot: the same in every run of the sensor and in every verb.
    ///
    /// Made of the boot's id, the pid and the start time in nanoseconds: the ticks that /proc tells are
    /// too coarse, since a pid can be used again within one.
    #[must_use]
    pub fn entity(&self, key: Key) -> Text {
        let mut hash = Sha256::new();
        hash.update(self.boot_id.as_bytes());
        hash.update(key.pid.to_le_bytes());
        hash.update(key.start.to_le_bytes());
        let digest = hash.finalize();
        let mut digits = [0; 32];
        for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(digest) {
            *pair = [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
        }
        Text::copy_from(&digits)
    }

    /// A process, if it is that one.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&Process> {
        self.live.get(&key.pid).map(|process| &**process).filter(|process| process.key == key)
    }

    /// The process that has a pid now.
    #[must_use]
    pub fn at(&self, pid: u32) -> Option<&Process> {
        self.live.get(&pid).map(|process| &**process)
    }

    /// The process that has a pid now, or the last that had it and ended a moment ago.
    #[must_use]
    pub fn lately(&self, pid: u32) -> Option<&Process> {
        self.at(pid).or_else(|| self.ended_lately().rev().find(|process| process.key.pid == pid))
    }

    /// The process that had a pid within these times (nanoseconds since boot); none when several had it: whoever did it may
    /// have left its pid to another, to be taken for it.
    #[must_use]
    pub fn had(&self, pid: u32, from: u64, to: u64) -> Option<&Process> {
        let recent = self.ended_lately().rev().filter(|process| process.key.pid == pid);
        let within =
            |process: &&Process| process.key.start <= to && process.ended.is_none_or(|end| end >= from);
        let mut all = recent.chain(self.at(pid)).filter(within);
        all.next().filter(|_| all.next().is_none())
    }

    /// A process, if it is that one, also when it ended a moment ago.
    #[must_use]
    pub fn known(&self, key: Key) -> Option<&Process> {
        self.get(key).or_else(|| self.ended_lately().rev().find(|process| process.key == key))
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.live.values().map(|process| &**process)
    }

    /// The last that ended.
    pub fn ended_lately(&self) -> impl DoubleEndedIterator<Item = &Process> {
        self.recent.iter().map(|process| &**process)
    }

    /// All, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.live.values_mut().map(|process| &mut **process)
    }

    /// How many processes a full table forgot since this was last asked.
    pub fn forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// A process was there before, or its birth was lost.
    pub fn found(&mut self, key: Key, actor: Actor, mut image: Image) -> &mut Process {
        image.args = self.masked(&image.args);
        let mut process = self.blank(key, actor);
        process.now = image.running;
        process.image = Arc::new(image);
        self.insert(process)
    }

    /// A process is born: it runs what its creator runs.
    pub fn born(&mut self, key: Key, actor: Actor, creator: Key) -> &mut Process {
        let mut child = self.blank(key, actor);
        if let Some(source) = self.get(creator).or_else(|| self.get(parent_of(&actor))) {
            child.image = Arc::clone(&source.image);
            child.now = source.now;
            child.replaced = source.replaced;
            child.working_directory.clone_from(&source.working_directory);
            child.name.clone_from(&source.name);
            if source.actor.cgroup == actor.cgroup {
                child.cgroup.clone_from(&source.cgroup);
            }
        }
        if child.cgroup.is_none() {
            child.cgroup = self.cgroups.get(&actor.cgroup).cloned();
        }
        self.insert(child)
    }

    /// A process has another image now; gives what was before, unless that isn't known.
    pub fn became(
        &mut self,
        key: Key,
        time: u64,
        actor: Actor,
        exec: &Exec,
    ) -> (&mut Process, Option<Before>) {
        let known = self.remove(key);
        let before = known
            .as_ref()
            .map(|old| Before { image: Arc::clone(&old.image), permitted: old.actor.permitted });
        let mut process = known.unwrap_or_else(|| self.blank(key, actor));
        process.actor = actor;
        process.now = exec.running;
        process.replaced = false;
        process.name = None;
        process.working_directory = Some(exec.working_directory.path.clone());
        process.cgroup = Some(exec.cgroup.clone());
        self.name_cgroup(actor.cgroup, &exec.cgroup);
        process.image = Arc::new(Image {
            executable: Some(exec.executable.path.clone()),
            args: self.masked(&exec.args),
            args_bytes: exec.args_bytes,
            args_count: exec.args_count,
            args_truncated: exec.args_truncated(),
            script: exec.script.clone(),
            running: exec.running,
            nameless: exec.executable.nameless,
            detached: exec.executable.detached,
            since: time,
            sha256: OnceLock::new(),
        });
        (self.insert(process), before)
    }

    /// One of which only is known who it is.
    fn blank(&self, key: Key, actor: Actor) -> Box<Process> {
        Box::new(Process {
            key,
            entity: self.entity(key),
            started: self.boot.at(key.start),
            actor,
            image: Arc::default(),
            now: Running::default(),
            replaced: false,
            working_directory: None,
            cgroup: None,
            name: None,
            parent: self.get(parent_of(&actor)).map(Process::as_parent),
            ended: None,
            missing: 0,
        })
    }

    /// A process ended at this time.
    pub fn ended(&mut self, key: Key, time: u64) {
        if let Some(mut process) = self.remove(key) {
            process.ended = Some(time);
            if self.recent.len() >= RECENT_MOST {
                self.recent.pop_front();
            }
            self.recent.push_back(process);
        }
    }

    fn remove(&mut self, key: Key) -> Option<Box<Process>> {
        self.get(key)?;
        self.live.remove(&key.pid)
    }

    /// Notes who a process is now.
    pub fn refresh(&mut self, key: Key, actor: Actor) {
        if let Some(process) = self.live.get_mut(&key.pid).filter(|process| process.key == key) {
            if process.actor.cgroup != actor.cgroup {
                process.cgroup = self.cgroups.get(&actor.cgroup).cloned();
            }
            process.actor = actor;
        }
    }

    /// Whether it is in a cgroup whose path isn't known.
    #[must_use]
    pub fn lacks_cgroup(&self, key: Key) -> bool {
        self.get(key).is_some_and(|process| process.cgroup.is_none() && process.actor.cgroup != 0)
    }

    /// The path of the cgroup that a process is in.
    pub fn is_in(&mut self, key: Key, path: &Text) {
        if let Some(process) = self.live.get_mut(&key.pid).filter(|process| process.key == key) {
            let id = process.actor.cgroup;
            process.cgroup = Some(path.clone());
            self.name_cgroup(id, path);
        }
    }

    fn name_cgroup(&mut self, id: u64, path: &Text) {
        if self.cgroups.get(&id) != Some(path) {
            if self.cgroups.len() >= CGROUPS_MOST {
                self.cgroups.clear();
            }
            self.cgroups.insert(id, path.clone());
        }
    }

    /// A process acts under these users and groups, in the order of `Actor::ids`.
    pub fn acts_as(&mut self, key: Key, ids: [u32; 8]) {
        if let Some(process) = self.live.get_mut(&key.pid).filter(|process| process.key == key) {
            process.actor.ids = ids;
        }
    }

    /// A sweep is over: what none of the last sweeps showed has ended unseen.
    pub fn keep(&mut self, began: u64, shown: &HashMap<u32, u64>) {
        self.live.retain(|pid, process| {
            let gone = process.key.start < began && shown.get(pid) != Some(&process.key.start);
            process.missing = if gone { process.missing + 1 } else { 0 };
            process.missing < MISSING_MOST
        });
    }

    fn insert(&mut self, process: Box<Process>) -> &mut Process {
        let pid = process.key.pid;
        if self.live.len() >= self.most && !self.live.contains_key(&pid) {
            // Bounded whatever the host does: the oldest process that isn't told of makes room.
            if let Some(oldest) =
                self.live.values().min_by_key(|process| process.key.start).map(|process| process.key.pid)
            {
                self.live.remove(&oldest);
                self.forgotten += 1;
            }
        }
        self.live.entry(pid).insert_entry(process).into_mut()
    }
}

fn parent_of(actor: &Actor) -> Key {
    Key { pid: actor.parent, start: actor.parent_start }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pid: u32) -> Key {
        Key { pid, start: u64::from(pid) * 10_000_000 }
    }

    fn child_of(pid: u32) -> Actor {
        Actor { parent: pid, parent_start: key(pid).start, ..Actor::default() }
    }

    fn image(path: &'static str) -> Image {
        Image { executable: Some(Text::from(path)), ..Image::default() }
    }

    #[test]
    fn a_child_keeps_its_parent_after_the_parent_is_gone() {
        let mut table = Table::new("boot".to_owned(), Boot(0));
        table.found(key(1), Actor::default(), image("/bin/parent"));
        table.born(key(2), child_of(1), key(1));
        table.ended(key(1), 0);
        assert!(table.get(key(1)).is_none() && table.lately(1).is_some());
        let child = table.get(key(2)).unwrap();
        assert_eq!(child.image.executable, Some(Text::from("/bin/parent")));
        assert_eq!(child.parent.as_ref().unwrap().image.executable, Some(Text::from("/bin/parent")));
    }

    #[test]
    fn who_moved_is_in_the_cgroup_that_its_id_is_of() {
        let mut table = Table::new("boot".to_owned(), Boot(0));
        let within = |cgroup| Actor { cgroup, ..child_of(1) };
        table.found(key(1), within(7), Image::default());
        table.is_in(key(1), &Text::from("/one"));
        assert_eq!(table.born(key(2), within(7), key(1)).cgroup, Some(Text::from("/one")));
        // It moved, and its child is told first.
        assert_eq!(table.born(key(3), within(8), key(1)).cgroup, None);
        assert!(table.lacks_cgroup(key(3)) && !table.lacks_cgroup(key(2)));
        table.is_in(key(3), &Text::from("/one/below"));
        table.refresh(key(1), within(8));
        assert_eq!(table.get(key(1)).unwrap().cgroup, Some(Text::from("/one/below")));
        table.refresh(key(1), within(9));
        assert!(table.lacks_cgroup(key(1)));
    }

    #[test]
    fn a_start_is_the_same_whatever_becomes_of_the_clock() {
        let mut table = Table::new("boot".to_owned(), Boot(5));
        table.found(key(1), Actor::default(), Image::default());
        table.refresh_clock(Boot(7));
        table.born(key(2), child_of(1), key(1));
        let (parent, child) = (table.get(key(1)).unwrap(), table.get(key(2)).unwrap());
        assert_eq!(parent.started, Boot(5).at(key(1).start));
        assert_eq!(child.parent.as_ref().unwrap().started, parent.started);
        assert_eq!(child.started, Boot(7).at(key(2).start));
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut table = Table::new("boot".to_owned(), Boot(0));
        table.found(key(2), Actor::default(), image("/bin/a"));
        let later = Key { pid: 2, start: 999_000_000 };
        assert!(table.get(later).is_none() && table.remove(later).is_none());
        table.born(later, Actor::default(), key(2));
        assert!(table.get(key(2)).is_none());
        assert_ne!(table.entity(key(2)), table.entity(later));
        assert_eq!(table.entity(key(2)).len(), 32);
    }

    #[test]
    fn a_pid_is_that_of_who_had_it_then() {
        let mut table = Table::new("boot".to_owned(), Boot(0));
        let at = |start| Key { pid: 2, start };
        for start in [10, 20, 30] {
            table.found(at(start), Actor::default(), Image::default());
            if start < 30 {
                table.ended(at(start), start + 5);
            }
        }
        let had = |from, to| table.had(2, from, to).map(|process| process.key.start);
        assert_eq!((had(12, 15), had(22, 25), had(31, 40), had(1, 5)), (Some(10), Some(20), Some(30), None));
        assert_eq!((had(16, 25), had(15, 25), had(24, 31)), (Some(20), None, None));
        assert!(table.had(3, 0, 99).is_none());
    }

    #[test]
    fn what_ended_unseen_is_forgotten() {
        let mut table = Table::new("boot".to_owned(), Boot(0));
        table.found(key(1), Actor::default(), Image::default());
        table.found(key(2), Actor::default(), Image::default());
        let shown = HashMap::from([(1, key(1).start)]);
        for _ in 0..MISSING_MOST {
            assert_eq!(table.len(), 2);
            table.keep(u64::MAX, &shown);
        }
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn it_never_grows_beyond_its_bound() {
        let mut table = Table { most: 3, ..Table::new("boot".to_owned(), Boot(0)) };
        for pid in 1..10 {
            table.found(key(pid), Actor::default(), Image::default());
        }
        assert_eq!((table.len(), table.forgotten(), table.forgotten()), (3, 6, 0));
        assert!(table.get(key(9)).is_some() && table.get(key(1)).is_none());
    }
}
