//! Rows as they are found: written at once, but for text, whose lines wait to stand in order and under each other.

use std::cmp::Reverse;

use super::{
    super::{Failure, Format, is_text, table, written},
    Takes, report,
};
use crate::{
    format::{self, table::Line},
    record::Record,
};

/// How many bytes are gathered before they are written.
const GATHERED: usize = 65_536;

/// A row, before it is a line.
pub(super) struct Row {
    pub(super) record: Record,
    pub(super) severity: u64,
    pub(super) pid: u32,
    pub(super) number: u32,
}

/// What was told so far.
pub(super) struct Listing {
    /// How records are written; none for text.
    format: Option<&'static dyn format::Format>,
    bytes: Vec<u8>,
    /// The lines of text, with their place in the order.
    lines: Vec<(Reverse<u64>, u32, u32, Line)>,
    processes: usize,
    /// How it ended, when nothing more can be written: it failed, or nobody reads any more, which is no failure.
    ended: Option<Result<(), Failure>>,
}

impl Listing {
    pub(super) fn new(format: Option<Format>) -> Self {
        let name = format.unwrap_or(Format::Json).name();
        let format = if is_text(format) { None } else { format::named(name) };
        Self { format, bytes: Vec::new(), lines: Vec::new(), processes: 0, ended: None }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When something couldn't be written.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        if self.format.is_none() {
            self.lines.sort_by_key(|(severity, pid, number, _)| (*severity, *pid, *number));
            let lines: Vec<Line> = self.lines.drain(..).map(|(.., line)| line).collect();
            self.bytes =
                (table(&report::heads(), &lines) + &report::sum(&lines, self.processes)).into_bytes();
        }
        self.write();
        self.ended.unwrap_or(Ok(()))
    }

    fn write(&mut self) {
        if self.is_wanted() {
            self.ended = match written(&self.bytes) {
                Ok(true) => None,
                Ok(false) => Some(Ok(())),
                Err(failure) => Some(Err(failure)),
            };
        }
        self.bytes.clear();
    }
}

impl Takes for Listing {
    fn is_wanted(&self) -> bool {
        self.ended.is_none()
    }

    fn begin(&mut self) {
        self.processes += 1;
    }

    fn take(&mut self, record: Record, severity: u64, (pid, number): (u32, u32)) {
        match self.format {
            Some(format) => {
                format.write(&record, &mut self.bytes);
                if self.bytes.len() >= GATHERED {
                    self.write();
                }
            }
            None => {
                let line = report::line(&Row { record, severity, pid, number });
                self.lines.push((Reverse(severity), pid, number, line));
            }
        }
    }
}
