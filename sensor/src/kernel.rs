//! The only room that names aya: asks the kernel, decides, loads, and reads the rings.

use std::{collections::HashSet, error::Error, io, io::Read, path::Path};

use aya::{
    Ebpf,
    maps::{MapData, MapError, PerCpuArray, RingBuf},
    programs::Iter,
};
use sensor_common::{
    loss::{REASONS, SEEN, SLOTS, slot},
    wire::KINDS,
};

use crate::event::{Running, action, touch::Touch};

pub mod btf;
mod facts;
mod load;
mod marks;
mod plan;
mod ring;

use facts::Facts;
use marks::Marks;
pub use ring::Batch;
use ring::Ring;

/// What can be chosen about the programs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the ring that isn't woken for: a power of two, at least a page, bytes.
    pub bulk_ring_bytes: u32,
    /// Size of the ring for alerts: likewise.
    pub urgent_ring_bytes: u32,
    /// Whether the programs write log lines.
    pub log: bool,
}

/// How far an event is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The hook is attached.
    Seen,
    /// The kernel has no such call: nothing is missed.
    Absent,
    /// Something isn't seen.
    Unseen,
}

impl State {
    /// Its word in a `coverage` event.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Absent => "absent",
            Self::Unseen => "unseen",
        }
    }
}

/// What became of one hook.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// The event it serves.
    pub action: &'static str,
    /// The hook, or the kernel member that a field needs.
    pub hook: &'static str,
    /// Whether it is seen.
    pub state: State,
    /// Why not; empty when it is.
    pub reason: String,
    /// What to do; empty when nothing.
    pub remedy: &'static str,
}

impl Coverage {
    /// A row.
    #[must_use]
    pub fn row(
        action: &'static str,
        hook: &'static str,
        state: State,
        reason: String,
        remedy: &'static str,
    ) -> Self {
        Self { action, hook, state, reason, remedy }
    }
}

/// What stands between the sensor and the kernel.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is in its message")]
pub enum KernelError {
    #[error(
        "reading the kernel's type information, {path}: the sensor needs a kernel from 5.8 on with CONFIG_DEBUG_INFO_BTF=y, and sysfs mounted on /sys"
    )]
    NoBtf { path: &'static str, source: io::Error },
    #[error(
        "reading the kernel's type information, {path}: it is damaged, or of a format that this version doesn't know"
    )]
    BadBtf { path: &'static str, source: btf::BtfError },
    #[error("this kernel has no {members}: report its version and this line")]
    Unknown { members: String },
    #[error(
        "loading {what} into the kernel: needs root (CAP_BPF, CAP_PERFMON, CAP_SYS_RESOURCE), a kernel from 5.8 on, and no lockdown that forbids it (see /sys/kernel/security/lockdown)"
    )]
    Load { what: &'static str, source: Box<dyn Error + Send + Sync> },
    #[error("waiting for the kernel's rings")]
    Ring(#[source] io::Error),
    #[error("reading the kernel's list of tasks")]
    Tasks(#[source] Box<dyn Error + Send + Sync>),
    #[error("reading the programs' counters")]
    Counters(#[source] MapError),
}

/// The programs at work.
pub struct Kernel {
    ebpf: Ebpf,
    urgent: Ring,
    bulk: Ring,
    marks: Option<Marks>,
    coverage: Vec<Coverage>,
    log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

impl Kernel {
    /// Loads and attaches all that this kernel takes.
    ///
    /// # Errors
    /// When it takes not even the hooks without which nothing is worth seeing.
    pub fn start(options: &Options) -> Result<Self, KernelError> {
        let facts = Facts::gather()?;
        let mut ebpf = load::object(&facts, options)?;
        let urgent = ring(&mut ebpf, "URGENT")?;
        let bulk = ring(&mut ebpf, "BULK")?;
        let log = match options.log {
            true => Some(
                aya_log::EbpfLogger::init(&mut ebpf)
                    .map_err(|source| KernelError::Load { what: "the log", source: source.into() })?,
            ),
            false => None,
        };
        let mut coverage = load::attach(&mut ebpf, &facts)?;
        coverage.extend(facts.missing.iter().map(|row| {
            Coverage::row(
                "exec",
                row.name,
                State::Unseen,
                format!("this kernel has no {}: not told: {}", row.name, row.why),
                "",
            )
        }));
        let marks = marks(&mut coverage);
        Ok(Self { ebpf, urgent, bulk, marks, coverage, log })
    }

    /// What is seen, by which hook.
    #[must_use]
    pub fn coverage(&self) -> &[Coverage] {
        &self.coverage
    }

    /// Waits until the kernel has something that can't wait.
    ///
    /// # Errors
    /// When a ring can't be waited for.
    pub async fn woken(&self) -> Result<(), KernelError> {
        tokio::select! {
            result = self.urgent.woken() => result,
            result = self.bulk.woken() => result,
            Some(result) = async { Some(self.marks.as_ref()?.woken().await) } => result,
        }
        .map_err(KernelError::Ring)
    }

    /// Moves what is in the rings into a batch, urgent first, and puts it in order.
    pub fn drain(&mut self, batch: &mut Batch) {
        self.urgent.drain(batch);
        self.bulk.drain(batch);
        batch.sort();
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
        self.read_tasks(rows).map_err(KernelError::Tasks)
    }

    fn read_tasks(&mut self, rows: &mut Vec<u8>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let program = self.ebpf.program_mut("image").ok_or("the object has no program image")?;
        let program: &mut Iter = program.try_into()?;
        let link = program.attach()?;
        program.take_link(link)?.into_file()?.read_to_end(rows)?;
        Ok(())
    }

    /// Asks to be told when the executable behind `path` loses a name or moves, whoever does it.
    ///
    /// Gives true when the first file was refused: what is covered has changed.
    pub fn mark(&mut self, running: &Running, path: &Path) -> bool {
        let Some(errno) = self.marks.as_mut().and_then(|marks| marks.mark(file(running), path)) else {
            return false;
        };
        if let Some(row) = self.coverage.iter_mut().find(|row| row.hook == MARKS) {
            row.state = State::Unseen;
            row.reason = format!(
                "a file system takes no inode marks ({errno}); not seen there: who took the name of a running file by a \
                 32-bit call or with a path that lied; the sweep still sees that it is gone, within a second"
            );
            row.remedy = "overlayfs takes marks from Linux 6.6 on";
        }
        true
    }

    /// Forgets marks of files that nobody runs any more.
    pub fn keep_marks<'r>(&mut self, running: impl Iterator<Item = &'r Running>) {
        if let Some(marks) = &mut self.marks {
            marks.keep(&running.map(file).collect::<HashSet<_>>());
        }
    }

    /// Who touched a marked file since this was last asked, in order.
    #[must_use]
    pub fn touched(&self) -> Vec<Touch> {
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
        let map = PerCpuArray::<_, u64>::try_from(map).map_err(KernelError::Counters)?;
        let mut counters = Counters::default();
        for (at, total) in counters.0.iter_mut().enumerate() {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            let values = map.get(&at, 0).map_err(KernelError::Counters)?;
            *total = values.iter().fold(0, |sum, value| sum.wrapping_add(*value));
        }
        Ok(counters)
    }

    /// Takes the programs out of the kernel; the rings can still be drained.
    pub fn stop(&mut self) {
        load::detach(&mut self.ebpf);
    }
}

/// A reading of the programs' counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters([u64; SLOTS as usize]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; SLOTS as usize])
    }
}

impl Counters {
    /// How many the hooks of a kind saw.
    #[must_use]
    pub fn seen(&self, kind: u16) -> u64 {
        self.at(kind, SEEN)
    }

    /// What was lost since an earlier reading: the event that it would have been, reason, how many.
    #[must_use]
    pub fn lost_since(&self, earlier: &Self) -> Vec<(&'static str, &'static str, u64)> {
        let mut rows = Vec::new();
        for (kind, name) in KINDS {
            let name = action(name);
            for (reason, word) in REASONS {
                let count = self.at(*kind, *reason).wrapping_sub(earlier.at(*kind, *reason));
                if count != 0 {
                    rows.push((name, *word, count));
                }
            }
        }
        rows
    }

    fn at(&self, kind: u16, reason: u32) -> u64 {
        self.0.get(slot(kind, reason) as usize).copied().unwrap_or(0)
    }
}

/// The hook that needs no program.
const MARKS: &str = "fanotify/inode";

fn file(running: &Running) -> marks::File {
    (running.device, running.inode, running.generation)
}

fn marks(coverage: &mut Vec<Coverage>) -> Option<Marks> {
    let (marks, row) = match Marks::new() {
        Ok(marks) => (Some(marks), Coverage::row("exe_deleted", MARKS, State::Seen, String::new(), "")),
        Err(error) => {
            let reason = format!(
                "the kernel refused a fanotify group with file ids: {error}; not seen: who took a name by a 32-bit call or with a path that lied"
            );
            (
                None,
                Coverage::row(
                    "exe_deleted",
                    MARKS,
                    State::Unseen,
                    reason,
                    "needs CAP_SYS_ADMIN and a kernel with CONFIG_FANOTIFY",
                ),
            )
        }
    };
    coverage.push(row);
    marks
}

fn ring(ebpf: &mut Ebpf, name: &'static str) -> Result<Ring, KernelError> {
    let failed = |source: Box<dyn Error + Send + Sync>| KernelError::Load { what: name, source };
    let map = ebpf.take_map(name).ok_or_else(|| failed("the object has no such ring".into()))?;
    let map = RingBuf::<MapData>::try_from(map).map_err(|error| failed(error.into()))?;
    Ring::new(map).map_err(KernelError::Ring)
}
