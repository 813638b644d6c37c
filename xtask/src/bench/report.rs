//! Figures, as a table for people and as JSON for programs, and the bars that they must keep.

use std::fmt::Write as _;

/// One table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) figures: Vec<Figure>,
}

/// One row: a thing, and what was measured of it.
#[derive(Debug)]
pub(crate) struct Figure {
    name: String,
    values: Vec<Value>,
    bars: Vec<Bar>,
    /// What stands behind the numbers, for people.
    drawn: String,
}

#[derive(Debug)]
struct Value {
    what: &'static str,
    number: f64,
    decimals: usize,
}

impl Value {
    fn text(&self) -> String {
        if self.number.is_nan() { "–".to_owned() } else { format!("{:.*}", self.decimals, self.number) }
    }
}

/// A value that may not be passed.
#[derive(Debug)]
struct Bar {
    what: &'static str,
    limit: f64,
    side: Side,
}

/// On which side of a bar a value must be.
#[derive(Debug, Clone, Copy)]
enum Side {
    Below,
    Above,
}

impl Side {
    /// The sign, the key in JSON, and what it is called to be on the wrong side.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Below => ("≤", "at_most", "above"),
            Self::Above => ("≥", "at_least", "below"),
        }
    }
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), values: Vec::new(), bars: Vec::new(), drawn: String::new() }
    }

    /// Adds a value.
    pub(crate) fn value(mut self, what: &'static str, number: f64, decimals: usize) -> Self {
        self.values.push(Value { what, number, decimals });
        self
    }

    /// Adds a drawing, or a word, that only people see.
    pub(crate) fn drawn(mut self, drawing: impl Into<String>) -> Self {
        self.drawn = drawing.into();
        self
    }

    /// Says which value has a bar.
    pub(crate) fn at_most(mut self, what: &'static str, limit: f64) -> Self {
        self.bars.push(Bar { what, limit, side: Side::Below });
        self
    }

    /// The same, of a value that may not be too small.
    pub(crate) fn at_least(mut self, what: &'static str, limit: f64) -> Self {
        self.bars.push(Bar { what, limit, side: Side::Above });
        self
    }

    fn get(&self, what: &str) -> Option<&Value> {
        self.values.iter().find(|value| value.what == what)
    }

    /// What was not measured is not met.
    fn meets(&self, bar: &Bar) -> bool {
        self.get(bar.what).is_some_and(|value| match bar.side {
            Side::Below => value.number <= bar.limit,
            Side::Above => value.number >= bar.limit,
        })
    }

    fn verdict(&self) -> String {
        let verdict = |bar: &Bar| {
            let met = if self.meets(bar) { "met" } else { "NOT MET" };
            format!("{} {} {} {met}", bar.what, bar.side.words().0, bar.limit)
        };
        let verdicts = self.bars.iter().map(verdict);
        let words = verdicts.chain((!self.drawn.is_empty()).then(|| self.drawn.clone()));
        words.collect::<Vec<_>>().join(", ")
    }
}

impl Table {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), figures: Vec::new() }
    }

    /// Says which value of the figures of this name has a bar.
    pub(crate) fn bar(&mut self, name: &str, what: &'static str, limit: f64) {
        for figure in self.figures.iter_mut().filter(|figure| figure.name == name) {
            figure.bars.push(Bar { what, limit, side: Side::Below });
        }
    }

    /// The bars that are not met, each in a sentence.
    pub(crate) fn broken(&self) -> Vec<String> {
        let broken = |figure: &Figure| {
            let bars = figure.bars.iter().filter(|bar| !figure.meets(bar));
            let say =
                |bar: &Bar| format!("{}: {} is {} {}", figure.name, bar.what, bar.side.words().2, bar.limit);
            bars.map(say).collect::<Vec<_>>()
        };
        self.figures.iter().flat_map(broken).collect()
    }

    /// All bars, each with its figure and whether it is met.
    pub(crate) fn verdicts(&self) -> Vec<(&str, String)> {
        let barred = self.figures.iter().filter(|figure| !figure.bars.is_empty());
        barred.map(|figure| (figure.name.as_str(), figure.verdict())).collect()
    }

    /// The table in lines.
    pub(crate) fn text(&self) -> String {
        let columns = self.columns();
        let mut rows = vec![header(&columns)];
        rows.extend(self.figures.iter().map(|figure| row(figure, &columns)));
        let mut text = format!("{}\n", self.title);
        let widths = widths(&rows);
        for row in &rows {
            text += &line(row, &widths);
        }
        text
    }

    /// The table as a JSON object.
    pub(crate) fn json(&self) -> String {
        let figures: Vec<String> = self.figures.iter().map(json_figure).collect();
        format!("{{\"title\":{},\"figures\":[{}]}}", quoted(&self.title), figures.join(","))
    }

    fn columns(&self) -> Vec<&'static str> {
        let mut columns = Vec::new();
        for value in self.figures.iter().flat_map(|figure| &figure.values) {
            if !columns.contains(&value.what) {
                columns.push(value.what);
            }
        }
        columns
    }
}

fn header(columns: &[&str]) -> Vec<String> {
    let names = columns.iter().map(|column| (*column).to_owned());
    std::iter::once(String::new()).chain(names).chain([String::new()]).collect()
}

fn row(figure: &Figure, columns: &[&str]) -> Vec<String> {
    let cell = |column: &&str| figure.get(column).map_or_else(String::new, Value::text);
    let cells = columns.iter().map(cell);
    std::iter::once(figure.name.clone()).chain(cells).chain([figure.verdict()]).collect()
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    (0..count).map(width).collect()
}

/// The first cell and the last to the left, numbers to the right.
fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::from(" ");
    for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
        let left = at == 0 || at + 1 == row.len();
        // Writing to a String can't fail.
        let _ = if left { write!(line, " {cell:<width$} ") } else { write!(line, " {cell:>width$} ") };
    }
    format!("{}\n", line.trim_end())
}

fn json_figure(figure: &Figure) -> String {
    let mut json = format!("{{\"name\":{}", quoted(&figure.name));
    for value in &figure.values {
        json += &format!(",{}:{}", quoted(value.what), number(value.number));
    }
    let bar = |bar: &Bar| {
        let (what, limit, met) = (quoted(bar.what), bar.limit, figure.meets(bar));
        let (_, side, _) = bar.side.words();
        format!("{{\"what\":{what},\"{side}\":{limit},\"met\":{met}}}")
    };
    let bars: Vec<String> = figure.bars.iter().map(bar).collect();
    format!("{json},\"bars\":[{}]}}", bars.join(","))
}

/// JSON has no word for what is no number.
fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { "null".to_owned() }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let fast = Figure::new("fast").value("ratio", 1.0416, 3).at_most("ratio", 1.08);
        let slow = Figure::new("a \"slow\" one").value("ratio", 1.5, 3).value("lost", 2.0, 0);
        Table { title: "T".to_owned(), figures: vec![fast, slow.at_most("ratio", 1.1)] }
    }

    #[test]
    fn columns_are_aligned() {
        let text = table().text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "T");
        assert_eq!(lines[1], "                ratio  lost");
        assert_eq!(lines[2], "  fast          1.042        ratio ≤ 1.08 met");
        assert_eq!(lines[3], "  a \"slow\" one  1.500     2  ratio ≤ 1.1 NOT MET");
    }

    #[test]
    fn broken_bars_are_named() {
        assert_eq!(table().broken(), ["a \"slow\" one: ratio is above 1.1"]);
        let unmeasured = Figure::new("a").value("ratio", f64::NAN, 3).at_most("ratio", 1.0);
        assert!(!unmeasured.meets(&unmeasured.bars[0]));
        let enough = Figure::new("a").value("ratio", 0.92, 3).at_least("ratio", 0.92);
        assert!(enough.meets(&enough.bars[0]));
        let little = Figure::new("a").value("ratio", 0.91, 3).at_least("ratio", 0.92);
        let table = Table { title: String::new(), figures: vec![little] };
        assert_eq!(table.broken(), ["a: ratio is below 0.92"]);
    }

    #[test]
    fn json_holds_all_of_it() {
        let json = table().json();
        assert!(json.starts_with("{\"title\":\"T\",\"figures\":[{\"name\":\"fast\",\"ratio\":1.0416,"));
        assert!(json.contains("\"bars\":[{\"what\":\"ratio\",\"at_most\":1.08,\"met\":true}]"));
        assert!(json.contains("\"name\":\"a \\\"slow\\\" one\""));
        assert_eq!(number(f64::NAN), "null");
    }
}
