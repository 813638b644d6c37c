//! The checker of OCSF lines: Python packages, pinned by hash, in `target/tools`, never in the user's Python.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::command;
use crate::say;
use crate::workspace::Workspace;

/// Debian's, which packages.rs brings.
const PYTHON: &str = "/usr/bin/python3";
const REQUIREMENTS: &str = "tests/ocsf/requirements.txt";

/// Where the packages are, if they could be had: the test that wants them says so if not.
pub(crate) fn packages(workspace: &Workspace) -> Option<PathBuf> {
    let folder = workspace.root().join("target/tools/ocsf");
    let wanted = fs::read(workspace.root().join(REQUIREMENTS)).ok()?;
    let settled = folder.join("requirements.txt");
    if fs::read(&settled).is_ok_and(|there| there == wanted) {
        return Some(folder);
    }
    // Those of another list would stay beside.
    let _ = fs::remove_dir_all(&folder);
    let mut pip = Command::new(PYTHON);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary", ":all:", "--require-hashes", "--requirement"])
        .arg(workspace.root().join(REQUIREMENTS))
        .arg("--target")
        .arg(&folder);
    say("bringing the checker of OCSF lines into target/tools/ocsf");
    let brought = command::run(&mut pip).is_ok() && fs::write(&settled, &wanted).is_ok();
    if !brought {
        say("NO CHECKER OF OCSF LINES: what the schema says of them is not tried");
    }
    brought.then_some(folder)
}
