//! `sensor query`: SQL over the journal and over what is so now, in one statement.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use nix::unistd::geteuid;

use super::{Failure, LIVE, Status, awaiting, configuration, host, lister, partly, print};
use crate::{
    config,
    host::Host,
    journal::{Answer, AskError, Asker, JournalError, Limits, Reads, Table},
    look::Look,
    record::Record,
};

mod report;
mod tables;

use tables::TABLES;

/// `sensor query`.
#[derive(Debug, clap::Args)]
pub struct Query {
    /// One SELECT (as SQLite has it); --tables shows what there is to select from.
    #[arg(value_name = "SQL", required_unless_present = "tables")]
    pub sql: Option<String>,
    /// Show the tables and their columns.
    #[arg(long, conflicts_with = "sql")]
    pub tables: bool,
    /// Configuration file (TOML), which says where the journal is.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Most time that the statement may take, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Most memory that the statement may take, MiB; the rows of text, which wait for the last one, as much again.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=65_536))]
    pub memory: u64,
    /// Text, JSON an object a row, or CSV; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for a person.
    Text,
    /// An object a row.
    Json,
    /// Comma-separated values (RFC 4180), with a head.
    Csv,
}

/// How an answer is written.
trait Report: Answer {
    /// Writes what is left.
    fn end(self: Box<Self>) -> Result<(), Failure>;
}

/// Answers.
///
/// # Errors
/// When it isn't a statement that reads, takes too much, or not all that it asks for could be seen; the parts are named.
pub fn act(args: &Query) -> Result<(), Failure> {
    let Some(sql) = args.sql.as_deref().filter(|_| !args.tables) else {
        return print(tables::text());
    };
    let host = host()?;
    let config = configuration(args.config.as_deref(), None)?;
    let folder = config.journal_folder().map_or_else(|| PathBuf::from(config::JOURNAL), PathBuf::from);
    let limits = Limits { time: Duration::from_secs(args.timeout), memory: args.memory << 20 };
    let names: Vec<Vec<&str>> = TABLES.iter().map(|table| table.names().collect()).collect();
    let live: Vec<Table<'_>> =
        TABLES.iter().zip(&names).map(|(table, columns)| Table { name: table.name, columns }).collect();
    let now = host.now().0;
    // Whoever asks only for what is so now needs no journal.
    let (asker, missing) = match Asker::open(Some(&folder), &live, limits, now) {
        Err(AskError::Journal(error)) => {
            (Asker::open(None, &live, limits, now).map_err(failed)?, Some(error))
        }
        other => (other.map_err(failed)?, None),
    };
    let reads = match (asker.reads(sql), missing) {
        (Err(AskError::Statement(said)), Some(error)) if said.contains("no such table") => {
            let status = status(&error);
            let what = format!("{said}, and there is no journal to be asked: {error}");
            return Err(Failure::new(status, what));
        }
        (reads, _) => reads.map_err(failed)?,
    };
    let parts = fill(&asker, &live, &host, &reads)?;
    let mut report = report::of(args.format, limits.memory);
    asker.ask(sql, &mut *report).map_err(failed)?;
    report.end()?;
    partly(&parts)
}

/// Fills the tables that are read, all from one look; gives what couldn't be seen.
fn fill(asker: &Asker, live: &[Table<'_>], host: &Host, reads: &Reads) -> Result<Vec<String>, Failure> {
    let mut look = None;
    let mut parts = Vec::new();
    for (table, columns) in live.iter().zip(&TABLES).filter(|(table, _)| reads.table(table.name)) {
        let Some((_, tell)) = LIVE.iter().find(|(name, _)| *name == table.name) else { continue };
        if look.is_none() {
            let seen = awaiting(async { Look::at(host, lister(host)) })?;
            let seen = seen.map_err(|error| {
                let what = format!("listing processes in {}: {error}", host.proc().display());
                Failure::new(Status::Failed, what)
            })?;
            parts.extend(seen.parts.iter().cloned());
            look = Some(seen);
        }
        let Some(look) = &look else { continue };
        // What isn't read isn't written: it is most of a row.
        let whole = reads.column(table.name, tables::ALL);
        asker
            .fill(table, |give| {
                parts.extend(tell(look, host, &mut |record: &Record| give(columns.row(record, whole))));
            })
            .map_err(failed)?;
    }
    parts.sort_unstable();
    parts.dedup();
    Ok(parts)
}

/// The journal is for root alone.
fn status(error: &JournalError) -> Status {
    match error {
        JournalError::Folder { .. } if !geteuid().is_root() => Status::NotPermitted,
        _ => Status::Failed,
    }
}

fn failed(error: AskError) -> Failure {
    let status = match &error {
        AskError::Statement(_) => Status::Usage,
        AskError::Journal(error) => status(error),
        AskError::Time(_) | AskError::Memory(_) | AskError::System(_) => Status::Failed,
    };
    Failure::new(status, error)
}
