//! Small datagrams and streams over loopback, with the programs that each packet meets and without.

use super::lab::Lab;
use super::number::Pairs;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use super::sensor::{Sensor, Sink};
use super::taps::Taps;
use super::traffic::{Datagrams, Flood, Slice, Streams};
use super::{PAIRS, Report, pairs_figure, pin};
use crate::error::Result;

/// Options of `bench net`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many pairs are measured of datagrams, each some milliseconds long.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many pairs are measured of streams, each some tenths of a second long.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    stream_rounds: u32,
    /// How many MiB all streams of one measurement send together.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    mebibytes: u32,
}

/// What of the throughput must be left, as a ratio.
const DATAGRAMS: f64 = 0.92;
const STREAMS: f64 = 0.97;

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    let turns = Datagrams::new()?;
    let title = format!(
        "UDP over loopback, 64 bytes: {} pairs of slices of some milliseconds, millions a second\n{HOW}\n{PAIRS}",
        args.rounds
    );
    let mut works = Works { lab, rounds: args.rounds, quiet };
    let mut table = Table::new(title);
    table.figures.push(turns.slices(|slice| works.noise(slice))?);
    let name = "sent and received in turns, on one CPU";
    table.figures.push(turns.slices(|slice| works.compare(name, slice))?.at_least("ratio", DATAGRAMS));
    let name = "sent on one CPU, received on another";
    table
        .figures
        .push(Flood::new()?.slices(|slice| works.compare(name, slice))?.at_least("ratio", DATAGRAMS));
    report.add(table);
    let title = format!(
        "TCP over loopback: {} pairs of {} MiB in all, GiB a second; not pinned\n{HOW}\n{PAIRS}",
        args.stream_rounds, args.mebibytes
    );
    works.rounds = args.stream_rounds;
    let mut table = Table::new(title);
    for (name, count) in [("1 stream", 1), ("8 streams", 8)] {
        let streams = Streams::new(count, args.mebibytes)?;
        let slice = || streams.run();
        if count == 1 {
            table.figures.push(works.noise(&slice)?);
        }
        table.figures.push(works.compare(name, &slice)?.at_least("ratio", STREAMS));
    }
    report.add(table);
    Ok(())
}

/// What `with` and `without` are here.
const HOW: &str =
    "one sensor runs all the time; the two programs that a packet meets are attached and detached in turns";

struct Works<'a> {
    lab: &'a Lab,
    rounds: u32,
    quiet: &'a mut Quiet,
}

impl Works<'_> {
    fn noise(&mut self, slice: &Slice<'_>) -> Result<Figure> {
        self.quiet.wait()?;
        slice()?;
        let pairs = Pairs::in_turns(self.rounds, slice, slice)?;
        Ok(pairs_figure("noise: without twice", &pairs))
    }

    fn compare(&mut self, name: &str, slice: &Slice<'_>) -> Result<Figure> {
        self.quiet.wait()?;
        let sensor = Sensor::start(self.lab, &Sink::Nowhere, pin::allowed()?.get(1).copied())?;
        let taps = std::cell::RefCell::new(Taps::take(&sensor)?);
        slice()?;
        let without = || {
            taps.borrow_mut().off();
            slice()
        };
        let with = || {
            taps.borrow_mut().on()?;
            slice()
        };
        let pairs = Pairs::in_turns(self.rounds, without, with)?;
        drop(taps);
        sensor.stop()?;
        Ok(pairs_figure(name, &pairs))
    }
}
