//! How an answer is written: row by row as it comes, but for text, which waits to know how wide its columns are.

use std::ops::ControlFlow;

use super::{
    super::{Failure, is_terminal, written},
    Format, Report,
};
use crate::{
    format::{self, table::columns, text::bare},
    journal::{Answer, Cell},
};

/// How many bytes are gathered before they are written.
const GATHERED: usize = 65_536;

/// The report of this format; text on a terminal, else JSON.
pub(super) fn of(format: Option<Format>) -> Box<dyn Report> {
    let usual = if is_terminal() { Format::Text } else { Format::Json };
    match format.unwrap_or(usual) {
        Format::Text => Box::new(Text::default()),
        Format::Json => Box::new(Lines { write: json, ..Lines::default() }),
        Format::Csv => Box::new(Lines { write: csv, head: true, ..Lines::default() }),
    }
}

/// Lines that are written as they come.
struct Lines {
    names: Vec<String>,
    /// Whether the names are a line of their own.
    head: bool,
    write: fn(&[String], &[Cell], &mut Vec<u8>),
    bytes: Vec<u8>,
    /// How it ended, when nothing more can be written.
    ended: Option<Result<(), Failure>>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { names: Vec::new(), head: false, write: json, bytes: Vec::new(), ended: None }
    }
}

impl Lines {
    fn flush(&mut self) {
        if self.ended.is_none() {
            self.ended = match written(&self.bytes) {
                Ok(true) => None,
                Ok(false) => Some(Ok(())),
                Err(failure) => Some(Err(failure)),
            };
        }
        self.bytes.clear();
    }
}

impl Answer for Lines {
    fn head(&mut self, names: &[String]) {
        self.names = names.to_vec();
        if self.head {
            let names: Vec<Cell> = names.iter().cloned().map(Cell::Text).collect();
            (self.write)(&self.names, &names, &mut self.bytes);
        }
    }

    fn row(&mut self, cells: Vec<Cell>) -> ControlFlow<()> {
        (self.write)(&self.names, &cells, &mut self.bytes);
        if self.bytes.len() >= GATHERED {
            self.flush();
        }
        if self.ended.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Report for Lines {
    fn end(mut self: Box<Self>) -> Result<(), Failure> {
        self.flush();
        self.ended.unwrap_or(Ok(()))
    }
}

fn json(names: &[String], cells: &[Cell], out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (name, cell)) in names.iter().zip(cells).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        format::json_string(name.as_bytes(), out);
        out.push(b':');
        match cell {
            Cell::Nothing => out.extend_from_slice(b"null"),
            Cell::Whole(number) => out.extend_from_slice(number.to_string().as_bytes()),
            // Which are no numbers of JSON.
            Cell::Real(number) if !number.is_finite() => out.extend_from_slice(b"null"),
            Cell::Real(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Cell::Text(text) => drop(format::json_string(text.as_bytes(), out)),
            Cell::Bytes(bytes) => {
                out.push(b'"');
                format::base64(bytes, out);
                out.push(b'"');
            }
        }
    }
    out.extend_from_slice(b"}\n");
}

/// RFC 4180. What came from the host is escaped as for a terminal, and what a spreadsheet would take for a formula begins with an
/// apostrophe.
fn csv(_: &[String], cells: &[Cell], out: &mut Vec<u8>) {
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let mut text = shown(cell);
        if matches!(cell, Cell::Text(_)) && text.starts_with(['=', '+', '-', '@']) {
            text.insert(0, '\'');
        }
        match text.contains(['"', ',']) {
            true => out.extend([b"\"", text.replace('"', "\"\"").as_bytes(), b"\""].concat()),
            false => out.extend_from_slice(text.as_bytes()),
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Without anything that a terminal would obey.
fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Nothing => String::new(),
        Cell::Whole(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) => bare(text.as_bytes()),
        Cell::Bytes(bytes) => {
            let mut text = Vec::new();
            format::base64(bytes, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
    }
}

/// Columns for a person.
#[derive(Default)]
struct Text {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Answer for Text {
    fn head(&mut self, names: &[String]) {
        self.names = names.iter().map(|name| bare(name.as_bytes())).collect();
    }

    fn row(&mut self, cells: Vec<Cell>) -> ControlFlow<()> {
        self.rows.push(cells.iter().map(shown).collect());
        ControlFlow::Continue(())
    }
}

impl Report for Text {
    fn end(self: Box<Self>) -> Result<(), Failure> {
        written(columns(&self.names, &self.rows).as_bytes()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(write: fn(&[String], &[Cell], &mut Vec<u8>)) -> String {
        let cells = [
            Cell::Nothing,
            Cell::Whole(-7),
            Cell::Real(0.5),
            Cell::Real(f64::NAN),
            Cell::Text("=1,\"\u{1b}[31m\n".to_owned()),
            Cell::Bytes(vec![0xff]),
        ];
        let names: Vec<String> = ('a'..='f').map(String::from).collect();
        let mut out = Vec::new();
        write(&names, &cells, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_that_a_terminal_or_a_table_obeys_is_written() {
        assert_eq!(
            line(json),
            "{\"a\":null,\"b\":-7,\"c\":0.5,\"d\":null,\"e\":\"=1,\\\"\\u001b[31m\\n\",\"f\":\"/w==\"}\n"
        );
        let csv = line(csv);
        assert!(!csv.trim_end().contains(['\u{1b}', '\n']), "{csv:?}");
        assert!(csv.starts_with(",-7,0.5,NaN,"), "{csv:?}");
    }
}
