//! Which running executables have lost their name, and who took it.
//!
//! What is executed is compared with what it was when it was executed: a name is lost when the
//! directory entry is no longer in its directory, is another entry, or the last link is gone.
//! Who did it comes from hints: calls that named something running, just before.

use std::collections::VecDeque;

use crate::{
    event::{
        Key, Running,
        exe_deleted::{Lost, Method, basename},
        name::{Call, hash},
        touch::Touch,
    },
    process::{Process, Table},
    record::Text,
};

/// A call that may have taken a name, or nothing but that something was touched.
#[derive(Clone, Debug)]
pub struct Hint {
    /// When, nanoseconds since boot.
    pub time: u64,
    /// Who, as it was then.
    pub actor: Process,
    /// The thread that called.
    pub thread: u32,
    /// What was called; none when that isn't known.
    pub call: Option<Call>,
    /// Hashes of the names that it named: the one that goes, the one that is replaced.
    pub names: [Option<u32>; 2],
    /// The caller's own image is known to have lost its name.
    pub own: bool,
}

/// A name that was lost.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is told of it.
    pub lost: Lost,
    /// Who did it, unless nobody was seen.
    pub hint: Option<Hint>,
    /// Who runs it.
    pub runners: Vec<Process>,
}

/// How long a hint is good for, nanoseconds.
const FRESH: u64 = 3_000_000_000;
/// And one that says only that something running was touched, nanoseconds.
const FRESH_TOUCH: u64 = 100_000_000;
/// Most hints that are kept.
const MOST: usize = 4096;
/// Programs that put new files in place of running ones as their trade.
const PACKAGE_MANAGERS: [&str; 12] = [
    "/usr/bin/dpkg",
    "/usr/bin/apt-get",
    "/usr/bin/apt",
    "/usr/bin/rpm",
    "/usr/bin/dnf",
    "/usr/bin/dnf5",
    "/usr/bin/microdnf",
    "/usr/bin/yum",
    "/usr/bin/pacman",
    "/sbin/apk",
    "/usr/sbin/apk",
    "/usr/bin/zypper",
];

/// Recent hints.
#[derive(Default)]
pub struct Verdicts {
    hints: VecDeque<Hint>,
    touches: VecDeque<(u64, Touch)>,
}

/// What became of a name between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Removed,
    Moved,
}

/// Compares two looks at what a process runs.
fn change(then: &Running, now: &Running) -> Option<Change> {
    let gone = |running: &Running| running.flags & Running::UNHASHED != 0 || running.nlink == 0;
    if now.inode == 0 || then.inode == 0 || !then.same_file(now) || then.dentry != now.dentry || gone(then) {
        return None;
    }
    if gone(now) {
        return Some(Change::Removed);
    }
    ((then.parent, then.name_hash) != (now.parent, now.name_hash)).then_some(Change::Moved)
}

impl Verdicts {
    /// Keeps a hint.
    pub fn hint(&mut self, hint: Hint) {
        let old = hint.time.saturating_sub(FRESH);
        while self.hints.len() >= MOST || self.hints.front().is_some_and(|first| first.time < old) {
            self.hints.pop_front();
        }
        self.hints.push_back(hint);
    }

    /// Keeps who touched a file that is running, seen at this time.
    pub fn touched(&mut self, time: u64, touch: Touch) {
        let old = time.saturating_sub(FRESH);
        while self.touches.len() >= MOST || self.touches.front().is_some_and(|(first, _)| *first < old) {
            self.touches.pop_front();
        }
        self.touches.push_back((time, touch));
    }

    /// A process was looked at again: says what was lost, and marks all that run the same.
    ///
    /// `taken` says whether a path leads to another file now; it is asked when the call isn't known.
    pub fn look(
        &mut self,
        table: &mut Table,
        key: Key,
        now: &Running,
        time: u64,
        taken: impl FnOnce(&Text) -> bool,
    ) -> Option<Found> {
        let process = table.get(key)?;
        let change = change(&process.now, now)?;
        let hint = self.who(table, change, process, time);
        let (was, path) = (process.now, process.image.executable.clone());
        let method = method(change, hint.as_ref(), || path.as_ref().is_some_and(taken));
        let runners = mark(table, &was, now, method);
        let own = hint.as_ref().is_some_and(|hint| runners.iter().any(|runner| runner.key == hint.actor.key));
        let since = runners.iter().map(|runner| runner.image.since).min().unwrap_or(0);
        let lost = Lost {
            running: *now,
            path,
            method,
            own,
            package_manager: hint.as_ref().is_some_and(|hint| package_manager(&hint.actor)),
            unseen: hint.is_none(),
            age: time.saturating_sub(since),
        };
        Some(Found { lost, hint, runners })
    }

    /// Who did it.
    ///
    /// The inode's own word comes first: whoever touched this very file. Of their calls the latest
    /// that named it, else of anybody's, else only who touched it is known.
    fn who(&self, table: &Table, change: Change, process: &Process, time: u64) -> Option<Hint> {
        let name = process.image.executable.as_ref().map(|path| hash(basename(path).as_bytes()));
        // What was done before it was executed was done to another file of that name, or number.
        let since = process.image.since;
        let fits = |hint: &&Hint| {
            let named =
                (name.is_some() && hint.names.contains(&name)) || (hint.own && hint.actor.key == process.key);
            let possible = change == Change::Removed || hint.call == Some(Call::Rename);
            named && possible && hint.time >= since && hint.time.saturating_add(FRESH) > time
        };
        let calls = || self.hints.iter().rev().filter(fits);
        let touches = || {
            self.touches.iter().rev().filter(|(when, _)| *when >= since && when.saturating_add(FRESH) > time)
        };
        let inode = process.now.inode;
        let touched = |pid: u32| touches().any(|(_, touch)| touch.pid == pid && touch.is_of(inode));
        if let Some(call) = calls().find(|call| touched(call.actor.key.pid)) {
            return Some(call.clone());
        }
        let known = touches().find(|(_, touch)| touch.is_of(inode));
        let late = || touches().find(|(when, _)| when.saturating_add(FRESH_TOUCH) > time);
        known
            .and_then(|touch| toucher(table, touch))
            .or_else(|| calls().next().cloned())
            .or_else(|| late().and_then(|touch| toucher(table, touch)))
    }
}

/// Who touched something, while it is remembered.
fn toucher(table: &Table, (time, touch): &(u64, Touch)) -> Option<Hint> {
    let actor = table.lately(touch.pid)?.clone();
    Some(Hint { time: *time, actor, thread: touch.pid, call: None, names: [None; 2], own: false })
}

fn method(change: Change, hint: Option<&Hint>, taken: impl FnOnce() -> bool) -> Method {
    if change == Change::Moved {
        return Method::Rename;
    }
    match hint.map(|hint| hint.call) {
        None => Method::Sweep,
        // Only that it was touched is known: a path that leads somewhere again was taken over.
        Some(call) if call.map_or_else(taken, |call| call == Call::Rename) => Method::Replace,
        Some(_) => Method::Unlink,
    }
}

/// All that run the file by that name: they know now that it is gone, and are told once.
fn mark(table: &mut Table, was: &Running, now: &Running, method: Method) -> Vec<Process> {
    let mut runners = Vec::new();
    for process in
        table.iter_mut().filter(|process| process.now.same_file(was) && process.now.dentry == was.dentry)
    {
        process.now = *now;
        process.replaced = method == Method::Replace;
        runners.push(process.clone());
    }
    runners.sort_by_key(|runner| runner.key);
    runners
}

/// By its executable: root's, on disk under its own name, and not for others to write.
fn package_manager(process: &Process) -> bool {
    let known = process
        .image
        .executable
        .as_ref()
        .is_some_and(|path| PACKAGE_MANAGERS.iter().any(|known| known.as_bytes() == path.as_bytes()));
    known && trusted(&process.now)
}

/// Only root can have put it there.
#[must_use]
pub fn trusted(running: &Running) -> bool {
    running.uid == 0
        && running.mode & 0o022 == 0
        && running.nlink != 0
        && running.flags & Running::UNHASHED == 0
}

/// Container runtimes that execute a copy of themselves from memory, to keep containers off their binary.
const RUNTIMES: [&str; 8] = [
    "/usr/bin/runc",
    "/usr/sbin/runc",
    "/usr/local/bin/runc",
    "/usr/local/sbin/runc",
    "/usr/bin/crun",
    "/usr/local/bin/crun",
    "/usr/libexec/crio/runc",
    "/usr/libexec/crio/crun",
];

/// Whether what ran before is such a runtime: by its file, not by its name alone.
#[must_use]
pub fn runtime(executable: Option<&Text>, running: &Running) -> bool {
    executable.is_some_and(|path| RUNTIMES.iter().any(|known| known.as_bytes() == path.as_bytes()))
        && trusted(running)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Actor, process::Image};

    const NAMED: Running = Running {
        inode: 9,
        dentry: 1,
        parent: 2,
        name_hash: 3,
        nlink: 1,
        device: 0,
        generation: 0,
        ctime: 0,
        mode: 0o755,
        flags: 0,
        uid: 0,
    };
    const UNLINKED: Running = Running { nlink: 0, flags: Running::UNHASHED, ..NAMED };
    const MOVED: Running = Running { name_hash: 4, ..NAMED };

    fn key(pid: u32) -> Key {
        Key { pid, start: 1 }
    }

    fn table(paths: &[(u32, &'static str)]) -> Table {
        let mut table = Table::new("boot".to_owned());
        for (pid, path) in paths {
            let image = Image { executable: Some(Text::from(*path)), running: NAMED, ..Image::default() };
            table.found(key(*pid), Actor::default(), image);
        }
        table
    }

    fn hint(table: &Table, pid: u32, call: Call, name: &str) -> Hint {
        Hint {
            time: 5,
            actor: table.get(key(pid)).unwrap().clone(),
            thread: pid,
            call: Some(call),
            names: [Some(hash(name.as_bytes())), None],
            own: false,
        }
    }

    #[test]
    fn a_lost_name_is_told_once_with_all_runners() {
        let mut table = table(&[(1, "/x"), (2, "/x")]);
        let mut verdicts = Verdicts::default();
        verdicts.hint(hint(&table, 2, Call::Unlink, "x"));
        let found = verdicts.look(&mut table, key(1), &UNLINKED, 6, |_| false).unwrap();
        assert_eq!((found.lost.method, found.lost.own), (Method::Unlink, true));
        assert_eq!(found.runners.iter().map(|runner| runner.key.pid).collect::<Vec<_>>(), [1, 2]);
        assert!(verdicts.look(&mut table, key(2), &UNLINKED, 7, |_| false).is_none());
    }

    #[test]
    fn methods_follow_from_what_was_called_and_what_became() {
        for (now, call, method) in [
            (UNLINKED, Call::Rename, Method::Replace),
            (MOVED, Call::Rename, Method::Rename),
            (UNLINKED, Call::Unlink, Method::Unlink),
        ] {
            let mut table = table(&[(1, "/x")]);
            let mut verdicts = Verdicts::default();
            verdicts.hint(hint(&table, 1, call, "x"));
            assert_eq!(verdicts.look(&mut table, key(1), &now, 6, |_| false).unwrap().lost.method, method);
        }
    }

    #[test]
    fn nobody_is_blamed_for_another_name_or_long_after() {
        let mut table = table(&[(1, "/x"), (2, "/y")]);
        let mut verdicts = Verdicts::default();
        verdicts.hint(hint(&table, 2, Call::Unlink, "z"));
        let found = verdicts.look(&mut table, key(1), &UNLINKED, 6, |_| false).unwrap();
        assert!(found.hint.is_none() && found.lost.unseen && found.lost.method == Method::Sweep);
        let mut table = self::table(&[(1, "/x")]);
        verdicts.hint(hint(&table, 1, Call::Unlink, "x"));
        assert!(verdicts.look(&mut table, key(1), &UNLINKED, 6 + FRESH, |_| false).unwrap().hint.is_none());
    }

    #[test]
    fn a_link_less_or_nothing_new_is_no_loss() {
        assert_eq!(change(&Running { nlink: 2, ..NAMED }, &NAMED), None);
        assert_eq!(change(&UNLINKED, &UNLINKED), None);
        assert_eq!(change(&NAMED, &Running { inode: 10, ..UNLINKED }), None);
        assert_eq!(change(&NAMED, &Running { nlink: 1, ..UNLINKED }), Some(Change::Removed));
    }

    #[test]
    fn a_package_manager_is_known_by_its_file() {
        let table = table(&[(1, "/usr/bin/dpkg")]);
        let mut process = table.get(key(1)).unwrap().clone();
        assert!(package_manager(&process));
        process.now.uid = 1000;
        assert!(!package_manager(&process));
    }

    #[test]
    fn hints_are_bounded() {
        let table = table(&[(1, "/x")]);
        let mut verdicts = Verdicts::default();
        for _ in 0..2 * MOST {
            verdicts.hint(hint(&table, 1, Call::Unlink, "x"));
        }
        assert_eq!(verdicts.hints.len(), MOST);
    }

    #[test]
    fn the_inode_tells_between_two_of_one_name() {
        let mut table = table(&[(1, "/a/x"), (2, "/b/y"), (3, "/b/z")]);
        let mut verdicts = Verdicts::default();
        verdicts.hint(hint(&table, 2, Call::Unlink, "x"));
        verdicts.hint(hint(&table, 3, Call::Rename, "x"));
        verdicts.touched(5, Touch::new(2, vec![9]));
        verdicts.touched(5, Touch::new(3, vec![8]));
        let found = verdicts.look(&mut table, key(1), &UNLINKED, 6, |_| false).unwrap();
        assert_eq!((found.hint.unwrap().actor.key.pid, found.lost.method), (2, Method::Unlink));
    }

    #[test]
    fn who_touched_it_is_known_without_a_call() {
        for (taken, method) in [(false, Method::Unlink), (true, Method::Replace)] {
            let mut table = table(&[(1, "/x"), (2, "/y")]);
            let mut verdicts = Verdicts::default();
            verdicts.touched(5, Touch::new(2, vec![0, 9]));
            table.ended(key(2));
            let found = verdicts.look(&mut table, key(1), &UNLINKED, 6, |_| taken).unwrap();
            assert_eq!((found.hint.unwrap().actor.key.pid, found.lost.method), (2, method));
        }
    }
}
