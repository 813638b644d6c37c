//! How much the journal takes, and what it costs: made-up events through the real queue, writer and database
//! (`sensor/examples/journal.rs`).

use std::collections::BTreeMap;
use std::process::Command;

use super::Report;
use super::lab::Lab;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use crate::command;
use crate::error::{Error, Result};
use crate::say;
use crate::workspace::Workspace;

/// Options of `bench journal`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long each is measured.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// What is measured: its name, most bytes of the journal, events a second or 0 for as many as are taken. What is dropped costs as well,
/// and has no bar.
const RUNS: &[(&str, u64, u32)] = &[
    ("flood", USUAL, 0),
    ("flood, the oldest dropped", 256 << 20, 0),
    ("5,000/s", USUAL, 5000),
    ("5,000/s, the oldest dropped", 8 << 20, 5000),
];
/// What a journal is allowed unless something else is said.
const USUAL: u64 = 1 << 30;
/// Events a second.
const LEAST: f64 = 50_000.0;
/// Percent of one CPU, of the thread that writes and of handing over together.
const MOST_CPU: f64 = 10.0;

/// Measures it.
pub(crate) fn run(
    workspace: &Workspace,
    lab: &Lab,
    args: &Args,
    quiet: &mut Quiet,
    report: &mut Report,
) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "-p", "sensor", "--example", "journal"]);
    command::run(&mut cargo)?;
    let program = workspace.target().join("release/examples/journal");
    let mut table = Table::new(format!(
        "journal: {} s each; stored: events a second; CPU: percent of one, of the thread that writes, and with the loop's handing \n\
         over; line: bytes of an event before it is stored; disk: after that",
        args.seconds
    ));
    for (name, most, rate) in RUNS {
        quiet.wait()?;
        say(name);
        let folder = lab.empty("journal")?.join("journal");
        let mut measured = Command::new(&program);
        measured.arg(&folder).args([most.to_string(), rate.to_string(), args.seconds.to_string()]);
        let told = numbers(&command::read(&mut measured)?)?;
        let get = |name: &str| told.get(name).copied().unwrap_or(f64::NAN);
        let figure = Figure::new(*name)
            .value("stored", get("stored"), 0)
            .value("writer", get("writer"), 2)
            .value("CPU", get("writer") + get("handing"), 2)
            .value("line", get("line"), 0)
            .value("disk", get("size") / get("kept"), 0)
            .value("missing", get("missing"), 0)
            .at_most("missing", 0.0);
        table.figures.push(match rate {
            _ if *most != USUAL => figure,
            0 => figure.at_least("stored", LEAST),
            _ => figure.at_most("CPU", MOST_CPU),
        });
    }
    report.add(table);
    Ok(())
}

/// A name and a number a line.
fn numbers(text: &str) -> Result<BTreeMap<String, f64>> {
    let pair = |line: &str| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    text.lines()
        .map(|line| pair(line).ok_or_else(|| Error::Check(format!("the journal's bench said: {line}"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let read = numbers("stored 7.5\nwaits 0\n").unwrap();
        assert_eq!((read["stored"], read["waits"]), (7.5, 0.0));
        assert!(numbers("stored").is_err() && numbers("stored much").is_err());
    }
}
