//! Brings programs of Debian's packages into a folder of their own. Nothing is installed, and nothing makes way for them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::own_apt::OwnApt;
use crate::command;
use crate::error::{Error, Result};
use crate::say;
use crate::workspace::Workspace;

/// What is installed here needn't be brought.
const INSTALLED: &str = "/var/lib/dpkg/status";
/// Where programs are, in a package.
const FOLDERS: &[&str] = &["usr/bin", "usr/sbin", "bin", "sbin"];

/// A folder with what packages hold.
#[derive(Debug)]
pub(crate) struct Brought {
    root: PathBuf,
    /// Why a package isn't there.
    missing: Vec<(&'static str, String)>,
}

impl Brought {
    /// Brings these packages, and what they need, into `target/FOLDER`.
    pub(crate) fn packages(workspace: &Workspace, folder: &str, packages: &[&'static str]) -> Result<Self> {
        let place = workspace.target().join(folder);
        let mut brought = Self { root: place.join("root"), missing: Vec::new() };
        let wanted = place.join("brought");
        let list = packages.join("\n");
        if fs::read_to_string(&wanted).is_ok_and(|there| there == list) {
            return Ok(brought);
        }
        say(&format!("bringing {} into target/{folder}", packages.join(", ")));
        let apt = match apt(&place) {
            Ok(apt) => apt,
            Err(error) => {
                brought.missing = packages.iter().map(|name| (*name, error.to_string())).collect();
                return Ok(brought);
            }
        };
        for name in packages {
            if let Err(error) = apt.download(&[name]) {
                brought.missing.push((name, error.to_string()));
            }
        }
        // Each was downloaded with what it needs; all packages of the cache are wanted.
        for package in apt.download(&[]).unwrap_or_default() {
            command::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&brought.root))?;
        }
        if brought.missing.is_empty() {
            fs::write(&wanted, list).map_err(Error::file("write", &wanted))?;
        }
        Ok(brought)
    }

    /// Why a package couldn't be had.
    pub(crate) fn why_not(&self, package: &str) -> Option<&str> {
        self.missing.iter().find(|(name, _)| *name == package).map(|(_, why)| why.as_str())
    }

    /// Where a program is: among what was brought, else on this machine.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let roots = [self.root.as_path(), Path::new("/")];
        let paths = roots.iter().flat_map(|root| FOLDERS.iter().map(move |folder| root.join(folder)));
        paths.map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    /// The version that was brought, else the installed one.
    pub(crate) fn version(&self, package: &str) -> Option<String> {
        let archives = self.root.with_file_name("apt").join("cache/archives");
        let entries = fs::read_dir(archives).into_iter().flatten();
        let mut names =
            entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
        let brought = names.find_map(|name| {
            let rest = name.strip_prefix(package)?.strip_prefix('_')?;
            rest.split('_').next().map(|version| version.replace("%3a", ":"))
        });
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat", "${Version}", package]);
        brought.or_else(|| command::read(&mut query).ok().filter(|version| !version.is_empty()))
    }

    /// Where a file or folder of a package is now.
    pub(crate) fn path(&self, of: &str) -> PathBuf {
        self.root.join(of)
    }

    /// A command that finds its libraries there.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let libraries = self.libraries();
        command.env("LD_LIBRARY_PATH", libraries).env("LC_ALL", "C");
        command.env("PYTHONPATH", self.root.join("usr/lib/python3/dist-packages"));
        command
    }

    fn libraries(&self) -> OsString {
        let mut list = OsString::new();
        for parent in ["usr/lib", "lib"].map(|parent| self.root.join(parent)) {
            let entries = fs::read_dir(&parent).into_iter().flatten();
            let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
            for folder in folders.filter(|path| path.to_string_lossy().ends_with("-linux-gnu")) {
                list.push(folder);
                list.push(":");
            }
        }
        list
    }
}

fn apt(folder: &Path) -> Result<OwnApt> {
    let suite = codename(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    let suite = suite.ok_or_else(|| Error::Check("this is no Debian with a name".to_owned()))?;
    let status = Some(Path::new(INSTALLED));
    let apt = OwnApt::configure(&folder.join("apt"), &[("debian", &suite)], status, "fetching packages")?;
    fs::create_dir_all(folder.join("root")).map_err(Error::file("make", folder))?;
    if !apt.is_fresh() {
        apt.update()?;
    }
    Ok(apt)
}

/// What Debian calls the release of this machine.
fn codename(os_release: &str) -> Option<String> {
    let value = |key: &str| os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let debian = value("ID").map(|id| id.trim_matches('"')) == Some("debian");
    value("VERSION_CODENAME").filter(|_| debian).map(|name| name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_has_a_suite() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n").as_deref(), Some("bookworm"));
        assert_eq!(codename("ID=\"fedora\"\nVERSION_CODENAME=x\n"), None);
    }
}
