//! An apt with sources, lists and a cache of its own: the machine's are left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command;
use crate::error::{Error, Missing, Result};

pub(crate) const MIRROR: &str = "http://deb.debian.org";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// For how long the lists are taken as they are.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// Such an apt.
#[derive(Debug)]
pub(crate) struct OwnApt {
    folder: PathBuf,
}

impl OwnApt {
    /// Its folder is made; sources are archives and suites of Debian's. What `status` lists counts as installed.
    pub(crate) fn configure(
        folder: &Path,
        sources: &[(&str, &str)],
        status: Option<&Path>,
        purpose: &'static str,
    ) -> Result<Self> {
        if !Path::new(KEYRING).exists() {
            let keys = Missing {
                what: format!("{KEYRING}: tells that a package is Debian's"),
                install: "apt-get install debian-archive-keyring   (as root, on Debian)".to_owned(),
            };
            return Err(Error::Missing { purpose, missing: vec![keys] });
        }
        for part in ["lists/partial", "cache/archives/partial", "state"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(Error::file("make", &part))?;
        }
        let line = |(archive, suite): &(&str, &str)| {
            format!("deb [signed-by={KEYRING}] {MIRROR}/{archive} {suite} main\n")
        };
        let sources: String = sources.iter().map(line).collect();
        let (at, nothing) = (folder.display(), folder.join("status"));
        let status = status.unwrap_or(&nothing).display();
        let configuration = format!(
            "Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
             Dir::State \"{at}/state\";\nDir::State::lists \"{at}/lists\";\nDir::State::status \"{status}\";\n\
             Dir::Cache \"{at}/cache\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
             APT::Sandbox::User \"\";\nAcquire::Languages \"none\";\nAcquire::Check-Valid-Until \"false\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
        );
        for (name, text) in [("sources.list", &*sources), ("apt.conf", &configuration), ("status", "")] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(Error::file("write", &path))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// One of apt's programs, with this configuration.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        apt.env("APT_CONFIG", self.folder.join("apt.conf")).env("LC_ALL", "C");
        apt
    }

    /// Whether its lists are of today.
    pub(crate) fn is_fresh(&self) -> bool {
        let changed = fs::metadata(self.stamp()).and_then(|meta| meta.modified());
        changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age < FRESH))
    }

    /// Asks for the lists anew.
    pub(crate) fn update(&self) -> Result<()> {
        command::run(self.command("apt-get").args(["-q", "update"]))?;
        fs::write(self.stamp(), "").map_err(Error::file("write", &self.stamp()))
    }

    /// Downloads packages, with all that they need and `status` doesn't list.
    pub(crate) fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let mut install = self.command("apt-get");
        install.args(["-qq", "-y", "--download-only", "--no-install-recommends", "install"]).args(packages);
        command::run(&mut install)?;
        let archives = self.folder.join("cache/archives");
        let entries = fs::read_dir(&archives).map_err(Error::file("list", &archives))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(paths.filter(|path| path.extension().is_some_and(|end| end == "deb")).collect())
    }

    fn stamp(&self) -> PathBuf {
        self.folder.join("updated")
    }
}
