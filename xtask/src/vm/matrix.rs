//! Kernels and tests side by side: which test went how where.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Went;
use super::results::Outcome;

/// Where the short form is kept.
pub(super) const PAGE: &str = "docs/kernels.md";
const HEAD: &str = include_str!("kernels.md");

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
    let numbers: String = (1..=machines.len()).map(|at| format!("{at:>4}")).collect();
    let _ = writeln!(text, "\n{numbers}   ok: passed, -: not here, .: not tried");
    for (test, marks) in tests {
        let marks: String = marks.iter().map(|mark| format!("{mark:>4}")).collect();
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

/// The short form: how many tests went how on which machine, and what isn't there.
pub(super) fn page(machines: &[Went]) -> String {
    let mut page = format!("{HEAD}\n| Linux | ok | not here | failed |\n|---|---:|---:|---:|\n");
    for machine in machines {
        let [ok, not_here, failed] =
            [Outcome::ok, Outcome::not_here, Outcome::failed].map(|kind| machine.count(kind));
        let _ = writeln!(page, "| {} | {ok} | {not_here} | {failed} |", machine.name);
    }
    let rows = machines.iter().flat_map(|machine| machine.rows.iter().map(move |row| (row, &*machine.name)));
    let mut lacks: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let mut fails: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (row, machine) in rows {
        match &row.outcome {
            Outcome::NotHere(reason) => lacks.entry((&row.test, reason)).or_default().push(machine),
            Outcome::Failed(_) => fails.entry(&row.test).or_default().push(machine),
            Outcome::Ok => {}
        }
    }
    for (test, machines) in fails {
        let _ = writeln!(page, "\n**Failed**: `{test}` on {}.", machines.join(", "));
    }
    if !lacks.is_empty() {
        page.push_str("\n| not here | why | on Linux |\n|---|---|---|\n");
    }
    for ((test, reason), machines) in lacks {
        let _ = writeln!(page, "| `{test}` | {reason} | {} |", machines.join(", "));
    }
    page
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
        assert!(text.contains("\n  ok FAIL   exec::a\n   -   .   net::b\n"), "{text}");
        assert!(text.contains("  2  Linux 6.1\n"), "{text}");
    }

    #[test]
    fn the_page_counts_and_says_why() {
        let page = page(&machines());
        assert!(
            page.starts_with(HEAD) && page.contains("| 5.10 | 1 | 1 | 0 |\n| 6.1 | 0 | 0 | 1 |\n"),
            "{page}"
        );
        assert!(page.contains("\n**Failed**: `exec::a` on 6.1.\n"), "{page}");
        assert!(page.ends_with("| `net::b` | no such hook | 5.10 |\n"), "{page}");
    }
}
