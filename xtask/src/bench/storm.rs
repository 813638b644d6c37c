//! Much of one thing, as fast as it goes, and how long one takes.

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::unlink;

use super::lab::{Lab, Program};
use super::{failed, pin};
use crate::error::{Error, Result};

/// Short processes, one after the other.
#[derive(Debug)]
pub(crate) struct Spawns {
    program: Program,
    count: u32,
}

impl Spawns {
    pub(crate) fn new(lab: &Lab, count: u32) -> Result<Self> {
        Ok(Self { program: lab.program("exit-at-once", &["-DEXIT"])?, count })
    }

    /// How many there are in a storm.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// The file that they execute.
    pub(crate) fn path(&self) -> &Path {
        self.program.path()
    }

    /// Does it once; microseconds for each process, from its spawn to its end.
    pub(crate) fn run(&self, cpu: Option<usize>) -> Result<f64> {
        pin::on(cpu, || {
            let began = Instant::now();
            for _ in 0..self.count {
                let pid = self.program.spawn()?;
                waitpid(pid, None).map_err(failed("wait for a program"))?;
            }
            Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(self.count))
        })
    }
}

/// A system call that does nothing.
#[derive(Debug)]
pub(crate) struct Calls {
    program: Program,
    count: u32,
}

impl Calls {
    pub(crate) fn new(lab: &Lab, count: u32) -> Result<Self> {
        let program = lab.program("null-calls", &[format!("-DCALLS={count}L")])?;
        Ok(Self { program, count })
    }

    /// Does it once; nanoseconds for each call.
    pub(crate) fn run(&self, cpu: Option<usize>) -> Result<f64> {
        pin::on(cpu, || {
            let pid = self.program.spawn()?;
            let began = Instant::now();
            waitpid(pid, None).map_err(failed("wait for a program"))?;
            Ok(began.elapsed().as_secs_f64() * 1e9 / f64::from(self.count))
        })
    }
}

/// Files made and removed.
#[derive(Debug)]
pub(crate) struct Files {
    names: Vec<CString>,
}

impl Files {
    pub(crate) fn new(lab: &Lab, count: u32) -> Result<Self> {
        let folder = lab.empty("files")?;
        let name = |number| {
            let path = folder.join(format!("file-{number}"));
            CString::new(path.as_os_str().as_bytes())
                .map_err(|error| Error::Check(format!("{}: {error}", path.display())))
        };
        Ok(Self { names: (0..count).map(name).collect::<Result<_>>()? })
    }

    /// Does it once; microseconds for each removal.
    pub(crate) fn run(&self, cpu: Option<usize>) -> Result<f64> {
        pin::on(cpu, || {
            for name in &self.names {
                let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                open(name.as_c_str(), flags, Mode::S_IRUSR).map_err(failed("make a file"))?;
            }
            let began = Instant::now();
            for name in &self.names {
                unlink(name.as_c_str()).map_err(failed("remove a file"))?;
            }
            Ok(began.elapsed().as_secs_f64() * 1e6 / self.names.len().max(1) as f64)
        })
    }
}

/// Files copied.
#[derive(Debug)]
pub(crate) struct Copies {
    from: PathBuf,
    to: PathBuf,
    mib: u32,
}

impl Copies {
    /// Of 16 files; the folder is on a disk or in memory, as the target folder is.
    pub(crate) fn new(lab: &Lab, mib: u32) -> Result<Self> {
        let (from, to) = (lab.empty("copy-from")?, lab.empty("copy-to")?);
        for (name, bytes) in Self::files(mib) {
            let path = from.join(name);
            fs::write(&path, vec![7; bytes]).map_err(Error::file("write", &path))?;
            settle(&path)?;
        }
        Ok(Self { from, to, mib })
    }

    fn files(mib: u32) -> impl Iterator<Item = (String, usize)> {
        let bytes = mib as usize * 1024 * 1024 / COPIED;
        (0..COPIED).map(move |number| (format!("file-{number}"), bytes))
    }

    /// Does it once; microseconds for each MiB. What it leaves for the disk is written out, and taken
    /// away, before the next.
    pub(crate) fn run(&self, cpu: Option<usize>) -> Result<f64> {
        let time = pin::on(cpu, || {
            let began = Instant::now();
            for (name, _) in Self::files(self.mib) {
                let path = self.from.join(&name);
                let (mut from, to) =
                    (fs::File::open(&path).map_err(Error::file("open", &path))?, self.to.join(&name));
                let mut into = fs::File::create(&to).map_err(Error::file("make", &to))?;
                copy_by_calls(&mut from, &mut into).map_err(Error::file("copy to", &to))?;
            }
            Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(self.mib))
        })?;
        for (name, _) in Self::files(self.mib) {
            let path = self.to.join(&name);
            settle(&path)?;
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
        Ok(time)
    }
}

/// How many files are copied.
const COPIED: usize = 16;

/// By read and write, as `cp` does it where the file system has nothing better.
fn copy_by_calls(from: &mut fs::File, into: &mut fs::File) -> std::io::Result<()> {
    let mut piece = vec![0; 128 * 1024];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            bytes => into.write_all(piece.get(..bytes).unwrap_or_default())?,
        }
    }
}

/// Little pieces written into one file, over and over the same 16 MiB of it.
#[derive(Debug)]
pub(crate) struct Pieces {
    path: PathBuf,
    count: u32,
}

impl Pieces {
    pub(crate) fn new(lab: &Lab, count: u32) -> Result<Self> {
        Ok(Self { path: lab.empty("pieces")?.join("file"), count })
    }

    /// Does it once; microseconds for each.
    pub(crate) fn run(&self, cpu: Option<usize>) -> Result<f64> {
        let time = pin::on(cpu, || {
            let file = fs::File::create(&self.path).map_err(Error::file("make", &self.path))?;
            let piece = [7; 4096];
            let began = Instant::now();
            for number in 0..u64::from(self.count) {
                let at = number % 4096 * 4096;
                file.write_all_at(&piece, at).map_err(Error::file("write", &self.path))?;
            }
            Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(self.count))
        })?;
        settle(&self.path)?;
        Ok(time)
    }
}

/// Waits until what was written is on the disk, so that the next storm doesn't pay for it.
pub(crate) fn settle(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let file = fs::File::open(path).map_err(Error::file("open", path))?;
    file.sync_all().map_err(Error::file("write out", path))
}
