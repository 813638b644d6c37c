//! Containment: processes that fight back are held still, then ended, and it is looked whether they stay so.
//!
//! A rule says who is meant (`targets`), and each sweep asks it anew (`sweep`). Who is found is held at once: moved into a
//! frozen cgroup (`group`), else stopped; so nobody is left that could fork, and a sweep that finds nobody new is the last.
//! Whether they stay still is looked at (`still`). Then all are killed (`end`), and for a while it is looked who comes again
//! (`verify`) and by whom (`respawn`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    num::ParseIntError,
    str::FromStr,
    time::Duration,
};

use rustix::process::Signal;

use crate::{event::Key, host::Host, look::Row, procfs::Reader};

pub mod care;
mod end;
pub mod evidence;
pub mod frozen;
mod group;
mod handle;
pub mod heard;
pub mod respawn;
mod still;
pub mod sweep;
pub mod targets;
pub mod verify;

use group::Group;
use sweep::Sweeper;
use targets::Targets;
use verify::Comers;

/// So many sweeps in a row that find nobody new are enough: each shows every chain of forks that still lives.
const QUIET: u32 = 3;
/// Between two sweeps that find nobody.
const PAUSE: Duration = Duration::from_millis(2);
/// How long it is swept at most until nobody new is found.
const HOLD_NS: u64 = 10_000_000_000;

/// The number of one containment: when it began, nanoseconds since boot, shown in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Id {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// Why a process couldn't be held or ended.
#[derive(Clone, Debug)]
pub struct Failed {
    /// In a sentence.
    pub why: String,
    /// It isn't permitted.
    pub forbidden: bool,
}

impl Failed {
    fn new(what: &str, error: &io::Error) -> Self {
        Self { why: format!("{what}: {error}"), forbidden: error.kind() == io::ErrorKind::PermissionDenied }
    }
}

/// By what processes are held and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A frozen cgroup of version 2.
    Cgroup,
    /// Signals to each: SIGSTOP, then SIGKILL.
    Signals,
    /// One SIGKILL to all of a user at once, without holding them.
    User,
}

impl Way {
    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Signals => "signals",
            Self::User => "user",
        }
    }
}

/// One containment.
pub struct Containment<'h> {
    host: &'h Host,
    /// Its number.
    pub id: Id,
    /// Who lives.
    pub sweeper: Sweeper,
    /// Who is meant.
    pub targets: Targets,
    /// What was taken, of which the best is tried first.
    pub way: Way,
    group: Option<Group>,
    /// Who couldn't be held or ended.
    pub failed: BTreeMap<Key, Failed>,
    /// Who was killed, and when first, nanoseconds since boot.
    killed: BTreeMap<Key, u64>,
    /// Whether nobody was left who wasn't held: who is found after that came again.
    settled: bool,
    /// Whether the last sweeps of those that held found nobody who wasn't held.
    calm: bool,
    /// Whether all in the cgroup were still, when it was last looked.
    still: bool,
    /// Who went on when that was given up.
    restless: BTreeSet<Key>,
    /// Who couldn't be moved into the cgroup, and was stopped by a signal.
    stopped: BTreeSet<Key>,
    /// Who came again.
    pub comers: Comers,
    /// What went otherwise than it should, a sentence each.
    pub told: Vec<String>,
}

impl<'h> Containment<'h> {
    /// Of these targets. Sweeps are of use only if others get no turn meanwhile: this process goes first, where it may.
    #[must_use]
    pub fn new(host: &'h Host, id: Id, sweeper: Sweeper, targets: Targets, way: Way) -> Self {
        let _: rustix::io::Result<()> = rustix::process::setpriority_process(None, -20);
        Self {
            host,
            id,
            sweeper,
            targets,
            way,
            group: None,
            failed: BTreeMap::new(),
            killed: BTreeMap::new(),
            settled: false,
            calm: true,
            still: true,
            restless: BTreeSet::new(),
            stopped: BTreeSet::new(),
            comers: Comers::default(),
            told: Vec::new(),
        }
    }

    /// One sweep: who lives, and who of them is newly found to be meant. `thorough`: also threads are asked for their user.
    pub fn sweep(&mut self, thorough: bool) -> (Vec<Row>, Vec<Key>) {
        let rows = self.sweeper.rows();
        let new = self.targets.select(&rows, &mut self.sweeper.reader, thorough);
        (rows, new)
    }

    /// Who is meant to begin with. A sweep goes by rising numbers: of chains of forks it shows nobody when their numbers
    /// begin anew from below meanwhile. So that nobody is there is believed as little at once as that nobody is left.
    pub fn find(&mut self) -> Vec<Row> {
        let end = self.host.boot_now().saturating_add(HOLD_NS);
        let mut quiet = 0;
        loop {
            let (rows, _) = self.sweep(true);
            quiet = if self.targets.fleeting { 0 } else { quiet + 1 };
            if !self.targets.members.is_empty() || quiet == QUIET || self.host.boot_now() > end {
                return rows;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Holds all who are meant still, and sweeps until nobody new is found.
    pub fn hold(&mut self) {
        if self.way == Way::Cgroup {
            match Group::make(&self.sweeper.reader, self.id) {
                Ok(group) => self.group = Some(group),
                Err(error) => {
                    self.told
                        .push(format!("no cgroup could be made, so each was stopped by a signal: {error}"));
                    self.way = Way::Signals;
                }
            }
        }
        let known: Vec<Key> = self.targets.members.keys().copied().collect();
        known.into_iter().for_each(|key| self.hold_one(key));
        self.settled = self.settle();
        self.still = self.wait_until_still();
        // Who was moved or stopped in the midst of a fork has a child by now.
        self.calm = self.settle();
        self.settled &= self.calm;
    }

    fn settle(&mut self) -> bool {
        let end = self.host.boot_now().saturating_add(HOLD_NS);
        let mut quiet = 0;
        while quiet < QUIET {
            if self.host.boot_now() > end {
                return false;
            }
            let (rows, mut loose) = self.sweep(quiet + 1 == QUIET);
            // What can't be read here is told at the end (`loose`).
            let known = rows.iter().map(|row| row.key).filter(|key| !loose.contains(key));
            let strayed = self.strayed(known).unwrap_or_default();
            if !strayed.is_empty() {
                self.restless = strayed.iter().copied().collect();
            }
            loose.extend(strayed);
            quiet = if loose.is_empty() && !self.targets.fleeting { quiet + 1 } else { 0 };
            match loose.is_empty() {
                true => std::thread::sleep(PAUSE),
                false => loose.into_iter().for_each(|key| self.hold_one(key)),
            }
        }
        self.restless.clear();
        true
    }

    /// Holds one still, if it lives.
    fn hold_one(&mut self, key: Key) {
        let reader = &self.sweeper.reader;
        let handle = match handle::Handle::open(reader, key) {
            Ok(Some(handle)) => handle,
            Ok(None) => return,
            Err(error) => return drop(self.failed.insert(key, Failed::new("it can't be held", &error))),
        };
        if let Some(group) = &mut self.group {
            let home = reader.cgroups(key.pid).and_then(|cgroups| cgroups.unified);
            match group.add(key.pid) {
                Ok(()) => {
                    self.stopped.remove(&key);
                    if let Some(member) =
                        self.targets.members.get_mut(&key).filter(|member| member.home.is_none())
                    {
                        member.home = home;
                    }
                    return;
                }
                // Told once, however often it is tried.
                Err(error) if self.stopped.insert(key) => self.told.push(format!(
                    "process {} couldn't be moved into a cgroup, and was stopped by a signal: {error}",
                    key.pid
                )),
                Err(_) => {}
            }
        }
        if let Err(error) = handle.send(Signal::STOP) {
            self.failed.insert(key, Failed::new("it can't be stopped", &error));
        }
    }

    /// Those who live of all who are meant.
    #[must_use]
    pub fn living(&self) -> Vec<Key> {
        let reader: &Reader = &self.sweeper.reader;
        self.targets.members.keys().copied().filter(|key| handle::lives(reader, *key)).collect()
    }
}
