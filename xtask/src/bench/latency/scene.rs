//! What is caused, to see when it is told: files that lose their name while they run, and files that are executed.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::super::failed;
use super::super::lab::Program;
use super::super::number::Sample;
use super::watch::{Watch, milliseconds, now};
use crate::command::start_error;
use crate::error::{Error, Result};

/// Files that another removes, and that remove themselves.
const STRANGER: &str = "stranger";
const ITSELF: &str = "itself";

pub(super) struct Scene<'a> {
    pub(super) folder: PathBuf,
    pub(super) watch: &'a Watch,
    pub(super) runs: u32,
}

impl Scene<'_> {
    /// Makes a copy for each run: nobody else starts anything meanwhile, to whom a file that is being written would be left open.
    pub(super) fn prepare(&self, stranger: &Path, itself: &Path) -> Result<()> {
        for (name, image) in [(STRANGER, stranger), (ITSELF, itself)] {
            for run in 0..self.runs {
                fs::copy(image, self.path(name, run)).map_err(Error::file("copy", image))?;
            }
        }
        Ok(())
    }

    /// Each run starts another file, waits until its exec is told, removes it. Gives the latencies
    /// of the execs and of the removals.
    pub(super) fn deletions_by_a_stranger(&self) -> Result<(Sample, Sample)> {
        let (mut execs, mut deletions) = (Sample::default(), Sample::default());
        for run in 0..self.runs {
            let path = self.path(STRANGER, run);
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
    pub(super) fn deletions_by_itself(&self) -> Result<Sample> {
        let mut deletions = Sample::default();
        for run in 0..self.runs {
            vary(run);
            let path = self.path(ITSELF, run);
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
    pub(super) fn execs(&self, program: &Program) -> Result<Sample> {
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

    fn path(&self, name: &str, run: u32) -> PathBuf {
        self.folder.join(format!("{name}-{run}"))
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
