//! The kernel's audit system: only one process can have it, it must be left as it was found, and who began before it
//! was switched on is passed over.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::system::{Places, rules};
use super::tracer::Means;
use crate::command;
use crate::error::{Error, Result};

/// What is left loaded at the end, and is no sign of somebody else.
const LEFT: &str = "-a never,task";
/// What waits in the kernel when nothing of the work can be among it: the look itself is recorded too.
const REST: u64 = 32;

/// Where auditd writes.
pub(crate) fn log(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

/// Sees that nobody else uses it, and writes the configuration.
pub(crate) fn prepare(means: &Means<'_>, places: &Places) -> Result<()> {
    // A run that was killed leaves it on.
    if mark(means).exists() && number(&status(means)?, "pid") == Some(0) {
        end(means)?;
    }
    let status = status(means)?;
    let listed = control(means, &["-l"])?;
    let own = |line: &str| line.trim() == LEFT || line.trim() == "No rules";
    if number(&status, "enabled") != Some(0) || number(&status, "pid") != Some(0) || !listed.lines().all(own)
    {
        return Err(Error::Check(
            "the kernel's audit system is in use on this machine: left alone".to_owned(),
        ));
    }
    let plugins = means.folder.join("plugins.d");
    fs::create_dir_all(&plugins).map_err(Error::file("make", &plugins))?;
    let log = log(&means.folder);
    let _ = fs::remove_file(&log);
    let path = means.folder.join("auditd.conf");
    let text =
        format!("{}log_file = {}\nplugin_dir = {}\n", rules("auditd.conf"), log.display(), plugins.display());
    fs::write(&path, text).map_err(Error::file("write", &path))?;
    for path in [&path, &places.rules] {
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(path, mode).map_err(Error::file("set the mode of", path))?;
    }
    Ok(())
}

/// Whether it writes to this process.
pub(crate) fn writes_to(means: &Means<'_>, pid: u32) -> Result<bool> {
    let status = status(means)?;
    Ok(number(&status, "pid") == Some(u64::from(pid)) && number(&status, "enabled") == Some(1))
}

/// Loads rules.
pub(crate) fn load(means: &Means<'_>, rules: &Path) -> Result<()> {
    let mark = mark(means);
    fs::write(&mark, "").map_err(Error::file("write", &mark))?;
    control(means, &["-R", &rules.to_string_lossy()]).map(drop)
}

/// Waits until nothing waits in the kernel.
pub(crate) fn drain(means: &Means<'_>, deadline: Instant) -> Result<()> {
    while number(&status(means)?, "backlog").is_some_and(|waiting| waiting > REST)
        && Instant::now() < deadline
    {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Switches it off. See the rules for what stays, and why.
pub(crate) fn end(means: &Means<'_>) -> Result<()> {
    let path = means.folder.join("end.rules");
    fs::write(&path, rules("end.rules")).map_err(Error::file("write", &path))?;
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(&path, mode).map_err(Error::file("set the mode of", &path))?;
    load(means, &path)?;
    control(means, &["-e", "0"])?;
    let mark = mark(means);
    fs::remove_file(&mark).map_err(Error::file("remove", &mark))
}

/// A file that is there while the rules are loaded.
fn mark(means: &Means<'_>) -> PathBuf {
    means.lab.path("audit-is-on")
}

/// The times of the kernel's thread that brings records to auditd.
pub(crate) fn thread() -> Option<PathBuf> {
    let folders = fs::read_dir("/proc").ok()?.filter_map(std::io::Result::ok);
    let mut named = folders.filter(|folder| {
        fs::read_to_string(folder.path().join("comm")).is_ok_and(|name| name.trim_end() == "kauditd")
    });
    named.next().map(|folder| folder.path().join("stat"))
}

fn status(means: &Means<'_>) -> Result<String> {
    control(means, &["-s"])
}

fn control(means: &Means<'_>, arguments: &[&str]) -> Result<String> {
    let program = means.brought.program("auditctl");
    let program = program.ok_or_else(|| Error::Check("auditctl isn't in auditd's package".to_owned()))?;
    command::read(means.brought.command(&program).args(arguments))
}

/// A number of what `auditctl -s` says.
fn number(status: &str, name: &str) -> Option<u64> {
    let mut words = status.lines().filter_map(|line| line.split_once(' '));
    words.find(|(key, _)| *key == name)?.1.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_status_are_read_by_whole_names() {
        let status = "enabled 1\npid 42\nbacklog_limit 64\nbacklog 3\nloginuid_immutable 0 unlocked\n";
        assert_eq!(number(status, "backlog"), Some(3));
        assert_eq!(number(status, "loginuid_immutable"), Some(0));
        assert_eq!(number(status, "lost"), None);
    }
}
