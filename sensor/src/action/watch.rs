//! `sensor watch`: the events of `sensor run`, live, for a person.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::{
    Failure, Format, Status, awaiting, colour, configuration, host, is_terminal, is_text, loaded, user_id,
};
use crate::{
    event::{
        ACTIONS, loss,
        wanted::{Told, Wanted},
    },
    format::{self, text},
    kernel::executed::When,
    output::{Counts, Fault, Output, OutputError, Taken, stdout::Stdout},
    pipeline::{Pipeline, PipelineError},
    record::Record,
};

/// `sensor watch`.
#[derive(Debug, clap::Args)]
pub struct Watch {
    /// Only events of these sorts, with commas between them; `sensor events` lists them.
    #[arg(long = "action", value_name = "ACTION", value_delimiter = ',', value_parser = known)]
    pub actions: Vec<&'static str>,
    /// Only events of this user: who logged in, who started the process, or as whom it acts.
    #[arg(long, value_name = "NAME or UID")]
    pub user: Option<String>,
    /// Only events of this process.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Configuration file (TOML), which says what is masked, and by which hooks it is seen.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// An action of the catalogue.
fn known(name: &str) -> Result<&'static str, String> {
    let found = ACTIONS.iter().find(|action| action.name == name).map(|action| action.name);
    found.ok_or_else(|| {
        let all: Vec<_> = ACTIONS.iter().map(|action| action.name).collect();
        format!("no such event; there are {}", all.join(", "))
    })
}

/// Shows events until told to stop, or until nobody reads any more.
///
/// # Errors
/// With the status of the contract: no such user, wrong configuration, not permitted, or failed on the way.
pub fn act(args: &Watch) -> Result<(), Failure> {
    let config = configuration(args.config.as_deref(), None)?;
    let host = host()?;
    let user = args.user.as_deref().map(|user| user_id(user, &host)).transpose()?;
    let coloured = text::Lines { colour: is_terminal() && colour() };
    let format: &dyn format::Format = match is_text(args.format) {
        true => &coloured,
        false => format::named(args.format.unwrap_or(Format::Json).name()).unwrap_or(&format::ecs::Ecs),
    };
    let wanted = Wanted {
        actions: args.actions.iter().map(|action| (*action).to_owned()).collect(),
        // The number is always known, a name isn't.
        users: user.iter().map(u32::to_string).collect(),
        severity_min: 0,
        pid: args.pid,
    };
    awaiting(async {
        let failed = |error: std::io::Error| Failure::new(Status::Failed, error);
        let shown = Stdout::open().map_err(failed)?;
        let output: Box<dyn Output> = Box::new(Watching { wanted, shown, passed: 0 });
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let kernel = loaded(&host, &config, None, false, When::Beside)
            .map_err(|gap| Failure::new(Status::NotPermitted, gap))?;
        let mut pipeline = Pipeline::new(&host, kernel, format, Some(output))
            .with_usage(config.usage.interval_s.get())
            .with_redaction(&config.redact);
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        match pipeline.run(stop, || {}).await {
            // Whoever looked has seen enough.
            Err(PipelineError::Output(error)) if error.fault == Fault::Closed => Ok(()),
            result => result.map_err(|error| Failure::new(Status::Failed, error)),
        }
    })?
}

/// Whether it is shown. What was lost always is: it could have been one of these.
fn shows(wanted: &Wanted, record: &Record) -> bool {
    record.action() == loss::ACTION.name || wanted.wants(record)
}

/// Standard output with what is wanted alone.
struct Watching {
    wanted: Wanted,
    shown: Stdout,
    /// Events that weren't wanted.
    passed: u64,
}

impl Output for Watching {
    fn write(&mut self, record: &Record, line: &[u8]) -> Result<Taken, OutputError> {
        if !shows(&self.wanted, record) {
            self.passed += 1;
            return Ok(Taken::Kept);
        }
        self.shown.write(record, line)
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.shown.flush()
    }

    fn end(&mut self) {
        self.shown.end();
    }

    fn counts(&self) -> Counts {
        let counts = self.shown.counts();
        Counts { delivered: counts.delivered + self.passed, ..counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;

    #[test]
    fn what_was_lost_is_always_shown_and_else_what_is_wanted() {
        let wanted = Wanted { actions: vec!["exec".to_owned()], ..Wanted::default() };
        for (action, shown) in [("exec", true), ("exit", false), ("loss", true)] {
            let mut record = Record::new();
            record.set(Field::EventAction, action);
            assert_eq!(shows(&wanted, &record), shown, "{action}");
        }
        assert!(known("exec").is_ok() && known("exek").unwrap_err().contains("exec"));
    }
}
