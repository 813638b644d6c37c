//! Brings the servers that outputs are tried against, and tries the outputs against them.

use std::ffi::OsString;

use nix::unistd::geteuid;

use crate::command;
use crate::error::{Error, Result};
use crate::say;
use crate::setup;
use crate::workspace::Workspace;

/// Options of `servers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As the sensor is released: for figures.
    #[arg(long)]
    release: bool,
    /// Options for the tests: a name, `--nocapture`.
    #[arg(last = true)]
    rest: Vec<OsString>,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if !geteuid().is_root() {
        return Err(Error::Check("a network of loopback alone is made by root: run this as root".to_owned()));
    }
    let folder = setup::python::servers(workspace)?;
    say("trying the outputs against real servers");
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--locked", "-p", "sensor", "--test", "servers"]);
    cargo.args(args.release.then_some("--release"));
    // One at a time: all want the machine, and their figures are compared.
    cargo.args(["--", "--ignored", "--test-threads", "1"]).args(&args.rest).env("SENSOR_SERVERS", folder);
    command::run(&mut cargo)
}
