//! What a test needs and may not find. It says why it skips; where `SENSOR_NO_SKIP` is set (CI), a skip is a failure, but
//! for what the kernel itself hasn't got: that stands in one table.

pub mod kernel;

use std::path::Path;

/// Says why the calling test can't run here, if it can't.
#[must_use]
pub fn skip() -> bool {
    if !nix::unistd::geteuid().is_root() {
        return because("it needs root");
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return because("the kernel has no BTF (/sys/kernel/btf/vmlinux)");
    }
    kernel::lacks(&test()).is_some_and(not_here)
}

/// Says that the calling test is about another kernel than this one.
#[must_use]
pub fn not_here(reason: &str) -> bool {
    eprintln!("not here {}: {reason}", test());
    true
}

/// Skips for another reason than [`skip`] knows.
#[must_use]
pub fn because(why: &str) -> bool {
    let test = test();
    assert!(
        std::env::var_os("SENSOR_NO_SKIP").is_none(),
        "SENSOR_NO_SKIP is set, yet {test} would be skipped: {why}"
    );
    eprintln!("skipped {test}: {why}");
    true
}

/// Says that a program isn't there which the calling test tries: in the machines of other kernels none of them is.
#[must_use]
pub fn missing(what: &str) -> bool {
    if std::env::var_os("SENSOR_PROGRAMS").is_some() { not_here(what) } else { because(what) }
}

/// The calling test: the name of its file, and its own.
fn test() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let stem = program.file_stem().unwrap_or_default().to_string_lossy();
    // Cargo adds a hash.
    let file = stem.rsplit_once('-').map_or(&*stem, |(file, _)| file);
    format!("{file}::{}", std::thread::current().name().unwrap_or("?"))
}
