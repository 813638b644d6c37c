//! `sensor ps`: what runs, and what is to be thought of each executable.

use std::collections::{HashMap, HashSet};

use super::{Failure, Format, Give, Status, awaiting, host, list, lister, partly, table, user_id};
use crate::{
    field::Field,
    host::Host,
    look::{
        Look,
        described::{Described, Describer},
        executable::Verdict,
    },
    record::Record,
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
    let host = host()?;
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
    let lines = || -> Vec<_> { rows.iter().map(|row| report::line(row, args.tree)).collect() };
    let left_out = if args.kernel { 0 } else { kernel_threads };
    list(args.format, rows.iter().map(|row| &row.record), || {
        table(&report::heads(), &lines()) + &report::sum(&rows, left_out)
    })?;
    partly(&look.parts)
}

/// Tells all processes, also threads of the kernel.
pub(super) fn tell(look: &Look, host: &Host, give: &mut Give<'_>) -> Vec<String> {
    let _: Option<Row> = rows(look, host, None).into_iter().find(|row| give(&row.record).is_break());
    Vec::new()
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
    let mut describer = Describer::new(look, host, &all);
    all.into_iter()
        .map(|process| {
            let Described { mut record, verdict, severity } = describer.describe(process);
            if let Some(user) = user {
                let ids = process.ids_of(user);
                if !ids.is_empty() {
                    record.set(Field::SensorMatches, ids);
                }
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
        })
        .collect()
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
