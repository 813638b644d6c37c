//! One system at work: started, waited for, stopped, and what it cost.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::super::lab::Lab;
use super::super::sensor::cpu_in;
use super::super::{failed, pin};
use super::audit;
use super::system::{Places, Ready, System};
use super::work::Group;
use crate::command::start_error;
use crate::error::{Error, Result};
use crate::setup::brought::Brought;

/// How long it may take to start, or to write what it still holds.
const DEADLINE: Duration = Duration::from_secs(40);
/// How long its output must stay as it is to be whole.
const STILL: Duration = Duration::from_millis(250);
/// How long that is waited for: where others work too, it never stays.
const WHOLE: Duration = Duration::from_secs(5);
const BEAT: Duration = Duration::from_millis(10);
/// How long what it begins with may take, before it is seen at rest.
const SETTLE: Duration = Duration::from_secs(4);
/// What a line of its errors is cut to, on the page.
const WORDS: usize = 300;

/// What systems are started with.
pub(crate) struct Means<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) brought: &'a Brought,
    pub(crate) folder: PathBuf,
}

/// A system that records. It dies with this.
pub(crate) struct Tracer<'a> {
    system: &'a System,
    means: &'a Means<'a>,
    places: Places,
    child: Child,
    /// CPU time, its own and that of the kernel's thread for audit, when it was ready.
    before: Spent,
    ended: bool,
}

/// CPU time of a system.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) own: Duration,
    /// Of the kernel's thread for audit.
    pub(crate) kernel: Duration,
}

impl Spent {
    fn since(self, before: Self) -> Self {
        Self { own: self.own.saturating_sub(before.own), kernel: self.kernel.saturating_sub(before.kernel) }
    }
}

/// What it leaves behind.
#[derive(Debug)]
pub(crate) struct End {
    /// CPU time from being ready to its end.
    pub(crate) cpu: Spent,
    /// The most that was resident, MiB.
    pub(crate) memory: f64,
    pub(crate) output: PathBuf,
}

impl<'a> Tracer<'a> {
    /// Starts it on one CPU or anywhere, and waits until it records.
    pub(crate) fn start(
        means: &'a Means<'a>,
        system: &'a System,
        group: Group,
        cpu: Option<usize>,
    ) -> Result<Self> {
        let places = Places::of(system, &means.folder);
        if let Some(rules) = system.rules_for(group) {
            fs::write(&places.rules, rules).map_err(Error::file("write", &places.rules))?;
        }
        if system.ready == Ready::Audits {
            audit::prepare(means, &places)?;
        }
        let mut command = command(means, system, &places)?;
        let child = pin::on(cpu, || command.spawn().map_err(start_error(&command)))?;
        let mut tracer = Self { system, means, places, child, before: Spent::default(), ended: false };
        tracer.await_ready()?;
        if system.ready == Ready::Audits {
            audit::load(means, &tracer.places.rules)?;
        }
        tracer.before = tracer.cpu()?;
        Ok(tracer)
    }

    /// Waits until it is done with what it begins with; what it does from now on is counted.
    pub(crate) fn settle(&mut self) -> Result<()> {
        thread::sleep(SETTLE);
        self.before = self.cpu()?;
        Ok(())
    }

    /// CPU time until now.
    pub(crate) fn spent(&self) -> Result<Spent> {
        Ok(self.cpu()?.since(self.before))
    }

    /// Waits until it has written what it knows, and stops it.
    pub(crate) fn stop(mut self) -> Result<End> {
        let deadline = Instant::now() + DEADLINE;
        let path = match self.system.ready {
            Ready::Audits => audit::log(&self.means.folder),
            _ => self.places.output.clone(),
        };
        let mut still = (size(&path), Instant::now());
        let began = Instant::now();
        while still.1.elapsed() < STILL && began.elapsed() < WHOLE {
            thread::sleep(BEAT);
            let now = size(&path);
            if now != still.0 {
                still = (now, Instant::now());
            }
        }
        if self.system.ready == Ready::Audits {
            audit::drain(self.means, deadline)?;
        }
        let memory = self.memory()?;
        let pid = self.pid();
        kill(pid, self.system.end).map_err(failed("stop a system"))?;
        self.await_end()?;
        // It is not reaped yet, so its times can be read.
        let cpu = self.spent()?;
        self.child.wait().map_err(Error::file("wait for", Path::new(self.system.name)))?;
        if self.system.ready == Ready::Audits {
            audit::end(self.means)?;
        }
        self.ended = true;
        Ok(End { cpu, memory, output: path })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    fn cpu(&self) -> Result<Spent> {
        let kernel = audit::thread().map_or(Ok(Duration::ZERO), |stat| cpu_in(&stat))?;
        Ok(Spent { own: cpu_in(&self.proc("stat"))?, kernel })
    }

    fn memory(&self) -> Result<f64> {
        let path = self.proc("status");
        let status = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).ok_or_else(|| self.failure("ended by itself"))
    }

    fn await_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < DEADLINE {
            if self.child.try_wait().map_err(Error::file("wait for", Path::new(self.system.name)))?.is_some()
            {
                return Err(self.failure("ended at its start"));
            }
            if self.is_ready(began)? {
                return Ok(());
            }
            thread::sleep(BEAT);
        }
        Err(self.failure("didn't get ready"))
    }

    fn is_ready(&self, began: Instant) -> Result<bool> {
        let says = |path: &Path, text: &str| {
            fs::read(path)
                .is_ok_and(|said| String::from_utf8_lossy(&said).lines().any(|line| line.starts_with(text)))
        };
        Ok(match self.system.ready {
            Ready::Says(text) => says(&self.places.output, text) || says(&self.places.errors, text),
            Ready::Audits => audit::writes_to(self.means, self.child.id())?,
            Ready::Listens => listens(self.child.id()),
            Ready::Lives => began.elapsed() >= Duration::from_secs(1),
        })
    }

    fn await_end(&self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while Instant::now() < deadline {
            match waitid(Id::Pid(self.pid()), flags).map_err(failed("wait for a system"))? {
                WaitStatus::StillAlive => thread::sleep(Duration::from_millis(1)),
                _ => return Ok(()),
            }
        }
        Err(self.failure("didn't stop"))
    }

    /// What went wrong, in its own words.
    fn failure(&self, what: &str) -> Error {
        let said: Vec<u8> = [&self.places.errors, &self.places.output]
            .into_iter()
            .flat_map(|path| fs::read(path).unwrap_or_default())
            .collect();
        let said = String::from_utf8_lossy(&said).into_owned();
        let last: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let from = last.len().saturating_sub(3);
        let words: String = last.get(from..).unwrap_or_default().join(" / ").chars().take(WORDS).collect();
        Error::Check(format!("{} {what}: {words}", self.system.name))
    }
}

impl Drop for Tracer<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // There is nobody to tell, and who dropped it has an error already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.system.ready == Ready::Audits {
            let _ = audit::end(self.means);
        }
    }
}

fn command(means: &Means<'_>, system: &System, places: &Places) -> Result<Command> {
    let mut command = match system.package {
        None => Command::new(means.lab.sensor()),
        Some(_) => {
            let program = means
                .brought
                .program(system.program)
                .ok_or_else(|| Error::Check(format!("{} isn't in its package", system.program)))?;
            means.brought.command(&program)
        }
    };
    command.args(system.options);
    match (system.ready, system.rules) {
        (Ready::Audits, _) => drop(command.arg("-c").arg(&means.folder)),
        (_, Some(_)) => drop(command.arg(&places.rules)),
        (_, None) => {}
    }
    let file = |path: &Path| File::create(path).map_err(Error::file("make", path));
    command.stdin(Stdio::null()).stdout(file(&places.output)?).stderr(file(&places.errors)?);
    Ok(command)
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Whether a process has a socket that the kernel tells of processes: connector is 11, group 1.
fn listens(pid: u32) -> bool {
    let table = fs::read_to_string("/proc/net/netlink").unwrap_or_default();
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let sockets: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    listening(&table).any(|inode| sockets.contains(&format!("socket:[{inode}]")))
}

/// The inodes of such sockets.
fn listening(table: &str) -> impl Iterator<Item = &str> {
    let rows = table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter_map(|row| {
        let told = row.get(1) == Some(&"11") && row.get(3).is_some_and(|groups| !groups.ends_with('0'));
        row.get(9).copied().filter(|_| told)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_listen_are_in_the_kernel_s_table() {
        let table = "sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode\n\
                     0 11 0 00000000 0 0 0 2 0 15\n0 11 77 00000001 0 0 0 2 0 16\n0 9 77 00000001 0 0 0 2 0 17\n";
        assert_eq!(listening(table).collect::<Vec<_>>(), ["16"]);
    }
}
