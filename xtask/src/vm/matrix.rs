//! Kernels and tests side by side: which test went how where.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Went;
use super::results::Outcome;

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

/// The short form, a row for each machine: these, and the rows of others as the page had them.
pub(super) fn page(old: &str, machines: &[Went], extent: &str) -> String {
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with(COLUMNS.trim_end());
    let mut rows: BTreeMap<String, String> =
        old.lines().filter(is_row).map(|line| (key(line), line.to_owned())).collect();
    for machine in machines {
        let [ok, not_here, failed] =
            [Outcome::ok, Outcome::not_here, Outcome::failed].map(|kind| machine.count(kind));
        let failures: Vec<String> = machine
            .rows
            .iter()
            .filter(|row| row.outcome.failed())
            .map(|row| format!("`{}`", row.test))
            .collect();
        let which = failures.join(", ");
        let row = format!("| {} | {extent} | {ok} | {not_here} | {failed} | {which} |", machine.name);
        rows.insert(key(&row), row);
    }
    let rows: String = rows.into_values().map(|row| row + "\n").collect();
    format!("{HEAD}\n{COLUMNS}|---|---|---:|---:|---:|---|\n{rows}")
}

/// What makes a row another: the series, whose it is, and which tests.
fn key(row: &str) -> String {
    let mut cells = row.split('|').skip(1).map(str::trim);
    let (machine, extent) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
    let (release, variant) = machine.split_once(' ').unwrap_or((machine, ""));
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0_u32));
    let (version, level) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    format!("{version:03}.{level:03} {variant} {extent}")
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

    #[test]
    fn the_page_keeps_the_rows_of_others() {
        let first = page("", &machines(), "fast");
        assert!(first.starts_with(HEAD), "{first}");
        assert!(
            first.ends_with("| 5.10 | fast | 1 | 1 | 0 |  |\n| 6.1 | fast | 0 | 0 | 1 | `exec::a` |\n"),
            "{first}"
        );
        let second = page(&first, &[machine("6.1.9", &[("exec::a", Outcome::Ok)])], "fast");
        assert!(
            second.ends_with("| 5.10 | fast | 1 | 1 | 0 |  |\n| 6.1.9 | fast | 1 | 0 | 0 |  |\n"),
            "{second}"
        );
        let third = page(&second, &[machine("6.1.9 lockdown", &[])], "all");
        assert_eq!(third.lines().count(), second.lines().count() + 1, "{third}");
    }
}
