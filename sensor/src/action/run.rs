//! `sensor run`: the daemon.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::mpsc::Sender,
};

use clap::ValueEnum;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, Format, Hooks, Status, awaiting, configuration, loaded};
use crate::{
    config::{self, Config},
    delivery::Outlet,
    format::{self, ecs},
    host::Host,
    kernel::executed::When,
    output::{self, stdout::Stdout},
    pipeline::{Pipeline, Reload},
};

/// `sensor run`.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Configuration file (TOML); /etc/sensor/config.toml if there is one and no other is named, as with every verb.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say whether the configuration is right, also the files that it names, and do nothing else.
    #[arg(long)]
    pub check: bool,
    /// Which hooks, where several can see the same; the best that the kernel takes if not given.
    #[arg(long, value_enum)]
    pub hooks: Option<Hooks>,
    /// Where events go, and nowhere else, whatever the configuration says: then no journal is kept either.
    #[arg(long, value_enum)]
    pub output: Option<Output>,
    /// How events are written to standard output; each output of the configuration has its own.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub format: Format,
    /// Let the kernel stop who executes a file that isn't known until the sensor holds it, so that it can be recovered whatever the
    /// program does next. A sensor that is stopped then stops them too; one that ends lets them go on.
    #[arg(long)]
    pub freeze_on_delete: bool,
    /// Show the log lines of the kernel programs on standard error, for debugging them.
    #[arg(long)]
    pub kernel_log: bool,
}

/// Where events can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Standard output.
    Stdout,
}

/// Streams events until told to stop.
///
/// # Errors
/// With the status of the contract: wrong configuration, not permitted, or failed on the way.
pub fn act(args: &Run) -> Result<(), Failure> {
    let config = configuration(args.config.as_deref(), args.hooks)?;
    let format =
        format::named(args.format.name()).ok_or_else(|| Failure::new(Status::Usage, "no such format"))?;
    if args.kernel_log {
        log::set_logger(&LogLines).map_err(|error| Failure::new(Status::Failed, error.to_string()))?;
        log::set_max_level(log::LevelFilter::Debug);
    }
    let outputs = outlets(&config, args.output, &super::host()?)?;
    if args.check {
        return checked(&config, args);
    }
    awaiting(stream(&config, format, outputs, args))?
}

/// Says what a run with this configuration would do.
fn checked(config: &Config, args: &Run) -> Result<(), Failure> {
    let names: Vec<String> = config.outputs.get().iter().map(|output| output.name.to_string()).collect();
    let to = match names.is_empty() || args.output.is_some() {
        true => "standard output".to_owned(),
        false => names.join(", "),
    };
    let journal = journal(config, args.output)
        .map_or_else(|| "none".to_owned(), |folder| format::text::escape(folder.as_os_str().as_bytes()));
    super::print(format!("right: events go to {to}; journal: {journal}\n"))
}

/// The outputs of the configuration, ready to begin; none when events go to standard output alone.
fn outlets(config: &Config, output: Option<Output>, host: &Host) -> Result<Vec<Outlet>, Failure> {
    let outputs = config.outputs.get().iter().filter(|_| output.is_none());
    let usage = |error| Failure::new(Status::Usage, error);
    outputs.map(|output| Outlet::new(output, host).map_err(usage)).collect()
}

async fn stream(
    config: &Config,
    format: &dyn format::Format,
    outlets: Vec<Outlet>,
    args: &Run,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Status::Failed, error);
    let host = super::host()?;
    // With outputs of its own only what is in the journal goes anywhere, and that in its format.
    let output: Option<Box<dyn output::Output>> = match outlets.is_empty() {
        true => Some(Box::new(Stdout::open().map_err(failed)?)),
        false => None,
    };
    let format = if output.is_some() { format } else { &ecs::Ecs };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let when = if args.freeze_on_delete { When::Before } else { When::Beside };
    let kernel = loaded(&host, config, args.hooks, args.kernel_log, when)
        .map_err(|gap| Failure::new(Status::NotPermitted, gap))?;
    let mut pipeline = Pipeline::new(&host, kernel, format, output)
        .with_usage(config.usage.interval_s.get())
        .with_redaction(&config.redact);
    if let Some(folder) = config.state.folder.get() {
        pipeline.leave_for_the_next(folder);
    }
    if let Some(folder) = config.evidence.folder.get() {
        pipeline.keep_evidence(folder, &config.evidence);
    }
    if let Some(folder) = config.state.folder.get() {
        pipeline.answer_requests(folder);
    }
    if let Some(folder) = journal(config, args.output) {
        let own = (outlets.is_empty() && args.format != Format::Json)
            .then(|| format::named(Format::Json.name()))
            .flatten();
        pipeline.keep_journal(folder, &config.journal, own);
    }
    if !outlets.is_empty() {
        pipeline.bring_to(outlets).map_err(|error| Failure::new(Status::Failed, error))?;
    }
    // Without a file there is nothing to read again, and a terminal that closes ends the run.
    let mut again = match source(args) {
        Some(file) => {
            let hangup = signal(SignalKind::hangup()).map_err(failed)?;
            Some(Again { hangup, file, config: config.clone(), reloads: pipeline.reloads(), host: &host })
        }
        None => None,
    };
    let stop = async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = read_again(&mut again, args) => {}
            }
        }
    };
    let result = pipeline.run(stop, || say!("ready")).await;
    for (kind, seen, delivered, lost) in pipeline.sums() {
        say!("{kind}: seen {seen}, delivered {delivered}, lost {lost}");
    }
    result.map_err(|error| Failure::new(Status::Failed, error))
}

/// What it takes to read the configuration again.
struct Again<'h> {
    hangup: Signal,
    file: PathBuf,
    config: Config,
    reloads: Sender<Reload>,
    host: &'h Host,
}

/// Waits for a SIGHUP, and reads the configuration again; for ever where there is none.
async fn read_again(again: &mut Option<Again<'_>>, args: &Run) {
    match again {
        Some(again) => {
            again.hangup.recv().await;
            match again.read(args) {
                Ok(later) if later.is_empty() => say!("the configuration was read again"),
                Ok(later) => say!(
                    "the configuration was read again; what it says of {} is used from the next start on",
                    later.join(", ")
                ),
                Err(error) => say!("{error}: the configuration read before stays in use"),
            }
        }
        None => std::future::pending().await,
    }
}

impl Again<'_> {
    /// Hands on what can be used at once; gives the sections that can't.
    fn read(&mut self, args: &Run) -> Result<Vec<&'static str>, Failure> {
        let config = configuration(Some(&self.file), args.hooks)?;
        let old = &self.config;
        let brings = |config: &Config| args.output.is_none() && !config.outputs.get().is_empty();
        let other = old.outputs != config.outputs;
        let outlets = match other && brings(old) && brings(&config) {
            true => Some(outlets(&config, args.output, self.host)?),
            false => None,
        };
        let never = |config: &Config| config.usage.interval_s.get().is_none();
        let later = [
            ("kernel", old.kernel != config.kernel),
            ("state", old.state != config.state),
            ("evidence", old.evidence != config.evidence),
            ("journal", old.journal != config.journal),
            ("usage", never(old) != never(&config)),
            ("outputs", other && outlets.is_none() && args.output.is_none()),
        ];
        let reload =
            Reload { outlets, redact: config.redact.clone(), interval: config.usage.interval_s.get() };
        // At its end the run wants none any more.
        let _ = self.reloads.send(reload);
        // What is used from the next start on is told each time.
        self.config.outputs =
            if brings(old) == brings(&config) { config.outputs } else { self.config.outputs.clone() };
        (self.config.redact, self.config.usage) = (config.redact, config.usage);
        Ok(later.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect())
    }
}

/// The file of the configuration, if there is one.
fn source(args: &Run) -> Option<PathBuf> {
    args.config.clone().or_else(|| Some(PathBuf::from(config::FILE)).filter(|usual| usual.exists()))
}

/// Where a journal is kept, if one is: where the configuration says so, unless events go to standard output alone.
fn journal(config: &Config, output: Option<Output>) -> Option<&Path> {
    config.journal_folder().filter(|_| output != Some(Output::Stdout))
}

/// The programs' log lines on standard error.
struct LogLines;

impl log::Log for LogLines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // The loader's own lines come through the same facade.
        metadata.target().starts_with("sensor_ebpf")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        say!("kernel: {}", format::text::escape(line.as_bytes()));
    }

    fn flush(&self) {}
}
