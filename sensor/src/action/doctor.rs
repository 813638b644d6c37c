//! `sensor doctor`: what a run would see on this host, by which hook, and what it wouldn't and why.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use super::{Failure, Format, Hooks, Status, awaiting, colour, configuration, host, list, loaded};
use crate::{
    config::{self, Config, Names},
    event::coverage::{self, Coverage, Gap},
    field::Field,
    format,
    host::Host,
    kernel::{self, executed::When},
    pipeline::{Pipeline, PipelineError},
};

mod report;

/// `sensor doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Configuration file (TOML) of the run that is asked about.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The run's --hooks.
    #[arg(long, value_enum)]
    pub hooks: Option<Hooks>,
    /// Text, or JSON: one line, the `coverage` event; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// Loads and attaches what `run` would, says what became of it, and takes it out again.
///
/// # Errors
/// When not all is seen, or nothing; the parts are named.
pub fn act(args: &Doctor) -> Result<(), Failure> {
    let config = configuration(args.config.as_deref(), args.hooks)?;
    let host = host()?;
    let examined = awaiting(async { examine(&host, &config, args.hooks) })?;
    let (mut rows, verdict) = match examined {
        Ok(rows) => {
            let verdict = partly(&rows);
            (rows, verdict)
        }
        Err(gap) => {
            let rows = kernel::nothing(&gap).collect();
            (rows, Err(Failure::new(Status::NotPermitted, format!("nothing can be seen: {gap}"))))
        }
    };
    // Stable: hooks of one state stay in the order of the table.
    rows.sort_by_key(|row| row.state);
    let mut record = coverage::record(rows.iter());
    // It has no number, as it is of no run.
    record.extend_from(&host.common());
    record.set(Field::Timestamp, host.boot().at(host.boot_now()));
    list(args.format, [&record], || {
        report::text(&rows, std::io::stdout().is_terminal() && colour()) + &plans(args, &config)
    })?;
    verdict
}

/// Begins as a run, tells nobody, and ends.
fn examine(host: &Host, config: &Config, hooks: Option<Hooks>) -> Result<Vec<Coverage>, Gap> {
    let kernel = loaded(host, config, hooks, false, When::Beside)?;
    let format = format::named(Format::Json.name()).ok_or_else(Gap::default)?;
    let mut pipeline = Pipeline::new(host, kernel, format, None).with_usage(config.usage.interval_s.get());
    if let Some(folder) = config.evidence.folder.get() {
        pipeline.examine_evidence(folder);
    }
    if let Some(folder) = config.state.folder.get() {
        pipeline.examine_requests(folder);
    }
    if let Some(folder) = config.journal_folder() {
        pipeline.examine_journal(folder);
    }
    pipeline.examine().map_err(|error| match error {
        PipelineError::Kernel(error) => error.gap(),
        other => Gap { reason: Failure::new(Status::Failed, other).chain(), ..Gap::default() },
    })
}

/// What isn't seen, or not as well as could be, named.
fn partly(rows: &[Coverage]) -> Result<(), Failure> {
    let mut parts: Vec<String> = Vec::new();
    for row in rows.iter().filter(|row| row.state.lacks()) {
        let part = format!("{} ({})", row.action, row.hook);
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    match parts.is_empty() {
        true => Ok(()),
        false => {
            Err(Failure::new(Status::Part, format!("not all is seen on this host: {}", parts.join(", "))))
        }
    }
}

/// By which configuration: the one that was given, else the usual one where that is there.
fn by(given: Option<&Path>, usual: &Path) -> String {
    given.or_else(|| usual.exists().then_some(usual)).map_or_else(
        || "without a configuration".to_owned(),
        |path| format!("with {}", format::text::escape(path.as_os_str().as_encoded_bytes())),
    )
}

/// What a run would do by this configuration, beside what the rows say.
fn plans(args: &Doctor, config: &Config) -> String {
    let by = by(args.config.as_deref(), Path::new(config::FILE));
    let names = match config.kernel.names {
        Names::Fexit => "the first that loads of kernel functions, marks on file systems, tracepoints",
        Names::Fanotify => "marks on file systems where the kernel has them",
        Names::Tracepoints => "tracepoints, which every system call pays for",
    };
    let usage = config.usage.interval_s.get().map_or_else(
        || "never told while it lasts".to_owned(),
        |interval| format!("told every {} s", interval.as_secs()),
    );
    let outputs: Vec<String> = config.outputs.get().iter().map(|output| output.name.to_string()).collect();
    let events = match outputs.is_empty() {
        true => "standard output".to_owned(),
        false => format!("the outputs {}", outputs.join(", ")),
    };
    format!(
        "\n`sensor run` {by}:\n  rings   {} bytes, and {} for alerts\n  names   by {names}\n  usage   {usage}\n  events  to {events}\n",
        config.kernel.bulk_ring_bytes.get(),
        config.kernel.urgent_ring_bytes.get(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_that_was_read_is_named() {
        let (given, usual, none) = (Path::new("/given"), Path::new("/"), Path::new("/no/such/file"));
        assert_eq!(by(Some(given), usual), "with /given");
        assert_eq!(by(None, usual), "with /");
        assert_eq!(by(None, none), "without a configuration");
    }
}
