//! Side by side: the same work beside the sensor and beside what people use otherwise, on one page.

use std::time::{Duration, Instant};

use nix::sys::utsname::uname;

use super::cost;
use super::lab::Lab;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use super::{Report, failed};
use crate::command;
use crate::error::Result;
use crate::say;
use crate::setup::brought::Brought;
use crate::workspace::Workspace;
use rounds::{Block, Budget, Row, Stand};
use system::{Ready, SENSOR, SYSTEMS, System};
use tracer::{Means, Tracer};
use work::{Bench, Group, Setting, WORKS, Work};

mod audit;
mod count;
mod page;
mod plot;
mod rounds;
mod system;
mod tracer;
mod work;

/// Options of `bench peers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long all rounds may take together. Whoever comes first and how much each gets is in a table.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// How many rounds that nobody disturbed are enough.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// One round of each.
    #[arg(long)]
    short: bool,
    /// Only these works, by the names of their plots.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these systems.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    systems: Vec<String>,
}

/// A system, as it was found here.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) system: &'static System,
    pub(crate) version: String,
    /// Why it isn't compared, in its own words.
    pub(crate) absent: Option<String>,
}

/// Processes with long arguments, to see what a program of the kernel's costs with them.
const LONG_ARGUMENT: usize = 512;
const SPAWNS: u64 = 5000;
/// Nanoseconds for a run of what an exec calls, with them.
const MOST_EXEC: f64 = 900.0;
/// And its name in the table.
const EXEC: &str = "sched_process_exec";

/// Measures it.
pub(crate) fn run(
    workspace: &Workspace,
    lab: &Lab,
    args: &Args,
    write: bool,
    quiet: &mut Quiet,
    report: &mut Report,
) -> Result<()> {
    let began = Instant::now();
    let other = super::other_sensor().is_some();
    let bench = Bench::make_ready(lab)?;
    let chosen = SYSTEMS.iter().filter(|system| {
        args.systems.is_empty()
            || system.name == SENSOR
            || args.systems.iter().any(|name| name == system.name)
    });
    let chosen: Vec<&'static System> = chosen.collect();
    let packages: Vec<&str> = SYSTEMS.iter().filter_map(|system| system.package).collect();
    let brought = Brought::packages(workspace, "peers", &packages)?;
    let means = Means { lab, brought: &brought, folder: bench.path("") };
    let entries: Vec<Entry> = chosen.into_iter().map(|system| try_out(&means, system)).collect();
    let stand = Stand { bench: &bench, means: &means, entries: &entries };
    let blocks = all_blocks(&stand, args, quiet)?;
    blocks.iter().for_each(|block| report.add(table(block)));
    report.add(programs(lab, &bench)?);
    if entries.iter().any(|entry| entry.system.ready == Ready::Audits && entry.absent.is_none()) {
        say(
            "the audit rule `-a task,never` stays loaded until the next boot, so that nothing pays for audit after this",
        );
    }
    if write {
        let made = page::Made {
            entries: &entries,
            blocks: &blocks,
            tables: &report.tables,
            took: began.elapsed(),
            short: args.short,
            other,
        };
        made.write(workspace, &machine()?)?;
    }
    Ok(())
}

/// Every work in each of its settings, each with its part of the time that is left.
fn all_blocks(stand: &Stand<'_>, args: &Args, quiet: &mut Quiet) -> Result<Vec<Block>> {
    let wanted = |work: &&Work| args.only.is_empty() || args.only.iter().any(|name| name == work.name);
    let works = WORKS.iter().filter(wanted);
    let mut plan: Vec<(&'static Work, Setting, f64)> = works
        .flat_map(|work| {
            let share = work.share / work.settings.len() as f64;
            work.settings.iter().map(move |setting| (work, *setting, share))
        })
        .collect();
    plan.reverse();
    let began = Instant::now();
    let whole = Duration::from_secs_f64(args.minutes.max(0.0) * 60.0);
    let rounds = if args.short { 1 } else { args.rounds as usize };
    let mut blocks = Vec::new();
    while let Some((work, setting, share)) = plan.pop() {
        let rest: f64 = plan.iter().map(|(_, _, share)| share).sum();
        let time = whole.saturating_sub(began.elapsed()).mul_f64(share / (share + rest));
        let time = if args.short { Duration::ZERO } else { time };
        blocks.extend(stand.block(work, setting, quiet, Budget { time, rounds })?);
    }
    Ok(blocks)
}

/// Starts it and stops it again: what can't be compared here is named by its own words.
fn try_out(means: &Means<'_>, system: &'static System) -> Entry {
    say(&format!("trying {}", system.name));
    let brought = system.package.and_then(|package| means.brought.why_not(package));
    let tried = || -> Result<()> {
        let group = system.groups.first().copied().unwrap_or(Group::Whole);
        Tracer::start(means, system, group, None)?.stop().map(drop)
    };
    let absent = match brought {
        Some(why) => Some(why.to_owned()),
        None => tried().err().map(|error| error.to_string()),
    };
    if let Some(why) = &absent {
        say(why);
    }
    Entry { system, version: version(means, system), absent }
}

/// Of its package, or of the sensor.
fn version(means: &Means<'_>, system: &System) -> String {
    match system.package {
        None => {
            let mut sensor = std::process::Command::new(means.lab.sensor());
            command::read(sensor.arg("--version")).unwrap_or_default().trim().replace("sensor ", "")
        }
        Some(package) => means.brought.version(package).unwrap_or_else(|| "?".to_owned()),
    }
}

/// Kernel, processors and memory.
fn machine() -> Result<String> {
    let name = uname().map_err(failed("ask for the kernel's name"))?;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (info, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| known.trim() == key).map(|(_, value)| value.trim().to_owned())
    };
    let model = value(&info, "model name").unwrap_or_else(|| "processors of an unknown model".to_owned());
    let virtual_one = info.contains(" hypervisor");
    let kib = value(&memory, "MemTotal").and_then(|value| value.split(' ').next()?.parse::<f64>().ok());
    Ok(format!(
        "Linux {} ({}), {} × {model}{}, {:.1} GiB",
        name.release().to_string_lossy(),
        name.machine().to_string_lossy(),
        super::pin::allowed()?.len(),
        if virtual_one { " of a virtual machine" } else { "" },
        kib.unwrap_or(f64::NAN) / 1024.0 / 1024.0
    ))
}

/// The block as figures, with the bars that hold for the sensor.
fn table(block: &Block) -> Table {
    let title = format!(
        "{}, {}: {} rounds, {} disturbed by others{}\n\
         time and CPU (of the work and the system): µs for each {}, medians; ratio to nothing in the same round,\n\
         between its quartiles q1 and q3; of nothing: the second to the first, which is the noise; memory: the most, MiB",
        block.work.title,
        block.setting.name(),
        block.rounds,
        block.disturbed,
        if block.noisy { ", which count too, as there are not enough others" } else { "" },
        block.work.unit
    );
    let mut table = Table::new(title);
    table.figures.push(figure(&block.bare));
    for row in block.rows.iter().filter(|row| row.ratio.count() > 0) {
        let figure = figure(row).value("memory", row.memory, 1);
        let figure = if row.count.made > 0.0 {
            figure.value("told", row.count.told, 0).value("of", row.count.made, 0)
        } else {
            figure
        };
        table.figures.push(if row.name == SENSOR { barred(figure, row, block) } else { figure });
    }
    table
}

fn figure(row: &Row) -> Figure {
    Figure::new(row.name)
        .value("time", row.time.median(), 3)
        .value("ratio", row.ratio.median(), 3)
        .value("q1", row.ratio.quantile(0.25), 3)
        .value("q3", row.ratio.quantile(0.75), 3)
        .value("CPU", row.cpu.median(), 3)
}

/// What it must keep to: fixed bars, less than those who record the same, and no loss.
fn barred(mut figure: Figure, row: &Row, block: &Block) -> Figure {
    for (_, most) in block.work.bars.iter().filter(|(setting, _)| *setting == block.setting) {
        figure = figure.at_most("ratio", *most);
    }
    if let Some((_, least)) = best_peer(block) {
        figure = figure.at_most("ratio", (least * 1e3).floor() / 1e3);
    }
    if row.count.made > 0.0 && block.work.group != Group::Traffic {
        figure = figure.at_least("told", row.count.made);
    }
    figure
}

/// Who of those that record the same costs least.
fn best_peer(block: &Block) -> Option<(&'static str, f64)> {
    let same = block
        .rows
        .iter()
        .filter(|row| block.work.same_facts && SAME_FACTS.contains(&row.name) && row.ratio.count() > 0);
    same.map(|row| (row.name, row.ratio.median())).min_by(|one, other| one.1.total_cmp(&other.1))
}

/// Whose facts are those of the sensor, where they see a work at all.
const SAME_FACTS: &[&str] = &["auditd", "bpftrace", "forkstat"];

/// What each program of the kernel's costs, with long arguments.
fn programs(lab: &Lab, bench: &Bench) -> Result<Table> {
    say("what each program costs");
    let argument = "a".repeat(LONG_ARGUMENT);
    let by_name = |name: &str| WORKS.iter().find(|work| work.name == name);
    let work = || -> Result<()> {
        bench.spawn_with(SPAWNS, &argument)?;
        for work in ["files", "connections", "udp"].into_iter().filter_map(by_name) {
            work.run(bench, None)?;
        }
        Ok(())
    };
    let what = format!(
        "{SPAWNS} processes with {LONG_ARGUMENT} bytes of arguments, files, connections and datagrams"
    );
    let mut table = cost::during(lab, &what, work)?;
    table.bar(EXEC, "ns/run", MOST_EXEC);
    Ok(table)
}
