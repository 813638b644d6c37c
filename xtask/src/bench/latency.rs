//! How soon an event is on standard output: at rest, and while every CPU is kept busy with what the sensor tells.

use std::fs;
use std::path::{Path, PathBuf};

use super::Report;
use super::histogram;
use super::lab::{Lab, Program};
use super::load::{self, Crew};
use super::number::Sample;
use super::report::{Figure, Table};
use super::sensor::{Sensor, Sink};
use crate::error::{Error, Result};
use crate::say;
use scene::Scene;
use watch::Watch;

mod scene;
mod watch;

/// Options of `bench latency`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each event is caused.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
}

/// What an alert may take, milliseconds: the median at rest, and the slowest but one of a hundred under full load.
const MOST_MEDIAN: f64 = 1.0;
const MOST_P99: f64 = 20.0;

/// When it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Rest,
    Load,
}

impl When {
    const fn words(self) -> &'static str {
        match self {
            Self::Rest => "at rest",
            Self::Load => "at full load",
        }
    }
}

/// What was measured of each event; of alerts, and of those that wake nobody.
struct Measured {
    table: Table,
    urgent: Sample,
    bulk: Sample,
}

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, report: &mut Report) -> Result<()> {
    let mut sensor = Sensor::begin(lab, &Sink::Pipe, None)?;
    let folder = watch::folder(lab)?;
    let watch = Watch::of(&mut sensor, &folder)?;
    sensor.await_ready()?;
    let images = Images {
        stranger: lab.program("wait", &["-DWAIT"])?,
        itself: lab.program("unlink", &["-DUNLINK"])?,
        known: Program::at(&copied(&lab.program("exit-at-once", &["-DEXIT"])?, &folder)?)?,
    };
    let scene = Scene { folder, watch: &watch, runs: args.runs };
    let storm = lab.program("exit-at-once", &["-DEXIT"])?;
    for when in [When::Rest, When::Load] {
        scene.prepare(images.stranger.path(), images.itself.path())?;
        let measured = match when {
            When::Rest => measure(&scene, &images, when)?,
            When::Load => {
                let crew = Crew::of(storm.path(), &lab.empty("busy")?)?;
                let (measured, made) = crew.beside(|| measure(&scene, &images, when))?;
                say(&format!("full load: {} processes, {} files", made.processes, made.files));
                measured
            }
        };
        report.add(measured.table);
        for (name, sample) in [("urgent", measured.urgent), ("bulk", measured.bulk)] {
            let title = format!("{name}, {}: {} events, ms", when.words(), sample.count());
            report.add(histogram::table(title, &sample));
        }
    }
    let end = sensor.stop()?;
    report.add(load::losses("latency: lost meanwhile", &end));
    Ok(())
}

/// Files that are executed.
struct Images {
    stranger: Program,
    itself: Program,
    /// The same each time.
    known: Program,
}

fn copied(program: &Program, folder: &Path) -> Result<PathBuf> {
    let path = folder.join("known");
    fs::copy(program.path(), &path).map_err(Error::file("copy", program.path()))?;
    Ok(path)
}

fn measure(scene: &Scene<'_>, images: &Images, when: When) -> Result<Measured> {
    let runs = scene.runs;
    let mut table = Table::new(format!(
        "latency {}: {runs} runs of each, ms until the line is read from the sensor's standard output: from the call's return;\n\
         bulk (fork, exec, exit of whatever process): from the hook, as the event's time says",
        when.words()
    ));
    scene.watch.bulk();
    say(&format!("exe_deleted, by a stranger, {}", when.words()));
    let (execs, strangers) = scene.deletions_by_a_stranger()?;
    say(&format!("exe_deleted, by itself, {}", when.words()));
    let own = scene.deletions_by_itself()?;
    say(&format!("exec, {}", when.words()));
    let known = scene.execs(&images.known)?;
    let bulk = scene.watch.bulk();
    for (name, sample) in [("exe_deleted, by a stranger", &strangers), ("exe_deleted, by itself", &own)] {
        table.figures.push(barred(name, sample, runs, when));
    }
    table.figures.push(figure("exec of a new file", &execs).value("missing", missing(&execs, runs), 0));
    table.figures.push(figure("exec of a known file", &known).value("missing", missing(&known, runs), 0));
    table.figures.push(figure("bulk", &bulk));
    let mut urgent = strangers;
    urgent.append(&own);
    Ok(Measured { table, urgent, bulk })
}

fn figure(name: &str, sample: &Sample) -> Figure {
    Figure::new(name)
        .value("median", sample.median(), 2)
        .value("p90", sample.quantile(0.9), 2)
        .value("p99", sample.quantile(0.99), 2)
        .value("max", sample.quantile(1.0), 2)
}

fn missing(sample: &Sample, runs: u32) -> f64 {
    f64::from(runs) - sample.count() as f64
}

fn barred(name: &str, sample: &Sample, runs: u32, when: When) -> Figure {
    let figure = figure(name, sample).value("missing", missing(sample, runs), 0).at_most("missing", 0.0);
    match when {
        When::Rest => figure.at_most("median", MOST_MEDIAN).at_most("p99", MOST_P99),
        When::Load => figure.at_most("p99", MOST_P99),
    }
}
