//! How cells get onto a terminal: by what every terminal of the last decades understands. Nothing is ever
//! asked of the terminal, since its answer would stand among the keys.

use std::{
    fmt::Write as _,
    io::{self, BufWriter, Stdout, Write},
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    queue,
    terminal::{Clear, ClearType as Part},
};
use ratatui::{
    backend::{Backend, ClearType, WindowSize},
    buffer::Cell,
    layout::{Position, Size},
    style::{Color, Modifier},
};

/// Where a terminal doesn't tell its size.
const USUAL: (u16, u16) = (80, 24);

/// Standard output, as a terminal.
pub struct Tty<W: Write = BufWriter<Stdout>>(W);

impl Tty {
    /// Of this process.
    pub fn new() -> Self {
        Self(BufWriter::new(io::stdout()))
    }
}

/// The terminal's size.
pub fn size() -> Size {
    let size = crossterm::terminal::size().ok().filter(|(width, height)| *width > 0 && *height > 0);
    let (width, height) = size.unwrap_or(USUAL);
    Size { width, height }
}

/// How the cell looks, as one sequence (ECMA-48, SGR).
fn looks(cell: &Cell) -> String {
    let mut codes = "\x1b[0".to_owned();
    let modifiers = [(Modifier::BOLD, 1), (Modifier::DIM, 2), (Modifier::REVERSED, 7)];
    for (_, code) in modifiers.into_iter().filter(|(modifier, _)| cell.modifier.contains(*modifier)) {
        let _ = write!(codes, ";{code}");
    }
    match cell.fg {
        Color::Red => codes.push_str(";31"),
        Color::Yellow => codes.push_str(";33"),
        _ => {}
    }
    codes + "m"
}

impl<W: Write> Backend for Tty<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let (mut next, mut last) = (None, looks(&Cell::EMPTY));
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                queue!(self.0, MoveTo(x, y))?;
            }
            next = Some((x.saturating_add(1), y));
            let looks = looks(cell);
            if looks != last {
                self.0.write_all(looks.as_bytes())?;
                last = looks;
            }
            self.0.write_all(cell.symbol().as_bytes())?;
        }
        self.0.write_all(b"\x1b[0m")
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        queue!(self.0, Hide)
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        queue!(self.0, Show)
    }

    /// Nobody needs it: the cursor is hidden.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        queue!(self.0, MoveTo(x, y))
    }

    fn clear(&mut self) -> io::Result<()> {
        queue!(self.0, Clear(Part::All))
    }

    fn clear_region(&mut self, part: ClearType) -> io::Result<()> {
        let part = match part {
            ClearType::All => Part::All,
            ClearType::AfterCursor => Part::FromCursorDown,
            ClearType::BeforeCursor => Part::FromCursorUp,
            ClearType::CurrentLine => Part::CurrentLine,
            ClearType::UntilNewLine => Part::UntilNewLine,
        };
        queue!(self.0, Clear(part))
    }

    fn size(&self) -> io::Result<Size> {
        Ok(size())
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: size(), pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Style;

    #[test]
    fn cells_that_follow_each_other_need_no_place() {
        let mut red = Cell::new("b");
        red.set_style(Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
        let (plain, wide) = (Cell::new("a"), Cell::new("日"));
        let mut tty = Tty(Vec::new());
        tty.draw([(2, 1, &plain), (3, 1, &red), (4, 1, &wide), (6, 1, &plain)].into_iter()).unwrap();
        let wanted = "\x1b[2;3Ha\x1b[0;1;31mb\x1b[0m日\x1b[2;7Ha\x1b[0m";
        assert_eq!(String::from_utf8(tty.0).unwrap(), wanted);
    }
}
