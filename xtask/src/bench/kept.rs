//! Figures that are kept with the source, in a page: what is measured later is compared with them.

use std::fs;
use std::path::PathBuf;

use super::Report;
use super::report::Table;
use crate::error::{Error, Result};
use crate::place::place;
use crate::workspace::Workspace;

const PAGE: &str = "docs/kept-figures.md";
const HEAD: &str = include_str!("kept.md");

/// Figures that were measured at once, and what they hold for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    /// Its heading.
    pub(crate) name: String,
    /// With which programs, or on which machine: with others they are no measure.
    pub(crate) with: String,
    pub(crate) rows: Vec<(String, f64)>,
}

impl Section {
    /// A figure by its name.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|(known, _)| known == name).map(|(_, figure)| *figure)
    }

    fn text(&self) -> String {
        let mut text = format!("## {}\n\nWith {}.\n\n| what | figure |\n|---|---|\n", self.name, self.with);
        for (name, figure) in &self.rows {
            text += &format!("| {name} | {figure} |\n");
        }
        text
    }
}

/// Reads a section of the page; none where it isn't there yet.
fn read(workspace: &Workspace, name: &str) -> Result<Option<Section>> {
    Ok(sections(&page(workspace)?).into_iter().find(|section| section.name == name))
}

/// Writes a section of the page anew; the others stay.
fn write(workspace: &Workspace, section: Section) -> Result<()> {
    let mut all = sections(&page(workspace)?);
    match all.iter_mut().find(|known| known.name == section.name) {
        Some(known) => *known = section,
        None => all.push(section),
    }
    let texts: Vec<String> = all.iter().map(Section::text).collect();
    place(&path(workspace), format!("{HEAD}\n{}", texts.join("\n")).as_bytes()).map(drop)
}

/// Shows what was measured beside what is kept, or, to `bless` it, keeps it.
pub(super) fn judge(
    workspace: &Workspace,
    now: Section,
    bless: bool,
    report: &mut Report,
    compared: fn(&Section, Option<&Section>) -> Table,
) -> Result<()> {
    let before = read(workspace, &now.name)?;
    report.add(compared(&now, before.as_ref()));
    if bless {
        // What is written is what the table shows.
        report.forgive();
        return write(workspace, now);
    }
    Ok(())
}

fn path(workspace: &Workspace) -> PathBuf {
    workspace.root().join(PAGE)
}

fn page(workspace: &Workspace) -> Result<String> {
    let path = path(workspace);
    if !path.exists() {
        return Ok(String::new());
    }
    fs::read_to_string(&path).map_err(Error::file("read", &path))
}

fn sections(page: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            sections.push(Section { name: name.to_owned(), with: String::new(), rows: Vec::new() });
            continue;
        }
        let Some(section) = sections.last_mut() else { continue };
        if let Some(with) = line.strip_prefix("With ").and_then(|line| line.strip_suffix('.')) {
            with.clone_into(&mut section.with);
        }
        let cells = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")?.split_once(" | "));
        if let Some((name, figure)) = cells
            && let Ok(figure) = figure.parse()
        {
            section.rows.push((name.to_owned(), figure));
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let rows = vec![("exec, whole".to_owned(), 24_017.0), ("fork".to_owned(), 0.25)];
        let one = Section { name: "One".to_owned(), with: "a 1.0, b 2.0".to_owned(), rows };
        let other = Section { name: "Other".to_owned(), rows: Vec::new(), ..one.clone() };
        let page = format!("{HEAD}\n{}\n{}", one.text(), other.text());
        assert_eq!(sections(&page), [one.clone(), other]);
        assert_eq!((one.get("fork"), one.get("exit")), (Some(0.25), None));
    }
}
