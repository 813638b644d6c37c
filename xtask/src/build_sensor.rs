//! Builds the sensor as it is shipped.

use crate::build_ebpf;
use crate::command;
use crate::error::Result;
use crate::say;
use crate::setup::{self, Purpose};
use crate::workspace::Workspace;

/// Runs the task, ready also for `more` than building.
pub(crate) fn run(workspace: &Workspace, more: &[Purpose]) -> Result<()> {
    let purposes = [&[Purpose::Build], more].concat();
    let toolchain = setup::ensure(workspace, &purposes)?;
    say("building the kernel programs");
    build_ebpf::build(workspace, &toolchain)?;
    say("building the sensor");
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "-p", "sensor"]);
    command::run(&mut cargo)
}
