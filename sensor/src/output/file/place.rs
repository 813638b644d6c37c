//! The file by its name: opened without a trap, and put aside under numbers.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::{fcntl::OFlag, unistd::geteuid};

/// Most numbers that are looked at.
const NUMBERS_MOST: u16 = 1001;
const MODE: u32 = 0o640;

/// Opens it to append to; makes it, and the folder that it is in, where there is none. No other sensor writes to it meanwhile.
///
/// # Errors
/// When that can't be, or it isn't a plain file of ours alone.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).append(true).custom_flags(flags.bits()).mode(MODE);
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = folder(path);
            if !folder.exists() {
                DirBuilder::new().mode(0o750).create(folder)?;
            }
            let file = options.create_new(true).open(path)?;
            // Whatever the umask says.
            file.set_permissions(Permissions::from_mode(MODE))?;
            File::open(folder)?.sync_all()?;
            file
        }
        other => other?,
    };
    let facts = file.metadata()?;
    if !facts.is_file() || facts.nlink() > 1 || facts.uid() != geteuid().as_raw() {
        return Err(io::Error::other("it is no plain file of ours alone: take it away, or name another"));
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another program writes to it")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Gives the file the number 1, and each of the older ones the next; the last goes. After an end in the middle of it the next
/// goes on: a number that is free is where it ends.
///
/// # Errors
/// When a file can't be renamed.
pub(super) fn put_aside(path: &Path, keep: u16) -> io::Result<()> {
    let there = |number: u16| fs::symlink_metadata(numbered(path, number)).is_ok();
    for number in (keep.saturating_add(1)..=NUMBERS_MOST).take_while(|number| there(*number)) {
        fs::remove_file(numbered(path, number))?;
    }
    let last = (1..keep).find(|number| !there(*number)).unwrap_or(keep);
    for number in (1..last).rev() {
        fs::rename(numbered(path, number), numbered(path, number + 1))?;
    }
    fs::rename(path, numbered(path, 1))?;
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn numbered(path: &Path, number: u16) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}
