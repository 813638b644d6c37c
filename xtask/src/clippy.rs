//! Lints all crates, the kernel programs with the compiler of their target.

use crate::build_ebpf;
use crate::command;
use crate::error::Result;
use crate::say;
use crate::setup::packages::CLIPPY;
use crate::setup::{self, Purpose, Route, Toolchain};
use crate::workspace::Workspace;

/// Runs the task.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let toolchain = setup::ensure(workspace, &[Purpose::Build, Purpose::Lint])?;
    // The sensor embeds them, so it can't even be checked without.
    build_ebpf::build(workspace, &toolchain)?;
    say("linting the kernel programs");
    kernel(workspace, &toolchain)?;
    say("linting the user-space crates");
    let mut cargo = workspace.cargo();
    // All but the kernel programs, which the host can't build.
    cargo.args(["clippy", "--locked", "--workspace", "--exclude", "sensor-ebpf", "--all-targets"]);
    cargo.args(["--", "-D", "warnings"]);
    command::run(&mut cargo)
}

fn kernel(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let mut cargo = build_ebpf::cargo(workspace, toolchain);
    let verb = match toolchain.route {
        Route::Debian => "check",
        Route::Nightly { .. } => "clippy",
    };
    // As they are built, so that the macros that they use are built once.
    cargo
        .args([verb, "--locked", "--release"])
        .args(build_ebpf::target_options(toolchain, &workspace.bpf()))
        .env("CARGO_ENCODED_RUSTFLAGS", "-Dwarnings");
    if matches!(toolchain.route, Route::Debian) {
        cargo.env("RUSTC_WORKSPACE_WRAPPER", CLIPPY);
    }
    command::run(&mut cargo)
}
