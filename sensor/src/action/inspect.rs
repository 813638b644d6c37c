//! `sensor inspect`: all that is known of one process, on a page.

use std::{collections::HashMap, io, path::PathBuf};

use nix::errno::Errno;

use super::{
    Failure, Format, Status, awaiting, colour, configuration, gone, host, list, lister, partly, width,
};
use crate::{
    config::Config,
    event::Action,
    evidence::folder::{Entry, Folder, Name},
    field::Field,
    look::{
        Look,
        described::{Describer, find},
        hashed::{self, Images, ProcessError, Wanted},
        open::Open,
        sockets::Sockets,
    },
    net::found::Found,
    process::Process,
    procfs::{
        descriptors::{Closed, Descriptor, Target},
        inside::Kept,
    },
    record::{Record, Text},
    redact::Redactor,
    sockdiag::Scope,
};

mod report;
mod suspicion;
mod told;

/// What the page says of itself.
const ROW: Action = Action {
    name: "process_inspect",
    kind: "state",
    category: &["process"],
    types: &["info"],
    sentence: "",
    hooks: "",
    fields: &[],
    process: true,
};
/// Most ancestors: more than any line of them is long.
const ANCESTORS_MOST: usize = 256;
/// All files together may have so many times the bytes of the largest.
const FILES: u64 = 4;
/// Steps of the start times in /proc.
const TICK_NS: u64 = 10_000_000;

/// `sensor inspect`.
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// The process.
    #[arg(value_name = "PID")]
    pub pid: u32,
    /// Show passwords, tokens and the like in arguments and environment; they are masked without, unless the configuration
    /// says otherwise.
    #[arg(long)]
    pub secrets: bool,
    /// Configuration file (TOML), which says where executables are kept, which lists there are, and what is masked.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Text, or JSON; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// What was found of a process, beside what the look at all has of it.
struct Facts {
    images: Images,
    environment: Vec<Text>,
    /// Who reads its memory is kept waiting.
    mute: bool,
    kept: Kept,
    descriptors: Vec<Descriptor>,
    sockets: HashMap<u64, Found>,
    /// What the sensor kept of its executable, and where.
    evidence: Option<(Entry, PathBuf)>,
    parts: Vec<String>,
}

/// Tells all.
///
/// # Errors
/// When there is no such process, or not all of it could be seen; the parts are named.
pub fn act(args: &Inspect) -> Result<(), Failure> {
    let config = configuration(args.config.as_deref(), None)?;
    let host = host()?;
    let mut look = awaiting(async { Look::at(&host, lister(&host)) })?.map_err(|error| {
        Failure::new(Status::Failed, format!("listing processes in {}: {error}", host.proc().display()))
    })?;
    take_in_all(&mut look, args.pid);
    let start = look.table.at(args.pid).ok_or_else(|| gone(&look.reader, args.pid))?.key.start;
    let mut facts = Facts::gather(&mut look, &config, args.pid);
    // It is the same all the way, or nothing of it is worth telling.
    if look.reader.seen(args.pid).is_none_or(|seen| seen.start != start - start % TICK_NS) {
        return Err(gone(&look.reader, args.pid));
    }
    let process = look.table.at(args.pid).ok_or_else(|| gone(&look.reader, args.pid))?;
    let described = Describer::new(&look, &host, &[process]).describe(process);
    let mut record = described.record;
    record.extend(ROW.record());
    told::set(&facts, &ancestors(&look, process), &mut record);
    let redactor = Redactor::new(config.redact.expressions());
    let mut findings = suspicion::of(&facts, process, &redactor);
    let own = look.reader.own_mount_namespace().is_some_and(|own| own == process.actor.mount_namespace());
    findings.extend(suspicion::of_packages(host.root(), &facts.images, own));
    findings.extend(suspicion::of_lists(&config.lookup.known_bad, &facts.images, &mut facts.parts));
    find(&mut record, findings);
    facts.keep(&config, &record);
    told::set_evidence(&facts, &mut record);
    if !args.secrets && !config.redact.off {
        told::mask(&mut record, &redactor);
    }
    list(args.format, [&record], || {
        let width = width();
        report::page(&record, &facts, &look, width, width.is_some() && colour())
    })?;
    partly(&[look.parts.as_slice(), facts.parts.as_slice()].concat())
}

/// Has it and its ancestors in the look, also those that no list shows.
fn take_in_all(look: &mut Look, pid: u32) {
    let mut pid = pid;
    for _ in 0..ANCESTORS_MOST {
        look.take_in(pid);
        match look.table.at(pid) {
            Some(process) if process.actor.parent != 0 => pid = process.actor.parent,
            _ => break,
        }
    }
}

/// From its parent up to the first process, as they are now. Numbers that are used again while this is read can't make it a ring.
fn ancestors<'a>(look: &'a Look, process: &Process) -> Vec<&'a Process> {
    let mut all: Vec<&Process> = Vec::new();
    let mut pid = process.actor.parent;
    while let Some(parent) = look.table.at(pid) {
        if all.len() >= ANCESTORS_MOST || all.iter().any(|known| known.key.pid == pid) {
            break;
        }
        pid = parent.actor.parent;
        all.push(parent);
    }
    all
}

impl Facts {
    fn gather(look: &mut Look, config: &Config, pid: u32) -> Self {
        let mut parts = Vec::new();
        let wanted = Wanted {
            file_most: config.evidence.max_hash_bytes,
            most: config.evidence.max_hash_bytes.saturating_mul(FILES),
            md5: true,
            mappings: true,
            ask_all: false,
        };
        let mut images = hashed::of_process(&mut look.reader, pid, wanted).unwrap_or_else(|error| {
            if !matches!(error, ProcessError::NoFile(_) | ProcessError::Gone(_)) {
                parts.push(error.to_string());
            }
            Images::default()
        });
        parts.append(&mut images.parts);
        let (environment, mute) = match look.reader.environment(pid) {
            Ok((environment, more)) => {
                if more {
                    parts.push("all of its environment: there is too much of it".to_owned());
                }
                (environment, false)
            }
            // Who has no memory of its own has none: a thread of the kernel, or what has ended.
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => (Vec::new(), false),
            Err(error) => {
                let mute = error.kind() == io::ErrorKind::TimedOut;
                let why = if mute { "its memory keeps us waiting".to_owned() } else { error.to_string() };
                parts.push(format!("its environment: {why}"));
                (Vec::new(), mute)
            }
        };
        let descriptors = look.reader.descriptors(pid).unwrap_or_else(|closed| {
            let remedy = if closed == Closed::Forbidden { "; run it as root" } else { "" };
            parts.extend(closed.why().map(|why| format!("what it has open: it {why}{remedy}")));
            Vec::new()
        });
        let sockets = sockets(look, &descriptors, &mut parts);
        let kept = look.reader.kept(pid).unwrap_or_default();
        Self { images, environment, mute, kept, descriptors, sockets, evidence: None, parts }
    }

    /// What the sensor kept of it before: there is no other record of the past than the folder of evidence.
    fn keep(&mut self, config: &Config, record: &Record) {
        let Some(path) = config.evidence.folder.get() else { return };
        // Nobody but root may look there, and one that isn't there holds nothing.
        if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return;
        }
        let entries = match Folder::open(path) {
            Ok(folder) => folder.entries().map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let sha256 = self.images.files.first().map(|file| &file.digest.sha256);
        let entity = record.text(Field::ProcessEntityId);
        match entries {
            Ok(entries) => {
                let of = |entry: &&Entry| match &entry.name {
                    Name::Image(name) => Some(name) == sha256,
                    Name::Runner(runner) => Some(&runner.entity) == entity,
                    Name::Unfinished => false,
                };
                let last = entries.iter().filter(of).max_by_key(|entry| (entry.size, entry.when));
                self.evidence = last.map(|entry| (entry.clone(), path.to_owned()));
            }
            Err(why) => self.parts.push(format!("what was kept of it before: {why}")),
        }
    }
}

/// Those that it has open, by inode.
fn sockets(look: &Look, descriptors: &[Descriptor], parts: &mut Vec<String>) -> HashMap<u64, Found> {
    let own: Vec<u64> = descriptors
        .iter()
        .filter_map(|descriptor| match descriptor.target {
            Target::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    if own.is_empty() {
        return HashMap::new();
    }
    let all = Sockets::at(look, &Open::at(look), Scope::All);
    let found: HashMap<u64, Found> = all
        .found
        .into_iter()
        .filter(|socket| own.contains(&socket.inode))
        .map(|socket| (socket.inode, socket))
        .collect();
    // What couldn't be looked at elsewhere is of no concern when all of its own were found.
    if own.iter().any(|inode| !found.contains_key(inode)) {
        parts.extend(all.parts);
    }
    found
}
