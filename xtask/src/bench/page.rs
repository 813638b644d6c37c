//! docs/benchmarks.md: a part for each measurement, between two marks, which is replaced when it is measured again.
//! What stands around the marks stays.

use std::fs;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::place::place;
use crate::say;
use crate::workspace::Workspace;

const INTRO: &str = "# Benchmarks\n\nWhat the sensor costs, also beside what people use otherwise, and where it is \
    worse. Each part says when and where it was measured, and the command that measures it again and replaces it.\n";

/// The page and where its plots are.
#[derive(Debug)]
pub(crate) struct Page {
    docs: PathBuf,
}

impl Page {
    pub(crate) fn of(workspace: &Workspace) -> Self {
        Self { docs: workspace.root().join("docs") }
    }

    /// The folder of its plots.
    pub(crate) fn plots(&self) -> PathBuf {
        self.docs.join("benchmarks")
    }

    /// Replaces the part of one measurement, or adds it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.docs.join("benchmarks.md");
        let before = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => INTRO.to_owned(),
            read => read.map_err(Error::file("read", &path))?,
        };
        place(&path, replaced(&before, name, text).as_bytes())?;
        say(&format!("written: {}", path.display()));
        Ok(())
    }
}

fn replaced(page: &str, name: &str, text: &str) -> String {
    let begin = format!("<!-- made by `cargo xtask bench {name} --write` -->");
    let end = format!("<!-- end of {name} -->");
    let (before, after) = page
        .split_once(&begin)
        .and_then(|(before, rest)| Some((before.to_owned(), rest.split_once(&end)?.1)))
        .unwrap_or_else(|| (format!("{page}\n"), "\n"));
    format!("{before}{begin}\n{}\n{end}{after}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_the_marks_stays() {
        let page = replaced(&replaced("# A\n", "one", "\nold\n"), "two", "\nother\n");
        let again = replaced(&page, "one", "\nnew\n");
        assert!(again.starts_with("# A\n\n<!-- made by"));
        assert!(again.contains("\nnew\n") && again.contains("\nother\n") && !again.contains("old"));
        assert_eq!(replaced(&again, "one", "\nnew\n"), again);
    }
}
