//! Files whose owners may have laid them out as traps: no link is followed on the way, only regular files are
//! opened, what is read is bounded, and that they were read leaves no mark on them.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    os::unix::{
        ffi::OsStringExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Component, Path, PathBuf},
    time::SystemTime,
};

use crate::record::Time;
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

/// A file that was opened, and what it was then.
#[derive(Debug)]
pub struct Opened {
    file: File,
    /// Bytes.
    pub size: u64,
    /// When its contents were last changed, nanoseconds since the epoch.
    pub modified: i64,
    /// When it was made, where its file system tells.
    pub born: Option<Time>,
    /// Whose it is.
    pub uid: u32,
}

/// Why a file was not opened.
#[derive(Debug)]
pub enum Refused {
    /// It isn't there.
    Absent,
    /// It is a link, and leads there; or a folder on the way is one, then nowhere is known.
    Link(Option<PathBuf>),
    /// It is something else than a regular file: what.
    Other(&'static str),
    /// The kernel says no.
    Failed(std::io::Error),
}

/// Opens a file below a folder that is trusted; `path` is taken as one below it, also when it is absolute.
///
/// # Errors
/// When it is none that can be read without harm.
pub fn open(root: &Path, path: &Path) -> Result<Opened, Refused> {
    let root = openat2(CWD, root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::empty());
    let root = root.map_err(refused)?;
    let path = below(path).ok_or_else(|| Refused::Failed(std::io::ErrorKind::InvalidInput.into()))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let at = |flags: OFlags| openat2(&root, &path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    // Looked at first: opening a device or a queue can have effects, and a link would only say that it is one.
    let place = match at(OFlags::PATH | OFlags::NOFOLLOW) {
        Err(Errno::LOOP) => return Err(Refused::Link(None)),
        place => File::from(place.map_err(refused)?),
    };
    let facts = place.metadata().map_err(Refused::Failed)?;
    regular(&place, &facts)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    // Reading without a mark is for owners, and for root unless another host refuses it.
    let file = match at(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => at(flags).map_err(refused)?,
        file => file.map_err(refused)?,
    };
    let file = File::from(file);
    let now = file.metadata().map_err(Refused::Failed)?;
    if (now.dev(), now.ino()) != (facts.dev(), facts.ino()) {
        return Err(Refused::Other("a file that was swapped while it was opened"));
    }
    Ok(Opened {
        size: now.len(),
        modified: nanoseconds(now.mtime(), now.mtime_nsec()),
        born: now.created().ok().and_then(since_epoch),
        uid: now.uid(),
        file,
    })
}

impl Opened {
    /// Its first bytes, so many at most.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn head(self, most: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Its last bytes, so many at most, and where in it they begin.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn tail(mut self, most: u64) -> std::io::Result<(Vec<u8>, u64)> {
        let start = self.size.saturating_sub(most);
        if start != 0 {
            std::io::Seek::seek(&mut self.file, std::io::SeekFrom::Start(start))?;
        }
        Ok((self.head(most)?, start))
    }
}

/// The path without its root; none when it climbs.
fn below(path: &Path) -> Option<PathBuf> {
    let mut bare = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => bare.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => return None,
        }
    }
    (!bare.as_os_str().is_empty()).then_some(bare)
}

fn regular(place: &File, facts: &std::fs::Metadata) -> Result<(), Refused> {
    let kind = facts.file_type();
    match () {
        () if kind.is_file() => Ok(()),
        () if kind.is_symlink() => {
            let target = rustix::fs::readlinkat(place, c"", Vec::new()).ok();
            Err(Refused::Link(target.map(|target| OsString::from_vec(target.into_bytes()).into())))
        }
        () if kind.is_dir() => Err(Refused::Other("a folder")),
        () if kind.is_fifo() => Err(Refused::Other("a pipe")),
        () if kind.is_socket() => Err(Refused::Other("a socket")),
        () => Err(Refused::Other("a device")),
    }
}

fn refused(error: Errno) -> Refused {
    match error {
        Errno::NOENT | Errno::NOTDIR => Refused::Absent,
        error => Refused::Failed(error.into()),
    }
}

fn since_epoch(time: SystemTime) -> Option<Time> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok().map(Time)
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_regular_files_by_ways_without_links_are_opened() {
        let root = std::env::temp_dir().join(format!("sensor-untrusted-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "0123456789").unwrap();
        std::os::unix::fs::symlink("b", root.join("a/way")).unwrap();
        std::os::unix::fs::symlink("/dev/null", root.join("a/null")).unwrap();
        nix::unistd::mkfifo(&root.join("a/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let at = |path: &str| open(&root, Path::new(path));
        assert_eq!(at("/a/b/file").unwrap().head(4).unwrap(), b"0123");
        assert_eq!(at("a/b/file").unwrap().tail(4).unwrap(), (b"6789".to_vec(), 6));
        assert_eq!(at("a/b/file").unwrap().size, 10);
        assert!(matches!(at("a/way/file"), Err(Refused::Link(None))));
        assert!(matches!(at("a/null"), Err(Refused::Link(Some(to))) if to == Path::new("/dev/null")));
        assert!(matches!(at("a/pipe"), Err(Refused::Other("a pipe"))));
        assert!(matches!(at("a/b"), Err(Refused::Other("a folder"))));
        assert!(matches!(at("a/none"), Err(Refused::Absent)));
        assert!(matches!(at("a/../a/b/file"), Err(Refused::Failed(_))));
        fs::remove_dir_all(&root).unwrap();
    }
}
