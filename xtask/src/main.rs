//! What is done often: build, run, test, lint, document.
//!
//! One file a verb. Tasks print what they do on standard error and end with 0 when done, 1 when
//! something failed, 2 on wrong usage, 3 when something is missing that they may not install.

use std::error::Error as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::{Error, Result};
use workspace::Workspace;

mod bench;
mod build_ebpf;
mod build_sensor;
mod clippy;
mod command;
mod deny;
mod docs;
mod error;
mod fingerprint;
mod fmt;
mod place;
mod run;
mod servers;
mod setup;
mod test;
mod tidy;
mod tool;
mod verifier;
mod vm;
mod workspace;

/// What is done often with this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what building needs (as root on Debian; elsewhere, tell what is missing).
    Setup,
    /// Build the kernel programs into target/bpf.
    BuildEbpf(build_ebpf::Args),
    /// Build the sensor into target/release/sensor.
    Build(build_sensor::Args),
    /// Build the sensor and start it.
    Run(run::Args),
    /// Build the sensor and run all tests.
    Test(test::Args),
    /// Bring the servers that outputs are tried against, and try the outputs (as root).
    Servers(servers::Args),
    /// Boot other kernels in virtual machines and run the tests there.
    Vm(vm::Args),
    /// Write what the programs cost the verifier, on this kernel and others, into docs/verifier.md.
    Verifier,
    /// Lint all crates.
    Clippy,
    /// Format all crates.
    Fmt(fmt::Args),
    /// Check licences and advisories of the dependencies.
    Deny,
    /// Check the repository's own rules.
    Tidy,
    /// Write the generated documents.
    Docs(docs::Args),
    /// Measure what the sensor costs, and how soon it tells (as root).
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match act(&Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::from(error.status())
        }
    }
}

fn act(verb: &Verb) -> Result<()> {
    let workspace = Workspace::find()?;
    match verb {
        Verb::Setup => setup::all(&workspace),
        Verb::BuildEbpf(args) => build_ebpf::run(&workspace, args),
        Verb::Build(args) => build_sensor::run(&workspace, args),
        Verb::Run(args) => run::run(&workspace, args),
        Verb::Test(args) => test::run(&workspace, args),
        Verb::Servers(args) => servers::run(&workspace, args),
        Verb::Vm(args) => vm::run(&workspace, args),
        Verb::Verifier => verifier::run(&workspace),
        Verb::Clippy => clippy::run(&workspace),
        Verb::Fmt(args) => fmt::run(&workspace, args),
        Verb::Deny => deny::run(&workspace),
        Verb::Tidy => tidy::run(&workspace),
        Verb::Docs(args) => docs::run(&workspace, args),
        Verb::Bench(args) => bench::run(&workspace, args),
    }
}

/// Tells on standard error what a task does.
fn say(text: &str) {
    eprintln!("xtask: {text}");
}

fn tell(error: &Error) {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    eprintln!("xtask: error: {line}");
}
