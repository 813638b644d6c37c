//! Finds the kernel programs that the sensor embeds, and refuses missing or stale ones.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../xtask/src/fingerprint.rs"]
mod fingerprint;

/// Names another object, for packagers who build it their own way; it is not compared with the
/// sources. The sensor itself reads the variable at compile time, to embed the file.
const OBJECT: &str = "SENSOR_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    match object() {
        Ok(path) => println!("cargo::rustc-env={OBJECT}={}", path.display()),
        Err(reason) => println!("cargo::error={reason}"),
    }
}

/// The object to embed, or why there is none.
fn object() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os(OBJECT) {
        return given(path);
    }
    let package = env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo does not tell the package")?;
    let root = Path::new(&package).parent().ok_or("the sensor is not in its workspace")?;
    watch(root);
    fresh(root)
}

fn given(path: OsString) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    println!("cargo::rerun-if-changed={}", path.display());
    if !path.is_absolute() {
        return Err(format!("{OBJECT}={} must be an absolute path", path.display()));
    }
    match fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(format!("cannot find {OBJECT}={}: {error}", path.display())),
    }
}

fn watch(root: &Path) {
    for source in fingerprint::SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    for made in [fingerprint::OBJECT, fingerprint::NOTE] {
        println!("cargo::rerun-if-changed={}", bpf(root).join(made).display());
    }
}

/// The workspace's own object, if it was made from the sources as they are now.
fn fresh(root: &Path) -> Result<PathBuf, String> {
    let build = "run `cargo xtask build-ebpf`";
    let path = bpf(root).join(fingerprint::OBJECT);
    let Ok(bytes) = fs::read(&path) else {
        return Err(format!("the kernel programs are missing: {build}"));
    };
    let sources = fingerprint::sources(root)
        .map_err(|error| format!("cannot read the sources of the kernel programs: {error}"))?;
    let noted = fs::read_to_string(bpf(root).join(fingerprint::NOTE)).unwrap_or_default();
    if noted != fingerprint::line(sources, &bytes) {
        return Err(format!("the kernel programs are older than their sources: {build}"));
    }
    Ok(path)
}

fn bpf(root: &Path) -> PathBuf {
    root.join("target").join("bpf")
}
