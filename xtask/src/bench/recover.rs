//! How often a program that takes its own name away is got back: each is another file, of which the very bytes are
//! looked for afterwards.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::wait::waitpid;

use super::lab::{Lab, Program};
use super::lines::{action_and_executable, text_after};
use super::report::{Figure, Table};
use super::sensor::{Sensor, Sink};
use super::{Report, failed};
use crate::command::{self, start_error};
use crate::error::{Error, Result};
use crate::say;

/// Options of `bench recover`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many programs of each sort are run.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

/// A sort of program.
struct Sort {
    name: &'static str,
    define: &'static str,
    /// Options of the sensor.
    options: &'static [&'static str],
    /// How many times as many are run.
    times: u32,
    /// How many of a hundred are to be got back.
    least: f64,
}

const SORTS: [Sort; 3] = [
    Sort { name: "unlinks itself and ends", define: "-DVANISH=0", options: &[], times: 1, least: 99.0 },
    Sort {
        name: "unlinks itself, lives 10 ms",
        define: "-DVANISH=10000000",
        options: &[],
        times: 1,
        least: 100.0,
    },
    Sort {
        name: "ends at once, --freeze-on-delete",
        define: "-DVANISH=0",
        options: &["--freeze-on-delete"],
        times: 10,
        least: 100.0,
    },
];

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, report: &mut Report) -> Result<()> {
    let mut table = Table::new(format!(
        "recover: {} programs of each sort, ten times as many with --freeze-on-delete; alerts: those that carry the file's own hash; recovered: those that\n\
         `sensor recover` gives back, byte by byte, after the end of program and sensor",
        args.runs
    ));
    for sort in SORTS {
        say(sort.name);
        let runs = args.runs.saturating_mul(sort.times);
        let (alerts, recovered) = one(lab, runs, &sort)?;
        let runs = f64::from(runs);
        let percent = f64::from(recovered) * 100.0 / runs;
        table.figures.push(
            Figure::new(sort.name)
                .value("runs", runs, 0)
                .value("alerts", f64::from(alerts), 0)
                .value("recovered", f64::from(recovered), 0)
                .value("percent", percent, 1)
                .at_least("percent", sort.least),
        );
    }
    report.add(table);
    Ok(())
}

/// Runs one sort: how many alerts have the right hash, how many files were recovered.
fn one(lab: &Lab, runs: u32, sort: &Sort) -> Result<(u32, u32)> {
    let (images, originals) = (lab.empty("images")?, lab.empty("originals")?);
    let (evidence, events) = (lab.empty("evidence")?, lab.path("events.ndjson"));
    let config = lab.path("recover.toml");
    let text = format!("[evidence]\nfolder = {evidence:?}\n");
    fs::write(&config, text).map_err(Error::file("write", &config))?;
    let image = lab.program("vanish", &[sort.define])?;
    let mut words: Vec<OsString> = sort.options.iter().map(OsString::from).collect();
    words.extend(["--config".into(), config.clone().into()]);
    let mut sensor = Sensor::begin_with(lab, &Sink::File(events.clone()), None, &words)?;
    sensor.await_ready()?;
    let mut files = Vec::new();
    for run in 0..runs {
        let original = originals.join(run.to_string());
        let path = images.join(format!("vanish-{run}"));
        make(image.path(), run, &original)?;
        fs::copy(&original, &path).map_err(Error::file("copy", &original))?;
        let pid = Program::at(&path)?.spawn()?;
        waitpid(pid, None).map_err(failed("wait for a program"))?;
        if path.exists() {
            return Err(Error::Check(format!("{} didn't remove itself", path.display())));
        }
        files.push((original, path));
        // At any point of the sensor's own beat.
        thread::sleep(Duration::from_millis(u64::from(run * 7 % 31)));
    }
    sensor.stop()?;
    let lines = fs::read(&events).map_err(Error::file("read", &events))?;
    let (mut alerts, mut recovered) = (0, 0);
    for (original, path) in &files {
        let sha256 = sha256(original)?;
        alerts += u32::from(told(&lines, path, &sha256));
        recovered += u32::from(is_recovered(lab, &config, original, &sha256)?);
    }
    Ok((alerts, recovered))
}

/// The program with a number behind it, so that no two are the same.
fn make(image: &Path, run: u32, to: &Path) -> Result<()> {
    fs::copy(image, to).map_err(Error::file("copy", image))?;
    let mut bytes = fs::read(to).map_err(Error::file("read", to))?;
    bytes.extend_from_slice(&run.to_le_bytes());
    fs::write(to, bytes).map_err(Error::file("write", to))
}

fn sha256(path: &Path) -> Result<String> {
    let said = command::read(Command::new("sha256sum").arg(path))?;
    Ok(said.split_ascii_whitespace().next().unwrap_or_default().to_owned())
}

/// Whether there is an alert about this file with this hash.
fn told(lines: &[u8], path: &Path, sha256: &str) -> bool {
    lines.split(|byte| *byte == b'\n').any(|line| {
        let Some((b"exe_deleted", _)) = action_and_executable(line) else { return false };
        let file = text_after(line, b"\"file\":{\"path\":\"").map(|(file, _)| file);
        let hash = text_after(line, b"\"evidence\":{\"sha256\":\"").map(|(hash, _)| hash);
        file == Some(path.as_os_str().as_encoded_bytes()) && hash == Some(sha256.as_bytes())
    })
}

/// Whether the sensor gives the same bytes back.
fn is_recovered(lab: &Lab, config: &Path, original: &Path, sha256: &str) -> Result<bool> {
    let to: PathBuf = lab.path("recovered");
    let mut command = Command::new(lab.sensor());
    command.args(["recover", sha256, "--force", "--to"]).arg(&to).arg("--config").arg(config);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().map_err(start_error(&command))?;
    let read = |path: &Path| fs::read(path).map_err(Error::file("read", path));
    Ok(status.success() && read(&to)? == read(original)?)
}
