//! The one rule: a room of `sensor/src` names only rooms below it, and some names have one owner.

use std::path::{Path, PathBuf};

use super::paths::{self, Named};
use super::source::{Kind, Source};
use super::{FLOORS, Finding, OWN_DESCRIPTORS, OWNED, Owned, PASSAGES, PROC_ROOMS, SIBLINGS, Tests};

/// Checks one file, given by its path inside `sensor/src`.
pub(super) fn check(file: &Path, source: &Source, all: &[PathBuf], findings: &mut Vec<Finding>) {
    let whole = Path::new("sensor/src").join(file);
    let module = module(file);
    // The list of rooms.
    let Some(room) = module.get(1).copied() else {
        return;
    };
    let mut report = |line: usize, what: String| {
        findings.push(Finding { file: whole.clone(), line, what });
    };
    if floor(room).is_none() {
        report(1, format!("`{room}` has no floor in FLOORS of tidy.rs"));
        return;
    }
    let siblings = siblings(room, all);
    for named in paths::find(source, &module) {
        let broken = [below(room, &named), sibling(&module, &siblings, &named), owner(room, &named)];
        for what in broken.into_iter().flatten() {
            report(named.line, what);
        }
    }
    for token in &source.tokens {
        let opens_proc = token.kind == Kind::Text && is_under_proc(&token.text);
        let own = (file, token.text.as_str()) == (Path::new(OWN_DESCRIPTORS.0), OWN_DESCRIPTORS.1);
        if opens_proc && !own && !token.test && !PROC_ROOMS.contains(&room) {
            report(token.line, format!("only `procfs` opens {}", token.text));
        }
    }
}

/// `crate`, the room, and what follows. `main.rs` counts as a room, `lib.rs` as the crate.
fn module(file: &Path) -> Vec<&str> {
    let parts = file.iter().filter_map(|part| part.to_str());
    let names = parts.map(|part| part.strip_suffix(".rs").unwrap_or(part));
    std::iter::once("crate").chain(names.filter(|name| *name != "lib")).collect()
}

/// Counted from the top.
fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The files and folders right under a room whose files are siblings.
fn siblings(room: &str, all: &[PathBuf]) -> Vec<String> {
    if !SIBLINGS.contains(&room) {
        return Vec::new();
    }
    let folder = Path::new("sensor/src").join(room);
    let inside = all.iter().filter_map(|file| file.strip_prefix(&folder).ok());
    let names = inside.filter_map(|file| file.iter().next()?.to_str());
    names.map(|name| name.strip_suffix(".rs").unwrap_or(name).to_owned()).collect()
}

fn below(room: &str, named: &Named) -> Option<String> {
    let root = named.path.first()?;
    let is_own = root == "crate" || (room == "main" && root == "sensor");
    let other = named.path.get(1)?.as_str();
    // `main.rs` is a crate of its own and has no rooms.
    if !is_own || other == room || named.is_macro {
        return None;
    }
    let Some(below) = floor(other) else {
        return Some(format!("`{}` is in no room", named.path.join("::")));
    };
    let excused = PASSAGES.iter().any(|(from, to, _)| *from == room && *to == other);
    if excused || floor(room) < Some(below) {
        return None;
    }
    Some(format!("`{room}` names `{other}`, which is not below it"))
}

fn sibling(module: &[&str], siblings: &[String], named: &Named) -> Option<String> {
    let [_, room, own, ..] = module else {
        return None;
    };
    let [root, other_room, other, ..] = named.path.as_slice() else {
        return None;
    };
    let is_sibling = root == "crate" && other_room == room && siblings.contains(other);
    (is_sibling && other != own).then(|| format!("`{room}::{own}` names its sibling `{other}`"))
}

fn owner(room: &str, named: &Named) -> Option<String> {
    let owned = OWNED.iter().find(|owned| covers(owned, &named.path))?;
    let exempt = named.test && owned.tests == Tests::Exempt;
    if exempt || owned.rooms.contains(&room) {
        return None;
    }
    let path = named.path.join("::");
    Some(format!("only `{}` names `{path}`", owned.rooms.join("` or `")))
}

fn covers(owned: &Owned, path: &[String]) -> bool {
    let names = |text: &'static str| text.split("::").collect::<Vec<_>>();
    if let Some(end) = owned.path.strip_prefix("…::") {
        let end = names(end);
        let tail = path.len().checked_sub(end.len());
        return tail.is_some_and(|start| path[start..] == end);
    }
    let within = owned.path.strip_suffix("::…");
    let wanted = names(within.unwrap_or(owned.path));
    let Some((start, rest)) = path.split_at_checked(wanted.len()) else {
        return false;
    };
    let is_module = |name: &String| name.starts_with(char::is_lowercase);
    start == wanted && (within.is_none() || rest.first().is_some_and(is_module))
}

fn is_under_proc(text: &str) -> bool {
    let rest = text.strip_prefix("/proc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(file: &str, text: &str) -> Vec<String> {
        let all = ["kill.rs", "port.rs", "port/close.rs"];
        let all: Vec<PathBuf> = all.iter().map(|name| Path::new("sensor/src/action").join(name)).collect();
        let source = Source::read(Path::new(file), text);
        let mut findings = Vec::new();
        check(Path::new(file), &source, &all, &mut findings);
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_room_names_rooms_below() {
        assert!(broken("action/kill.rs", "use crate::{process, record::Record};").is_empty());
        assert!(broken("cli.rs", "use crate::action::kill;").is_empty());
        assert!(broken("main.rs", "use sensor::cli::Cli; fn main() -> ExitCode {}").is_empty());
        let what = broken("process.rs", "use crate::process::x; fn f() { crate::enrich::y() }");
        assert_eq!(what, ["`process` names `enrich`, which is not below it"]);
        let what = broken("enrich.rs", "use super::account;");
        assert_eq!(what, ["`enrich` names `account`, which is not below it"]);
    }

    #[test]
    fn rooms_are_known() {
        assert_eq!(broken("attic.rs", ""), ["`attic` has no floor in FLOORS of tidy.rs"]);
        assert_eq!(broken("cli.rs", "crate::attic::x()"), ["`crate::attic::x` is in no room"]);
        assert!(broken("cli.rs", "crate::kinds!()").is_empty());
        assert!(broken("lib.rs", "pub mod attic;").is_empty());
    }

    #[test]
    fn siblings_are_strangers() {
        let what = broken("action/kill.rs", "use super::port; fn f() { port::close::run() }");
        assert_eq!(what, ["`action::kill` names its sibling `port`"; 2]);
        assert!(broken("action/port/close.rs", "use crate::action::{Answer, port};").is_empty());
        assert!(broken("action.rs", "use self::port::close; use crate::action::kill;").is_empty());
    }

    #[test]
    fn some_names_have_an_owner() {
        let what = broken("event.rs", "fn f(_: aya::Ebpf) { std::process::exit(1) }");
        let owners = ["only `kernel` names `aya::Ebpf`", "only `main` names `std::process::exit`"];
        assert_eq!(what, owners);
        assert!(broken("kernel/load.rs", "use aya::Ebpf;").is_empty());
        let what = broken("process.rs", "use std::time::Instant; fn f() { Instant::now(); }");
        assert_eq!(what, ["only `host` names `std::time::Instant::now`"]);
        assert!(broken("event/exec.rs", "use sensor_common::wire::exec::Exec;").is_empty());
        let what = broken("kernel.rs", "use sensor_common::wire; fn f(_: wire::exec::Exec) {}");
        assert_eq!(what, ["only `event` names `sensor_common::wire::exec::Exec`"]);
        assert!(broken("kernel.rs", "use sensor_common::wire::{KINDS, Header};").is_empty());
    }

    #[test]
    fn tests_may_read_json() {
        let text = "#[cfg(test)] mod tests { use serde_json::Value; }";
        assert!(broken("record.rs", text).is_empty());
        assert_eq!(broken("record.rs", "use serde_json::Value;").len(), 1);
    }

    #[test]
    fn only_one_room_opens_proc() {
        let what = broken("process.rs", r#"open("/proc/1"); say("see /proc/1"); open("/process")"#);
        assert_eq!(what, ["only `procfs` opens /proc/1"]);
        assert!(broken("host.rs", r#"root("/proc")"#).is_empty());
    }
}
