//! The screen: drawn anew as a whole each time, of which only what changed is written.

use std::io;

use crossterm::{
    cursor::{Hide, Show},
    execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use ratatui::{
    Terminal, TerminalOptions, Viewport,
    layout::{Position, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::Paragraph,
};
use unicode_width::UnicodeWidthStr;

use super::{
    backend::{Tty, size},
    row::{Metric, Subject},
    table::{Column, Names, cell, columns, number, sparkline},
    view::{Mode, Order, View},
    window::{Entry, Trend, Window},
};
use crate::format::table::fit;

/// Lines above and below the rows: two of the host, the heads, the rest, and the last one.
const FRAME: usize = 5;
/// Cells of each past of the whole host, where there is little room and where there is more.
const TREND_WIDTHS: [usize; 2] = [8, 20];
/// And where more begins.
const WIDE: usize = 120;
const HELP: &[&str] = &[
    "q, Ctrl-C      quit",
    "s or >, <      order by the next, the previous column",
    "r              the other way round",
    "/              filter by name, pid, user, container, path; Enter keeps it, Esc clears it",
    "p or space     pause; numbers go on being taken meanwhile",
    "b              by process, user, container, remote address",
    "arrows, j, k   down and up; also PgUp, PgDn, Home, End",
    "",
    "Rates are of one second, CPU% of one processor. `-`: not known. E: has ended within the",
    "last minute; what it used last stays. NET: IP bytes, of a shared socket those of its oldest",
    "holder; only for root. (rest): what the host used and nobody can be given.",
    "",
    "any key        back",
];

/// What a terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// Colours.
    pub colour: bool,
    /// More than ASCII.
    pub utf8: bool,
}

/// A terminal in our hands, given back as it was.
pub struct Screen {
    terminal: Terminal<Tty>,
    looks: Looks,
}

impl Screen {
    /// Takes the terminal.
    pub fn open(looks: Looks) -> io::Result<Self> {
        enable_raw_mode()?;
        let opened = execute!(io::stdout(), EnterAlternateScreen, Hide).and_then(|()| {
            let options = TerminalOptions { viewport: Viewport::Fixed(area()) };
            Terminal::with_options(Tty::new(), options)
        });
        match opened {
            Ok(terminal) => Ok(Self { terminal, looks }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Follows the terminal's size, and draws all again.
    pub fn resize(&mut self) -> io::Result<()> {
        self.terminal.resize(area())?;
        self.terminal.clear()
    }

    /// How many rows are in sight.
    pub fn page(&self) -> usize {
        usize::from(area().height).saturating_sub(FRAME).max(1)
    }

    /// Draws.
    pub fn draw(&mut self, window: &Window, view: &mut View, names: &Names) -> io::Result<()> {
        let looks = self.looks;
        self.terminal.draw(|frame| {
            let area = frame.area();
            let size = (usize::from(area.width), usize::from(area.height));
            let lines = if view.mode == Mode::Help {
                HELP.iter().map(|line| Line::raw(fit(line, size.0))).collect()
            } else {
                lines(window, view, names, size, looks)
            };
            frame.render_widget(Paragraph::new(lines), area);
        })?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// A terminal that is gone doesn't take it, and nobody is there to be told.
fn restore() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

fn area() -> Rect {
    Rect::from((Position::ORIGIN, size()))
}

/// All lines, exactly as many as there is room for.
fn lines(
    window: &Window,
    view: &mut View,
    names: &Names,
    (width, height): (usize, usize),
    looks: Looks,
) -> Vec<Line<'static>> {
    let rows = view.rows(window, names);
    let page = height.saturating_sub(FRAME);
    view.above = view.above.min(rows.len().saturating_sub(page));
    let trend = match view.order {
        Order::Metric(metric) => Trend::of(metric),
        Order::Name => Trend::Cpu,
    };
    let table = Table { columns: columns(window.by(), width, true), width, names, trend, looks };
    let mut lines = vec![Line::raw(fit(&title(window, view, rows.len()), width))];
    lines.push(Line::raw(fit(&host(window, rows.len(), width, looks), width)));
    lines.push(table.head(window, view));
    lines.extend(rows.iter().skip(view.above).take(page).map(|entry| table.line(entry)));
    lines.resize(FRAME - 2 + page, Line::raw(""));
    lines.push(window.rest.as_ref().map_or_else(Line::default, |rest| table.line(rest)));
    lines.push(Line::raw(fit(&last(window, view), width)));
    lines.truncate(height);
    lines
}

fn title(window: &Window, view: &View, rows: usize) -> String {
    let order = match view.order {
        Order::Metric(metric) => Column::Metric(metric).title(window.by()),
        Order::Name => Column::Name.title(window.by()),
    };
    let reverse = if view.reverse { " reversed" } else { "" };
    let paused = if view.paused { "  [paused]" } else { "" };
    let first = if rows == 0 { 0 } else { view.above + 1 };
    format!("sensor top  by {}  order {order}{reverse}  row {first} of {rows}{paused}", window.by().word())
}

fn host(window: &Window, rows: usize, width: usize, looks: Looks) -> String {
    let Some(system) = &window.system else { return format!("{rows} rows") };
    let shown = |metric| {
        system
            .row
            .usage
            .get(metric)
            .map_or_else(|| "-".to_owned(), |value| number(metric, value, system.elapsed))
    };
    let [narrow, wide] = TREND_WIDTHS;
    let cells = if width < WIDE { narrow } else { wide };
    let past = |trend| sparkline(system, trend, cells, looks.utf8);
    format!(
        "host CPU {}% |{}| disk R {} W {} |{}| net RX {} TX {} |{}|",
        shown(Metric::Cpu),
        past(Trend::Cpu),
        shown(Metric::DiskRead),
        shown(Metric::DiskWrite),
        past(Trend::Disk),
        shown(Metric::NetRx),
        shown(Metric::NetTx),
        past(Trend::Net)
    )
}

fn last(window: &Window, view: &View) -> String {
    if view.mode == Mode::Filter {
        return format!("filter: {}_", view.filter);
    }
    if !view.filter.is_empty() {
        return format!("filter: {}  (Esc clears it)", view.filter);
    }
    match window.told.first() {
        Some(told) => format!("q quit  ? help  | {told}"),
        None => "q quit  s order  r reverse  / filter  p pause  b by  ? help".to_owned(),
    }
}

/// How rows are drawn.
struct Table<'a> {
    columns: Vec<Column>,
    width: usize,
    names: &'a Names,
    trend: Trend,
    looks: Looks,
}

impl Table<'_> {
    fn head(&self, window: &Window, view: &View) -> Line<'static> {
        let ordered = match view.order {
            Order::Metric(metric) => Column::Metric(metric),
            Order::Name => Column::Name,
        };
        let mut style = Style::new().add_modifier(Modifier::REVERSED);
        if self.columns.contains(&ordered) {
            style = style.add_modifier(Modifier::BOLD);
        }
        Line::styled(self.joined(|column| column.title(window.by()).to_owned()), style)
    }

    fn line(&self, entry: &Entry) -> Line<'static> {
        let text = self.joined(|column| match column {
            Column::Trend => sparkline(entry, self.trend, column.width(), self.looks.utf8),
            _ => cell(column, &entry.row, entry.elapsed, self.names),
        });
        Line::styled(text, self.style(entry))
    }

    fn style(&self, entry: &Entry) -> Style {
        let style = Style::new();
        let percent = entry.row.usage.get(Metric::Cpu).unwrap_or(0) / entry.elapsed.max(100).div_euclid(100);
        match entry.row.subject {
            _ if entry.row.ended => style.add_modifier(Modifier::DIM),
            Subject::Rest => style.add_modifier(Modifier::BOLD),
            _ if self.looks.colour && percent >= 80 => style.fg(Color::Red),
            _ if self.looks.colour && percent >= 20 => style.fg(Color::Yellow),
            _ => style,
        }
    }

    fn joined(&self, text: impl Fn(Column) -> String) -> String {
        let mut line = String::new();
        for column in &self.columns {
            if !line.is_empty() {
                line.push(' ');
            }
            let left = self.width.saturating_sub(line.width());
            let width = if *column == Column::Name { left } else { column.width() };
            line.push_str(&column.padded(&text(*column), width));
        }
        fit(&line, self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        action::top::row::{By, Interval, Row, Usage},
        record::Text,
    };

    fn window() -> Window {
        let mut window = Window::new(By::Process, 1_000_000_000);
        let row = |pid| {
            let mut row = Row::of(Subject::Process(pid, 1));
            row.name = Some(Text::from("日本\x1b[31m語".to_owned()));
            row.usage = Usage::of(&[(Metric::Cpu, u64::from(pid) * 10_000_000)]);
            row
        };
        let processes = (1..=50).map(row).collect();
        window.take(&Interval { elapsed: 1_000_000_000, processes, ..Interval::default() });
        window
    }

    #[test]
    fn every_size_is_filled_and_not_more() {
        let window = window();
        for width in 1..130 {
            for height in [1, 2, 5, 6, 24] {
                let looks = Looks { colour: true, utf8: true };
                let mut view = View { above: usize::MAX, ..View::default() };
                let lines = lines(&window, &mut view, &Names::new(), (width, height), looks);
                assert_eq!(lines.len(), height.max(1).min(lines.len()), "{width} {height}");
                assert!(lines.len() <= height && lines.iter().all(|line| line.width() <= width));
                assert_eq!(view.above, 50 - height.saturating_sub(FRAME).min(50));
            }
        }
    }

    #[test]
    fn no_colour_means_none() {
        for (colour, some) in [(false, false), (true, true)] {
            let looks = Looks { colour, utf8: false };
            let lines = lines(&window(), &mut View::default(), &Names::new(), (80, 24), looks);
            assert_eq!(lines.iter().any(|line| line.style.fg.is_some()), some);
            assert!(
                colour
                    || lines
                        .iter()
                        .all(|line| line.to_string().is_ascii() || line.to_string().contains('日'))
            );
        }
    }
}
