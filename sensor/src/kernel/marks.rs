//! Inode marks on what runs: the kernel's own word that a running file was touched, and by whom.
//!
//! fanotify tells of the inode itself, whatever the call and whatever the path (`fanotify(7)`), and
//! wakes the sensor for it. It tells nothing of what runs for less than it takes to mark it: that is
//! what the marks on whole file systems (`names`) are for.

use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    path::Path,
};

use nix::{
    errno::Errno,
    sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    Coverage, Gap,
    refusal::{SYS_ADMIN, explain},
    ring::awaited,
};
use crate::event::touch::{self, Touches};

/// Its name as a hook.
pub(super) const HOOK: &str = "fanotify/inode";

/// `FAN_REPORT_FID` (`include/uapi/linux/fanotify.h`), without which inodes' own events aren't told.
const REPORT_FID: u32 = 0x200;
/// After so many marks that a kernel before 5.19 keeps for good, all are taken away and set anew.
const KEPT_MOST: usize = 4096;
/// Most readings of the queue at once.
const READS_MOST: usize = 64;

/// A file, also when its number, or that of its device, is used again: device, inode, generation, change time.
pub(super) type File = (u32, u64, u32, u64);

/// The marks.
pub(super) struct Marks {
    group: AsyncFd<Group>,
    marked: HashSet<File>,
    /// The kernel drops marks with the inode (from 5.19 on).
    evictable: bool,
    kept: usize,
}

struct Group(Fanotify);

impl AsRawFd for Group {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What a file system that takes no marks means.
pub(super) fn refused(errno: Errno) -> Gap {
    Gap {
        reason: format!(
            "a file system on which programs run takes no inode marks: {}",
            explain(&errno, &[]).reason
        ),
        missing: "marks of inodes".to_owned(),
        effect: "there, at once that a running file lost its name; the sweep still sees it, within a second"
            .to_owned(),
        remedy: "overlayfs takes marks from Linux 6.6 on".to_owned(),
    }
}

/// What a file system for which others answer means: to mark a file, it would be asked, and all else would wait.
pub(super) fn foreign() -> Gap {
    Gap {
        reason: "programs run on a file system for which a process or another host answers, which may never come, \
                 so it is asked for nothing"
            .to_owned(),
        missing: "marks of inodes".to_owned(),
        effect: "there, at once that a running file lost its name, and who took it; the sweep still sees the loss, \
                 within a second"
            .to_owned(),
        remedy: String::new(),
    }
}

/// A group of fanotify was refused. Its number is limited by user.
pub(super) fn no_group(error: &io::Error, what: &str) -> Gap {
    let why = explain(error, &[SYS_ADMIN]);
    let gap = Gap { reason: format!("the kernel refused {what}: {}", why.reason), ..why };
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE) => Gap {
            missing: "fs.fanotify.max_user_groups".to_owned(),
            remedy:
                "raise it (sysctl fs.fanotify.max_user_groups=128), and the limit of open files (ulimit -n)"
                    .to_owned(),
            ..gap
        },
        Some(Errno::ENOSYS) if gap.missing != "seccomp" => Gap {
            missing: "CONFIG_FANOTIFY".to_owned(),
            remedy: "a kernel with CONFIG_FANOTIFY".to_owned(),
            ..gap
        },
        _ => gap,
    }
}

impl Marks {
    /// A group, and what became of it.
    pub(super) fn open() -> (Option<Self>, Coverage) {
        const SERVES: &str = "exe_deleted";
        match Self::new() {
            Ok(marks) => (Some(marks), Coverage::seen(SERVES, HOOK)),
            Err(error) => {
                let effect =
                    "at once that a running file lost its name; the sweep still sees it, within a second";
                let gap = no_group(&error, "a fanotify group with file ids").effect(effect);
                (None, Coverage::unseen(SERVES, HOOK, gap))
            }
        }
    }

    /// A group without marks.
    pub(super) fn new() -> io::Result<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_MARKS
            | InitFlags::FAN_REPORT_TID
            | InitFlags::from_bits_retain(REPORT_FID);
        let group = Group(Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)?);
        let group = awaited(group, Interest::READABLE)?;
        Ok(Self { group, marked: HashSet::new(), evictable: true, kept: 0 })
    }

    /// Waits until something was touched.
    pub(super) async fn woken(&self) -> io::Result<()> {
        self.group.readable().await?.clear_ready();
        Ok(())
    }

    /// Whether a file was marked, or refused it.
    pub(super) fn has(&self, file: File) -> bool {
        self.marked.contains(&file)
    }

    /// Marks the file that `path` leads to, once; true when it wasn't before. A refusal is given for each file once.
    pub(super) fn mark(&mut self, file: File, path: &Path) -> Result<bool, Errno> {
        if self.marked.contains(&file) {
            return Ok(false);
        }
        match self.set(path) {
            Ok(()) => {
                self.marked.insert(file);
                self.kept += 1;
                Ok(true)
            }
            // The process is gone; its last look was told.
            Err(Errno::ENOENT | Errno::ESRCH) => Ok(false),
            Err(errno) => {
                self.marked.insert(file);
                Err(errno)
            }
        }
    }

    fn set(&mut self, path: &Path) -> Result<(), Errno> {
        // A link less is a changed attribute. That the inode is gone in the end is told of whoever let go
        // of it last, who need not have done anything: not asked for.
        let mask = MaskFlags::FAN_ATTRIB | MaskFlags::FAN_MOVE_SELF;
        let group = &self.group.get_ref().0;
        if self.evictable {
            match group.mark(
                MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_EVICTABLE,
                mask,
                nix::fcntl::AT_FDCWD,
                Some(path),
            ) {
                Err(Errno::EINVAL) => self.evictable = false,
                result => return result,
            }
        }
        group.mark(MarkFlags::FAN_MARK_ADD, mask, nix::fcntl::AT_FDCWD, Some(path))
    }

    /// Forgets what no longer runs: its inode, and with it its mark, may be gone. True when all marks were taken away, and
    /// what runs is to be marked again.
    pub(super) fn keep(&mut self, running: &HashSet<File>) -> bool {
        self.marked.retain(|file| running.contains(file));
        let flushes = !self.evictable && self.kept > KEPT_MOST;
        if flushes {
            self.kept = 0;
            self.marked.clear();
            // Flushing takes no path; a failure leaves marks that do no harm.
            let _ = self.group.get_ref().0.mark(
                MarkFlags::FAN_MARK_FLUSH,
                MaskFlags::empty(),
                nix::fcntl::AT_FDCWD,
                None::<&Path>,
            );
        }
        flushes
    }

    /// Which threads touched something marked, in order.
    pub(super) fn touched(&self) -> Touches {
        let mut touches = Touches::default();
        let mut buffer = [0; 8192];
        for _ in 0..READS_MOST {
            match nix::unistd::read(self.group.get_ref().0.as_fd(), &mut buffer) {
                Ok(len) if len > 0 => touch::decode(buffer.get(..len).unwrap_or(&[]), &mut touches),
                _ => break,
            }
        }
        touches.told.dedup();
        touches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tells_who_unlinked_a_marked_file() {
        let Ok(mut marks) = Marks::new() else {
            say!("skipped: fanotify with file ids needs CAP_SYS_ADMIN and Linux 5.1");
            return;
        };
        let path = std::env::temp_dir().join(format!("sensor-marks-{}", std::process::id()));
        std::fs::write(&path, b"x").unwrap();
        let gettid = || u32::try_from(nix::unistd::gettid().as_raw()).unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
        assert_eq!(marks.mark((1, 2, 3, 4), &path), Ok(true));
        assert_eq!(marks.mark((1, 2, 3, 4), &path), Ok(false));
        assert!(marks.touched().told.is_empty());
        std::fs::remove_file(&path).unwrap();
        marks.woken().await.unwrap();
        let touches = marks.touched().told;
        assert!(
            touches.iter().all(|touch| touch.pid == gettid() && touch.file.is_of(inode, 0)),
            "{touches:?}"
        );
    }

    #[tokio::test]
    async fn a_file_that_is_gone_is_no_refusal() {
        let Ok(mut marks) = Marks::new() else { return };
        assert_eq!(marks.mark((1, 2, 3, 4), Path::new("/nonexistent/x")), Ok(false));
        assert!(!marks.keep(&HashSet::new()));
        assert!(marks.marked.is_empty());
    }

    #[tokio::test]
    async fn marks_that_are_kept_for_good_are_set_again() {
        let Ok(mut marks) = Marks::new() else { return };
        let path = std::env::current_exe().unwrap();
        let file = (1, 2, 3, 4);
        (marks.evictable, marks.kept) = (false, KEPT_MOST);
        assert_eq!(marks.mark(file, &path), Ok(true));
        assert!(marks.keep(&HashSet::from([file])), "too many");
        assert_eq!(marks.mark(file, &path), Ok(true), "again");
        assert!(!marks.keep(&HashSet::from([file])));
    }
}
