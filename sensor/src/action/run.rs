//! `sensor run`: the daemon.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, Format, Hooks, Status, awaiting, configuration, loaded};
use crate::{
    config::Config,
    delivery::{Outlet, Reopener},
    format::{self, ecs},
    kernel::executed::When,
    output::{self, stdout::Stdout},
    pipeline::Pipeline,
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
    let outputs = outlets(&config, args.output)?;
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
fn outlets(config: &Config, output: Option<Output>) -> Result<Vec<Outlet>, Failure> {
    let host = super::host()?;
    let outputs = config.outputs.get().iter().filter(|_| output.is_none());
    let usage = |error| Failure::new(Status::Usage, error);
    outputs.map(|output| Outlet::new(output, &host).map_err(usage)).collect()
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
        if let Some(folder) = config.state.folder.get() {
            pipeline.answer_requests(folder);
        }
    }
    if let Some(folder) = journal(config, args.output) {
        let own = (outlets.is_empty() && args.format != Format::Json)
            .then(|| format::named(Format::Json.name()))
            .flatten();
        pipeline.keep_journal(folder, &config.journal, own);
    }
    let mut hangup = None;
    if !outlets.is_empty() {
        let reopener = pipeline.bring_to(outlets).map_err(|error| Failure::new(Status::Failed, error))?;
        hangup = Some((signal(SignalKind::hangup()).map_err(failed)?, reopener));
    }
    let stop = async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = hung_up(&mut hangup) => {}
            }
        }
    };
    let result = pipeline.run(stop, || eprintln!("sensor: ready")).await;
    for (kind, seen, delivered, lost) in pipeline.sums() {
        eprintln!("sensor: {kind}: seen {seen}, delivered {delivered}, lost {lost}");
    }
    result.map_err(|error| Failure::new(Status::Failed, error))
}

/// Waits for a SIGHUP, and has outputs open anew what they write to; for ever where there are none.
async fn hung_up(hangup: &mut Option<(Signal, Reopener)>) {
    match hangup {
        Some((hangup, reopener)) => {
            hangup.recv().await;
            reopener.reopen();
        }
        None => std::future::pending().await,
    }
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
        eprintln!("kernel: {}", format::text::escape(line.as_bytes()));
    }

    fn flush(&self) {}
}
