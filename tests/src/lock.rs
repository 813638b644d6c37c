//! A lock over all test processes of the machine, for tests that would disturb each other: floods, and measurements.

use nix::fcntl::{Flock, FlockArg};
use std::fs::File;

/// Held while it lives.
#[derive(Debug)]
#[must_use = "the lock is let go when this is dropped"]
pub struct Lock {
    _file: Flock<File>,
}

/// Waits until no other test runs that asked for a lock. Not for a test program that uses [`crate::Sensor::shared`], which
/// holds a lock itself.
pub fn alone() -> Lock {
    lock(FlockArg::LockExclusive)
}

/// Waits until no test runs that wants to be alone.
pub fn together() -> Lock {
    lock(FlockArg::LockShared)
}

fn lock(how: FlockArg) -> Lock {
    let path = std::env::temp_dir().join("sensor-tests.lock");
    let file =
        File::options().write(true).create(true).truncate(false).open(&path).expect("open the lock file");
    let file = Flock::lock(file, how).map_err(|(_, why)| why).expect("lock");
    Lock { _file: file }
}
