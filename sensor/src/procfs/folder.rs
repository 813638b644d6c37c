//! One process's folder in /proc, and what its `stat` says.

use std::{fs::File, io::Read, os::fd::OwnedFd, os::unix::ffi::OsStringExt, path::Path};

use nix::{
    fcntl::{AtFlags, OFlag, openat, readlinkat},
    sys::stat::{Mode, fstatat},
};

use rustix::fs::{AtFlags as At, Statx, StatxFlags, statx};

use crate::record::Text;

/// Most bytes of a small file that are read.
const MOST_BYTES: u64 = 64 * 1024;
/// Nearly all of them are smaller.
const USUAL_BYTES: usize = 4096;

/// A process's folder, held open.
pub(super) struct Folder(OwnedFd);

impl Folder {
    pub(super) fn open(path: &Path) -> Option<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(path, flags, Mode::empty()).ok().map(Self)
    }

    /// At most so many bytes of a file in it, and whether there were more.
    pub(super) fn read(&self, name: &str, most: u64) -> Option<(Vec<u8>, bool)> {
        let file = self.file(name)?;
        // Room from the start: else each file is read in many small pieces.
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        file.take(most + 1).read_to_end(&mut bytes).ok()?;
        let more = bytes.len() as u64 > most;
        Some((bytes, more))
    }

    /// All of a small file that the kernel shows at one go (`single_open`, `fs/seq_file.c`): a reading that leaves room is
    /// the last.
    pub(super) fn whole(&self, name: &str) -> Option<Vec<u8>> {
        self.at_one_go(name, MOST_BYTES).map(|(bytes, _)| bytes)
    }

    /// At most so many bytes of such a file, and whether there were more.
    pub(super) fn at_one_go(&self, name: &str, most: u64) -> Option<(Vec<u8>, bool)> {
        let mut file = self.file(name)?;
        let most = usize::try_from(most).ok()?;
        let mut bytes = vec![0; USUAL_BYTES.min(most + 1)];
        let mut filled = 0;
        loop {
            filled += file.read(bytes.get_mut(filled..)?).ok()?;
            if filled < bytes.len() || filled > most {
                break;
            }
            bytes.resize((filled * 4).min(most + 1), 0);
        }
        bytes.truncate(filled.min(most));
        Some((bytes, filled > most))
    }

    fn file(&self, name: &str) -> Option<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        openat(&self.0, name, flags, Mode::empty()).ok().map(File::from)
    }

    /// Where a link in it points.
    pub(super) fn link(&self, name: &str) -> Option<Vec<u8>> {
        readlinkat(&self.0, name).ok().map(OsStringExt::into_vec)
    }

    /// Type and permissions of a link in it.
    pub(super) fn link_mode(&self, name: &str) -> Option<u32> {
        fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok().map(|link| link.st_mode)
    }

    /// Whose it is: the effective user of a process, unless it may not be dumped.
    pub(super) fn owner(&self) -> Option<u32> {
        fstatat(&self.0, "", AtFlags::AT_EMPTY_PATH).ok().map(|stat| stat.st_uid)
    }

    /// How many links a folder in it has.
    pub(super) fn links(&self, name: &str) -> Option<u64> {
        fstatat(&self.0, name, AtFlags::empty()).ok().map(|stat| stat.st_nlink)
    }

    /// What is known of what a link in it leads to, as far as that is known without asking another host.
    pub(super) fn facts(&self, name: &str) -> Option<Statx> {
        statx(&self.0, name, At::STATX_DONT_SYNC, StatxFlags::BASIC_STATS).ok()
    }

    /// A folder in it.
    pub(super) fn list(&self, name: &str) -> Option<nix::dir::Dir> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::dir::Dir::openat(&self.0, name, flags, Mode::empty()).ok()
    }

    /// All of a small file.
    pub(super) fn text(&self, name: &str) -> Option<Vec<u8>> {
        self.read(name, MOST_BYTES).map(|(bytes, _)| bytes)
    }
}

/// `stat`, as far as it is used (`proc_pid_stat(5)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// The name of its main thread.
    pub(super) name: Text,
    /// A letter: `Z` and `X` have ended.
    pub(super) state: u8,
    /// Its parent.
    pub(super) parent: u32,
    /// The process group it is in.
    pub(super) group: u32,
    /// The session it is in.
    pub(super) session: u32,
    /// Its controlling terminal, as the kernel encodes a device.
    pub(super) terminal: u32,
    /// The process group in the foreground of that terminal; none without one.
    pub(super) foreground: Option<u32>,
    /// Bits `PF_…` (`include/linux/sched.h`).
    pub(super) flags: u32,
    /// Time on processors, ticks.
    pub(super) ticks: u64,
    /// The same of its children that have ended and that it has waited for.
    pub(super) waited_ticks: u64,
    /// When it began, ticks since boot.
    pub(super) start: u64,
    /// Resident pages.
    pub(super) rss: u64,
}

impl Stat {
    /// The name may hold blanks, brackets and lines: it ends at the last bracket (`proc_pid_stat(5)`).
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let open = bytes.iter().position(|byte| *byte == b'(')?;
        let close = bytes.iter().rposition(|byte| *byte == b')')?;
        let name = Text::copy_from(bytes.get(open + 1..close)?);
        let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
        // The first of these is field 3, the state.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let small = |field: usize| u32::try_from(number(field)?).ok();
        Some(Self {
            name,
            state: *fields.first()?.as_bytes().first()?,
            parent: small(4)?,
            group: small(5)?,
            session: small(6)?,
            terminal: small(7)?,
            // -1 without one.
            foreground: small(8).filter(|group| *group != 0),
            flags: small(9)?,
            ticks: number(14)?.saturating_add(number(15)?),
            waited_ticks: number(16)?.saturating_add(number(17)?),
            start: number(22)?,
            rss: number(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_hold_anything() {
        let mut line =
            b"7 (a) R 1 (\n\xff) S 3 0 5 34816 0 64 0 0 0 0 12 5 99 99 20 0 1 0 700 4096 33 0".to_vec();
        let stat = Stat::parse(&line).unwrap();
        assert_eq!(stat.name.as_bytes(), b"a) R 1 (\n\xff");
        assert_eq!((stat.group, stat.foreground, stat.waited_ticks), (0, None, 198));
        assert_eq!((stat.parent, stat.ticks, stat.start, stat.rss), (3, 17, 700, 33));
        assert_eq!((stat.state, stat.session, stat.terminal, stat.flags), (b'S', 5, 34816, 64));
        while line.pop().is_some() {
            let _ = Stat::parse(&line);
        }
        assert!(Stat::parse(b"7 )a( S").is_none());
    }
}
