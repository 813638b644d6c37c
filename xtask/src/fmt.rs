//! Formats all crates.

use crate::command;
use crate::error::Result;
use crate::workspace::Workspace;

/// Options of `fmt`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail when something would change.
    #[arg(long)]
    check: bool,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["fmt", "--all"]);
    if args.check {
        cargo.arg("--check");
    }
    command::run(&mut cargo)
}
