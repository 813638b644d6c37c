//! How an answer is written: row by row as it comes, but for text, which waits to know how wide its columns are.

use std::ops::ControlFlow;

use unicode_width::UnicodeWidthStr;

use super::{
    super::{Failure, is_terminal, written},
    Format, Report, failed,
};
use crate::{
    format::{self, table::columns, text::bare},
    journal::{Answer, AskError, Cell},
};

/// How many bytes are gathered before they are written.
const GATHERED: usize = 65_536;

/// What a row and a cell take beside the bytes that are shown: their own places, and what the allocator needs for each.
const ROW: u64 = 2 * size_of::<Vec<String>>() as u64 + 16;
const CELL: u64 = size_of::<String>() as u64 + 16;

/// The report of this format; text on a terminal, else JSON. What has to wait may take so many bytes.
pub(super) fn of(format: Option<Format>, most: u64) -> Box<dyn Report> {
    let usual = if is_terminal() { Format::Text } else { Format::Json };
    match format.unwrap_or(usual) {
        Format::Text => Box::new(Text::of(most)),
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
struct Text {
    names: Vec<String>,
    /// How wide each column is.
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
    /// Bytes that the rows take, and may take.
    held: u64,
    most: u64,
}

impl Text {
    fn of(most: u64) -> Self {
        Self { names: Vec::new(), widths: Vec::new(), rows: Vec::new(), held: 0, most }
    }

    /// Takes in a row; none when there is no room for it.
    fn take(&mut self, cells: &[Cell]) -> Option<()> {
        let mut row = Vec::with_capacity(cells.len());
        self.room(ROW)?;
        for (cell, at) in cells.iter().zip(0..) {
            let text = shown(cell);
            self.room(CELL.saturating_add(text.len() as u64))?;
            if let Some(width) = self.widths.get_mut(at) {
                *width = text.width().max(*width);
            }
            row.push(text);
        }
        self.rows.push(row);
        Some(())
    }

    fn room(&mut self, bytes: u64) -> Option<()> {
        self.held = self.held.saturating_add(bytes);
        (self.held <= self.most).then_some(())
    }

    /// The text in pieces: the whole of it would take as much again, and more for the blanks.
    fn pieces(&self) -> impl Iterator<Item = String> {
        // A name as wide as its column makes the column as wide in each piece.
        let blanks = |name: &String, width: &usize| " ".repeat(width.saturating_sub(name.width()));
        let names: Vec<String> = (self.names.iter().zip(&self.widths))
            .map(|(name, width)| name.clone() + &blanks(name, width))
            .collect();
        let line = self.widths.iter().fold(1, |line: usize, width| line.saturating_add(width + 2));
        let head = columns(&names, &[]);
        let rows = self.rows.chunks((GATHERED / line).max(1)).map(move |rows| {
            let text = columns(&names, rows);
            text.split_once('\n').map(|(_, rows)| rows.to_owned()).unwrap_or_default()
        });
        [head].into_iter().chain(rows)
    }
}

impl Answer for Text {
    fn head(&mut self, names: &[String]) {
        self.names = names.iter().map(|name| bare(name.as_bytes())).collect();
        self.widths = self.names.iter().map(|name| name.width()).collect();
    }

    fn row(&mut self, cells: Vec<Cell>) -> ControlFlow<()> {
        match self.take(&cells) {
            Some(()) => ControlFlow::Continue(()),
            None => {
                // Nobody will see them.
                self.rows = Vec::new();
                ControlFlow::Break(())
            }
        }
    }
}

impl Report for Text {
    fn end(self: Box<Self>) -> Result<(), Failure> {
        if self.held > self.most {
            return Err(failed(AskError::Memory(self.most)));
        }
        for piece in self.pieces() {
            if !written(piece.as_bytes())? {
                break;
            }
        }
        Ok(())
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

    fn text(most: u64, rows: impl Iterator<Item = i64>) -> (Box<Text>, bool) {
        let mut text = Box::new(Text::of(most));
        text.head(&["n".to_owned(), "cell".to_owned()]);
        let mut rows = rows.map(|n| vec![Cell::Whole(n), Cell::Text("é".repeat((n % 700) as usize))]);
        let whole = rows.all(|row| text.row(row).is_continue());
        (text, whole)
    }

    #[test]
    fn text_is_the_same_in_pieces() {
        let (text, whole) = text(1 << 30, 0..2000);
        assert!(whole && text.pieces().count() > 3);
        let all: String = text.pieces().collect();
        assert!(all == columns(&text.names, &text.rows), "{}", text.pieces().nth(1).unwrap());
        let none = Text { rows: Vec::new(), ..*text };
        assert_eq!(none.pieces().map(|piece| piece.lines().count()).sum::<usize>(), 1, "the names alone");
    }

    #[test]
    fn text_takes_no_more_memory_than_it_may() {
        let (text, whole) = text(16 << 20, 0..);
        assert!(!whole && text.rows.is_empty());
        let failure = text.end().unwrap_err();
        assert_eq!(failure.status, super::super::Status::Failed);
        assert!(failure.chain().contains("needs more than 16 MiB of memory"), "{}", failure.chain());
    }
}
