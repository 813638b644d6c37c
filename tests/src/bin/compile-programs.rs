//! Compiles the test programs into a folder, for a machine that has no compiler.

use std::path::Path;

fn main() {
    let folder = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    tests::program::compile_all(Path::new(&folder));
}
