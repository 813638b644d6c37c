//! Columns that fit, and what stands in them: for the screen and for a report alike.

use std::{collections::HashMap, fmt::Write as _};

use unicode_width::UnicodeWidthStr;

use super::{
    row::{By, Metric, Row, Subject},
    window::{Entry, Trend},
};
use crate::{
    format::{
        table::{fit, size},
        text::escape,
    },
    record::Text,
};

/// Names of users by id.
pub type Names = HashMap<u32, Text>;

/// Cells of a past on the screen.
const TREND_WIDTH: usize = 12;
/// Least width of the column that takes what is left.
const NAME_LEAST: usize = 11;
/// What such a cell may hold at most in a report, characters.
const NAME_MOST: usize = 4096;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Pid.
    Pid,
    /// Effective user.
    User,
    /// How many processes.
    Processes,
    /// `E` of what has ended.
    State,
    /// A number.
    Metric(Metric),
    /// The last minute of what the rows are ordered by.
    Trend,
    /// Whose row it is; takes what is left.
    Name,
}

/// What goes first where there is little room.
const LEAST_WANTED: [Column; 12] = [
    Column::Metric(Metric::FileRead),
    Column::Metric(Metric::FileWrite),
    Column::Trend,
    Column::Metric(Metric::Connections),
    Column::Metric(Metric::NetRx),
    Column::Metric(Metric::NetTx),
    Column::User,
    Column::Metric(Metric::DiskRead),
    Column::Metric(Metric::DiskWrite),
    Column::Metric(Metric::Rss),
    Column::Processes,
    Column::Metric(Metric::Cpu),
];

impl Column {
    /// Its head.
    pub fn title(self, by: By) -> &'static str {
        match self {
            Self::Pid => "PID",
            Self::User => "USER",
            Self::Processes => "PROCS",
            Self::State => "S",
            Self::Metric(Metric::Cpu) => "CPU%",
            Self::Metric(Metric::Rss) => "RSS",
            Self::Metric(Metric::DiskRead) => "DISK-R",
            Self::Metric(Metric::DiskWrite) => "DISK-W",
            Self::Metric(Metric::FileRead) => "FILE-R",
            Self::Metric(Metric::FileWrite) => "FILE-W",
            Self::Metric(Metric::NetRx) => "NET-RX",
            Self::Metric(Metric::NetTx) => "NET-TX",
            Self::Metric(Metric::Connections) => "CONN",
            Self::Metric(Metric::RxPackets) => "PKT-RX",
            Self::Metric(Metric::TxPackets) => "PKT-TX",
            Self::Trend => "LAST MINUTE",
            Self::Name => match by {
                By::Process => "NAME",
                By::User => "USER (LOGIN)",
                By::Container => "CONTAINER",
                By::Remote => "REMOTE",
            },
        }
    }

    /// Cells that it takes; what takes the rest says its least.
    pub fn width(self) -> usize {
        match self {
            Self::Pid => 7,
            Self::User => 8,
            Self::Processes | Self::Metric(Metric::Rss | Metric::Connections) => 5,
            Self::State => 1,
            Self::Metric(_) => 6,
            Self::Trend => TREND_WIDTH,
            Self::Name => NAME_LEAST,
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Pid | Self::Processes | Self::Metric(_))
    }

    /// A text in this column, `width` cells wide.
    pub fn padded(self, text: &str, width: usize) -> String {
        let text = fit(text, width);
        let blanks = " ".repeat(width.saturating_sub(text.width()));
        if self.is_number() { blanks + &text } else { text + &blanks }
    }
}

/// The columns that fit into so many cells, with a blank between.
pub fn columns(by: By, width: usize, trend: bool) -> Vec<Column> {
    let mut columns = match by {
        By::Process => vec![Column::Pid, Column::User, Column::State],
        By::User | By::Container => vec![Column::Processes, Column::State],
        By::Remote => vec![Column::State],
    };
    columns.extend(
        Metric::SHOWN
            .into_iter()
            .filter(|metric| by != By::Remote || of_remotes(*metric))
            .map(Column::Metric),
    );
    if trend {
        columns.push(Column::Trend);
    }
    columns.push(Column::Name);
    for least in LEAST_WANTED {
        let needed: usize = columns.iter().map(|column| column.width() + 1).sum();
        if needed > width + 1 {
            columns.retain(|column| *column != least);
        }
    }
    columns
}

/// Only of these is it known where they lead.
fn of_remotes(metric: Metric) -> bool {
    matches!(metric, Metric::NetRx | Metric::NetTx | Metric::Connections)
}

/// What stands in a cell, but for the past.
pub fn cell(column: Column, row: &Row, elapsed: u64, names: &Names) -> String {
    match (column, &row.subject) {
        (Column::Pid, Subject::Process(pid, _)) => pid.to_string(),
        (Column::User, _) => row.uid.map_or_else(String::new, |uid| user(uid, names)),
        (Column::Processes, Subject::User(..) | Subject::Container(_)) => row.processes.to_string(),
        (Column::State, _) if row.ended => "E".to_owned(),
        (Column::Metric(metric), _) => match row.usage.get(metric) {
            None => "-".to_owned(),
            Some(value) => number(metric, value, elapsed),
        },
        (Column::Name, _) => label(row, names),
        _ => String::new(),
    }
}

/// Whose row it is, safe to show.
pub fn label(row: &Row, names: &Names) -> String {
    let whole = match &row.subject {
        Subject::Process(..) => {
            row.name.as_ref().map_or_else(|| "-".to_owned(), |name| escape(name.as_bytes()))
        }
        Subject::User(uid, None) => user(*uid, names),
        Subject::User(uid, Some(login)) => format!("{} ({})", user(*uid, names), user(*login, names)),
        Subject::Container(None) => "(host)".to_owned(),
        Subject::Container(Some(id)) => escape(id.as_bytes()),
        Subject::Remote(address) => address.to_string(),
        Subject::Rest => "(rest)".to_owned(),
    };
    fit(&whole, NAME_MOST)
}

fn user(uid: u32, names: &Names) -> String {
    names.get(&uid).map_or_else(|| uid.to_string(), |name| escape(name.as_bytes()))
}

/// What a filter looks at, in small letters.
pub fn filterable(row: &Row, names: &Names) -> String {
    let mut text = label(row, names);
    if let Subject::Process(pid, _) = row.subject {
        let _ = write!(text, " {pid} {}", row.uid.map_or_else(String::new, |uid| user(uid, names)));
    }
    for more in [&row.container, &row.executable].into_iter().flatten() {
        text.push(' ');
        text.push_str(&escape(more.as_bytes()));
    }
    text.to_lowercase()
}

/// A number as it is shown: percent of one processor, bytes a second, bytes, or how many.
pub fn number(metric: Metric, value: u64, elapsed: u64) -> String {
    let a_second = || {
        let rate = u128::from(value) * 1_000_000_000 / u128::from(elapsed.max(1));
        u64::try_from(rate).unwrap_or(u64::MAX)
    };
    match metric {
        Metric::Cpu => {
            let thousandth = u128::from(value) * 1000 / u128::from(elapsed.max(1));
            format!("{}.{}", thousandth / 10, thousandth % 10)
        }
        Metric::Rss => size(value),
        Metric::Connections => value.to_string(),
        _ => size(a_second()),
    }
}

/// A past in so many cells, the newest at the right; in letters where the terminal shows no others.
pub fn sparkline(entry: &Entry, trend: Trend, width: usize, utf8: bool) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const LETTERS: [char; 9] = [' ', '.', ':', '-', '=', '+', '*', '#', '@'];
    let bars = if utf8 { BARS } else { LETTERS };
    let past: Vec<u32> = entry.past(trend).collect();
    // Several points share a cell, which shows the greatest of them.
    let share = 60_usize.div_ceil(width.max(1)).max(1);
    let cells: Vec<u32> =
        past.rchunks(share).take(width).map(|points| points.iter().copied().max().unwrap_or(0)).collect();
    // The lowest bar is a hundredth of a processor or more, so that idling doesn't look like work.
    let least = if trend == Trend::Cpu { 80 } else { 8 };
    let most = cells.iter().copied().max().unwrap_or(0).max(least);
    let bar = |value: u32| {
        let eighths = (u64::from(value) * 8).div_ceil(u64::from(most));
        bars.get(usize::try_from(eighths).unwrap_or(8)).copied().unwrap_or(' ')
    };
    let drawn: String = cells.into_iter().rev().map(bar).collect();
    let blanks = width.saturating_sub(drawn.width());
    " ".repeat(blanks) + &drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_by_the_second() {
        assert_eq!(number(Metric::Cpu, 1_234_000_000, 1_000_000_000), "123.4");
        assert_eq!(number(Metric::DiskRead, 4096, 2_000_000_000), "2.0K");
    }

    #[test]
    fn columns_fit() {
        for by in [By::Process, By::User, By::Container, By::Remote] {
            for width in 21..200 {
                let columns = columns(by, width, true);
                let needed: usize = columns.iter().map(|column| column.width() + 1).sum();
                assert!(needed <= width + 1, "{by:?} {width} {columns:?}");
                assert!(columns.contains(&Column::Name));
            }
        }
        let usual = columns(By::Process, 80, true);
        for metric in Metric::SHOWN {
            let files = matches!(metric, Metric::FileRead | Metric::FileWrite);
            assert_ne!(usual.contains(&Column::Metric(metric)), files, "{metric:?}");
        }
    }

    #[test]
    fn names_are_safe_to_show() {
        let mut row = Row::of(Subject::Process(1, 1));
        row.name = Some(Text::from("\x1b[31mred\n"));
        assert!(!label(&row, &Names::new()).chars().any(char::is_control));
        assert_eq!(cell(Column::Metric(Metric::Cpu), &row, 1, &Names::new()), "-");
        row.subject = Subject::User(0, Some(7));
        let names = Names::from([(0, Text::from("root")), (7, Text::from("a\tb"))]);
        assert_eq!(label(&row, &names), "root ($'a\\x09b')");
    }
}
