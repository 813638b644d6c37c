//! What a machine said, as a row for each test.

use std::collections::HashMap;
use std::fmt;

use super::machine::Said;

/// How a test went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    /// The kernel hasn't got what it needs.
    NotHere(String),
    /// With what it said.
    Failed(String),
}

/// A test, by its file and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) test: String,
    pub(super) outcome: Outcome,
}

impl Outcome {
    pub(super) fn ok(&self) -> bool {
        *self == Self::Ok
    }

    pub(super) fn not_here(&self) -> bool {
        matches!(self, Self::NotHere(_))
    }

    pub(super) fn failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl Row {
    /// Whether it stands for all tests of a program.
    fn is_whole(&self) -> bool {
        self.test.strip_suffix(WHOLE).is_some_and(|program| program.ends_with("::"))
    }

    /// What is said of a machine that can't be booted.
    pub(super) fn no_kernel(why: &str) -> Self {
        Self { test: KERNEL.to_owned(), outcome: Outcome::Failed(why.to_owned()) }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => formatter.write_str("ok"),
            Self::NotHere(reason) => write!(formatter, "not here: {reason}"),
            Self::Failed(said) => {
                formatter.write_str("FAILED")?;
                said.lines().try_for_each(|line| write!(formatter, "\n    {line}"))
            }
        }
    }
}

/// The name of the row about the kernel itself, which is no test.
const KERNEL: &str = "kernel";
/// Stands for all tests of a program.
pub(super) const WHOLE: &str = "*";
/// What the kernel says on its console when it went wrong.
const COMPLAINTS: &[&str] =
    &["BUG:", "WARNING:", "Oops", "Kernel panic", "general protection fault", "cannot load"];
/// Lines of the console that are shown.
const TAIL: usize = 40;

/// What a machine said about one program of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section<'a> {
    /// As the plan calls it: the program, and the words by which it was told its tests.
    pub(super) title: &'a str,
    /// The status it ended with; none when it was cut off.
    status: Option<&'a str>,
    /// From its beginning to its end, as said.
    pub(super) text: &'a str,
}

impl Section<'_> {
    /// Whether it wasn't cut off.
    pub(super) fn ended(&self) -> bool {
        self.status.is_some()
    }

    /// Whether none of its tests failed.
    pub(super) fn ended_well(&self) -> bool {
        self.status == Some("0")
    }

    fn rows(&self) -> Vec<Row> {
        let program = self.title.split(' ').next().unwrap_or_default();
        let lines: Vec<&str> = self.text.lines().map(|line| line.trim_end_matches('\r')).collect();
        of_program(program, &lines, self.status.unwrap_or("cut off"))
    }
}

/// The programs of tests of which a machine spoke.
pub(super) fn sections(said: &str) -> Vec<Section<'_>> {
    let mut sections = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    let mut at = 0;
    let section =
        |title, status, from, to| Section { title, status, text: said.get(from..to).unwrap_or_default() };
    for line in said.split_inclusive('\n') {
        let from = at;
        at += line.len();
        if let Some(title) = line.strip_prefix("@begin ") {
            open = Some((title.trim_end(), from));
        } else if let Some(end) = line.strip_prefix("@end ")
            // Of a machine that is still at work the last line may not be whole.
            && line.ends_with('\n')
            && let Some((title, from)) = open.take()
        {
            sections.push(section(title, Some(end.split_whitespace().nth(1).unwrap_or("?")), from, at));
        }
    }
    sections.extend(open.map(|(title, from)| section(title, None, from, at)));
    sections
}

/// Reads all that a machine said that was to run these programs, by their titles. What doesn't end as it should is a
/// failure, and so is a complaint of the kernel.
pub(super) fn rows<'a>(said: &Said, titles: impl IntoIterator<Item = &'a str>) -> Vec<Row> {
    let done = said.results.lines().any(|line| line.trim_end() == "@done");
    let sections = sections(&said.results);
    let mut rows: Vec<Row> = sections.iter().flat_map(Section::rows).collect();
    let begun = |title: &str| sections.iter().any(|section| section.title == title);
    for title in titles.into_iter().filter(|title| !begun(title)) {
        rows.push(whole(title, "it wasn't begun"));
    }
    // A machine that stopped under way did so in a program that isn't over.
    if done || !rows.iter().any(Row::is_whole) {
        rows.extend(of_kernel(&said.console, done));
    }
    rows
}

/// A program whose tests aren't known one by one.
fn whole(title: &str, said: &str) -> Row {
    let program = title.split(' ').next().unwrap_or_default();
    Row { test: format!("{program}::{WHOLE}"), outcome: Outcome::Failed(said.to_owned()) }
}

fn of_kernel(console: &str, done: bool) -> Option<Row> {
    let lines: Vec<&str> = console.lines().collect();
    let complaint = lines.iter().position(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)));
    let from = match complaint {
        Some(at) => at,
        None if done => return None,
        None => lines.len().saturating_sub(TAIL),
    };
    let text: Vec<&str> = lines.iter().skip(from).take(TAIL).copied().collect();
    let what = if done { "the kernel complained" } else { "the machine didn't come to the end" };
    Some(Row { test: KERNEL.to_owned(), outcome: Outcome::Failed(format!("{what}:\n{}", text.join("\n"))) })
}

/// The rows of one program, by what libtest prints; of one that didn't come to its end one alone.
fn of_program(program: &str, lines: &[&str], status: &str) -> Vec<Row> {
    let not_here: HashMap<&str, &str> =
        lines.iter().filter_map(|line| line.strip_prefix("not here ")?.split_once(": ")).collect();
    let mut rows = Vec::new();
    for line in lines {
        let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            continue;
        };
        let test = format!("{program}::{name}");
        let outcome = match (result, not_here.get(&*test)) {
            ("ok", Some(reason)) => Outcome::NotHere((*reason).to_owned()),
            ("ok", None) => Outcome::Ok,
            (result, _) if result.starts_with("ignored") => continue,
            _ => Outcome::Failed(section(lines, name)),
        };
        rows.push(Row { test, outcome });
    }
    let over = lines.iter().any(|line| line.starts_with("test result: "));
    if over && (status == "0" || rows.iter().any(|row| row.outcome.failed())) {
        return rows;
    }
    let from = lines.len().saturating_sub(TAIL);
    let tail = lines.get(from..).unwrap_or_default().join("\n");
    vec![whole(program, &format!("it ended with status {status} before its tests did:\n{tail}"))]
}

/// What a test said.
fn section(lines: &[&str], test: &str) -> String {
    let head = format!("---- {test} stdout ----");
    let inside = lines.iter().skip_while(|line| **line != head).skip(1);
    let text: Vec<&str> =
        inside.take_while(|line| !line.starts_with("---- ") && **line != "failures:").copied().collect();
    text.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read(results: &str, console: &str) -> Vec<Row> {
        let said = Said { results: results.to_owned(), console: console.to_owned(), took: Duration::ZERO };
        rows(&said, ["exec"])
    }

    fn failed(rows: &[Row]) -> Vec<&str> {
        rows.iter().filter(|row| row.outcome.failed()).map(|row| &*row.test).collect()
    }

    const PRINTED: &str = "@begin exec\r\nrunning 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... ok\n\
        test d ... ignored, takes minutes\n\n\
        successes:\n\n---- c stdout ----\nnot here exec::c: no such hook\n\nfailures:\n\n---- b stdout ----\nit broke\nbadly\n\n\
        failures:\n    b\n\ntest result: FAILED. 2 passed; 1 failed\n\n@end exec 101 7\n";

    #[test]
    fn reads_what_libtest_prints() {
        let rows = read(&format!("{PRINTED}@done\n"), "");
        let outcomes: Vec<_> = rows.iter().map(|row| (&*row.test, row.outcome.clone())).collect();
        assert_eq!(
            outcomes,
            [
                ("exec::a", Outcome::Ok),
                ("exec::b", Outcome::Failed("it broke\nbadly".to_owned())),
                ("exec::c", Outcome::NotHere("no such hook".to_owned())),
            ]
        );
    }

    #[test]
    fn what_ended_well_can_be_kept() {
        let said =
            format!("@begin stream\ntest a ... ok\n@end stream 0 2\n{PRINTED}@begin places no_btf\ntest");
        let sections = sections(&said);
        let titles: Vec<_> = sections.iter().map(|section| (section.title, section.ended_well())).collect();
        assert_eq!(titles, [("stream", true), ("exec", false), ("places no_btf", false)]);
        assert_eq!(sections[0].text, "@begin stream\ntest a ... ok\n@end stream 0 2\n");
        assert_eq!(sections.iter().map(|section| section.text).collect::<String>(), said);
    }

    #[test]
    fn an_end_too_early_is_a_failure() {
        let rows = read(PRINTED, "one\nKernel panic - not syncing\nthree\n");
        assert_eq!(failed(&rows), ["exec::b", "kernel"]);
        let Outcome::Failed(said) = &rows[3].outcome else { panic!("{rows:?}") };
        assert!(said.contains("Kernel panic") && said.contains("three") && !said.contains("one"), "{said}");
        // Of what isn't over nothing counts yet, nor of what wasn't begun.
        let rows = read("@begin exec\ntest a ... ok\n", "");
        assert_eq!((rows.len(), failed(&rows)), (1, vec!["exec::*"]));
        assert_eq!(failed(&read("@begin exec\ntest a ... ok\n@end exec 137 9\n@done\n", "")), ["exec::*"]);
        assert_eq!(failed(&read("", "")), ["exec::*"]);
        assert_eq!(failed(&read("@begin exec\ntest result: ok.\n@end exec 0 1\n", "")), ["kernel"]);
    }

    #[test]
    fn a_complaint_of_the_kernel_is_a_failure() {
        let over = "@begin exec\ntest result: ok.\n@end exec 0 1\n@done\n";
        assert_eq!(read(over, "[ 1.0] all is well\n"), []);
        assert_eq!(failed(&read(over, "[ 1.0] WARNING: CPU: 0\n")), ["kernel"]);
    }
}
