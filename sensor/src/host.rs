//! The outside world as one value: where its files are, what time it is. Tests pass another.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::time::{ClockId, clock_getres, clock_gettime};
use sha2::{Digest, Sha256};

use crate::{
    field::Field,
    format::ecs::ECS_VERSION,
    record::{Boot, Record, Text, Time},
};

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    /// Its name.
    pub name: Text,
    /// Its machine id, empty when it has none.
    pub id: Text,
    /// The id of this boot.
    pub boot_id: String,
}

impl Host {
    /// The one this runs on.
    ///
    /// # Errors
    /// When /proc isn't there.
    pub fn real() -> io::Result<Self> {
        Self::under(Path::new("/"))
    }

    /// One whose files lie under a folder.
    ///
    /// # Errors
    /// When it has no boot id.
    pub fn under(root: &Path) -> io::Result<Self> {
        let read = |path: &str| fs::read_to_string(root.join(path)).map(|text| text.trim().to_owned());
        let place = "proc/sys/kernel/random/boot_id";
        // Containers are often given a /proc of processes alone.
        let boot_id = read(place).map_err(|error| {
            let path = root.join(place);
            let what = "all of /proc is needed, also what isn't of processes (no subset=pid): mount -t proc proc /proc";
            io::Error::new(error.kind(), format!("reading {}: {error}; {what}", path.display()))
        })?;
        let name = read("proc/sys/kernel/hostname").unwrap_or_default();
        let id = read("etc/machine-id").unwrap_or_default();
        Ok(Self { root: root.to_owned(), name: name.into(), id: id.into(), boot_id })
    }

    /// The folder that all its files lie under.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where its /proc is.
    #[must_use]
    pub fn proc(&self) -> PathBuf {
        self.root.join("proc")
    }

    /// Its user database (`passwd(5)`).
    #[must_use]
    pub fn passwd(&self) -> PathBuf {
        self.root.join("etc/passwd")
    }

    /// The device of its root's file system, as `stat(2)` gives it; none when it can't be asked.
    #[must_use]
    pub fn root_device(&self) -> Option<u64> {
        fs::metadata(&self.root).ok().map(|facts| std::os::unix::fs::MetadataExt::dev(&facts))
    }

    /// What every record of it has.
    #[must_use]
    pub fn common(&self) -> Record {
        let mut record = Record::new();
        record.set(Field::EcsVersion, ECS_VERSION);
        record.set(Field::HostName, self.name.clone());
        if !self.id.is_empty() {
            record.set(Field::HostId, self.id.clone());
        }
        record.set(Field::HostBootId, self.boot_id.clone());
        record.set(Field::SensorVersion, env!("CARGO_PKG_VERSION"));
        record
    }

    /// Tells this run from others, also of other hosts.
    #[must_use]
    pub fn run_id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.boot_id.as_bytes());
        hash.update(self.boot_now().to_le_bytes());
        hash.update(std::process::id().to_le_bytes());
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Nanoseconds since boot, sleep included (`CLOCK_BOOTTIME`).
    #[must_use]
    pub fn boot_now(&self) -> u64 {
        since_boot().as_nanos().try_into().unwrap_or(u64::MAX)
    }

    /// The moment of the epoch at which the host booted, by its present clock.
    #[must_use]
    pub fn boot(&self) -> Boot {
        let nanos = |clock| i64::try_from(now(clock).as_nanos()).unwrap_or(i64::MAX);
        Boot(nanos(ClockId::CLOCK_REALTIME).saturating_sub(nanos(ClockId::CLOCK_BOOTTIME)))
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Time {
        self.boot().at(self.boot_now())
    }

    /// By how much the time of a file's change may have been rounded down: the kernel's tick (`current_time`, `fs/inode.c`),
    /// nanoseconds.
    #[must_use]
    pub fn tick(&self) -> u64 {
        // The coarsest that a kernel has, if it doesn't tell.
        let tick =
            clock_getres(ClockId::CLOCK_REALTIME_COARSE).map_or(Duration::from_millis(10), Duration::from);
        tick.as_nanos().try_into().unwrap_or(u64::MAX)
    }

    /// Size of a page, bytes.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .ok()
            .flatten()
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(4096)
    }
}

/// Time since boot, sleep included: for deadlines of who knows no host.
#[must_use]
pub fn since_boot() -> Duration {
    now(ClockId::CLOCK_BOOTTIME)
}

/// These clocks are always there; a kernel without one tells the epoch.
fn now(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}
