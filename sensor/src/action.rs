//! The verbs, one room each: its arguments, its run, its tests.

use std::{
    error::Error,
    ffi::OsStr,
    io::{IsTerminal, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use nix::unistd::geteuid;

use crate::{
    config::{self, Config, ConfigError, Names},
    enrich,
    event::contain::Contained,
    field::Field,
    format::{
        self, Format as _, ecs, misleads,
        table::{Head, Line},
    },
    host::Host,
    kernel::{self, Gap, Kernel, Options, executed::When},
    look::{
        self, Look,
        hashed::{Images, ProcessError, Wanted},
    },
    procfs::Reader,
    record::{Record, Text},
    requests::{self, Told},
};

pub mod doctor;
pub mod events;
pub mod fields;
pub mod files;
pub mod hash;
pub mod history;
pub mod inspect;
pub mod kill;
pub mod lookup;
pub mod port;
pub mod ports;
pub mod ps;
pub mod query;
pub mod recover;
pub mod run;
pub mod top;
pub mod watch;
pub mod who;

/// How events can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for a person.
    Text,
    /// ECS, one object a line.
    Json,
    /// OCSF, one object a line.
    Ocsf,
}

impl Format {
    /// Its name in the table of formats.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "ecs",
            Self::Ocsf => "ocsf",
        }
    }
}

/// Which of the hooks are taken that can stand for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hooks {
    /// Those that every kernel takes; better ones aren't tried.
    Base,
    /// The best, or failure where the kernel refuses one.
    Best,
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

/// Largest file that is hashed unless another bound is given, bytes.
const HASHED_MOST: u64 = 4 << 30;

/// What a verb is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    /// A process.
    Pid(u32),
    /// A file.
    File(PathBuf),
}

impl Subject {
    /// A number is a process; all else is a path.
    fn of(word: &OsStr) -> Result<Self, String> {
        let digits =
            word.to_str().filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()));
        match digits {
            Some(digits) => digits.parse().ok().filter(|pid| *pid != 0).map(Self::Pid).ok_or_else(|| {
                format!("{digits} is no pid; of a file that is called so, give the path as ./{digits}")
            }),
            None if word.is_empty() => Err("give a pid or a path".to_owned()),
            None => Ok(Self::File(word.into())),
        }
    }
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

/// The configuration; what is usual where no file is given. What it says and what is demanded must fit.
fn configuration(path: Option<&Path>, hooks: Option<Hooks>) -> Result<Config, Failure> {
    let usual = Path::new(config::FILE);
    let Some(path) = path.or_else(|| usual.exists().then_some(usual)) else {
        return Ok(Config::default());
    };
    let config = Config::read(path).map_err(|error| {
        let status = match error {
            ConfigError::Read { .. } => Status::Failed,
            ConfigError::Wrong { .. } => Status::Usage,
        };
        Failure::new(status, error)
    })?;
    if hooks == Some(Hooks::Best) && config.kernel.names != Names::default() {
        let error = format!(
            "--hooks best demands the best hooks, and kernel.names in {} chooses others: leave out one of the two",
            path.display()
        );
        return Err(Failure::new(Status::Usage, error));
    }
    Ok(config)
}

/// The programs at work, as the configuration wants them; else why nothing can be seen on this host.
fn loaded(
    host: &Host,
    config: &Config,
    hooks: Option<Hooks>,
    log: bool,
    executed: When,
) -> Result<Kernel, Gap> {
    may_load(host)?;
    let options = Options {
        bulk_ring_bytes: config.kernel.bulk_ring_bytes.get(),
        urgent_ring_bytes: config.kernel.urgent_ring_bytes.get(),
        names: config.kernel.names,
        hooks: hooks.map(|hooks| match hooks {
            Hooks::Base => kernel::Hooks::Base,
            Hooks::Best => kernel::Hooks::Best,
        }),
        log,
        executed: config.evidence.folder.get().map(|_| executed),
        actions: None,
    };
    Kernel::start(&options).map_err(|error| error.gap())
}

/// The host that this runs on.
fn host() -> Result<Host, Failure> {
    Host::real().map_err(|error| Failure::new(Status::NotPermitted, error))
}

/// Why there is nothing to be told of a process: it isn't there, or is kept from us.
fn gone(reader: &Reader, pid: u32) -> Failure {
    match reader.keeps(pid) {
        true => Failure::new(
            Status::NotPermitted,
            format!(
                "process {pid} is another user's, and /proc keeps it from us (hidepid): run it with sudo"
            ),
        ),
        false => Failure::new(Status::Failed, format!("there is no process {pid}")),
    }
}

/// Whether programs can be loaded from here, and what they tell joined with /proc; else why not.
fn may_load(host: &Host) -> Result<(), Gap> {
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
    })
}

/// The program that lists what runs, at work; else why the kernel can't be asked.
fn lister(host: &Host) -> Result<Kernel, Gap> {
    may_load(host)?;
    Kernel::start(&look::OPTIONS).map_err(|error| error.gap())
}

/// Does what waits for the kernel's rings, or could.
fn awaiting<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| Failure::new(Status::Failed, error))?.block_on(work))
}

/// A verb that was done but for some parts, which are named.
fn partly(parts: &[String]) -> Result<(), Failure> {
    match parts.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Status::Part, format!("not seen: {}", parts.join("; ")))),
    }
}

/// What is hashed of what was asked for, and of which process.
fn images(host: &Host, subject: &Subject, wanted: Wanted) -> Result<(Option<u32>, Images), Failure> {
    match subject {
        Subject::Pid(pid) => {
            let images = look::hashed::of_process(&mut Reader::new(host.proc()), *pid, wanted);
            images.map(|images| (Some(*pid), images)).map_err(|error| {
                let status = match error {
                    ProcessError::Denied(_) => Status::NotPermitted,
                    _ => Status::Failed,
                };
                Failure::new(status, with_remedy(&error))
            })
        }
        Subject::File(path) => {
            let file = look::hashed::of_file(&host.proc(), path, wanted).map_err(|why| {
                let what =
                    format!("reading {}: {why}", format::text::escape(path.as_os_str().as_encoded_bytes()));
                Failure::new(Status::Failed, what)
            })?;
            Ok((None, Images { files: vec![file], ..Images::default() }))
        }
    }
}

/// With what to do about it.
fn with_remedy(error: &ProcessError) -> String {
    let remedy = match error {
        ProcessError::Denied(_) => ": run it with sudo",
        ProcessError::Unread { unsure: true, .. } => ": --ask-all asks all the same",
        _ => "",
    };
    format!("{error}{remedy}")
}

/// A command that acts on the host, each time told as an event: by the runs at work, so that it comes into their journals and to
/// their outputs, and in any case as a line on standard error.
#[derive(Debug)]
pub struct Acting {
    /// Who acts: this process.
    actor: Record,
    /// How it is told: a line for a person is none for a SIEM, so then as JSON.
    format: Format,
    /// Where runs at work are asked.
    runs: Option<PathBuf>,
    run: String,
    sequence: u64,
}

impl Acting {
    /// Learns who acts, for somebody who wants this format; runs at work are asked in this folder.
    #[must_use]
    pub fn new(host: &Host, runs: Option<&Path>, format: Option<Format>) -> Self {
        let (pid, parent) = (std::process::id(), std::os::unix::process::parent_id());
        let look = Look::few(host, &[parent, pid]);
        let own: Vec<_> = look.table.at(pid).into_iter().collect();
        let mut describer = look::described::Describer::new(&look, host, &own);
        let actor = own.first().map_or_else(|| host.common(), |own| describer.describe(own).record);
        let format = format.filter(|format| *format != Format::Text).unwrap_or(Format::Json);
        Self { actor, format, runs: runs.map(Path::to_owned), run: host.run_id(), sequence: 0 }
    }

    /// Tells what was done. What a run told has the same id here, so that who reads both knows it for one.
    pub fn tell(&mut self, contained: &Contained, host: &Host) {
        let done = contained.record();
        let (told, said) = self.hand_over(&done);
        let told = told.unwrap_or_else(|| {
            self.sequence += 1;
            Told { run: self.run.clone(), sequence: self.sequence, time: host.now() }
        });
        let mut record = self.actor.clone();
        record.extend_from(&done);
        record.set(Field::Timestamp, told.time);
        record.set(Field::EventSequence, told.sequence);
        record.set(Field::EventId, Text::numbered(&told.run, told.sequence));
        let mut line = Vec::new();
        if let Some(format) = format::named(self.format.name()) {
            format.write(&record, &mut line);
        }
        // Nobody may be reading any more, and what was done is done.
        let mut out = std::io::stderr().lock();
        let _ = out.write_all(&line);
        for why in said {
            let why = format::text::escape(why.as_bytes());
            let _ = writeln!(out, "sensor: a sensor at work didn't tell this event: {why}");
        }
    }

    /// Gives as what a run at work told it, and why others didn't.
    fn hand_over(&self, done: &Record) -> (Option<Told>, Vec<String>) {
        let Some(folder) = &self.runs else { return (None, Vec::new()) };
        let mut line = Vec::new();
        ecs::Ecs.write(done, &mut line);
        // A line of JSON, and so of UTF-8.
        let Ok(line) = String::from_utf8(line) else { return (None, Vec::new()) };
        requests::tell(folder, line.trim_end())
    }
}

/// The id of a user, given by name or number.
fn user_id(user: &str, host: &Host) -> Result<u32, Failure> {
    if let Ok(id) = user.parse() {
        return Ok(id);
    }
    let users = enrich::users(&host.passwd());
    let known = users.iter().find(|(_, name)| name.as_bytes() == user.as_bytes());
    known.map(|(id, _)| *id).ok_or_else(|| {
        let (user, file) = (format::text::escape(user.as_bytes()), host.passwd());
        let error = format!(
            "no user {user} in {}; of one that another service knows, give the number",
            file.display()
        );
        Failure::new(Status::Usage, error)
    })
}

/// Writes records as they were asked for; `text`: the same for a person.
fn list<'a>(
    format: Option<Format>,
    records: impl IntoIterator<Item = &'a Record>,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if is_text(format) {
        return print(text());
    }
    let mut out = Vec::new();
    if let Some(format) = format::named(format.unwrap_or(Format::Json).name()) {
        records.into_iter().for_each(|record| format.write(record, &mut out));
    }
    print(out)
}

/// A table as the terminal holds it, in colours where that is one.
fn table(heads: &[Head], lines: &[Line]) -> String {
    let width = width();
    format::table::text(heads, lines, width, width.is_some() && colour())
}

/// Who takes rows, as long as more are wanted.
type Give<'g> = dyn FnMut(&Record) -> ControlFlow<()> + 'g;

/// Tells each row of a look; gives what couldn't be seen.
type Tell = fn(&Look, &Host, &mut Give<'_>) -> Vec<String>;

/// What is so now, by the names that the tables of `query` have: each is told by the verb that lists it.
const LIVE: &[(&str, Tell)] = &[
    ("processes", ps::tell),
    ("listeners", ports::tell),
    ("sockets", ports::tell_all),
    ("files", files::tell),
    ("users", who::tell),
];

/// Whether a person reads.
fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Text for a person, else JSON.
fn is_text(format: Option<Format>) -> bool {
    format.map_or_else(is_terminal, |format| format == Format::Text)
}

/// How wide the terminal is, where standard output is one.
fn width() -> Option<usize> {
    let size = is_terminal().then(|| crossterm::terminal::size().ok()).flatten();
    size.map(|(width, _)| usize::from(width)).filter(|width| *width > 0)
}

/// Whether colours are wanted (<https://no-color.org>).
fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether a catalogue is wanted as text for a person, else JSON.
fn chosen(args: &Catalogue) -> Result<bool, Failure> {
    match args.format {
        Some(Format::Ocsf) => {
            Err(Failure::new(Status::Usage, "OCSF has no class for a catalogue: use --format json"))
        }
        format => Ok(is_text(format)),
    }
}

/// Writes to standard output; a reader that went away is no failure of a catalogue or a list.
fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    written(text.as_ref()).map(drop)
}

/// Writes to standard output; gives whether somebody still reads.
fn written(bytes: &[u8]) -> Result<bool, Failure> {
    match std::io::stdout().lock().write_all(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Status::Failed, format!("writing to standard output: {error}"))),
    }
}
