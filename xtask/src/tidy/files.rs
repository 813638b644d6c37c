//! What holds for each Rust file: its first line, its length, and no unsafe code but where allowed.

use std::path::Path;

use super::source::Source;
use super::{Finding, LONG, LONGEST, UNSAFE, excused};

/// Checks one file.
pub(super) fn check(file: &Path, text: &str, source: &Source, findings: &mut Vec<Finding>) {
    let mut report = |line: usize, what: String| {
        findings.push(Finding { file: file.to_owned(), line, what });
    };
    if !text.starts_with("//!") {
        report(1, "begins without a `//!` line that says what it is for".to_owned());
    }
    let lines = text.lines().count().saturating_sub(source.test_lines());
    if lines > LONGEST && !excused(LONG, file) {
        report(1, format!("has {lines} lines without its tests, more than {LONGEST}"));
    }
    for line in unsafe_lines(file, source) {
        report(line, "unsafe code outside the files listed in UNSAFE of tidy.rs".to_owned());
    }
}

fn unsafe_lines(file: &Path, source: &Source) -> Vec<usize> {
    if excused(UNSAFE, file) {
        return Vec::new();
    }
    // `#[unsafe(link_section = …)]` has no other spelling, and only the kernel programs need it.
    let attributes_allowed = file.starts_with("sensor-ebpf");
    let pairs = source.tokens.iter().zip(source.tokens.iter().skip(1));
    pairs
        .filter(|(token, next)| token.is("unsafe") && !(attributes_allowed && next.is("(")))
        .map(|(token, _)| token.line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(file: &str, text: &str) -> usize {
        let file = Path::new(file);
        let mut findings = Vec::new();
        check(file, text, &Source::read(file, text), &mut findings);
        findings.len()
    }

    #[test]
    fn files_say_what_they_are_for() {
        assert_eq!(broken("a.rs", "//! A.\nfn f() {}\n"), 0);
        assert_eq!(broken("a.rs", "fn f() {}\n"), 1);
    }

    #[test]
    fn files_are_short_without_their_tests() {
        let code = |n: usize| format!("//! A.\n{}", "f();\n".repeat(n));
        assert_eq!(broken("a.rs", &code(499)), 0);
        assert_eq!(broken("a.rs", &code(500)), 1);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "f();\n".repeat(500));
        assert_eq!(broken("a.rs", &(code(400) + &tests)), 0);
    }

    #[test]
    fn unsafe_code_has_its_place() {
        let text = "//! A.\nfn f() { unsafe { g() } } // unsafe\n";
        assert_eq!(broken("sensor/src/host.rs", text), 1);
        assert_eq!(broken("sensor-ebpf/src/read.rs", text), 0);
        let text = "//! A.\n#[unsafe(no_mangle)]\nstatic A: u8 = 0;\n";
        assert_eq!(broken("sensor-ebpf/src/main.rs", text), 0);
        assert_eq!(broken("sensor/src/host.rs", text), 1);
    }
}
