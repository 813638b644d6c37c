//! How much of a work a system has told.

use std::collections::{HashMap, HashSet};
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
    /// Whose end was told: what comes of them after that is more, not a part of it.
    ended: HashSet<String>,
}

/// Counts in what it wrote.
pub(crate) fn count(system: &System, work: &Work, output: &Path) -> Result<Count> {
    let search = |(kind, path, made): (Kind, &str, u64)| {
        let marks = system.marks(kind, path)?;
        Some(Search {
            kind,
            marks,
            made: made as f64,
            told: 0.0,
            totals: HashMap::new(),
            ended: HashSet::new(),
        })
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
        } else if let Some((pid, bytes)) = bytes_of_json(line) {
            let ends = line.contains("\"action\":\"exit\"");
            if ends || self.ended.contains(pid) {
                self.told += bytes;
                self.ended.insert(pid.to_owned());
            }
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

/// Who, and `"tx_bytes":12`, of an event.
fn bytes_of_json(line: &str) -> Option<(&str, f64)> {
    let digits = |key: &str| {
        let (_, rest) = line.split_once(key)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()
    };
    Some((digits("\"process\":{\"pid\":")?, digits("\"tx_bytes\":")?.parse().ok()?))
}

/// Who, how much was sent, how much received.
fn bytes_of_row(line: &str) -> Option<(&str, f64)> {
    let mut cells = line.trim().split('\t');
    Some((cells.next()?, cells.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(kind: Kind, mark: &str, made: f64) -> Search {
        let marks = vec![mark.to_owned()];
        Search { kind, marks, made, told: 0.0, totals: HashMap::new(), ended: HashSet::new() }
    }

    #[test]
    fn what_a_process_sends_after_its_end_is_told_apart() {
        let mut search = search(Kind::Sent, "{", 100.0);
        let event = |action: &str, bytes: u64| {
            format!("{{\"action\":\"{action}\",\"process\":{{\"pid\":7}},\"net\":{{\"tx_bytes\":{bytes}}}}}")
        };
        for line in [event("usage", 40), event("exit", 90), event("usage", 10)] {
            search.note(&line);
        }
        assert_eq!(search.count().told, 100.0);
    }

    #[test]
    fn bytes_are_read_from_events_and_from_rows() {
        let event = "{\"process\":{\"pid\":7},\"net\":{\"rx_bytes\":1,\"tx_bytes\":27}}";
        assert_eq!(bytes_of_json(event), Some(("7", 27.0)));
        assert_eq!(bytes_of_row("./peer-work/7/0\t2.5e+03\t0\n"), Some(("./peer-work/7/0", 2500.0)));
        assert_eq!(bytes_of_row("Refreshing:"), None);
    }

    #[test]
    fn totals_are_not_added_up() {
        let mut search = search(Kind::Sent, "peer-work/", 100.0);
        for line in ["peer-work/7/0\t10\t0", "peer-work/7/0\t90\t0", "other/8/0\t5\t0"] {
            search.note(line);
        }
        assert_eq!(search.count().told, 90.0);
    }

    #[test]
    fn nothing_is_told_more_often_than_it_was_made() {
        let mut search = search(Kind::Exec, "", 1.0);
        search.note("a");
        search.note("b");
        assert_eq!(search.count().told, 1.0);
    }
}
