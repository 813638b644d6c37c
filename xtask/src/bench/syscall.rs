//! A system call that no hook is on, and files made and removed.

use super::lab::Lab;
use super::number::Pairs;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use super::sensor::{Sensor, Sink};
use super::storm::{Calls, Files};
use super::{PAIRS, Report, pairs_figure, pin};
use crate::error::Result;

/// Options of `bench syscall`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many pairs are measured of each.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many calls of getppid are in one measurement.
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
    /// How many files are removed in one measurement.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
}

/// What a null system call may cost with the sensor, as a ratio.
const MOST: f64 = 1.10;

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    let calls = Calls::new(lab, args.calls)?;
    let files = Files::new(lab, args.files)?;
    let mut works = Works { lab, rounds: args.rounds, quiet };
    let title = format!(
        "null system call: {} pairs of {} times getppid, ns for each; the sensor on another CPU\n{PAIRS}",
        args.rounds, args.calls
    );
    let mut table = Table::new(title);
    table.figures.push(works.noise(|cpu| calls.run(cpu))?);
    table.figures.push(works.compare("getppid", |cpu| calls.run(cpu))?.at_most("ratio", MOST));
    report.add(table);
    let title = format!(
        "unlink storm: {} pairs of {} files, µs for each removal; the sensor on another CPU\n{PAIRS}",
        args.rounds, args.files
    );
    let mut table = Table::new(title);
    table.figures.push(works.noise(|cpu| files.run(cpu))?);
    table.figures.push(works.compare("unlink", |cpu| files.run(cpu))?);
    report.add(table);
    Ok(())
}

struct Works<'a> {
    lab: &'a Lab,
    rounds: u32,
    quiet: &'a mut Quiet,
}

impl Works<'_> {
    fn noise(&mut self, work: impl Fn(Option<usize>) -> Result<f64>) -> Result<Figure> {
        let cpu = pin::allowed()?.first().copied();
        work(cpu)?;
        let pairs = Pairs::measure(self.rounds, self.quiet, || work(cpu), || work(cpu))?;
        Ok(pairs_figure("noise: without twice", &pairs))
    }

    fn compare(&mut self, name: &str, work: impl Fn(Option<usize>) -> Result<f64>) -> Result<Figure> {
        let (lab, cpus) = (self.lab, pin::allowed()?);
        let (cpu, other) = (cpus.first().copied(), cpus.get(1).copied());
        let with = || {
            let sensor = Sensor::start(lab, &Sink::Nowhere, other)?;
            let time = work(cpu)?;
            sensor.stop()?;
            Ok(time)
        };
        Ok(pairs_figure(name, &Pairs::measure(self.rounds, self.quiet, || work(cpu), with)?))
    }
}
