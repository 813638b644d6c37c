//! Kernels and tests side by side: which test went how where.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::Went;
use super::results::{Outcome, WHOLE};

/// Where the short form is kept.
pub(super) const PAGE: &str = "docs/kernels.md";
const HEAD: &str = include_str!("kernels.md");
const COLUMNS: &str = "| Linux | tests | ok | not here | failed | which |\n";

/// A row for each test, a column for each machine.
pub(super) fn text(machines: &[Went]) -> String {
    let mut tests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (at, machine) in machines.iter().enumerate() {
        for row in &machine.rows {
            let marks = tests.entry(&row.test).or_insert_with(|| vec!["."; machines.len()]);
            if let Some(place) = marks.get_mut(at) {
                *place = mark(&row.outcome);
            }
        }
    }
    let mut text = String::from("\n");
    for (at, machine) in machines.iter().enumerate() {
        let _ = writeln!(text, "{:>3}  Linux {}", at + 1, machine.name);
    }
    let numbers: String = (1..=machines.len()).map(|at| format!("{at:>5}")).collect();
    let _ = writeln!(text, "\n{numbers}   ok: passed, -: not here, .: not tried");
    for (test, marks) in tests {
        let marks: String = marks.iter().map(|mark| format!("{mark:>5}")).collect();
        let _ = writeln!(text, "{marks}   {test}");
    }
    text
}

fn mark(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::NotHere(_) => "-",
        Outcome::Failed(_) => "FAIL",
    }
}

/// A row of the short form: how a machine's tests went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    machine: String,
    extent: String,
    ok: usize,
    not_here: usize,
    /// Which failed.
    pub(super) failed: Vec<String>,
}

impl Sums {
    pub(super) fn of(went: &Went, extent: &str) -> Self {
        let failed = went.rows.iter().filter(|row| row.outcome.failed()).map(|row| row.test.clone());
        Self {
            machine: went.name.clone(),
            extent: extent.to_owned(),
            ok: went.count(Outcome::ok),
            not_here: went.count(Outcome::not_here),
            failed: failed.collect(),
        }
    }

    /// Whether each failure is a test's or a program's, not the kernel's.
    pub(super) fn names_tests(&self) -> bool {
        self.failed.iter().all(|test| test.contains("::"))
    }

    /// Some of what failed was tried again: how that went counts, and what the kernel said meanwhile.
    pub(super) fn renew(&mut self, again: &Went) {
        for row in &again.rows {
            let program = row.test.split_once("::").map(|(program, _)| format!("{program}::{WHOLE}"));
            let asked = |test: &String| *test == row.test || Some(test) == program.as_ref();
            // Of the others only what failed is asked for.
            if !self.failed.iter().any(asked) && !row.outcome.failed() {
                continue;
            }
            self.failed.retain(|test| *test != row.test);
            match &row.outcome {
                Outcome::Ok => self.ok += 1,
                Outcome::NotHere(_) => self.not_here += 1,
                Outcome::Failed(_) => self.failed.push(row.test.clone()),
            }
        }
        // A program of which each test is known now.
        let known = |test: &String| {
            let of = test.strip_suffix(WHOLE);
            of.is_some_and(|of| again.rows.iter().any(|row| row.test.starts_with(of) && row.test != *test))
        };
        self.failed.retain(|test| !known(test));
        self.machine.clone_from(&again.name);
    }

    /// Reads a line of the page; none of what is none.
    fn read(line: &str) -> Option<Self> {
        let mut cells = line.strip_prefix("| ")?.split('|').map(str::trim);
        let mut next = || cells.next();
        let (machine, extent) = (next()?.to_owned(), next()?.to_owned());
        let (ok, not_here, _) = (next()?.parse().ok()?, next()?.parse().ok()?, next()?);
        let failed = next()?.split(", ").filter(|test| !test.is_empty());
        let failed = failed.map(|test| test.trim_matches('`').to_owned()).collect();
        Some(Self { machine, extent, ok, not_here, failed })
    }

    /// What makes a row another: the series, whose it is, and which tests.
    fn key(&self) -> String {
        let (release, variant) = self.machine.split_once(' ').unwrap_or((&self.machine, ""));
        let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0_u32));
        let (version, level) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        format!("{version:03}.{level:03} {variant} {}", self.extent)
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, extent, ok, not_here, failed } = self;
        let which: Vec<String> = failed.iter().map(|test| format!("`{test}`")).collect();
        let (failed, which) = (failed.len(), which.join(", "));
        write!(formatter, "| {machine} | {extent} | {ok} | {not_here} | {failed} | {which} |")
    }
}

/// What the page says of that machine, by the series of its kernel.
pub(super) fn found(page: &str, machine: &str, extent: &str) -> Option<Sums> {
    let (machine, extent) = (machine.to_owned(), extent.to_owned());
    let key = Sums { machine, extent, ok: 0, not_here: 0, failed: Vec::new() }.key();
    page.lines().filter_map(Sums::read).find(|row| row.key() == key)
}

/// The short form with this row in it, and those of others as the page had them.
pub(super) fn page(old: &str, row: Sums) -> String {
    let mut rows: BTreeMap<String, Sums> =
        old.lines().filter_map(Sums::read).map(|row| (row.key(), row)).collect();
    rows.insert(row.key(), row);
    let rows: String = rows.into_values().map(|row| format!("{row}\n")).collect();
    format!("{HEAD}\n{COLUMNS}|---|---|---:|---:|---:|---|\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::super::results::Row;
    use super::*;

    fn machine(name: &str, rows: &[(&str, Outcome)]) -> Went {
        let rows =
            rows.iter().map(|(test, outcome)| Row { test: (*test).to_owned(), outcome: outcome.clone() });
        Went { name: name.to_owned(), rows: rows.collect(), said: String::new() }
    }

    fn machines() -> [Went; 2] {
        let not_here = Outcome::NotHere("no such hook".to_owned());
        [
            machine("5.10", &[("exec::a", Outcome::Ok), ("net::b", not_here)]),
            machine("6.1", &[("exec::a", Outcome::Failed("it\nbroke".to_owned()))]),
        ]
    }

    #[test]
    fn each_test_has_a_row() {
        let text = text(&machines());
        assert!(text.contains("\n   ok FAIL   exec::a\n    -    .   net::b\n"), "{text}");
        assert!(text.contains("  2  Linux 6.1\n"), "{text}");
    }

    fn sums(name: &str, rows: &[(&str, Outcome)], extent: &str) -> Sums {
        Sums::of(&machine(name, rows), extent)
    }

    #[test]
    fn the_page_keeps_the_rows_of_others() {
        let [old, new] = machines();
        let first = page(&page("", Sums::of(&old, "fast")), Sums::of(&new, "fast"));
        assert!(first.starts_with(HEAD), "{first}");
        assert!(
            first.ends_with("| 5.10 | fast | 1 | 1 | 0 |  |\n| 6.1 | fast | 0 | 0 | 1 | `exec::a` |\n"),
            "{first}"
        );
        let second = page(&first, sums("6.1.9", &[("exec::a", Outcome::Ok)], "fast"));
        assert!(
            second.ends_with("| 5.10 | fast | 1 | 1 | 0 |  |\n| 6.1.9 | fast | 1 | 0 | 0 |  |\n"),
            "{second}"
        );
        let third = page(&second, sums("6.1.9 lockdown", &[], "all"));
        assert_eq!(third.lines().count(), second.lines().count() + 1, "{third}");
    }

    #[test]
    fn what_is_tried_again_counts_once() {
        let failed = || Outcome::Failed(String::new());
        let first =
            [("exec::a", Outcome::Ok), ("exec::b", failed()), ("exec::c", failed()), ("net::d", failed())];
        let text = page("", sums("6.1.5 best", &first, "all"));
        assert_eq!(found(&text, "6.1.9", "all"), None);
        let mut row = found(&text, "6.1.9 best", "all").unwrap();
        let not_here = Outcome::NotHere("no such hook".to_owned());
        let again = [("exec::b", Outcome::Ok), ("exec::c", not_here), ("net::d", failed())];
        row.renew(&machine("6.1.9 best", &again));
        assert_eq!(row.to_string(), "| 6.1.9 best | all | 2 | 1 | 1 | `net::d` |");
        assert!(row.names_tests());
        row.renew(&machine("6.1.9 best", &[("kernel", failed())]));
        assert_eq!(row.failed, ["net::d", "kernel"]);
        assert!(!row.names_tests());
        // A program that was cut off counts test by test when it was run whole.
        let mut row =
            sums("6.1", &[("exec::a", Outcome::Ok), ("net::*", failed()), ("io::*", failed())], "all");
        assert!(row.names_tests());
        let again =
            [("net::b", Outcome::Ok), ("net::c", failed()), ("net::d", Outcome::Ok), ("io::*", failed())];
        row.renew(&machine("6.1", &again));
        assert_eq!(row.to_string(), "| 6.1 | all | 3 | 0 | 2 | `net::c`, `io::*` |");
    }
}
