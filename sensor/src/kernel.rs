//! The only room that names aya: asks the kernel, decides, loads, and reads the rings.

use std::{
    collections::HashSet,
    error::Error,
    fs::File,
    io::{self, ErrorKind, Read},
    os::fd::RawFd,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::Iter,
};
use sensor_common::ask::Calls;
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    config,
    event::{Key, Running, touch::Touches},
};

mod answers;
mod attempts;
pub mod btf;
mod call;
mod connections;
mod counters;
mod error;
pub mod executed;
mod facts;
pub mod filter;
mod links;
mod load;
mod marks;
mod names;
mod plan;
mod refusal;
mod ring;
mod traffic;
mod untouched;
mod ways;

pub use crate::event::coverage::{Coverage, Gap, State};
pub use counters::Counters;
pub use error::KernelError;
use facts::Facts;
use links::Links;
use marks::Marks;
use names::{Names, Watched};
pub use plan::UNTOLD_ENDS;
pub use ring::Batch;
use ring::Ring;
pub use traffic::Reading;
use traffic::Sockets;
use ways::{Chosen, Ground};

/// What can be chosen about the programs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the ring that isn't woken for: a power of two, at least a page, bytes.
    pub bulk_ring_bytes: u32,
    /// Size of the ring for alerts: likewise.
    pub urgent_ring_bytes: u32,
    /// How it is learnt who took a name: the way that is tried first.
    pub names: config::Names,
    /// Which of the hooks that can stand for each other; the best that loads where nothing is said.
    pub hooks: Option<Hooks>,
    /// Whether the programs write log lines.
    pub log: bool,
    /// How files are told and given as they are executed, if they are.
    pub executed: Option<executed::When>,
    /// Only the hooks that serve one of these, and no marks; else all.
    pub actions: Option<&'static [&'static str]>,
}

/// Which of the hooks are taken that can stand for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// Those that every kernel takes; better ones aren't tried.
    Base,
    /// The best or none: that the kernel refuses one is a failure.
    Best,
}

/// What isn't seen where nothing is, for this reason: every hook.
pub fn nothing(why: &Gap) -> impl Iterator<Item = Coverage> {
    let hooks = plan::HOOKS.iter().filter(|hook| hook.name != plan::OPEN);
    let rows = hooks.flat_map(|hook| hook.actions.iter().map(move |action| (*action, hook)));
    rows.map(|(action, hook)| Coverage::unseen(action, hook.name, why.clone().effect(hook.without)))
}

/// The programs at work.
pub struct Kernel {
    ebpf: Ebpf,
    links: Links,
    urgent: Ring,
    bulk: Ring,
    sockets: Sockets,
    marks: Option<Marks>,
    names: Option<Names>,
    /// The hooks tell which file lost which name, at once and by whom.
    exact: bool,
    executed: Option<executed::Marked>,
    mounts: Option<AsyncFd<File>>,
    quiet: Array<MapData, u32>,
    /// How many connects were begun when the map of them was last empty.
    no_attempts: Option<u64>,
    coverage: Vec<Coverage>,
    log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

impl Kernel {
    /// Loads and attaches all that this kernel takes.
    ///
    /// # Errors
    /// When it takes not even the hooks without which nothing is worth seeing.
    pub fn start(options: &Options) -> Result<Self, KernelError> {
        Self::knowing(Facts::gather()?, options)
    }

    /// Without calls of the kernel's functions where it takes no program that has them.
    fn knowing(mut facts: Facts, options: &Options) -> Result<Self, KernelError> {
        match Self::with(&mut facts, options) {
            Err(KernelError::Refused { why, .. }) if facts.ask.calls != Calls::ABSENT => {
                facts.ask.calls = Calls::ABSENT;
                let mut kernel = Self::with(&mut facts, options)?;
                kernel.coverage.push(plan::without_calls(why));
                Ok(kernel)
            }
            result => result,
        }
    }

    fn with(facts: &mut Facts, options: &Options) -> Result<Self, KernelError> {
        let mut links = Links::to(facts.cgroup.as_ref().ok().and_then(|root| root.try_clone().ok()));
        let mut ground = Ground { facts, types: load::Types::default(), links: &mut links, options };
        let Chosen { mut ebpf, names, exact, rows } = ways::choose(&mut ground)?;
        let urgent = ring(&mut ebpf, "URGENT")?;
        let bulk = ring(&mut ebpf, "BULK")?;
        let sockets = Sockets::new(&mut ebpf)?;
        let quiet = quiet(&mut ebpf)?;
        let log = match options.log {
            true => Some(
                aya_log::EbpfLogger::init(&mut ebpf)
                    .map_err(|source| KernelError::Load { what: "the log", source: source.into() })?,
            ),
            false => None,
        };
        let mut coverage = ways::sooner(&mut ebpf, &mut ground)?;
        coverage.extend(load::attach(&mut ebpf, &mut ground, plan::HOOKS)?);
        if load::preempts(&ebpf) {
            coverage.extend(load::attach(&mut ebpf, &mut ground, plan::PREEMPTED)?);
        }
        drop(ground);
        call::give_back();
        coverage.extend(load::frozen(&ebpf));
        coverage.extend(rows);
        coverage.extend(facts.missing.iter().map(|row| plan::without(row)));
        let marks = match options.actions {
            None => {
                let (marks, row) = Marks::open();
                coverage.push(row);
                marks
            }
            Some(_) => None,
        };
        let executed = match options.executed {
            Some(when) => {
                let (executed, rows) = executed::Marked::open(when);
                coverage.extend(rows);
                executed
            }
            None => None,
        };
        Ok(Self {
            ebpf,
            links,
            urgent,
            bulk,
            sockets,
            marks,
            names,
            exact,
            executed,
            mounts: None,
            quiet,
            no_attempts: None,
            coverage,
            log,
        })
    }

    /// What is seen, by which hook.
    #[must_use]
    pub fn coverage(&self) -> &[Coverage] {
        &self.coverage
    }

    /// Waits until the kernel has something that can't wait; true when what is mounted has changed.
    ///
    /// # Errors
    /// When a ring can't be waited for.
    pub async fn woken(&self) -> Result<bool, KernelError> {
        tokio::select! {
            result = self.urgent.woken() => result.map(|()| false),
            result = self.bulk.woken() => result.map(|()| false),
            Some(result) = async { Some(self.marks.as_ref()?.woken().await) } => result.map(|()| false),
            Some(result) = async { Some(self.mounts.as_ref()?.ready(Interest::PRIORITY).await) } => {
                result.map(|mut guard| { guard.clear_ready(); true })
            }
        }
        .map_err(KernelError::Ring)
    }

    /// The reader is going to sleep long: from now on the next record of whatever kind wakes it. What came
    /// before is to be looked for once more.
    ///
    /// # Errors
    /// When the programs can't be told.
    pub fn sleep_long(&mut self) -> Result<(), KernelError> {
        self.quiet.set(0, 1, 0).map_err(KernelError::Quiet)
    }

    /// Wakes from now on also when what is mounted changes, which this file tells.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn wake_for_mounts(&mut self, changes: File) -> io::Result<()> {
        self.mounts = Some(ring::awaited(changes, Interest::PRIORITY)?);
        Ok(())
    }

    /// Watches the file systems that are mounted on these paths for names that go and for what is executed.
    pub fn mounted(&mut self, paths: impl Iterator<Item = PathBuf>) {
        let paths: Vec<_> = paths.collect();
        if let Some(executed) = &self.executed {
            executed.mounted(paths.iter());
        }
        if let Some(names) = &mut self.names {
            names.mounted(paths.into_iter());
        }
    }

    /// Which names went since this was last asked, in order.
    pub fn gone(&mut self) -> Touches {
        self.names.as_mut().map(Names::gone).unwrap_or_default()
    }

    /// The process that a thread is of, or was: one of several threads, that began since the sensor did.
    #[must_use]
    pub fn thread_of(&self, thread: u32) -> Option<Key> {
        let threads = HashMap::<_, u32, [u64; 2]>::try_from(self.ebpf.map("THREADS")?).ok()?;
        let [pid, start] = threads.get(&thread, 0).ok()?;
        Some(Key { pid: pid.try_into().ok()?, start })
    }

    /// Whether every name that goes on the file system of this device is told as such.
    #[must_use]
    pub fn tells_names(&self, device: u32) -> bool {
        self.names.as_ref().is_some_and(|names| names.tells(device))
    }

    /// Whether the hooks tell which file lost which name, at once and by whom.
    #[must_use]
    pub fn tells_losses(&self) -> bool {
        self.exact
    }

    /// Moves what is in the rings into a batch, urgent first, and puts it in order.
    pub fn drain(&mut self, batch: &mut Batch) {
        // A flood of urgent records has all the room: nothing is taken of the other ring then, and none waits for it.
        self.urgent.drain(batch);
        let left = self.bulk.drain(batch);
        self.sockets.drain();
        batch.order(left);
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Every live process with what it is running, as records of kind `image`.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn sweep(&mut self, rows: &mut Vec<u8>) -> Result<(), KernelError> {
        rows.clear();
        self.read_iterator("image", rows).map_err(KernelError::Tasks)
    }

    /// Every live thread with what it used, as records of kind `usage`.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn usage(&mut self, rows: &mut Vec<u8>) -> Result<(), KernelError> {
        rows.clear();
        self.read_iterator("usage", rows).map_err(KernelError::Tasks)
    }

    /// The I/O of threads that ended before their process, as far as it is kept: process and the kernel's numbers.
    #[must_use]
    pub fn ended_threads(&self) -> Vec<(Key, [u64; 7])> {
        let Some(ended) =
            self.ebpf.map("ENDED").and_then(|map| HashMap::<_, [u64; 2], [u64; 7]>::try_from(map).ok())
        else {
            return Vec::new();
        };
        let keyed = |([start, rest], io): ([u64; 2], _)| (Key { pid: rest as u32, start }, io);
        ended.iter().filter_map(Result::ok).map(keyed).collect()
    }

    /// Takes what is kept of the threads of a process that has ended.
    pub fn take_ended_threads(&mut self, key: Key) -> Vec<[u64; 7]> {
        let Some(mut ended) =
            self.ebpf.map_mut("ENDED").and_then(|map| HashMap::<_, [u64; 2], [u64; 7]>::try_from(map).ok())
        else {
            return Vec::new();
        };
        let cpus = u64::try_from(aya::util::nr_cpus().unwrap_or(1)).unwrap_or(1);
        let place = |cpu: u64| [key.start, u64::from(key.pid) | cpu << 32];
        let mut taken = Vec::new();
        for cpu in (0..cpus).chain([u64::from(u32::MAX)]) {
            if let Ok(io) = ended.get(&place(cpu), 0) {
                taken.push(io);
                // It was there: nobody else takes it away.
                let _: Result<(), MapError> = ended.remove(&place(cpu));
            }
        }
        taken
    }

    /// Whether the kernel took the program that tells what is used.
    #[must_use]
    pub fn tells_usage(&self) -> bool {
        self.sees(plan::USAGE)
    }

    /// Whether it counts what sockets send and receive.
    #[must_use]
    pub fn tells_traffic(&self) -> bool {
        self.sees(plan::TRAFFIC)
    }

    fn sees(&self, hook: &str) -> bool {
        self.coverage.iter().any(|row| row.hook == hook && row.state == State::Seen)
    }

    /// Every socket that a process has open, as records of kind `socket_look`; none when the kernel refused
    /// that program.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn look_at_sockets(&mut self, rows: &mut Vec<u8>) -> Result<(), KernelError> {
        rows.clear();
        match self.ebpf.program("socket_look").is_some_and(|program| program.fd().is_ok()) {
            true => self.read_iterator("socket_look", rows).map_err(KernelError::Tasks),
            false => Ok(()),
        }
    }

    fn read_iterator(&mut self, name: &str, rows: &mut Vec<u8>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let program =
            self.ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
        let program: &mut Iter = program.try_into()?;
        let link = program.attach()?;
        let mut file = program.take_link(link)?.into_file()?;
        // The kernel gives way after each million of objects of which nothing is told (`bpf_seq_read`,
        // kernel/bpf/bpf_iter.c): anybody can have as many files open.
        loop {
            match file.read_to_end(rows) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a file is marked, or needs no mark.
    #[must_use]
    pub fn is_marked(&self, running: &Running) -> bool {
        self.marks.as_ref().is_none_or(|marks| marks.has(file(running)))
    }

    /// Asks to be told when the executable behind `path` loses a name or moves, whoever does it.
    pub fn mark(&mut self, running: &Running, path: &Path) -> Marked {
        if running.foreign() {
            let uncovered = !self.exact && self.uncover(marks::HOOK, marks::foreign());
            return Marked { new: false, uncovered };
        }
        let Some(marks) = &mut self.marks else { return Marked::default() };
        let uncovered = match marks.mark(file(running), path) {
            Ok(false) => return Marked::default(),
            Ok(true) => false,
            // A net below those who tell all: what has no mark isn't missed.
            Err(_) if self.exact => false,
            Err(errno) => self.uncover(marks::HOOK, marks::refused(errno)),
        };
        let uncovered = self.watch_executed(path) || uncovered;
        let Some(Watched::Refused(errno)) = self.names.as_mut().map(|names| names.watch(path)) else {
            return Marked { new: true, uncovered };
        };
        let unwatched = self.uncover(names::HOOK, names::refused(errno));
        Marked { new: true, uncovered: uncovered || unwatched }
    }

    /// Notes that a hook doesn't see all; true when that is news.
    fn uncover(&mut self, hook: &str, gap: Gap) -> bool {
        let seen = self.coverage.iter_mut().find(|row| row.hook == hook && row.state == State::Seen);
        seen.map(|row| (row.state, row.gap) = (State::Unseen, gap)).is_some()
    }

    /// Forgets marks of files that nobody runs any more; true when all are gone, and what runs is to be marked again.
    #[must_use]
    pub fn keep_marks<'r>(&mut self, running: impl Iterator<Item = &'r Running>) -> bool {
        self.marks.as_mut().is_some_and(|marks| marks.keep(&running.map(file).collect::<HashSet<_>>()))
    }

    /// Who touched a marked file since this was last asked, in order.
    #[must_use]
    pub fn touched(&self) -> Touches {
        self.marks.as_ref().map(Marks::touched).unwrap_or_default()
    }

    /// The programs' counters: what each kind's hooks saw, and what was lost and why.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn counters(&self) -> Result<Counters, KernelError> {
        let map = self
            .ebpf
            .map("COUNT")
            .ok_or(MapError::InvalidName { name: "COUNT".to_owned() })
            .map_err(KernelError::Counters)?;
        let map = PerCpuArray::<_, counters::Slots>::try_from(map).map_err(KernelError::Counters)?;
        let values = map.get(&0, 0).map_err(KernelError::Counters)?;
        Ok(Counters::of(&values))
    }

    /// What sockets sent and received since this was last asked.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn traffic(&mut self) -> Result<Reading, KernelError> {
        self.sockets.read(&mut self.ebpf).map_err(KernelError::Traffic)
    }

    /// Whether so many sockets have ended since the last reading that the next is better not put off.
    #[must_use]
    pub fn traffic_waits(&self) -> bool {
        self.sockets.waits()
    }

    /// The attached programs that tell of an event, with their descriptors: `/proc/self/fdinfo` says how often
    /// the kernel skipped one because it was under way already. And where another program, that then tells, counts it: see `told_nested`.
    pub fn programs(&self) -> impl Iterator<Item = (&'static str, RawFd, Option<u32>)> {
        load::telling(&self.ebpf)
    }

    /// How many changes another program told, as the first was under way, by the place where it counts them.
    #[must_use]
    pub fn told_nested(&self, place: u32) -> u64 {
        load::told_nested(&self.ebpf, place)
    }

    /// Takes the programs out of the kernel; the rings can still be drained.
    pub fn stop(&mut self) {
        self.links.detach();
        load::detach(&mut self.ebpf);
    }
}

/// What became of a file that was to be marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// It is marked from now on; what was done to it before wasn't told.
    pub new: bool,
    /// What is covered has changed.
    pub uncovered: bool,
}

fn file(running: &Running) -> marks::File {
    (running.device, running.inode, running.generation, running.ctime)
}

fn quiet(ebpf: &mut Ebpf) -> Result<Array<MapData, u32>, KernelError> {
    let failed = |source: Box<dyn Error + Send + Sync>| KernelError::Load { what: "QUIET", source };
    let map = ebpf.take_map("QUIET").ok_or_else(|| failed("the object has no such map".into()))?;
    Array::try_from(map).map_err(|error| failed(error.into()))
}

fn ring(ebpf: &mut Ebpf, name: &'static str) -> Result<Ring, KernelError> {
    let failed = |source: Box<dyn Error + Send + Sync>| KernelError::Load { what: name, source };
    let map = ebpf.take_map(name).ok_or_else(|| failed("the object has no such ring".into()))?;
    let map = RingBuf::<MapData>::try_from(map).map_err(|error| failed(error.into()))?;
    Ring::new(map).map_err(KernelError::Ring)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_takes_no_calls_is_seen_without_them() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _within = runtime.enter();
        let options = Options {
            bulk_ring_bytes: 1 << 16,
            urgent_ring_bytes: 1 << 16,
            names: config::Names::Fanotify,
            hooks: None,
            log: false,
            executed: None,
            actions: Some(&["exec"]),
        };
        let rows = |calls: Calls| {
            let mut facts = Facts::gather().unwrap();
            facts.ask.calls = calls;
            Kernel::knowing(facts, &options).map(|kernel| kernel.coverage)
        };
        // Only root may ask at all.
        let Ok(without) = rows(Calls::ABSENT) else {
            assert!(!nix::unistd::geteuid().is_root(), "{:?}", rows(Calls::ABSENT));
            return;
        };
        // A type, and no function.
        let coverage = rows(Calls { preempt_disable: 1, preempt_enable: 1 }).unwrap();
        let (last, rest) = coverage.split_last().unwrap();
        assert_eq!((last.hook, last.state, rest), ("self/calls", State::Fallback, without.as_slice()));
        assert!(last.gap.reason.contains("BPF_PROG_LOAD"), "{last:?}");
        let exec = rest.iter().find(|row| row.action == "exec");
        assert!(exec.is_some_and(|row| row.state == State::Seen), "{rest:?}");
    }
}
