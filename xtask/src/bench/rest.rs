//! Memory after a storm, and CPU time while nothing happens.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::Report;
use super::lab::Lab;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use super::sensor::{Sensor, Sink};
use super::storm::Spawns;
use crate::error::{Error, Result};
use crate::say;

/// Options of `bench rest`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long the sensor is watched while nothing happens.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How many processes the storm before it has.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    spawns: u32,
}

/// MiB.
const MOST_MEMORY: f64 = 60.0;
/// Percent of one CPU.
const MOST_CPU: f64 = 0.3;
/// How long the sensor gets to finish with the storm.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    let spawns = Spawns::new(lab, args.spawns)?;
    let path = lab.path("events.ndjson");
    let written = || fs::metadata(&path).map(|file| file.len()).map_err(Error::file("look at", &path));
    let sensor = Sensor::start(lab, &Sink::File(path.clone()), None)?;
    let mut table =
        Table::new(format!("memory with default rings, MiB, before and after {} processes", args.spawns));
    table.figures.push(memory(&sensor, "live")?);
    spawns.run(None)?;
    table.figures.push(memory(&sensor, "after the storm")?.at_most("resident", MOST_MEMORY));
    thread::sleep(SETTLE);
    quiet.wait()?;
    say(&format!("watching the sensor at rest for {} s", args.seconds));
    let (cpu, bytes, began) = (sensor.cpu()?, written()?, Instant::now());
    thread::sleep(Duration::from_secs(u64::from(args.seconds)));
    let (cpu, bytes, time) = (sensor.cpu()? - cpu, written()? - bytes, began.elapsed());
    table.figures.push(memory(&sensor, "after the rest")?.at_most("resident", MOST_MEMORY));
    sensor.stop()?;
    report.add(table);
    let mut table = Table::new(
        "at rest: CPU time in percent of one CPU (read in steps of 10 ms);\n\
         events: KiB that others caused meanwhile",
    );
    let percent = 100.0 * cpu.as_secs_f64() / time.as_secs_f64();
    let figure = Figure::new(format!("{} s", args.seconds)).value("CPU", percent, 3);
    table.figures.push(figure.value("events", bytes as f64 / 1024.0, 0).at_most("CPU", MOST_CPU));
    report.add(table);
    Ok(())
}

fn memory(sensor: &Sensor, when: &str) -> Result<Figure> {
    let mib = |name| sensor.memory(name).map(|kib| kib as f64 / 1024.0);
    let figure = Figure::new(when).value("resident", mib("VmRSS")?, 1);
    Ok(figure.value("anonymous", mib("RssAnon")?, 1).value("peak", mib("VmHWM")?, 1))
}
