//! How much of a work a system has told.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::system::System;
use super::work::{Kind, Work};
use crate::error::{Error, Result};

/// Of all that a system sees of a work.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) told: f64,
    pub(crate) made: f64,
}

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        self.told += other.told;
        self.made += other.made;
    }
}

/// One thing that is looked for.
struct Search {
    kind: Kind,
    marks: Vec<String>,
    made: f64,
    told: f64,
    /// Totals that are told again and again, by who they are of.
    totals: HashMap<String, f64>,
}

/// Counts in what it wrote.
pub(crate) fn count(system: &System, work: &Work, output: &Path) -> Result<Count> {
    let search = |(kind, path, made): (Kind, &str, u64)| {
        let marks = system.marks(kind, path)?;
        Some(Search { kind, marks, made: made as f64, told: 0.0, totals: HashMap::new() })
    };
    let mut searches: Vec<Search> = work.told().filter_map(search).collect();
    if searches.is_empty() {
        return Ok(Count::default());
    }
    let file = File::open(output).map_err(Error::file("open", output))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(Error::file("read", output))? > 0 {
        let text = String::from_utf8_lossy(&line);
        searches.iter_mut().for_each(|search| search.note(&text));
        line.clear();
    }
    let mut all = Count::default();
    searches.iter().for_each(|search| all.add(search.count()));
    Ok(all)
}

impl Search {
    fn note(&mut self, line: &str) {
        if !self.marks.iter().all(|mark| line.contains(mark.as_str())) {
            return;
        }
        if self.kind != Kind::Sent {
            self.told += 1.0;
        } else if let Some(bytes) = bytes_of_json(line) {
            self.told += bytes;
        } else if let Some((who, bytes)) = bytes_of_row(line) {
            self.totals.insert(who.to_owned(), bytes);
        }
    }

    fn count(&self) -> Count {
        let told = self.told + self.totals.values().sum::<f64>();
        // The program that works begins and ends too; of bytes a head more or less is counted.
        let told = if self.kind == Kind::Sent { told } else { told.min(self.made) };
        Count { told, made: self.made }
    }
}

/// `"tx_bytes":12` of an event.
fn bytes_of_json(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once("\"tx_bytes\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Who, how much was sent, how much received.
fn bytes_of_row(line: &str) -> Option<(&str, f64)> {
    let mut cells = line.trim().split('\t');
    Some((cells.next()?, cells.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_from_events_and_from_rows() {
        assert_eq!(bytes_of_json("{\"net\":{\"rx_bytes\":1,\"tx_bytes\":27}}"), Some(27.0));
        assert_eq!(bytes_of_row("./peer-work/7/0\t2.5e+03\t0\n"), Some(("./peer-work/7/0", 2500.0)));
        assert_eq!(bytes_of_row("Refreshing:"), None);
    }

    #[test]
    fn totals_are_not_added_up() {
        let marks = vec!["peer-work/".to_owned()];
        let mut search = Search { kind: Kind::Sent, marks, made: 100.0, told: 0.0, totals: HashMap::new() };
        for line in ["peer-work/7/0\t10\t0", "peer-work/7/0\t90\t0", "other/8/0\t5\t0"] {
            search.note(line);
        }
        assert_eq!(search.count().told, 90.0);
    }

    #[test]
    fn nothing_is_told_more_often_than_it_was_made() {
        let mut search =
            Search { kind: Kind::Exec, marks: Vec::new(), made: 1.0, told: 0.0, totals: HashMap::new() };
        search.note("a");
        search.note("b");
        assert_eq!(search.count().told, 1.0);
    }
}
