//! What /proc alone tells of processes, for where the kernel's own list can't be had, and beside it.

use std::io;

use rustix::fs::{AtFlags, StatxFlags, statx};

use super::{
    Reader, TICK_NS,
    descriptors::numbered,
    folder::{Folder, Stat},
    space::Lead,
};
use crate::{
    event::{Actor, Running},
    record::Text,
};

/// `PF_KTHREAD` (`include/linux/sched.h`).
const KERNEL_THREAD: u32 = 0x0020_0000;
/// Most processes that are listed.
const MOST_PROCESSES: usize = 262_144;
/// Most threads of one process that are looked at.
const MOST_THREADS: usize = 4096;
/// The files of a process's namespaces, in the order of `Actor::namespaces`.
const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// A process, as its `stat` shows it: whoever may list it may read this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its pid.
    pub pid: u32,
    /// When it began, nanoseconds since boot, in steps of 10 ms.
    pub start: u64,
    /// The name of its main thread.
    pub name: Text,
    /// It is the kernel's own.
    pub kernel: bool,
    /// It has ended, and its parent hasn't asked how.
    pub zombie: bool,
    /// What it does, as a letter: `D` waits for what can't be interrupted (`proc_pid_stat(5)`).
    pub state: u8,
    /// Its parent.
    pub parent: u32,
    /// Time on processors since its birth.
    pub cpu_ns: u64,
    /// Resident pages.
    pub rss_pages: u64,
    session: u32,
    terminal: u32,
}

/// What a process executes, as far as it may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executable {
    /// This file.
    File(Running),
    /// None: the kernel's own, or one that has ended.
    None,
    /// We may not ask, or nobody answered in time.
    Unread,
}

impl Seen {
    pub(super) fn of(pid: u32, stat: Stat) -> Self {
        Self {
            pid,
            start: stat.start.saturating_mul(TICK_NS),
            kernel: stat.flags & KERNEL_THREAD != 0,
            zombie: matches!(stat.state, b'Z' | b'X'),
            state: stat.state,
            name: stat.name,
            cpu_ns: stat.ticks.saturating_mul(TICK_NS),
            rss_pages: stat.rss,
            parent: stat.parent,
            session: stat.session,
            terminal: stat.terminal,
        }
    }

    /// Its parent.
    #[must_use]
    pub fn parent(&self) -> u32 {
        self.parent
    }

    /// Whether its controlling terminal is a device of one of these majors.
    #[must_use]
    pub fn is_on_terminal_of(&self, majors: &[u32]) -> bool {
        // As the kernel encodes a device (`new_encode_dev`).
        self.terminal != 0 && majors.contains(&(self.terminal >> 8 & 0xfff))
    }
}

impl Reader {
    /// The pids that a listing shows.
    ///
    /// # Errors
    /// When there is no listing.
    pub fn listed(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        for entry in std::fs::read_dir(&self.root)?.take(MOST_PROCESSES) {
            pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        Ok(pids)
    }

    /// A process, unless it is gone, or is but a thread of another.
    #[must_use]
    pub fn seen(&self, pid: u32) -> Option<Seen> {
        let folder = Folder::open(&self.root.join(pid.to_string()))?;
        Some(Seen::of(pid, Stat::parse(&folder.whole("stat")?)?))
    }

    /// The threads of a process, of which so many are listed at most. Each has a folder of its own in /proc.
    #[must_use]
    pub fn threads(&self, pid: u32) -> Vec<u32> {
        let tasks = std::fs::read_dir(self.root.join(pid.to_string()).join("task"));
        let names = tasks.into_iter().flatten().take(MOST_THREADS).filter_map(Result::ok);
        names.filter_map(|thread| thread.file_name().to_str()?.parse().ok()).collect()
    }

    /// The users of the threads of a process beside its first, which each can change alone, in the order of
    /// `Actor::ids`.
    #[must_use]
    pub fn users_of_threads(&self, pid: u32) -> Vec<[u32; 8]> {
        if !self.has_threads(pid) {
            return Vec::new();
        }
        let ids = self.threads(pid).into_iter().filter_map(|thread| {
            let mut actor = Actor::default();
            set_status(&mut actor, &Folder::open(&self.root.join(thread.to_string()))?.text("status")?);
            Some(actor.ids)
        });
        ids.collect()
    }

    /// Number of the mount namespace that we live in.
    #[must_use]
    pub fn own_mount_namespace(&self) -> Option<u32> {
        self.own_namespace("mnt")
    }

    /// Number of the pid namespace that we live in.
    #[must_use]
    pub fn own_pid_namespace(&self) -> Option<u32> {
        self.own_namespace("pid")
    }

    fn own_namespace(&self, kind: &str) -> Option<u32> {
        self.namespace("self", kind)
    }

    /// Number of the pid namespace that a process lives in, where it may be asked.
    #[must_use]
    pub fn pid_namespace(&self, pid: u32) -> Option<u32> {
        self.namespace(&pid.to_string(), "pid")
    }

    fn namespace(&self, process: &str, kind: &str) -> Option<u32> {
        let link = std::fs::read_link(self.root.join(process).join("ns").join(kind)).ok()?;
        space_of(link.as_os_str().as_encoded_bytes())
    }

    /// Whether a process has more threads than its first, which may have ended before the others.
    #[must_use]
    pub fn has_threads(&self, pid: u32) -> bool {
        let folder = Folder::open(&self.root.join(pid.to_string()));
        folder.and_then(|folder| folder.links("task")).is_some_and(|links| links > 3)
    }

    /// Who a process is, by what may be read of it.
    ///
    /// `start_of`: when its parent began.
    #[must_use]
    pub fn actor(&self, seen: &Seen, start_of: impl Fn(u32) -> Option<u64>) -> Actor {
        let mut actor = Actor {
            parent: seen.parent,
            parent_start: start_of(seen.parent).unwrap_or(0),
            session: seen.session,
            login_uid: u32::MAX,
            login_session: u32::MAX,
            tty_major: seen.terminal >> 8 & 0xfff,
            tty_minor: seen.terminal & 0xff | seen.terminal >> 12 & 0xf_ff00,
            ..Actor::default()
        };
        let Some(folder) = Folder::open(&self.root.join(seen.pid.to_string())) else { return actor };
        match folder.whole("status") {
            Some(status) => set_status(&mut actor, &status),
            None => actor.ids = [folder.owner().unwrap_or(0); 8],
        }
        let number = |name: &str| {
            let text = folder.whole(name)?;
            std::str::from_utf8(&text).ok()?.trim().parse().ok()
        };
        actor.login_uid = number("loginuid").unwrap_or(u32::MAX);
        actor.login_session = number("sessionid").unwrap_or(u32::MAX);
        for (space, name) in actor.namespaces.iter_mut().zip(NAMESPACES) {
            *space = folder.link(&format!("ns/{name}")).as_deref().and_then(space_of).unwrap_or(0);
        }
        actor
    }

    /// The file that a process executes; what only another host could tell of it isn't asked.
    pub fn running(&mut self, pid: u32) -> Executable {
        let path = self.executable(pid);
        // Following the link may itself ask another host.
        let answer = self.patiently(move || {
            let file = statx(rustix::fs::CWD, &path, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS)?;
            let ctime = file.stx_ctime;
            let seconds = u64::try_from(ctime.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
            Ok::<_, rustix::io::Errno>(Running {
                inode: file.stx_ino,
                ctime: seconds.saturating_add(u64::from(ctime.tv_nsec)),
                device: super::device_of(&file),
                nlink: file.stx_nlink,
                mode: u32::from(file.stx_mode),
                uid: file.stx_uid,
                ..Running::default()
            })
        });
        match answer {
            Some(Ok(running)) => Executable::File(running),
            Some(Err(rustix::io::Errno::NOENT)) => Executable::None,
            Some(Err(_)) | None => Executable::Unread,
        }
    }

    /// Without its name, if it lost it: so says the kernel's mark at the end of the link, unless a file is called so.
    #[must_use]
    pub fn without_lost_name(&self, pid: u32, running: Running) -> Running {
        let link = std::fs::read_link(self.executable(pid)).unwrap_or_default();
        let marked = link.as_os_str().as_encoded_bytes().ends_with(b" (deleted)");
        let called = || self.space(Some(pid)).lead(&super::text(&link), running.inode) == Lead::There;
        match running.inode != 0 && marked && !called() {
            true => Running { flags: running.flags | Running::UNHASHED, ..running },
            false => running,
        }
    }
}

/// The number in `net:[4026531840]`.
pub(super) fn space_of(link: &[u8]) -> Option<u32> {
    numbered(link).and_then(|number| u32::try_from(number).ok())
}

/// Users, groups, capabilities (`proc_pid_status(5)`).
fn set_status(actor: &mut Actor, status: &[u8]) {
    for line in status.split(|byte| *byte == b'\n') {
        let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')) else {
            continue;
        };
        let mut numbers = value.split_ascii_whitespace().filter_map(|number| number.parse().ok());
        let bits = || u64::from_str_radix(value.trim(), 16).unwrap_or(0);
        match name {
            // Real, effective, saved, file system.
            "Uid" => set_ids(&mut actor.ids, 0, &mut numbers),
            "Gid" => set_ids(&mut actor.ids, 1, &mut numbers),
            "CapPrm" => actor.permitted = bits(),
            "CapEff" => actor.effective = bits(),
            "NoNewPrivs" => actor.no_new_privs = numbers.next().unwrap_or(0),
            _ => {}
        }
    }
}

/// From the order of `status` into that of `Actor::ids`: real, saved, effective, file system.
fn set_ids(ids: &mut [u32; 8], group: usize, numbers: &mut impl Iterator<Item = u32>) {
    for (place, number) in [0, 4, 2, 6].into_iter().zip(numbers) {
        if let Some(id) = ids.get_mut(place + group) {
            *id = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn who_a_process_is() {
        let mut actor = Actor::default();
        let status = b"Name:\tUid:\t9\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nCapPrm:\t00000000000000ff\n\
            CapEff:\t0000000000000001\nNoNewPrivs:\t1\n\xff:\n";
        set_status(&mut actor, status);
        assert_eq!(actor.ids, [1, 5, 3, 7, 2, 6, 4, 8]);
        assert_eq!((actor.permitted, actor.effective, actor.no_new_privs), (255, 1, 1));
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let mut reader = Reader::new("/proc".into());
        let pid = std::process::id();
        assert!(reader.listed().unwrap().contains(&pid));
        let seen = reader.seen(pid).unwrap();
        assert!(!seen.kernel && !seen.zombie && seen.rss_pages > 0);
        let actor = reader.actor(&seen, |parent| reader.seen(parent).map(|seen| seen.start));
        assert_eq!(actor.parent, std::os::unix::process::parent_id());
        assert_eq!(actor.ids[0], nix::unistd::getuid().as_raw());
        assert!(actor.namespaces.iter().all(|space| *space != 0), "{actor:?}");
        let Executable::File(running) = reader.running(pid) else { panic!("no executable") };
        let meta = std::fs::metadata(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(running.inode, meta.ino());
        assert_eq!(reader.running(2), Executable::None);
    }

    #[test]
    fn namespaces_are_read_from_links() {
        assert_eq!(space_of(b"net:[4026531840]"), Some(4_026_531_840));
        assert_eq!(space_of(b"net:[x]"), None);
        assert_eq!(space_of(b""), None);
    }
}
