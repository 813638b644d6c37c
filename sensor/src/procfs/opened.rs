//! How a process has its files open, and what they are: from `fdinfo`, which asks nobody, and from the files themselves,
//! where the kernel itself answers for them.
//!
//! Who asks a program (FUSE) or another host may never get an answer, and can't be killed while it waits. So those aren't
//! asked; what else could keep us waiting is given up after a while.

use std::{
    collections::HashMap, fs::File, ops::ControlFlow, os::fd::AsRawFd, path::Path, sync::Arc, time::Duration,
};

use nix::{errno::Errno, fcntl::OFlag, libc, sys::stat::Mode};
use rustix::fs::{MemfdFlags, memfd_create};

use super::{
    Reader,
    descriptors::{Closed, Descriptor, Target, descriptors},
    folder::Folder,
    space::is_foreign,
};
use crate::record::Text;

/// How long one process is waited for, and how much longer with each of its descriptors.
const AT_LEAST: Duration = Duration::from_secs(2);
const EACH: Duration = Duration::from_micros(100);
/// How many processes are told of at once.
const LOAD: usize = 8;
/// Most bytes of `fdinfo`: what is looked at stands in its first lines.
const MOST: u64 = 256;
/// `KCMP_FILE` (`include/uapi/linux/kcmp.h`).
const KCMP_FILE: libc::c_int = 0;

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Number of the mount namespace that it is in.
    pub space: u32,
    /// The type of its file system.
    pub kind: Text,
    /// Others than the kernel answer for it.
    pub foreign: bool,
}

/// All mounts that are known, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Mounts {
    all: HashMap<u64, Mount>,
    /// That of nameless memory, which no list shows.
    memory: Option<u64>,
}

/// What a descriptor is open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// To be read.
    Read,
    /// To be written.
    Write,
    /// Both.
    ReadWrite,
    /// But to name its file (`O_PATH`).
    Path,
}

impl OpenMode {
    /// Its word in a record.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "read_write",
            Self::Path => "path",
        }
    }

    /// By whether it can be read from and written to; none where neither is allowed (`O_ACCMODE`).
    #[must_use]
    pub fn of(access: (bool, bool)) -> Option<Self> {
        match access {
            (true, true) => Some(Self::ReadWrite),
            (true, false) => Some(Self::Read),
            (false, true) => Some(Self::Write),
            (false, false) => None,
        }
    }

    /// By flags of `open(2)`.
    fn of_flags(flags: u32) -> Option<Self> {
        let flags = OFlag::from_bits_truncate(flags.cast_signed());
        if flags.contains(OFlag::O_PATH) {
            return Some(Self::Path);
        }
        match flags & OFlag::O_ACCMODE {
            OFlag::O_RDONLY => Some(Self::Read),
            OFlag::O_WRONLY => Some(Self::Write),
            OFlag::O_RDWR => Some(Self::ReadWrite),
            _ => None,
        }
    }
}

/// How a descriptor is open, and to what it leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// What for; none where that can't be read.
    pub mode: Option<OpenMode>,
    /// Number of the mount that a file is on.
    pub mount: u64,
    /// The file itself, where it was asked.
    pub file: Option<Facts>,
    /// It wasn't asked, as others answer for it or its mount isn't known.
    pub unasked: bool,
}

/// What a process has open.
#[derive(Debug)]
pub struct Held {
    /// Each descriptor, and how it is open.
    pub descriptors: Vec<(Descriptor, Opened)>,
    /// How they are open wasn't told in time.
    pub unsure: bool,
}

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its inode number.
    pub inode: u64,
    /// Its device, as `stat(2)` gives it.
    pub device: u64,
    /// How many names it has.
    pub links: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
}

impl Mounts {
    /// Takes in those that a process sees; `space`: the number of its mount namespace.
    pub fn learn(&mut self, reader: &Reader, pid: u32, space: u32) {
        let lines = reader.mountinfo(&pid.to_string());
        let all = lines.split(|byte| *byte == b'\n').filter_map(mount);
        self.all.extend(all.map(|(number, kind)| {
            (number, Mount { space, kind: Text::copy_from(kind), foreign: is_foreign(kind) })
        }));
        if self.memory.is_none() {
            let memory = memfd_create(c"", MemfdFlags::CLOEXEC).ok().map(File::from);
            self.memory = memory.and_then(|file| {
                let own = Folder::open(&reader.root.join("self"))?;
                info(&own, file.as_raw_fd().cast_unsigned()).map(|(_, mount)| mount)
            });
        }
    }

    /// The mount of this number.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Mount> {
        self.all.get(&number)
    }

    /// Whether it is that of nameless memory (`memfd_create(2)`).
    #[must_use]
    pub fn is_memory(&self, number: u64) -> bool {
        self.memory == Some(number)
    }

    fn may_ask(&self, number: u64) -> bool {
        self.is_memory(number) || self.get(number).is_some_and(|mount| !mount.foreign)
    }
}

impl Reader {
    /// What each of these processes has open, and how, in their order. With each its number of descriptors, as far as it is
    /// known: who has many may take longer. Who wants no more breaks off.
    pub fn opened_of(
        &mut self,
        all: Vec<(u32, usize)>,
        mounts: &Arc<Mounts>,
        mut take: impl FnMut(u32, Result<Held, Closed>) -> ControlFlow<()>,
    ) {
        let (root, mounts) = (self.root.clone(), Arc::clone(mounts));
        let question = move |(pid, _): &(u32, usize)| {
            let descriptors = descriptors(&root, *pid)?;
            let folder = root.join(pid.to_string());
            Ok(Held { descriptors: how(&folder, descriptors, &mounts), unsure: false })
        };
        let patience =
            |(_, count): &(u32, usize)| AT_LEAST + EACH * u32::try_from(*count).unwrap_or(u32::MAX);
        self.each_patiently(all, LOAD, patience, question, |reader, (pid, _), held| {
            let unsure = || {
                let without = |descriptor| (descriptor, Opened::default());
                let descriptors = reader.descriptors(*pid)?.into_iter().map(without).collect();
                Ok(Held { descriptors, unsure: true })
            };
            take(*pid, held.unwrap_or_else(unsure))
        });
    }

    /// Whether a descriptor can be read from and written to, by the link's own permissions: (read, write).
    #[must_use]
    pub fn access(&self, pid: u32, descriptor: u32) -> Option<(bool, bool)> {
        access(&Folder::open(&self.root.join(pid.to_string()))?, descriptor)
    }
}

fn how(folder: &Path, descriptors: Vec<Descriptor>, mounts: &Mounts) -> Vec<(Descriptor, Opened)> {
    let Some(process) = Folder::open(folder) else { return Vec::new() };
    let one = |descriptor: Descriptor| {
        let mut opened = Opened::default();
        if matches!(descriptor.target, Target::File(_)) {
            if let Some((flags, mount)) = info(&process, descriptor.number) {
                (opened.mode, opened.mount) = (OpenMode::of_flags(flags), mount);
            }
            let may = mounts.may_ask(opened.mount);
            opened.unasked = !may;
            opened.file = may.then(|| facts(&process, descriptor.number)).flatten();
        } else {
            // All that is told of the others is in the link; `fdinfo` would also list what an epoll waits for.
            let access = access(&process, descriptor.number);
            opened.mode = access.map(|access| OpenMode::of(access).unwrap_or(OpenMode::Path));
        }
        (descriptor, opened)
    };
    descriptors.into_iter().map(one).collect()
}

/// Whether a descriptor can be read from and written to, by its link's own permissions (`fs/proc/fd.c`).
fn access(process: &Folder, number: u32) -> Option<(bool, bool)> {
    let mode = Mode::from_bits_truncate(process.link_mode(&format!("fd/{number}"))?);
    Some((mode.contains(Mode::S_IRUSR), mode.contains(Mode::S_IWUSR)))
}

/// Flags and mount of a descriptor (`proc_pid_fdinfo(5)`).
fn info(process: &Folder, number: u32) -> Option<(u32, u64)> {
    let (bytes, _) = process.at_one_go(&format!("fdinfo/{number}"), MOST)?;
    let value = |name: &[u8]| {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        std::str::from_utf8(lines.find_map(|line| line.strip_prefix(name))?).ok().map(str::trim)
    };
    let flags = u32::from_str_radix(value(b"flags:")?, 8).ok()?;
    Some((flags, value(b"mnt_id:")?.parse().ok()?))
}

fn facts(process: &Folder, number: u32) -> Option<Facts> {
    let file = process.facts(&format!("fd/{number}"))?;
    Some(Facts {
        inode: file.stx_ino,
        device: rustix::fs::makedev(file.stx_dev_major, file.stx_dev_minor),
        links: u64::from(file.stx_nlink),
        mode: u32::from(file.stx_mode),
        size: file.stx_size,
    })
}

/// A mount's number and the type of its file system, of a line of `mountinfo`.
fn mount(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    Some((number, fields.skip_while(|field| *field != b"-").nth(1)?))
}

/// Whether descriptors of two processes are one open file, which one of them has from the other or both from a third
/// (`kcmp(2)`).
///
/// # Errors
/// When we may not ask, or the kernel can't tell.
pub fn is_same((one, number): (u32, u32), (other, other_number): (u32, u32)) -> Result<bool, Errno> {
    // SAFETY: the call takes five numbers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILE, number, other_number) };
    Errno::result(result).map(|order| order == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn own_files_are_told_as_they_are() {
        let mut reader = Reader::new("/proc".into());
        let pid = std::process::id();
        let file = tempfile();
        let number = file.as_raw_fd().cast_unsigned();
        let mut mounts = Mounts::default();
        mounts.learn(&reader, pid, 7);
        let mounts = Arc::new(mounts);
        let mut opened = |mounts: &Arc<Mounts>| {
            let mut found = Opened::default();
            reader.opened_of(vec![(pid, 9)], mounts, |_, held| {
                let mut all = held.unwrap().descriptors.into_iter();
                found = all.find(|(descriptor, _)| descriptor.number == number).unwrap().1;
                ControlFlow::Continue(())
            });
            found
        };
        let unknown = opened(&Arc::new(Mounts::default()));
        let opened = opened(&mounts);
        let facts = opened.file.unwrap();
        assert_eq!((facts.links, facts.size, opened.unasked), (0, 3, false));
        assert_eq!(mounts.get(opened.mount).unwrap().space, 7);
        assert_eq!(reader.access(pid, number), Some((true, true)));
        assert_eq!(opened.mode, Some(OpenMode::ReadWrite));
        assert!(unknown.unasked && unknown.file.is_none(), "of an unknown mount nothing is asked");
    }

    #[test]
    fn what_is_no_file_is_open_for_what_its_link_allows() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let named = |number: i32| {
            let mut options = File::options();
            options.read(true).custom_flags(OFlag::O_PATH.bits());
            options.open(format!("/proc/self/fd/{number}")).unwrap()
        };
        let path = named(read.as_raw_fd());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let modes = [
            (read.as_raw_fd(), OpenMode::Read),
            (write.as_raw_fd(), OpenMode::Write),
            (path.as_raw_fd(), OpenMode::Path),
            (socket.as_raw_fd(), OpenMode::ReadWrite),
        ];
        let all = descriptors(Path::new("/proc"), std::process::id()).unwrap();
        let all = how(Path::new("/proc/self"), all, &Mounts::default());
        for (number, mode) in modes {
            let found = all.iter().find(|(one, _)| one.number == number.cast_unsigned()).unwrap();
            assert_eq!(found.1.mode, Some(mode), "{found:?}");
        }
    }

    /// Of three bytes, without a name.
    fn tempfile() -> File {
        use std::{
            io::Write,
            sync::atomic::{AtomicU32, Ordering},
        };
        // Tests run beside each other.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sensor-opened-{}-{count}", std::process::id()));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(b"abc").unwrap();
        file
    }

    #[test]
    fn nameless_memory_is_known_by_its_mount() {
        let reader = Reader::new("/proc".into());
        let mut mounts = Mounts::default();
        mounts.learn(&reader, std::process::id(), 1);
        let memory = File::from(memfd_create(c"x", MemfdFlags::CLOEXEC).unwrap());
        let own = Folder::open(Path::new("/proc/self")).unwrap();
        let (_, mount) = info(&own, memory.as_raw_fd().cast_unsigned()).unwrap();
        assert!(mounts.is_memory(mount) && mounts.get(mount).is_none() && mounts.may_ask(mount));
    }

    #[test]
    fn one_open_file_is_known_from_two() {
        let (one, two) = (tempfile(), File::open("/dev/null").unwrap());
        let same = one.try_clone().unwrap();
        let pid = std::process::id();
        let number = |file: &File| file.as_raw_fd().cast_unsigned();
        match is_same((pid, number(&one)), (pid, number(&same))) {
            Ok(is) => assert!(is && !is_same((pid, number(&one)), (pid, number(&two))).unwrap()),
            Err(errno) => assert!(matches!(errno, Errno::ENOSYS | Errno::EPERM), "{errno}"),
        }
    }

    #[test]
    fn mounts_have_number_and_type() {
        assert_eq!(mount(b"22 1 0:5 / /far rw shared:1 - fuse.sshfs h rw"), Some((22, &b"fuse.sshfs"[..])));
        assert_eq!(mount(b"x 1 0:5 / /far rw - tmpfs h rw"), None);
        assert_eq!(mount(b"22 1 0:5 / /far rw"), None);
    }
}
