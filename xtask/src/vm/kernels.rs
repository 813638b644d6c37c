//! Debian's kernels, those for clouds unless another is wanted: found, downloaded and unpacked into `target/vm`, by an apt of its own
//! that leaves the machine's alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::modules;
use crate::command;
use crate::error::{Error, Result};
use crate::say;
use crate::setup::own_apt::{MIRROR, OwnApt};

/// Where kernels come from: Debian's old stable releases, what they get for security, and what
/// newer kernels are brought to the stable one.
const SUITES: &[(&str, &str)] = &[
    ("debian-security", "bullseye-security"),
    ("debian-security", "bookworm-security"),
    ("debian-security", "trixie-security"),
    ("debian", "bookworm"),
    ("debian", "trixie"),
    ("debian", "trixie-backports"),
];
/// How packages of those for clouds end, and of those for any machine, which have some things more. A release without an
/// end is of the former.
const CLOUD: &str = "-cloud-amd64";
const FULL: &str = "-amd64";
/// And of those that are neither.
const OTHERS: &[&str] = &["-rt-amd64"];
/// Says in a kernel's folder which modules were wanted.
const KEPT: &str = "wanted";
/// Names the newest of all.
pub(super) const NEWEST: &str = "newest";

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// Debian's name for it: `6.1.0-50`.
    pub(super) release: String,
    folder: PathBuf,
}

impl Kernel {
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// Its modules, in the order in which they are to be loaded.
    pub(super) fn modules(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder.join("modules");
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::file("list", &folder))? {
            found.push(entry.map_err(Error::file("list", &folder))?.path());
        }
        found.sort();
        Ok(found)
    }
}

/// The kernels that apt knows and those that are here already.
pub(super) struct Store {
    folder: PathBuf,
    apt: OwnApt,
    offered: Vec<String>,
    /// Why Debian can't be asked now.
    silent: Option<String>,
}

impl Store {
    /// Opens the store in this folder; asks Debian when the last answer is a day old.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let apt = OwnApt::configure(&folder.join("apt"), SUITES, None, "fetching kernels")?;
        let mut store = Self { folder: folder.to_owned(), apt, offered: Vec::new(), silent: None };
        if !store.apt.is_fresh()
            && let Err(error) = store.update()
        {
            say("DEBIAN'S LISTS OF KERNELS CAN'T BE HAD NOW: going on with what is here");
            store.silent = Some(error.to_string());
        }
        let names = command::read(store.apt.command("apt-cache").args(["pkgnames", "linux-image-"]));
        store.offered = names.unwrap_or_default().lines().filter_map(release).map(str::to_owned).collect();
        store.offered.extend(store.here()?);
        Ok(store)
    }

    /// The newest release that begins so.
    pub(super) fn find(&self, wanted: &str) -> Option<&str> {
        newest(self.offered.iter().map(String::as_str), wanted)
    }

    /// The newest kernel whose release begins so; none when Debian's mirror has no such kernel.
    pub(super) fn kernel(&self, wanted: &str) -> Result<Option<Kernel>> {
        let Some(release) = self.find(wanted) else { return Ok(None) };
        let folder = self.folder.join("kernels").join(release);
        let kept = fs::read_to_string(folder.join(KEPT)).unwrap_or_default();
        if kept != modules::WANTED.join(" ") {
            say(&format!("fetching Linux {release}"));
            match self.fetch(release, &folder) {
                Err(error) if folder.exists() => {
                    say(&format!("Linux {release} stays as it is, without modules that tests want: {error}"));
                }
                fetched => fetched?,
            }
        }
        Ok(Some(Kernel { release: release.to_owned(), folder }))
    }

    /// Why there is no kernel whose release begins so.
    pub(super) fn why_not(&self, wanted: &str) -> String {
        match &self.silent {
            Some(why) => format!(
                "NOT TRIED: Linux {wanted} isn't in {}, and {MIRROR} can't be asked ({why}): try again with a network",
                self.folder.join("kernels").display()
            ),
            None => format!(
                "NOT TRIED: {MIRROR} has no Linux {wanted} (any more): take it out of the tables in xtask/src/vm/plan.rs"
            ),
        }
    }

    fn update(&self) -> Result<()> {
        say("asking Debian for its kernels");
        self.apt.update()
    }

    fn here(&self) -> Result<Vec<String>> {
        let folder = self.folder.join("kernels");
        fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
        let entries = fs::read_dir(&folder).map_err(Error::file("list", &folder))?;
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
        Ok(names.filter(|name| !name.starts_with('.')).collect())
    }

    /// Downloads and unpacks a kernel; its folder appears when it is whole.
    fn fetch(&self, release: &str, folder: &Path) -> Result<()> {
        let draft = self.folder.join("kernels").join(format!(".{release}"));
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(Error::file("remove", &draft))?;
        }
        let unpacked = draft.join("unpacked");
        fs::create_dir_all(&unpacked).map_err(Error::file("make", &unpacked))?;
        let names = command::read(self.apt.command("apt-cache").args(["pkgnames", "linux-"]))?;
        // From 6.19 on image and modules are packages of their own.
        let parts = ["image", "binary", "modules"].map(|part| format!("linux-{part}-{}", package(release)));
        let parts = parts.iter().filter(|part| names.lines().any(|name| name == *part));
        command::run(self.apt.command("apt-get").args(["-q", "download"]).args(parts).current_dir(&draft))?;
        for entry in fs::read_dir(&draft).map_err(Error::file("list", &draft))? {
            let path = entry.map_err(Error::file("list", &draft))?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                command::run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&unpacked))?;
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            }
        }
        modules::keep(&unpacked, &draft)?;
        fs::remove_dir_all(&unpacked).map_err(Error::file("remove", &unpacked))?;
        let kept = draft.join(KEPT);
        fs::write(&kept, modules::WANTED.join(" ")).map_err(Error::file("write", &kept))?;
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(Error::file("remove", folder))?;
        }
        fs::rename(&draft, folder).map_err(Error::file("make", folder))
    }
}

/// The release in the name of a package, when it is such a kernel.
fn release(package: &str) -> Option<&str> {
    let name = package.strip_prefix("linux-image-")?;
    let is_other = || OTHERS.iter().any(|end| name.ends_with(end));
    let release =
        name.strip_suffix(CLOUD).or_else(|| (name.ends_with(FULL) && !is_other()).then_some(name))?;
    release.starts_with(|first: char| first.is_ascii_digit()).then_some(release)
}

/// How packages of a release end.
fn package(release: &str) -> String {
    if release.ends_with(FULL) { release.to_owned() } else { format!("{release}{CLOUD}") }
}

/// The highest of the releases that begin with whole numbers as wanted, and are of the same sort.
fn newest<'a>(releases: impl Iterator<Item = &'a str>, wanted: &str) -> Option<&'a str> {
    let (start, full) = wanted.strip_suffix(FULL).map_or((wanted, false), |start| (start, true));
    let begins = |release: &&str| {
        let rest = release.strip_prefix(start).filter(|_| release.ends_with(FULL) == full);
        (wanted == NEWEST && !release.ends_with(FULL))
            || rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    };
    releases.filter(begins).max_by_key(|release| numbers(release))
}

/// The numbers in a release, which order releases as Debian does.
fn numbers(release: &str) -> Vec<u64> {
    let release = release.strip_suffix(FULL).unwrap_or(release);
    release.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_kernels_by_the_names_of_packages() {
        assert_eq!(release("linux-image-6.1.0-50-cloud-amd64"), Some("6.1.0-50"));
        assert_eq!(release("linux-image-cloud-amd64"), None);
        assert_eq!(release("linux-image-6.1.0-50-amd64"), Some("6.1.0-50-amd64"));
        assert_eq!(release("linux-image-6.1.0-50-rt-amd64"), None);
        assert_eq!(package("6.1.0-50"), "6.1.0-50-cloud-amd64");
        assert_eq!(package("6.1.0-50-amd64"), "6.1.0-50-amd64");
        assert_eq!(release("linux-image-6.1.0-50-cloud-amd64-dbg"), None);
    }

    #[test]
    fn finds_the_newest_of_a_series() {
        let all = [
            "5.10.0-46",
            "6.1.0-50",
            "6.1.0-49-amd64",
            "6.1-amd64",
            "7.4.0-amd64",
            "6.1.0-0.deb11.52",
            "6.12.95+deb12",
            "6.12.117+deb13",
            "7.3.4+deb13",
        ];
        let find = |wanted| newest(all.into_iter(), wanted);
        assert_eq!(find("6.1"), Some("6.1.0-50"));
        assert_eq!(find("6.1-amd64"), Some("6.1.0-49-amd64"));
        assert_eq!(find("6.12"), Some("6.12.117+deb13"));
        assert_eq!(find("6.12.95"), Some("6.12.95+deb12"));
        assert_eq!(find(NEWEST), Some("7.3.4+deb13"));
        assert_eq!(find("6.2"), None);
        assert_eq!(find("5.1"), None);
    }
}
