//! What each process has used, and the whole host, by the kernel's own counters.
//!
//! A process is read through one handle of its folder: once it has ended, the handle leads nowhere, and
//! never to another process of the same number.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    TICK_NS,
    connections::{Connections, Ends},
    folder::{Folder, Stat},
};
use crate::record::Text;

/// Most processes that are read.
const MOST_PROCESSES: usize = 65_536;
/// Most bytes of what is told of all CPUs, interrupts or disks.
const MOST_SYSTEM: u64 = 4 * 1024 * 1024;
/// Sectors of `diskstats` have this size on all disks (`Documentation/admin-guide/iostats.rst`).
const SECTOR: u64 = 512;

/// What a process has read and written since its birth (`proc_pid_io(5)`). What its children did is in
/// it once they have ended and it has waited for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes it got from read calls.
    pub file_read: u64,
    /// Bytes it gave to write calls.
    pub file_write: u64,
    /// Bytes read from the block layer.
    pub disk_read: u64,
    /// Bytes written towards the block layer.
    pub disk_write: u64,
}

/// What is told of one process.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its pid.
    pub pid: u32,
    /// When it began, nanoseconds since boot, in steps of 10 ms.
    pub start: u64,
    /// Its parent.
    pub parent: u32,
    /// The name of its main thread.
    pub name: Text,
    /// Where `exe` points.
    pub executable: Option<Text>,
    /// Its effective user.
    pub uid: u32,
    /// Who logged in.
    pub login: Option<u32>,
    /// The cgroup's path.
    pub cgroup: Option<Text>,
    /// Time on processors since its birth, its children's left out.
    pub cpu_ns: u64,
    /// The same of its children that have ended and that it has waited for, and of theirs.
    pub waited_cpu_ns: u64,
    /// Resident pages.
    pub rss_pages: u64,
    /// The process group it is in.
    pub group: u32,
    /// The process group in the foreground of its terminal, if it has one.
    pub foreground: Option<u32>,
    /// What it read and wrote, unless that may not be read.
    pub io: Option<Io>,
    /// Its connected sockets, unless those may not be read.
    pub connections: Option<u64>,
}

/// What the whole host has used since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// Time of all processors that was not idle.
    pub cpu_ns: u64,
    /// Bytes read from disks.
    pub disk_read: u64,
    /// Bytes written to disks.
    pub disk_write: u64,
}

/// A look at all processes.
#[derive(Debug, Default)]
pub struct Look {
    /// Each of them that could be read.
    pub processes: Vec<Account>,
    /// The whole host.
    pub system: System,
    /// All connections.
    pub connections: Connections,
    /// There are more processes than are read.
    pub truncated: bool,
}

/// Reads the accounts of a /proc mounted at a path.
#[derive(Debug)]
pub struct Accounts {
    root: PathBuf,
}

impl Accounts {
    /// Of a /proc mounted here.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Looks at all.
    ///
    /// # Errors
    /// When /proc can't be listed.
    pub fn look(&self) -> std::io::Result<Look> {
        let mut look = Look { system: self.system(), ..Look::default() };
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            if look.processes.len() >= MOST_PROCESSES {
                look.truncated = true;
                break;
            }
            // Whoever ended meanwhile is not there.
            if let Some(account) = account(&self.root.join(name), pid, &mut look.connections) {
                look.processes.push(account);
            }
        }
        Ok(look)
    }

    /// Looks at one, which adds to the connections that are known.
    #[must_use]
    pub fn of(&self, pid: u32, connections: &mut Connections) -> Option<Account> {
        account(&self.root.join(pid.to_string()), pid, connections)
    }

    /// Both ends of the connection that a process has had longest, by its lowest descriptor.
    #[must_use]
    pub fn first_connection(&self, pid: u32, connections: &mut Connections) -> Option<Ends> {
        connections.first_held_by(&Folder::open(&self.root.join(pid.to_string()))?)
    }

    fn system(&self) -> System {
        let read = |name: &str| {
            let mut bytes = Vec::new();
            let file = File::open(self.root.join(name));
            let _ = file.and_then(|file| file.take(MOST_SYSTEM).read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (disk_read, disk_write) = disks(&read("diskstats"));
        System { cpu_ns: processors(&read("stat")), disk_read, disk_write }
    }
}

fn account(path: &Path, pid: u32, connections: &mut Connections) -> Option<Account> {
    let folder = Folder::open(path)?;
    let stat = Stat::parse(&folder.whole("stat")?)?;
    let uid = match folder.whole("status").as_deref().and_then(effective) {
        Some(uid) => uid,
        None => folder.owner()?,
    };
    let io = folder.whole("io").as_deref().and_then(io);
    let connections = connections.held_by(&folder);
    if (io.is_none() || connections.is_none()) && folder.whole("stat").is_none_or(|stat| stat.is_empty()) {
        return None;
    }
    let number = |bytes: Vec<u8>| std::str::from_utf8(&bytes).ok()?.trim().parse().ok();
    Some(Account {
        pid,
        start: stat.start.saturating_mul(TICK_NS),
        parent: stat.parent,
        name: stat.name,
        executable: folder.link("exe").map(Text::from),
        uid,
        login: folder.whole("loginuid").and_then(number).filter(|uid| *uid != u32::MAX),
        cgroup: folder.whole("cgroup").and_then(|text| super::cgroup_of(&text)),
        cpu_ns: stat.ticks.saturating_mul(TICK_NS),
        waited_cpu_ns: stat.waited_ticks.saturating_mul(TICK_NS),
        rss_pages: stat.rss,
        group: stat.group,
        foreground: stat.foreground,
        io,
        connections,
    })
}

/// The second number after `Uid:`.
fn effective(status: &[u8]) -> Option<u32> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn io(bytes: &[u8]) -> Option<Io> {
    let text = std::str::from_utf8(bytes).ok()?;
    let number = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.trim().parse().ok())
    };
    Some(Io {
        file_read: number("rchar")?,
        file_write: number("wchar")?,
        disk_read: number("read_bytes")?,
        disk_write: number("write_bytes")?,
    })
}

/// All but idle time, waiting for disks and what other guests took; guests of ours are in user time.
fn processors(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or("");
    let ticks: Vec<u64> = line.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let busy = [0, 1, 2, 5, 6].into_iter().filter_map(|at| ticks.get(at));
    busy.fold(0, |sum: u64, ticks| sum.saturating_add(ticks.saturating_mul(TICK_NS)))
}

/// Made of other disks or of memory: what goes through them is counted where it ends.
const VIRTUAL: [&str; 5] = ["loop", "ram", "zram", "dm-", "md"];

/// Bytes read from and written to whole disks.
fn disks(diskstats: &str) -> (u64, u64) {
    let rows: Vec<Vec<&str>> =
        diskstats.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    let names: Vec<&str> = rows.iter().filter_map(|row| row.get(2).copied()).collect();
    let part = |name: &str| {
        let digits = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let disk = digits.strip_suffix('p').filter(|disk| disk.ends_with(|c: char| c.is_ascii_digit()));
        digits.len() < name.len() && names.contains(&disk.unwrap_or(digits))
    };
    let (mut read, mut written) = (0_u64, 0_u64);
    for row in &rows {
        let Some(name) = row.get(2) else { continue };
        if part(name) || VIRTUAL.iter().any(|kind| name.starts_with(kind)) {
            continue;
        }
        let bytes = |at: usize| row.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0) * SECTOR;
        read = read.saturating_add(bytes(5));
        written = written.saturating_add(bytes(9));
    }
    (read, written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_disks_count() {
        let text = "8 0 sda 1 0 10 0 1 0 20 0 0 0 0\n8 1 sda1 1 0 10 0 1 0 20 0 0 0 0\n\
            259 0 nvme0n1 1 0 4 0 1 0 2 0\n259 1 nvme0n1p1 1 0 4 0 1 0 2 0\n254 0 vda1 1 0 1 0 1 0 1 0\n\
            253 0 dm-0 1 0 10 0 1 0 20 0\n7 0 loop0 1 0 10 0 1 0 20 0\nbroken\n";
        assert_eq!(disks(text), (15 * 512, 23 * 512));
        assert_eq!(processors("cpu  1 2 3 400 500 6 7 800 1 0\ncpu0 1 1 1\n"), 19 * TICK_NS);
        assert_eq!(processors(""), 0);
    }

    #[test]
    fn what_is_missing_is_not_zero() {
        let whole = b"rchar: 1\nwchar: 2\nsyscr: 9\nsyscw: 9\nread_bytes: 3\nwrite_bytes: 4\n";
        assert_eq!(io(whole), Some(Io { file_read: 1, file_write: 2, disk_read: 3, disk_write: 4 }));
        assert_eq!(io(b"rchar: 1\n"), None);
        assert_eq!(effective(b"Name:\tx\nUid:\t1\t2\t3\t4\n"), Some(2));
        assert_eq!(effective(b"Name:\tx\n"), None);
    }

    #[test]
    fn finds_this_process() {
        let look = Accounts::new("/proc".into()).look().unwrap();
        let own = look.processes.iter().find(|account| account.pid == std::process::id()).unwrap();
        assert!(own.io.is_some() && own.rss_pages > 0 && own.connections.is_some(), "{own:?}");
        assert!(look.system.cpu_ns > 0);
    }
}
