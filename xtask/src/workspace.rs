//! Where things are: the workspace, what is built in it, and its own files.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// Folders that hold no source, wherever they are.
const NOT_SOURCE: &[&str] = &["target", ".git", "artifacts", "corpus", "coverage"];

/// A checkout of the repository. What tasks make is under its `target`, whatever
/// `CARGO_TARGET_DIR` says: the sensor looks for the kernel programs there.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that this program was started from by cargo, else the one it was built in.
    pub(crate) fn find() -> Result<Self> {
        let package =
            env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
        let package = PathBuf::from(package);
        let root = package.parent().unwrap_or(&package);
        let root = root.canonicalize().map_err(Error::file("find", root))?;
        Ok(Self { root })
    }

    /// The same tasks on a copy of the workspace.
    pub(crate) const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo and these tasks put what they make.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// Where the kernel programs are built.
    pub(crate) fn bpf(&self) -> PathBuf {
        self.target().join("bpf")
    }

    /// The sensor as it is shipped.
    pub(crate) fn sensor(&self) -> PathBuf {
        self.target().join("release").join("sensor")
    }

    /// A cargo that works on this workspace: the one that started this program.
    pub(crate) fn cargo(&self) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", self.target());
        command
    }

    /// Every source file, relative to the root, sorted.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        walk(&self.root, Path::new(""), &mut found)?;
        found.sort();
        Ok(found)
    }
}

/// Where cargo keeps what it fetches.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let path = root.join(folder);
    for entry in fs::read_dir(&path).map_err(Error::file("list", &path))? {
        let entry = entry.map_err(Error::file("list", &path))?;
        let kind = entry.file_type().map_err(Error::file("list", &path))?;
        let name = entry.file_name();
        let relative = folder.join(&name);
        if kind.is_dir() && !NOT_SOURCE.iter().any(|skipped| name == *skipped) {
            walk(root, &relative, found)?;
        } else if kind.is_file() && name != ".git" {
            found.push(relative);
        }
    }
    Ok(())
}
