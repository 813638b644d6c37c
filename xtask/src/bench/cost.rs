//! What each kernel program costs, by the kernel's own statistics.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::lab::Lab;
use super::report::{Figure, Table};
use super::sensor::{Sensor, Sink};
use super::storm::{Files, Spawns};
use crate::error::{Error, Result};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
const FILES: u32 = 10_000;

/// Runs storms with the kernel's statistics on: these slow the storms down, so nothing else is
/// measured meanwhile.
pub(crate) fn measure(lab: &Lab, spawns: &Spawns) -> Result<Table> {
    let what = format!("{} processes and {FILES} files made and removed", spawns.count());
    during(lab, &what, || {
        spawns.run(None)?;
        Files::new(lab, FILES)?.run(None).map(drop)
    })
}

/// The same beside any work.
pub(crate) fn during(lab: &Lab, what: &str, work: impl FnOnce() -> Result<()>) -> Result<Table> {
    let statistics = Statistics::on()?;
    let sensor = Sensor::start(lab, &Sink::Nowhere, None)?;
    work()?;
    let programs = programs(&sensor.proc().join("fdinfo"))?;
    sensor.stop()?;
    drop(statistics);
    let title = format!(
        "kernel programs, during {what}, by {SWITCH};\n\
         named by what they are attached to; ns/run with the statistics' own cost of some 20 ns"
    );
    let mut table = Table::new(title);
    table.figures = programs.values().map(Program::figure).collect();
    Ok(table)
}

/// How often the programs of a sensor run while something is done, all together.
pub(crate) fn runs(sensor: &Sensor, work: impl FnOnce() -> Result<f64>) -> Result<u64> {
    let statistics = Statistics::on()?;
    let sum = || -> Result<u64> {
        Ok(programs(&sensor.proc().join("fdinfo"))?.values().map(|program| program.runs).sum())
    };
    let before = sum()?;
    work()?;
    let after = sum()?;
    drop(statistics);
    Ok(after.saturating_sub(before))
}

/// How often programs ran, and how long all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) runs: u64,
    pub(crate) nanoseconds: u64,
}

impl Sum {
    /// What came since an earlier reading.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            runs: self.runs.saturating_sub(earlier.runs),
            nanoseconds: self.nanoseconds.saturating_sub(earlier.nanoseconds),
        }
    }

    /// Nanoseconds for each run.
    pub(crate) fn each(self) -> f64 {
        self.nanoseconds as f64 / self.runs as f64
    }
}

/// What the programs of a sensor came to that are attached to something so named; without those that are read like a file.
pub(crate) fn sum(sensor: &Sensor, hook: impl Fn(&str) -> bool) -> Result<Sum> {
    let programs = programs(&sensor.proc().join("fdinfo"))?;
    let wanted = programs.values().filter(|program| program.hooks.iter().any(|name| hook(name)));
    Ok(wanted.fold(Sum::default(), |sum, program| Sum {
        runs: sum.runs + program.runs,
        nanoseconds: sum.nanoseconds + program.nanoseconds,
    }))
}

/// Bytes that the maps of a sensor take which are there once, and those that are there once for each CPU: for one.
pub(crate) fn maps(sensor: &Sensor, cpus: usize) -> Result<(u64, u64)> {
    let folder = sensor.proc().join("fdinfo");
    let (mut once, mut each) = (0, 0);
    let mut known = BTreeSet::new();
    for entry in fs::read_dir(&folder).map_err(Error::file("list", &folder))? {
        let path = entry.map_err(Error::file("list", &folder))?.path();
        let Some(map) = fs::read_to_string(&path).ok().and_then(|text| Map::of(&text)) else { continue };
        if !known.insert(map.id) {
            continue;
        }
        if map.for_each_cpu() { each += map.bytes / cpus.max(1) as u64 } else { once += map.bytes }
    }
    Ok((once, each))
}

/// A map, as its descriptor tells it.
#[derive(Debug, PartialEq, Eq)]
struct Map {
    id: u64,
    kind: u64,
    bytes: u64,
}

impl Map {
    fn of(fdinfo: &str) -> Option<Self> {
        let number = |key: &str| {
            let line = fdinfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            line.trim().parse().ok()
        };
        Some(Self { id: number("map_id")?, kind: number("map_type")?, bytes: number("memlock")? })
    }

    /// Hashes and arrays of their own for each CPU, and the same that forget (`include/uapi/linux/bpf.h`).
    const fn for_each_cpu(&self) -> bool {
        matches!(self.kind, 5 | 6 | 10)
    }
}

/// The kernel's statistics, switched on; they are as before when this is dropped.
pub(crate) struct Statistics {
    before: String,
}

impl Statistics {
    pub(crate) fn on() -> Result<Self> {
        let path = Path::new(SWITCH);
        let before = fs::read_to_string(path).map_err(Error::file("read", path))?;
        fs::write(path, "1").map_err(Error::file("write", path))?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // It could be written before, and there is nobody to tell.
        let _ = fs::write(SWITCH, &self.before);
    }
}

/// A loaded program.
#[derive(Debug, Default, PartialEq, Eq)]
struct Program {
    /// Its type as the kernel numbers it.
    kind: String,
    /// What its links are attached to.
    hooks: Vec<String>,
    nanoseconds: u64,
    runs: u64,
}

impl Program {
    fn figure(&self) -> Figure {
        let name = match (self.hooks.as_slice(), self.kind.as_str()) {
            // Numbers of `enum bpf_prog_type`. TRACING: an iterator is linked only while it is read.
            ([], "26") => "iter/task".to_owned(),
            ([], "8") => "cgroup, a packet".to_owned(),
            ([], "9") => "cgroup, a socket".to_owned(),
            ([], "18") => "cgroup, an address".to_owned(),
            ([], kind) => format!("type {kind}"),
            (hooks, _) => hooks.join(" "),
        };
        let per_run = if self.runs == 0 { f64::NAN } else { self.nanoseconds as f64 / self.runs as f64 };
        Figure::new(name).value("runs", self.runs as f64, 0).value("ns/run", per_run, 0)
    }
}

/// The programs that a process holds, by their ids: in the order in which they were loaded.
fn programs(fdinfo: &Path) -> Result<BTreeMap<u32, Program>> {
    let mut programs = BTreeMap::new();
    for entry in fs::read_dir(fdinfo).map_err(Error::file("list", fdinfo))? {
        let path = entry.map_err(Error::file("list", fdinfo))?.path();
        // One that was closed since is none of the programs.
        if let Ok(text) = fs::read_to_string(&path) {
            note(&text, &mut programs);
        }
    }
    Ok(programs)
}

/// Takes what one descriptor tells of a program or of a link to one.
fn note(fdinfo: &str, programs: &mut BTreeMap<u32, Program>) {
    let pairs = fdinfo.lines().filter_map(|line| line.split_once(':'));
    let fields: BTreeMap<&str, &str> = pairs.map(|(key, value)| (key, value.trim())).collect();
    let number = |key: &str| fields.get(key).and_then(|value| value.parse::<u64>().ok());
    let Some(id) = number("prog_id").and_then(|id| u32::try_from(id).ok()) else {
        return;
    };
    let program = programs.entry(id).or_default();
    if let (Some(runs), Some(nanoseconds)) = (number("run_cnt"), number("run_time_ns")) {
        (program.runs, program.nanoseconds) = (runs, nanoseconds);
        program.kind = fields.get("prog_type").copied().unwrap_or_default().to_owned();
    }
    program.hooks.extend(fields.get("tp_name").map(ToString::to_string));
    program.hooks.sort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_their_programs() {
        let mut programs = BTreeMap::new();
        note("pos:\t0\nprog_type:\t5\nprog_id:\t7\nrun_time_ns:\t300\nrun_cnt:\t2\n", &mut programs);
        note("link_type:\tperf\nprog_id:\t7\ntp_name:\tsys_exit_unlinkat\n", &mut programs);
        note("link_type:\tperf\nprog_id:\t7\ntp_name:\tsys_exit_unlink\n", &mut programs);
        note("map_type:\t27\nmap_id:\t3\n", &mut programs);
        let hooks = vec!["sys_exit_unlink".to_owned(), "sys_exit_unlinkat".to_owned()];
        let program = Program { kind: "5".to_owned(), hooks, nanoseconds: 300, runs: 2 };
        assert_eq!(programs, BTreeMap::from([(7, program)]));
    }

    #[test]
    fn maps_are_told_apart() {
        let text = "pos:\t0\nmap_type:\t6\nkey_size:\t4\nmemlock:\t8192\nmap_id:\t3\n";
        let map = Map::of(text).unwrap();
        assert_eq!(map, Map { id: 3, kind: 6, bytes: 8192 });
        assert!(map.for_each_cpu() && !Map { kind: 27, ..map }.for_each_cpu());
        assert_eq!(Map::of("link_type:\tperf\nprog_id:\t7\n"), None);
    }
}
