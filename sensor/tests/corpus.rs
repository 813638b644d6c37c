//! Replays what the fuzzer has found worth keeping, so that no fuzzer is needed to notice that one
//! of it is no longer taken well.
#![expect(clippy::unwrap_used, reason = "a test: what can't be read fails it")]

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
mod target;

fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // Shown only if the target panics.
        println!("{}", path.display());
        target(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn btf() {
    replay("btf", target::btf);
}

#[test]
fn decode() {
    replay("decode", target::decode);
}

#[test]
fn format() {
    replay("format", target::format);
}
