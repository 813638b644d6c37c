//! What was measured, as a part of docs/benchmarks.md.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use super::super::page::Page;
use super::super::report::Table;
use super::plot::{self, Bar, Group};
use super::rounds::{Block, Row};
use super::system::{SENSOR, SYSTEMS};
use super::work::Work;
use super::{Entry, best_peer};
use crate::command;
use crate::error::{Error, Result};
use crate::place::place;
use crate::workspace::Workspace;

/// A system is worse when it is so by more than this part.
const CLEAR: f64 = 0.01;

/// All that was measured.
pub(crate) struct Made<'a> {
    pub(crate) entries: &'a [Entry],
    pub(crate) blocks: &'a [Block],
    pub(crate) tables: &'a [Table],
    pub(crate) took: Duration,
    /// Whether there was one round of each.
    pub(crate) short: bool,
    /// Whether another sensor was there already.
    pub(crate) other: bool,
}

impl Made<'_> {
    /// Writes the page and its plots.
    pub(crate) fn write(&self, workspace: &Workspace, machine: &str) -> Result<()> {
        let page = Page::of(workspace);
        let plots = page.plots();
        fs::create_dir_all(&plots).map_err(Error::file("make", &plots))?;
        for (name, svg) in self.plots() {
            place(&plots.join(format!("{name}.svg")), svg.as_bytes())?;
        }
        let text =
            [self.head(machine)?, self.systems(), self.bars(), self.worse(), self.works(), self.programs()];
        page.write("peers", &text.concat())
    }

    fn head(&self, machine: &str) -> Result<String> {
        let date = command::read(std::process::Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
        let noise: Vec<String> = self
            .blocks
            .iter()
            .filter(|block| block.noisy)
            .map(|block| format!("{}, {}", block.work.title, block.setting.name()))
            .collect();
        let noise = if noise.is_empty() {
            "Rounds that others disturbed were left out.".to_owned()
        } else {
            format!(
                "**Others kept the machine busy**, and disturbed rounds count in: {}. Take those as hints.",
                noise.join("; ")
            )
        };
        let noise = if self.other {
            format!("**Another sensor ran meanwhile**: its programs were attached in all of this. {noise}")
        } else {
            noise
        };
        Ok(format!(
            "\n{} · {machine} · `cargo xtask bench peers --write{}` · {:.0} minutes\n\n\
             Each round does the work without anything, then beside each system in turn, which is started and stopped \
             for it, then without anything again. The ratio is to the mean of the two of the same round; what is shown \
             is the median of all rounds, with the quartiles. The ratio of *nothing* is that of its second measurement \
             to its first: the noise. CPU is that of the work and the system together, with the kernel's thread for \
             audit, from the moment the system is ready until it has written all and ended; where nothing happens, from \
             four seconds later until it is told to end. Memory is the most that was resident. *Told* counts the lines \
             that the system wrote about the work's own events; where it tells only a part of the kinds, those are \
             named. {noise}\n\n",
            date.trim(),
            if self.short { " --short" } else { "" },
            self.took.as_secs_f64() / 60.0
        ))
    }

    fn systems(&self) -> String {
        let mut text = "## Systems\n\n| system | version | how it runs |\n|---|---|---|\n".to_owned();
        for entry in self.entries {
            let how = match &entry.absent {
                Some(why) => format!("**not compared**: `{}`", cell(why)),
                None => entry.system.how.to_owned(),
            };
            let _ = writeln!(text, "| {} | {} | {how} |", entry.system.name, cell(&entry.version));
        }
        text + "\nThe rules, scripts and the work itself are in `xtask/src/bench/peers/`. Packages are Debian's for this \
                release, unpacked and not installed.\n\n"
    }

    /// What the sensor must keep.
    fn bars(&self) -> String {
        let mut text = "## What the sensor must keep\n\n| what | |\n|---|---|\n".to_owned();
        for table in self.tables {
            let title = table.title.split(": ").next().unwrap_or_default();
            for (name, verdict) in table.verdicts() {
                let what = if name == SENSOR { title.to_owned() } else { format!("program at `{name}`") };
                let _ = writeln!(text, "| {what} | {} |", verdict.replace("NOT MET", "**not met**"));
            }
        }
        text + "\nWhere there are two bars for a ratio, the other is that of the best among auditd, bpftrace and forkstat \
                that record the same.\n\n"
    }

    /// Each thing in which another system is better than the sensor.
    fn worse(&self) -> String {
        let lines: Vec<String> = self.blocks.iter().flat_map(worse).chain(self.memory()).collect();
        if lines.is_empty() {
            return "## Where the sensor is worse\n\nNowhere in this run.\n\n".to_owned();
        }
        format!("## Where the sensor is worse\n\n{}\n\n", lines.join("\n"))
    }

    /// Who needs less memory, by the most that each needed in any work.
    fn memory(&self) -> Option<String> {
        let most = |name: &str| {
            let rows = self.blocks.iter().flat_map(|block| &block.rows).filter(|row| row.name == name);
            rows.map(|row| row.memory).fold(0.0, f64::max)
        };
        let own = most(SENSOR);
        let others = self.entries.iter().map(|entry| (entry.system.name, most(entry.system.name)));
        let less: Vec<String> = others
            .filter(|(_, memory)| *memory > 0.0 && *memory < own)
            .map(|(name, memory)| format!("{name} at most {memory:.1}"))
            .collect();
        (!less.is_empty())
            .then(|| format!("- Memory: the sensor had at most {own:.1} MiB, {}.", less.join(", ")))
    }

    fn works(&self) -> String {
        let mut text = "## Works\n".to_owned();
        let mut last = "";
        for block in self.blocks {
            if block.work.name != last {
                last = block.work.name;
                let _ = write!(
                    text,
                    "\n### {}\n\n![{}](benchmarks/{last}.svg)\n",
                    upper(block.work.title),
                    block.work.title
                );
            }
            text += &section(block);
        }
        text
    }

    fn programs(&self) -> String {
        let Some(table) = self.tables.iter().find(|table| table.title.starts_with("kernel programs")) else {
            return String::new();
        };
        format!("\n## Programs in the kernel\n\n```\n{}```\n", table.text())
    }

    fn plots(&self) -> Vec<(&'static str, String)> {
        let mut names: Vec<&'static str> = self.blocks.iter().map(|block| block.work.name).collect();
        names.dedup();
        names.into_iter().map(|name| (name, self.plot(name))).collect()
    }

    fn plot(&self, name: &str) -> String {
        let blocks: Vec<&Block> = self.blocks.iter().filter(|block| block.work.name == name).collect();
        let Some(work) = blocks.first().map(|block| block.work) else { return String::new() };
        let groups: Vec<Group> = blocks.iter().map(|block| group(block)).collect();
        let (what, mark) = if work.is_rest() {
            ("percent of one CPU", None)
        } else {
            ("time, as a ratio to nothing", Some(1.0))
        };
        plot::draw(&format!("{}: {what}", work.title.replace('`', "")), &groups, mark)
    }
}

fn group(block: &Block) -> Group {
    let rows = block.rows.iter().filter(|row| row.ratio.count() > 0);
    let bar = |row: &Row| {
        let (value, spread) = if block.work.is_rest() {
            (row.cpu.median() / 1e4, None)
        } else {
            (row.ratio.median(), Some((row.ratio.quantile(0.25), row.ratio.quantile(0.75))))
        };
        let lost = lost(row).map(|part| format!(", {part}")).unwrap_or_default();
        Bar {
            name: row.name.to_owned(),
            value,
            spread,
            note: format!("{value:.2}{lost}"),
            own: row.name == SENSOR,
        }
    };
    Group { title: block.setting.name().to_owned(), bars: rows.map(bar).collect() }
}

/// What part wasn't told.
fn lost(row: &Row) -> Option<String> {
    let part = 1.0 - row.count.told / row.count.made;
    (row.count.made > 0.0 && row.count.told < row.count.made).then(|| {
        if part < 0.001 { "not all told".to_owned() } else { format!("{:.1} % not told", part * 100.0) }
    })
}

fn section(block: &Block) -> String {
    let work = block.work;
    let mut text = format!(
        "\n**{}**, rounds: {} ({} disturbed{}), for each {}:\n\n\
         | | time | ratio | quartiles | CPU | its ratio | memory | told |\n|---|---|---|---|---|---|---|---|\n",
        upper(block.setting.name()),
        block.rounds,
        block.disturbed,
        if block.noisy { ", counted in" } else { "" },
        work.unit
    );
    let bare = block.bare.cpu.median();
    let measured = |row: &&Row| row.time.count() > 0;
    for row in std::iter::once(&block.bare).chain(&block.rows).filter(measured) {
        let cells = cells(row, bare, work.is_rest()) + &partly(row.name, work);
        let failed = if row.failed.is_some() { " (failed in the end)" } else { "" };
        let _ = writeln!(text, "| {}{failed} | {cells} |", row.name);
    }
    let names = |wanted: &dyn Fn(&Row) -> bool| {
        let rows = block.rows.iter().filter(|row| row.time.count() == 0 && wanted(row));
        rows.map(|row| row.name).collect::<Vec<_>>().join(", ")
    };
    let (blind, failed) = (names(&|row| row.blind), names(&|row| !row.blind));
    for (names, why) in [(blind, "doesn't see this"), (failed, "not compared, see above")] {
        if !names.is_empty() {
            let _ = writeln!(text, "| {names} | {why} | | | | | | |");
        }
    }
    for row in block.rows.iter().filter(|row| row.failed.is_some() && row.time.count() > 0) {
        let _ = writeln!(text, "\n{}: `{}`", row.name, cell(row.failed.as_deref().unwrap_or_default()));
    }
    if let Some((name, ratio)) = best_peer(block) {
        let _ = writeln!(text, "\nThe best that records the same: {name}, {ratio:.3}.");
    }
    text
}

fn cells(row: &Row, bare: f64, rest: bool) -> String {
    let (time, ratio, spread) = if rest {
        ("–".to_owned(), "–".to_owned(), "–".to_owned())
    } else {
        (
            duration(row.time.median()),
            format!("{:.3}", row.ratio.median()),
            format!("{:.3}–{:.3}", row.ratio.quantile(0.25), row.ratio.quantile(0.75)),
        )
    };
    let cpu = row.cpu.median();
    let (cpu, part) = if rest {
        (format!("{:.2} %", cpu / 1e4), "–".to_owned())
    } else {
        (duration(cpu), format!("{:.2}", cpu / bare))
    };
    let memory = if row.memory > 0.0 { format!("{:.1} MiB", row.memory) } else { "–".to_owned() };
    format!("{time} | {ratio} | {spread} | {cpu} | {part} | {memory} | {}", told(row))
}

/// Which of a work's kinds a system tells, where it isn't all of them.
fn partly(name: &str, work: &Work) -> String {
    let Some(system) = SYSTEMS.iter().find(|system| system.name == name) else { return String::new() };
    let kinds: Vec<_> =
        work.told().map(|(kind, path, _)| (kind, system.marks(kind, path).is_some())).collect();
    if kinds.iter().all(|(_, seen)| *seen) {
        return String::new();
    }
    let seen: Vec<&str> = kinds.iter().filter(|(_, seen)| *seen).map(|(kind, _)| kind.name()).collect();
    if seen.is_empty() { ", not told by it".to_owned() } else { format!(", only {}", seen.join(", ")) }
}

fn told(row: &Row) -> String {
    if row.count.made <= 0.0 {
        return "–".to_owned();
    }
    format!(
        "{} of {} ({:.2} %)",
        whole(row.count.told),
        whole(row.count.made),
        100.0 * row.count.told / row.count.made
    )
}

/// The sentences of one block.
fn worse(block: &Block) -> Vec<String> {
    let Some(own) = block.rows.iter().find(|row| row.name == SENSOR && row.ratio.count() > 0) else {
        return Vec::new();
    };
    let others = block.rows.iter().filter(|row| row.name != SENSOR && row.ratio.count() > 0);
    let where_ = format!("{}, {}", block.work.title, block.setting.name());
    let mut lines = Vec::new();
    for other in others {
        let mut better = Vec::new();
        let (one, two) = (own.ratio.median(), other.ratio.median());
        if !block.work.is_rest() && two < one * (1.0 - CLEAR) {
            better.push(format!("takes {two:.3} of the time and not {one:.3}"));
        }
        let (one, two) = (own.cpu.median(), other.cpu.median());
        if two < one * (1.0 - CLEAR) {
            let text =
                |cpu: f64| if block.work.is_rest() { format!("{:.2} %", cpu / 1e4) } else { duration(cpu) };
            better.push(format!("needs {} of CPU and not {}", text(two), text(one)));
        }
        let part = |row: &Row| if row.count.made > 0.0 { row.count.told / row.count.made } else { 0.0 };
        if other.count.made > 0.0 && (own.count.made <= 0.0 || part(other) > part(own)) {
            better.push(format!("tells {} and not {}", told(other), told(own).replace('–', "any of it")));
        }
        if !better.is_empty() {
            let but = lost(other).map(|part| format!(", {part}")).unwrap_or_default();
            lines.push(format!("- {where_}: {} {}{but}.", other.name, better.join(", ")));
        }
    }
    lines
}

/// Microseconds in a unit that fits.
fn duration(micros: f64) -> String {
    match micros {
        value if value.is_nan() => "–".to_owned(),
        value if value < 1.0 => format!("{:.0} ns", value * 1e3),
        value if value < 1e3 => format!("{value:.1} µs"),
        value if value < 1e6 => format!("{:.1} ms", value / 1e3),
        value => format!("{:.2} s", value / 1e6),
    }
}

/// A number with its thousands apart.
fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Others' words, in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace('`', "'").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(whole(1_234_567.0), "1,234,567");
        assert_eq!(whole(12.0), "12");
        assert_eq!(duration(0.0805), "80 ns");
        assert_eq!(duration(68.04), "68.0 µs");
        assert_eq!(duration(2_500_000.0), "2.50 s");
        assert_eq!(cell("a | `b`\nc"), "a / 'b' c");
    }

    #[test]
    fn losses_are_never_rounded_away() {
        let row =
            |told| Row { count: super::super::count::Count { told, made: 100_000.0 }, ..Row::default() };
        assert_eq!(lost(&row(100_000.0)), None);
        assert_eq!(lost(&row(99_999.0)).as_deref(), Some("not all told"));
        assert_eq!(lost(&row(50_000.0)).as_deref(), Some("50.0 % not told"));
    }
}
