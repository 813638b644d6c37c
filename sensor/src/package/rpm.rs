//! What rpm has on record. Its database has several formats, so rpm itself reads it.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::background;
use crate::record::Text;

/// Where a database can lie: as newer distributions have it, as older ones have it, and where Debian's rpm puts it when
/// root calls it.
const PLACES: [&str; 3] = ["usr/lib/sysimage/rpm", "var/lib/rpm", "root/.rpmdb"];
/// What it is called there, by its format: SQLite, ndb, Berkeley DB.
const FILES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];
/// Most bytes of an answer, and how long it may take.
const MOST_ANSWER: u64 = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
/// How many files are asked about at once: what an argument list surely holds.
const ASKED_AT_ONCE: usize = 256;

/// A host's database.
#[derive(Debug)]
pub(super) struct Rpm {
    root: PathBuf,
    /// Where it lies, below the root.
    place: &'static str,
}

impl Rpm {
    /// Of the host whose files lie under this folder, if it has one.
    pub(super) fn of(root: &Path) -> Option<Self> {
        let is_there = |place: &&str| FILES.iter().any(|file| root.join(place).join(file).is_file());
        let place = PLACES.into_iter().find(is_there)?;
        Some(Self { root: root.to_owned(), place })
    }

    /// Tells the package and the path of each file that is of one; of a package all files are told.
    pub(super) fn owners(&self, paths: &[&Text], mut tell: impl FnMut(&[u8], &[u8])) {
        self.ask(paths, "[%{=NAME}\\t%{FILENAMES}\\n]", |line| {
            let mut parts = line.splitn(2, |byte| *byte == b'\t');
            if let (Some(name), Some(path)) = (parts.next(), parts.next()) {
                tell(name, path);
            }
        });
    }

    /// The same, with the digest before the path; folders and links have none.
    pub(super) fn digests(&self, paths: &[&Text], mut tell: impl FnMut(&[u8], &[u8], &[u8])) {
        self.ask(paths, "[%{=NAME}\\t%{FILEDIGESTS}\\t%{FILENAMES}\\n]", |line| {
            let mut parts = line.splitn(3, |byte| *byte == b'\t');
            if let (Some(name), Some(digest), Some(path)) = (parts.next(), parts.next(), parts.next())
                && !digest.is_empty()
            {
                tell(name, digest, path);
            }
        });
    }

    fn ask(&self, paths: &[&Text], format: &str, mut take: impl FnMut(&[u8])) {
        for some in paths.chunks(ASKED_AT_ONCE) {
            self.says(some, format).split(|byte| *byte == b'\n').for_each(&mut take);
        }
    }

    fn says(&self, paths: &[&Text], format: &str) -> Vec<u8> {
        let mut command = Command::new("/usr/bin/rpm");
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
        // Named, since distributions differ in where rpm looks by itself. The path is one below the root.
        command.arg("--root").arg(&self.root).arg("--dbpath").arg(Path::new("/").join(self.place));
        command.args(["-q", "-f", "--queryformat", format, "--"]);
        command.args(paths.iter().map(|path| OsStr::from_bytes(path.as_bytes())));
        command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
        let Ok(mut child) = command.spawn() else { return Vec::new() };
        let answers = background::read("rpm", child.stdout.take(), MOST_ANSWER);
        let bytes = answers.recv_timeout(PATIENCE).ok().and_then(Result::ok).unwrap_or_default();
        // It has closed its output, or is given up.
        let _: std::io::Result<()> = child.kill();
        let _: std::io::Result<std::process::ExitStatus> = child.wait();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_database_is_known_by_its_file() {
        let root = std::env::temp_dir().join(format!("sensor-rpm-{}", std::process::id()));
        let folder = root.join("var/lib/rpm");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(".rpm.lock"), "").unwrap();
        let none = Rpm::of(&root);
        fs::write(folder.join("Packages"), "").unwrap();
        let old = Rpm::of(&root).map(|rpm| rpm.place);
        fs::create_dir_all(root.join("usr/lib/sysimage/rpm")).unwrap();
        fs::write(root.join("usr/lib/sysimage/rpm/rpmdb.sqlite"), "").unwrap();
        let new = Rpm::of(&root).map(|rpm| rpm.place);
        fs::remove_dir_all(&root).unwrap();
        assert!(none.is_none());
        assert_eq!((old, new), (Some("var/lib/rpm"), Some("usr/lib/sysimage/rpm")));
    }
}
