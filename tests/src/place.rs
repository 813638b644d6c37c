//! Where things happen: folders that go away by themselves, and mounts nobody else sees.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::DEADLINE;

/// A new folder that everybody may enter, removed with all in it at the end.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one in the machine's folder for temporary files.
    #[must_use]
    pub fn new() -> Self {
        Self::inside(&std::env::temp_dir())
    }

    /// A new one in another folder.
    #[must_use]
    pub fn inside(parent: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("sensor-tests-{}-{count}", std::process::id()));
            match fs::create_dir(&path) {
                // Of a test that was killed, whose pid this process has now.
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.expect("make a folder"),
            }
            break path;
        };
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("open the folder to all");
        // Events tell real paths: the test compares with those.
        Self(path.canonicalize().expect("canonical folder"))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a name in it.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// A new folder in it.
    pub fn folder(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir(&path).expect("make a folder");
        path
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {why}", self.0.display());
        }
    }
}

/// Makes a folder, as [`Folder::folder`], anywhere.
pub fn make_folder(path: &Path) {
    fs::create_dir(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
}

/// Runs `what` in a thread whose mounts, and those of the programs it starts, nobody else sees; they end with it.
pub fn private_mounts<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace of our own");
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .expect("make all mounts private");
            what()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Mounts a tmpfs of that many bytes (in the words of its `size=` option) on a folder.
pub fn mount_tmpfs(on: &Path, size: &str) {
    let options = format!("size={size},mode=755");
    mount(Some("tmpfs"), on, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).expect("mount a tmpfs");
}

/// Mounts a file system for the kernel's pins, an empty one.
pub fn mount_bpf(on: &Path) {
    mount(Some("bpf"), on, Some("bpf"), MsFlags::empty(), Some("mode=700")).expect("mount a bpffs");
}

/// Shows one folder at another place too.
pub fn mount_bind(from: &Path, on: &Path) {
    mount(Some(from), on, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("bind mount");
}

/// Mounts an overlay of two folders; `work` must lie on the file system of `upper`.
pub fn mount_overlay(lower: &Path, upper: &Path, work: &Path, on: &Path) -> nix::Result<()> {
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    mount(Some("overlay"), on, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
}

/// Takes away whatever is mounted there, if anything is.
pub fn unmount(from: &str) {
    while umount2(from, MntFlags::MNT_DETACH).is_ok() {}
}

/// Where cgroups of version 2 are mounted.
#[must_use]
pub fn cgroups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    Some(PathBuf::from(line.split(' ').nth(4)?))
}

/// A cgroup of version 2 that goes when it is dropped.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one below the root; not where there are none.
    #[must_use]
    pub fn make(name: &str) -> Option<Self> {
        let path = cgroups()?.join(name);
        fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Moves a process there.
    pub fn add(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel takes a moment to let go of a process that has ended.
        let deadline = Instant::now() + crate::patience(DEADLINE);
        while remove(&self.0).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

/// Removes a cgroup and those below it.
fn remove(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)?.filter_map(Result::ok) {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

#[cfg(test)]
mod tests {
    use super::{Folder, mount_tmpfs, private_mounts};
    use std::fs;

    #[test]
    fn folder_goes_away() {
        let folder = Folder::new();
        let path = folder.path().to_owned();
        fs::write(folder.at("file"), "").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn mounts_stay_private() {
        if crate::skip::skip() {
            return;
        }
        let folder = Folder::new();
        let file = folder.at("file");
        private_mounts(|| {
            mount_tmpfs(folder.path(), "1m");
            fs::write(&file, "").unwrap();
            assert!(file.exists());
        });
        assert!(!file.exists());
    }
}
