//! What a run leaves for the next: how far it came, so that one that was killed is told by the next.
//!
//! A file for each run that lives, in a folder that only root can write, locked for as long as the run lives
//! and gone when it ends as it was asked to. One that is there and not locked is of a run that was killed.

use std::{
    fmt, fs,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir,
    fcntl::{Flock, FlockArg, OFlag, openat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, geteuid, unlinkat},
};

/// Most files that are looked at; there is one a run.
const FILES_MOST: usize = 1024;
/// Bytes of a file: one write of less than a page is there wholly or not at all.
const SIZE: usize = 160;
/// How names of files begin; the run's id follows.
const PREFIX: &str = "run-";

/// Why nothing can be left for the next run.
#[derive(Debug, thiserror::Error)]
#[error("keeping what the next run is to know in {}: {what}", folder.display())]
pub struct RunsError {
    folder: PathBuf,
    what: String,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its id, with which the ids of its events begin.
    pub id: String,
    /// The boot in which it was.
    pub boot: String,
    /// Its process.
    pub pid: u32,
    /// The number of its last event that is known.
    pub sequence: u64,
    /// When that was, seconds since the epoch.
    pub seconds: u64,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, boot, pid, sequence, seconds } = self;
        write!(f, "sensor 1 {id} {boot} {pid} {sequence} {seconds}")
    }
}

impl Run {
    /// Of a file's text; none when it is anything else.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim_end().strip_prefix("sensor 1 ")?.split(' ');
        let plain = |word: &&str| {
            (1..=36).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        };
        let mut next = || words.next();
        let run = Self {
            id: next().filter(plain)?.to_owned(),
            boot: next().filter(plain)?.to_owned(),
            pid: next()?.parse().ok()?,
            sequence: next()?.parse().ok()?,
            seconds: next()?.parse().ok()?,
        };
        next().is_none().then_some(run)
    }
}

/// The file of this run.
pub struct Runs {
    folder: OwnedFd,
    path: PathBuf,
    file: Flock<File>,
    run: Run,
}

impl Runs {
    /// Begins a run, and gives those that didn't end as they were asked to, which nobody was told of yet.
    ///
    /// # Errors
    /// When the folder can't be made or used, or others could write to it.
    pub fn begin(path: &Path, run: Run) -> Result<(Self, Vec<Run>), RunsError> {
        let failed = |what: String| RunsError { folder: path.to_owned(), what };
        let folder = folder(path).map_err(failed)?;
        // One at a time: a file that is made and not yet locked is no dead run's.
        let lock = folder.try_clone().map_err(|error| failed(error.to_string()))?;
        let lock = Flock::lock(File::from(lock), FlockArg::LockExclusive)
            .map_err(|(_, errno)| failed(errno.to_string()))?;
        let broken = broken(&folder).map_err(|error| failed(error.to_string()))?;
        let file = make(&folder, &name(&run.id), &run).map_err(|error| failed(error.to_string()))?;
        drop(lock);
        Ok((Self { folder, path: path.to_owned(), file, run }, broken))
    }

    /// This run came so far.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn note(&mut self, sequence: u64, seconds: u64) -> Result<(), RunsError> {
        (self.run.sequence, self.run.seconds) = (sequence, seconds);
        self.file
            .write_all_at(&bytes(&self.run), 0)
            .map_err(|error| RunsError { folder: self.path.clone(), what: error.to_string() })
    }

    /// This run ended as it was asked to: nothing is left of it.
    pub fn end(self) {
        // What stays would be told by the next run: too much rather than nothing.
        let _: nix::Result<()> =
            unlinkat(&self.folder, name(&self.run.id).as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

fn name(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// A line of always the same length.
fn bytes(run: &Run) -> Vec<u8> {
    let mut bytes = run.to_string().into_bytes();
    bytes.resize(SIZE - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// Opens the folder, or makes it; links aren't followed, and nobody else may write there.
fn folder(path: &Path) -> Result<OwnedFd, String> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.to_string()),
        _ => {}
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| errno.to_string())?;
    let copy = folder.try_clone().map_err(|error| error.to_string())?;
    let facts = File::from(copy).metadata().map_err(|error| error.to_string())?;
    match facts.uid() == geteuid().as_raw() && facts.mode() & 0o022 == 0 {
        true => Ok(folder),
        false => Err("it is another user's, or others may write to it: chown root, chmod 700".to_owned()),
    }
}

fn make(folder: &OwnedFd, name: &str, run: &Run) -> io::Result<Flock<File>> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    file.write_all(&bytes(run))?;
    // Where the folder outlives a loss of power, the file is to do so too.
    file.sync_all()?;
    File::from(folder.try_clone()?).sync_all()?;
    Ok(file)
}

/// Runs whose file nobody holds. They are told once: the files go.
fn broken(folder: &OwnedFd) -> nix::Result<Vec<Run>> {
    let here = openat(folder, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut runs = Vec::new();
    for entry in Dir::from_fd(here)?.iter().take(FILES_MOST).filter_map(Result::ok) {
        let Some(name) = entry.file_name().to_str().ok().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        if let Some(run) = dead(folder.as_fd(), name) {
            let _: nix::Result<()> = unlinkat(folder, name, UnlinkatFlags::NoRemoveDir);
            runs.extend(run);
        }
    }
    Ok(runs)
}

/// The run of a file that nobody holds, as far as it can be read; none when it lives or isn't ours.
fn dead(folder: std::os::fd::BorrowedFd<'_>, name: &str) -> Option<Option<Run>> {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty()).ok()?);
    let facts = file.metadata().ok()?;
    if !facts.is_file() || facts.uid() != geteuid().as_raw() {
        return None;
    }
    let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
    let mut text = String::new();
    let read = (&*file).take(SIZE as u64).read_to_string(&mut text);
    Some(read.ok().and_then(|_| Run::parse(&text)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn run(id: &str) -> Run {
        let boot = "6f1c0f5e-0000-4000-8000-5d0c7a3b9e21".to_owned();
        Run { id: id.to_owned(), boot, pid: 7, sequence: u64::MAX, seconds: 9 }
    }

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sensor-runs-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn lines_are_read_back_and_nothing_else_is() {
        let line = bytes(&run("0123456789abcdef"));
        assert_eq!(line.len(), SIZE);
        let text = String::from_utf8(line).unwrap();
        assert_eq!(Run::parse(&text), Some(run("0123456789abcdef")));
        for end in 0..text.trim_end().len() {
            assert_ne!(Run::parse(&text[..end]), Some(run("0123456789abcdef")), "{end}");
        }
        for wrong in
            ["", "sensor 2 a b 1 2 3", "sensor 1 a b 1 2 3 4", "sensor 1 a \x1b 1 2 3", "sensor 1 a b -1 2 3"]
        {
            assert_eq!(Run::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_is_killed_is_told_once_and_who_lives_or_ends_is_not() {
        let folder = place("told");
        let (first, broken) = Runs::begin(&folder, run("a")).unwrap();
        assert!(broken.is_empty());
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let (mut second, broken) = Runs::begin(&folder, run("b")).unwrap();
        assert!(broken.is_empty(), "the first lives: {broken:?}");
        second.note(42, 43).unwrap();
        first.end();
        drop(second);
        let (third, broken) = Runs::begin(&folder, run("c")).unwrap();
        assert_eq!(broken, [Run { sequence: 42, seconds: 43, ..run("b") }]);
        let (fourth, broken) = Runs::begin(&folder, run("d")).unwrap();
        assert!(broken.is_empty(), "{broken:?}");
        third.end();
        fourth.end();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_others_put_there_is_left_alone_or_refused() {
        let folder = place("others");
        symlink("/", &folder).unwrap();
        assert!(Runs::begin(&folder, run("a")).is_err(), "a link");
        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Runs::begin(&folder, run("a")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("others may write") && error.contains("sensor-runs-others"), "{error}");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let precious = folder.with_extension("precious");
        fs::write(&precious, "x").unwrap();
        symlink(&precious, folder.join("run-b")).unwrap();
        fs::write(folder.join("run-c"), [0xff; 4096]).unwrap();
        fs::create_dir(folder.join("run-d")).unwrap();
        nix::unistd::mkfifo(&folder.join("run-e"), Mode::S_IRWXU).unwrap();
        let (runs, broken) = Runs::begin(&folder, run("a")).unwrap();
        assert!(broken.is_empty(), "{broken:?}");
        runs.end();
        assert_eq!(fs::read(&precious).unwrap(), b"x");
        assert!(
            !folder.join("run-c").exists() && folder.join("run-d").exists() && folder.join("run-e").exists()
        );
        fs::remove_file(precious).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
