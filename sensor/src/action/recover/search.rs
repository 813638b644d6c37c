//! A file by its hash, among those that run: asked only of the kernel, within bounds.

use std::{collections::HashSet, fs::File, io, os::fd::AsFd, time::Duration};

use nix::sys::stat::makedev;
use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::{
    host::since_boot,
    look::hashed::{Hashed, ProcessError, Wanted, of_process},
    procfs::{Reader, reopen},
    record::Text,
};

/// How long it may take: anybody can run any number of different files, each as large as the bound.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many are named.
const NAMED_MOST: usize = 8;

/// What was found.
pub(super) struct Running {
    pub(super) file: File,
    pub(super) pid: u32,
}

/// Who wasn't looked at.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// Others' processes.
    denied: Vec<u32>,
    /// /proc doesn't even show those of others.
    hidden: bool,
    /// Why not, a sentence each.
    unread: Vec<String>,
    /// How many there was no time for.
    late: usize,
}

impl Skipped {
    /// There is one, and each was denied, to who isn't `root`: that has no more rights to be given.
    pub(super) fn only_denied(&self, root: bool) -> bool {
        !root && (self.hidden || !self.denied.is_empty()) && self.unread.is_empty() && self.late == 0
    }

    /// Who and why, and what to do; none where nobody was skipped.
    pub(super) fn told(&self, root: bool) -> Option<String> {
        let mut parts = Vec::new();
        if !self.denied.is_empty() {
            let pids: Vec<String> = self.denied.iter().map(u32::to_string).collect();
            let by = if root { "not be opened, even by root" } else { "only be opened by root" };
            parts.push(format!("what processes {} execute may {by}", some(&pids, ", ")));
        }
        if self.hidden {
            parts.push("/proc keeps the processes of others from who isn't root (hidepid)".to_owned());
        }
        if !parts.is_empty() && !root {
            parts.push("run it with sudo".to_owned());
        }
        if !self.unread.is_empty() {
            parts.push(some(&self.unread, "; "));
            parts.push("sensor recover PID opens such a one all the same".to_owned());
        }
        if self.late != 0 {
            let seconds = PATIENCE.as_secs();
            parts.push(format!("after {seconds} s {} more weren't looked at", self.late));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// The first of them, and how many more there are.
fn some(all: &[String], between: &str) -> String {
    let shown = all.iter().take(NAMED_MOST).map(String::as_str).collect::<Vec<_>>().join(between);
    match all.len().saturating_sub(NAMED_MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What runs and has this hash, each file hashed once, if it has no more than `most` bytes.
///
/// # Errors
/// When /proc can't be listed.
pub(super) fn find(reader: &mut Reader, most: u64, sha256: &Text) -> io::Result<(Option<Running>, Skipped)> {
    let mut skipped = Skipped { hidden: reader.hides_others(), ..Skipped::default() };
    let mut files = HashSet::new();
    let until = since_boot() + PATIENCE;
    for pid in reader.listed()? {
        if since_boot() >= until {
            skipped.late += 1;
        } else if let Some(hashed) = hashed(reader, pid, most, &mut files, &mut skipped)
            && hashed.digest.sha256 == *sha256
        {
            match opened(reader, pid, &hashed) {
                Ok(file) => return Ok((Some(Running { file, pid }), skipped)),
                // It has ended, or goes on with another: who else executes it is asked in its place.
                Err(_) => drop(files.remove(&(hashed.device, hashed.inode))),
            }
        }
    }
    Ok((None, skipped))
}

/// What a process executes, unless that was hashed before or can't be.
fn hashed(
    reader: &mut Reader,
    pid: u32,
    most: u64,
    files: &mut HashSet<(u64, u64)>,
    skipped: &mut Skipped,
) -> Option<Hashed> {
    // Neither the kernel's own nor who has ended executes a file.
    reader.seen(pid).filter(|seen| !seen.kernel && !seen.zombie)?;
    let file = match reader.held_executable(pid).and_then(|held| identity(&held)) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            skipped.denied.push(pid);
            return None;
        }
        // Who has ended meanwhile is known as such below.
        Err(_) => None,
    };
    if file.is_some_and(|file| !files.insert(file)) {
        return None;
    }
    let wanted = Wanted { file_most: most, most, md5: false, mappings: false, ask_all: false };
    let error = match of_process(reader, pid, wanted) {
        Ok(images) => return images.files.into_iter().next(),
        Err(error) => error,
    };
    // Another process that executes it may be asked in its place, unless it is the file itself that can't be read.
    if let Some(file) = file.filter(|_| !matches!(error, ProcessError::Unread { unsure: false, .. })) {
        files.remove(&file);
    }
    match error {
        ProcessError::Gone(_) | ProcessError::NoFile(_) => {}
        ProcessError::Denied(_) => skipped.denied.push(pid),
        ProcessError::Unread { .. } => skipped.unread.push(error.to_string()),
    }
    None
}

/// The file that was hashed, open to be read, if the process still executes it. It is held first, and only then opened: what the
/// process may execute by now is asked for nothing.
fn opened(reader: &Reader, pid: u32, hashed: &Hashed) -> io::Result<File> {
    let held = reader.held_executable(pid)?;
    match identity(&held)? == (hashed.device, hashed.inode) {
        true => reopen(reader.root(), held.as_fd()),
        false => Err(io::Error::other("it executes something else by now")),
    }
}

/// Device and inode, without asking who answers for the file system.
fn identity(file: impl AsFd) -> io::Result<(u64, u64)> {
    let facts = statx(file, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
    Ok((makedev(facts.stx_dev_major.into(), facts.stx_dev_minor.into()), facts.stx_ino))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::evidence::digest::digest;

    /// A program that runs until it is done with.
    struct Program {
        child: Child,
        path: &'static str,
        sha256: Text,
    }

    impl Program {
        fn start() -> Self {
            let path = "/bin/sleep";
            let sha256 = digest(&File::open(path).unwrap(), u64::MAX).unwrap().unwrap().sha256;
            let child = Command::new(path).arg("1000").spawn().unwrap();
            Self { child, path, sha256 }
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[test]
    fn what_runs_is_found_by_its_hash_within_the_bound() {
        let program = Program::start();
        let mut reader = Reader::new("/proc".into());
        let most = std::fs::metadata(program.path).unwrap().len();
        let (found, _) = find(&mut reader, most, &program.sha256).unwrap();
        // Another test's may be found in its place.
        let found = found.unwrap();
        assert_eq!(digest(&found.file, u64::MAX).unwrap().unwrap().sha256, program.sha256);
        let (found, skipped) = find(&mut reader, most - 1, &program.sha256).unwrap();
        let told = skipped.told(false).unwrap();
        assert!(found.is_none() && !skipped.only_denied(false), "{told}");
        let why = format!("it has more than {} bytes", most - 1);
        assert!(skipped.unread.iter().any(|part| part.contains(&why)), "{:?}", skipped.unread);
    }

    #[test]
    fn each_file_is_hashed_once_and_another_isnt_taken_for_it() {
        let program = Program::start();
        let (mut reader, pid) = (Reader::new("/proc".into()), program.child.id());
        let (mut files, mut skipped) = (HashSet::new(), Skipped::default());
        let first = hashed(&mut reader, pid, u64::MAX, &mut files, &mut skipped).unwrap();
        assert!(hashed(&mut reader, pid, u64::MAX, &mut files, &mut skipped).is_none());
        assert!(skipped.told(false).is_none() && !skipped.only_denied(false));
        assert!(opened(&reader, pid, &first).is_ok());
        assert!(opened(&reader, pid, &Hashed { inode: first.inode + 1, ..first }).is_err());
    }

    #[test]
    fn who_was_skipped_is_named_with_the_reason() {
        let mut skipped = Skipped { denied: (1..=10).collect(), ..Skipped::default() };
        assert!(skipped.only_denied(false));
        let told = skipped.told(false).unwrap();
        assert!(
            told.contains("1, 2, 3, 4, 5, 6, 7, 8 and 2 more") && told.ends_with("run it with sudo"),
            "{told}"
        );
        assert!(!skipped.only_denied(true) && skipped.told(true).unwrap().ends_with("even by root"));
        skipped.unread.push("reading what process 5 executes: it hangs".to_owned());
        assert!(!skipped.only_denied(false) && skipped.told(false).unwrap().contains("it hangs"));
        let late = Skipped { late: 3, ..Skipped::default() };
        assert!(!late.only_denied(false) && late.told(false).unwrap().contains("3 more"));
    }
}
