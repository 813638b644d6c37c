//! Network namespaces, and what keeps each: a process or a thread that lives in it, a mount, an open descriptor.

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::{fcntl::OFlag, libc};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{
    Reader,
    folder::Folder,
    seen::space_of,
    space::{mounted_namespaces, places},
};
use crate::record::Text;

/// Most network namespaces.
const MOST: usize = 4096;
/// Most threads of one process that are asked where they are.
const THREADS_MOST: usize = 65_536;
/// Most processes that are tried for a way into one namespace.
const TRIES: usize = 8;

/// What keeps a namespace alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A process lives in it.
    Process(u32),
    /// A thread of this process lives in it; the process itself doesn't.
    Thread(u32),
    /// It is mounted there, and nobody lives in it.
    Mount(Text),
    /// A descriptor of this process leads to it, and nobody lives in it.
    Descriptor(u32),
    /// Nothing but a socket that this process holds.
    Socket(u32),
}

/// A network namespace.
#[derive(Debug)]
pub struct NetworkNamespace {
    /// What keeps it.
    pub kept: Kept,
    /// By what it can be entered; else why not.
    pub handle: Result<File, String>,
}

/// A way into a namespace, or why there is none; nothing where what kept it is gone meanwhile.
type Way = Option<Result<File, String>>;

/// All of them, by inode number.
#[derive(Debug, Default)]
pub struct NetworkNamespaces {
    /// Each.
    pub all: BTreeMap<u32, NetworkNamespace>,
    /// There were more than are remembered.
    pub truncated: bool,
    /// Of so many processes it may not be known where they live.
    pub unknown: usize,
}

impl NetworkNamespaces {
    /// Takes one in that isn't known yet; also one that is known but can't be entered, when this way leads into it.
    pub fn add(&mut self, inode: u32, kept: Kept, way: impl FnOnce() -> Way) {
        if inode == 0 {
            return;
        }
        if let Some(known) = self.all.get_mut(&inode) {
            if known.handle.is_err()
                && let Some(Ok(file)) = way()
            {
                known.handle = Ok(file);
            }
            return;
        }
        if self.all.len() >= MOST {
            self.truncated = true;
            return;
        }
        if let Some(handle) = way() {
            self.all.insert(inode, NetworkNamespace { kept, handle });
        }
    }
}

impl Reader {
    /// Takes in the namespaces of these processes: (pid, number of the namespace, 0 where that isn't known).
    pub fn namespaces_of_processes(&self, processes: &[(u32, u32)], into: &mut NetworkNamespaces) {
        let mut tried: BTreeMap<u32, usize> = BTreeMap::new();
        for (pid, known) in processes {
            let number = || {
                let link = std::fs::read_link(self.root.join(format!("{pid}/ns/net"))).ok()?;
                space_of(link.as_os_str().as_encoded_bytes())
            };
            let inode = if *known == 0 { number().unwrap_or(0) } else { *known };
            if inode == 0 {
                into.unknown += usize::from(self.root.join(pid.to_string()).exists());
                continue;
            }
            let tries = tried.entry(inode).or_default();
            if *tries < TRIES && into.all.get(&inode).is_none_or(|space| space.handle.is_err()) {
                *tries += 1;
                into.add(inode, Kept::Process(*pid), || {
                    self.namespace_at(&format!("{pid}/ns/net"), inode).or_else(|| past_proc(*pid))
                });
            }
        }
    }

    /// Those in which but threads of a process are.
    pub fn namespaces_of_threads(&self, pid: u32, into: &mut NetworkNamespaces) {
        let Some(folder) = Folder::open(&self.root.join(pid.to_string())) else { return };
        // Two links, and one for each thread (`proc_task_getattr`, `fs/proc/base.c`).
        if folder.links("task").is_none_or(|links| links <= 3) {
            return;
        }
        let Some(mut list) = folder.list("task") else { return };
        for entry in list.iter().take(THREADS_MOST).filter_map(Result::ok) {
            let Ok(name) = entry.file_name().to_str() else { continue };
            let path = format!("task/{name}/ns/net");
            let Some(inode) = folder.link(&path).as_deref().and_then(space_of) else { continue };
            into.add(inode, Kept::Thread(pid), || self.namespace_at(&format!("{pid}/{path}"), inode));
        }
    }

    /// Those that are mounted where a process lives; a path through what others answer for isn't tried.
    pub fn namespaces_of_mounts(&self, pid: u32, into: &mut NetworkNamespaces) {
        let info = self.mountinfo(&pid.to_string());
        let (_, foreign) = places(&info, self.is_users(&pid.to_string()));
        let root = self.root.join(pid.to_string()).join("root");
        for (inode, point) in mounted_namespaces(&info, b"net") {
            let reachable = !foreign.iter().any(|foreign| point.starts_with(foreign));
            let kept = Kept::Mount(super::text(&point));
            let path = root.join(point.strip_prefix("/").unwrap_or(&point));
            into.add(inode, kept, || match reachable {
                true => opened(&path, inode),
                false => Some(Err("it is mounted below a file system that may never answer".to_owned())),
            });
        }
    }

    /// The one to which a descriptor of a process leads.
    pub fn namespace_of_descriptor(
        &self,
        pid: u32,
        descriptor: u32,
        inode: u32,
        into: &mut NetworkNamespaces,
    ) {
        into.add(inode, Kept::Descriptor(pid), || {
            self.namespace_at(&format!("{pid}/fd/{descriptor}"), inode)
        });
    }

    /// The number of the network namespace that the running thread is in.
    #[must_use]
    pub fn namespace_of_thread(&self) -> Option<u32> {
        let link = std::fs::read_link(self.root.join("thread-self/ns/net")).ok()?;
        space_of(link.as_os_str().as_encoded_bytes())
    }

    /// How many connections the kernel's filter follows in that namespace; 0 where it follows none.
    #[must_use]
    pub fn followed_connections(&self) -> u64 {
        let count = std::fs::read_to_string(self.root.join("sys/net/netfilter/nf_conntrack_count"));
        count.ok().and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    fn namespace_at(&self, path: &str, inode: u32) -> Way {
        opened(&self.root.join(path), inode)
    }
}

/// The process itself, by which its namespace can be entered too (`setns(2)`, Linux 5.8), where /proc doesn't show that:
/// something may be mounted over its folder.
fn past_proc(pid: u32) -> Way {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => Some(Ok(File::from(process))),
        Err(Errno::SRCH | Errno::INVAL) => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

/// The namespace of this number.
fn opened(path: &Path, inode: u32) -> Way {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => {
            // Another may have come into its place.
            let same = file.metadata().is_ok_and(|facts| facts.ino() == u64::from(inode));
            same.then_some(Ok(file))
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_is_found_by_process_thread_and_descriptor() {
        let reader = Reader::new("/proc".into());
        let pid = std::process::id();
        let (own, file) = reader.network_namespace(None).unwrap();
        let mut spaces = NetworkNamespaces::default();
        reader.namespaces_of_processes(&[(pid, 0), (u32::MAX, 0)], &mut spaces);
        assert_eq!((spaces.all.keys().collect::<Vec<_>>(), spaces.unknown), (vec![&own], 0));
        assert!(
            matches!(spaces.all[&own], NetworkNamespace { kept: Kept::Process(by), handle: Ok(_) } if by == pid)
        );
        reader.namespaces_of_threads(pid, &mut spaces);
        assert_eq!(spaces.all.len(), 1, "no thread is elsewhere");
        let mut spaces = NetworkNamespaces::default();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file).cast_unsigned();
        reader.namespace_of_descriptor(pid, descriptor, own + 1, &mut spaces);
        assert!(spaces.all.is_empty(), "another is there by now");
        reader.namespace_of_descriptor(pid, descriptor, own, &mut spaces);
        assert!(spaces.all[&own].handle.is_ok());
    }
}
