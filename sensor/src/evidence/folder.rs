//! The folder of what was kept: executables by their SHA-256, and beside each the names of who ran it.
//!
//! A file is named by 64 hexadecimal digits. An empty one beside it has a point, the entity id and another point and the pid
//! of a runner appended: what a listing shows is all that is known. Nothing is reached but through the folder's own
//! descriptor, and no link is followed.

use std::{
    fs::{DirBuilder, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{OFlag, openat, renameat},
    sys::{
        stat::{Mode, UtimensatFlags, fchmod, utimensat},
        time::TimeSpec,
    },
    unistd::{UnlinkatFlags, geteuid, unlinkat},
};

use super::digest::{Digest, copy};
use crate::record::Text;

/// How names of files begin that are being written.
const UNFINISHED: &str = "tmp-";
/// Most entries that are looked at.
const ENTRIES_MOST: usize = 262_144;

/// Why the folder can't be used.
#[derive(Debug, thiserror::Error)]
#[error("keeping executables in {}: {what}", path.display())]
pub struct FolderError {
    path: PathBuf,
    what: String,
}

impl FolderError {
    /// What stands in the way of using it.
    pub fn new(path: &Path, error: &io::Error) -> Self {
        Self { path: path.to_owned(), what: error.to_string() }
    }
}

/// The folder.
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    /// How many were begun, for their names until they are finished.
    begun: u64,
}

/// What a name in the folder says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// An executable.
    Image(Text),
    /// Who ran one.
    Runner(Runner),
    /// One that is being written, or never was finished.
    Unfinished,
}

/// Who ran what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Of what it ran.
    pub sha256: Text,
    /// Its entity id.
    pub entity: Text,
    /// Its pid.
    pub pid: u32,
}

/// One entry of the folder.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name as it is.
    pub file: String,
    /// What that says.
    pub name: Name,
    /// Bytes.
    pub size: u64,
    /// When it was last put there, seconds since the epoch.
    pub when: u64,
}

/// Whether it is a number of so many hexadecimal digits.
#[must_use]
pub fn hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn as_text(part: &str) -> Text {
    Text::copy_from(part.as_bytes())
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        if text.starts_with(UNFINISHED) {
            return Some(Self::Unfinished);
        }
        let mut parts = text.split('.');
        let sha256 = parts.next().filter(|part| hexadecimal(part, 64)).map(as_text)?;
        let Some(entity) = parts.next() else { return Some(Self::Image(sha256)) };
        let entity = Some(entity).filter(|part| hexadecimal(part, 32)).map(as_text)?;
        let pid = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self::Runner(Runner { sha256, entity, pid }))
    }
}

impl Runner {
    /// The name of its file.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { sha256, entity, pid } = self;
        format!("{}.{}.{pid}", sha256.to_str_lossy(), entity.to_str_lossy())
    }
}

impl Folder {
    /// Opens the folder, or makes it and the one it is in.
    ///
    /// # Errors
    /// When it can't be made or used, is a link, or others could write to it.
    pub fn make(path: &Path) -> Result<Self, FolderError> {
        let failed = |error: io::Error| FolderError::new(path, &error);
        for folder in [path.parent().unwrap_or(path), path] {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
        }
        let folder = Self::open(path)?;
        fchmod(&folder.fd, Mode::S_IRWXU).map_err(|errno| failed(errno.into()))?;
        Ok(folder)
    }

    /// Opens the folder.
    ///
    /// # Errors
    /// When there is none, it is a link, or others could write to it.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |what: String| FolderError { path: path.to_owned(), what };
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::ENOTDIR | Errno::ELOOP => failed("it is a link or no folder".to_owned()),
            errno => failed(io::Error::from(errno).to_string()),
        })?;
        let facts = fd.try_clone().and_then(|copy| File::from(copy).metadata());
        let facts = facts.map_err(|error| failed(error.to_string()))?;
        if facts.uid() != geteuid().as_raw() || facts.mode() & 0o022 != 0 {
            let what = "it is another user's, or others may write to it: chown root, chmod 700";
            return Err(failed(what.to_owned()));
        }
        Ok(Self { fd, path: path.to_owned(), begun: 0 })
    }

    /// Whether it could be used; one that isn't there would be made.
    ///
    /// # Errors
    /// Why it couldn't.
    pub fn usable(path: &Path) -> Result<(), FolderError> {
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => Self::open(path).map(drop),
        }
    }

    /// The path of what has this name.
    #[must_use]
    pub fn path_of(&self, sha256: &Text) -> PathBuf {
        self.path.join(&*sha256.to_str_lossy())
    }

    /// Everything in it that is ours.
    ///
    /// # Errors
    /// When it can't be listed.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let here = openat(&self.fd, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut entries = Vec::new();
        for entry in Dir::from_fd(here)?.iter().take(ENTRIES_MOST).filter_map(Result::ok) {
            let Ok(file) = entry.file_name().to_str() else { continue };
            let Some(name) = Name::parse(file) else { continue };
            let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
            let Ok(facts) = nix::sys::stat::fstatat(&self.fd, file, flags) else { continue };
            let size = u64::try_from(facts.st_size).unwrap_or(0);
            let when = u64::try_from(facts.st_mtime).unwrap_or(0);
            entries.push(Entry { file: file.to_owned(), name, size, when });
        }
        Ok(entries)
    }

    /// What is kept under this hash.
    ///
    /// # Errors
    /// When it isn't there, or is no file of ours.
    pub fn read(&self, sha256: &Text) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.fd, &*sha256.to_str_lossy(), flags, Mode::empty())?);
        let facts = file.metadata()?;
        match facts.is_file() && facts.uid() == geteuid().as_raw() {
            true => Ok(file),
            false => Err(io::Error::other("it is no file that the sensor wrote")),
        }
    }

    /// Whether it holds this; it counts as put there now.
    #[must_use]
    pub fn holds(&self, found: &Digest) -> bool {
        let whole = |file: File| file.metadata().is_ok_and(|facts| facts.len() == found.size);
        let (now, flags) = (TimeSpec::UTIME_NOW, UtimensatFlags::NoFollowSymlink);
        let name = found.sha256.to_str_lossy();
        self.read(&found.sha256).is_ok_and(whole) && utimensat(&self.fd, &*name, &now, &now, flags).is_ok()
    }

    /// Writes a file, and names it by what was written; none when it has more than `most` bytes.
    ///
    /// # Errors
    /// When it can't be read or written; then nothing of it stays.
    pub fn put(&mut self, file: &File, most: u64) -> io::Result<Option<Digest>> {
        self.begun += 1;
        let name = format!("{UNFINISHED}{}-{}", std::process::id(), self.begun);
        let result = self.write(&name, file, most);
        if !matches!(result, Ok(Some(_))) {
            self.remove(&name);
        }
        result
    }

    fn write(&self, name: &str, file: &File, most: u64) -> io::Result<Option<Digest>> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut to = File::from(openat(&self.fd, name, flags, Mode::S_IRUSR)?);
        let Some(found) = copy(file, &mut to, most)? else { return Ok(None) };
        to.sync_all()?;
        renameat(&self.fd, name, &self.fd, &*found.sha256.to_str_lossy())?;
        nix::unistd::fsync(&self.fd)?;
        Ok(Some(found))
    }

    /// Notes who ran it.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn note(&self, runner: &Runner) -> io::Result<()> {
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let name = runner.name();
        openat(&self.fd, name.as_str(), flags, Mode::S_IRUSR)?;
        Ok(())
    }

    /// Removes an entry.
    pub fn remove(&self, file: &str) {
        // It may be gone already: somebody else keeps the folder within its bounds too.
        let _: nix::Result<()> = unlinkat(self.fd.as_fd(), file, UnlinkatFlags::NoRemoveDir);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sensor-folder-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn names_say_what_they_are_of() {
        let (sha256, entity) = ("a".repeat(64), "0".repeat(32));
        let runner = Runner { sha256: Text::from(sha256.clone()), entity: Text::from(entity), pid: 7 };
        assert_eq!(Name::parse(&sha256), Some(Name::Image(runner.sha256.clone())));
        assert_eq!(Name::parse(&runner.name()), Some(Name::Runner(runner.clone())));
        assert_eq!(Name::parse("tmp-1-2"), Some(Name::Unfinished));
        for wrong in
            ["", ".", "A", &format!("{sha256}."), &format!("{}.x", runner.name()), &sha256.to_uppercase()]
        {
            assert_eq!(Name::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_put_is_there_by_its_hash() {
        let place = place("put");
        let path = place.join("evidence");
        let mut folder = Folder::make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
        let source = place.join("source");
        fs::write(&source, b"abc").unwrap();
        let file = File::open(&source).unwrap();
        assert!(folder.put(&file, 2).unwrap().is_none());
        let found = folder.put(&file, 3).unwrap().unwrap();
        assert!(folder.holds(&found));
        let kept = fs::metadata(folder.path_of(&found.sha256)).unwrap();
        assert_eq!((kept.permissions().mode() & 0o7777, kept.len()), (0o400, 3));
        let runner = Runner { sha256: found.sha256.clone(), entity: Text::from("1".repeat(32)), pid: 9 };
        folder.note(&runner).unwrap();
        let names: Vec<_> = folder.entries().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), 2, "nothing unfinished stays");
        assert!(names.contains(&Name::Runner(runner)));
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn links_are_not_followed() {
        let place = place("link");
        let (real, link) = (place.join("real"), place.join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        assert!(Folder::make(&link).is_err());
        let folder = Folder::make(&real).unwrap();
        let sha256 = Text::from("b".repeat(64));
        symlink("/etc/passwd", folder.path_of(&sha256)).unwrap();
        assert!(folder.read(&sha256).is_err());
        assert!(!folder.holds(&Digest { sha256, size: 1 }));
        fs::set_permissions(&real, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Folder::make(&real).is_err(), "others may write to it");
        fs::remove_dir_all(&place).unwrap();
    }
}
