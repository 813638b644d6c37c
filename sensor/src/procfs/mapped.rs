//! What a process has in its memory that can be executed: files, and memory that no file backs.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use super::Reader;
use crate::record::Text;

/// Most bytes of a list of mappings that are read, and most files that are told.
const MOST_BYTES: u64 = 32 * 1024 * 1024;
const MOST_FILES: usize = 4096;
/// The kernel's own code in a process (`proc_pid_maps(5)`).
const OF_THE_KERNEL: [&[u8]; 3] = [b"[vdso]", b"[vsyscall]", b"[uprobes]"];

/// A file that is mapped so that it can be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    first: u64,
    end: u64,
    device: (u32, u32),
    inode: u64,
    /// Its path, as the process sees it; with the kernel's mark where it has no name.
    pub path: Text,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    /// Each file once.
    pub files: Vec<Mapping>,
    /// Bytes that can be executed and that no file backs.
    pub nameless_bytes: u64,
    /// There are more than are told.
    pub more: bool,
}

impl Mapping {
    /// The file's inode number.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether a file is this one, by the numbers that `stat(2)` gives.
    #[must_use]
    pub fn is(&self, device: u64, inode: u64) -> bool {
        let own = rustix::fs::makedev(self.device.0, self.device.1);
        own == device && self.inode == inode
    }
}

impl Reader {
    /// What a process has mapped so that it can be executed.
    ///
    /// # Errors
    /// When it can't be read, or the process keeps us waiting.
    pub fn mappings(&mut self, pid: u32) -> io::Result<Mappings> {
        let path = self.root.join(pid.to_string()).join("maps");
        let read = self.patiently(move || {
            let mut bytes = Vec::new();
            File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        });
        read.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())).map(|bytes| parse(&bytes))
    }

    /// The path by which a mapped file can be opened, whatever name it has; needs `CAP_SYS_ADMIN` or
    /// `CAP_CHECKPOINT_RESTORE`.
    #[must_use]
    pub fn mapped(&self, pid: u32, mapping: &Mapping) -> PathBuf {
        let Mapping { first, end, .. } = mapping;
        self.root.join(format!("{pid}/map_files/{first:x}-{end:x}"))
    }

    /// The path by which it can be opened by its name, as the process sees it. It may be another file by now.
    #[must_use]
    pub fn mapped_by_name(&self, pid: u32, mapping: &Mapping) -> PathBuf {
        let path = Path::new(OsStr::from_bytes(mapping.path.as_bytes()));
        self.root.join(format!("{pid}/root")).join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The folder that /proc is mounted on.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// The path of an open file, as the kernel knows it, with its mark where that has no name.
#[must_use]
pub fn path_of(root: &Path, file: &File) -> Option<PathBuf> {
    std::fs::read_link(root.join(format!("self/fd/{}", file.as_raw_fd()))).ok()
}

fn parse(bytes: &[u8]) -> Mappings {
    let mut mappings = Mappings { more: bytes.len() as u64 > MOST_BYTES, ..Mappings::default() };
    let mut known = HashSet::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(mapping) = executable(line) else { continue };
        match mapping.inode {
            0 if OF_THE_KERNEL.contains(&mapping.path.as_bytes()) => {}
            0 => {
                let bytes = mapping.end.saturating_sub(mapping.first);
                mappings.nameless_bytes = mappings.nameless_bytes.saturating_add(bytes);
            }
            inode if known.contains(&(mapping.device, inode)) => {}
            _ if known.len() >= MOST_FILES => mappings.more = true,
            inode => {
                known.insert((mapping.device, inode));
                mappings.files.push(mapping);
            }
        }
    }
    mappings
}

/// A line: addresses, permissions, offset, device, inode, blanks, and a path to its end (`proc_pid_maps(5)`).
fn executable(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut next = || std::str::from_utf8(fields.next()?).ok();
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let (first, end) = next()?.split_once('-')?;
    if !next()?.contains('x') {
        return None;
    }
    next()?;
    let (major, minor) = next()?.split_once(':')?;
    let device = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let inode = next()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    Some(Mapping { first: number(first)?, end: number(end)?, device, inode, path: Text::copy_from(path) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn executable_files_are_told_once_and_memory_is_summed_up() {
        let lines = b"55d0-55d2 r--p 00000000 fe:00 7    /bin/a\n\
            1000-3000 r-xp 00001000 fe:00 7      /bin/a b (deleted)\n\
            4000-5000 r-xp 00001000 fe:00 7      /bin/a b (deleted)\n\
            5000-6000 rwxp 00000000 00:00 0 \n\
            6000-7000 rwxp 00000000 00:00 0      [stack]\n\
            7000-8000 r-xp 00000000 00:00 0      [vdso]\n\
            8000-9000 r-xs 00000000 00:01 9      /memfd:\xff (deleted)\n\
            broken\n-- x\n\xff";
        let found = parse(lines);
        assert_eq!(found.nameless_bytes, 0x2000);
        let paths: Vec<&[u8]> = found.files.iter().map(|mapping| mapping.path.as_bytes()).collect();
        assert_eq!(paths, [&b"/bin/a b (deleted)"[..], b"/memfd:\xff (deleted)"]);
        assert!(!found.more);
        for end in 0..lines.len() {
            let _ = parse(&lines[..end]);
        }
    }

    #[test]
    fn this_process_has_its_own_executable_mapped() {
        let found = Reader::new("/proc".into()).mappings(std::process::id()).unwrap();
        let own = std::fs::metadata(std::env::current_exe().unwrap()).unwrap();
        let named = found.files.iter().filter(|mapping| mapping.is(own.dev(), own.ino()));
        assert_eq!(named.count(), 1, "{found:?}");
    }
}
