//! How soon an event is on standard output.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::lab::{Lab, Program};
use super::lines::{action_and_executable, text_after};
use super::number::Sample;
use super::report::{Figure, Table};
use super::sensor::{Sensor, Sink};
use super::{Report, failed};
use crate::command::start_error;
use crate::error::{Error, Result};
use crate::say;

/// Options of `bench latency`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each event is caused.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

/// An event that isn't there by then does not come.
const DEADLINE: Duration = Duration::from_secs(5);
/// Milliseconds.
const MOST_MEDIAN: f64 = 5.0;
const MOST_P99: f64 = 50.0;

/// Measures it.
pub(crate) fn run(lab: &Lab, args: &Args, report: &mut Report) -> Result<()> {
    let mut sensor = Sensor::begin(lab, &Sink::Pipe, None)?;
    let watch = Watch::of(&mut sensor, lab)?;
    sensor.await_ready()?;
    let scene = Scene { folder: lab.empty("images")?, watch, runs: args.runs };
    let title = format!(
        "latency: {} runs of each on an idle machine, ms from the call's return until the line is read\n\
         from the sensor's standard output",
        args.runs
    );
    let mut table = Table::new(title);
    let image = lab.program("wait", &["-DWAIT"])?;
    say("exe_deleted, by a stranger");
    let (execs, deletions) = scene.deletions_by_a_stranger(image.path())?;
    table.figures.push(barred("exe_deleted, by a stranger", &deletions, args.runs));
    let image = lab.program("unlink", &["-DUNLINK"])?;
    say("exe_deleted, by itself");
    table.figures.push(barred(
        "exe_deleted, by itself",
        &scene.deletions_by_itself(image.path())?,
        args.runs,
    ));
    say("exec");
    table.figures.push(figure("exec of a new file", &execs, args.runs));
    let known = scene.execs(&lab.program("exit-at-once", &["-DEXIT"])?)?;
    table.figures.push(figure("exec of a known file", &known, args.runs));
    report.add(table);
    sensor.stop().map(drop)
}

fn figure(name: &str, sample: &Sample, runs: u32) -> Figure {
    Figure::new(name)
        .value("median", sample.median(), 2)
        .value("p90", sample.quantile(0.9), 2)
        .value("p99", sample.quantile(0.99), 2)
        .value("max", sample.quantile(1.0), 2)
        .value("missing", f64::from(runs) - sample.count() as f64, 0)
}

fn barred(name: &str, sample: &Sample, runs: u32) -> Figure {
    figure(name, sample, runs).at_most("median", MOST_MEDIAN).at_most("p99", MOST_P99).at_most("missing", 0.0)
}

/// A line, and when it was there.
struct Arrival {
    action: String,
    /// `file.path`, else the executable of the process.
    path: PathBuf,
    pid: Option<i32>,
    at: Duration,
}

/// The sensor's output, read as it comes.
struct Watch(Receiver<Arrival>);

impl Watch {
    fn of(sensor: &mut Sensor, lab: &Lab) -> Result<Self> {
        let output =
            sensor.take_output().ok_or_else(|| Error::Check("the sensor has no output".to_owned()))?;
        let (sender, arrivals) = channel();
        let folder = lab.path("").as_os_str().as_encoded_bytes().to_owned();
        thread::spawn(move || read_all(output, &folder, &sender));
        Ok(Self(arrivals))
    }

    /// When the line of this event about this file came; nothing when it didn't.
    fn wait(&self, action: &str, path: &Path, pid: Option<Pid>) -> Option<Duration> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let arrival = self.0.recv_timeout(left).ok()?;
            let same = pid.is_none_or(|pid| arrival.pid == Some(pid.as_raw()));
            if same && arrival.action == action && arrival.path == path {
                return Some(arrival.at);
            }
        }
    }
}

/// Reads until the sensor ends, or nobody wants to know.
fn read_all(mut output: ChildStdout, folder: &[u8], sender: &Sender<Arrival>) {
    let (mut piece, mut rest) = (vec![0; 1 << 16], Vec::new());
    while let Ok(length @ 1..) = output.read(&mut piece) {
        let Ok(at) = now() else { return };
        rest.extend_from_slice(piece.get(..length).unwrap_or_default());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if let Some(arrival) = arrival(&line, folder, at)
                && sender.send(arrival).is_err()
            {
                return;
            }
        }
    }
}

/// What a line tells, if it is about a file in the folder.
fn arrival(line: &[u8], folder: &[u8], at: Duration) -> Option<Arrival> {
    let (action, executable) = action_and_executable(line)?;
    let file = text_after(line, b"\"file\":{\"path\":\"").map(|(path, _)| path);
    let path = file.unwrap_or(executable);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let inside = path.starts_with(folder);
    inside.then(|| Arrival { action: text(action), path: text(path).into(), pid: pid(line), at })
}

/// Of the process; its own number comes first.
fn pid(line: &[u8]) -> Option<i32> {
    let key = b"\"process\":{\"pid\":";
    let start = line.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = line.get(start..)?.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// CLOCK_MONOTONIC, as the programs to measure with read it too.
fn now() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).map_err(failed("read the clock"))
}

fn milliseconds(from: Duration, to: Duration) -> f64 {
    // The line may be there before the call has returned to its caller.
    to.saturating_sub(from).as_secs_f64() * 1e3
}

struct Scene {
    folder: PathBuf,
    watch: Watch,
    runs: u32,
}

impl Scene {
    /// Each run starts another file, waits until its exec is told, removes it. Gives the latencies
    /// of the execs and of the removals.
    fn deletions_by_a_stranger(&self, image: &Path) -> Result<(Sample, Sample)> {
        let (mut execs, mut deletions) = (Sample::default(), Sample::default());
        for run in 0..self.runs {
            let path = self.copy(image, &format!("stranger-{run}"))?;
            let pid = Program::at(&path)?.spawn()?;
            let began = now()?;
            if let Some(told) = self.watch.wait("exec", &path, Some(pid)) {
                execs.add(milliseconds(began, told));
            }
            vary(run);
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            let gone = now()?;
            if let Some(told) = self.watch.wait("exe_deleted", &path, None) {
                deletions.add(milliseconds(gone, told));
            }
            end(pid)?;
        }
        Ok((execs, deletions))
    }

    /// Each run starts another file that removes itself first of all.
    fn deletions_by_itself(&self, image: &Path) -> Result<Sample> {
        let mut deletions = Sample::default();
        for run in 0..self.runs {
            vary(run);
            let path = self.copy(image, &format!("itself-{run}"))?;
            let mut command = Command::new(&path);
            command.stdin(Stdio::null()).stdout(Stdio::piped());
            let mut child = command.spawn().map_err(start_error(&command))?;
            let gone = child.stdout.take().and_then(|output| read_time(output).ok());
            let gone = gone.ok_or_else(|| Error::Check(format!("{} told no time", path.display())))?;
            if let Some(told) = self.watch.wait("exe_deleted", &path, None) {
                deletions.add(milliseconds(gone, told));
            }
            child.kill().and_then(|()| child.wait()).map_err(Error::file("end", &path))?;
        }
        Ok(deletions)
    }

    /// Each run starts the same file.
    fn execs(&self, program: &Program) -> Result<Sample> {
        let mut execs = Sample::default();
        for run in 0..self.runs {
            vary(run);
            let pid = program.spawn()?;
            let began = now()?;
            if let Some(told) = self.watch.wait("exec", program.path(), Some(pid)) {
                execs.add(milliseconds(began, told));
            }
            waitpid(pid, None).map_err(failed("wait for a program"))?;
        }
        Ok(execs)
    }

    fn copy(&self, image: &Path, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::copy(image, &path).map_err(Error::file("copy", image))?;
        Ok(path)
    }
}

/// The sensor looks at its rings in beats: without a pause of another length each time, a run
/// would begin at the same point of the beat as the one before.
fn vary(run: u32) {
    thread::sleep(Duration::from_millis(u64::from(run * 7 % 31)));
}

fn end(pid: Pid) -> Result<()> {
    kill(pid, Signal::SIGKILL).map_err(failed("end a program"))?;
    waitpid(pid, None).map_err(failed("wait for a program")).map(drop)
}

/// The time that a program writes: seconds and nanoseconds, each a machine word.
fn read_time(mut output: ChildStdout) -> std::io::Result<Duration> {
    let mut word = || {
        let mut bytes = [0; size_of::<usize>()];
        output.read_exact(&mut bytes).map(|()| usize::from_ne_bytes(bytes) as u64)
    };
    let seconds = word()?;
    Ok(Duration::from_secs(seconds) + Duration::from_nanos(word()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_about_their_file() {
        let line = br#"{"event":{"action":"exe_deleted"},"process":{"pid":42,"executable":"/r"},"file":{"path":"/t/a"}}"#;
        let found = arrival(line, b"/t/", Duration::ZERO).unwrap();
        assert_eq!((found.action.as_str(), found.path.as_path()), ("exe_deleted", Path::new("/t/a")));
        assert_eq!(found.pid, Some(42));
        assert!(arrival(line, b"/u/", Duration::ZERO).is_none());
    }

    #[test]
    fn execs_are_about_their_executable() {
        let line = br#"{"event":{"action":"exec"},"process":{"pid":7,"executable":"/t/b"}}"#;
        let found = arrival(line, b"/t/", Duration::ZERO).unwrap();
        assert_eq!((found.path.as_path(), found.pid), (Path::new("/t/b"), Some(7)));
    }
}
