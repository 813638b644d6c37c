//! Where measuring happens: a folder of its own, a sensor that no build replaces meanwhile, and
//! the small programs to measure with.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::unistd::{Pid, geteuid};

use super::failed;
use crate::build_sensor;
use crate::command;
use crate::error::{Error, Missing, Result};
use crate::place::place;
use crate::say;
use crate::workspace::Workspace;

const SOURCE: &str = include_str!("target.c");

/// The folder with what measuring needs.
#[derive(Debug)]
pub(crate) struct Lab {
    folder: PathBuf,
    /// Locked: two that measure at once measure each other.
    _lock: File,
}

impl Lab {
    /// Makes the folder and copies the sensor into it: the one given, else one built from source.
    pub(crate) fn make(workspace: &Workspace, sensor: Option<&Path>) -> Result<Self> {
        if !geteuid().is_root() {
            let root = Missing { what: "root".to_owned(), install: "run it with sudo".to_owned() };
            return Err(Error::Missing { purpose: "measuring the sensor", missing: vec![root] });
        }
        if sensor.is_none() {
            build_sensor::build(workspace, &[])?;
        }
        let folder = workspace.target().join("bench");
        fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
        let lock = lock(&folder.join("lock"))?;
        let lab = Self { folder, _lock: lock };
        let original = sensor.map_or_else(|| workspace.sensor(), Path::to_owned);
        let copy = lab.sensor();
        fs::copy(&original, &copy).map_err(Error::file("copy", &original))?;
        Ok(lab)
    }

    /// The sensor that is measured.
    pub(crate) fn sensor(&self) -> PathBuf {
        self.path("sensor")
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// An empty folder in the folder.
    pub(crate) fn empty(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(Error::file("remove", &path))?;
        }
        fs::create_dir(&path).map_err(Error::file("make", &path))?;
        Ok(path)
    }

    /// Compiles a variant of the small program.
    pub(crate) fn program(&self, name: &str, defines: &[impl AsRef<OsStr>]) -> Result<Program> {
        let source = self.path("target.c");
        place(&source, SOURCE.as_bytes())?;
        let path = self.path(name);
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"]);
        compiler.args(defines).arg("-o").arg(&path).arg(&source);
        command::run(&mut compiler)?;
        Program::at(&path)
    }
}

/// Waits until nobody else measures here.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).map_err(Error::file("make", path))?;
    if file.try_lock().is_err() {
        say("waiting: another bench runs here");
        file.lock().map_err(Error::file("lock", path))?;
    }
    Ok(file)
}

/// A program that is started with as little around it as can be: no arguments, no environment.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    name: CString,
    actions: PosixSpawnFileActions,
    attributes: PosixSpawnAttr,
}

impl Program {
    /// The program in this file.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|error| Error::Check(format!("{}: {error}", path.display())))?;
        Ok(Self {
            path: path.to_owned(),
            name,
            actions: PosixSpawnFileActions::init().map_err(failed("prepare a spawn"))?,
            attributes: PosixSpawnAttr::init().map_err(failed("prepare a spawn"))?,
        })
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it. When this returns, its image is committed.
    pub(crate) fn spawn(&self) -> Result<Pid> {
        self.spawn_with(&[])
    }

    /// The same, with these arguments behind its name.
    pub(crate) fn spawn_with(&self, arguments: &[CString]) -> Result<Pid> {
        let arguments: Vec<&CString> = std::iter::once(&self.name).chain(arguments).collect();
        let environment: &[&CString] = &[];
        posix_spawn(self.name.as_c_str(), &self.actions, &self.attributes, &arguments, environment)
            .map_err(failed("spawn a program"))
    }
}
