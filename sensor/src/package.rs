//! Which package a file came with, as the host's package manager has it on record.
//!
//! Whoever has root can change these records: a file that no package owns says more than one that some does.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use crate::record::Text;

mod digests;
mod rpm;

pub use digests::{Compared, Fingerprint};
use rpm::Rpm;

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
/// Where a host whose `/bin` is but a link to `/usr/bin` may still have a file on record.
const MERGED: [&[u8]; 4] = [b"/usr/bin/", b"/usr/sbin/", b"/usr/lib", b"/usr/libx32/"];

/// The records of one host.
#[derive(Debug)]
pub struct Packages {
    dpkg: PathBuf,
    rpm: Option<Rpm>,
}

impl Packages {
    /// Of the host whose files lie under this folder.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { dpkg: root.join("var/lib/dpkg"), rpm: Rpm::of(root) }
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
        if let Some(rpm) = &self.rpm {
            // A name without a way to it (`memfd:…`) would be taken for one in our own folder.
            let asked = |path: &&Text| path.as_bytes().starts_with(b"/") && !owners.contains_key(*path);
            let rest: Vec<&Text> = paths.iter().filter(asked).collect();
            rpm.owners(&rest, |name, path| {
                if let Some(path) = wanted.get(path) {
                    let package = || Package { name: Text::copy_from(name), kind: "rpm" };
                    owners.entry((*path).clone()).or_insert_with(package);
                }
            });
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
