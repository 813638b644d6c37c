//! Measures what the sensor costs the machine it watches, and how soon it tells.
//!
//! Everything is compared with the same work without the sensor, in turns: the sensor is started
//! and stopped each round, as programs that stay attached cost something. First the work is
//! compared with itself: what that shows is noise.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::say;
use crate::workspace::Workspace;
use lab::Lab;
use number::Pairs;
use quiet::Quiet;
use report::{Figure, Table};

mod cost;
mod crowd;
mod exec;
mod fit;
mod histogram;
mod instructions;
mod io;
mod journal;
mod kept;
mod lab;
mod latency;
mod lines;
mod load;
mod look;
mod net;
mod number;
mod outputs;
mod page;
mod peers;
mod pin;
mod progress;
mod quiet;
mod recover;
mod report;
mod rest;
mod scale;
mod sensor;
mod short;
mod soak;
mod storm;
mod syscall;
mod taps;
mod traffic;

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    /// Also write the figures into this file, as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write what was measured into docs/benchmarks.md, in place of what the same measurement left there.
    #[arg(long, global = true)]
    write: bool,
    /// End with 0 also when a figure is worse than it may be.
    #[arg(long, global = true)]
    no_bars: bool,
    /// Wait as long as this, all in all, while others keep the machine busy.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    /// Measure this sensor instead of one built from this source.
    #[arg(long, global = true, value_name = "FILE")]
    sensor: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A storm of short processes, and what each kernel program costs.
    Exec(exec::Args),
    /// A system call that no hook is on, and files made and removed.
    Syscall(syscall::Args),
    /// Memory after a storm, and CPU time while nothing happens.
    Rest(rest::Args),
    /// Files copied, and written in little pieces.
    Io(io::Args),
    /// How soon an event is on standard output.
    Latency(latency::Args),
    /// How often a program that takes its own name away is got back.
    Recover(recover::Args),
    /// Small datagrams and streams over loopback.
    Net(net::Args),
    /// How soon verbs answer beside thousands of processes.
    Look(look::Args),
    /// How much the journal takes, and what it costs.
    Journal(journal::Args),
    /// The same work beside the sensor, auditd, bpftrace and others, as a page.
    Peers(peers::Args),
    /// How many events an output brings.
    Outputs(outputs::Args),
    /// What the sensor costs where there are more processes, sockets, users, arguments, CPUs.
    Scale(scale::Args),
    /// A mixed load for long: memory, descriptors, losses, CPU for each event.
    Soak(soak::Args),
    /// How many instructions an event takes in user space, by callgrind; not as root.
    Instructions(instructions::Args),
    /// A short form of latency, scale, soak and instructions, against figures that are kept.
    Short(short::Args),
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut report = Report::default();
    match &args.what {
        // Counts aren't disturbed by anybody, and load nothing into the kernel.
        What::Instructions(args) => instructions::run(workspace, args, &mut report)?,
        what => measure(workspace, args, what, &mut report)?,
    }
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    if args.write && !matches!(args.what, What::Peers(_)) {
        page::Page::of(workspace).write(&args.what.name(), &report.section(&args.what.name()))?;
    }
    let broken = report.broken();
    if broken.is_empty() || args.no_bars {
        return Ok(());
    }
    Err(Error::Check(format!("the sensor costs more than it may:\n{}", broken.join("\n"))))
}

fn measure(workspace: &Workspace, args: &Args, what: &What, report: &mut Report) -> Result<()> {
    let lab = Lab::make(workspace, args.sensor.as_deref())?;
    say(&conditions());
    if let Some(pid) = other_sensor() {
        say(&format!("another sensor runs, pid {pid}: its programs are attached in all that follows"));
    }
    let quiet = &mut Quiet::with_patience(args.patience);
    quiet.wait()?;
    match what {
        What::Exec(args) => exec::run(&lab, args, quiet, report),
        What::Syscall(args) => syscall::run(&lab, args, quiet, report),
        What::Rest(args) => rest::run(&lab, args, quiet, report),
        What::Io(args) => io::run(&lab, args, quiet, report),
        What::Latency(args) => latency::run(&lab, args, report),
        What::Recover(args) => recover::run(&lab, args, report),
        What::Net(args) => net::run(&lab, args, quiet, report),
        What::Look(args) => look::run(&lab, args, quiet, report),
        What::Journal(args) => journal::run(workspace, &lab, args, quiet, report),
        What::Peers(more) => peers::run(workspace, &lab, more, args.write, quiet, report),
        What::Outputs(args) => outputs::run(workspace, &lab, args, quiet, report),
        What::Scale(args) => scale::run(&lab, args, quiet, report),
        What::Soak(args) => soak::run(&lab, args, quiet, report),
        What::Short(args) => short::run(workspace, &lab, args, quiet, report),
        What::Instructions(args) => instructions::run(workspace, args, report),
    }
}

impl What {
    /// The word that is typed for it.
    fn name(&self) -> String {
        let shown = format!("{self:?}");
        shown.split('(').next().unwrap_or_default().to_lowercase()
    }
}

/// All tables of a run. Each is printed when it is finished.
#[derive(Debug, Default)]
struct Report {
    tables: Vec<Table>,
    /// The bars of these first ones don't count: what they show is being kept instead.
    forgiven: usize,
}

impl Report {
    fn add(&mut self, table: Table) {
        println!("{}", table.text());
        self.tables.push(table);
    }

    /// No bar of what is there by now counts.
    fn forgive(&mut self) {
        self.forgiven = self.tables.len();
    }

    fn broken(&self) -> Vec<String> {
        self.tables.iter().skip(self.forgiven).flat_map(Table::broken).collect()
    }

    /// The tables as they are printed, under a heading.
    fn section(&self, name: &str) -> String {
        let tables: String =
            self.tables.iter().map(|table| format!("\n```\n{}```\n", table.text())).collect();
        format!("\n## `cargo xtask bench {name}`\n\n{}\n{tables}", conditions())
    }

    fn write(&self, path: &Path) -> Result<()> {
        let tables: Vec<String> = self.tables.iter().map(Table::json).collect();
        fs::write(path, format!("[{}]\n", tables.join(",\n"))).map_err(Error::file("write", path))
    }
}

/// What is said of pairs, in every title.
const PAIRS: &str = "without, with: medians; ratio: the median of the pairs' ratios, between their quartiles q1 and q3;\n\
     again: pairs that were measured again, as others disturbed them";

/// The figure of work without and with the sensor.
fn pairs_figure(name: &str, pairs: &Pairs) -> Figure {
    Figure::new(name)
        .value("without", pairs.without.median(), 2)
        .value("with", pairs.with.median(), 2)
        .value("ratio", pairs.ratios.median(), 3)
        .value("q1", pairs.ratios.quantile(0.25), 3)
        .value("q3", pairs.ratios.quantile(0.75), 3)
        .value("again", f64::from(pairs.again), 0)
}

/// What the figures depend on, and the reader can't see.
fn conditions() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split_ascii_whitespace().take(3).collect();
    let cpus = pin::allowed().map_or(0, |cpus| cpus.len());
    format!("Linux {}, {cpus} CPUs, load before {}", kernel.trim(), load.join(" "))
}

/// The pid of a sensor that runs already.
fn other_sensor() -> Option<String> {
    let folders = fs::read_dir("/proc").ok()?.filter_map(std::io::Result::ok);
    let mut named = folders.filter(|folder| {
        fs::read_to_string(folder.path().join("comm")).is_ok_and(|name| name.trim_end() == "sensor")
    });
    named.next().map(|folder| folder.file_name().to_string_lossy().into_owned())
}

/// Makes an `Errno` into an error that says what was attempted.
fn failed(what: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Check(format!("cannot {what}: {errno}"))
}
