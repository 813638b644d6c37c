//! Builds the sensor as it is shipped.

use std::process::Command;

use crate::build_ebpf;
use crate::command;
use crate::error::Result;
use crate::say;
use crate::setup::{self, Purpose};
use crate::test;
use crate::workspace::Workspace;

/// Options of `build`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Build all tests as well, at the same time.
    #[arg(long)]
    tests: bool,
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    match args.tests {
        true => with_tests(workspace),
        false => build(workspace, &[]),
    }
}

/// Builds it, ready also for `more` than building.
pub(crate) fn build(workspace: &Workspace, more: &[Purpose]) -> Result<()> {
    programs(workspace, more)?;
    say("building the sensor");
    command::run(&mut release(workspace))
}

/// Builds it and all tests. They share nothing, and the longest part of either keeps only one processor busy.
pub(crate) fn with_tests(workspace: &Workspace) -> Result<()> {
    programs(workspace, &[Purpose::Test])?;
    say("building the sensor, and the tests");
    let tests = command::Beside::start(test::cargo(workspace).args(["--no-run", "--quiet"]))?;
    let sensor = command::run(&mut release(workspace));
    tests.join().and(sensor)
}

fn programs(workspace: &Workspace, more: &[Purpose]) -> Result<()> {
    let purposes = [&[Purpose::Build], more].concat();
    let toolchain = setup::ensure(workspace, &purposes)?;
    say("building the kernel programs");
    build_ebpf::build(workspace, &toolchain).map(drop)
}

fn release(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "-p", "sensor"]);
    cargo
}
