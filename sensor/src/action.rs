//! The verbs, one room each: its arguments, its run, its tests.

use std::{
    error::Error,
    io::{IsTerminal, Write},
    path::Path,
};

use clap::ValueEnum;
use nix::unistd::geteuid;

use crate::{
    config::{Config, ConfigError},
    format::misleads,
    host::Host,
    kernel::{Gap, Kernel, Options, executed::When},
    procfs::Reader,
};

pub mod doctor;
pub mod events;
pub mod fields;
pub mod recover;
pub mod run;
pub mod top;

/// How events can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for a person.
    Text,
    /// ECS, one object a line.
    Json,
}

impl Format {
    /// Its name in the table of formats.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "ecs",
        }
    }
}

/// `sensor events`, `sensor fields`.
#[derive(Debug, clap::Args)]
pub struct Catalogue {
    /// Write a Markdown page, as in docs/.
    #[arg(long)]
    pub markdown: bool,
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// How a verb ends when it doesn't succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It failed.
    Failed = 1,
    /// It was called wrongly, or configured so.
    Usage = 2,
    /// It is not permitted, or the kernel lacks what is needed.
    NotPermitted = 3,
    /// It was done in part; the error names the parts that weren't.
    Part = 4,
}

/// Why a verb didn't succeed, printed once at the edge.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// What the process exits with.
    pub status: Status,
    error: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// With a status.
    pub fn new(status: Status, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { status, error: error.into() }
    }

    /// The error with all its causes, one line each, safe to show: some of it may be quoted from a file.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut lines = self.error.to_string();
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let line = error.to_string();
            if !lines.ends_with(&line) {
                lines.push_str("\n  because: ");
                lines.push_str(&line);
            }
            cause = error.source();
        }
        let safe = |c: char| c == '\n' || !misleads(c);
        lines.chars().map(|c| if safe(c) { c.to_string() } else { c.escape_unicode().to_string() }).collect()
    }
}

/// The configuration; what is usual where no file is given.
fn configuration(path: Option<&Path>) -> Result<Config, Failure> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    Config::read(path).map_err(|error| {
        let status = match error {
            ConfigError::Read { .. } => Status::Failed,
            ConfigError::Wrong { .. } => Status::Usage,
        };
        Failure::new(status, error)
    })
}

/// The programs at work, as the configuration wants them; else why nothing can be seen on this host.
fn loaded(host: &Host, config: &Config, log: bool, executed: When) -> Result<Kernel, Gap> {
    loaded_for(host, config, log, executed, None)
}

/// The same, or only those that serve some actions.
fn loaded_for(
    host: &Host,
    config: &Config,
    log: bool,
    executed: When,
    actions: Option<&'static [&'static str]>,
) -> Result<Kernel, Gap> {
    let gap = |reason: &str, missing: &str, remedy: &str| Gap {
        reason: reason.to_owned(),
        missing: missing.to_owned(),
        remedy: remedy.to_owned(),
        ..Gap::default()
    };
    if !geteuid().is_root() {
        let reason = "loading programs into the kernel needs root";
        return Err(gap(reason, "root", "run it with sudo or as a service of root"));
    }
    let reader = Reader::new(host.proc());
    if !reader.in_first_pid_namespace() {
        return Err(gap(
            "joining what the kernel tells with /proc: the kernel tells the host's process ids, and this is another pid namespace",
            "the host's pid namespace",
            "run it on the host, or its container with --pid=host",
        ));
    }
    reader.enter_first_cgroup_namespace().map_err(|error| {
        let reason = format!("entering the host's cgroup namespace, /proc/2/ns/cgroup: {error}");
        gap(&reason, "CAP_SYS_ADMIN", "run it on the host, or its container with --cgroupns=host")
    })?;
    let options = Options {
        bulk_ring_bytes: config.kernel.bulk_ring_bytes.get(),
        urgent_ring_bytes: config.kernel.urgent_ring_bytes.get(),
        names: config.kernel.names,
        log,
        executed: config.evidence.folder.get().filter(|_| actions.is_none()).map(|_| executed),
        actions,
    };
    Kernel::start(&options).map_err(|error| error.gap())
}

/// Whether colours are wanted (<https://no-color.org>).
fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What was asked for: text for a person, else JSON.
fn chosen(args: &Catalogue) -> Format {
    args.format.unwrap_or_else(usual_format)
}

/// Text where a person reads, else JSON.
fn usual_format() -> Format {
    if std::io::stdout().is_terminal() { Format::Text } else { Format::Json }
}

/// Writes to standard output; a reader that went away is no failure of a catalogue.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Status::Failed, format!("writing to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
