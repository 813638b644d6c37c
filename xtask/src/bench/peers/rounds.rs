//! Rounds of one work: without anything, beside each system in turn, and without anything again.

use std::time::{Duration, Instant};

use super::super::number::Sample;
use super::super::pin;
use super::super::quiet::{Look, Quiet};
use super::super::storm::settle;
use super::Entry;
use super::count::{Count, count};
use super::tracer::{Means, Spent, Tracer};
use super::work::{Bench, Done, Setting, Work};
use crate::error::Result;
use crate::say;

/// So many rounds that nobody disturbed are enough to leave the others out.
const ENOUGH: usize = 3;

/// How long it may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) time: Duration,
    pub(crate) rounds: usize,
}

/// All rounds of one work in one setting.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) work: &'static Work,
    pub(crate) setting: Setting,
    /// How many count, and how many were disturbed, whether they count or not.
    pub(crate) rounds: usize,
    pub(crate) disturbed: usize,
    /// Whether disturbed ones count, as there weren't enough others.
    pub(crate) noisy: bool,
    pub(crate) bare: Row,
    pub(crate) rows: Vec<Row>,
}

/// One system, or none.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// It isn't here, or it failed: its own words.
    pub(crate) failed: Option<String>,
    /// It sees nothing of this and wasn't run.
    pub(crate) blind: bool,
    /// For each, µs.
    pub(crate) time: Sample,
    pub(crate) ratio: Sample,
    /// Of the work and the system, µs for each.
    pub(crate) cpu: Sample,
    pub(crate) memory: f64,
    pub(crate) count: Count,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Taken {
    time: f64,
    cpu: f64,
    memory: f64,
    count: Count,
    /// Of the kernel's, for the system.
    kernel: Duration,
}

struct Round {
    disturbed: bool,
    bare: [Taken; 2],
    taken: Vec<Option<Taken>>,
}

/// What rounds need.
pub(crate) struct Stand<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) means: &'a Means<'a>,
    pub(crate) entries: &'a [Entry],
}

impl Stand<'_> {
    /// As many rounds as the time allows, at least one.
    pub(crate) fn block(
        &self,
        work: &'static Work,
        setting: Setting,
        quiet: &mut Quiet,
        budget: Budget,
    ) -> Result<Option<Block>> {
        let Some(cpus) = setting.cpus(&pin::allowed()?) else {
            say(&format!("{}: one CPU only, so none {}", work.title, setting.name()));
            return Ok(None);
        };
        let began = Instant::now();
        let mut failed: Vec<Option<String>> = self.entries.iter().map(|entry| entry.absent.clone()).collect();
        let (mut rounds, mut longest) = (Vec::<Round>::new(), Duration::ZERO);
        // The first is slower: nothing is in the caches.
        self.bare(work, cpus.0)?;
        let clean = |rounds: &[Round]| rounds.iter().filter(|round| !round.disturbed).count();
        while rounds.is_empty() || (clean(&rounds) < budget.rounds && began.elapsed() + longest < budget.time)
        {
            let start = Instant::now();
            say(&format!("{}, {}: round {}", work.title, setting.name(), rounds.len() + 1));
            quiet.wait()?;
            rounds.push(self.round(work, cpus, rounds.len(), &mut failed)?);
            longest = longest.max(start.elapsed());
        }
        let noisy = clean(&rounds) < ENOUGH.min(rounds.len());
        let disturbed = rounds.len() - clean(&rounds);
        rounds.retain(|round| noisy || !round.disturbed);
        let rows = self.entries.iter().enumerate().map(|(at, entry)| {
            let mut row =
                Row { name: entry.system.name, failed: failed.get(at).cloned().flatten(), ..Row::default() };
            row.blind = !entry.system.sees(work.group);
            rounds.iter().for_each(|round| row.add(round.taken.get(at).copied().flatten(), round.base()));
            row
        });
        let rows = rows.collect();
        let mut bare = Row { name: "nothing", ..Row::default() };
        rounds.iter().for_each(|round| bare.add_bare(round.bare));
        Ok(Some(Block { work, setting, rounds: rounds.len(), disturbed, noisy, bare, rows }))
    }

    /// Each round begins with another system.
    fn round(
        &self,
        work: &Work,
        cpus: (Option<usize>, Option<usize>),
        number: usize,
        failed: &mut [Option<String>],
    ) -> Result<Round> {
        let look = Look::now()?;
        let first = self.bare(work, cpus.0)?;
        let all = self.entries.len().max(1);
        let mut taken = vec![None; all];
        for at in (0..all).map(|at| (at + number) % all) {
            let (Some(entry), Some(failed)) = (self.entries.get(at), failed.get_mut(at)) else { continue };
            if failed.is_some() || !entry.system.sees(work.group) {
                continue;
            }
            match self.beside(work, cpus, entry) {
                Ok(found) => taken[at] = Some(found),
                Err(error) => {
                    say(&error.to_string());
                    *failed = Some(error.to_string());
                }
            }
        }
        let last = if work.is_rest() { first } else { self.bare(work, cpus.0)? };
        let kernel = taken.iter().flatten().map(|one: &Taken| one.kernel).sum();
        Ok(Round { disturbed: look.disturbed_beside(kernel)?, bare: [first, last], taken })
    }

    fn bare(&self, work: &Work, cpu: Option<usize>) -> Result<Taken> {
        let done = work.run(self.bench, cpu)?;
        Ok(taken(work, done, Spent::default(), 0.0, Count::default()))
    }

    fn beside(&self, work: &Work, cpus: (Option<usize>, Option<usize>), entry: &Entry) -> Result<Taken> {
        let mut tracer = Tracer::start(self.means, entry.system, work.group, cpus.1)?;
        if work.is_rest() {
            tracer.settle()?;
        }
        let done = work.run(self.bench, cpus.0)?;
        // How it ends is no rest either.
        let rested = work.is_rest().then(|| tracer.spent()).transpose()?;
        let end = tracer.stop()?;
        let count = count(entry.system, work, &end.output)?;
        settle(&end.output)?;
        Ok(taken(work, done, rested.unwrap_or(end.cpu), end.memory, count))
    }
}

fn taken(work: &Work, done: Done, system: Spent, memory: f64, count: Count) -> Taken {
    let cpu = (done.cpu + system.own + system.kernel).as_secs_f64() * 1e6 / work.count() as f64;
    Taken { time: done.time, cpu, memory, count, kernel: system.kernel }
}

impl Round {
    /// What the work takes without anything, in this round.
    fn base(&self) -> f64 {
        f64::midpoint(self.bare[0].time, self.bare[1].time)
    }
}

impl Row {
    fn add(&mut self, taken: Option<Taken>, base: f64) {
        let Some(taken) = taken else { return };
        self.time.add(taken.time);
        self.ratio.add(taken.time / base);
        self.cpu.add(taken.cpu);
        self.memory = self.memory.max(taken.memory);
        self.count.add(taken.count);
    }

    /// The ratio of both says how noisy the machine is.
    fn add_bare(&mut self, bare: [Taken; 2]) {
        for one in bare {
            self.time.add(one.time);
            self.cpu.add(one.cpu);
        }
        self.ratio.add(bare[1].time / bare[0].time);
    }
}
