//! Copying files and writing little pieces, beside a sensor that runs and one that is paused.
//!
//! None of the sensor's programs runs when files are read or written, which is measured too. So what it could
//! cost is what its process does, and that is switched off and on within a moment: from one second to the next,
//! as long as a start takes, a shared machine changes by more than what is to be measured.

use super::cost;
use super::lab::Lab;
use super::number::Pairs;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use super::sensor::{Sensor, Sink};
use super::storm::{Copies, Pieces};
use super::{PAIRS, Report, pairs_figure, pin};
use crate::error::Result;
use crate::say;

/// Options of `bench io`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many pairs are measured of each.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many MiB are copied in one measurement.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    mib: u32,
    /// How many pieces of 4 KiB are written in one measurement.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pieces: u32,
}

/// What it may cost with the sensor, as a ratio of times: 0.99 of the throughput is left.
const MOST: f64 = 1.01;
/// Runs of all programs for each MiB that is copied or each piece that is written: only the sensor's own looks.
const RUNS: f64 = 1.0;

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    let cpus = pin::allowed()?;
    let (cpu, other) = (cpus.first().copied(), cpus.get(1).copied());
    let sensor = Sensor::start(lab, &Sink::Nowhere, other)?;
    let mut works = Works { sensor: &sensor, rounds: args.rounds, quiet };
    let copies = Copies::new(lab, args.mib)?;
    let title = format!("copying files: {} pairs of {} MiB, µs for each MiB", args.rounds, args.mib);
    report.add(works.compare(&title, "copy", f64::from(args.mib), || copies.run(cpu))?);
    let pieces = Pieces::new(lab, args.pieces)?;
    let title = format!("4 KiB writes: {} pairs of {} writes, µs for each", args.rounds, args.pieces);
    report.add(works.compare(&title, "write", f64::from(args.pieces), || pieces.run(cpu))?);
    sensor.stop()?;
    Ok(())
}

struct Works<'a> {
    sensor: &'a Sensor,
    rounds: u32,
    quiet: &'a mut Quiet,
}

impl Works<'_> {
    fn compare(
        &mut self,
        title: &str,
        name: &str,
        units: f64,
        work: impl Fn() -> Result<f64>,
    ) -> Result<Table> {
        say(&format!("{name}: {} pairs", self.rounds));
        self.quiet.wait()?;
        // The first is slower: nothing is in the caches.
        work()?;
        let without = || {
            self.sensor.pause()?;
            work()
        };
        let with = || {
            self.sensor.resume()?;
            work()
        };
        let mut table = Table::new(format!(
            "{title}; on another CPU the sensor, paused or running in turns;\nruns: of its programs, for each unit\n{PAIRS}"
        ));
        table
            .figures
            .push(pairs_figure("noise: paused twice", &Pairs::in_turns(self.rounds, without, without)?));
        let pairs = Pairs::in_turns(self.rounds, without, with)?;
        self.sensor.resume()?;
        let runs = cost::runs(self.sensor, &work)? as f64 / units;
        let figure: Figure = pairs_figure(name, &pairs).value("runs", runs, 3);
        table.figures.push(figure.at_most("ratio", MOST).at_most("runs", RUNS));
        Ok(table)
    }
}
