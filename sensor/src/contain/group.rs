//! A cgroup of version 2 of our own: who is moved into it is frozen there and can't fork, and all of it is killed at once.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::Id;
use crate::procfs::{Reader, cgroups::Cgroups};

/// How names of ours begin; an id follows.
const PREFIX: &str = "sensor-";
/// How long one may wait for its first member, nanoseconds.
const WAITS_NS: u64 = 60_000_000_000;
/// Most bytes of a list of members that are read.
const MOST_LIST: u64 = 16 * 1024 * 1024;

/// The cgroup.
pub(super) struct Group {
    root: PathBuf,
    path: PathBuf,
    procs: File,
}

impl Group {
    /// Makes it, frozen.
    pub(super) fn make(reader: &Reader, id: Id) -> io::Result<Self> {
        let root = root(reader)?;
        clear(&root, id);
        let path = root.join(format!("{PREFIX}{id}"));
        fs::create_dir(&path)?;
        let frozen = Self::open(root, path.clone()).and_then(|group| {
            group.set("cgroup.freeze", "1")?;
            Ok(group)
        });
        frozen.inspect_err(|_| drop(fs::remove_dir(&path)))
    }

    /// The one that an earlier command made.
    pub(super) fn find(reader: &Reader, id: Id) -> io::Result<Self> {
        let root = root(reader)?;
        let path = root.join(format!("{PREFIX}{id}"));
        Self::open(root, path)
    }

    fn open(root: PathBuf, path: PathBuf) -> io::Result<Self> {
        let procs = OpenOptions::new().write(true).open(path.join("cgroup.procs"))?;
        Ok(Self { root, path, procs })
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path.join(file))?.write_all(value.as_bytes())
    }

    /// Moves a process into it, with its threads; while that lasts nobody forks. One that is gone is no failure.
    pub(super) fn add(&mut self, pid: u32) -> io::Result<()> {
        unless_ended(self.procs.write_all(pid.to_string().as_bytes()))
    }

    /// Who is in it.
    pub(super) fn pids(&self) -> io::Result<Vec<u32>> {
        let mut text = String::new();
        File::open(self.path.join("cgroup.procs"))?.take(MOST_LIST).read_to_string(&mut text)?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Whether a process in these is in it.
    pub(super) fn is(&self, cgroups: &Cgroups) -> bool {
        let name = cgroups.unified.as_ref().and_then(|path| path.file_name());
        name.is_some() && name == self.path.file_name()
    }

    /// Whether all in it are still.
    pub(super) fn is_frozen(&self) -> bool {
        let events = fs::read_to_string(self.path.join("cgroup.events")).unwrap_or_default();
        events.lines().any(|line| line == "frozen 1")
    }

    /// Kills all in it (since Linux 5.14).
    pub(super) fn kill(&self) -> io::Result<()> {
        self.set("cgroup.kill", "1")
    }

    /// Moves a process back to where it was, or, where that is gone, to the root; there it goes on. One
    /// that is gone is no failure.
    pub(super) fn put_back(&self, pid: u32, home: Option<&Path>) -> io::Result<()> {
        let put = |folder: &Path| {
            let mut procs = OpenOptions::new().write(true).open(folder.join("cgroup.procs"))?;
            procs.write_all(pid.to_string().as_bytes())
        };
        let home = home.map(|home| self.root.join(home.strip_prefix("/").unwrap_or(home)));
        let gone_on = home.map_or(Err(io::ErrorKind::NotFound.into()), |home| put(&home));
        unless_ended(gone_on.or_else(|_| put(&self.root)))
    }

    /// Lets all in it go on.
    pub(super) fn thaw(&self) -> io::Result<()> {
        self.set("cgroup.freeze", "0")
    }

    /// Removes it, if nobody is left in it; the kernel may still hold who has just ended.
    pub(super) fn remove(&self) -> bool {
        fs::remove_dir(&self.path).is_ok()
    }
}

/// What came of moving a process, which may have ended before.
fn unless_ended(moved: io::Result<()>) -> io::Result<()> {
    match moved {
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
        result => result,
    }
}

/// Where cgroups of version 2 are.
fn root(reader: &Reader) -> io::Result<PathBuf> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "no cgroups of version 2 are mounted");
    reader.cgroup_root().ok_or_else(missing)
}

/// Removes those of earlier commands that nobody is in any more: removing fails where somebody is. One that was made just
/// now may wait for its first.
fn clear(root: &Path, now: Id) {
    let entries = fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let old = entries.filter(|entry| {
        let name = entry.file_name();
        let id =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|id| id.parse::<Id>().ok());
        id.is_some_and(|id| id.0.saturating_add(WAITS_NS) < now.0)
    });
    old.for_each(|entry| drop(fs::remove_dir(entry.path())));
}

/// Lets a process go on that the freezer of version 1 holds, and that so can't die: by moving it out. Whether it was held.
pub(super) fn thaw_first_version(reader: &Reader, pid: u32) -> io::Result<bool> {
    let (Some(root), Some(cgroups)) = (reader.freezer_root(), reader.cgroups(pid)) else { return Ok(false) };
    let Some(path) = cgroups.freezer.filter(|path| path != Path::new("/")) else { return Ok(false) };
    let folder = root.join(path.strip_prefix("/").unwrap_or(&path));
    if fs::read_to_string(folder.join("freezer.state"))?.trim() == "THAWED" {
        return Ok(false);
    }
    fs::write(root.join("cgroup.procs"), pid.to_string())?;
    Ok(true)
}
