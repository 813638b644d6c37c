//! The real sensor: started, looked at, stopped.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use super::lab::Lab;
use super::quiet::ticks_to_time;
use super::{failed, pin};
use crate::command::start_error;
use crate::error::{Error, Result};

/// How long it may take to start, or to write what it still holds.
const DEADLINE: Duration = Duration::from_mins(1);

/// Where its events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sink {
    Nowhere,
    File(PathBuf),
    Pipe,
}

impl Sink {
    fn open(&self) -> Result<Stdio> {
        Ok(match self {
            Self::Nowhere => Stdio::null(),
            Self::File(path) => File::create(path).map_err(Error::file("make", path))?.into(),
            Self::Pipe => Stdio::piped(),
        })
    }
}

/// A sensor that is live. It dies with this.
#[derive(Debug)]
pub(crate) struct Sensor {
    child: Child,
    errors: Receiver<String>,
    /// What it had cost when it was live.
    started: Duration,
}

/// What one kind of event came to, as the sensor says at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
}

/// What a sensor leaves behind.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) sums: BTreeMap<String, Sum>,
    /// CPU time from being live to its end.
    pub(crate) cpu: Duration,
    /// How long it took to stop: its programs leave the kernel, then it writes what is left.
    pub(crate) stop: Duration,
}

impl Sensor {
    /// Starts one with default settings, on one CPU or anywhere, and waits until it is live.
    pub(crate) fn start(lab: &Lab, sink: &Sink, cpu: Option<usize>) -> Result<Self> {
        let mut sensor = Self::begin(lab, sink, cpu)?;
        sensor.await_ready()?;
        Ok(sensor)
    }

    /// Starts one without waiting. It writes before it is ready: somebody must read a pipe.
    pub(crate) fn begin(lab: &Lab, sink: &Sink, cpu: Option<usize>) -> Result<Self> {
        Self::begin_with(lab, sink, cpu, &[])
    }

    /// The same, with these options.
    pub(crate) fn begin_with(
        lab: &Lab,
        sink: &Sink,
        cpu: Option<usize>,
        options: &[OsString],
    ) -> Result<Self> {
        let mut command = Command::new(lab.sensor());
        command.arg("run").args(options).stdin(Stdio::null()).stdout(sink.open()?).stderr(Stdio::piped());
        let mut child = pin::on(cpu, || command.spawn().map_err(start_error(&command)))?;
        let (sender, errors) = channel();
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || {
                let mut lines = BufReader::new(stderr).lines().map_while(std::io::Result::ok);
                // When nobody listens any more, the rest is of no interest.
                while lines.next().is_some_and(|line| sender.send(line).is_ok()) {}
            });
        }
        Ok(Self { child, errors, started: Duration::ZERO })
    }

    /// Its standard output, when that is a pipe.
    pub(crate) fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its folder in /proc.
    pub(crate) fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string())
    }

    /// CPU time since its start.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_in(&self.proc().join("stat"))
    }

    /// The same, not in the steps of /proc: also of threads that have ended.
    pub(crate) fn exact_cpu(&self) -> Result<Duration> {
        let clock = clock_getcpuclockid(self.pid()).map_err(failed("find the sensor's clock"))?;
        clock_gettime(clock).map(Duration::from).map_err(failed("read the sensor's clock"))
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        let folder = self.proc().join("fd");
        fs::read_dir(&folder).map(Iterator::count).map_err(Error::file("list", &folder))
    }

    /// A value of its /proc/PID/status, in KiB.
    pub(crate) fn memory(&self, name: &str) -> Result<u64> {
        let path = self.proc().join("status");
        let status = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = value.and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse().ok());
        kib.ok_or_else(|| Error::Check(format!("{} has no {name}", path.display())))
    }

    /// Keeps it from running; its programs stay in the kernel.
    pub(crate) fn pause(&self) -> Result<()> {
        kill(self.pid(), Signal::SIGSTOP).map_err(failed("pause the sensor"))
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) -> Result<()> {
        kill(self.pid(), Signal::SIGCONT).map_err(failed("let the sensor go on"))
    }

    /// Asks it to stop, and waits until it has written everything.
    pub(crate) fn stop(mut self) -> Result<End> {
        let pid = self.pid();
        let asked = Instant::now();
        kill(pid, Signal::SIGTERM).map_err(failed("stop the sensor"))?;
        await_end(pid)?;
        let stop = asked.elapsed();
        // It is not reaped yet, so its times can be read.
        let cpu = self.cpu()?.saturating_sub(self.started);
        let status = self.child.wait().map_err(Error::file("wait for", Path::new("the sensor")))?;
        let said: Vec<String> = self.errors.iter().collect();
        if !status.success() {
            return Err(Error::Check(format!("the sensor ended with {status}: {}", said.join("; "))));
        }
        Ok(End { sums: said.iter().filter_map(|line| sum(line)).collect(), cpu, stop })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits until it is live.
    pub(crate) fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let mut said = Vec::new();
        while let Ok(line) = self.errors.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if line == "sensor: ready" {
                self.started = self.cpu()?;
                return Ok(());
            }
            said.push(line);
        }
        Err(Error::Check(format!("the sensor didn't get ready: {}", said.join("; "))))
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl End {
    /// What was lost, of all kinds.
    pub(crate) fn lost(&self) -> u64 {
        self.sums.values().map(|sum| sum.lost).sum()
    }

    /// The sum of one kind.
    pub(crate) fn sum(&self, kind: &str) -> Sum {
        self.sums.get(kind).copied().unwrap_or_default()
    }
}

fn await_end(pid: Pid) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while Instant::now() < deadline {
        match waitid(Id::Pid(pid), flags).map_err(failed("wait for the sensor"))? {
            WaitStatus::StillAlive => thread::sleep(Duration::from_millis(1)),
            _ => return Ok(()),
        }
    }
    Err(Error::Check(format!("the sensor didn't stop within {} s", DEADLINE.as_secs())))
}

/// User and system time of all threads of a process, by its file `stat`.
pub(crate) fn cpu_in(path: &Path) -> Result<Duration> {
    let stat = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let ticks =
        ticks(&stat).ok_or_else(|| Error::Check(format!("{} is not what proc(5) says", path.display())))?;
    ticks_to_time(ticks)
}

/// User and system time in a /proc/PID/stat.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn sum(line: &str) -> Option<(String, Sum)> {
    let (kind, numbers) = line.strip_prefix("sensor: ")?.split_once(": seen ")?;
    let (_, rest) = numbers.split_once(", delivered ")?;
    let (delivered, lost) = rest.split_once(", lost ")?;
    Some((kind.to_owned(), Sum { delivered: delivered.parse().ok()?, lost: lost.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read() {
        let read = sum("sensor: exec: seen 12, delivered 10, lost 2");
        assert_eq!(read, Some(("exec".to_owned(), Sum { delivered: 10, lost: 2 })));
        assert_eq!(sum("sensor: ready"), None);
    }

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0 100 1 1";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a)"), None);
    }
}
