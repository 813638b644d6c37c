//! Marks on whole file systems that give what is executed: a descriptor of each file, by which it can be read
//! also when its program has taken its name away and ended before anybody came to look.
//!
//! The kernel's queue holds the file from the moment it is opened to be executed (`FAN_OPEN_EXEC`, `fanotify(7)`).
//! A file that is known already is left out by a mark of its own, so that only what is new costs anything. The kernel drops
//! that mark when the file is written to.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    errno::Errno,
    fcntl::AT_FDCWD,
    sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags},
};

use rustix::mount::{OpenTreeFlags, open_tree};

use super::{Coverage, Gap, marks::no_group, refusal::explain};

/// Its name as a hook.
pub(super) const HOOK: &str = "fanotify/open_exec";

/// What isn't had without it.
const EFFECT: &str =
    "the executable of a program that took its own name away and ended at once: evidence of it";

/// The marks.
pub(super) struct Marked(Arc<Fanotify>);

/// What is executed, as the kernel tells it.
pub struct Executed(Arc<Fanotify>);

/// What a file system that takes no such mark means.
pub(super) fn refused(errno: Errno) -> Gap {
    Gap {
        reason: format!(
            "a file system on which programs run takes no mark for what is executed: {}",
            explain(&errno, &[]).reason
        ),
        missing: "marks of file systems".to_owned(),
        effect: format!("there, {EFFECT}"),
        remedy: String::new(),
    }
}

impl Marked {
    /// With a mark on the file system of `/`, and what became of it.
    pub(super) fn open() -> (Option<Self>, Coverage) {
        match Self::new() {
            Ok(marked) => (Some(marked), Coverage::seen("exe_deleted", HOOK)),
            Err(error) => {
                let gap = no_group(&error, "a fanotify group that tells what is executed").effect(EFFECT);
                (None, Coverage::unseen("exe_deleted", HOOK, gap))
            }
        }
    }

    fn new() -> io::Result<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | InitFlags::FAN_UNLIMITED_MARKS;
        // To be read without changing when it was last read; a pipe or a device can't hold the reader up.
        let how = EventFFlags::O_RDONLY
            | EventFFlags::O_CLOEXEC
            | EventFFlags::O_LARGEFILE
            | EventFFlags::O_NOATIME
            | EventFFlags::O_NONBLOCK;
        let marked = Self(Arc::new(Fanotify::init(flags, how)?));
        marked.watch(Path::new("/"))?;
        Ok(marked)
    }

    /// Marks what is mounted on these paths, as far as the kernel can.
    pub(super) fn mounted<'p>(&self, paths: impl Iterator<Item = &'p PathBuf>) {
        for path in paths {
            let _: Result<(), Errno> = self.watch(path);
        }
    }

    /// Marks the file system on which `path` is.
    pub(super) fn watch(&self, path: &Path) -> Result<(), Errno> {
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        self.0.mark(flags, MaskFlags::FAN_OPEN_EXEC, AT_FDCWD, Some(path))
    }

    /// What reads of it.
    pub(super) fn reader(&self) -> Executed {
        Executed(Arc::clone(&self.0))
    }
}

/// A mount of our own of just this file.
///
/// # Errors
/// When it is mounted in another mount namespace.
pub fn own_mount(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(file, c"", flags)?)
}

impl Executed {
    /// Waits for what is executed next: open files, in order, and how many more there were that couldn't be opened or found no
    /// room in the queue, at least.
    ///
    /// # Errors
    /// When there will be nothing more.
    pub fn next(&self) -> io::Result<(Vec<OwnedFd>, u64)> {
        match self.0.read_events() {
            Ok(events) => {
                let files = events.iter().map(|event| event.fd().map(|file| file.try_clone_to_owned()));
                let all: Vec<_> = files.collect();
                let missed = all.iter().filter(|file| !matches!(file, Some(Ok(_)))).count();
                Ok((all.into_iter().flatten().flatten().collect(), missed as u64))
            }
            Err(Errno::EINTR | Errno::EAGAIN) => Ok((Vec::new(), 0)),
            // The queue isn't at hand any more, or not ours to read.
            Err(errno @ (Errno::EBADF | Errno::EINVAL | Errno::EFAULT | Errno::ENOSYS)) => Err(errno.into()),
            // One that couldn't be opened; it is gone from the queue.
            Err(_) => Ok((Vec::new(), 1)),
        }
    }

    /// From now on this file isn't told any more, until it is written to.
    pub fn leave_out(&self, file: BorrowedFd<'_>) {
        // Where it is refused, the file is told again each time.
        let _: Result<(), Errno> = self.ignored(MarkFlags::FAN_MARK_ADD, file);
    }

    /// It is told again.
    pub fn take_in(&self, file: BorrowedFd<'_>) {
        // It is not there when the file was written to.
        let _: Result<(), Errno> = self.ignored(MarkFlags::FAN_MARK_REMOVE, file);
    }

    fn ignored(&self, flags: MarkFlags, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let flags = flags | MarkFlags::FAN_MARK_IGNORED_MASK;
        self.0.mark(flags, MaskFlags::FAN_OPEN_EXEC, file, None::<&Path>)
    }
}
