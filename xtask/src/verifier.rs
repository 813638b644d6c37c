//! Writes what the programs cost the verifier: the test `verifier` says it on each kernel, here and in virtual machines.

use std::fs;
use std::process::Stdio;

use crate::command;
use crate::error::{Error, Result};
use crate::say;
use crate::vm;
use crate::workspace::Workspace;

/// The test that says it, and the page.
const TEST: &str = "verifier";
const PAGE: &str = "docs/verifier.md";

/// Runs the task.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    // What is above its old budget fails there, and says what the new one is to be.
    let machines = vm::boot(workspace, &vm::Args::one(TEST))?;
    say("asking this kernel");
    let mut here = workspace.cargo();
    here.args(["test", "--quiet", "--locked", "-p", "tests", "--test", TEST, "--", "--show-output"]);
    let here =
        here.env("SENSOR_BIN", workspace.sensor()).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let here = here.map_err(|source| Error::Start { command: "cargo test".to_owned(), source })?;
    let mut said: Vec<String> = machines.into_iter().map(|machine| machine.said).collect();
    said.push(String::from_utf8_lossy(&here.stdout).into_owned());
    let file = workspace.target().join("verifier");
    fs::write(&file, said.join("\n")).map_err(Error::file("write", &file))?;
    let mut page = workspace.cargo();
    page.args(["run", "--quiet", "--locked", "-p", "tests", "--bin", "verifier-page", "--"]);
    command::run(page.arg(workspace.root().join(PAGE)).arg(&file))?;
    say(&format!("{PAGE} is written: its changes are what the verifier finds dearer or cheaper"));
    Ok(())
}
