//! Writes the documents that the sensor itself knows best.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::command;
use crate::error::{Error, Result};
use crate::place::place;
use crate::workspace::Workspace;

/// Options of `docs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail when something would change.
    #[arg(long)]
    check: bool,
}

/// Each document, and the verb that prints it.
const GENERATED: &[(&str, &str)] = &[("docs/events.md", "events"), ("docs/fields.md", "fields")];

/// Runs the task.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.check {
        let stale = stale(workspace)?;
        return match stale.is_empty() {
            true => Ok(()),
            false => Err(Error::Check(stale.join("\n"))),
        };
    }
    for (path, text) in print_all(workspace)? {
        place(&workspace.root().join(path), text.as_bytes())?;
    }
    Ok(())
}

/// A line for each document that isn't what the built sensor prints.
pub(crate) fn stale(workspace: &Workspace) -> Result<Vec<String>> {
    let printed = print_all(workspace)?;
    let stale = printed.iter().filter(|(path, text)| {
        let kept = fs::read_to_string(workspace.root().join(path));
        kept.ok().as_ref() != Some(text)
    });
    Ok(stale
        .map(|(path, _)| format!("{}: not what the sensor prints: run `cargo xtask docs`", path.display()))
        .collect())
}

fn print_all(workspace: &Workspace) -> Result<Vec<(PathBuf, String)>> {
    let print = |(path, verb): &(&str, &str)| {
        let mut sensor = Command::new(workspace.sensor());
        let text = command::read(sensor.args([*verb, "--markdown"]))?;
        if text.trim().is_empty() {
            return Err(Error::Check(format!(
                "`sensor {verb} --markdown` printed nothing: {path} can't be made from it"
            )));
        }
        Ok((PathBuf::from(path), text))
    };
    GENERATED.iter().map(print).collect()
}
