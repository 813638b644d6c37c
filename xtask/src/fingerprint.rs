//! Tells whether the built kernel programs belong to the sources at hand.
//!
//! The task that builds them notes a line beside the object; the sensor's build script computes
//! the line anew and refuses to embed an object with another one. Both use this file, so it names
//! nothing but `std`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the kernel programs are made from, relative to the workspace.
pub(crate) const SOURCES: &[&str] =
    &["sensor-ebpf/Cargo.toml", "sensor-ebpf/src", "sensor-common/Cargo.toml", "sensor-common/src"];

/// The object's name in `target/bpf`.
pub(crate) const OBJECT: &str = "sensor-ebpf.o";

/// The name of the line's file in `target/bpf`.
pub(crate) const NOTE: &str = "sensor-ebpf.fingerprint";

/// The line for an object that was built from sources with the hash `sources`.
pub(crate) fn line(sources: u64, object: &[u8]) -> String {
    let mut hash = Hash::new();
    hash.add(object);
    format!("sources {sources:016x} object {:016x}\n", hash.0)
}

/// A hash over the paths and contents of all sources.
pub(crate) fn sources(root: &Path) -> io::Result<u64> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(root, Path::new(source), &mut files)?;
    }
    files.sort();
    let mut hash = Hash::new();
    for file in &files {
        hash.add(file.as_os_str().as_encoded_bytes());
        hash.add(&fs::read(root.join(file))?);
    }
    Ok(hash.0)
}

fn collect(root: &Path, relative: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let path = root.join(relative);
    if path.is_file() {
        files.push(relative.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(root, &relative.join(entry?.file_name()), files)?;
    }
    Ok(())
}

/// FNV-1a: against accidents, not against attackers.
struct Hash(u64);

impl Hash {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds one item; its length keeps it apart from the next.
    fn add(&mut self, bytes: &[u8]) {
        self.bytes(&bytes.len().to_le_bytes());
        self.bytes(bytes);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
