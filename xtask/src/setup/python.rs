//! Packages of Python's that tests want, pinned by hash, in `target/tools`, never in the user's Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::{Error, Result};
use crate::say;
use crate::workspace::Workspace;

/// Debian's, which packages.rs brings.
const PYTHON: &str = "/usr/bin/python3";

/// The checker of OCSF lines, if it could be had: the test that wants it says so if not.
pub(crate) fn ocsf(workspace: &Workspace) -> Option<PathBuf> {
    let brought = packages(workspace, "ocsf", "the checker of OCSF lines");
    if brought.is_err() {
        say("NO CHECKER OF OCSF LINES: what the schema says of them is not tried");
    }
    brought.ok()
}

/// The servers that outputs are tried against: programs, in wheels.
pub(crate) fn servers(workspace: &Workspace) -> Result<PathBuf> {
    packages(workspace, "servers", "the servers that outputs are tried against")
}

/// Where the packages of `tests/<name>/requirements.txt` are.
fn packages(workspace: &Workspace, name: &str, what: &str) -> Result<PathBuf> {
    let folder = workspace.root().join("target/tools").join(name);
    let list = workspace.root().join("tests").join(name).join("requirements.txt");
    let wanted = fs::read(&list).map_err(Error::file("read", &list))?;
    let settled = folder.join("requirements.txt");
    if fs::read(&settled).is_ok_and(|there| there == wanted) {
        return Ok(folder);
    }
    // Those of another list would stay beside.
    let _ = fs::remove_dir_all(&folder);
    say(&format!("bringing {what} into target/tools/{name}"));
    command::run(&mut install(&list, &folder))?;
    fs::write(&settled, &wanted).map_err(Error::file("write", &settled))?;
    Ok(folder)
}

fn install(list: &Path, folder: &Path) -> Command {
    let mut pip = Command::new(PYTHON);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary", ":all:", "--require-hashes", "--requirement"])
        .arg(list)
        .arg("--target")
        .arg(folder);
    pip
}
