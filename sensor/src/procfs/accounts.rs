//! What each process has used, and the whole host, by the kernel's own counters.
//!
//! A process is read through one handle of its folder: once it has ended, the handle leads nowhere, and
//! never to another process of the same number.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AtFlags, OFlag, openat, readlinkat},
    sys::stat::{Mode, fstatat},
};

use super::{TICK_NS, connections::Connections};
use crate::record::Text;

/// Most processes that are read.
const MOST_PROCESSES: usize = 65_536;
/// Most bytes of a small file that are read.
const MOST_BYTES: u64 = 64 * 1024;
/// Nearly all of them are smaller.
const USUAL_BYTES: usize = 4096;
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
    /// Resident pages.
    pub rss_pages: u64,
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

/// A process's folder, held open.
pub(super) struct Folder(OwnedFd);

impl Folder {
    fn open(path: &Path) -> Option<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(path, flags, Mode::empty()).ok().map(Self)
    }

    /// At most so many bytes of a file in it, and whether there were more.
    pub(super) fn read(&self, name: &str, most: u64) -> Option<(Vec<u8>, bool)> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = File::from(openat(&self.0, name, flags, Mode::empty()).ok()?);
        // Room from the start: else each file is read in many small pieces.
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        file.take(most + 1).read_to_end(&mut bytes).ok()?;
        let more = bytes.len() as u64 > most;
        Some((bytes, more))
    }

    /// Where a link in it points.
    pub(super) fn link(&self, name: &str) -> Option<Vec<u8>> {
        readlinkat(&self.0, name).ok().map(OsStringExt::into_vec)
    }

    /// A folder in it.
    pub(super) fn list(&self, name: &str) -> Option<nix::dir::Dir> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::dir::Dir::openat(&self.0, name, flags, Mode::empty()).ok()
    }

    fn text(&self, name: &str) -> Option<Vec<u8>> {
        self.read(name, MOST_BYTES).map(|(bytes, _)| bytes)
    }
}

fn account(path: &Path, pid: u32, connections: &mut Connections) -> Option<Account> {
    let folder = Folder::open(path)?;
    let stat = Stat::parse(&folder.text("stat")?)?;
    let uid = match folder.text("status").as_deref().and_then(effective) {
        Some(uid) => uid,
        None => fstatat(&folder.0, "", AtFlags::AT_EMPTY_PATH).ok()?.st_uid,
    };
    let io = folder.text("io").as_deref().and_then(io);
    let connections = connections.held_by(&folder);
    if (io.is_none() || connections.is_none()) && folder.text("stat").is_none_or(|stat| stat.is_empty()) {
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
        login: folder.text("loginuid").and_then(number).filter(|uid| *uid != u32::MAX),
        cgroup: folder.text("cgroup").and_then(|text| super::cgroup_of(&text)),
        cpu_ns: stat.ticks.saturating_mul(TICK_NS),
        rss_pages: stat.rss,
        io,
        connections,
    })
}

struct Stat {
    name: Text,
    parent: u32,
    ticks: u64,
    start: u64,
    rss: u64,
}

impl Stat {
    /// The name may hold blanks, brackets and lines: it ends at the last bracket (`proc_pid_stat(5)`).
    fn parse(bytes: &[u8]) -> Option<Self> {
        let open = bytes.iter().position(|byte| *byte == b'(')?;
        let close = bytes.iter().rposition(|byte| *byte == b')')?;
        let name = Text::copy_from(bytes.get(open + 1..close)?);
        let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
        // The first of these is field 3, the state.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            name,
            parent: u32::try_from(number(4)?).ok()?,
            ticks: number(14)?.saturating_add(number(15)?),
            start: number(22)?,
            rss: number(24)?,
        })
    }
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
    fn a_name_can_hold_anything() {
        let mut line = b"7 (a) R 1 (\n\xff) S 3 0 0 0 0 0 0 0 0 0 12 5 99 99 20 0 1 0 700 4096 33 0".to_vec();
        let stat = Stat::parse(&line).unwrap();
        assert_eq!(stat.name.as_bytes(), b"a) R 1 (\n\xff");
        assert_eq!((stat.parent, stat.ticks, stat.start, stat.rss), (3, 17, 700, 33));
        while line.pop().is_some() {
            let _ = Stat::parse(&line);
        }
        assert!(Stat::parse(b"7 )a( S").is_none());
    }

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
