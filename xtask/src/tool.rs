//! Programs built from the package registry into `target/tools`, never into the user's cargo home.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::error::{Error, Result};
use crate::workspace::Workspace;

/// A program at one version, built in one way.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    /// The name of the package and of the program.
    pub(crate) name: &'static str,
    /// The exact version.
    pub(crate) version: &'static str,
    /// Tells apart builds of one version; may be empty.
    pub(crate) variant: String,
    /// More options for `cargo install`.
    pub(crate) options: Vec<String>,
}

impl Tool {
    /// Where the program is, or will be. Version and variant are part of the path, so a program
    /// that is there is the right one.
    pub(crate) fn program(&self, workspace: &Workspace) -> PathBuf {
        self.folder(workspace).join("bin").join(self.name)
    }

    /// Whether it is there.
    pub(crate) fn is_installed(&self, workspace: &Workspace) -> bool {
        self.program(workspace).is_file()
    }

    /// The command that builds it.
    pub(crate) fn install(&self, workspace: &Workspace) -> Command {
        let mut command = workspace.cargo();
        command
            .env_remove("CARGO_TARGET_DIR")
            .args(["install", "--quiet", self.name, "--version", self.version, "--locked"])
            .args(&self.options)
            .arg("--root")
            .arg(self.folder(workspace));
        command
    }

    /// The same command, to be shown to a person.
    pub(crate) fn install_line(&self, workspace: &Workspace) -> String {
        let options = self.options.iter().fold(String::new(), |line, option| line + " " + option);
        format!(
            "cargo install {} --version {} --locked{options} --root {}",
            self.name,
            self.version,
            self.folder(workspace).display()
        )
    }

    /// Removes the installations of other versions and variants.
    pub(crate) fn settle(&self, workspace: &Workspace) -> Result<()> {
        let tools = workspace.target().join("tools");
        let own = self.folder(workspace);
        let prefix = format!("{}-", self.name);
        for entry in fs::read_dir(&tools).map_err(Error::file("list", &tools))? {
            let entry = entry.map_err(Error::file("list", &tools))?;
            let other = entry.file_name().to_string_lossy().starts_with(&prefix);
            if other && entry.path() != own {
                fs::remove_dir_all(entry.path()).map_err(Error::file("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    fn folder(&self, workspace: &Workspace) -> PathBuf {
        let mut name = format!("{}-{}", self.name, self.version);
        if !self.variant.is_empty() {
            name = format!("{name}-{}", self.variant);
        }
        workspace.target().join("tools").join(name)
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name, self.version)
    }
}
