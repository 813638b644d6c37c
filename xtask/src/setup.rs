//! Finds what a task needs, and on Debian brings it: after having said so.

use std::path::{Path, PathBuf};

use crate::command;
use crate::error::{Error, Missing, Result};
use crate::say;
use crate::tool::Tool;
use crate::workspace::Workspace;

mod apt;
pub(crate) mod brought;
mod compiler;
mod debian;
pub(crate) mod emulator;
mod nightly;
pub(crate) mod own_apt;
pub(crate) mod packages;
pub(crate) mod python;

/// What a task is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Build the kernel programs.
    Build,
    /// Check them with clippy.
    Lint,
    /// Run the tests.
    Test,
    /// Run them in virtual machines.
    Machines,
}

impl Purpose {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Build => "building the kernel programs",
            Self::Lint => "checking the kernel programs",
            Self::Test => "testing",
            Self::Machines => "testing in virtual machines",
        }
    }
}

/// A compiler for the kernel programs with all that belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    /// Whose compiler it is.
    pub(crate) route: Route,
    /// `bpf-linker`.
    pub(crate) linker: PathBuf,
    /// `llvm-strip`.
    pub(crate) strip: PathBuf,
}

/// The two ways to a `core` for BPF.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// Debian's rustc, which has one precompiled.
    Debian,
    /// rustup's nightly, which builds it from source.
    Nightly {
        /// The toolchain's folder.
        sysroot: PathBuf,
    },
}

/// What can be done about the things that are missing.
enum Found {
    Ready(Toolchain),
    Missing(Vec<Missing>),
}

/// Brings what every task needs.
pub(crate) fn all(workspace: &Workspace) -> Result<()> {
    ensure(workspace, &[Purpose::Build, Purpose::Lint, Purpose::Test, Purpose::Machines])?;
    emulator::Emulator::find(workspace).map(|_| ())
}

/// Returns a toolchain that can do all of `purposes`, if need be after installing it.
pub(crate) fn ensure(workspace: &Workspace, purposes: &[Purpose]) -> Result<Toolchain> {
    let debian = match debian::find(workspace, purposes)? {
        Found::Ready(toolchain) => return Ok(toolchain),
        Found::Missing(missing) => missing,
    };
    let nightly = match nightly::find(workspace) {
        Found::Ready(toolchain) => return Ok(toolchain),
        Found::Missing(missing) => missing,
    };
    let purpose = purposes.last().map_or("this", |one| one.sentence());
    let missing = if debian::is_here() { debian } else { nightly };
    Err(Error::Missing { purpose, missing })
}

/// The linker for the kernel programs. It must read what the compiler's LLVM writes.
fn linker(llvm: u32) -> Tool {
    Tool {
        name: "bpf-linker",
        version: "0.13.0",
        variant: format!("llvm-{llvm}"),
        options: vec!["--no-default-features".to_owned(), "--features".to_owned(), format!("llvm-{llvm}")],
    }
}

/// Builds the linker against the LLVM in a folder.
fn install_linker(workspace: &Workspace, linker: &Tool, llvm: &Path) -> Result<()> {
    say(&format!("building {linker}: about a minute, once"));
    let mut install = linker.install(workspace);
    install.env("LLVM_PREFIX", llvm);
    command::put_first_on_path(&mut install, &llvm.join("bin"))?;
    command::run(&mut install)?;
    linker.settle(workspace)
}
