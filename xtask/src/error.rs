//! What can go wrong in a task, and the exit status that tells it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// The result of a task.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A failed task: what was attempted, on what, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or folder could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// A verb: "read", "write".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ran and was not content; it has told why on standard error.
    #[error("`{command}` failed ({status})")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A check did not hold.
    #[error("{0}")]
    Check(String),
    /// Things that this task may not install by itself.
    #[error("{purpose} is not possible here, as this is missing:\n{}", list(missing))]
    Missing {
        /// What they are needed for.
        purpose: &'static str,
        /// Each thing, and how to get it.
        missing: Vec<Missing>,
    },
}

/// One thing that is not there, and what brings it.
#[derive(Debug)]
pub(crate) struct Missing {
    /// Its name and use.
    pub(crate) what: String,
    /// The command, or what else to do.
    pub(crate) install: String,
}

impl Error {
    /// Makes an `io::Error` on `path` into an [`Error::File`].
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// The exit status: 1 failed, 3 not permitted or missing.
    pub(crate) const fn status(&self) -> u8 {
        match self {
            Self::Missing { .. } => 3,
            Self::File { .. } | Self::Start { .. } | Self::Failed { .. } | Self::Check(_) => 1,
        }
    }
}

fn list(missing: &[Missing]) -> String {
    let lines: Vec<String> =
        missing.iter().map(|one| format!("  {}\n    get it: {}", one.what, one.install)).collect();
    lines.join("\n")
}
