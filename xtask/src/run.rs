//! Builds the sensor and becomes it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::build_sensor;
use crate::command::start_error;
use crate::error::Result;
use crate::say;
use crate::workspace::Workspace;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Options for `sensor run`.
    #[arg(last = true)]
    rest: Vec<OsString>,
}

/// Runs the task. Returns only when the sensor could not be built or started.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    build_sensor::build(workspace, &[])?;
    say("starting the sensor; Ctrl-C ends it");
    let mut sensor = Command::new(workspace.sensor());
    sensor.arg("run").args(&args.rest);
    let source = sensor.exec();
    Err(start_error(&sensor)(source))
}
