//! Many processes that wait.

use std::io::Read;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::lab::Lab;
use crate::command::start_error;
use crate::error::{Error, Result};

/// What each of them has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Has {
    /// Ten descriptors of several sorts.
    Descriptors,
    /// What its parent had.
    Nothing,
    /// Both ends of so many connections.
    Connections(u32),
}

/// Processes that wait; they end with this.
#[derive(Debug)]
pub(crate) struct Crowd {
    leader: Child,
    /// They end when nothing can come from here any more.
    keep: Option<ChildStdin>,
}

impl Crowd {
    /// Makes so many of this user, and waits until all are there.
    pub(crate) fn gather(lab: &Lab, processes: u32, owner: &str, has: Has) -> Result<Self> {
        let mut defines = vec![format!("-DCROWD={processes}"), format!("-DOWNER={owner}")];
        match has {
            Has::Descriptors => {}
            Has::Nothing => defines.push("-DBARE".to_owned()),
            Has::Connections(count) => defines.push(format!("-DCONNECTIONS={count}")),
        }
        let program = lab.program("crowd", &defines)?;
        let mut command = Command::new(program.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut leader = command.spawn().map_err(start_error(&command))?;
        let (keep, ready) = (leader.stdin.take(), leader.stdout.take());
        let crowd = Self { leader, keep };
        let there = ready.is_some_and(|mut ready| ready.read_exact(&mut [0]).is_ok());
        match there {
            true => Ok(crowd),
            false => Err(Error::Check(format!("{processes} processes can't be made here"))),
        }
    }

    /// Waits until all have ended.
    pub(crate) fn leave(mut self) -> Result<()> {
        drop(self.keep.take());
        self.leader.wait().map(drop).map_err(|error| Error::Check(format!("waiting for the crowd: {error}")))
    }
}
