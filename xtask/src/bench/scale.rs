//! What the sensor costs where there is more: processes, sockets, users, arguments, CPUs.
//!
//! Each cost is measured at several points and fitted by a power: the exponent says whether it is flat or linear. Nothing
//! may be quadratic.

use std::path::PathBuf;

use super::Report;
use super::lab::Lab;
use super::quiet::Quiet;
use crate::error::Result;
use growth::Growth::{Flat, Linear};

mod arguments;
mod cpus;
mod growth;
mod point;
mod processes;
mod sockets;
mod users;

/// Options of `bench scale`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Only this; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Axis>,
    /// The most processes and sockets, beside which it is measured.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1000..=30_000))]
    most: u32,
    /// How many processes a storm has.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    spawns: u32,
    /// How often it is measured at each point; the middle counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long the sensor is watched while nothing happens, and each time while there are storms, seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rest: u32,
    /// Only the first and the last point of each.
    #[arg(long)]
    ends: bool,
}

/// What there is more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Axis {
    Processes,
    Sockets,
    Users,
    Arguments,
    Cpus,
}

impl Args {
    /// The least that shows anything: minutes, not tens of minutes.
    pub(crate) fn short() -> Self {
        let only = vec![Axis::Processes, Axis::Sockets, Axis::Users, Axis::Arguments];
        Self { only, most: 3000, spawns: 1000, rounds: 2, rest: 1, ends: true }
    }

    /// Two points a decade, up to the most.
    fn points(&self) -> Vec<u32> {
        let mut points: Vec<u32> =
            [100, 300, 1000, 3000, 10_000].into_iter().filter(|point| *point < self.most).collect();
        points.push(self.most);
        self.wanted(&points)
    }

    /// Those of an axis's points that are measured.
    fn wanted(&self, points: &[u32]) -> Vec<u32> {
        match points {
            [first, .., last] if self.ends => vec![*first, *last],
            points => points.to_vec(),
        }
    }

    fn wants(&self, axis: Axis) -> bool {
        self.only.is_empty() || self.only.contains(&axis)
    }
}

/// What all points are measured with.
struct Bench<'a> {
    lab: &'a Lab,
    args: &'a Args,
    quiet: &'a mut Quiet,
    /// Ends at once.
    program: PathBuf,
}

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    let program = lab.program("exit-at-once", &["-DEXIT"])?.path().to_owned();
    let mut bench = Bench { lab, args, quiet, program };
    if args.wants(Axis::Processes) {
        processes::run(&mut bench, report)?;
    }
    if args.wants(Axis::Sockets) {
        sockets::run(&mut bench, report)?;
    }
    if args.wants(Axis::Users) {
        users::run(&mut bench, report)?;
    }
    if args.wants(Axis::Arguments) {
        arguments::run(&mut bench, report)?;
    }
    if args.wants(Axis::Cpus) {
        cpus::run(&mut bench, report)?;
    }
    Ok(())
}

/// How each cost of a point may grow with processes, sockets and users.
const USUAL: &[(&str, growth::Growth)] = &[
    (point::START, Linear),
    (point::REST, Linear),
    (point::CPU, Flat),
    (point::RUN, Flat),
    (point::RESIDENT, Linear),
];
