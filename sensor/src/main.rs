//! The edge: parses what was typed, prints an error once with its causes, exits.
#![warn(clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser;
use sensor::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            sensor::say!("{}", failure.chain());
            ExitCode::from(failure.status as u8)
        }
    }
}
