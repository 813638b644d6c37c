//! The host's processes as they are at this moment, for the verbs that answer at once: the kernel's own list,
//! joined with /proc; where the kernel's can't be had, /proc alone.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use crate::{
    event::{self, Actor, Event, Fact, Key, Running, process_snapshot},
    host::Host,
    kernel::{Gap, Kernel, KernelError, Options},
    process::{Process, Table},
    procfs::{
        Reader, Whom,
        seen::{Executable, Seen},
    },
    record::Text,
};

pub mod described;
pub mod executable;
pub mod hashed;
mod hidden;
pub mod open;
pub mod sessions;
pub mod sockets;

pub use hidden::Hidden;

/// The programs that are needed: one, which lists.
pub const OPTIONS: Options = Options {
    bulk_ring_bytes: 4096,
    urgent_ring_bytes: 4096,
    names: crate::config::Names::Fexit,
    hooks: None,
    log: false,
    executed: None,
    actions: Some(&[process_snapshot::ACTION.name]),
};

/// What is known of a process beside what events tell.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// What its `stat` says; none where even that can't be read.
    pub seen: Option<Seen>,
    /// What it executes may not be asked, or nobody answered.
    pub unread: bool,
    /// It is kept from those who list processes.
    pub hidden: Option<Hidden>,
}

/// All processes.
pub struct Look {
    /// Each.
    pub table: Table,
    /// Beside it, by pid.
    pub beside: HashMap<u32, Beside>,
    /// What couldn't be looked at, a sentence each.
    pub parts: Vec<String>,
    /// Reads on.
    pub reader: Reader,
}

impl Look {
    /// Looks at all; `kernel`: the programs, or why there are none.
    ///
    /// # Errors
    /// When /proc can't be listed.
    pub fn at(host: &Host, mut kernel: Result<Kernel, Gap>) -> io::Result<Self> {
        Self::by(host, kernel.as_mut().map_err(|gap| &*gap))
    }

    /// The same, by programs that are needed further.
    ///
    /// # Errors
    /// When /proc can't be listed.
    pub fn by(host: &Host, kernel: Result<&mut Kernel, &Gap>) -> io::Result<Self> {
        let reader = Reader::new(host.proc());
        let listed = reader.listed()?;
        let table = Table::new(host.boot_id.clone(), host.boot());
        let mut look = Self { table, beside: HashMap::new(), parts: Vec::new(), reader };
        let swept = kernel.map_err(Gap::to_string).and_then(|kernel| {
            let rows = sweep(kernel).map_err(|error| error.gap().to_string())?;
            Ok((kernel, rows))
        });
        match swept {
            Ok((kernel, rows)) => {
                look.take(rows);
                let hidden = hidden::find(&look.reader, &listed, || sweep(kernel).ok());
                look.hide(hidden);
            }
            Err(why) => {
                look.parts.push(format!(
                    "the kernel's own list of processes, which nothing can hide from, and so entity ids: {why}"
                ));
                look.take_listed(&listed);
                let hidden = hidden::find(&look.reader, &listed, || None);
                look.hide(hidden);
            }
        }
        if look.reader.hides_others() {
            let hidden = "processes of other users, which /proc keeps from who isn't root (hidepid)";
            look.parts.push(hidden.to_owned());
        }
        look.tell_unread();
        Ok(look)
    }

    /// Looks at these processes alone, by what /proc tells, which gives no entity ids.
    #[must_use]
    pub fn few(host: &Host, pids: &[u32]) -> Self {
        let reader = Reader::new(host.proc());
        let table = Table::new(host.boot_id.clone(), host.boot());
        let mut look = Self { table, beside: HashMap::new(), parts: Vec::new(), reader };
        look.take_listed(pids);
        look
    }

    /// Processes, as the kernel lists them.
    fn take(&mut self, rows: Vec<Row>) {
        let Self { table, beside, reader, .. } = self;
        let all = rows.iter().map(|row| Whom::of(row.key, &row.running)).collect();
        let mut rows = rows.into_iter();
        reader.details_of(all, |reader, whom, details| {
            let Some(Row { key, actor, running }) = rows.next() else { return };
            let details = details.unwrap_or_default();
            // What can't be told apart from another of its number is looked at as whoever has that now.
            let seen = details.seen.clone().or_else(|| reader.seen(whom.pid));
            details.found(table, key, actor, running);
            beside.insert(key.pid, Beside { seen, ..Beside::default() });
        });
    }

    /// Takes in a process that lives and that the kernel's list doesn't have: some kernels call no program for the first one.
    pub fn take_in(&mut self, pid: u32) {
        if self.table.at(pid).is_none() && self.reader.seen(pid).is_some_and(|seen| !seen.zombie) {
            self.take_listed(&[pid]);
        }
    }

    /// Those that a listing of /proc shows.
    fn take_listed(&mut self, pids: &[u32]) {
        let mut all: Vec<Seen> = pids.iter().filter_map(|pid| self.reader.seen(*pid)).collect();
        // Parents first, so that their children know them.
        all.sort_by_key(|seen| (seen.start, seen.pid));
        let starts: HashMap<u32, u64> = all.iter().map(|seen| (seen.pid, seen.start)).collect();
        all.into_iter().for_each(|seen| self.take_seen(seen, &starts));
    }

    fn take_seen(&mut self, seen: Seen, starts: &HashMap<u32, u64>) {
        let actor = self.reader.actor(&seen, |pid| starts.get(&pid).copied());
        let (running, unread) = match self.reader.running(seen.pid) {
            Executable::File(running) => (running, false),
            Executable::None => (Running::default(), false),
            Executable::Unread => (Running::default(), !seen.kernel && !seen.zombie),
        };
        let key = Key { pid: seen.pid, start: seen.start };
        let running = self.reader.without_lost_name(key.pid, running);
        let details = self.reader.details(Whom::of(key, &running)).unwrap_or_default();
        let process = details.found(&mut self.table, key, actor, running);
        process.entity = Text::default();
        if let Some(parent) = &mut process.parent {
            parent.entity = Text::default();
        }
        self.beside.insert(key.pid, Beside { seen: Some(seen), unread, hidden: None });
    }

    /// Notes who is hidden, and takes in who so is not here yet.
    fn hide(&mut self, hidden: BTreeMap<u32, Hidden>) {
        for (pid, how) in hidden {
            if self.table.at(pid).is_none()
                && let Some(seen) = self.reader.seen(pid)
            {
                self.take_seen(seen, &HashMap::new());
            }
            self.beside.entry(pid).or_default().hidden = Some(how);
        }
    }

    fn tell_unread(&mut self) {
        let unread = self.beside.values().filter(|beside| beside.unread).count();
        if unread != 0 {
            self.parts.push(format!(
                "the executables of {unread} processes, which may not be asked for, or were not told in time; run it as root"
            ));
        }
    }

    /// Whether it is the kernel's own.
    fn is_kernel(&self, process: &Process) -> bool {
        let beside = self.beside.get(&process.key.pid);
        beside.and_then(|beside| beside.seen.as_ref()).is_some_and(|seen| seen.kernel)
    }

    /// Everybody, parents before their children.
    #[must_use]
    pub fn all(&self) -> Vec<&Process> {
        let mut all: Vec<&Process> = self.table.iter().collect();
        all.sort_by_key(|process| (process.key.start, process.key.pid));
        all
    }
}

/// Who lives, by the kernel's own list.
///
/// # Errors
/// When the kernel can't be asked.
pub fn keys(kernel: &mut Kernel) -> Result<Vec<Key>, KernelError> {
    Ok(sweep(kernel)?.into_iter().map(|row| row.key).collect())
}

/// A process, as the kernel lists it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which.
    pub key: Key,
    /// Who it is.
    pub actor: Actor,
    /// What it runs.
    pub running: Running,
}

/// Those that live, parents first. One whose main thread has ended has a row for each of the others.
///
/// # Errors
/// When the kernel can't be asked.
pub fn sweep(kernel: &mut Kernel) -> Result<Vec<Row>, KernelError> {
    let mut bytes = Vec::new();
    kernel.sweep(&mut bytes)?;
    let mut rows: Vec<Row> = event::decode_rows(&bytes)
        .filter_map(Result::ok)
        .filter_map(|Event { stamp, actor, fact }| match fact {
            Fact::Image(image) if image.alive => Some(Row { key: stamp.key, actor, running: image.running }),
            _ => None,
        })
        .collect();
    rows.sort_by_key(|row| (row.key.start, row.key.pid));
    Ok(rows)
}
