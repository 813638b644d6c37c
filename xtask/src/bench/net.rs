//! Small datagrams and streams over loopback.

use super::lab::Lab;
use super::number::Pairs;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use super::sensor::{Sensor, Sink};
use super::traffic::{Datagrams, Flood, Streams};
use super::{PAIRS, Report, pairs_figure, pin};
use crate::error::Result;

/// Options of `bench net`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many pairs are measured of each.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many datagrams are in one measurement.
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u32).range(1..))]
    datagrams: u32,
    /// How many MiB each stream sends in one measurement.
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    mebibytes: u32,
}

/// What of the throughput must be left with the sensor, as a ratio.
const DATAGRAMS: f64 = 0.92;
const STREAMS: f64 = 0.97;

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    let mut works = Works { lab, rounds: args.rounds, quiet };
    let turns = Datagrams::new(args.datagrams)?;
    let flood = Flood::new(args.datagrams)?;
    let title = format!(
        "UDP over loopback: {} pairs of {} datagrams with 64 bytes, millions a second in the fastest slice\n{PAIRS}",
        args.rounds, args.datagrams
    );
    let mut table = Table::new(title);
    table.figures.push(works.noise(|| turns.run())?);
    let name = "sent and received in turns, on one CPU";
    table.figures.push(works.compare(name, || turns.run())?.at_least("ratio", DATAGRAMS));
    let name = "sent on one CPU, received on another";
    table.figures.push(works.compare(name, || flood.run())?.at_least("ratio", DATAGRAMS));
    report.add(table);
    let title = format!(
        "TCP over loopback: {} pairs of {} MiB in all, GiB a second; not pinned\n{PAIRS}",
        args.rounds, args.mebibytes
    );
    let mut table = Table::new(title);
    for (name, count) in [("1 stream", 1), ("8 streams", 8)] {
        let streams = Streams::new(count, args.mebibytes)?;
        table.figures.push(works.compare(name, || streams.run())?.at_least("ratio", STREAMS));
    }
    report.add(table);
    Ok(())
}

struct Works<'a> {
    lab: &'a Lab,
    rounds: u32,
    quiet: &'a mut Quiet,
}

impl Works<'_> {
    fn noise(&mut self, work: impl Fn() -> Result<f64>) -> Result<Figure> {
        work()?;
        let pairs = Pairs::measure(self.rounds, self.quiet, &work, &work)?;
        Ok(pairs_figure("noise: without twice", &pairs))
    }

    fn compare(&mut self, name: &str, work: impl Fn() -> Result<f64>) -> Result<Figure> {
        let (lab, other) = (self.lab, pin::allowed()?.get(1).copied());
        let with = || {
            let sensor = Sensor::start(lab, &Sink::Nowhere, other)?;
            let rate = work()?;
            sensor.stop()?;
            Ok(rate)
        };
        Ok(pairs_figure(name, &Pairs::measure(self.rounds, self.quiet, &work, with)?))
    }
}
