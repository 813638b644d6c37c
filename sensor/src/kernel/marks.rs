//! Inode marks on what runs: the kernel's own word that a running file was touched, and by whom.
//!
//! The tracepoints of unlink and rename don't fire for 32-bit calls, and a path in user memory can
//! lie. fanotify tells of the inode itself, whatever the call (`fanotify(7)`); it tells nothing of
//! what runs for less than it takes to mark it, which the programs see.

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
use tokio::io::unix::AsyncFd;

use super::ring::awaited;
use crate::event::touch::{self, Touch};

/// `FAN_REPORT_FID` (`include/uapi/linux/fanotify.h`), without which inodes' own events aren't told.
const REPORT_FID: u32 = 0x200;
/// After so many marks that a kernel before 5.19 keeps for good, all are taken away and set anew.
const KEPT_MOST: usize = 4096;
/// Most readings of the queue at once.
const READS_MOST: usize = 64;

/// A file, also when its number is reused.
pub(super) type File = (u32, u64, u32);

/// The marks.
pub(super) struct Marks {
    group: AsyncFd<Group>,
    marked: HashSet<File>,
    /// The kernel drops marks with the inode (from 5.19 on).
    evictable: bool,
    kept: usize,
    refused: Option<Errno>,
}

struct Group(Fanotify);

impl AsRawFd for Group {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Marks {
    /// A group without marks.
    pub(super) fn new() -> io::Result<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_MARKS
            | InitFlags::from_bits_retain(REPORT_FID);
        let group = Group(Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)?);
        let group = awaited(group)?;
        Ok(Self { group, marked: HashSet::new(), evictable: true, kept: 0, refused: None })
    }

    /// Waits until something was touched.
    pub(super) async fn woken(&self) -> io::Result<()> {
        self.group.readable().await?.clear_ready();
        Ok(())
    }

    /// Marks the file that `path` leads to, once. The first refusal that isn't a process which is gone is given.
    pub(super) fn mark(&mut self, file: File, path: &Path) -> Option<Errno> {
        if self.marked.contains(&file) {
            return None;
        }
        match self.set(path) {
            Ok(()) => {
                self.marked.insert(file);
                self.kept += 1;
                None
            }
            Err(Errno::ENOENT | Errno::ESRCH) => None,
            Err(errno) => {
                self.marked.insert(file);
                self.refused.replace(errno).is_none().then_some(errno)
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

    /// Forgets what no longer runs: its inode, and with it its mark, may be gone.
    pub(super) fn keep(&mut self, running: &HashSet<File>) {
        self.marked.retain(|file| running.contains(file));
        if !self.evictable && self.kept > KEPT_MOST {
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
    }

    /// Who touched something marked, in order.
    pub(super) fn touched(&self) -> Vec<Touch> {
        let mut touches = Vec::new();
        let mut buffer = [0; 8192];
        for _ in 0..READS_MOST {
            match nix::unistd::read(self.group.get_ref().0.as_fd(), &mut buffer) {
                Ok(len) if len > 0 => touch::decode(buffer.get(..len).unwrap_or(&[]), &mut touches),
                _ => break,
            }
        }
        touches.dedup();
        touches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tells_who_unlinked_a_marked_file() {
        let Ok(mut marks) = Marks::new() else {
            eprintln!("skipped: fanotify with file ids needs CAP_SYS_ADMIN and Linux 5.1");
            return;
        };
        let path = std::env::temp_dir().join(format!("sensor-marks-{}", std::process::id()));
        std::fs::write(&path, b"x").unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
        assert_eq!(marks.mark((1, 2, 3), &path), None);
        assert!(marks.touched().is_empty());
        std::fs::remove_file(&path).unwrap();
        marks.woken().await.unwrap();
        let touches = marks.touched();
        assert!(
            touches.iter().all(|touch| touch.pid == std::process::id() && touch.is_of(inode, 0)),
            "{touches:?}"
        );
    }

    #[tokio::test]
    async fn a_file_that_is_gone_is_no_refusal() {
        let Ok(mut marks) = Marks::new() else { return };
        assert_eq!(marks.mark((1, 2, 3), Path::new("/nonexistent/x")), None);
        marks.keep(&HashSet::new());
        assert!(marks.marked.is_empty());
    }
}
