//! Programs that tasks start. None reads standard input, and only `read` looks at their output:
//! what they print goes to standard error, as standard output belongs to the sensor.

use std::env;
use std::io;
use std::iter;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::error::{Error, Result};

/// Runs a program to its end; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null()).stdout(io::stderr());
    let status = command.status().map_err(start_error(command))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { command: shown(command), status })
}

/// A program that runs beside others. It is ended when nobody waits for it.
pub(crate) struct Beside {
    child: Child,
    command: String,
}

impl Beside {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(io::stderr());
        let child = command.spawn().map_err(start_error(command))?;
        Ok(Self { child, command: shown(command) })
    }

    /// Waits for its end; anything but success is an error.
    pub(crate) fn join(mut self) -> Result<()> {
        let command = std::mem::take(&mut self.command);
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Error::Failed { command, status }),
            Err(source) => Err(Error::Start { command, source }),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Neither can fail but where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program and returns what it printed on standard output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    bytes(command).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The same for what is no text.
pub(crate) fn bytes(command: &mut Command) -> Result<Vec<u8>> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(start_error(command))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Error::Failed { command: shown(command), status: output.status })
}

/// Whether a program starts and succeeds. It prints nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Lets a program find others in `folder` before anywhere else.
pub(crate) fn put_first_on_path(command: &mut Command, folder: &Path) -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = iter::once(folder.to_owned()).chain(env::split_paths(&path));
    let path = env::join_paths(folders)
        .map_err(|error| Error::Check(format!("cannot put {} on PATH: {error}", folder.display())))?;
    command.env("PATH", path);
    Ok(())
}

/// Makes an `io::Error` at the start of `command` into an [`Error::Start`].
pub(crate) fn start_error(command: &Command) -> impl FnOnce(io::Error) -> Error + use<> {
    let command = shown(command);
    move |source| Error::Start { command, source }
}

/// The command line as a person would type it, without its environment.
fn shown(command: &Command) -> String {
    iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
