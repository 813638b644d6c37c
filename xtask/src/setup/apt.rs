//! apt, as a task uses it: never interactive, never removing anything.

use std::process::Command;

use crate::command;
use crate::error::Result;
use crate::say;

/// The suffix of the newer compiler in Debian's stable releases.
pub(super) const STABLE_SUFFIX: &str = "-web";

/// The suffix of the compiler packages that can be installed here. Only a compiler new enough has
/// the BPF library, so the one that has it is the right one.
pub(super) fn compiler_suffix() -> &'static str {
    if !has("libstd-rust-web-dev-bpf") && has("libstd-rust-dev-bpf") {
        return "";
    }
    STABLE_SUFFIX
}

/// Whether apt's lists have the package.
pub(super) fn has(package: &str) -> bool {
    let mut command = Command::new("apt-cache");
    command.env("LC_ALL", "C").args(["policy", package]);
    command::read(&mut command).is_ok_and(|text| has_candidate(&text))
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .any(|version| version != "(none)")
}

/// Fetches apt's lists anew.
pub(super) fn update() -> Result<()> {
    say("refreshing the package lists");
    command::run(apt_get().arg("update"))
}

/// Installs packages; with old lists it tries a second time after refreshing them.
pub(super) fn install(packages: &[String]) -> Result<()> {
    if command::run(&mut installation(packages)).is_ok() {
        return Ok(());
    }
    update()?;
    command::run(&mut installation(packages))
}

fn installation(packages: &[String]) -> Command {
    let mut command = apt_get();
    command.args(["install", "-y", "--no-install-recommends", "--no-remove"]).args(packages);
    command
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-q", "-o", "Dpkg::Use-Pty=0"])
        .args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_policy() {
        assert!(has_candidate("x:\n  Installed: (none)\n  Candidate: 4:12\n"));
        assert!(!has_candidate("x:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }
}
