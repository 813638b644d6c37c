//! The only room that opens /proc, under the host's root.
//!
//! Reading another process's memory through /proc (its arguments) can block for as long as that
//! process wants, so it is done where it can be given up.

pub mod accounts;
pub mod answering;
pub mod cgroups;
pub mod connections;
mod cross;
pub mod descriptors;
mod environ;
mod folder;
pub mod inside;
pub mod mapped;
pub mod namespaces;
pub mod opened;
mod patience;
pub mod seen;
pub mod space;
mod tables;

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::Read,
    ops::ControlFlow,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use folder::{Folder, Stat};
use nix::fcntl::OFlag;
use patience::{PATIENCE, Worker};
use procfs::process::Process as Entry;
use rustix::fs::{AtFlags, Statx, StatxFlags};
use seen::Seen;
use space::{Lead, places};

use crate::{
    event::{Actor, Key, Running},
    process::{Image, Process, Table},
    record::Text,
};

/// Most bytes of arguments that are read.
const MOST_ARGS: u64 = 16 * 1024;
/// Most bytes of a list of mounts that are read.
const MOST_MOUNTS: u64 = 1024 * 1024;
/// What it gives of such a list at once, bytes.
const PAGE: usize = 4096;
/// `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// The same of user namespaces (`PROC_USER_INIT_INO`), as the programs know it.
const FIRST_USER_NAMESPACE: u64 = 0xefff_fffd;
/// `PROC_CGROUP_INIT_INO`.
const FIRST_CGROUP_NAMESPACE: u64 = 0xEFFF_FFFB;
/// How many processes are told of at once.
const LOAD: usize = 32;
/// Ticks of `stat`'s start time in a second: `USER_HZ` is 100 on every architecture.
const TICK_NS: u64 = 10_000_000;

/// A process that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whom {
    /// Its number.
    pub pid: u32,
    /// When it began, nanoseconds since boot: who began at another time is another.
    pub start: u64,
    /// The kernel says that the executable has no name, so the link ends in its mark.
    pub deleted: bool,
}

impl Whom {
    /// A process that executes that.
    #[must_use]
    pub fn of(key: Key, running: &Running) -> Self {
        Self { pid: key.pid, start: key.start, deleted: running.nameless() }
    }
}

/// What /proc tells of a process that was there before the sensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Where `exe` points, the kernel's mark for a deleted file taken off.
    pub executable: Option<Text>,
    /// Where `cwd` points.
    pub working_directory: Option<Text>,
    /// The arguments.
    pub args: Vec<Text>,
    /// There are more.
    pub args_truncated: bool,
    /// The arguments could not be read in time.
    pub args_unread: bool,
    /// The cgroup's path.
    pub cgroup: Option<Text>,
    /// The name of the main thread.
    pub name: Option<Text>,
    /// What its `stat` says.
    pub seen: Option<Seen>,
}

impl Details {
    /// Takes a process in that was there before.
    pub fn found(self, table: &mut Table, key: Key, actor: Actor, running: Running) -> &mut Process {
        let nameless = self.executable.as_ref().is_some_and(|path| path.as_bytes().starts_with(b"memfd:"));
        let process = table.found(
            key,
            actor,
            Image {
                executable: self.executable,
                args: self.args.into(),
                args_truncated: self.args_truncated || self.args_unread,
                running,
                nameless,
                since: key.start,
                ..Image::default()
            },
        );
        process.working_directory = self.working_directory;
        process.cgroup = self.cgroup;
        process.name = self.name;
        process
    }
}

/// Reads /proc.
pub struct Reader {
    root: PathBuf,
    worker: Option<Worker>,
    stuck: u32,
}

/// Arguments, and whether there are more.
type Arguments = Option<(Vec<Text>, bool)>;

impl Reader {
    /// Of a /proc mounted here.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, worker: None, stuck: 0 }
    }

    /// What is known of a process. Arguments are its memory, which may keep us waiting.
    pub fn details(&mut self, whom: Whom) -> Option<Details> {
        let root = self.root.clone();
        let whole = self.patiently(move || whole(&root, &whom)).flatten();
        whole.or_else(|| without_arguments(&self.root, &whom))
    }

    /// The path of a process's cgroup, if it is still who began then. Nobody can keep us waiting for that.
    #[must_use]
    pub fn cgroup(&self, pid: u32, start: u64) -> Option<Text> {
        let folder = Folder::open(&self.root.join(pid.to_string()))?;
        let path = cgroup_of(&folder.whole("cgroup")?)?;
        let stat = Stat::parse(&folder.whole("stat")?)?;
        (stat.start == start / TICK_NS).then_some(path)
    }

    /// What is known of each of these, in their order.
    pub fn details_of(&mut self, all: Vec<Whom>, mut take: impl FnMut(&Self, &Whom, Option<Details>)) {
        let root = self.root.clone();
        let question = move |whom: &Whom| whole(&root, whom);
        self.each_patiently(
            all,
            LOAD,
            |_| PATIENCE,
            question,
            |reader, whom, details| {
                let details = details.flatten().or_else(|| without_arguments(&reader.root, whom));
                take(reader, whom, details);
                ControlFlow::Continue(())
            },
        );
    }

    /// The path by which a process's executable can be reached, whatever name it has.
    #[must_use]
    pub fn executable(&self, pid: u32) -> PathBuf {
        self.root.join(pid.to_string()).join("exe")
    }

    /// The executable of a process, held and not open to be read: nobody is asked for it but the kernel.
    ///
    /// # Errors
    /// When the process is gone, has none, or may not be looked at.
    pub fn held_executable(&self, pid: u32) -> std::io::Result<File> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        OpenOptions::new().read(true).custom_flags(flags.bits()).open(self.executable(pid))
    }

    /// The executable of a process, open to be read, if it lies on this device (as the kernel has it inside).
    ///
    /// Opening a file asks its file system, and some never answer: it is looked at first without asking.
    ///
    /// # Errors
    /// When the process is gone, or runs something else by now.
    pub fn open_executable(&self, pid: u32, device: u32) -> std::io::Result<File> {
        let path = self.held_executable(pid)?;
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let facts = rustix::fs::statx(&path, c"", flags, StatxFlags::empty())?;
        if device_of(&facts) != device {
            return Err(std::io::Error::other("it lies on another device"));
        }
        reopen(&self.root, path.as_fd())
    }

    /// What a process executes, if that is this file still: to be marked, and not to be read. Nobody is asked for it but the kernel.
    #[must_use]
    pub fn still_executes(&self, pid: u32, running: &Running) -> Option<File> {
        let file = self.held_executable(pid).ok()?;
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let facts = rustix::fs::statx(&file, c"", flags, StatxFlags::INO).ok()?;
        let same = match device_of(&facts) {
            device if device == running.device => facts.stx_ino == running.inode,
            // btrfs and overlays show other numbers than the kernel has inside, which are of no disk.
            _ => running.device >> 20 == 0 && self.answering(pid).knows(&file),
        };
        same.then_some(file)
    }

    /// The path by which an open file can be reached.
    #[must_use]
    pub fn descriptor(&self, file: &File) -> PathBuf {
        descriptor(&self.root, file.as_fd())
    }

    /// Whether a file is the one of this name where we live: where others do, anybody may have put another there.
    #[must_use]
    pub fn is_ours(&self, path: &Text, running: &Running) -> bool {
        let facts = self.space(None).at(Path::new(OsStr::from_bytes(path.as_bytes())));
        facts.is_ok_and(|facts| (facts.stx_ino, device_of(&facts)) == (running.inode, running.device))
    }

    /// Whether the executable of a process is still where it was executed: another name, or the kernel's
    /// mark of a name that is gone, says no; a process that is gone says nothing.
    #[must_use]
    pub fn named(&self, pid: u32, path: &Text) -> bool {
        let link = fs::read_link(self.executable(pid));
        link.map_or(true, |link| link.as_os_str().as_bytes() == path.as_bytes())
    }

    /// Whether we live in the host's own pid namespace, whose numbers the kernel tells.
    #[must_use]
    pub fn in_first_pid_namespace(&self) -> bool {
        fs::metadata(self.root.join("self/ns/pid")).is_ok_and(|space| space.ino() == FIRST_PID_NAMESPACE)
    }

    /// Enters the host's cgroup namespace: the root of cgroups, and the paths of others' cgroups, are then the
    /// host's, also when a container runtime gave us a namespace of our own. Process 2 is the kernel's own
    /// (`kthreadd`), which nothing moves. Who is there already needs no permission for it.
    ///
    /// # Errors
    /// When it can't be entered.
    pub fn enter_first_cgroup_namespace(&self) -> std::io::Result<()> {
        let own = fs::metadata(self.root.join("self/ns/cgroup"));
        if own.is_ok_and(|own| own.ino() == FIRST_CGROUP_NAMESPACE) {
            return Ok(());
        }
        let namespace = File::open(self.root.join("2/ns/cgroup"))?;
        Ok(nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWCGROUP)?)
    }

    /// How often the kernel didn't run a program of ours, as it was under way on that CPU already
    /// (`bpf_prog_show_fdinfo`, `kernel/bpf/syscall.c`); 0 where it doesn't tell.
    #[must_use]
    pub fn program_misses(&self, fd: RawFd) -> u64 {
        let info = fs::read_to_string(self.root.join(format!("self/fdinfo/{fd}"))).unwrap_or_default();
        let misses = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
        misses.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// Whether the kernel calls programs at its functions: what the setting says (`Documentation/trace/ftrace.rst`),
    /// and without one that it does.
    #[must_use]
    pub fn functions_traced(&self) -> bool {
        let setting = fs::read_to_string(self.root.join("sys/kernel/ftrace_enabled"));
        setting.map_or(true, |setting| setting.trim() != "0")
    }

    /// The process that a thread is of, while it lives.
    #[must_use]
    pub fn thread_group(&self, thread: u32) -> Option<u32> {
        let status = Entry::new_with_root(self.root.join(thread.to_string())).ok()?.status().ok()?;
        u32::try_from(status.tgid).ok()
    }

    /// Where file systems are mounted on which something can be executed, as a process sees them, by
    /// paths that lead there for us.
    ///
    /// Not those of other hosts, nor what lies below: a path through one that is dead would never return.
    #[must_use]
    pub fn mounts(&self, pid: u32) -> Option<Vec<PathBuf>> {
        let pid = pid.to_string();
        let (root, lines) = (self.root.join(&pid).join("root"), self.mountinfo(&pid));
        if lines.is_empty() {
            return None;
        }
        let (places, _) = places(&lines, self.is_users(&pid));
        Some(places.iter().map(|place| root.join(place.strip_prefix("/").unwrap_or(place))).collect())
    }

    /// Whether a process lives in a user namespace, where anybody can mount.
    fn is_users(&self, process: &str) -> bool {
        let user = fs::metadata(self.root.join(process).join("ns/user"));
        user.is_ok_and(|user| user.ino() != FIRST_USER_NAMESPACE)
    }

    /// The lines of `mountinfo`; none when it can't be read.
    fn mountinfo(&self, process: &str) -> Vec<u8> {
        // The kernel gives a page at once, if it may.
        let mut bytes = Vec::with_capacity(PAGE);
        let file = File::open(self.root.join(process).join("mountinfo"));
        match file.and_then(|file| file.take(MOST_MOUNTS).read_to_end(&mut bytes)) {
            Ok(_) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// Can be waited for: the kernel tells each change of what is mounted where we are (`proc_pid_mountinfo(5)`).
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn mount_changes(&self) -> std::io::Result<File> {
        File::open(self.root.join("self/mountinfo"))
    }

    /// The network namespace of a process, of the sensor itself where none is given: its inode number, and
    /// what it can be entered by.
    #[must_use]
    pub fn network_namespace(&self, pid: Option<u32>) -> Option<(u32, File)> {
        let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let file = File::open(self.root.join(process).join("ns/net")).ok()?;
        let inode = file.metadata().ok()?.ino();
        Some((u32::try_from(inode).ok()?, file))
    }

    /// Whether a path leads to another file than the one of this inode number, as the first of these
    /// processes sees it whose root can be entered. A path through what others answer for is not gone: it may never end.
    #[must_use]
    pub fn leads_elsewhere(&self, pids: impl Iterator<Item = u32>, path: &Text, inode: u64) -> bool {
        let mut all = pids.map(|pid| (pid, self.root.join(pid.to_string()).join("root")));
        let Some((pid, root)) = all.find(|(_, root)| root.read_link().is_ok()) else { return false };
        self.space_at(&pid.to_string(), root).lead(path, inode) == Lead::Elsewhere
    }
}

/// A file that is open in whatever way, open to be read.
///
/// # Errors
/// When it can't be.
pub fn reopen(root: &Path, file: BorrowedFd<'_>) -> std::io::Result<File> {
    File::open(descriptor(root, file))
}

fn descriptor(root: &Path, file: BorrowedFd<'_>) -> PathBuf {
    root.join(format!("self/fd/{}", file.as_raw_fd()))
}

/// A file's device as the kernel has it inside.
fn device_of(facts: &Statx) -> u32 {
    facts.stx_dev_major << 20 | facts.stx_dev_minor & 0xf_ffff
}

/// What is known of a process without asking it, and its folder, if it is still who began then.
fn facts(root: &Path, whom: &Whom) -> Option<(Folder, Details)> {
    let Whom { pid, start, deleted } = *whom;
    let folder = Folder::open(&root.join(pid.to_string()))?;
    let stat = Stat::parse(&folder.whole("stat")?)?;
    if stat.start != start / TICK_NS {
        return None;
    }
    let details = Details {
        executable: folder.link("exe").map(|path| unmarked(Path::new(OsStr::from_bytes(&path)), deleted)),
        working_directory: folder.link("cwd").map(Text::from),
        cgroup: folder.whole("cgroup").and_then(|bytes| cgroup_of(&bytes)),
        name: Some(stat.name.clone()),
        seen: Some(Seen::of(pid, stat)),
        ..Details::default()
    };
    Some((folder, details))
}

/// The same, with its arguments.
fn whole(root: &Path, whom: &Whom) -> Option<Details> {
    let (folder, details) = facts(root, whom)?;
    let (args, args_truncated) = arguments(&folder)?;
    Some(Details { args, args_truncated, ..details })
}

/// What is left to be known where those don't come.
fn without_arguments(root: &Path, whom: &Whom) -> Option<Details> {
    let (_, details) = facts(root, whom)?;
    Some(Details { args_unread: true, ..details })
}

fn arguments(process: &Folder) -> Arguments {
    let (mut bytes, truncated) = process.at_one_go("cmdline", MOST_ARGS)?;
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Some((Vec::new(), false));
    }
    Some((bytes.split(|byte| *byte == 0).map(Text::copy_from).collect(), truncated))
}

/// The path in the unified hierarchy, or in the first of version 1 where that says more.
fn cgroup_of(bytes: &[u8]) -> Option<Text> {
    let text = std::str::from_utf8(bytes).ok()?;
    let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
    let path =
        unified.filter(|path| *path != "/").or_else(|| paths().find(|path| *path != "/")).or(unified)?;
    Some(Text::from(path.to_owned()))
}

fn text(path: &Path) -> Text {
    Text::copy_from(path.as_os_str().as_bytes())
}

/// A path without the mark, which is only taken off when the kernel itself says that the name is gone: a file may be called so.
#[must_use]
pub fn unmarked(path: &Path, deleted: bool) -> Text {
    let whole = text(path);
    match whole.as_bytes().strip_suffix(b" (deleted)") {
        Some(bare) if deleted => Text::copy_from(
            bare.strip_prefix(b"/").filter(|name| name.starts_with(b"memfd:")).unwrap_or(bare),
        ),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_believed_only_when_the_kernel_says_so() {
        let path = Path::new("/tmp/x (deleted)");
        assert_eq!(unmarked(path, false).as_bytes(), b"/tmp/x (deleted)");
        assert_eq!(unmarked(path, true).as_bytes(), b"/tmp/x");
        assert_eq!(unmarked(Path::new("/memfd:a (deleted)"), true).as_bytes(), b"memfd:a");
    }

    #[test]
    fn another_start_is_another_process() {
        let mut reader = Reader::new("/proc".into());
        let whom = Whom { pid: std::process::id(), start: 1, deleted: false };
        assert_eq!(reader.details(whom), None);
    }

    #[test]
    fn tells_this_process() {
        let start = Entry::myself().unwrap().stat().unwrap().starttime * TICK_NS;
        let mut reader = Reader::new("/proc".into());
        let details = reader.details(Whom { pid: std::process::id(), start, deleted: false }).unwrap();
        let expected: Vec<_> = std::env::args().map(Text::from).collect();
        assert_eq!(details.args, expected);
        assert!(!details.args_truncated && !details.args_unread);
        assert_eq!(
            details.executable.unwrap().to_str_lossy(),
            std::env::current_exe().unwrap().to_str().unwrap()
        );
    }
}
