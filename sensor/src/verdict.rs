//! Which running executables have lost their name, and who took it.
//!
//! What is executed is compared with what it was when it was executed: a name is lost when the
//! directory entry is no longer in its directory, is another entry, or the last link is gone.
//! Who did it (`doer`) comes from what fanotify or the calls' own hooks told just before.

use crate::{
    event::{
        Key, Running,
        exe_deleted::{Lost, Method},
        name::{Call, Named},
        touch::Touch,
    },
    process::{Process, Table},
};

mod doer;
mod runners;
pub mod trust;

pub use doer::{Between, Hint};
use doer::{Doers, Who, named};
use runners::Runners;
use trust::package_manager;
pub use trust::{runtime, trusted};

/// A name that was lost.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is told of it.
    pub lost: Lost,
    /// Who did it, unless nobody was seen.
    pub hint: Option<Hint>,
    /// Who runs it: the first of them.
    pub runners: Vec<Process>,
    /// How many do.
    pub runner_count: usize,
    /// When it was seen to be gone, nanoseconds since boot.
    pub time: u64,
}

/// How long a loss waits for a call that is known to be of this file, nanoseconds.
const WAIT: u64 = 50_000_000;
/// So many losses, each with those who run the file, are told before more is taken in.
const MANY: usize = 256;
/// And for anybody at all.
const WAIT_LONG: u64 = 200_000_000;

/// What is still known of a file by a descriptor, when the kernel shows it to no program any more.
#[derive(Clone, Debug)]
pub struct Left {
    /// When it was last changed, nanoseconds since boot: to lose a name is a change.
    pub changed: u64,
    /// By how much that may be rounded down.
    pub rounded: u64,
    /// How many names it has.
    pub names: u64,
    /// The path by which it is held, as the kernel has it (`d_path`): with a mark behind it where that name is gone.
    pub path: Vec<u8>,
}

impl Left {
    /// What became of the name by which a process executed it. `called`: what somebody would have done to such a name.
    fn change(&self, process: &Process, called: Option<Change>) -> Option<Change> {
        let (name, before) = (Named::of(&self.path), named(process)?);
        let gone =
            || self.path.strip_suffix(b" (deleted)").is_some_and(|path| Named::of(path).name == before.name);
        if self.names == 0 || gone() {
            return Some(Change::Removed);
        }
        // By another of its names it may always have been held, and by another path of its folder too.
        let moved = match called {
            Some(Change::Moved) => name != before,
            _ => self.names == 1 && name.name != before.name,
        };
        (moved && !process.moved()).then_some(Change::Moved)
    }
}

/// What was lost and isn't told yet, and who may have done it.
#[derive(Default)]
pub struct Verdicts {
    doers: Doers,
    open: Vec<Open>,
    /// Processes that ended, of which it wasn't shown what became of their image, and when.
    ended: Vec<(Process, u64)>,
}

/// What is asked of the host while verdicts are made.
pub struct Answers<'a> {
    /// Whether the name by which a process was executed leads to another file now.
    pub taken: &'a dyn Fn(&Process, &Table) -> bool,
    /// Whether every name that goes on a device is told with that device.
    pub tells: &'a dyn Fn(u32) -> bool,
    /// The process that a thread is of, or was, if it is one of several.
    pub thread_of: &'a dyn Fn(u32) -> Option<Key>,
    /// The process that a thread is of, while it lives.
    pub thread_group: &'a dyn Fn(u32) -> Option<u32>,
}

/// A name that is gone.
struct Loss {
    change: Change,
    /// One who runs it, as it was before.
    process: Process,
    now: Running,
    time: u64,
}

/// One of which it isn't told yet who took it.
struct Open {
    loss: Loss,
    runners: Runners,
    /// Another file has the name.
    taken: bool,
}

/// What became of a name between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Removed,
    Moved,
}

/// Compares two looks at what a process runs.
fn change(then: &Running, now: &Running) -> Option<Change> {
    if now.inode == 0
        || then.inode == 0
        || !then.same_file(now)
        || then.dentry != now.dentry
        || then.nameless()
    {
        return None;
    }
    if now.nameless() {
        return Some(Change::Removed);
    }
    ((then.parent, then.name_hash) != (now.parent, now.name_hash)).then_some(Change::Moved)
}

impl Verdicts {
    /// Keeps a hint.
    pub fn hint(&mut self, hint: Hint) {
        self.doers.hint(hint);
    }

    /// Keeps which thread touched a file that is running.
    pub fn touched(&mut self, when: Between, touch: Touch) {
        self.doers.touched(when, touch);
    }

    /// Keeps whose name went, of whatever file.
    pub fn gone(&mut self, when: Between, touch: Touch) {
        self.doers.gone(when, touch);
    }

    /// A process was looked at again: notes what was lost, and marks all that run the same.
    pub fn look(&mut self, table: &mut Table, key: Key, now: &Running, time: u64) {
        let Some(process) = table.get(key) else { return };
        let Some(change) = change(&process.now, now) else { return };
        let process = process.clone();
        let runners = Runners::mark(table, &process.now, now);
        self.open.push(Open { loss: Loss { change, process, now: *now, time }, runners, taken: false });
    }

    /// A hook told that a file lost a name, and how it is now: the same as a look at one who runs it by that name.
    /// False when nobody is known who does, or did until now.
    pub fn lost(&mut self, table: &mut Table, now: &Running, time: u64) -> bool {
        let runs = |process: &Process| process.now.same_file(now) && process.now.dentry == now.dentry;
        let Some(key) = table.iter().find(|process| runs(process)).map(|process| process.key) else {
            return table.ended_lately().any(runs);
        };
        self.look(table, key, now, time);
        true
    }

    /// A process ended, and the kernel didn't show its image any more.
    pub fn ended(&mut self, process: &Process, time: u64) {
        if process.now.inode != 0 && !process.now.nameless() {
            self.ended.push((process.clone(), time));
        }
    }

    /// Whether some ended so since it was last looked what became of their images.
    #[must_use]
    pub fn ended_unseen(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Notes what those who ended had lost until then: by the names that went until now what they took from themselves, and
    /// by what is left of their files what others took. `left`: of a process, where its file is held.
    pub fn look_back(&mut self, table: &mut Table, left: impl Fn(&Process) -> Option<Left>) {
        for (process, time) in std::mem::take(&mut self.ended) {
            if self.open.iter().any(|open| open.runners.contains(process.key)) {
                continue;
            }
            let own = self.doers.took(&process, |touch| touch.pid == process.key.pid);
            let Some(change) = own.or_else(|| self.lost_until(time, &process, &left(&process)?)) else {
                continue;
            };
            let now = process.now.without_name(change == Change::Moved);
            let mut runners = Runners::mark(table, &process.now, &now);
            let mut ended = process.clone();
            ended.now = now;
            runners.add(&ended);
            self.open.push(Open { loss: Loss { change, process, now, time }, runners, taken: false });
        }
    }

    /// What became of the name of what a process ran until its end, whoever did it. What was changed later doesn't show
    /// whether it was before; a call that named it before the end shows what the time is too coarse for.
    fn lost_until(&self, end: u64, process: &Process, left: &Left) -> Option<Change> {
        let called = self.doers.called(process, end);
        let rounded = if called.is_some() { 0 } else { left.rounded };
        if left.changed <= process.image.since || left.changed.saturating_add(rounded) > end {
            return None;
        }
        self.doers.took(process, |_| true).or_else(|| left.change(process, called))
    }

    /// A process executes something else: one that was only on its way there is no runner.
    pub fn left(&mut self, key: Key) {
        for open in &mut self.open {
            open.runners.remove(key);
        }
    }

    /// Whether something was noted and not told.
    #[must_use]
    pub fn open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether so much was that it is better told before more comes.
    #[must_use]
    pub fn many(&self) -> bool {
        self.open.len() >= MANY
    }

    /// Takes what can be told: who did it is known, or nobody came forward in time.
    ///
    /// A look may show that a name is gone before the call that took it has ended and is told, so it
    /// waits for a moment.
    pub fn settle(&mut self, table: &mut Table, now: u64, answers: &Answers<'_>) -> Vec<Found> {
        let mut found = Vec::new();
        for mut open in std::mem::take(&mut self.open) {
            let who = self.doers.who(table, &open.loss, answers);
            let wait = match who {
                Who::Sure(_) => 0,
                Who::Likely(_) => WAIT,
                Who::Perhaps(_) | Who::Nobody => WAIT_LONG,
            };
            // A call that is known says how the name went; without one it may be taken over at any time.
            let told = matches!(&who, Who::Sure(hint) if hint.call.is_some());
            open.taken |=
                !told && open.loss.change == Change::Removed && (answers.taken)(&open.loss.process, table);
            if open.loss.time.saturating_add(wait) > now {
                self.open.push(open);
                continue;
            }
            let hint = match who {
                Who::Sure(hint) | Who::Likely(hint) | Who::Perhaps(hint) => Some(hint),
                Who::Nobody => None,
            };
            hint.iter().for_each(|hint| self.doers.claim(hint));
            found.push(open.found(table, hint));
        }
        found
    }
}

impl Open {
    fn found(self, table: &mut Table, hint: Option<Hint>) -> Found {
        let Self { loss: Loss { change, process, now, time }, mut runners, taken } = self;
        let path = process.image.executable.clone();
        let method = method(change, hint.as_ref(), taken);
        // One that has executed something else by now was on its way there.
        runners.retain(table, |live| live.now.same_file(&now));
        // And one whose birth was told only after the look had been there before it; it and who did it may have
        // ended since.
        let late = |live: &&Process| {
            live.now.same_file(&now) && live.now.dentry == now.dentry && live.key.start <= time
        };
        let actor = hint.iter().map(|hint| &hint.actor).filter(|actor| table.get(actor.key).is_none());
        let ended = table.ended_lately().filter(|ended| ended.ended.is_some_and(|end| end >= time));
        let more = table.iter().chain(ended).chain(actor).filter(late);
        more.for_each(|live| runners.add(live));
        if method == Method::Replace {
            for live in table.iter_mut().filter(|live| live.now.same_file(&now)) {
                live.replaced = true;
            }
            runners.replaced();
        }
        let own = hint.as_ref().is_some_and(|hint| runners.contains(hint.actor.key));
        let since = runners.since(table).unwrap_or(process.image.since);
        let lost = Lost {
            running: now,
            path,
            method,
            own,
            package_manager: hint.as_ref().is_some_and(|hint| package_manager(&hint.actor)),
            unseen: hint.is_none(),
            age: time.saturating_sub(since),
        };
        let runner_count = runners.count();
        Found { lost, hint, runners: runners.into_first(), runner_count, time }
    }
}

fn method(change: Change, hint: Option<&Hint>, taken: bool) -> Method {
    if change == Change::Moved {
        return Method::Rename;
    }
    match hint.map(|hint| hint.call) {
        None => Method::Sweep,
        // Only that it was touched is known: a path that leads somewhere again was taken over.
        Some(call) if call.map_or(taken, |call| call == Call::Rename) => Method::Replace,
        Some(_) => Method::Unlink,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        doer::{FRESH, MOST},
        *,
    };
    use crate::{
        event::{Actor, touch::Handle},
        process::Image,
        record::Text,
    };

    const NAMED: Running = Running {
        inode: 9,
        dentry: 1,
        parent: 2,
        directory: 4,
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
        let mut table = Table::new("boot".to_owned(), crate::record::Boot(0));
        for (pid, path) in paths {
            let image = Image { executable: Some(Text::from(*path)), running: NAMED, ..Image::default() };
            table.found(key(*pid), Actor::default(), image);
        }
        table
    }

    fn look(
        verdicts: &mut Verdicts,
        table: &mut Table,
        key: Key,
        now: &Running,
        time: u64,
        taken: bool,
    ) -> Option<Found> {
        verdicts.look(table, key, now, time);
        let answers =
            Answers { taken: &|_, _| taken, tells: &|_| true, thread_of: &|_| None, thread_group: &|_| None };
        verdicts.settle(table, time + WAIT_LONG, &answers).pop()
    }

    fn touch(pid: u32, inode: u32) -> Touch {
        Touch { pid, file: Handle::new([inode]), ..Touch::default() }
    }

    fn hint(table: &Table, pid: u32, call: Call, name: &str) -> Hint {
        Hint {
            time: 5,
            actor: table.get(key(pid)).unwrap().clone(),
            thread: Some(pid),
            call: Some(call),
            names: [Some(Named::of(name.as_bytes())), None],
            own: false,
            lost: None,
            entry: None,
        }
    }

    #[test]
    fn who_renamed_his_own_image_before_has_not_taken_its_name() {
        let mut table = table(&[(1, "/x")]);
        let mut verdicts = Verdicts::default();
        let exact = |table: &Table, time, call, lost| Hint {
            time,
            names: [None; 2],
            own: true,
            lost: Some(lost),
            ..hint(table, 1, call, "x")
        };
        let answers =
            Answers { taken: &|_, _| false, tells: &|_| true, thread_of: &|_| None, thread_group: &|_| None };
        // There and back, and gone; a look shows the end before it is told who did it.
        for (time, state) in [(5, MOVED), (6, NAMED)] {
            verdicts.hint(exact(&table, time, Call::Rename, state));
            assert!(verdicts.lost(&mut table, &state, time));
        }
        let told = verdicts.settle(&mut table, 7, &answers);
        assert_eq!(told.iter().map(|found| found.hint.as_ref().unwrap().time).collect::<Vec<_>>(), [5, 6]);
        verdicts.look(&mut table, key(1), &UNLINKED, 9);
        assert!(verdicts.settle(&mut table, 9, &answers).is_empty());
        verdicts.hint(exact(&table, 8, Call::Unlink, UNLINKED));
        let found = verdicts.settle(&mut table, 10, &answers).pop().unwrap();
        assert_eq!((found.lost.method, found.lost.own), (Method::Unlink, true));
    }

    #[test]
    fn a_lost_name_is_told_once_with_all_runners() {
        let mut table = table(&[(1, "/x"), (2, "/x")]);
        let mut verdicts = Verdicts::default();
        verdicts.hint(hint(&table, 2, Call::Unlink, "x"));
        let found = look(&mut verdicts, &mut table, key(1), &UNLINKED, 6, false).unwrap();
        assert_eq!((found.lost.method, found.lost.own), (Method::Unlink, true));
        assert_eq!(found.runners.iter().map(|runner| runner.key.pid).collect::<Vec<_>>(), [1, 2]);
        assert!(look(&mut verdicts, &mut table, key(2), &UNLINKED, 7, false).is_none());
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
            assert_eq!(look(&mut verdicts, &mut table, key(1), &now, 6, false).unwrap().lost.method, method);
        }
    }

    #[test]
    fn of_many_runners_the_first_are_told_and_all_are_counted() {
        let mut table = table(&(1..=100).map(|pid| (pid, "/x")).collect::<Vec<_>>());
        let mut verdicts = Verdicts::default();
        let found = look(&mut verdicts, &mut table, key(100), &UNLINKED, 6, false).unwrap();
        assert_eq!((found.runners.len(), found.runner_count), (runners::MOST, 100));
        assert!(found.runners.iter().map(|runner| runner.key.pid).eq(1..=64));
        assert!(look(&mut verdicts, &mut table, key(99), &UNLINKED, 7, false).is_none(), "told once");
    }

    #[test]
    fn nobody_is_blamed_for_another_name_or_long_after() {
        let mut table = table(&[(1, "/x"), (2, "/y")]);
        let mut verdicts = Verdicts::default();
        verdicts.hint(hint(&table, 2, Call::Unlink, "z"));
        let found = look(&mut verdicts, &mut table, key(1), &UNLINKED, 6, false).unwrap();
        assert!(found.hint.is_none() && found.lost.unseen && found.lost.method == Method::Sweep);
        let mut table = self::table(&[(1, "/x")]);
        verdicts.hint(hint(&table, 1, Call::Unlink, "x"));
        assert!(look(&mut verdicts, &mut table, key(1), &UNLINKED, 6 + FRESH, false).unwrap().hint.is_none());
    }

    #[test]
    fn who_took_this_very_name_is_told_at_once_whatever_others_called() {
        let mut table = table(&[(1, "/x"), (2, "/y"), (3, "/z")]);
        for other in table.iter_mut().filter(|process| process.key.pid != 1) {
            other.now.inode = u64::from(other.key.pid);
        }
        let answers =
            Answers { taken: &|_, _| false, tells: &|_| true, thread_of: &|_| None, thread_group: &|_| None };
        let mut verdicts = Verdicts::default();
        verdicts.hint(hint(&table, 3, Call::Unlink, "x"));
        let exact = Hint { lost: Some(UNLINKED), names: [None; 2], ..hint(&table, 2, Call::Unlink, "") };
        verdicts.hint(exact);
        let elsewhere = Running { dentry: 8, ..UNLINKED };
        assert!(!verdicts.lost(&mut table, &elsewhere, 5), "nobody runs it by that name");
        assert!(verdicts.lost(&mut table, &UNLINKED, 5));
        let found = verdicts.settle(&mut table, 5, &answers);
        let [found] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            (found.hint.as_ref().map(|hint| hint.actor.key), found.lost.method),
            (Some(key(2)), Method::Unlink)
        );
        assert_eq!(found.runners.iter().map(|runner| runner.key.pid).collect::<Vec<_>>(), [1]);
        assert!(verdicts.lost(&mut table, &UNLINKED, 6) && !verdicts.open(), "told once");
        // What moved is another loss: the hint of its removal says nothing of it.
        let mut table = self::table(&[(1, "/x")]);
        verdicts.lost(&mut table, &MOVED, 6);
        let moved = verdicts.settle(&mut table, 6 + WAIT_LONG, &answers);
        assert!(moved[0].hint.is_none() && moved[0].lost.method == Method::Rename);
    }

    /// A name that went: of which file, from which name to which, in the directory of `NAMED`.
    fn went(pid: u32, inode: u32, old: &str, new: Option<&str>) -> Touch {
        let place = |name: &str| crate::event::touch::Place {
            directory: Handle::new([4]),
            name: Named::of(name.as_bytes()).name,
            temporary: false,
        };
        Touch { device: Some(0), old: Some(place(old)), new: new.map(place), ..touch(pid, inode) }
    }

    #[test]
    fn one_that_took_its_own_name_and_ended_is_told_without_a_look() {
        let cases = [
            (went(1, 9, "x", None), Some(Method::Unlink)),
            (went(1, 9, "x", Some("y")), Some(Method::Rename)),
            (went(1, 8, "y", Some("x")), Some(Method::Replace)),
            // The very file took this name before it was executed; another link of it; another file; another process.
            (went(1, 9, "y", Some("x")), None),
            (went(1, 9, "y", None), None),
            (went(1, 8, "x", None), None),
            (went(2, 9, "x", None), None),
        ];
        for (touch, method) in cases {
            let mut table = table(&[(1, "/d/x"), (2, "/d/z")]);
            let mut verdicts = Verdicts::default();
            verdicts.gone(Between(5, 6), touch);
            verdicts.ended(table.get(key(1)).unwrap(), 5);
            table.ended(key(1), 5);
            assert!(verdicts.ended_unseen());
            verdicts.look_back(&mut table, |_| None);
            let answers = Answers {
                taken: &|_, _| false,
                tells: &|_| true,
                thread_of: &|_| None,
                thread_group: &|_| None,
            };
            let found = verdicts.settle(&mut table, 5 + WAIT_LONG, &answers);
            let told: Vec<_> = found.iter().map(|found| (found.lost.method, found.runners[0].key)).collect();
            assert_eq!(
                told,
                method.map(|method| (method, key(1))).into_iter().collect::<Vec<_>>(),
                "{touch:?}"
            );
        }
    }

    /// Of a process that ended at 1 s, with this left of its file and this told, what is told.
    fn ended_with(left: &Left, moved: bool, set: impl FnOnce(&mut Verdicts, &Table)) -> Vec<Method> {
        const END: u64 = 1_000_000_000;
        let mut table = table(&[(1, "/d/x"), (2, "/d/z")]);
        if moved {
            table.iter_mut().filter(|process| process.key == key(1)).for_each(|process| process.now = MOVED);
        }
        let mut verdicts = Verdicts::default();
        set(&mut verdicts, &table);
        verdicts.ended(table.get(key(1)).unwrap(), END);
        table.ended(key(1), END);
        verdicts.look_back(&mut table, |_| Some(left.clone()));
        let answers =
            Answers { taken: &|_, _| false, tells: &|_| true, thread_of: &|_| None, thread_group: &|_| None };
        let found = verdicts.settle(&mut table, END + WAIT_LONG, &answers);
        found.into_iter().map(|found| found.lost.method).collect()
    }

    #[test]
    fn what_others_took_before_one_ended_shows_in_what_is_left_of_its_file() {
        let left =
            |changed, names, path: &str| Left { changed, rounded: 4_000_000, names, path: path.into() };
        let (before, after) = (500_000_000, 998_000_000);
        let alone = |left: Left| ended_with(&left, false, |_, _| {});
        assert_eq!(alone(left(before, 0, "/d/x (deleted)")), [Method::Sweep]);
        assert_eq!(alone(left(before, 1, "/d/x (deleted)")), [Method::Sweep], "another link is there");
        assert_eq!(alone(left(before, 1, "/d/y")), [Method::Rename]);
        assert_eq!(alone(left(before, 2, "/d/y")), [], "it may be held by its other name");
        assert_eq!(alone(left(before, 1, "/e/x")), [], "its folder may have another path here");
        assert_eq!(alone(left(after, 0, "/d/x (deleted)")), [], "it may have been removed after the end");
        let moved = |verdicts: &mut Verdicts, _: &Table| {
            verdicts.gone(Between(before, before), went(2, 9, "x", Some("y")));
        };
        assert_eq!(ended_with(&left(before, 2, "/d/y"), false, moved), [Method::Rename]);
        assert_eq!(ended_with(&left(after, 2, "/d/y"), false, moved), []);
        let called = |verdicts: &mut Verdicts, table: &Table| {
            verdicts.hint(Hint { time: before, ..hint(table, 2, Call::Rename, "/d/x") });
        };
        assert_eq!(ended_with(&left(before, 2, "/d/y"), false, called), [Method::Rename]);
        assert_eq!(ended_with(&left(after, 1, "/e/x"), false, called), [Method::Rename]);
        assert_eq!(ended_with(&left(before, 1, "/d/y"), true, called), [], "told already");
        assert_eq!(
            ended_with(&left(before, 1, "/d/x"), false, called),
            [],
            "another file of that name was moved"
        );
    }

    #[test]
    fn what_took_the_place_of_a_file_that_was_moved_is_no_other_loss() {
        // Both names of an exchange are told.
        let exchanged = |verdicts: &mut Verdicts, _: &Table| {
            verdicts.gone(Between(5, 6), went(1, 8, "y", Some("x")));
        };
        let left = || Left { changed: 0, rounded: 0, names: 1, path: b"/d/y".to_vec() };
        assert_eq!(ended_with(&left(), true, exchanged), []);
        let both = |verdicts: &mut Verdicts, table: &Table| {
            verdicts.gone(Between(5, 6), went(1, 9, "x", Some("y")));
            exchanged(verdicts, table);
        };
        assert_eq!(ended_with(&left(), false, both), [Method::Rename]);
        let removed =
            |verdicts: &mut Verdicts, _: &Table| verdicts.gone(Between(5, 6), went(1, 9, "y", None));
        assert_eq!(ended_with(&left(), true, removed), [], "another link of it");
        assert_eq!(ended_with(&Left { changed: 6, names: 0, ..left() }, true, removed), [Method::Unlink]);
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
        assert_eq!(verdicts.doers.hints.len(), MOST);
    }

    #[test]
    fn the_inode_tells_between_two_of_one_name() {
        let mut table = table(&[(1, "/a/x"), (2, "/b/y"), (3, "/b/z")]);
        let mut verdicts = Verdicts::default();
        verdicts.hint(hint(&table, 2, Call::Unlink, "x"));
        verdicts.hint(hint(&table, 3, Call::Rename, "x"));
        verdicts.touched(Between(4, 5), touch(2, 9));
        verdicts.touched(Between(4, 5), touch(3, 8));
        let found = look(&mut verdicts, &mut table, key(1), &UNLINKED, 6, false).unwrap();
        assert_eq!((found.hint.unwrap().actor.key.pid, found.lost.method), (2, Method::Unlink));
    }

    #[test]
    fn of_two_calls_on_one_name_the_directory_and_the_time_tell() {
        for (first, second, expected) in [("/d/x", "/e/x", 2), ("/e/x", "/d/x", 3), ("x", "x", 3)] {
            let mut table = table(&[(1, "/d/x"), (2, "/b/y"), (3, "/b/z")]);
            let mut verdicts = Verdicts::default();
            verdicts.hint(Hint { time: 2, ..hint(&table, 2, Call::Unlink, first) });
            verdicts.hint(Hint { time: 7, ..hint(&table, 3, Call::Unlink, second) });
            let found = look(&mut verdicts, &mut table, key(1), &UNLINKED, 6, false).unwrap();
            assert_eq!(found.hint.unwrap().actor.key.pid, expected, "{first} {second}");
        }
    }

    #[test]
    fn who_touched_it_is_known_without_a_call() {
        for (taken, method) in [(false, Method::Unlink), (true, Method::Replace)] {
            let mut table = table(&[(1, "/x"), (2, "/y")]);
            let mut verdicts = Verdicts::default();
            verdicts.touched(Between(4, 5), touch(2, 9));
            table.ended(key(2), 5);
            let found = look(&mut verdicts, &mut table, key(1), &UNLINKED, 6, taken).unwrap();
            assert_eq!((found.hint.unwrap().actor.key.pid, found.lost.method), (2, method));
        }
    }
}
