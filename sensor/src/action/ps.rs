//! `sensor ps`: what runs, and what is to be thought of each executable.

use std::collections::{HashMap, HashSet};

use super::{Failure, Format, Status, awaiting, colour, is_text, lister, partly, print, width};
use crate::{
    enrich::{self, Enricher},
    event::process_snapshot,
    field::Field,
    format::{self, table::Line},
    host::Host,
    look::{
        Look,
        executable::{Judge, Verdict},
    },
    package::{Package, Packages},
    pipeline,
    process::Process,
    record::{Record, Text, Value},
};

mod report;

/// `sensor ps`.
#[derive(Debug, clap::Args)]
pub struct Ps {
    /// Only processes of this user, by whichever of its ids: of the login, real, effective, saved or of the file system.
    #[arg(long, value_name = "NAME or UID")]
    pub user: Option<String>,
    /// Only processes whose executable has lost its name, or never had one.
    #[arg(long)]
    pub deleted: bool,
    /// Children under their parents.
    #[arg(long)]
    pub tree: bool,
    /// Threads of the kernel too.
    #[arg(long)]
    pub kernel: bool,
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// One process of the list.
struct Row {
    record: Record,
    verdict: Verdict,
    severity: u64,
    pid: u32,
    parent: u32,
    kernel: bool,
    /// How deep under others, in a tree.
    depth: usize,
}

/// Lists them.
///
/// # Errors
/// When no such user is known, /proc can't be read, or not all could be seen; the parts are named.
pub fn act(args: &Ps) -> Result<(), Failure> {
    let host = Host::real().map_err(|error| Failure::new(Status::Failed, error))?;
    let user = args.user.as_deref().map(|user| user_id(user, &host)).transpose()?;
    let look = awaiting(async { Look::at(&host, lister(&host)) })?.map_err(|error| {
        Failure::new(Status::Failed, format!("listing processes in {}: {error}", host.proc().display()))
    })?;
    let mut rows = rows(&look, &host, user);
    let kernel_threads = rows.iter().filter(|row| row.kernel).count();
    rows.retain(|row| wanted(row, args));
    match args.tree {
        true => rows = in_tree(rows),
        false => rows.sort_by_key(|row| (std::cmp::Reverse(row.severity), row.kernel, row.pid)),
    }
    match is_text(args.format) {
        true => {
            let left_out = if args.kernel { 0 } else { kernel_threads };
            let lines: Vec<Line> = rows.iter().map(|row| report::line(row, args.tree)).collect();
            let mut text =
                format::table::text(&report::heads(), &lines, width(), width().is_some() && colour());
            text.push_str(&report::sum(&rows, left_out));
            print(text)?;
        }
        false => {
            let mut out = Vec::new();
            if let Some(format) = format::named(Format::Json.name()) {
                rows.iter().for_each(|row| format.write(&row.record, &mut out));
            }
            print(out)?;
        }
    }
    partly(&look.parts)
}

/// The id of a user, given by name or number.
fn user_id(user: &str, host: &Host) -> Result<u32, Failure> {
    if let Ok(id) = user.parse() {
        return Ok(id);
    }
    let users = enrich::users(&host.passwd());
    let known = users.iter().find(|(_, name)| name.as_bytes() == user.as_bytes());
    known.map(|(id, _)| *id).ok_or_else(|| {
        let (user, file) = (format::text::escape(user.as_bytes()), host.passwd());
        Failure::new(
            Status::Usage,
            format!(
                "no user {user} in {}; of one that another service knows, give the number",
                file.display()
            ),
        )
    })
}

fn wanted(row: &Row, args: &Ps) -> bool {
    let lost = || {
        matches!(
            row.verdict,
            Verdict::Upgraded
                | Verdict::Replaced
                | Verdict::LinkLeft
                | Verdict::Deleted
                | Verdict::NeverNamed
                | Verdict::Memfd
        )
    };
    let of_user = || args.user.is_none() || row.record.has(Field::SensorMatches);
    (args.kernel || !row.kernel) && (!args.deleted || lost()) && of_user()
}

fn rows(look: &Look, host: &Host, user: Option<u32>) -> Vec<Row> {
    let all = look.all();
    let mut paths: Vec<Text> = all.iter().filter_map(|process| process.image.executable.clone()).collect();
    paths.sort_unstable();
    paths.dedup();
    let owners = Packages::new(host.root()).owners(&paths);
    let (mut judge, common) = (Judge::new(look), pipeline::common(host));
    let mut enricher = Enricher::new(host.passwd(), host.boot());
    let now = host.boot().at(host.boot_now());
    all.into_iter()
        .map(|process| {
            let mut record = process_snapshot::ACTION.record();
            enricher.set(process, &mut record);
            record.extend_from(&common);
            record.set(Field::Timestamp, now);
            let mut row = judged(look, &mut judge, host, &owners, process, record);
            let matches = user.map(|user| matches(process, user)).unwrap_or_default();
            if !matches.is_empty() {
                row.record.set(Field::SensorMatches, matches);
            }
            row
        })
        .collect()
}

/// With what is known of it beside what events tell.
fn judged(
    look: &Look,
    judge: &mut Judge<'_>,
    host: &Host,
    owners: &HashMap<Text, Package>,
    process: &Process,
    mut record: Record,
) -> Row {
    // The records of packages are those of our root.
    let owner = process.image.executable.as_ref().and_then(|path| owners.get(path));
    let owner = owner.filter(|_| judge.is_own(process));
    let verdict = judge.verdict(process, owner.is_some());
    let beside = look.beside.get(&process.key.pid);
    let seen = beside.and_then(|beside| beside.seen.as_ref());
    if let Some(seen) = seen {
        record.set(Field::SensorUsageCpuNs, seen.cpu_ns);
        record.set(Field::SensorUsageRssBytes, seen.rss_pages.saturating_mul(host.page_bytes()));
        if !record.has(Field::ProcessName) {
            record.set(Field::ProcessName, seen.name.clone());
        }
    }
    if let Some(package) = owner {
        record.set(Field::PackageName, package.name.clone());
        record.set(Field::PackageType, package.kind);
    }
    record.set(Field::SensorExeVerdict, verdict.word());
    if let Some(state) = verdict.state() {
        record.set(Field::SensorExeState, state);
    }
    let hidden = beside.and_then(|beside| beside.hidden);
    let findings =
        [hidden.map(|hidden| (99, hidden.sentence())), verdict.sentence().map(|s| (verdict.severity(), s))];
    let findings: Vec<(u64, &str)> = findings.into_iter().flatten().collect();
    let severity = findings.iter().map(|(severity, _)| *severity).max().unwrap_or(0);
    if severity != 0 {
        record.set(Field::EventSeverity, severity);
        let sentences: Vec<Text> =
            findings.iter().map(|(_, sentence)| Text::from((*sentence).to_owned())).collect();
        record.set(Field::SensorFindings, sentences);
    }
    Row {
        record,
        verdict,
        severity,
        pid: process.key.pid,
        parent: process.actor.parent,
        kernel: verdict == Verdict::KernelThread,
        depth: 0,
    }
}

/// By which of its ids a process is one of a user's.
fn matches(process: &Process, user: u32) -> Vec<Text> {
    let [real, _, saved, _, effective, _, file_system, _] = process.actor.ids;
    let ids = [
        ("login", process.actor.login_uid),
        ("real", real),
        ("effective", effective),
        ("saved", saved),
        ("file_system", file_system),
    ];
    ids.into_iter().filter(|(_, id)| *id == user).map(|(name, _)| Text::from(name)).collect()
}

/// Each under its parent, if that is in the list too.
fn in_tree(rows: Vec<Row>) -> Vec<Row> {
    let here: HashSet<u32> = rows.iter().map(|row| row.pid).collect();
    let mut children: HashMap<u32, Vec<Row>> = HashMap::new();
    let mut waiting = Vec::new();
    for row in rows {
        match here.contains(&row.parent) && row.parent != row.pid {
            true => children.entry(row.parent).or_default().push(row),
            false => waiting.push(row),
        }
    }
    waiting.reverse();
    let mut ordered = Vec::new();
    while let Some(row) = waiting.pop() {
        let depth = row.depth + 1;
        let below = children.remove(&row.pid).unwrap_or_default();
        waiting.extend(below.into_iter().rev().map(|child| Row { depth, ..child }));
        ordered.push(row);
    }
    // Numbers that were used again while they were read can make a ring.
    ordered.extend(children.into_values().flatten());
    ordered
}

/// A text of a record.
fn text(record: &Record, field: Field) -> Option<&Text> {
    match record.get(field) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// A number of a record.
fn number(record: &Record, field: Field) -> Option<u64> {
    match record.get(field) {
        Some(Value::U64(number)) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pid: u32, parent: u32) -> Row {
        let verdict = Verdict::Present;
        Row { record: Record::new(), verdict, severity: 0, pid, parent, kernel: false, depth: 0 }
    }

    #[test]
    fn children_stand_under_their_parents() {
        let rows = in_tree(vec![row(1, 0), row(2, 1), row(3, 1), row(4, 2), row(9, 7), row(5, 6), row(6, 5)]);
        let order: Vec<(u32, usize)> = rows.iter().map(|row| (row.pid, row.depth)).collect();
        assert_eq!(order[..5], [(1, 0), (2, 1), (4, 2), (3, 1), (9, 0)]);
        assert_eq!(rows.len(), 7, "also those whose parents are each other");
    }
}
