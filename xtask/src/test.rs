//! Builds the sensor, then runs every test on it, and those that tell most on other kernels.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use nix::unistd::geteuid;

use crate::build_sensor;
use crate::command;
use crate::error::Result;
use crate::say;
use crate::setup::{self, Purpose};
use crate::vm;
use crate::workspace::Workspace;

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Boot no other kernels.
    #[arg(long)]
    no_vm: bool,
    /// Options for `cargo test`: `-p tests`, a name, `-- --nocapture`. With them no other kernel is booted.
    #[arg(last = true)]
    rest: Vec<OsString>,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    match args.rest.is_empty() {
        true => build_sensor::with_tests(workspace)?,
        false => build_sensor::build(workspace, &[Purpose::Test])?,
    }
    if !geteuid().is_root() {
        say("not root: the tests that load programs into the kernel skip");
    }
    say("testing");
    let mut cargo = cargo(workspace);
    cargo.arg("--no-fail-fast").args(&args.rest).env("SENSOR_BIN", workspace.sensor());
    if let Some(packages) = setup::python::ocsf(workspace) {
        cargo.env("SENSOR_OCSF", packages);
    }
    if env::var_os("CI").is_some_and(|value| value == "true") {
        cargo.env("SENSOR_NO_SKIP", "1");
    }
    command::run(&mut cargo)?;
    if args.no_vm || !args.rest.is_empty() {
        say("no other kernel is tried");
        return Ok(());
    }
    if env::consts::ARCH != "x86_64" {
        say("NOT X86-64: OTHER KERNELS ARE NOT TRIED");
        return Ok(());
    }
    vm::run(workspace, &vm::Args::fast())
}

/// What builds and runs the tests.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    // Without `--workspace`: the default members are all that run here. Not for release: the
    // overflow checks and assertions are wanted, and it builds faster.
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--locked"]);
    cargo
}
