//! Tables for a person: columns as wide as what stands in them, and under a line what is odd about it.
//!
//! What stands in the cells is safe to show already.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::severity;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// What stands above it.
    pub title: &'static str,
    /// Whether it holds numbers, which end at the same place.
    pub right: bool,
}

/// A line of cells, one for each column.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// What stands in the columns.
    pub cells: Vec<String>,
    /// How odd it is, as `event.severity`; 0 is not odd.
    pub severity: u64,
    /// What is odd about it, a sentence each.
    pub notes: Vec<String>,
}

/// As text. Columns in which nothing stands are left out; the last is cut at `width`, if there is one.
#[must_use]
pub fn text(heads: &[Head], lines: &[Line], width: Option<usize>, colour: bool) -> String {
    let cells = |at: usize| lines.iter().filter_map(move |line| line.cells.get(at));
    let shown: Vec<(usize, &Head)> =
        heads.iter().enumerate().filter(|(at, _)| cells(*at).any(|cell| !cell.is_empty())).collect();
    let widths: Vec<usize> = shown
        .iter()
        .map(|(at, head)| cells(*at).map(|cell| cell.width()).max().unwrap_or(0).max(head.title.width()))
        .collect();
    let row = |cell: &dyn Fn(usize, &'static str) -> String| {
        let mut row = String::new();
        for (number, ((at, head), width)) in shown.iter().zip(&widths).enumerate() {
            let cell = cell(*at, head.title);
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            let last = number + 1 == shown.len();
            match (head.right, last) {
                (true, _) => row.extend([blanks, cell]),
                (false, true) => row.push_str(&cell),
                (false, false) => row.extend([cell, blanks]),
            }
            if !last {
                row.push_str("  ");
            }
        }
        width.map_or_else(|| row.clone(), |width| fit(&row, width))
    };
    let mut out = row(&|_, title| title.to_owned()) + "\n";
    for line in lines {
        let paint = (colour && line.severity != 0).then(|| severity(line.severity).1);
        let mut add = |text: &str| match paint {
            Some(code) => out.extend(["\x1b[", code, "m", text, "\x1b[0m\n"]),
            None => out.extend([text, "\n"]),
        };
        add(&row(&|at, _| line.cells.get(at).cloned().unwrap_or_default()));
        for note in &line.notes {
            add(&format!("    ! {note}"));
        }
    }
    out
}

/// Rows of texts under the names of their columns: all of them, as they are.
#[must_use]
pub fn columns(names: &[String], rows: &[Vec<String>]) -> String {
    let widest = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max();
    let widths: Vec<usize> =
        names.iter().enumerate().map(|(at, name)| widest(at).unwrap_or(0).max(name.width())).collect();
    let mut out = String::new();
    for row in [names].into_iter().chain(rows.iter().map(Vec::as_slice)) {
        let start = out.len();
        for (cell, width) in row.iter().zip(&widths) {
            out.extend([cell.as_str(), &" ".repeat(width.saturating_sub(cell.width())), "  "]);
        }
        let end = out.get(start..).unwrap_or_default().trim_end().len();
        out.truncate(start + end);
        out.push('\n');
    }
    out
}

/// How long something lasts or has lasted, in at most six characters: the two largest units.
#[must_use]
pub fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days >= 1000 => format!("{days}d"),
        () if days > 0 => format!("{days}d{:02}h", hours % 24),
        () if hours > 0 => format!("{hours}h{:02}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m{:02}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

/// Bytes in at most five characters.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if bytes < 1000 {
        return bytes.to_string();
    }
    // In tenths of the unit.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    for unit in UNITS {
        if tenths < 100 {
            return format!("{}.{}{unit}", tenths / 10, tenths % 10);
        }
        if tenths < 10_240 {
            return format!("{}{unit}", tenths / 10);
        }
        tenths /= 1024;
    }
    bytes.to_string()
}

/// As much of a text as fits into so many cells, with a mark where it was cut.
#[must_use]
pub fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut fits = String::new();
    let mut left = width.saturating_sub(1);
    for c in text.chars() {
        let cells = c.width().unwrap_or(0);
        if cells > left {
            break;
        }
        left -= cells;
        fits.push(c);
    }
    if width > 0 {
        fits.push('~');
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_they_hold() {
        let heads = [("PID", true), ("USER", false), ("TTY", false), ("COMMAND", false)]
            .map(|(title, right)| Head { title, right });
        let line = |cells: [&str; 4]| Line { cells: cells.map(str::to_owned).to_vec(), ..Line::default() };
        let mut lines = [line(["1", "root", "", "/sbin/init"]), line(["4242", "a", "", "/bin/日本語 x"])];
        lines[1].severity = 73;
        lines[1].notes = vec!["deleted".to_owned()];
        let plain = text(&heads, &lines, Some(22), false);
        assert_eq!(
            plain,
            " PID  USER  COMMAND\n   1  root  /sbin/init\n4242  a     /bin/日本~\n    ! deleted\n"
        );
        assert!(text(&heads, &lines, None, true).contains("\x1b[31m    ! deleted\x1b[0m"));
    }

    #[test]
    fn spans_show_their_largest_units() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (61, "1m01s"),
            (3600, "1h00m"),
            (90_000, "1d01h"),
            (1 << 40, "12725829d"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(span(seconds), shown);
        }
    }

    #[test]
    fn sizes_take_five_characters() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "0.9K"),
            (1024, "1.0K"),
            (10 * 1024, "10K"),
            (1023 * 1024, "1023K"),
            (1 << 20, "1.0M"),
            (u64::MAX, "15E"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(size(bytes), shown);
        }
        assert!((0..64).all(|bit| size(1 << bit).len() <= 5 && size((1 << bit) - 1).len() <= 5));
    }

    #[test]
    fn texts_are_cut_by_cells() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab~");
        assert_eq!(fit("日本語", 4), "日~");
        assert_eq!(fit("日本語", 0), "");
        for width in 0..9 {
            assert!(fit("a日本e\u{301}語", width).width() <= width);
        }
    }
}
