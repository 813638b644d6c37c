//! Debian's compiler, asked once for its version and its LLVM.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use super::packages::RUSTC;
use crate::command;
use crate::workspace::Workspace;

/// The oldest 1.x that the kernel programs build with.
const OLDEST: u32 = 95;

/// What must be known of a compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compiler {
    /// The x of version 1.x.
    minor: u32,
    /// The major version of its LLVM.
    pub(super) llvm: u32,
}

impl Compiler {
    /// Debian's compiler, when there is one. The answer is kept under `target/tools` for as long
    /// as the program stays the same, as starting a compiler takes longer than all other checks.
    pub(super) fn ask(workspace: &Workspace) -> Option<Self> {
        let file = fs::metadata(RUSTC).ok()?;
        let key = format!("{} {} {}", file.ino(), file.mtime(), file.mtime_nsec());
        let note = note(workspace);
        if let Some(known) = fs::read_to_string(&note).ok().and_then(|text| parse_note(&text, &key)) {
            return Some(known);
        }
        let found = parse(&command::read(Command::new(RUSTC).arg("-vV")).ok()?)?;
        // Only a short cut: without it the compiler is asked again.
        let _ = fs::create_dir_all(workspace.target().join("tools"));
        let _ = fs::write(note, format!("{key}\n{} {}\n", found.minor, found.llvm));
        Some(found)
    }

    /// Whether the kernel programs can't be built with it.
    pub(super) const fn is_too_old(self) -> bool {
        self.minor < OLDEST
    }
}

fn note(workspace: &Workspace) -> PathBuf {
    workspace.target().join("tools").join("rustc.note")
}

fn parse_note(text: &str, key: &str) -> Option<Compiler> {
    let (minor, llvm) = text.strip_prefix(key)?.strip_prefix('\n')?.trim_end().split_once(' ')?;
    Some(Compiler { minor: minor.parse().ok()?, llvm: llvm.parse().ok()? })
}

/// Reads what `rustc -vV` prints.
fn parse(text: &str) -> Option<Compiler> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let llvm = value("LLVM version: ")?.split('.').next()?;
    let minor = value("release: 1.")?.split('.').next()?;
    Some(Compiler { minor: minor.parse().ok()?, llvm: llvm.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "rustc 1.96.0 (x)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";

    #[test]
    fn reads_what_rustc_prints() {
        let known = Compiler { minor: 96, llvm: 22 };
        assert_eq!(parse(PRINTED), Some(known));
        assert_eq!(parse("release: 1.96.0\n"), None);
        assert!(!known.is_too_old());
    }

    #[test]
    fn forgets_the_note_of_another_program() {
        let known = Compiler { minor: 96, llvm: 22 };
        assert_eq!(parse_note("1 2 3\n96 22\n", "1 2 3"), Some(known));
        assert_eq!(parse_note("1 2 3\n96 22\n", "1 2 4"), None);
        assert_eq!(parse_note("", "1 2 3"), None);
    }
}
