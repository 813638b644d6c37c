//! Which package a file came with, as the host's package manager has it on record.
//!
//! Whoever has root can change these records: a file that no package owns says more than one that some does.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::record::Text;

mod digests;

pub use digests::{Compared, Fingerprint};

/// A package that owns a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: Text,
    /// Whose record says so: `deb` or `rpm`.
    pub kind: &'static str,
}

/// Most bytes of one list of dpkg's, and of all that is read.
const MOST_LIST: u64 = 16 * 1024 * 1024;
const MOST_LISTS: usize = 20_000;
/// Most bytes of an answer of rpm, and how long it may take.
const MOST_ANSWER: u64 = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
/// How many files rpm is asked about at once: what an argument list surely holds.
const ASKED_AT_ONCE: usize = 256;
/// Where a host whose `/bin` is but a link to `/usr/bin` may still have a file on record.
const MERGED: [&[u8]; 4] = [b"/usr/bin/", b"/usr/sbin/", b"/usr/lib", b"/usr/libx32/"];

/// The records of one host.
#[derive(Debug)]
pub struct Packages {
    dpkg: PathBuf,
    rpm: Option<PathBuf>,
}

impl Packages {
    /// Of the host whose files lie under this folder.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let databases = ["var/lib/rpm", "usr/lib/sysimage/rpm"].map(|folder| root.join(folder));
        let kept = |folder: &PathBuf| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
        let rpm = databases.iter().any(kept).then(|| root.to_owned());
        Self { dpkg: root.join("var/lib/dpkg"), rpm }
    }

    /// Who owns which of these files; those of nobody are left out.
    #[must_use]
    pub fn owners(&self, paths: &[Text]) -> HashMap<Text, Package> {
        // What is on record, and the path that it is asked for.
        let mut wanted: HashMap<&[u8], &Text> = paths.iter().map(|path| (path.as_bytes(), path)).collect();
        for path in paths {
            if let Some(other) = merged(path) {
                wanted.entry(other).or_insert(path);
            }
        }
        let mut owners = HashMap::new();
        self.ask_dpkg(&wanted, &mut owners);
        if let Some(root) = &self.rpm {
            let rest: Vec<&Text> = paths.iter().filter(|path| !owners.contains_key(*path)).collect();
            for some in rest.chunks(ASKED_AT_ONCE) {
                ask_rpm(root, some, &wanted, &mut owners);
            }
        }
        owners
    }

    /// Each package has a list of its files, one a line (`dpkg(1)`).
    fn ask_dpkg(&self, wanted: &HashMap<&[u8], &Text>, owners: &mut HashMap<Text, Package>) {
        self.each_line(b".list", |name, line| {
            if let Some(path) = wanted.get(line) {
                let package = || Package { name: Text::copy_from(name), kind: "deb" };
                owners.entry((*path).clone()).or_insert_with(package);
            }
        });
    }

    /// Each line of dpkg's files that end so, with the package's name.
    fn each_line(&self, end: &[u8], mut take: impl FnMut(&[u8], &[u8])) {
        let Ok(entries) = fs::read_dir(self.dpkg.join("info")) else { return };
        let mut bytes = Vec::new();
        for entry in entries.take(MOST_LISTS).filter_map(Result::ok) {
            let file = entry.file_name();
            let Some(name) = file.as_bytes().strip_suffix(end) else { continue };
            bytes.clear();
            let read = File::open(entry.path()).and_then(|file| file.take(MOST_LIST).read_to_end(&mut bytes));
            if read.is_err() {
                continue;
            }
            // The architecture, where several can be installed.
            let name = name.split(|byte| *byte == b':').next().unwrap_or(name);
            bytes.split(|byte| *byte == b'\n').for_each(|line| take(name, line));
        }
    }
}

/// The path of a file before `/bin` was merged into `/usr/bin`, if it could be on record so.
fn merged(path: &Text) -> Option<&[u8]> {
    let path = path.as_bytes();
    let is = MERGED.iter().any(|start| path.starts_with(start));
    path.strip_prefix(b"/usr").filter(|_| is)
}

/// Who owns which of these files, by rpm.
fn ask_rpm(
    root: &Path,
    paths: &[&Text],
    wanted: &HashMap<&[u8], &Text>,
    owners: &mut HashMap<Text, Package>,
) {
    let bytes = rpm_says(root, paths, "[%{=NAME}\\t%{FILENAMES}\\n]");
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b'\t');
        if let (Some(name), Some(path)) = (parts.next(), parts.next().and_then(|path| wanted.get(path))) {
            let package = || Package { name: Text::copy_from(name), kind: "rpm" };
            owners.entry((*path).clone()).or_insert_with(package);
        }
    }
}

/// Has rpm itself read its database, of which there are several formats, for what owns these files.
fn rpm_says(root: &Path, paths: &[&Text], format: &str) -> Vec<u8> {
    let mut command = Command::new("/usr/bin/rpm");
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
    command.arg("--root").arg(root).args(["-q", "-f", "--queryformat", format, "--"]);
    command.args(paths.iter().map(|path| std::ffi::OsStr::from_bytes(path.as_bytes())));
    command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return Vec::new() };
    let (answer, answers) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = out.take(MOST_ANSWER).read_to_end(&mut bytes);
            // Nobody waits any more when it comes too late.
            drop(answer.send(read.map(|_| bytes)));
        });
    }
    let bytes = answers.recv_timeout(PATIENCE).ok().and_then(Result::ok).unwrap_or_default();
    // It has closed its output, or is given up.
    let _: std::io::Result<()> = child.kill();
    let _: std::io::Result<std::process::ExitStatus> = child.wait();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_found_also_where_bin_is_merged() {
        let root = std::env::temp_dir().join(format!("sensor-package-{}", std::process::id()));
        let info = root.join("var/lib/dpkg/info");
        fs::create_dir_all(&info).unwrap();
        fs::write(info.join("coreutils.list"), "/.\n/bin\n/bin/ls\n/usr/bin/env\n").unwrap();
        fs::write(info.join("libc6:amd64.list"), b"/lib/x86_64-linux-gnu/libc.so.6\n\xff\n").unwrap();
        fs::write(info.join("other.md5sums"), "/usr/bin/evil\n").unwrap();
        let paths = ["/usr/bin/ls", "/usr/bin/env", "/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/evil"];
        let owners = Packages::new(&root).owners(&paths.map(Text::from));
        fs::remove_dir_all(&root).unwrap();
        let name = |path: &'static str| owners.get(&Text::from(path)).map(|package| package.name.clone());
        assert_eq!(name("/usr/bin/ls"), Some(Text::from("coreutils")));
        assert_eq!(name("/usr/bin/env"), Some(Text::from("coreutils")));
        assert_eq!(name("/usr/lib/x86_64-linux-gnu/libc.so.6"), Some(Text::from("libc6")));
        assert_eq!(name("/usr/bin/evil"), None);
    }

    #[test]
    fn no_records_are_no_owners() {
        assert!(Packages::new(Path::new("/nowhere")).owners(&[Text::from("/bin/ls")]).is_empty());
    }
}
