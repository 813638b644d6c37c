//! What a test needs and may not find. It says why it skips; where `SENSOR_NO_SKIP` is set (CI), a skip is a failure.

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
    false
}

/// Skips for another reason than [`skip`] knows.
#[must_use]
pub fn because(why: &str) -> bool {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    assert!(
        std::env::var_os("SENSOR_NO_SKIP").is_none(),
        "SENSOR_NO_SKIP is set, yet {test} would be skipped: {why}"
    );
    eprintln!("skipped {test}: {why}");
    true
}
