//! A folder for what is kept from one question to the next: small files that are replaced as a whole.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg, OFlag},
    unistd::geteuid,
};

/// Most bytes of a file.
const MOST: u64 = 64 * 1024 * 1024;
/// Most files that are listed.
const NAMES_MOST: usize = 65_536;

/// The folder: only its owner may enter it.
#[derive(Clone, Debug)]
pub struct Shelf(PathBuf);

impl Shelf {
    /// Makes it, and the one that it is in, where it isn't there.
    ///
    /// # Errors
    /// When it can't be made, is a link, or isn't ours alone.
    pub fn make(path: &Path) -> io::Result<Self> {
        for folder in [path.parent().unwrap_or(path), path] {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let facts = fs::symlink_metadata(path)?;
        if !facts.is_dir() || facts.uid() != geteuid().as_raw() || facts.mode() & 0o077 != 0 {
            let what = "it is a link, another user's, or open to others: chown root, chmod 700";
            return Err(io::Error::other(what));
        }
        Ok(Self(path.to_owned()))
    }

    /// Holds off others who would change what lies here, until what is returned is dropped.
    ///
    /// # Errors
    /// When it can't be locked.
    pub fn lock(&self) -> io::Result<Flock<File>> {
        Flock::lock(File::open(&self.0)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
    }

    /// A file's text; none when there is none.
    ///
    /// # Errors
    /// When it can't be read, is too large or no text.
    pub fn read(&self, name: &str) -> io::Result<Option<String>> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = String::new();
        file.take(MOST + 1).read_to_string(&mut text)?;
        match text.len() as u64 > MOST {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(Some(text)),
        }
    }

    /// Puts a file there whole or not at all.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn replace(&self, name: &str, text: &str) -> io::Result<()> {
        let unfinished = self.0.join(format!("{name}.{}.part", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&unfinished)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&unfinished, self.0.join(name)));
        if written.is_err() {
            // What isn't finished is worth nothing.
            let _: io::Result<()> = fs::remove_file(&unfinished);
        }
        written
    }

    /// The names of the files that end with this.
    ///
    /// # Errors
    /// When they can't be listed.
    pub fn names(&self, end: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)?.take(NAMES_MOST) {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(end) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Takes a file away, if it is there.
    ///
    /// # Errors
    /// When it can't be.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts a file out of the way that can't be used, in place of one that was before, and says where.
    ///
    /// # Errors
    /// When it can't be renamed.
    pub fn set_aside(&self, name: &str) -> io::Result<PathBuf> {
        let aside = self.0.join(format!("{name}.broken"));
        fs::rename(self.0.join(name), &aside)?;
        Ok(aside)
    }
}
