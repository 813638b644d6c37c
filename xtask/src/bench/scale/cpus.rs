//! Storms on more and more CPUs: as far as there are some by measuring, and for more by calculation.

use std::thread;
use std::time::{Duration, Instant};

use super::super::cost::{self, Statistics};
use super::super::load::on_each;
use super::super::report::{Figure, Table};
use super::super::sensor::{Sensor, Sink};
use super::super::{Report, pin};
use super::Bench;
use super::point::SETTLE;
use super::processes::{EVENTS, HOOKS};
use crate::error::Result;
use crate::say;

/// How many CPUs it is worked out for.
const MORE: [u32; 7] = [2, 4, 8, 16, 32, 64, 128];
/// How long the sensor gets to finish with a storm.
const DRAIN: Duration = Duration::from_millis(500);
/// How much dearer an event may be when there are storms on all CPUs than when there is one.
const DEARER: f64 = 1.5;

/// What storms came to.
#[derive(Debug, Clone, Copy)]
struct Storms {
    /// Events a second.
    rate: f64,
    /// CPU time of the sensor for each, µs.
    cpu: f64,
    /// Nanoseconds for each run of a program.
    run: f64,
    lost: u64,
    /// Bytes of maps that are there once, and for each CPU.
    maps: (u64, u64),
}

/// Measures it.
pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    let cpus = pin::allowed()?;
    let mut table = Table::new(format!(
        "storms on so many CPUs at once, of {} processes each; the sensor wherever there is room\n\
         events: a second; CPU µs: of the sensor for each, without what it uses at rest; run ns: of a kernel program, each run; dearer: CPU µs by that of one storm",
        bench.args.spawns
    ));
    let mut first: Option<Storms> = None;
    for count in 1..=cpus.len() {
        say(&format!("storms on {count} CPUs"));
        let storms = measure(bench, cpus.get(..count).unwrap_or_default(), cpus.len())?;
        let one = *first.get_or_insert(storms);
        table.figures.push(
            Figure::new(count.to_string())
                .value("events", storms.rate, 0)
                .value("CPU µs", storms.cpu, 2)
                .value("run ns", storms.run, 0)
                .value("dearer", storms.cpu / one.cpu, 2)
                .value("lost", storms.lost as f64, 0)
                .at_most("dearer", DEARER)
                .at_most("lost", 0.0),
        );
    }
    report.add(table);
    if let Some(one) = first {
        report.add(worked_out(&one));
    }
    Ok(())
}

fn measure(bench: &mut Bench<'_>, cpus: &[usize], all: usize) -> Result<Storms> {
    bench.quiet.wait()?;
    let sensor = Sensor::start(bench.lab, &Sink::Nowhere, None)?;
    let maps = cost::maps(&sensor, all)?;
    let wanted = |name: &str| HOOKS.iter().any(|hook| name.contains(hook));
    thread::sleep(SETTLE);
    let rest = bench.rest(&sensor)?;
    let statistics = Statistics::on()?;
    let (mut best, mut run) = (None, f64::NAN);
    for _ in 0..bench.args.rounds {
        let (used, ran, began) = (sensor.exact_cpu()?, cost::sum(&sensor, wanted)?, Instant::now());
        let seconds = on_each(&bench.program, cpus, bench.args.spawns)?;
        let events = (u64::from(bench.args.spawns) * cpus.len() as u64 * EVENTS) as f64;
        thread::sleep(DRAIN);
        let usual = began.elapsed().as_secs_f64() * rest;
        let cpu = ((sensor.exact_cpu()? - used).as_secs_f64() - usual) * 1e6 / events;
        run = cost::sum(&sensor, wanted)?.since(ran).each().min(run);
        if best.is_none_or(|(least, _)| cpu < least) {
            best = Some((cpu, events / seconds));
        }
    }
    drop(statistics);
    let lost = sensor.stop()?.lost();
    let (cpu, rate) = best.unwrap_or((f64::NAN, f64::NAN));
    Ok(Storms { rate, cpu, run, lost, maps })
}

/// What more CPUs would come to. One loop takes all events, so it is full with one CPU.
fn worked_out(one: &Storms) -> Table {
    let share = |cpus: f64| cpus * one.rate * one.cpu * 1e-6;
    let mib = |bytes: f64| bytes / 1024.0 / 1024.0;
    let (once, each) = (one.maps.0 as f64, one.maps.1 as f64);
    let mut table = Table::new(format!(
        "more CPUs, by calculation from one storm: with e = {:.0} events a second of a CPU that does nothing but start processes,\n\
         c = {:.2} µs of the sensor for each, n CPUs: loop % = n · e · c, of the one CPU that one loop can use: it is full at\n\
         n = 1 / (e · c) = {:.1} such CPUs, or 1 / c = {:.0} events a second, and what is more is lost and told as lost;\n\
         maps MiB = {:.1} + n · {:.3}, as maps are there once or for each CPU",
        one.rate,
        one.cpu,
        1.0 / share(1.0),
        1e6 / one.cpu,
        mib(once),
        mib(each),
    ));
    for cpus in MORE {
        let count = f64::from(cpus);
        table.figures.push(Figure::new(cpus.to_string()).value("loop %", share(count) * 100.0, 0).value(
            "maps MiB",
            mib(once + count * each),
            1,
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_is_full_where_it_says() {
        let one = Storms { rate: 20_000.0, cpu: 10.0, run: 1.0, lost: 0, maps: (1 << 20, 1 << 18) };
        let table = worked_out(&one);
        assert!(table.title.contains("= 5.0 such CPUs") && table.title.contains("= 100000 events"));
        let text = table.text();
        assert!(text.contains("4        80       2.0"), "{text}");
    }
}
