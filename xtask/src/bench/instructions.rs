//! How many instructions an event takes in user space: exact, on however busy a machine.
//!
//! Records as the kernel gave them once are taken through what the loop does with each (`replay/src/main.rs`), under callgrind.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Report;
use super::kept::{self, Section};
use super::report::{Figure, Table};
use crate::command;
use crate::error::{Error, Missing, Result};
use crate::say;
use crate::workspace::Workspace;

mod callgrind;

/// Options of `bench instructions`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Keep what is counted, instead of comparing with what is kept.
    #[arg(long)]
    bless: bool,
    /// Record the events anew before: needed when records of the kernel programs have changed (as root).
    #[arg(long)]
    record: bool,
}

const NAME: &str = "Instructions";
const VALGRIND: &str = "/usr/bin/valgrind";
/// As the kernel gave them.
const RECORDS: &str = "replay/records";
/// How often they are taken through: tables that hash by chance are so a little different each time.
const PASSES: u32 = 20;
/// Percent of difference that say nothing, since the compiler cuts the library into parts by names and inlines within them,
/// and those that are too much with another compiler or library.
const CHANCE: f64 = 6.0;
const REGRESSION: f64 = 25.0;

/// What is counted: how it is called, the function, and the kinds of events that go through it.
const COUNTED: &[(&str, &str, &[&str])] = &[
    ("fork, whole", "fork", &["fork"]),
    ("exec, whole", "exec", &["exec"]),
    ("exit, whole", "exit", &["exit"]),
    ("socket, whole", "socket", &["socket"]),
    ("any, decoded", "decode", ALL),
    ("any, correlated and described", "correlate_and_describe", ALL),
    ("any, written as ECS", "write_ecs", TOLD),
    ("any, written as OCSF", "write_ocsf", TOLD),
    ("any, written as text", "write_text", TOLD),
];
const ALL: &[&str] = &["fork", "exec", "exit", "socket", "other"];
const TOLD: &[&str] = &["fork", "exec", "exit", "socket"];

/// Counts them.
pub(crate) fn run(workspace: &Workspace, args: &Args, report: &mut Report) -> Result<()> {
    if !Path::new(VALGRIND).exists() {
        return absent();
    }
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "-p", "replay"]);
    command::run(&mut cargo)?;
    let program = workspace.target().join("release/replay");
    let records = workspace.root().join(RECORDS);
    if args.record {
        say("recording events");
        command::run(Command::new(&program).arg("record").arg(&records))?;
    }
    say("counting instructions");
    let now = Section {
        name: NAME.to_owned(),
        with: programs(workspace)?,
        rows: count(workspace, &program, &records)?,
    };
    kept::judge(workspace, now, args.bless, report, compared)
}

/// Only where a change is judged it must be there.
fn absent() -> Result<()> {
    if env::var_os("CI").is_some_and(|value| value == "true") {
        let valgrind =
            Missing { what: "valgrind".to_owned(), install: "apt-get install valgrind".to_owned() };
        return Err(Error::Missing { purpose: "counting instructions", missing: vec![valgrind] });
    }
    say("NO INSTRUCTIONS ARE COUNTED: there is no valgrind here: apt-get install valgrind");
    Ok(())
}

/// What the counts depend on beside the source: compilers and libraries, and the instructions that the CPU has.
fn programs(workspace: &Workspace) -> Result<String> {
    let first = |text: String| text.lines().next().unwrap_or_default().trim().to_owned();
    let rustc = command::read(Command::new("rustc").arg("-V").current_dir(workspace.root())).map(first)?;
    let valgrind = command::read(Command::new(VALGRIND).arg("--version")).map(first)?;
    let library = command::read(Command::new("ldd").arg("--version")).map(first)?;
    let library = library.split_ascii_whitespace().next_back().unwrap_or("unknown").to_owned();
    let path = Path::new("/proc/cpuinfo");
    let cpu = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let has = |word: &str| cpu.lines().any(|line| line.split([' ', '\t']).any(|found| found == word));
    let vectors = if has("avx2") { "avx2" } else { "no avx2" };
    Ok(format!("{rustc}, {valgrind}, glibc {library}, {} with {vectors}", env::consts::ARCH))
}

fn count(workspace: &Workspace, program: &Path, records: &Path) -> Result<Vec<(String, f64)>> {
    let out: PathBuf = workspace.target().join("callgrind");
    let mut valgrind = Command::new(VALGRIND);
    valgrind.args(["-q", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(program).arg(records).arg(PASSES.to_string());
    let events = events(&command::read(&mut valgrind)?)?;
    let text = fs::read_to_string(&out).map_err(Error::file("read", &out))?;
    let inclusive = callgrind::inclusive(&text);
    let each = |(name, function, kinds): &(&str, &str, &[&str])| {
        let sum: u64 = kinds.iter().filter_map(|kind| events.get(*kind)).sum();
        let end = format!("counted::{function}");
        let cost = inclusive
            .iter()
            .filter(|(known, _)| callgrind::is(known, &end))
            .map(|(_, cost)| cost)
            .sum::<u64>();
        if sum == 0 || cost == 0 {
            return Err(Error::Check(format!(
                "{end} was not counted, of {sum} events: record them anew (--record)"
            )));
        }
        Ok(((*name).to_owned(), (cost as f64 / sum as f64).round()))
    };
    COUNTED.iter().map(each).collect()
}

/// How many there were of each kind.
fn events(said: &str) -> Result<BTreeMap<String, u64>> {
    let pair = |line: &str| {
        let (kind, count) = line.split_once(' ')?;
        Some((kind.to_owned(), count.parse().ok()?))
    };
    said.lines().map(|line| pair(line).ok_or_else(|| Error::Check(format!("replay said: {line}")))).collect()
}

/// What is counted beside what is kept.
fn compared(now: &Section, kept: Option<&Section>) -> Table {
    let same = kept.is_some_and(|kept| kept.with == now.with);
    let (with, but) = match kept {
        Some(_) if same => (&now.with, String::new()),
        Some(kept) => (&now.with, format!("\nNOT EXACT: what is kept was counted with {}", kept.with)),
        None => (&now.with, "\nnothing is kept: cargo xtask bench instructions --bless".to_owned()),
    };
    let mut table = Table::new(format!(
        "instructions of an event in user space, mean of its kind; whole: from the ring's record to a line of ECS\nwith {with}{but}"
    ));
    for (name, count) in &now.rows {
        let before = kept.and_then(|kept| kept.get(name)).unwrap_or(f64::NAN);
        let percent = 100.0 * (count / before - 1.0);
        let figure =
            Figure::new(name).value("kept", before, 0).value("now", *count, 0).value("more %", percent, 2);
        table.figures.push(match same {
            true => figure.at_most("more %", CHANCE).at_least("more %", -CHANCE),
            false => figure.at_most("more %", REGRESSION),
        });
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(with: &str, count: f64) -> Section {
        Section { name: NAME.to_owned(), with: with.to_owned(), rows: vec![("fork".to_owned(), count)] }
    }

    #[test]
    fn counts_are_close_with_the_same_programs() {
        let broken =
            |with: &str, now: f64| compared(&section(with, now), Some(&section("a", 1000.0))).broken().len();
        assert_eq!([941.0, 1059.0, 1061.0, 939.0].map(|now| broken("a", now)), [0, 0, 1, 1]);
        assert_eq!([1240.0, 1260.0, 500.0].map(|now| broken("b", now)), [0, 1, 0]);
        assert_eq!(compared(&section("a", 1.0), None).broken().len(), 1);
    }

    #[test]
    fn events_are_read() {
        assert_eq!(events("exec 7\nfork 2\n").unwrap()["exec"], 7);
        assert!(events("exec").is_err());
    }
}
