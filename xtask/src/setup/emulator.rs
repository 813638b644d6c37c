//! What boots other kernels: the emulator that is installed, else Debian's, brought and not installed. Other parts of it that
//! somebody installed in another version would have to go for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::brought::Brought;
use crate::error::{Error, Missing, Result};
use crate::workspace::Workspace;

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// Where it is when it is installed.
const INSTALLED: &str = "/usr/bin/qemu-system-x86_64";
/// What it loads at its start, as packages have it.
const FIRMWARE: &[&str] = &["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"];
/// Where its own parts are.
const MODULES: &str = "usr/lib/x86_64-linux-gnu/qemu";

/// It.
#[derive(Debug)]
pub(crate) struct Emulator {
    program: PathBuf,
    /// Where it was brought to.
    brought: Option<Brought>,
}

impl Emulator {
    /// Finds it, or brings it.
    pub(crate) fn find(workspace: &Workspace) -> Result<Self> {
        if Path::new(INSTALLED).is_file() {
            return Ok(Self { program: INSTALLED.into(), brought: None });
        }
        let brought = Brought::packages(workspace, "emulator", &[PACKAGE])?;
        let missing = || {
            let why = brought.why_not(PACKAGE).unwrap_or("the package has no such program");
            let what = format!("{PROGRAM}: boots other kernels ({why})");
            let install = format!("apt-get install {PACKAGE}   (as root, on Debian)");
            Error::Missing { purpose: "booting other kernels", missing: vec![Missing { what, install }] }
        };
        let program = brought.program(PROGRAM).ok_or_else(missing)?;
        Ok(Self { program, brought: Some(brought) })
    }

    /// A command that starts it.
    pub(crate) fn command(&self) -> Command {
        let Some(brought) = &self.brought else { return Command::new(&self.program) };
        let mut command = brought.command(&self.program);
        command.env("QEMU_MODULE_DIR", brought.path(MODULES));
        for folder in FIRMWARE {
            command.arg("-L").arg(brought.path(folder));
        }
        command
    }
}
