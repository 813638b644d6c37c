//! What keeps every CPU busy, and what was lost of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use nix::sys::wait::waitpid;

use super::lab::Program;
use super::report::{Figure, Table};
use super::sensor::End;
use super::{failed, pin};
use crate::error::{Error, Result};

/// Threads, as many as there are CPUs, that each make processes and files as fast as it goes.
#[derive(Debug)]
pub(crate) struct Crew {
    program: PathBuf,
    folder: PathBuf,
    count: usize,
}

/// What a crew made meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) processes: u64,
    pub(crate) files: u64,
}

impl Crew {
    pub(crate) fn of(program: &Path, folder: &Path) -> Result<Self> {
        let count = pin::allowed()?.len();
        Ok(Self { program: program.to_owned(), folder: folder.to_owned(), count })
    }

    /// Does something beside them.
    pub(crate) fn beside<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Made)> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let made = |number: usize| {
                let done = &done;
                scope.spawn(move || self.make(number, done))
            };
            let crew: Vec<_> = (0..self.count).map(made).collect();
            let stop = Stop(&done);
            let result = work();
            drop(stop);
            let mut sum = Made::default();
            for one in crew {
                let made = one.join().map_err(|_| Error::Check("a thread panicked".to_owned()))??;
                sum.processes += made.processes;
                sum.files += made.files;
            }
            result.map(|result| (result, sum))
        })
    }

    fn make(&self, number: usize, done: &AtomicBool) -> Result<Made> {
        let program = Program::at(&self.program)?;
        let path = self.folder.join(format!("file-{number}"));
        let mut made = Made::default();
        while !done.load(Ordering::Relaxed) {
            waitpid(program.spawn()?, None).map_err(failed("wait for a program"))?;
            File::create(&path).map_err(Error::file("make", &path))?;
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            made.processes += 1;
            made.files += 1;
        }
        Ok(made)
    }
}

/// Says that it is done also when what is done beside fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes so many processes on each of these CPUs at once; seconds.
pub(crate) fn on_each(program: &Path, cpus: &[usize], count: u32) -> Result<f64> {
    let began = Instant::now();
    let one = |cpu: usize| {
        pin::on(Some(cpu), || {
            let program = Program::at(program)?;
            (0..count).try_for_each(|_| {
                waitpid(program.spawn()?, None).map(drop).map_err(failed("wait for a program"))
            })
        })
    };
    thread::scope(|scope| {
        let threads: Vec<_> = cpus.iter().map(|cpu| scope.spawn(move || one(*cpu))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| Error::Check("a thread panicked".to_owned()))?)
    })?;
    Ok(began.elapsed().as_secs_f64())
}

/// What a sensor lost, of which nothing may be.
pub(crate) fn losses(title: &str, end: &End) -> Table {
    let mut table = Table::new(title);
    let delivered: u64 = end.sums.values().map(|sum| sum.delivered).sum();
    table.figures.push(
        Figure::new("all kinds")
            .value("delivered", delivered as f64, 0)
            .value("lost", end.lost() as f64, 0)
            .at_most("lost", 0.0),
    );
    table
}
