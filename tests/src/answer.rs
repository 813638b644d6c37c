//! What a verb that lists answers.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::sensor::command;
use crate::{Event, program};

/// Rows, diagnostics and status.
#[derive(Debug)]
pub struct Answer {
    /// The rows, each a whole record.
    pub rows: Vec<Event>,
    /// What stood on standard error.
    pub said: String,
    /// The exit status.
    pub status: Option<i32>,
}

impl Answer {
    /// Of a verb with these words, which must end well.
    pub fn to(words: &[&str]) -> Self {
        let answer = Self::of(command().args(words));
        assert_eq!(answer.status, Some(0), "{}", answer.said);
        answer
    }

    /// Of a command, however it ends.
    pub fn of(command: &mut Command) -> Self {
        let output = output(command);
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let rows: Vec<Event> = lines.map(|line| Event::parse(line).unwrap()).collect();
        for row in &rows {
            // They are of no run, and so have no number in one.
            let faults: Vec<String> = row.faults().into_iter().filter(|f| !f.starts_with("event.")).collect();
            assert!(faults.is_empty(), "{faults:#?}\n{row:#}");
        }
        Self {
            rows,
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status.code(),
        }
    }
}

/// What a command writes and how it ends.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program::output(command, Duration::from_secs(30))
}
