//! A storm of short processes, without the sensor and with it.

use std::path::Path;
use std::time::Duration;

use super::lab::Lab;
use super::number::Pairs;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use super::sensor::{End, Sensor, Sink};
use super::storm::{Spawns, settle};
use super::{PAIRS, Report, cost, lines, pairs_figure, pin};
use crate::error::Result;
use crate::say;

/// Options of `bench exec`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many pairs are measured in each setting.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many processes a storm has.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    spawns: u32,
}

/// Who runs where, and what it may cost.
struct Setting {
    name: &'static str,
    storm: Option<usize>,
    sensor: Option<usize>,
    to_file: bool,
    most: Option<f64>,
}

/// Every setting, on the first two CPUs that may be used.
fn settings(cpus: &[usize]) -> Vec<Setting> {
    let (first, second) = (cpus.first().copied(), cpus.get(1).copied());
    let setting = |name, storm, sensor, to_file, most| Setting { name, storm, sensor, to_file, most };
    let mut settings = vec![
        setting("same CPU, to /dev/null", first, first, false, None),
        setting("unpinned, to a file", None, None, true, Some(1.10)),
    ];
    if second.is_some() {
        settings.insert(0, setting("other CPU, to /dev/null", first, second, false, Some(1.08)));
        settings.insert(1, setting("other CPU, to a file", first, second, true, None));
    } else {
        say("one CPU only: no figure for a sensor on another");
    }
    settings
}

/// What the sensors of a setting's rounds came to.
#[derive(Default)]
struct Account {
    spawned: u64,
    missing: u64,
    cpu: Duration,
    stop: Duration,
}

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    let spawns = Spawns::new(lab, args.spawns)?;
    let (rounds, count) = (args.rounds, args.spawns);
    let title = format!(
        "exec storm: {rounds} pairs of {count} processes, µs for each from spawn to end\n{PAIRS}\n\
         sensor: its CPU time for each process (fork, exec and exit), µs; stop: the longest, ms\n\
         missing: execs and exits of these processes that did not come out, of all rounds"
    );
    let mut table = Table::new(title);
    table.figures.push(noise(&spawns, rounds, quiet)?);
    for setting in settings(&pin::allowed()?) {
        table.figures.push(measure(lab, &spawns, rounds, quiet, &setting)?);
    }
    report.add(table);
    quiet.wait()?;
    report.add(cost::measure(lab, &spawns)?);
    Ok(())
}

/// The storm against itself.
fn noise(spawns: &Spawns, rounds: u32, quiet: &mut Quiet) -> Result<Figure> {
    let cpu = pin::allowed()?.first().copied();
    // The first storm is slower: nothing is in the caches.
    spawns.run(cpu)?;
    let pairs = Pairs::measure(rounds, quiet, || spawns.run(cpu), || spawns.run(cpu))?;
    Ok(pairs_figure("noise: without twice, one CPU", &pairs))
}

fn measure(lab: &Lab, spawns: &Spawns, rounds: u32, quiet: &mut Quiet, setting: &Setting) -> Result<Figure> {
    say(&format!("{}: {rounds} pairs", setting.name));
    let sink = if setting.to_file { Sink::File(lab.path("events.ndjson")) } else { Sink::Nowhere };
    let mut account = Account::default();
    let pairs = Pairs::measure(
        rounds,
        quiet,
        || spawns.run(setting.storm),
        || {
            let sensor = Sensor::start(lab, &sink, setting.sensor)?;
            let time = spawns.run(setting.storm)?;
            account.add(spawns, &sink, &sensor.stop()?)?;
            Ok(time)
        },
    )?;
    let figure = pairs_figure(setting.name, &pairs)
        .value("sensor", account.cpu.as_secs_f64() * 1e6 / account.spawned as f64, 1)
        .value("stop", account.stop.as_secs_f64() * 1e3, 0)
        .value("missing", account.missing as f64, 0);
    let figure = setting.most.into_iter().fold(figure, |figure, most| figure.at_most("ratio", most));
    Ok(figure.at_most("missing", 0.0))
}

impl Account {
    fn add(&mut self, spawns: &Spawns, sink: &Sink, end: &End) -> Result<()> {
        let all = u64::from(spawns.count());
        let missing = match sink {
            Sink::File(path) => missing_in(path, spawns, all)?,
            _ => missing_in_sums(end, all),
        };
        self.spawned += all;
        self.missing += missing;
        self.cpu += end.cpu;
        self.stop = self.stop.max(end.stop);
        Ok(())
    }
}

/// Those of others are in the sums too, so any loss counts as one of these.
fn missing_in_sums(end: &End, all: u64) -> u64 {
    let lost: u64 = end.sums.values().map(|sum| sum.lost).sum();
    let short = ["exec", "exit"].map(|kind| all.saturating_sub(end.sum(kind).delivered));
    lost + short.iter().sum::<u64>()
}

/// Counts, and leaves the disk quiet for the next storm.
fn missing_in(path: &Path, spawns: &Spawns, all: u64) -> Result<u64> {
    let (execs, exits) = lines::count(path, spawns.path())?;
    settle(path)?;
    Ok(all.abs_diff(execs) + all.abs_diff(exits))
}
