//! A short form of what takes long, against what is kept: minutes instead of hours, with margins that a busy machine keeps
//! and a quarter more doesn't.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::cost::{self, Statistics};
use super::kept::{self, Section};
use super::lab::Lab;
use super::number::Sample;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use super::sensor::{Sensor, Sink};
use super::storm::Spawns;
use super::{Report, instructions, latency, scale, soak};
use crate::error::{Error, Result};
use crate::say;
use crate::workspace::Workspace;

/// Options of `bench short`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep the ratios that are measured, instead of comparing with those that are kept; measure nothing else.
    #[arg(long)]
    bless: bool,
    /// Compare ratios, and measure nothing else.
    #[arg(long)]
    ratios: bool,
}

const NAME: &str = "Ratios";
/// How often each is measured; what others disturbed least counts.
const ROUNDS: u32 = 12;
const SPAWNS: u32 = 1000;
/// A process is born, executes and ends.
const EVENTS: f64 = 3.0;
const DRAIN: Duration = Duration::from_millis(250);
/// How often a part is measured in which a figure is worse than it may be.
const ATTEMPTS: u32 = 3;
/// What is too much, by what is kept.
const REGRESSION: f64 = 1.25;
/// Hooks whose programs are looked at, each by its name.
const HOOKS: [&str; 3] = ["sched_process_fork", "sched_process_exec", "sched_process_exit"];
const CPU: &str = "CPU of an event";

/// Measures it.
pub(crate) fn run(
    workspace: &Workspace,
    lab: &Lab,
    args: &Args,
    quiet: &mut Quiet,
    report: &mut Report,
) -> Result<()> {
    let mut ratios = |report: &mut Report| {
        let now = Section { name: NAME.to_owned(), with: cpu()?, rows: measure(lab, quiet)? };
        kept::judge(workspace, now, args.bless, report, compared)
    };
    if args.bless {
        return ratios(report);
    }
    part("ratios", report, &mut ratios)?;
    if args.ratios {
        return Ok(());
    }
    instructions::run(workspace, &instructions::Args::default(), report)?;
    part("latency", report, |report| latency::run(lab, &latency::Args { runs: 60 }, report))?;
    part("scale", report, |report| scale::run(lab, &scale::Args::short(), quiet, report))?;
    part("soak", report, |report| soak::short(lab, quiet, report))
}

/// Measures a part, and again when a figure is worse than it may be: what others on the machine do passes, what the sensor
/// does stays. The last time counts.
fn part(name: &str, report: &mut Report, mut measure: impl FnMut(&mut Report) -> Result<()>) -> Result<()> {
    for attempt in 1.. {
        say(name);
        let mut now = Report::default();
        measure(&mut now)?;
        let broken = now.broken();
        if broken.is_empty() || attempt == ATTEMPTS {
            report.tables.append(&mut now.tables);
            break;
        }
        say(&format!(
            "{name}: measuring again, for the case that others disturbed it:\n{}",
            broken.join("\n")
        ));
    }
    Ok(())
}

fn measure(lab: &Lab, quiet: &mut Quiet) -> Result<Vec<(String, f64)>> {
    let spawns = Spawns::new(lab, SPAWNS)?;
    let sensor = Sensor::start(lab, &Sink::Nowhere, None)?;
    spawns.run(None)?;
    thread::sleep(DRAIN);
    quiet.wait()?;
    let statistics = Statistics::on()?;
    let mut samples: Vec<(String, Sample)> =
        HOOKS.iter().chain([&CPU]).map(|name| ((*name).to_owned(), Sample::default())).collect();
    for _ in 0..ROUNDS {
        let unit = yardstick();
        let before = HOOKS.map(|hook| cost::sum(&sensor, |name| name == hook));
        let used = sensor.exact_cpu()?;
        spawns.run(None)?;
        thread::sleep(DRAIN);
        let used = (sensor.exact_cpu()? - used).as_secs_f64() * 1e9 / (f64::from(SPAWNS) * EVENTS);
        let mut figures = Vec::new();
        for (hook, before) in HOOKS.iter().zip(before) {
            figures.push(cost::sum(&sensor, |name| name == *hook)?.since(before?).each());
        }
        figures.push(used);
        for ((_, sample), figure) in samples.iter_mut().zip(figures) {
            sample.add(figure / unit);
        }
    }
    drop(statistics);
    sensor.stop()?;
    Ok(samples.into_iter().map(|(name, sample)| (name, (sample.least() * 1000.0).round() / 1000.0)).collect())
}

/// Nanoseconds of a fixed piece of work, the quickest of many times.
fn yardstick() -> f64 {
    let piece = [0x5a_u8; 1024];
    let mut least = f64::INFINITY;
    for _ in 0..2000 {
        let began = Instant::now();
        let digest = Sha256::digest(std::hint::black_box(piece));
        std::hint::black_box(digest);
        least = least.min(began.elapsed().as_secs_f64() * 1e9);
    }
    least
}

/// Which sort of CPU it is, and which kernel. A virtual machine's is often called by its maker alone, so its numbers too.
fn cpu() -> Result<String> {
    let path = Path::new("/proc/cpuinfo");
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let name =
        value("model name").or_else(|| value("CPU part")).unwrap_or_else(|| "a CPU without name".to_owned());
    let numbers: Vec<String> = ["cpu family", "model\t"].iter().filter_map(|key| value(key)).collect();
    let name = match numbers.is_empty() {
        true => name,
        false => format!("{name} ({})", numbers.join("/")),
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let series: Vec<&str> = kernel.trim().split('.').take(2).collect();
    Ok(format!("{name}, Linux {}", series.join(".")))
}

fn compared(now: &Section, kept: Option<&Section>) -> Table {
    let same = kept.filter(|kept| kept.with == now.with);
    let but = match (kept, same) {
        (_, Some(_)) => String::new(),
        (Some(kept), None) => format!("\nNOT COMPARED: what is kept was measured with {}", kept.with),
        (None, None) => "\nnothing is kept: cargo xtask bench short --bless".to_owned(),
    };
    let mut table = Table::new(format!(
        "by the time of SHA-256 of 1 KiB: kernel programs, each run; the sensor's CPU time for an event of a storm;\n\
         the least of {ROUNDS} storms of {SPAWNS} processes; with {}{but}",
        now.with
    ));
    for (name, ratio) in &now.rows {
        let before = same.and_then(|kept| kept.get(name)).unwrap_or(f64::NAN);
        let figure = Figure::new(name).value("kept", before, 3).value("now", *ratio, 3).value(
            "by kept",
            ratio / before,
            3,
        );
        table.figures.push(if same.is_some() { figure.at_most("by kept", REGRESSION) } else { figure });
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_measured_again_until_it_is_as_it_may_be() {
        let times = |good: u32| {
            let (mut report, mut times) = (Report::default(), 0);
            let measure = |report: &mut Report| {
                times += 1;
                let mut table = Table::new("T");
                let worse = f64::from(u32::from(times < good));
                table.figures.push(Figure::new("f").value("v", worse, 0).at_most("v", 0.0));
                report.add(table);
                Ok(())
            };
            part("p", &mut report, measure).unwrap();
            (times, report.broken().len())
        };
        assert_eq!([1, 3, 4].map(times), [(1, 0), (3, 0), (3, 1)]);
    }

    #[test]
    fn a_quarter_more_is_too_much() {
        let section = |with: &str, ratio: f64| Section {
            name: NAME.to_owned(),
            with: with.to_owned(),
            rows: vec![(CPU.to_owned(), ratio)],
        };
        let kept = section("a", 2.0);
        let broken = |with: &str, ratio: f64| compared(&section(with, ratio), Some(&kept)).broken().len();
        assert_eq!([2.4, 2.6, 1.0].map(|ratio| broken("a", ratio)), [0, 1, 0]);
        assert_eq!(broken("b", 9.0), 0);
        assert!(compared(&section("b", 9.0), Some(&kept)).title.contains("NOT COMPARED"));
    }
}
