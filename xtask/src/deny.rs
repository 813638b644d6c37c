//! Checks licences, sources and known advisories of all dependencies with cargo-deny.

use std::fs;
use std::process::Command;

use crate::command;
use crate::error::Result;
use crate::say;
use crate::tool::Tool;
use crate::workspace::{Workspace, cargo_home};

/// Runs the task.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    // Unoptimized: it runs for a second, and is built in half of the time.
    let tool = Tool {
        name: "cargo-deny",
        version: "0.20.2",
        variant: "debug".to_owned(),
        options: vec!["--debug".to_owned()],
    };
    if !tool.is_installed(workspace) {
        say(&format!("building {tool} into target/tools: about two minutes, once"));
        command::run(tool.install(workspace).env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
        tool.settle(workspace)?;
    }
    let deny = || {
        let mut deny = Command::new(tool.program(workspace));
        deny.current_dir(workspace.root()).arg("--locked");
        deny
    };
    command::run(deny().args(["check", "licenses", "bans", "sources"]))?;
    if !command::succeeds(deny().args(["fetch", "db"])) && !has_database() {
        say("advisories: not checked, no database reachable");
        return Ok(());
    }
    command::run(deny().args(["--offline", "check", "advisories"]))
}

/// Whether a database was fetched at another time.
fn has_database() -> bool {
    let folder = cargo_home().map(|home| home.join("advisory-dbs"));
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok());
    entries.into_iter().flatten().flatten().any(|entry| entry.path().is_dir())
}
