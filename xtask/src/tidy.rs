//! The repository's own rules: who may name whom, where unsafe code is, how long files are, which
//! words stay out. The tables to edit are at the top; each check has its file.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::docs;
use crate::error::{Error, Result};
use crate::say;
use crate::workspace::Workspace;
use source::Source;

mod files;
mod paths;
mod rooms;
mod source;
mod words;

/// The rooms of `sensor/src`, one row a floor. A room names only rooms on floors below its own.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["action"],
    &["contain"],
    &["pipeline", "look", "reputation", "firewall"],
    &["requests", "delivery"],
    &[
        "kernel",
        "output",
        "journal",
        "host",
        "procfs",
        "package",
        "rtnetlink",
        "sockdiag",
        "conntrack",
        "netfilter",
        "runs",
        "evidence",
        "logins",
        "histories",
    ],
    &["enrich", "account"],
    &["verdict"],
    &["process", "sockets", "network"],
    &["event", "format", "http", "untrusted", "shelf"],
    &["record", "tls"],
    &["background", "field", "config", "count", "net", "netlink", "redact", "trusted"],
];

/// Names between rooms that the floors forbid: who, whom, and why it is right here.
const PASSAGES: &[(&str, &str, &str)] = &[];

/// Rooms whose files never name each other. What they share is in the room's own file or below.
const SIBLINGS: &[&str] = &["action", "event", "format", "output"];

/// Names that belong to one room of `sensor/src`.
const OWNED: &[Owned] = &[
    owned("aya", &["kernel"], Tests::Too),
    owned("aya_log", &["kernel"], Tests::Too),
    owned("aya_obj", &["kernel"], Tests::Too),
    owned("sensor_common::ask", &["kernel"], Tests::Too),
    owned("sensor_common::filter", &["kernel"], Tests::Too),
    owned("sensor_common::wire::…", &["event"], Tests::Exempt),
    owned("ureq", &["http"], Tests::Too),
    owned("serde_json", &["format", "firewall", "http"], Tests::Exempt),
    owned("rusqlite", &["journal"], Tests::Too),
    owned("lz4_flex", &["journal"], Tests::Too),
    owned("procfs", &["procfs"], Tests::Too),
    owned("crossterm", &["action"], Tests::Too),
    owned("ratatui", &["action"], Tests::Too),
    owned("…::Instant::now", &["host"], Tests::Exempt),
    owned("…::SystemTime::now", &["host"], Tests::Exempt),
    owned("…::Timestamp::now", &["host"], Tests::Exempt),
    owned("…::Zoned::now", &["host"], Tests::Exempt),
    owned("…::clock_gettime", &["host"], Tests::Exempt),
    owned("…::process::ExitCode", &["main"], Tests::Too),
    owned("std::process::abort", &["main"], Tests::Too),
    owned("std::process::exit", &["main"], Tests::Too),
    // It panics where there are no threads left.
    owned("std::thread::spawn", &[], Tests::Exempt),
];

/// Where a text that begins with `/proc` may stand: who opens it, and who holds its root.
const PROC_ROOMS: &[&str] = &["procfs", "host"];

/// The one path there that isn't of the host but the sensor's own, and who lists it.
const OWN_DESCRIPTORS: (&str, &str) = ("output/kafka/nagle.rs", "/proc/self/fd");

/// Files that may hold unsafe code, each with its reason.
const UNSAFE: &[(&str, &str)] = &[
    ("sensor-ebpf/src/read.rs", "the only reads of kernel and user memory"),
    ("sensor-ebpf/src/read/alone.rs", "its part for calls of the kernel's functions"),
    ("sensor-ebpf/src/read/mark.rs", "its part for what programs note"),
    ("sensor-ebpf/src/read/socket.rs", "its part for sockets"),
    ("sensor-ebpf/src/read/text.rs", "its part for text"),
    ("sensor-ebpf/src/sock.rs", "values beside sockets, which several CPUs add to by an instruction"),
    ("sensor/src/kernel/call.rs", "system calls that no crate wraps"),
    ("sensor/src/kernel/ring.rs", "a ring is registered by a file descriptor that must stay open"),
    ("sensor/src/procfs/opened.rs", "whether two descriptors are one open file: a call that no crate wraps"),
    ("sensor/src/sockdiag/held.rs", "what a socket says of itself, by calls that no crate wraps"),
    ("xtask/src/bench/taps.rs", "links of programs that others attached, by their ids"),
    ("tests/src/sensor.rs", "the sensor under test must die with the test: a call between fork and exec"),
];

/// Lines of a file, tests apart.
const LONGEST: usize = 500;

/// Files that may be longer, each with its reason.
const LONG: &[(&str, &str)] = &[
    ("sensor/src/field.rs", "the dictionary is one table, a row a field"),
    ("tests/evasion/tricks.rs", "the tricks are one table, a row a trick"),
];

/// A path that only some rooms may name.
struct Owned {
    /// The beginning of a path; its end after `…::`; or the modules of a path before `::…`.
    path: &'static str,
    rooms: &'static [&'static str],
    tests: Tests,
}

/// Whether a rule holds in test modules.
#[derive(PartialEq, Eq)]
enum Tests {
    Too,
    Exempt,
}

const fn owned(path: &'static str, rooms: &'static [&'static str], tests: Tests) -> Owned {
    Owned { path, rooms, tests }
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, what) = (self.file.display(), self.line, &self.what);
        write!(formatter, "{file}:{line}: {what}")
    }
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut broken: Vec<String> = check(workspace)?.iter().map(Finding::to_string).collect();
    if workspace.sensor().exists() {
        broken.extend(docs::stale(workspace)?);
    } else {
        say("generated documents: not checked, the sensor is not built");
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Error::Check(format!("the repository breaks its own rules:\n{}", broken.join("\n"))))
}

/// All broken rules of the source files.
fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let all = workspace.files()?;
    let mut findings = Vec::new();
    for file in &all {
        let path = workspace.root().join(file);
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        words::check(file, &text, &mut findings);
        if file.extension().is_some_and(|extension| extension == "rs") {
            let source = Source::read(file, &text);
            files::check(file, &text, &source, &mut findings);
            if let Ok(inside) = file.strip_prefix("sensor/src") {
                rooms::check(inside, &source, &all, &mut findings);
            }
        }
    }
    // A name can break a rule twice in a line.
    findings.dedup();
    Ok(findings)
}

/// Whether a table lists a file.
fn excused(table: &[(&str, &str)], file: &Path) -> bool {
    table.iter().any(|(excused, _)| Path::new(excused) == file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_keeps_its_rules() {
        let workspace = Workspace::find().unwrap();
        let broken = check(&workspace).unwrap();
        let lines: Vec<String> = broken.iter().map(Finding::to_string).collect();
        assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    }

    #[test]
    fn the_tables_name_files_that_exist() {
        let workspace = Workspace::find().unwrap();
        assert!(workspace.root().join("sensor/src").join(OWN_DESCRIPTORS.0).is_file());
        for (file, reason) in UNSAFE.iter().chain(LONG) {
            assert!(workspace.root().join(file).is_file(), "{file} is gone");
            assert!(!reason.is_empty());
        }
    }
}
