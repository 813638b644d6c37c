//! How soon the verbs that answer on the spot do so where there is much: thousands of processes that each have
//! descriptors open.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Report;
use super::crowd::{Crowd, Has};
use super::lab::Lab;
use super::number::Sample;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use crate::command::start_error;
use crate::error::{Error, Result};
use crate::say;

/// Options of `bench look`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many processes there are; each has ten descriptors.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    processes: u32,
    /// How often each verb is asked.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// A user that nobody else is.
const OWNER: &str = "54321";

/// A verb, and in how many seconds it is to have answered, by its slowest answer.
struct Question {
    name: &'static str,
    words: &'static [&'static str],
    most: Option<f64>,
}

const QUESTIONS: [Question; 6] = [
    Question { name: "ps", words: &["ps", "--format", "text"], most: Some(0.5) },
    Question { name: "ps, JSON", words: &["ps", "--format", "json"], most: Some(0.5) },
    Question {
        name: "files --user",
        words: &["files", "--user", OWNER, "--format", "text"],
        most: Some(2.0),
    },
    Question {
        name: "files --user, JSON",
        words: &["files", "--user", OWNER, "--format", "json"],
        most: Some(2.0),
    },
    Question { name: "ports", words: &["ports", "--format", "text"], most: Some(1.0) },
    Question { name: "who", words: &["who", "--format", "text"], most: None },
];

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    let crowd = Crowd::gather(lab, args.processes, OWNER, Has::Descriptors)?;
    let mut table = Table::new(format!(
        "look: seconds until a verb has answered, beside {} processes of one user with ten descriptors each;\n\
         MiB: the most memory that it had, of one answer more",
        args.processes
    ));
    for question in QUESTIONS {
        say(question.name);
        quiet.wait()?;
        let mut seconds = Sample::default();
        for _ in 0..args.rounds {
            seconds.add(answered(&lab.sensor(), question.words)?);
        }
        let mut figure = Figure::new(question.name)
            .value("median", seconds.median(), 3)
            .value("slowest", seconds.quantile(1.0), 3)
            .value("MiB", memory(&lab.sensor(), question.words)?, 0);
        if let Some(most) = question.most {
            figure = figure.at_most("slowest", most);
        }
        table.figures.push(figure);
    }
    report.add(table);
    crowd.leave()
}

/// How long a verb takes to answer, seconds. It is done when it is done in part: the machine may keep something from it.
pub(crate) fn answered(sensor: &Path, words: &[&str]) -> Result<f64> {
    let mut command = asked(sensor, words);
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status().map_err(start_error(&command))?;
    let took = began.elapsed().as_secs_f64();
    match status.code() {
        Some(0 | 4) => Ok(took),
        _ => Err(Error::Check(format!("sensor {}: {status}", words.join(" ")))),
    }
}

/// The most memory that a verb had, MiB: asked after each piece of its answer.
fn memory(sensor: &Path, words: &[&str]) -> Result<f64> {
    let mut command = asked(sensor, words);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(start_error(&command))?;
    let mut most = f64::NAN;
    let mut piece = vec![0; 65_536];
    if let Some(mut answer) = child.stdout.take() {
        while answer.read(&mut piece).is_ok_and(|bytes| bytes != 0) {
            // What has ended has no memory any more.
            most = peak(child.id()).unwrap_or(most);
        }
    }
    child.wait().map_err(start_error(&command))?;
    Ok(most)
}

fn asked(sensor: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(sensor);
    command.args(words).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn peak(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    kib.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}
