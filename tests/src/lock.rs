//! A lock over all test processes of the machine, for tests that would disturb each other: floods, and measurements.

use nix::fcntl::{Flock, FlockArg};
use std::fs::File;

/// Held while it lives.
#[must_use = "the lock is let go when this is dropped"]
pub struct Alone {
    _file: Flock<File>,
}

/// Waits until no other test that asked for it runs.
pub fn alone() -> Alone {
    let path = std::env::temp_dir().join("sensor-tests.lock");
    let file =
        File::options().write(true).create(true).truncate(false).open(&path).expect("open the lock file");
    let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, why)| why).expect("lock");
    Alone { _file: lock }
}
