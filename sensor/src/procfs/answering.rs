//! Whether a file can be opened without waiting for somebody who may never answer: a program (FUSE), another host.
//!
//! Who waits for such an answer can't be killed before it comes, so giving up such a thread isn't enough: the whole process
//! couldn't end.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use nix::fcntl::OFlag;
use rustix::fs::{AtFlags, MemfdFlags, StatxFlags, memfd_create, statx};

use super::{Reader, space::is_foreign};

/// Who answers for which mount.
#[derive(Clone, Debug, Default)]
pub struct Answering {
    /// By the mount's number: whether the kernel itself does.
    mounts: HashMap<u64, bool>,
}

impl Reader {
    /// As a process sees it, and we.
    #[must_use]
    pub fn answering(&self, pid: u32) -> Answering {
        let mut answering = Answering::default();
        for process in [pid.to_string().as_str(), "self"] {
            answering.add(&self.mountinfo(process), self.is_users(process));
        }
        // Nameless memory lies on a mount of the kernel's own, which no list shows.
        let memory = memfd_create(c"", MemfdFlags::CLOEXEC).ok().and_then(|file| mount_of(&file).ok());
        answering.mounts.extend(memory.map(|memory| (memory, true)));
        answering
    }
}

impl Answering {
    /// Those in the lines of `mountinfo`, by numbers that are each mount's own; `of_users`: as for `places`.
    pub(super) fn add(&mut self, mountinfo: &[u8], of_users: bool) {
        let lines = mountinfo.split(|byte| *byte == b'\n');
        self.mounts.extend(lines.filter_map(|line| mount(line, of_users)));
    }

    /// Whether the kernel itself answers for what is open. Of a mount that no list shows that isn't known.
    pub(super) fn knows(&self, file: impl AsFd) -> bool {
        mount_of(file).is_ok_and(|mount| self.mounts.get(&mount).copied().unwrap_or(false))
    }

    /// Whether the kernel itself answers for what this path, a link of /proc, leads to. Of a mount that no list shows that isn't known.
    ///
    /// # Errors
    /// When the link can't be followed.
    pub fn surely(&self, path: &Path) -> io::Result<bool> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        Ok(self.knows(file))
    }
}

/// The number of the mount by which a file was opened, without asking its file system.
fn mount_of(file: impl AsFd) -> io::Result<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let facts = statx(file, c"", flags, StatxFlags::MNT_ID)?;
    match StatxFlags::from_bits_retain(facts.stx_mask).contains(StatxFlags::MNT_ID) {
        true => Ok(facts.stx_mnt_id),
        false => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Of a line of `mountinfo`, the mount's number, and whether the kernel itself answers for it.
fn mount(line: &[u8], of_users: bool) -> Option<(u64, bool)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    let others = is_foreign(kind) || (of_users && kind == b"overlay");
    Some((number, !others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_known_by_their_type() {
        assert_eq!(mount(b"22 1 0:5 / /proc rw,noexec shared:1 - proc proc rw", true), Some((22, true)));
        assert_eq!(mount(b"9 1 0:7 / /far rw - fuse.sshfs host:/ rw", false), Some((9, false)));
        assert_eq!(mount(b"9 1 0:7 / /far rw", false), None);
        let layers = b"9 1 0:7 / /o rw - overlay overlay rw,lowerdir=/l";
        assert_eq!([true, false].map(|users| mount(layers, users)), [Some((9, false)), Some((9, true))]);
        let pid = std::process::id();
        let reader = Reader::new("/proc".into());
        let answering = reader.answering(pid);
        assert!(answering.surely(&reader.executable(pid)).unwrap());
        assert!(!Answering::default().surely(&reader.executable(pid)).unwrap());
    }
}
