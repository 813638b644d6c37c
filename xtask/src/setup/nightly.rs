//! The way by rustup: its nightly builds `core` for BPF from source.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Found, Route, Toolchain};
use crate::error::Missing;
use crate::workspace::Workspace;

/// A nightly with all that belongs to it. Nothing is installed: it is the user's own.
pub(super) fn find(workspace: &Workspace) -> Found {
    let sysroot = sysroot();
    let source = sysroot.as_deref().filter(|root| has_source(root));
    let linker = on_path("bpf-linker").or_else(|| own_linker(workspace));
    let strip = sysroot.as_deref().and_then(strip);
    if let (Some(sysroot), Some(linker), Some(strip)) = (source, linker.clone(), strip.clone()) {
        return Found::Ready(Toolchain {
            route: Route::Nightly { sysroot: sysroot.to_owned() },
            linker,
            strip,
        });
    }
    let lacking = [
        (
            sysroot.is_none(),
            "a nightly Rust toolchain: compiles the kernel programs",
            "rustup toolchain install nightly --profile minimal --component rust-src,llvm-tools",
        ),
        (
            sysroot.is_some() && source.is_none(),
            "rust-src: the core library for them, in source",
            "rustup component add rust-src --toolchain nightly",
        ),
        (
            sysroot.is_some() && strip.is_none(),
            "llvm-strip: strips them",
            "rustup component add llvm-tools --toolchain nightly",
        ),
        (linker.is_none(), "bpf-linker: links them", "cargo install bpf-linker --locked --root target/tools"),
    ];
    let missing = lacking
        .into_iter()
        .filter(|(lacks, ..)| *lacks)
        .map(|(_, what, install)| Missing { what: what.to_owned(), install: install.to_owned() })
        .collect();
    Found::Missing(missing)
}

/// The folder of rustup's nightly.
fn sysroot() -> Option<PathBuf> {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "rustc", "--print", "sysroot"]);
    let output = command.output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim_end()))
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}

/// `llvm-strip` of the toolchain or of the system.
fn strip(sysroot: &Path) -> Option<PathBuf> {
    let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let own = sysroot.join("lib/rustlib").join(host).join("bin/llvm-strip");
    Some(own).filter(|path| path.is_file()).or_else(|| on_path("llvm-strip"))
}

fn own_linker(workspace: &Workspace) -> Option<PathBuf> {
    let path = workspace.target().join("tools/bin/bpf-linker");
    path.is_file().then_some(path)
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}
