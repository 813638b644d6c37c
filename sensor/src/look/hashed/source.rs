//! One file, opened and hashed where it can be given up.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use md5::{Digest as _, Md5};
use nix::fcntl::OFlag;

use super::{Hashed, Role};
use crate::{
    background,
    evidence::digest::{copy, hexadecimal},
    procfs::{
        Reader,
        answering::Answering,
        mapped::path_of,
        space::{Lead, Space},
        unmarked,
    },
    record::Text,
};

/// How long nothing may come of a file.
const STALL: Duration = Duration::from_secs(5);
/// How often a file is read again that changed meanwhile.
const READINGS: u32 = 3;

/// Why a file wasn't hashed, in a few words.
pub(super) fn explain(error: &io::Error, most: u64) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            "a program or another host answers for its file system (as FUSE or NFS), and may never do so"
                .to_owned()
        }
        io::ErrorKind::TimedOut => "who answers for its file system doesn't".to_owned(),
        io::ErrorKind::FileTooLarge => format!("it has more than {most} bytes"),
        _ => error.to_string(),
    }
}

/// From where files are looked at.
#[derive(Debug, Default)]
pub(super) struct Place {
    proc: PathBuf,
    pub(super) space: Space,
    /// Only what the kernel itself answers for is asked, by these.
    answering: Option<Answering>,
}

impl Place {
    /// Where a process lives.
    pub(super) fn of(reader: &Reader, pid: u32, ask_all: bool) -> Self {
        Self {
            proc: reader.root().to_owned(),
            space: reader.space(Some(pid)),
            answering: (!ask_all).then(|| reader.answering(pid)),
        }
    }

    /// Wherever we are ourselves.
    pub(super) fn any(proc: &Path) -> Self {
        Self { proc: proc.to_owned(), ..Self::default() }
    }
}

/// A file that is to be hashed.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) role: Role,
    pub(super) place: Arc<Place>,
}

impl Source {
    /// In a thread that can be given up.
    pub(super) fn hashed(self, most: u64, md5: bool) -> io::Result<Hashed> {
        let progress = Arc::new(AtomicU64::new(0));
        let (answer, answers) = mpsc::channel();
        let counted = Arc::clone(&progress);
        // Nobody waits any more for an answer that comes too late.
        background::begin("hash", move || drop(answer.send(self.read(most, md5, &counted))))?;
        let mut before = 0;
        loop {
            match answers.recv_timeout(STALL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("its reading broke off")),
                Err(RecvTimeoutError::Timeout) => {
                    let now = progress.load(Ordering::Relaxed);
                    if now == before {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    before = now;
                }
            }
        }
    }

    fn read(&self, most: u64, md5: bool, progress: &AtomicU64) -> io::Result<Hashed> {
        if let Some(answering) = &self.place.answering
            && !answering.surely(&self.path)?
        {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let file = open(&self.path)?;
        let mut found = None;
        for _ in 0..READINGS {
            let before = file.metadata()?;
            let mut beside = Beside { md5: md5.then(Md5::new), progress };
            let digest = copy(&file, &mut beside, most)?.ok_or(io::ErrorKind::FileTooLarge)?;
            let after = file.metadata()?;
            let changed = changed(&before, &after, digest.size);
            found = Some((digest, beside.md5.map(|md5| hexadecimal(&md5.finalize())), changed, after));
            if !changed {
                break;
            }
        }
        let (digest, md5, changed, facts) = found.ok_or_else(|| io::Error::other("it wasn't read"))?;
        let (path, state) = self.name(&file, &facts);
        let (device, inode) = (facts.dev(), facts.ino());
        Ok(Hashed { role: self.role, path, state, device, inode, digest, md5, changed })
    }

    /// Its path without the mark, and what became of that.
    fn name(&self, file: &File, facts: &Metadata) -> (Text, &'static str) {
        if self.role == Role::File {
            return (Text::copy_from(self.path.as_os_str().as_bytes()), "present");
        }
        let link = path_of(&self.place.proc, file).or_else(|| self.path.read_link().ok()).unwrap_or_default();
        let leads = |path: &Text| self.place.space.lead(path, facts.ino());
        let marked = link.as_os_str().as_bytes().ends_with(b" (deleted)");
        // A file may be called so.
        if !marked || leads(&unmarked(&link, false)) == Lead::There {
            return (unmarked(&link, false), "present");
        }
        let path = unmarked(&link, true);
        let state = match path.as_bytes().starts_with(b"memfd:") {
            true => "memfd",
            false if leads(&path) == Lead::Elsewhere => "replaced",
            false => "deleted",
        };
        (path, state)
    }
}

/// Opens it without waiting for another end, as that of a pipe, and without taking a terminal.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// Whether somebody wrote to it between these; files of the kernel's own have no size.
fn changed(before: &Metadata, after: &Metadata, read: u64) -> bool {
    let times = |facts: &Metadata| {
        (facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec(), facts.len())
    };
    // That a name was made or taken away changes the time of change too, and not a byte: read once more, it is quiet.
    times(before) != times(after) || (after.len() != 0 && after.len() != read)
}

/// What else is made of the bytes that are hashed.
struct Beside<'a> {
    md5: Option<Md5>,
    progress: &'a AtomicU64,
}

impl Write for Beside<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        self.progress.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
