//! Copying files and writing little pieces, without the sensor and with it.

use std::time::Duration;

use super::lab::Lab;
use super::number::Pairs;
use super::quiet::Quiet;
use super::report::Table;
use super::sensor::{Sensor, Sink};
use super::storm::{Copies, Pieces};
use super::{PAIRS, Report, pairs_figure, pin};
use crate::error::Result;
use crate::say;

/// Options of `bench io`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many pairs are measured of each.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many MiB are copied in one measurement.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    mib: u32,
    /// How many pieces of 4 KiB are written in one measurement.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..))]
    pieces: u32,
}

/// What it may cost with the sensor, as a ratio of times: 0.99 of the throughput is left.
const MOST: f64 = 1.01;

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    let copies = Copies::new(lab, args.mib)?;
    let title = format!(
        "copying files: {} pairs of {} MiB, µs for each MiB; the sensor on another CPU\n{PAIRS}",
        args.rounds, args.mib
    );
    report.add(compare(lab, args.rounds, quiet, title, "copy", |cpu| copies.run(cpu))?);
    let pieces = Pieces::new(lab, args.pieces)?;
    let title = format!(
        "4 KiB writes: {} pairs of {} writes, µs for each; the sensor on another CPU\n{PAIRS}",
        args.rounds, args.pieces
    );
    report.add(compare(lab, args.rounds, quiet, title, "write", |cpu| pieces.run(cpu))?);
    Ok(())
}

fn compare(
    lab: &Lab,
    rounds: u32,
    quiet: &mut Quiet,
    title: String,
    name: &str,
    work: impl Fn(Option<usize>) -> Result<f64>,
) -> Result<Table> {
    say(&format!("{name}: {rounds} pairs"));
    let cpus = pin::allowed()?;
    let (cpu, other) = (cpus.first().copied(), cpus.get(1).copied());
    // The first is slower: nothing is in the caches.
    work(cpu)?;
    let mut table = Table::new(title);
    let noise = Pairs::measure(rounds, quiet, || work(cpu), || work(cpu))?;
    table.figures.push(pairs_figure("noise: without twice", &noise));
    let mut spent = Duration::ZERO;
    let with = || {
        let sensor = Sensor::start(lab, &Sink::Nowhere, other)?;
        let time = work(cpu)?;
        spent += sensor.stop()?.cpu;
        Ok(time)
    };
    let pairs = Pairs::measure(rounds, quiet, || work(cpu), with)?;
    let figure = pairs_figure(name, &pairs).value("sensor ms", spent.as_secs_f64() * 1e3, 0);
    table.figures.push(figure.at_most("ratio", MOST));
    Ok(table)
}
