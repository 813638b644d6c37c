//! What each program may cost the verifier, on each kernel: the tables of `docs/verifier.md`, read, compared and written.

use crate::verifier::Load;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

/// The page as it was when the tests were built.
const KEPT: &str = include_str!("../../docs/verifier.md");
const HEAD: &str = include_str!("budget/head.md");
const INSTRUCTIONS: &str = "## Instructions";
const TIMES: &str = "## Load times";
const REFUSED: &str = "refused";
/// A line by which a test hands a measured cell to who writes the page.
const LINE: &str = "verifier: ";
/// More than its budget by this is too much: a tenth, and some instructions for the smallest.
const MARGIN: (u64, u64) = (10, 50);
/// Times are told, and hold machines of any speed, with others at work: only what is out of all proportion is too much,
/// and of all programs together.
const SLOWER: u32 = 10;
const PAUSE: Duration = Duration::from_secs(2);
/// A kept time is only replaced by one that is so many times longer or shorter.
const MOVED: u32 = 4;

/// What the verifier made of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// It took it, after so many instructions and so long.
    Taken(u64, Duration),
    /// The kernel doesn't take it.
    Refused,
}

/// Costs by program and kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    rows: BTreeMap<String, BTreeMap<Column, Cost>>,
}

/// A series of kernels: version, patch level, and whose (`cloud`: Debian's for virtual machines).
pub type Column = (u32, u32, String);

/// The column of a release: `6.18-cloud` for `6.18.9+deb13-cloud-amd64`.
#[must_use]
pub fn column(release: &str) -> Option<Column> {
    let mut words = release.split('-');
    let mut numbers = words.next()?.split('.');
    let mut number = || numbers.next()?.parse().ok();
    let whose = words.find(|word| word.starts_with(|first: char| first.is_ascii_alphabetic()));
    Some((number()?, number()?, whose.unwrap_or_default().to_owned()))
}

fn shown((version, level, whose): &Column) -> String {
    format!("{version}.{level} {whose}").trim().to_owned()
}

/// Of each program the most instructions, and the shortest time: others may have been at work.
#[must_use]
pub fn costs(loads: impl IntoIterator<Item = Load>) -> BTreeMap<String, Cost> {
    let mut costs = BTreeMap::new();
    for load in loads {
        let cost =
            load.instructions.map_or(Cost::Refused, |instructions| Cost::Taken(instructions, load.took));
        let kept = costs.entry(load.program).or_insert(cost);
        *kept = worse(*kept, cost);
    }
    costs
}

fn worse(one: Cost, other: Cost) -> Cost {
    match (one, other) {
        (Cost::Taken(a, s), Cost::Taken(b, t)) => Cost::Taken(a.max(b), s.min(t)),
        _ => Cost::Refused,
    }
}

/// The line that tells a measured cell, for [`Table::take`].
#[must_use]
pub fn line(release: &str, program: &str, cost: Cost) -> String {
    let (instructions, micros) = match cost {
        Cost::Taken(instructions, took) => (instructions.to_string(), took.as_micros().to_string()),
        Cost::Refused => (REFUSED.to_owned(), "0".to_owned()),
    };
    format!("{LINE}{release} {program} {instructions} {micros}")
}

impl Table {
    /// As it is in the repository.
    ///
    /// # Panics
    /// When the page isn't as [`Table::page`] writes it.
    #[must_use]
    pub fn kept() -> Self {
        Self::parse(KEPT).unwrap_or_else(|why| panic!("docs/verifier.md: {why}"))
    }

    /// Reads the page.
    ///
    /// # Errors
    /// Says what isn't as it should be.
    pub fn parse(page: &str) -> Result<Self, String> {
        let section = |title: &str| page.split_once(title).map(|(_, rest)| rest).unwrap_or_default();
        let counts = cells(section(INSTRUCTIONS).split(TIMES).next().unwrap_or_default())?;
        let times: BTreeMap<_, _> = cells(section(TIMES))?.into_iter().collect();
        let mut table = Self::default();
        for ((program, column), text) in counts {
            let cost = match &*text {
                REFUSED => Cost::Refused,
                number => {
                    let wrong = || format!("{program}, {}: no number or time: {number}", shown(&column));
                    let time = times
                        .get(&(program.clone(), column.clone()))
                        .and_then(|time| time.parse::<f64>().ok());
                    let time = time.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
                    Cost::Taken(number.parse().ok().ok_or_else(wrong)?, time.ok_or_else(wrong)?)
                }
            };
            table.rows.entry(program).or_default().insert(column, cost);
        }
        Ok(table)
    }

    /// What is wrong with these costs on this kernel, a sentence each.
    #[must_use]
    pub fn complaints(&self, kernel: &Column, costs: &BTreeMap<String, Cost>) -> Vec<String> {
        let mut said = Vec::new();
        let known = self.rows.values().any(|row| row.contains_key(kernel));
        for (program, cost) in costs {
            let row = self.rows.get(program);
            let budget = match known {
                true => row.and_then(|row| row.get(kernel)).copied(),
                // Nothing is known of this kernel: the most that any takes.
                false => row.and_then(|row| row.values().copied().reduce(most)),
            };
            let Some(budget) = budget else {
                said.push(format!("{program} has no budget on Linux {}", shown(kernel)));
                continue;
            };
            said.extend(
                too_much(budget, *cost).map(|why| format!("{program} on Linux {}: {why}", shown(kernel))),
            );
        }
        let before: Duration = self.rows.values().filter_map(|row| row.get(kernel)).map(time).sum();
        let now: Duration = costs.values().map(time).sum();
        if known && now > before * SLOWER + PAUSE {
            said.push(format!(
                "all on Linux {}: they take {now:?} to load, and took {before:?}",
                shown(kernel)
            ));
        }
        let gone =
            self.rows.iter().filter(|(name, row)| row.contains_key(kernel) && !costs.contains_key(*name));
        said.extend(
            gone.map(|(name, _)| format!("{name} has a budget on Linux {} and isn't loaded", shown(kernel))),
        );
        said
    }

    /// Takes the lines of [`line`] in place of what was known of their kernels; gives the columns that changed.
    pub fn take(&mut self, said: &str) -> BTreeSet<Column> {
        let old = self.clone();
        let measured = said.lines().filter_map(|line| cell(line.trim_end().strip_prefix(LINE)?));
        let mut columns = BTreeSet::new();
        for (column, program, cost) in measured {
            if columns.insert(column.clone()) {
                for row in self.rows.values_mut() {
                    row.remove(&column);
                }
            }
            let before = old.rows.get(&program).and_then(|row| row.get(&column));
            let cost = before.map_or(cost, |before| steady(*before, cost));
            self.rows.entry(program).or_default().insert(column, cost);
        }
        self.rows.retain(|_, row| !row.is_empty());
        columns
    }

    /// The whole page.
    #[must_use]
    pub fn page(&self) -> String {
        let columns: BTreeSet<_> = self.rows.values().flat_map(BTreeMap::keys).collect();
        let number = |cost: Cost| match cost {
            Cost::Taken(instructions, _) => instructions.to_string(),
            Cost::Refused => REFUSED.to_owned(),
        };
        let millis = |cost: Cost| match cost {
            Cost::Taken(_, took) => format!("{:.1}", took.as_secs_f64() * 1000.0),
            Cost::Refused => String::new(),
        };
        let mut page = HEAD.to_owned();
        for (title, text, cell) in [
            (INSTRUCTIONS, "", &number as &dyn Fn(Cost) -> String),
            (
                TIMES,
                "Milliseconds. All but those of the kernels that aren't Debian's (`cloud`) are emulated.\n\n",
                &millis,
            ),
        ] {
            let _ = writeln!(
                page,
                "\n{title}\n\n{text}| program | {} |",
                joined(columns.iter().map(|column| shown(column)))
            );
            let _ = writeln!(page, "|---|{}", "---:|".repeat(columns.len()));
            for (program, row) in &self.rows {
                let cells =
                    columns.iter().map(|column| row.get(*column).map_or(String::new(), |cost| cell(*cost)));
                let _ = writeln!(page, "| {program} | {} |", joined(cells));
            }
        }
        page
    }
}

fn joined(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(" | ")
}

/// Texts by row and column.
type Cells = Vec<((String, Column), String)>;

/// The cells of a Markdown table that hold something.
fn cells(section: &str) -> Result<Cells, String> {
    let mut rows = section.lines().filter_map(|line| {
        let inside = line.strip_prefix('|')?.strip_suffix('|')?;
        Some(inside.split('|').map(str::trim).collect::<Vec<_>>())
    });
    let Some(head) = rows.next() else { return Ok(Vec::new()) };
    let columns: Option<Vec<Column>> =
        head.iter().skip(1).map(|name| column(&name.replacen(' ', "-", 1))).collect();
    let columns = columns.ok_or_else(|| format!("no kernels: {head:?}"))?;
    let mut found = Vec::new();
    for row in rows.skip(1) {
        if row.len() != head.len() {
            return Err(format!("a row of another length: {row:?}"));
        }
        for (column, text) in columns.iter().zip(&row[1..]).filter(|(_, text)| !text.is_empty()) {
            found.push(((row[0].to_owned(), column.clone()), (*text).to_owned()));
        }
    }
    Ok(found)
}

/// A cell as [`line`] tells it.
fn cell(line: &str) -> Option<(Column, String, Cost)> {
    let [release, program, instructions, micros] = line.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let cost = match instructions {
        REFUSED => Cost::Refused,
        number => Cost::Taken(number.parse().ok()?, Duration::from_micros(micros.parse().ok()?)),
    };
    Some((column(release)?, program.to_owned(), cost))
}

fn most(one: Cost, other: Cost) -> Cost {
    match (one, other) {
        (Cost::Taken(a, s), Cost::Taken(b, t)) => Cost::Taken(a.max(b), s.max(t)),
        (Cost::Refused, taken) | (taken, Cost::Refused) => taken,
    }
}

fn time(cost: &Cost) -> Duration {
    match cost {
        Cost::Taken(_, took) => *took,
        Cost::Refused => Duration::ZERO,
    }
}

/// Why this cost is above the budget, if it is. A program that is taken where it was refused isn't.
fn too_much(budget: Cost, cost: Cost) -> Option<String> {
    match (budget, cost) {
        (Cost::Taken(..), Cost::Refused) => Some("the kernel refuses it, and took it before".to_owned()),
        (Cost::Taken(before, _), Cost::Taken(now, _)) if now > before + before / MARGIN.0 + MARGIN.1 => {
            Some(format!("the verifier goes through {now} instructions, and went through {before}"))
        }
        _ => None,
    }
}

/// The new cost with the old time, when that hasn't really changed: times differ from run to run.
fn steady(before: Cost, now: Cost) -> Cost {
    match (before, now) {
        (Cost::Taken(_, old), Cost::Taken(instructions, new)) if new < old * MOVED && old < new * MOVED => {
            Cost::Taken(instructions, old)
        }
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn kernel() -> Column {
        column("5.10.0-46-cloud-amd64").unwrap()
    }

    fn table(cost: Cost) -> Table {
        let mut table = Table::default();
        let said = ["5.10.0-46-cloud-amd64", "6.18.4-fc"].map(|release| line(release, "exec", cost));
        table.take(&said.join("\n"));
        table
    }

    fn complaints(budget: Cost, cost: Cost) -> Vec<String> {
        table(budget).complaints(&kernel(), &BTreeMap::from([("exec".to_owned(), cost)]))
    }

    #[test]
    fn kernels_are_told_apart_by_series_and_whose() {
        assert_eq!(shown(&kernel()), "5.10 cloud");
        assert_eq!(column("7.3.4+deb13-cloud-amd64"), Some((7, 3, "cloud".to_owned())));
        assert_eq!(column("6.18.44-fc-v657").map(|column| shown(&column)), Some("6.18 fc".to_owned()));
        assert_eq!(column("6.12.1"), Some((6, 12, String::new())));
        assert_eq!(column("six"), None);
    }

    #[test]
    fn the_page_is_read_as_it_is_written() {
        for cost in [Cost::Taken(1234, ms(7)), Cost::Refused] {
            let table = table(cost);
            assert_eq!(Table::parse(&table.page()), Ok(table.clone()), "{}", table.page());
        }
        assert!(Table::parse(&table(Cost::Taken(1, ms(7))).page().replace("7.0", "soon")).is_err());
        assert!(Table::parse(&table(Cost::Refused).page().replace("| exec |", "| exec | 2 |")).is_err());
    }

    #[test]
    fn the_kept_page_is_as_it_is_written() {
        assert_eq!(Table::kept().page(), KEPT, "run `cargo xtask verifier`");
    }

    #[test]
    fn more_than_the_margin_is_too_much() {
        let budget = Cost::Taken(1000, ms(10));
        assert_eq!(complaints(budget, Cost::Taken(1150, ms(2100))), [] as [&str; 0]);
        assert!(complaints(budget, Cost::Taken(1151, ms(10)))[0].contains("1151"));
        assert!(complaints(budget, Cost::Taken(1000, ms(2101)))[0].contains("2.101"));
        assert!(complaints(budget, Cost::Refused)[0].contains("refuses"));
        assert_eq!(complaints(Cost::Refused, budget), [] as [&str; 0]);
    }

    #[test]
    fn what_is_new_or_gone_is_said() {
        let table = table(Cost::Taken(1000, ms(10)));
        let said = table.complaints(&kernel(), &BTreeMap::from([("fork".to_owned(), Cost::Taken(1, ms(1)))]));
        assert!(said[0].contains("no budget") && said[1].contains("isn't loaded"), "{said:?}");
        let other = column("6.6.1-other").unwrap();
        let said = table.complaints(&other, &BTreeMap::from([("exec".to_owned(), Cost::Taken(2000, ms(1)))]));
        assert!(said.len() == 1 && said[0].contains("2000"), "{said:?}");
    }

    #[test]
    fn what_was_measured_takes_the_place_of_its_column() {
        let mut table = table(Cost::Taken(1000, ms(10)));
        let new = line("5.10.0-50-cloud-amd64", "exec", Cost::Taken(900, ms(12)));
        let changed = table.take(&format!("running 1 test\n{new}\r\nok\n"));
        assert_eq!(changed, BTreeSet::from([kernel()]));
        assert_eq!(table.rows["exec"][&kernel()], Cost::Taken(900, ms(10)));
        table.take(&line("5.10.0-50-cloud-amd64", "fork", Cost::Taken(5, ms(50))));
        assert!(!table.rows["exec"].contains_key(&kernel()) && table.rows["fork"].contains_key(&kernel()));
    }

    #[test]
    fn the_worst_of_several_loads_counts() {
        let load = |instructions, took| Load { program: "exec".to_owned(), instructions, took };
        let all = costs([load(Some(5), ms(9)), load(Some(7), ms(3))]);
        assert_eq!(all["exec"], Cost::Taken(7, ms(3)));
        assert_eq!(costs([load(Some(5), ms(9)), load(None, ms(3))])["exec"], Cost::Refused);
    }
}
