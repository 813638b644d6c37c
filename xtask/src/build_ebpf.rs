//! Builds the kernel programs into `target/bpf`, the same bytes from the same sources wherever
//! the workspace is.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::command;
use crate::error::{Error, Result};
use crate::fingerprint;
use crate::place::place;
use crate::say;
use crate::setup::packages::RUSTC;
use crate::setup::{self, Purpose, Route, Toolchain};
use crate::workspace::{Workspace, cargo_home};

mod declarations;

/// Options of `build-ebpf`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Build also from nothing in another place, and fail when the results differ.
    #[arg(long)]
    twice: bool,
}

const TARGET: &str = "bpfel-unknown-none";

/// The crates that may use unstable features of a stable compiler.
const UNSTABLE_IN: &str = "aya_ebpf,sensor_ebpf";

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let toolchain = setup::ensure(workspace, &[Purpose::Build])?;
    if args.twice {
        return twice(workspace, &toolchain);
    }
    build(workspace, &toolchain).map(drop)
}

/// Brings the object in `target/bpf` up to date, and gives it.
pub(crate) fn build(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<u8>> {
    // Before the compiler reads them: a change made meanwhile must count as one.
    let sources = hash_of_sources(workspace)?;
    let bytes = compile(workspace, toolchain, &workspace.bpf())?;
    keep(workspace, sources, &bytes)?;
    Ok(bytes)
}

/// Puts an object where the sensor's build script looks, with the line that vouches for it.
fn keep(workspace: &Workspace, sources: u64, object: &[u8]) -> Result<()> {
    place(&workspace.bpf().join(fingerprint::OBJECT), object)?;
    let line = fingerprint::line(sources, object);
    place(&workspace.bpf().join(fingerprint::NOTE), line.as_bytes())
}

fn hash_of_sources(workspace: &Workspace) -> Result<u64> {
    fingerprint::sources(workspace.root()).map_err(Error::file("read sources in", workspace.root()))
}

/// Builds here, and from nothing in a copy elsewhere.
fn twice(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    say("building the kernel programs");
    let first = build(workspace, toolchain)?;
    let scratch = workspace.target().join("twice");
    clear(&scratch)?;
    let copy = Workspace::at(scratch.join("in-another-place"));
    copy_files(workspace, &copy)?;
    say("building them from nothing, in another place");
    let second = compile(&copy, toolchain, &copy.bpf())?;
    let (one, other) = (sha256(&first), sha256(&second));
    say(&format!("first  sha256 {one}"));
    say(&format!("second sha256 {other}"));
    if one != other {
        return Err(Error::Check(format!(
            "two builds of the kernel programs differ; they are kept in {} and {}",
            workspace.bpf().display(),
            scratch.display()
        )));
    }
    clear(&scratch)
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Error::file("remove", folder))?;
    }
    Ok(())
}

fn copy_files(from: &Workspace, to: &Workspace) -> Result<()> {
    for file in from.files()? {
        let (source, copy) = (from.root().join(&file), to.root().join(&file));
        let folder = copy.parent().unwrap_or_else(|| to.root());
        fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
        fs::copy(&source, &copy).map_err(Error::file("copy", &source))?;
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Builds the object and strips it. The unstripped one stays below `folder`.
fn compile(workspace: &Workspace, toolchain: &Toolchain, folder: &Path) -> Result<Vec<u8>> {
    let mut fetch = cargo(workspace, toolchain);
    fetch.args(["fetch", "--quiet", "--locked", "--target", TARGET]);
    command::run(&mut fetch)?;
    let mut build = cargo(workspace, toolchain);
    build
        .args(["build", "--locked", "--release", "--bins"])
        .args(target_options(toolchain, folder))
        .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace, toolchain, folder)?);
    command::put_first_on_path(&mut build, parent(&toolchain.linker))?;
    command::run(&mut build)?;
    let whole = folder.join(TARGET).join("release/sensor-ebpf");
    let stripped = folder.join("stripped");
    let mut strip = Command::new(&toolchain.strip);
    strip.arg("-g").arg("-o").arg(&stripped).arg(whole);
    command::run(&mut strip)?;
    let mut object = fs::read(&stripped).map_err(Error::file("read", &stripped))?;
    declarations::order(&mut object)?;
    Ok(object)
}

/// The cargo options that every use of the BPF target shares.
pub(crate) fn target_options(toolchain: &Toolchain, folder: &Path) -> Vec<OsString> {
    let mut options: Vec<OsString> =
        ["-p", "sensor-ebpf", "--target", TARGET, "--target-dir"].map(OsString::from).to_vec();
    options.push(folder.into());
    if matches!(toolchain.route, Route::Nightly { .. }) {
        options.push("-Zbuild-std=core".into());
    }
    options
}

/// A cargo that uses the compiler of the kernel programs.
pub(crate) fn cargo(workspace: &Workspace, toolchain: &Toolchain) -> Command {
    let mut cargo = match &toolchain.route {
        Route::Debian => workspace.cargo(),
        Route::Nightly { sysroot } => {
            let mut cargo = Command::new(sysroot.join("bin/cargo"));
            cargo.current_dir(workspace.root());
            cargo.env("RUSTC", sysroot.join("bin/rustc"));
            cargo
        }
    };
    // The linker does this for the whole program.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
    // Set by the cargo that started this program, for its own compiler's libraries.
    cargo.env_remove("LD_LIBRARY_PATH");
    if matches!(toolchain.route, Route::Debian) {
        cargo.env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", UNSTABLE_IN);
    }
    cargo
}

/// The compiler's options. No path of this machine may get into the object.
fn flags(workspace: &Workspace, toolchain: &Toolchain, folder: &Path) -> Result<OsString> {
    let arch = env::consts::ARCH;
    let mut flags = vec![
        OsString::from("-Cdebuginfo=2"),
        OsString::from("-Clink-arg=--btf"),
        OsString::from("-Clinker=bpf-linker"),
        OsString::from(format!("--cfg=bpf_target_arch=\"{arch}\"")),
        remap(workspace.root(), "/sensor"),
        remap(folder, "/target"),
    ];
    for source in registry_sources()? {
        flags.push(remap(&source, "/registry"));
    }
    if let Route::Nightly { sysroot } = &toolchain.route {
        flags.push(remap(sysroot, "/rust"));
    }
    Ok(flags.join("\x1f".as_ref()))
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

/// The folders of unpacked packages, one a registry.
fn registry_sources() -> Result<Vec<PathBuf>> {
    let Some(folder) = cargo_home().map(|home| home.join("registry/src")) else {
        return Ok(Vec::new());
    };
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Error::file("list", &folder))? {
        found.push(entry.map_err(Error::file("list", &folder))?.path());
    }
    found.sort();
    Ok(found)
}

fn parent(program: &Path) -> &Path {
    program.parent().unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_sha256sum_does() {
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), known);
    }
}
