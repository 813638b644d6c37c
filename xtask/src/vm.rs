//! Boots real kernels in virtual machines, and runs the same tests there as here.

use std::collections::HashSet;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::build_sensor;
use crate::command;
use crate::error::{Error, Missing, Result};
use crate::place;
use crate::say;
use crate::setup::Purpose;
use crate::setup::emulator::Emulator;
use crate::workspace::Workspace;
use disk::Root;
use kernels::{Kernel, Store};
use matrix::Sums;
use plan::{Extent, FAST_KERNELS, KERNELS, Machine, PLAIN, Run, VARIANTS};
use results::{Outcome, Row};

mod cpio;
mod disk;
mod kernels;
mod machine;
mod matrix;
mod modules;
mod plan;
mod results;

/// What a machine does first.
const GUEST: &str = include_str!("vm/guest.sh");
/// How many times longer than here something may take where every instruction is emulated, unless it is said.
const PATIENCE: u32 = 4;

/// Options of `vm`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Kernels by the beginning of their release (`6.1`, `5.10.0-46`, `newest`), or variants by name.
    kernels: Vec<String>,
    /// Show what can be booted and end.
    #[arg(long)]
    list: bool,
    /// Also all variants: lockdown, security modules, cgroups, processors.
    #[arg(long)]
    all: bool,
    /// Fewer kernels, and the tests that tell most in little time, as `cargo xtask test` does.
    #[arg(long)]
    fast: bool,
    /// Only this file of tests, this `file::test`, or tests with this in their names.
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Run them so many times in each machine.
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: usize,
    /// Write how many tests went how on which kernel into `docs/kernels.md`.
    #[arg(long, conflicts_with_all = ["test", "times"])]
    note: bool,
    /// Go on after a run that was cut short or failed: files of tests that ended well in it aren't run again.
    #[arg(long, conflicts_with_all = ["test", "times"])]
    resume: bool,
    /// Only what failed by `docs/kernels.md`, or wasn't over; how that goes now is written there.
    #[arg(long, conflicts_with_all = ["test", "times", "note", "resume"])]
    again: bool,
    /// The sensor's --hooks in all tests.
    #[arg(long, value_name = "base|best")]
    hooks: Option<String>,
    /// How many times longer than here something may take: more where others are at work on this machine too.
    #[arg(long, value_name = "N", default_value_t = PATIENCE)]
    patience: u32,
    /// Machines of one processor each whose time goes by their instructions: a host with other work makes nothing late there.
    #[arg(long)]
    steady: bool,
    /// Machines at a time; one for each processor if not given.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

impl Args {
    /// As every test does.
    pub(crate) fn fast() -> Self {
        Self { fast: true, times: 1, patience: PATIENCE, ..Self::default() }
    }

    /// One file of tests, on all kernels.
    pub(crate) fn one(test: &str) -> Self {
        Self { test: Some(test.to_owned()), times: 1, patience: PATIENCE, ..Self::default() }
    }
}

/// A machine that is to be booted; without a kernel, why there is none.
struct Boot {
    name: String,
    machine: Machine,
    kernel: std::result::Result<Kernel, String>,
}

/// What came of a machine.
pub(crate) struct Went {
    /// Its kernel, and what is different about it.
    name: String,
    rows: Vec<Row>,
    /// All that its tests said.
    pub(crate) said: String,
}

impl Went {
    fn count(&self, wanted: fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|row| wanted(&row.outcome)).count()
    }
}

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.list {
        return list(&folder(workspace)?);
    }
    let went = boot(workspace, args)?;
    if went.len() > 1 {
        eprint!("{}", matrix::text(&went));
    }
    match went.iter().map(|went| went.count(Outcome::failed)).sum::<usize>() {
        0 => Ok(()),
        failures => Err(Error::Check(format!(
            "{failures} tests failed in virtual machines; what each said is in {}",
            folder(workspace)?.join("runs").display()
        ))),
    }
}

/// Writes into the page how a machine went: at once, so that a run that is cut short leaves what it has.
fn note(workspace: &Workspace, went: &Went, extent: Extent, again: bool) -> Result<()> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = workspace.root().join(matrix::PAGE);
    let old = fs::read_to_string(&path).unwrap_or_default();
    let row = match matrix::found(&old, &went.name, extent.name()) {
        Some(mut row) if again => {
            row.renew(went);
            row
        }
        _ => Sums::of(went, extent.name()),
    };
    place::place(&path, matrix::page(&old, row).as_bytes())
}

/// The tests that failed there, by the page.
fn failed(workspace: &Workspace, name: &str, extent: Extent) -> Result<Vec<String>> {
    let path = workspace.root().join(matrix::PAGE);
    let page = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    match matrix::found(&page, name, extent.name()) {
        Some(row) if row.names_tests() => Ok(row.failed),
        row => Err(Error::Check(format!(
            "what failed on Linux {name} can't be tried again alone: {} has {}; run all with --note",
            matrix::PAGE,
            row.map_or_else(|| "no such row".to_owned(), |row| row.failed.join(", "))
        ))),
    }
}

/// Where all of this is.
fn folder(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target().join("vm");
    fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    Ok(folder)
}

/// Boots the machines that are wanted, shows what each said, and gives it in the order of the tables.
pub(crate) fn boot(workspace: &Workspace, args: &Args) -> Result<Vec<Went>> {
    if env::consts::ARCH != "x86_64" {
        let machine = Missing { what: "an x86-64 machine".to_owned(), install: "use one".to_owned() };
        return Err(Error::Missing { purpose: "booting these kernels", missing: vec![machine] });
    }
    let folder = folder(workspace)?;
    build_sensor::build(workspace, &[Purpose::Test, Purpose::Machines])?;
    let _lock = lock(&folder.join("lock"))?;
    let emulator = Emulator::find(workspace)?;
    let boots = boots(&Store::open(&folder)?, args)?;
    let programs = tests(workspace)?;
    let disk = folder.join("disk");
    make_disk(workspace, &folder, &programs, &disk)?;
    let names: Vec<String> = programs.into_iter().map(|(name, _)| name).collect();
    let extent = if args.fast { Extent::Fast } else { Extent::Whole };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.unwrap_or(processors).max(1);
    let boot = |boot: &Boot| {
        let (name, place) = (boot.name.clone(), folder.join("runs").join(&boot.name));
        let kernel = match &boot.kernel {
            Ok(kernel) => kernel,
            Err(why) => return Ok(Went { name, rows: vec![Row::no_kernel(why)], said: String::new() }),
        };
        let mut runs = plan::runs(&boot.machine, extent, &names, args.test.as_deref());
        if args.again {
            runs = plan::exactly(&failed(workspace, &name, extent)?, runs);
        }
        if args.again && runs.is_empty() {
            say(&format!("Linux {name}: nothing failed there before"));
            return Ok(Went { name, rows: Vec::new(), said: String::new() });
        }
        say(&format!("booting Linux {name}"));
        let mut runs: Vec<_> = iter::repeat_n(runs, args.times).flatten().collect();
        let before = before(&place, args.resume)?;
        runs.retain(|run| !results::sections(&before).iter().any(|section| section.title == run.title()));
        let hooks = args.hooks.as_deref().unwrap_or_default();
        let tests = machine::Tests {
            hooks,
            patience: args.patience.max(1),
            steady: args.steady,
            emulator: &emulator,
            runs: &runs,
        };
        let mut said = machine::boot(&name, &boot.machine, kernel, &disk, &place, &tests)?;
        // What ended well before has its rows as well.
        said.results.insert_str(0, &before);
        let titles: Vec<String> = runs.iter().map(Run::title).collect();
        let rows = results::rows(&said, titles.iter().map(String::as_str));
        let went = Went { name, rows, said: said.results };
        show(&went, said.took);
        if args.note || args.again {
            note(workspace, &went, extent, args.again)?;
        }
        Ok(went)
    };
    each(boots, jobs, boot)
}

/// What files of tests said that ended well when this machine ran before, if that counts; it is kept for
/// the next time, as the machine begins its results anew.
fn before(place: &Path, counts: bool) -> Result<String> {
    let earlier = place.join("earlier");
    let mut before = String::new();
    if counts {
        for path in [&earlier, &place.join("results")] {
            let said = fs::read(path).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let sections = results::sections(&said);
            before.extend(sections.iter().filter(|section| section.ended_well()).map(|section| section.text));
        }
    }
    place::place(&earlier, before.as_bytes())?;
    Ok(before)
}

fn list(folder: &Path) -> Result<()> {
    let store = Store::open(folder)?;
    for wanted in KERNELS {
        let release = store.find(wanted).unwrap_or("Debian's mirror has none");
        println!("{wanted:<16} {release}");
    }
    for variant in VARIANTS {
        let Machine { name, kernel, append, processors, cgroups, .. } = variant;
        println!("{name:<16} {kernel}, processors: {processors}, cgroups of version {cgroups} {append}");
    }
    Ok(())
}

/// Which machines to boot.
fn boots(store: &Store, args: &Args) -> Result<Vec<Boot>> {
    let mut wanted: Vec<(String, Machine)> = Vec::new();
    let plain = |name: &&str| ((*name).to_owned(), PLAIN);
    for name in &args.kernels {
        match VARIANTS.iter().find(|variant| variant.name == name) {
            Some(variant) => wanted.push((variant.kernel.to_owned(), *variant)),
            None => wanted.push((name.clone(), PLAIN)),
        }
    }
    if args.kernels.is_empty() {
        let kernels = if args.fast { FAST_KERNELS } else { KERNELS };
        wanted.extend(kernels.iter().map(plain));
    }
    if args.all {
        wanted.extend(VARIANTS.iter().map(|variant| (variant.kernel.to_owned(), *variant)));
    }
    let boot = |(series, machine): (String, Machine)| {
        let kernel = match store.kernel(&series)? {
            Some(kernel) => Ok(kernel),
            None => Err(store.why_not(&series)),
        };
        let release = kernel.as_ref().map_or(&*series, |kernel| &*kernel.release);
        let words = [release, machine.name, args.hooks.as_deref().unwrap_or_default()];
        let name = words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ");
        Ok(Boot { name, machine, kernel })
    };
    wanted.into_iter().map(boot).collect()
}

/// Boots them, some at a time; what came of them is in their order.
fn each(boots: Vec<Boot>, jobs: usize, boot: impl Fn(&Boot) -> Result<Went> + Sync) -> Result<Vec<Went>> {
    let queue = Mutex::new(boots.into_iter().enumerate());
    let went = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((at, next)) = next else { return };
            let came = boot(&next);
            went.lock().unwrap_or_else(PoisonError::into_inner).push((at, came));
        }
    };
    thread::scope(|scope| (0..jobs).for_each(|_| drop(scope.spawn(work))));
    let mut went = went.into_inner().unwrap_or_else(PoisonError::into_inner);
    went.sort_by_key(|(at, _)| *at);
    went.into_iter().map(|(_, came)| came).collect()
}

/// Prints a line for each test, and their sum.
fn show(went: &Went, took: Duration) {
    let name = &went.name;
    let mut text = String::new();
    for Row { test, outcome } in &went.rows {
        let _ = writeln!(text, "{name}  {test}  {outcome}");
    }
    // In one piece, as others write too.
    eprint!("{text}");
    let [ok, not_here, failed] =
        [Outcome::ok, Outcome::not_here, Outcome::failed].map(|kind| went.count(kind));
    say(&format!("Linux {name}: {ok} ok, {not_here} not here, {failed} FAILED, in {} s", took.as_secs()));
}

/// Builds the tests; gives their names and programs.
fn tests(workspace: &Workspace) -> Result<Vec<(String, PathBuf)>> {
    say("building the tests");
    let mut cargo = workspace.cargo();
    // As `cargo xtask test` builds them, so that nothing is built twice.
    let said = command::read(cargo.args([
        "test",
        "--locked",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]))?;
    let tests: Vec<_> = said.lines().filter_map(executable).map(|path| (program(&path), path)).collect();
    // They come to stand in one folder.
    let mut names = HashSet::new();
    match tests.iter().find(|(name, _)| !names.insert(name)) {
        Some((name, path)) => Err(Error::Check(format!(
            "two programs of tests are called {name}, one of them {}; rename one",
            path.display()
        ))),
        None => Ok(tests),
    }
}

/// The path in cargo's message of a built program of tests; none of what isn't one, as the sensor itself and examples.
fn executable(message: &str) -> Option<PathBuf> {
    if ["bin", "example"].iter().any(|kind| message.contains(&format!("\"kind\":[\"{kind}\"]"))) {
        return None;
    }
    let (_, rest) = message.split_once("\"executable\":\"")?;
    Some(PathBuf::from(rest.split('"').next()?))
}

/// The name of a program, without the hash that cargo adds.
fn program(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.rsplit_once('-').map_or(&*stem, |(name, _)| name).to_owned()
}

/// Makes the disk that all machines start from.
fn make_disk(workspace: &Workspace, folder: &Path, tests: &[(String, PathBuf)], disk: &Path) -> Result<()> {
    say("making the disk of the machines");
    let mut root = Root::make(folder.join("root"))?;
    root.copy(&workspace.sensor(), "usr/bin/sensor")?;
    for (name, path) in tests.iter().filter(|(name, _)| plan::is_taken(name)) {
        let small = stripped(path, &folder.join("stripped"))?;
        root.copy(&small, &format!("tests/{name}"))?;
    }
    let mut programs = workspace.cargo();
    programs.args(["run", "--quiet", "--locked", "-p", "tests", "--bin", "compile-programs", "--"]);
    command::run(programs.arg(root.at("tests/programs")))?;
    root.disk(disk)
}

/// A program without what is only for debuggers, made anew when the program changes.
fn stripped(program: &Path, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    let small = folder.join(program.file_name().unwrap_or_default());
    let changed = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
    if let (Ok(made), Ok(from)) = (changed(&small), changed(program))
        && made >= from
    {
        return Ok(small);
    }
    command::run(Command::new("strip").arg("-S").arg("-o").arg(&small).arg(program))?;
    Ok(small)
}

/// Waits until nobody else boots here: two would take each other's disk.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).map_err(Error::file("make", path))?;
    if file.try_lock().is_err() {
        say("waiting: others boot machines here");
        file.lock().map_err(Error::file("lock", path))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cargo_says() {
        let line =
            r#"{"reason":"compiler-artifact","target":{"name":"exec"},"executable":"/t/deps/exec-0a1b"}"#;
        let path = executable(line).unwrap();
        assert_eq!((path.to_str(), program(&path)), (Some("/t/deps/exec-0a1b"), "exec".to_owned()));
        assert_eq!(executable(r#"{"executable":null}"#), None);
        for kind in ["bin", "example"] {
            let line = format!(r#"{{"target":{{"kind":["{kind}"]}},"executable":"/t/sensor"}}"#);
            assert_eq!(executable(&line), None);
        }
    }
}
