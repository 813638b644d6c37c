//! Who is left alone whatever was asked for, and why.

use std::collections::HashMap;

use crate::{
    look::Row,
    procfs::{Reader, seen::Seen},
};

/// More parents than anybody has.
const PARENTS_MOST: usize = 4096;

/// Who is left alone.
#[derive(Debug)]
pub struct Care {
    own: u32,
    /// Those by way of whom this command was started.
    parents: Vec<u32>,
    /// The pid namespaces in which this command and its parents live.
    spaces: Vec<u32>,
    /// All that is asked for is a system account's, whose processes keep the host going.
    system: bool,
    force: bool,
}

impl Care {
    /// Of this command; `force`: its own parents aren't spared, nor a system account.
    #[must_use]
    pub fn new(reader: &Reader, system: bool, force: bool) -> Self {
        let own = std::process::id();
        let mut parents = Vec::new();
        let mut next = reader.seen(own).map(|seen| seen.parent);
        while let Some(pid) = next.filter(|pid| *pid != 0 && parents.len() < PARENTS_MOST) {
            parents.push(pid);
            next = reader.seen(pid).map(|seen| seen.parent);
        }
        let spaces = parents.iter().chain([&own]).filter_map(|pid| reader.pid_namespace(*pid)).collect();
        Self { own, parents, spaces, system, force }
    }

    /// Why a process is left alone, if it is.
    #[must_use]
    pub fn refuses(&self, row: &Row, seen: &Seen, reader: &Reader) -> Option<&'static str> {
        let pid = row.key.pid;
        match () {
            () if pid == self.own => Some("it is this command itself"),
            () if pid == 1 => Some("it is the first process, and the host ends with it"),
            () if seen.kernel => Some("it is a thread of the kernel"),
            () if self.force => None,
            () if self.parents.contains(&pid) => Some(
                "this command was started by way of it, and you would be cut off; --force doesn't spare it",
            ),
            () if self.spaces.contains(&pid_space(row)) && reader.pid_inside(pid) == Some(1) => {
                Some("you are in the pid namespace that ends with it; --force doesn't spare it")
            }
            () if self.system => Some(
                "its user is a system account, without which the host may stop; --force doesn't spare it",
            ),
            () => None,
        }
    }
}

/// The pid namespace of a process.
fn pid_space(row: &Row) -> u32 {
    let [_, _, _, _, space, ..] = row.actor.namespaces;
    space
}

/// Of which processes all others of their pid namespace end with them, and how many those are.
#[must_use]
pub fn firsts(rows: &[Row], pids: &[u32], reader: &Reader) -> HashMap<u32, usize> {
    let own = reader.own_pid_namespace();
    let mut sizes: HashMap<u32, usize> = HashMap::new();
    rows.iter().for_each(|row| *sizes.entry(pid_space(row)).or_default() += 1);
    let of = |pid: &u32| rows.iter().find(|row| row.key.pid == *pid).map(pid_space);
    let first = |pid: &u32| {
        let space = of(pid).filter(|space| *space != 0 && Some(*space) != own)?;
        (reader.pid_inside(*pid) == Some(1)).then_some(())?;
        Some((*pid, sizes.get(&space).copied().unwrap_or(1).saturating_sub(1)))
    };
    pids.iter().filter_map(first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Actor, Key, Running};

    fn row(pid: u32) -> Row {
        Row { key: Key { pid, start: 0 }, actor: Actor::default(), running: Running::default() }
    }

    #[test]
    fn itself_its_parents_and_the_first_are_left_alone() {
        let reader = Reader::new("/proc".into());
        let own = reader.seen(std::process::id()).unwrap();
        let (gentle, forced) = (Care::new(&reader, false, false), Care::new(&reader, true, true));
        assert!(gentle.refuses(&row(own.pid), &own, &reader).is_some());
        assert!(forced.refuses(&row(own.pid), &own, &reader).is_some());
        assert!(forced.refuses(&row(1), &own, &reader).is_some());
        let parent = reader.seen(own.parent).unwrap();
        assert!(gentle.refuses(&row(parent.pid), &parent, &reader).is_some());
        assert_eq!(forced.refuses(&row(parent.pid), &parent, &reader).is_some(), parent.pid == 1);
        let mut kernel = own;
        kernel.kernel = true;
        assert!(forced.refuses(&row(u32::MAX), &kernel, &reader).is_some());
    }
}
