//! Programs whose trade looks like an intruder's: by path, owned by root, and not for others to write.

use crate::{event::Running, process::Process, record::Text};

/// Programs that put new files in place of running ones as their trade.
const PACKAGE_MANAGERS: [&str; 12] = [
    "/usr/bin/dpkg",
    "/usr/bin/apt-get",
    "/usr/bin/apt",
    "/usr/bin/rpm",
    "/usr/bin/dnf",
    "/usr/bin/dnf5",
    "/usr/bin/microdnf",
    "/usr/bin/yum",
    "/usr/bin/pacman",
    "/sbin/apk",
    "/usr/sbin/apk",
    "/usr/bin/zypper",
];

/// Whether it is called like a package manager, and its executable is root's, on disk under its own name, and not for others to
/// write. Where it lives others may have put something else there: that it is the host's is to be asked as well.
#[must_use]
pub fn package_manager(process: &Process) -> bool {
    let known = process
        .image
        .executable
        .as_ref()
        .is_some_and(|path| PACKAGE_MANAGERS.iter().any(|known| known.as_bytes() == path.as_bytes()));
    known && trusted(&process.now)
}

/// Only root can have put it there.
#[must_use]
pub fn trusted(running: &Running) -> bool {
    running.uid == 0
        && running.mode & 0o022 == 0
        && running.nlink != 0
        && running.flags & Running::UNHASHED == 0
}

/// Container runtimes that execute a copy of themselves from memory, to keep containers off their binary.
const RUNTIMES: [&str; 8] = [
    "/usr/bin/runc",
    "/usr/sbin/runc",
    "/usr/local/bin/runc",
    "/usr/local/sbin/runc",
    "/usr/bin/crun",
    "/usr/local/bin/crun",
    "/usr/libexec/crio/runc",
    "/usr/libexec/crio/crun",
];

/// Whether what ran before is called like such a runtime, and its file is root's; that it is the host's is to be asked as well.
#[must_use]
pub fn runtime(executable: Option<&Text>, running: &Running) -> bool {
    executable.is_some_and(|path| RUNTIMES.iter().any(|known| known.as_bytes() == path.as_bytes()))
        && trusted(running)
}
