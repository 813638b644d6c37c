//! The table of tricks agrees with the tests and the programs, and with `README.md`: `BLESS=1 cargo test -p tests --test evasion
//! the_table` writes that anew.

use crate::bounds::{Bound, MAPS, OTHERS, ROOMS, TABLES};
use crate::sources::SOURCES;
use crate::tricks::{TRICKS, Told, Trick, What};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const README: &str = include_str!("README.md");
const LIMITS: &str = include_str!("../../docs/limits.md");
const MAP: &str = include_str!("../../sensor-ebpf/src/map.rs");

/// The first words of a program: what it does, and where that is described.
fn head(text: &str) -> (&str, &str) {
    let mut lines = text.lines();
    let mut after = |what: &str| lines.next().and_then(|line| line.strip_prefix(what)).unwrap_or_default();
    (after("// Trick: "), after("// Described: "))
}

/// The text of a file of the suite, or of another test.
fn source(name: &str) -> &'static str {
    let found = SOURCES.iter().find(|(file, _)| *file == name);
    found.unwrap_or_else(|| panic!("{name} isn't among SOURCES")).1
}

/// The names of the tests in a file.
fn tests_of(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.windows(2).filter(|pair| pair[0] == "#[test]");
    pairs.filter_map(|pair| pair[1].strip_prefix("fn ")?.split('(').next()).collect()
}

/// What is tried, and where it is described.
fn words(trick: &Trick) -> (&'static str, &'static str) {
    match trick.what {
        What::Words(what, described) => (what, described),
        What::Program(name) => head(source(&format!("{name}.c"))),
    }
}

/// A test as the table has it, `FILE::NAME`, and the file it is in.
fn place(test: &str) -> (String, &str) {
    let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{test}: FILE::NAME"));
    (format!("{file}.rs"), name)
}

fn table() -> String {
    let mut text = String::from(
        "# Tricks\n\nWhat was tried to get around the sensor. Made from `tricks.rs` and the heads of the programs by a test, which \
         fails when they disagree.\n\n| trick | described in | test | what is told |\n|---|---|---|---|\n",
    );
    for trick in TRICKS {
        let (what, described) = words(trick);
        let what = match trick.what {
            What::Program(name) => format!("{what} ([{name}.c]({name}.c))"),
            What::Words(..) => what.to_owned(),
        };
        let tests = links(trick.tests);
        let told = match trick.told {
            Told::Told(told) => told.to_owned(),
            Told::Limit(title, told) => format!("[Limit](../../docs/limits.md): *{title}* {told}"),
        };
        let cells = [what, described.to_owned(), tests, told].map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push_str("\n## What is bounded\n\nAnd can be filled by who acts on the host.\n");
    for (what, bounds) in [("map of the programs", MAPS), ("table of user space", TABLES)] {
        let _ = write!(text, "\n| {what} | what has no room | test |\n|---|---|---|\n");
        for bound in bounds {
            let tests = if bound.tests.is_empty() { "-".to_owned() } else { links(bound.tests) };
            let _ = writeln!(text, "| `{}` | {} | {tests} |", bound.name, bound.full);
        }
    }
    text
}

/// Tests with links to their files.
fn links(tests: &[&str]) -> String {
    let link = |test: &&str| {
        let (file, name) = place(test);
        format!("[{name}]({file})")
    };
    tests.iter().map(link).collect::<Vec<_>>().join(", ")
}

/// The maps of the programs that hold more than one value for each processor, or aren't one cell.
fn maps() -> Vec<&'static str> {
    let lines = MAP.lines().filter_map(|line| line.strip_prefix("pub static ")?.split_once(": "));
    let several = |what: &str| {
        ["RingBuf", "HashMap", "LruHashMap", "SkStorage", "Array<["].iter().any(|kind| what.starts_with(kind))
    };
    lines.filter(|(_, what)| several(what)).map(|(name, _)| name).collect()
}

/// The constants of user space that bound something.
fn constants() -> Vec<String> {
    let most = |line: &str| {
        let name = line.trim_start_matches("pub(super) ").strip_prefix("const ")?.split_once(':')?.0;
        name.ends_with("MOST").then(|| name.to_owned())
    };
    let of = |(file, text): &(&str, &str)| -> Vec<String> {
        text.lines().filter_map(most).map(|name| format!("{file}::{name}")).collect()
    };
    ROOMS.iter().flat_map(of).filter(|name| !OTHERS.contains(&name.as_str())).collect()
}

#[test]
fn each_map_has_a_row_and_each_row_a_test_that_exists() {
    let rows: Vec<&str> = MAPS.iter().map(|row| row.name).collect();
    assert_eq!(rows, maps(), "in the order of map.rs");
    let rows: Vec<&str> = TABLES.iter().map(|row| row.name).collect();
    assert_eq!(rows, constants(), "in the order of ROOMS");
    for Bound { name, full, tests } in MAPS.iter().chain(TABLES) {
        assert!(full.ends_with('.'), "{name}");
        for test in *tests {
            let (file, function) = place(test);
            assert!(tests_of(source(&file)).contains(&function), "{name}: there is no {function} in {file}");
        }
    }
}

#[test]
fn the_table_is_the_readme() {
    if std::env::var_os("BLESS").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("evasion/README.md");
        std::fs::write(path, table()).unwrap();
    } else {
        assert!(
            README == table(),
            "evasion/README.md is old: BLESS=1 cargo test -p tests --test evasion the_table"
        );
    }
}

#[test]
fn each_trick_has_a_test_and_a_source() {
    let sentence = |text: &str| text.len() > 10 && text.ends_with('.');
    for trick in TRICKS {
        let (what, described) = words(trick);
        assert!(sentence(what), "{what:?}");
        assert!(described.len() > 5, "{what}: where is it described?");
        assert!(!trick.tests.is_empty(), "{what}");
        for test in trick.tests {
            let (file, name) = place(test);
            assert!(tests_of(source(&file)).contains(&name), "{what}: there is no {name} in {file}");
        }
        match trick.told {
            Told::Told(told) => assert!(sentence(told), "{told:?}"),
            Told::Limit(title, told) => {
                assert!(LIMITS.contains(&format!("- **{title}")), "limits.md has no {title:?}");
                assert!(sentence(told), "{told:?}");
            }
        }
    }
}

#[test]
fn each_test_and_each_program_is_in_the_table() {
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for trick in TRICKS {
        trick.tests.iter().for_each(|test| *uses.entry(test).or_default() += 1);
    }
    for (file, text) in SOURCES {
        let own = !file.starts_with("..");
        if own && file.ends_with(".c") {
            let name = file.trim_end_matches(".c");
            let listed = TRICKS.iter().filter(|trick| matches!(trick.what, What::Program(it) if it == name));
            assert_eq!(listed.count(), 1, "{file} in the table");
            let used = format!("trick(\"{name}\")");
            assert!(SOURCES.iter().any(|(_, text)| text.contains(&used)), "no test runs {file}");
        } else if own && *file != "index.rs" {
            for test in tests_of(text) {
                let key = format!("{}::{test}", file.trim_end_matches(".rs"));
                assert!(uses.contains_key(key.as_str()), "{key} isn't in the table");
            }
        }
    }
    // The other way round: every file of this folder is among the sources.
    for (module, _) in source("main.rs").lines().filter_map(|line| line.strip_prefix("mod ")?.split_once(';'))
    {
        assert!(
            SOURCES.iter().any(|(file, _)| *file == format!("{module}.rs")),
            "{module}.rs isn't in SOURCES"
        );
    }
}
