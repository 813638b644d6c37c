//! Where the journal lies: a folder that is root's alone, never reached through a link; one run at a time writes there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag},
    unistd::geteuid,
};

use super::JournalError;

/// The database. SQLite puts two more files beside it while it is open.
const NAME: &str = "journal.db";
const BESIDE: [&str; 2] = ["-wal", "-shm"];
/// What the name of one that can't be read is followed by.
const ASIDE: &str = ".damaged";
/// Locked by the run that writes.
const LOCK: &str = "lock";

/// The folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Opens it, or makes it and the one it is in.
    ///
    /// # Errors
    /// When it can't be made, is a link, or isn't ours alone.
    pub fn make(path: &Path) -> Result<Self, JournalError> {
        let failed = JournalError::folder(path);
        for folder in [path.parent().unwrap_or(path), path] {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
        }
        Self::open(path)
    }

    /// Opens it.
    ///
    /// # Errors
    /// When it isn't there, is a link, or isn't ours alone.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = JournalError::folder(path);
        let facts = fs::symlink_metadata(path).map_err(&failed)?;
        if !facts.is_dir() || facts.uid() != geteuid().as_raw() || facts.mode() & 0o077 != 0 {
            let what = "it is a link, another user's, or open to others: chown root, chmod 700";
            return Err(JournalError::Folder { path: path.to_owned(), what: what.to_owned() });
        }
        // SQLite refuses links anywhere in a path that it is told not to follow, also those above the folder, which are the host's own.
        fs::canonicalize(path).map(Self).map_err(&failed)
    }

    /// Whether it could be used; one that isn't there would be made.
    ///
    /// # Errors
    /// Why it couldn't.
    pub fn usable(path: &Path) -> Result<(), JournalError> {
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => Self::open(path).map(drop),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The database in it.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.0.join(NAME)
    }

    /// Makes an empty database where there is none, for its owner alone.
    ///
    /// # Errors
    /// When it can't be made.
    pub(super) fn touch(&self) -> Result<(), JournalError> {
        // One that is there isn't opened: closing it would give up SQLite's locks on it, which are the process's.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.database()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(JournalError::folder(&self.0)(error))
            }
            _ => Ok(()),
        }
    }

    /// Keeps other runs from writing, until what is returned is dropped.
    ///
    /// # Errors
    /// When another does, or the file can't be made.
    pub(super) fn lock(&self) -> Result<Flock<File>, JournalError> {
        let failed = JournalError::folder(&self.0);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
        let file = options.open(self.0.join(LOCK)).map_err(&failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                // Only for what is said to the next: there may be no space.
                let _: io::Result<()> =
                    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
                Ok(lock)
            }
            Err((file, Errno::EWOULDBLOCK)) => {
                Err(JournalError::Taken { path: self.0.clone(), who: holder(file) })
            }
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }

    /// Bytes of the database and of what is written before it, as they lie on the disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let all = ["", BESIDE[0], BESIDE[1]];
        all.iter()
            .map(|end| fs::metadata(self.0.join(format!("{NAME}{end}"))).map_or(0, |facts| facts.len()))
            .sum()
    }

    /// Bytes of what is written before it reaches the database.
    #[must_use]
    pub(super) fn bytes_ahead(&self) -> u64 {
        fs::metadata(self.0.join(format!("{NAME}{}", BESIDE[0]))).map_or(0, |facts| facts.len())
    }

    /// Puts a database that can't be read out of the way, in place of one that was before, and says where. Nobody may have it open.
    ///
    /// # Errors
    /// When it can't be renamed.
    pub(super) fn set_aside(&self) -> Result<PathBuf, JournalError> {
        let failed = JournalError::folder(&self.0);
        let aside = format!("{NAME}{ASIDE}");
        for end in BESIDE {
            // One that belongs to another database would be taken for this one's.
            removed(&self.0.join(format!("{aside}{end}"))).map_err(&failed)?;
        }
        let to = self.0.join(&aside);
        let (log, index) = (BESIDE[0], BESIDE[1]);
        // Before the database: what is written ahead of one that is gone would become the next one's.
        match fs::rename(self.0.join(format!("{NAME}{log}")), self.0.join(format!("{aside}{log}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        removed(&self.0.join(format!("{NAME}{index}"))).map_err(&failed)?;
        fs::rename(self.database(), &to).map_err(&failed)?;
        Ok(to)
    }
}

/// Who holds the lock, by what he wrote there.
fn holder(file: File) -> String {
    let mut text = String::new();
    // Without it the message is less helpful, and as true.
    let _: io::Result<usize> = file.take(16).read_to_string(&mut text);
    text.trim().parse().map_or_else(|_| String::new(), |pid: u32| format!(" (pid {pid})"))
}

fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::journal::schema::{self, Access};

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sensor-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn it_is_ours_alone_and_no_link() {
        let place = place("folder");
        let (real, link) = (place.join("lib/journal"), place.join("link"));
        let folder = Folder::make(&real).unwrap();
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o700);
        folder.touch().unwrap();
        assert_eq!(fs::metadata(folder.database()).unwrap().permissions().mode() & 0o7777, 0o600);
        symlink(&real, &link).unwrap();
        let error = Folder::make(&link).unwrap_err().to_string();
        assert!(error.contains("it is a link"), "{error}");
        fs::remove_file(folder.database()).unwrap();
        symlink("/etc/passwd", folder.database()).unwrap();
        assert!(schema::open(&folder, Access::Keep).is_err());
        fs::set_permissions(&real, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(Folder::make(&real).is_err() && Folder::usable(&real).is_err());
        assert!(Folder::usable(&place.join("none")).is_ok());
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn one_run_writes_and_the_other_is_told_who() {
        let place = place("lock");
        let folder = Folder::make(&place.join("journal")).unwrap();
        let lock = folder.lock().unwrap();
        let error = folder.lock().unwrap_err().to_string();
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        drop(lock);
        folder.lock().unwrap();
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn what_is_set_aside_takes_its_log_along() {
        let place = place("aside");
        let folder = Folder::make(&place.join("journal")).unwrap();
        for (name, text) in [("", "db"), ("-wal", "log"), ("-shm", "index"), (".damaged-wal", "old")] {
            fs::write(folder.0.join(format!("{NAME}{name}")), text).unwrap();
        }
        assert_eq!((folder.bytes(), folder.bytes_ahead()), (10, 3));
        let aside = folder.set_aside().unwrap();
        assert_eq!(fs::read(&aside).unwrap(), b"db");
        assert_eq!(fs::read(folder.0.join("journal.db.damaged-wal")).unwrap(), b"log");
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2);
        fs::write(folder.database(), "again").unwrap();
        folder.set_aside().unwrap();
        assert_eq!(fs::read(&aside).unwrap(), b"again");
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "the log of the other is gone");
        fs::remove_dir_all(&place).unwrap();
    }
}
