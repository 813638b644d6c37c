//! A mixed load at a steady rate for long: whether memory stays, descriptors stay, nothing is lost, and an event costs as much
//! at the end as at the beginning.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::fit::Fit;
use super::lab::Lab;
use super::number::Sample;
use super::progress::Progress;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use super::sensor::{End, Sensor, Sink};
use super::storm::Spawns;
use super::{Report, load};
use crate::error::{Error, Result};
use crate::say;
use mixed::{Made, Mixed};

mod mixed;

/// Options of `bench soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long it is.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    minutes: u32,
}

/// Processes of a storm before, which fills what is bounded: how many are remembered that ended, and what is kept of files.
const FILL: u32 = 20_000;

/// How a soak goes.
#[derive(Debug, Clone, Copy)]
struct Form {
    length: Duration,
    /// What is left to settle after the storm before it.
    settle: Duration,
    /// The most that is the last third's CPU time for each event, by the first's.
    dearer: f64,
}

impl Form {
    const fn long(minutes: u32) -> Self {
        let length = Duration::from_mins(minutes as u64);
        Self { length, settle: Duration::from_secs(10), dearer: 1.10 }
    }

    /// The least that shows anything: thirds are short, and so differ more.
    const SHORT: Self =
        Self { length: Duration::from_secs(30), settle: Duration::from_secs(3), dearer: 1.25 };
}

/// How often it is looked; so many looks are one point of the line, as neighbours depend on each other.
const STEP: Duration = Duration::from_secs(1);
const OF_A_POINT: usize = 10;
/// KiB and descriptors a minute, of the lower end of the interval: growth that is certain.
const MOST_MEMORY: f64 = 8.0;
const MOST_OPEN: f64 = 0.2;
/// Minutes from which on growth is judged: what is read of files and users the first time is kept too.
const LONG: f64 = 10.0;
/// The most that is resident in the last third, by the first's.
const MORE: f64 = 1.25;
/// Files are held open while they run, and for seconds more, also those of others.
const MOST_DESCRIPTORS: f64 = 10.0;

/// What is there at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Minutes since the beginning.
    at: f64,
    resident: f64,
    anonymous: f64,
    descriptors: f64,
    /// Seconds of CPU.
    cpu: f64,
    /// Lines told.
    events: f64,
}

/// One of its values.
type Of = fn(&Look) -> f64;

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    soak(lab, Form::long(args.minutes), quiet, report)
}

/// Measures the least that shows anything.
pub(crate) fn short(lab: &Lab, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    soak(lab, Form::SHORT, quiet, report)
}

fn soak(lab: &Lab, form: Form, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    let Form { length, settle, dearer } = form;
    let fill = Spawns::new(lab, FILL)?;
    let mut mixed = Mixed::new(lab)?;
    let mut sensor = Sensor::begin(lab, &Sink::Pipe, None)?;
    let lines = count_lines(&mut sensor)?;
    sensor.await_ready()?;
    say(&format!("{FILL} processes, so that what is bounded is full; then {}", mixed::WORDS));
    fill.run(None)?;
    thread::sleep(settle);
    quiet.wait()?;
    let (began, minutes) = (Instant::now(), length.as_secs_f64() / 60.0);
    let mut progress = Progress::begin();
    let mut looks = vec![look(&sensor, &lines, began)?];
    while began.elapsed() < length {
        mixed.until(began + STEP * u32::try_from(looks.len()).unwrap_or(u32::MAX))?;
        let now = look(&sensor, &lines, began)?;
        progress.tell(&format!(
            "soak: {:.1} of {minutes} min, {:.0} events, {:.1} MiB, {} descriptors",
            now.at,
            now.events,
            now.resident / 1024.0,
            now.descriptors
        ));
        looks.push(now);
    }
    drop(progress);
    let made = mixed.made();
    let end = sensor.stop()?;
    let title =
        format!("soak: {minutes} min of {}, after {FILL} processes that fill what is bounded", mixed::WORDS);
    report.add(growth(&title, &looks));
    report.add(thirds(&looks, dearer));
    report.add(delivered(&made, &end));
    report.add(load::losses("soak: lost", &end));
    Ok(())
}

/// Reads what the sensor tells, and counts it.
fn count_lines(sensor: &mut Sensor) -> Result<Arc<AtomicU64>> {
    let output = sensor.take_output().ok_or_else(|| Error::Check("the sensor has no output".to_owned()))?;
    let lines = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lines);
    thread::spawn(move || {
        let (mut output, mut piece) = (output, vec![0; 1 << 16]);
        while let Ok(length @ 1..) = std::io::Read::read(&mut output, &mut piece) {
            let ends = piece.iter().take(length).filter(|byte| **byte == b'\n').count();
            counted.fetch_add(ends as u64, Ordering::Relaxed);
        }
    });
    Ok(lines)
}

fn look(sensor: &Sensor, lines: &AtomicU64, began: Instant) -> Result<Look> {
    Ok(Look {
        at: began.elapsed().as_secs_f64() / 60.0,
        resident: sensor.memory("VmRSS")? as f64,
        anonymous: sensor.memory("RssAnon")? as f64,
        descriptors: sensor.descriptors()? as f64,
        cpu: sensor.exact_cpu()?.as_secs_f64(),
        events: lines.load(Ordering::Relaxed) as f64,
    })
}

/// How memory and descriptors grow, once the first third has passed: a line through the mean of several looks each.
fn growth(title: &str, looks: &[Look]) -> Table {
    let mut table = Table::new(format!(
        "{title}\ngrowth from the first third on: KiB a minute, descriptors a minute; least and most: with 95 % confidence;\n\
         begin and end: KiB"
    ));
    let looks = looks.get(looks.len() / 3..).unwrap_or_default();
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else { return table };
    let kinds: [(&str, Of, f64); 3] = [
        ("resident", |look| look.resident, MOST_MEMORY),
        ("anonymous", |look| look.anonymous, MOST_MEMORY),
        ("descriptors", |look| look.descriptors, MOST_OPEN),
    ];
    for (name, of, most) in kinds {
        let mean = |looks: &[Look], of: Of| looks.iter().map(of).sum::<f64>() / looks.len() as f64;
        let points: Vec<_> = looks
            .chunks_exact(OF_A_POINT)
            .map(|looks| (mean(looks, |look| look.at), mean(looks, of)))
            .collect();
        let fit = Fit::line(&points);
        let figure = Figure::new(name)
            .value("begin", of(first), 0)
            .value("end", of(last), 0)
            .value("growth", fit.slope, 2)
            .value("least", fit.slope - fit.spread, 2)
            .value("most", fit.slope + fit.spread, 2);
        table.figures.push(match last.at >= LONG {
            true => figure.at_most("least", most),
            false => figure.drawn(format!("not judged: shorter than {LONG} min")),
        });
    }
    table
}

/// The first third against the last.
fn thirds(looks: &[Look], dearer: f64) -> Table {
    let mut table = Table::new(
        "soak, the first third against the last: CPU µs: of the sensor for each event; MiB: resident at most; descriptors: the middle",
    );
    let third = looks.len() / 3;
    let part = |from: usize, to: usize| looks.get(from..to).unwrap_or_default();
    let (first, last) = (part(0, third), part(looks.len() - third, looks.len()));
    let cost = |looks: &[Look]| match looks {
        [begin, .., end] => (end.cpu - begin.cpu) * 1e6 / (end.events - begin.events),
        _ => f64::NAN,
    };
    let sample = |looks: &[Look], of: Of| {
        let mut sample = Sample::default();
        looks.iter().for_each(|look| sample.add(of(look)));
        sample
    };
    let most = |looks: &[Look]| sample(looks, |look| look.resident / 1024.0).quantile(1.0);
    let descriptors = |looks: &[Look]| sample(looks, |look| look.descriptors).median();
    let row = |name: &str, cpu: f64, memory: f64, open: f64| {
        Figure::new(name).value("CPU µs", cpu, 2).value("MiB", memory, 1).value("descriptors", open, 0)
    };
    table.figures.push(row("first", cost(first), most(first), descriptors(first)));
    table.figures.push(row("last", cost(last), most(last), descriptors(last)));
    table.figures.push(
        Figure::new("last to first")
            .value("ratio", cost(last) / cost(first), 3)
            .value("memory", most(last) / most(first), 3)
            .value("more open", descriptors(last) - descriptors(first), 0)
            .at_most("ratio", dearer)
            .at_most("memory", MORE)
            .at_most("more open", MOST_DESCRIPTORS),
    );
    table
}

/// What was made, and what was told of it. Others may have made more.
fn delivered(made: &Made, end: &End) -> Table {
    let mut table =
        Table::new("soak: made by the load, and delivered of all; missing: what was made and not delivered");
    let rows = [
        ("exec", made.processes + u64::from(FILL)),
        ("exit", made.processes + u64::from(FILL)),
        ("socket_connect", made.connections),
        ("socket_accept", made.connections),
    ];
    for (kind, made) in rows {
        let delivered = end.sum(kind).delivered;
        table.figures.push(
            Figure::new(kind)
                .value("made", made as f64, 0)
                .value("delivered", delivered as f64, 0)
                .value("missing", made.saturating_sub(delivered) as f64, 0)
                .at_most("missing", 0.0),
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quarter of an hour, each second with so many KiB more and so many µs more for each of 100 events.
    fn looks(growth: f64, dearer: f64) -> Vec<Look> {
        let mut cpu = 0.0;
        let one = |second: u32| {
            let second = f64::from(second);
            cpu += 100.0 * (10.0 + dearer * second) * 1e-6;
            let resident = 40_000.0 + growth * second;
            let descriptors = 90.0 + (growth * second / 100.0).floor();
            Look {
                at: second / 60.0,
                resident,
                anonymous: resident,
                descriptors,
                cpu,
                events: 100.0 * second,
            }
        };
        (0..900).map(one).collect()
    }

    #[test]
    fn what_stays_is_let_be() {
        let looks = looks(0.0, 0.0);
        assert!(growth("T", &looks).broken().is_empty() && thirds(&looks, 1.1).broken().is_empty());
    }

    #[test]
    fn what_grows_is_told() {
        let looks = looks(20.0, 0.1);
        assert_eq!(growth("T", &looks).broken().len(), 3, "{}", growth("T", &looks).text());
        assert_eq!(thirds(&looks, 1.1).broken().len(), 3, "{}", thirds(&looks, 1.1).text());
        assert!(growth("T", &looks[..300]).text().contains("not judged"));
    }
}
