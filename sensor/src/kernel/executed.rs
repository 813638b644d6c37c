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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::{
    errno::Errno,
    fcntl::AT_FDCWD,
    sys::fanotify::{
        EventFFlags, Fanotify, FanotifyEvent, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
    },
};

use rustix::mount::{OpenTreeFlags, open_tree};

use super::{Coverage, Gap, Kernel, State, marks::no_group, refusal::explain};

/// Its name as a hook.
pub(super) const HOOK: &str = "fanotify/open_exec";
/// And that which stops.
const STOP: &str = "fanotify/open_exec_perm";

/// What isn't had without it.
const EFFECT: &str =
    "the executable of a program that took its own name away and ended at once: evidence of it";

/// What is told of a file that is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// That it is; who executes it doesn't wait.
    Beside,
    /// That it is to be; the kernel stops who executes it until it is held.
    Before,
}

impl When {
    fn mask(self) -> MaskFlags {
        match self {
            Self::Beside => MaskFlags::FAN_OPEN_EXEC,
            Self::Before => MaskFlags::FAN_OPEN_EXEC_PERM,
        }
    }

    fn class(self) -> InitFlags {
        match self {
            Self::Beside => InitFlags::FAN_CLASS_NOTIF,
            Self::Before => InitFlags::FAN_CLASS_CONTENT,
        }
    }
}

/// The marks.
pub(super) struct Marked {
    group: Arc<Fanotify>,
    when: When,
}

/// What is executed, as the kernel tells it.
pub struct Executed {
    group: Arc<Fanotify>,
    when: When,
    /// What was given last and whose executions wait. Should this process end, the kernel lets them go on.
    given: Mutex<Vec<FanotifyEvent>>,
}

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

impl Kernel {
    /// Files aren't told any more as they are executed.
    pub fn leave_executed(&mut self) {
        self.executed = None;
    }

    /// What is executed from now on, to be read by a thread of its own; none where the kernel doesn't tell.
    #[must_use]
    pub fn executed(&self) -> Option<Executed> {
        self.executed.as_ref().map(Marked::reader)
    }

    /// Watches the file system of a file that wasn't executed before; true when that it can't is news.
    pub(super) fn watch_executed(&mut self, path: &Path) -> bool {
        match self.executed.as_ref().map(|executed| executed.watch(path)) {
            None | Some(Ok(()) | Err(Errno::ENOENT | Errno::ESRCH)) => false,
            Some(Err(errno)) => self.uncover(HOOK, refused(errno)),
        }
    }
}

impl Marked {
    /// With a mark on the file system of `/`, and what became of it.
    pub(super) fn open(when: When) -> (Option<Self>, Vec<Coverage>) {
        let told = |when| Self::new(when).map(|marked| (marked, Coverage::seen("exe_deleted", HOOK)));
        let (refused, result) = match (when, told(when)) {
            (When::Before, Err(error)) => (Some(unstopped(&error)), told(When::Beside)),
            (_, result) => (None, result),
        };
        let (marked, row) = match result {
            Ok((marked, row)) => (Some(marked), row),
            Err(error) => {
                let gap = no_group(&error, "a fanotify group that tells what is executed").effect(EFFECT);
                (None, Coverage::unseen("exe_deleted", HOOK, gap))
            }
        };
        (marked, [row].into_iter().chain(refused).collect())
    }

    fn new(when: When) -> io::Result<Self> {
        let flags = when.class() | InitFlags::FAN_CLOEXEC | InitFlags::FAN_UNLIMITED_MARKS;
        // To be read without changing when it was last read; a pipe or a device can't hold the reader up.
        let how = EventFFlags::O_RDONLY
            | EventFFlags::O_CLOEXEC
            | EventFFlags::O_LARGEFILE
            | EventFFlags::O_NOATIME
            | EventFFlags::O_NONBLOCK;
        let marked = Self { group: Arc::new(Fanotify::init(flags, how)?), when };
        // Nobody reads yet: an execution that waits does so until the loop begins.
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
        self.group.mark(flags, self.when.mask(), AT_FDCWD, Some(path))
    }

    /// What reads of it.
    pub(super) fn reader(&self) -> Executed {
        Executed { group: Arc::clone(&self.group), when: self.when, given: Mutex::default() }
    }
}

/// The kernel stops nobody.
fn unstopped(error: &io::Error) -> Coverage {
    let why = no_group(error, "a fanotify group that stops who executes a file");
    let gap = Gap {
        remedy: "a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS, or no --freeze-on-delete".to_owned(),
        ..why
    };
    let effect = "nothing less than without --freeze-on-delete: what is executed is told beside, and nobody is stopped";
    Coverage { action: "exe_deleted", hook: STOP, state: State::Replaced, gap: gap.effect(effect) }
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
    /// room in the queue, at least. `held` is to be called when these are held.
    ///
    /// # Errors
    /// When there will be nothing more.
    pub fn next(&self) -> io::Result<(Vec<OwnedFd>, u64)> {
        match self.group.read_events() {
            Ok(events) => {
                let files: Vec<_> =
                    events.iter().map(|event| event.fd().map(|file| file.try_clone_to_owned())).collect();
                if self.when == When::Before {
                    *self.given() = events;
                }
                let missed = files.iter().filter(|file| !matches!(file, Some(Ok(_)))).count();
                Ok((files.into_iter().flatten().flatten().collect(), missed as u64))
            }
            Err(Errno::EINTR | Errno::EAGAIN) => Ok((Vec::new(), 0)),
            // The queue isn't at hand any more, or not ours to read.
            Err(errno @ (Errno::EBADF | Errno::EINVAL | Errno::EFAULT | Errno::ENOSYS)) => Err(errno.into()),
            // One that couldn't be opened; it is gone from the queue.
            Err(_) => Ok((Vec::new(), 1)),
        }
    }

    fn given(&self) -> MutexGuard<'_, Vec<FanotifyEvent>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was given last is held: who executes it goes on.
    pub fn held(&self) {
        for event in self.given().drain(..) {
            let Some(file) = event.fd() else { continue };
            // It fails when who waited was killed.
            let response = FanotifyResponse::new(file, Response::FAN_ALLOW);
            let _: Result<(), Errno> = self.group.write_response(response);
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
        self.group.mark(flags, self.when.mask(), file, None::<&Path>)
    }
}
