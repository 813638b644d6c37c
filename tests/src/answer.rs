//! What a verb answers that lists: its rows, what it said beside them, its status.

use crate::{Event, program, sensor::command};
use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// An object a line.
    pub rows: Vec<Event>,
    /// Standard error.
    pub said: String,
    /// The exit status.
    pub status: Option<i32>,
}

impl Answer {
    /// Of the sensor with these words, however it ends.
    #[must_use]
    pub fn to(words: &[impl AsRef<OsStr>]) -> Self {
        Self::of(command().args(words))
    }

    /// Of the sensor with these words, which must end well.
    #[must_use]
    pub fn done(words: &[impl AsRef<OsStr>]) -> Self {
        Self::to(words).status(0)
    }

    /// Of a command that ends in one, which has its deadline.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let output = run(command);
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let rows: Vec<Event> = lines.map(|line| Event::parse(line).expect("a row")).collect();
        for row in &rows {
            // They are of no run, and so have no number in one.
            let faults: Vec<String> = row.faults().into_iter().filter(|f| !f.starts_with("event.")).collect();
            assert!(faults.is_empty(), "{faults:#?}\n{row:#}");
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { rows, said, status: output.status.code() }
    }

    /// With this status.
    pub fn status(self, wanted: i32) -> Self {
        assert_eq!(self.status, Some(wanted), "{}", self.said);
        self
    }

    /// The row in which a field has this value.
    #[must_use]
    pub fn row(&self, field: &str, value: &str) -> &Event {
        let found = self.rows.iter().find(|row| row.text(field).is_some_and(|text| text == value));
        found.unwrap_or_else(|| panic!("no row of {field} {value} in {:#?}: {}", self.rows, self.said))
    }
}

/// Runs a command to its end.
#[must_use]
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program::output(command, Duration::from_secs(60))
}
