//! What a sensor costs beside what there is.

use std::thread;
use std::time::{Duration, Instant};

use super::super::cost::{self, Statistics};
use super::super::number::Sample;
use super::super::sensor::{Sensor, Sink};
use super::Bench;
use crate::error::Result;

pub(super) const START: &str = "start s";
pub(super) const REST: &str = "rest %";
pub(super) const CPU: &str = "CPU µs";
pub(super) const RUN: &str = "run ns";
pub(super) const RESIDENT: &str = "MiB";

/// What these are, for titles.
pub(super) const NAMES: &str = "start s: until it is live; rest %: its CPU time at rest, of one CPU; CPU µs: its CPU time for each event, \n\
     without what it uses at rest; run ns: of a kernel program, each run; MiB: resident";

/// How long it gets to look at what there is, and to finish with a storm.
pub(super) const SETTLE: Duration = Duration::from_millis(1500);
const DRAIN: Duration = Duration::from_millis(250);

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    start: f64,
    rest: f64,
    cpu: f64,
    run: f64,
    resident: f64,
    pub(super) lost: u64,
}

impl Point {
    pub(super) fn costs(&self) -> Vec<(&'static str, f64, usize)> {
        vec![
            (START, self.start, 2),
            (REST, self.rest, 2),
            (CPU, self.cpu, 2),
            (RUN, self.run, 0),
            (RESIDENT, self.resident, 1),
        ]
    }
}

impl Bench<'_> {
    /// Measures a sensor beside what is there now. The work gives how many events it makes; the programs are those of
    /// these hooks.
    pub(super) fn point(&mut self, hooks: &[&str], work: &mut dyn FnMut() -> Result<u64>) -> Result<Point> {
        self.quiet.wait()?;
        let began = Instant::now();
        let sensor = Sensor::start(self.lab, &Sink::Nowhere, None)?;
        let start = began.elapsed().as_secs_f64();
        thread::sleep(SETTLE);
        let rest = self.rest(&sensor)?;
        let resident = sensor.memory("VmRSS")? as f64 / 1024.0;
        let statistics = Statistics::on()?;
        let (mut cpu, mut run) = (Sample::default(), Sample::default());
        for _ in 0..self.args.rounds {
            let wanted = |name: &str| hooks.iter().any(|hook| name.contains(hook));
            let (used, ran, at) = (sensor.exact_cpu()?, cost::sum(&sensor, wanted)?, Instant::now());
            let events = self.storms(work)?;
            thread::sleep(DRAIN);
            let usual = at.elapsed().as_secs_f64() * rest;
            let used = (sensor.exact_cpu()? - used).as_secs_f64() - usual;
            cpu.add(used * 1e6 / events as f64);
            run.add(cost::sum(&sensor, wanted)?.since(ran).each());
        }
        drop(statistics);
        let lost = sensor.stop()?.lost();
        Ok(Point { start, rest: rest * 100.0, cpu: cpu.median(), run: run.least(), resident, lost })
    }

    /// Storms for as long as the rest was, as what a sensor does each second is taken off: how many events they made.
    fn storms(&self, work: &mut dyn FnMut() -> Result<u64>) -> Result<u64> {
        let (began, mut events) = (Instant::now(), 0);
        while events == 0 || began.elapsed() < self.window() {
            events += work()?;
        }
        Ok(events)
    }

    fn window(&self) -> Duration {
        Duration::from_secs(u64::from(self.args.rest))
    }

    /// CPU time of a sensor at rest, as a part of one CPU.
    pub(super) fn rest(&self, sensor: &Sensor) -> Result<f64> {
        let (used, at) = (sensor.exact_cpu()?, Instant::now());
        thread::sleep(self.window());
        Ok((sensor.exact_cpu()? - used).as_secs_f64() / at.elapsed().as_secs_f64())
    }
}
