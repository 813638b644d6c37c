//! `sensor run`: the daemon.

use std::path::PathBuf;

use clap::ValueEnum;
use nix::unistd::geteuid;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, Format, Status};
use crate::{
    config::{Config, ConfigError},
    format,
    host::Host,
    kernel::{Kernel, Options},
    output::{self, stdout::Stdout},
    pipeline::Pipeline,
    procfs::Reader,
};

/// `sensor run`.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where events go.
    #[arg(long, value_enum, default_value_t = Output::Stdout)]
    pub output: Output,
    /// How events are written.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub format: Format,
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
    let config = config(args)?;
    if !geteuid().is_root() {
        return Err(Failure::new(
            Status::NotPermitted,
            "loading programs into the kernel: needs root; run it with sudo or as a service of root",
        ));
    }
    let format =
        format::named(args.format.name()).ok_or_else(|| Failure::new(Status::Usage, "no such format"))?;
    if args.kernel_log {
        log::set_logger(&LogLines).map_err(|error| Failure::new(Status::Failed, error.to_string()))?;
        log::set_max_level(log::LevelFilter::Debug);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Status::Failed, error))?;
    runtime.block_on(stream(&config, format, args.kernel_log))
}

async fn stream(config: &Config, format: &dyn format::Format, log: bool) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Status::Failed, error);
    let host = Host::real().map_err(failed)?;
    if !Reader::new(host.proc()).in_first_pid_namespace() {
        return Err(Failure::new(
            Status::NotPermitted,
            "joining what the kernel tells with /proc: the kernel tells the host's process ids, and this is another pid \
             namespace; run it on the host, or its container with --pid=host",
        ));
    }
    Reader::new(host.proc()).enter_first_cgroup_namespace().map_err(|error| {
        let what = "entering the host's cgroup namespace, /proc/2/ns/cgroup: needs root (CAP_SYS_ADMIN, CAP_SYS_PTRACE)";
        Failure::new(Status::NotPermitted, format!("{what}: {error}"))
    })?;
    let output: Box<dyn output::Output> = Box::new(Stdout::open().map_err(failed)?);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let options = Options {
        bulk_ring_bytes: config.kernel.bulk_ring_bytes.get(),
        urgent_ring_bytes: config.kernel.urgent_ring_bytes.get(),
        names: config.kernel.names,
        log,
        actions: None,
    };
    let kernel = Kernel::start(&options).map_err(|error| Failure::new(Status::NotPermitted, error))?;
    let mut pipeline = Pipeline::new(&host, kernel, format, output).with_usage(config.usage.interval_s.get());
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let result = pipeline.run(stop, || eprintln!("sensor: ready")).await;
    for (kind, seen, delivered, lost) in pipeline.sums() {
        eprintln!("sensor: {kind}: seen {seen}, delivered {delivered}, lost {lost}");
    }
    result.map_err(|error| Failure::new(Status::Failed, error))
}

fn config(args: &Run) -> Result<Config, Failure> {
    let Some(path) = &args.config else {
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
