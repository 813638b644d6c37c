//! Who took a name: what is remembered of calls, of touched files and of names that went, and which of it fits a loss.

use std::collections::VecDeque;

use super::{Answers, Change, Loss};
use crate::{
    event::{
        Key, Running,
        name::{Call, Name, Named},
        touch::{Place, Touch},
    },
    process::{Process, Table},
};

/// How long what is remembered is good for, nanoseconds.
pub(super) const FRESH: u64 = 3_000_000_000;
/// Most hints that are kept, and most names that went, of whatever files.
pub(super) const MOST: usize = 4096;
const GONE_MOST: usize = 16384;

/// After one time and before another, nanoseconds since boot.
#[derive(Clone, Copy, Debug)]
pub struct Between(pub u64, pub u64);

/// A call that may have taken a name, or nothing but that something was touched.
#[derive(Clone, Debug)]
pub struct Hint {
    /// When, nanoseconds since boot.
    pub time: u64,
    /// Who, as it was then.
    pub actor: Process,
    /// The thread that called, where it is known.
    pub thread: Option<u32>,
    /// What was called; none when that isn't known.
    pub call: Option<Call>,
    /// The paths that it named: the one that goes, the one that is replaced.
    pub names: [Option<Named>; 2],
    /// The caller's own image is known to have lost its name.
    pub own: bool,
    /// The very file that lost a name by it, as it was after it, where that is known.
    pub lost: Option<Running>,
    /// Which of the names that went it is.
    pub(super) entry: Option<usize>,
}

impl Hint {
    /// A call that was seen.
    #[must_use]
    pub fn of(actor: Process, time: u64, thread: u32, name: &Name) -> Self {
        let (call, names) = (Some(name.call), [name.old, name.new]);
        let (own, lost) = (name.own, name.lost);
        Self { time, actor, thread: Some(thread), call, names, own, lost, entry: None }
    }
}

/// How well it is known who did it.
pub(super) enum Who {
    Sure(Hint),
    /// It touched the file, or called for this name in this directory.
    Likely(Hint),
    /// It called for such a name.
    Perhaps(Hint),
    Nobody,
}

/// What is remembered.
#[derive(Default)]
pub(super) struct Doers {
    pub(super) hints: VecDeque<Hint>,
    touches: VecDeque<(Between, Touch)>,
    gone: VecDeque<(Between, Touch)>,
}

impl Doers {
    pub(super) fn hint(&mut self, hint: Hint) {
        let old = hint.time.saturating_sub(FRESH);
        while self.hints.len() >= MOST || self.hints.front().is_some_and(|first| first.time < old) {
            self.hints.pop_front();
        }
        self.hints.push_back(hint);
    }

    pub(super) fn touched(&mut self, when: Between, touch: Touch) {
        keep(&mut self.touches, MOST, when, touch);
    }

    pub(super) fn gone(&mut self, when: Between, touch: Touch) {
        keep(&mut self.gone, GONE_MOST, when, touch);
    }

    /// One name that went is one that was lost: it says nothing of the next file of that name.
    pub(super) fn claim(&mut self, hint: &Hint) {
        if let Some((_, touch)) = hint.entry.and_then(|entry| self.gone.get_mut(entry)) {
            touch.claimed = true;
        }
    }

    /// How one of these took the name of what a process ran that has ended, if one did; a name that went before the file
    /// was executed, or that leads to it since, is none of these, and neither is what became of it once that was told.
    pub(super) fn took(&self, process: &Process, by: impl Fn(&Touch) -> bool) -> Option<Change> {
        let Running { inode, generation, device, directory, .. } = process.now;
        let name = named(process).filter(|_| !process.moved())?.name;
        let its = |place: &Place| place.name == name && directory != 0 && place.directory.is_of(directory, 0);
        let fitting = self.gone.iter().rev().filter(|(when, touch)| {
            by(touch)
                && !touch.claimed
                && when.1 >= process.image.since
                && touch.device.is_none_or(|told| told == device)
        });
        // Of an exchange both are told: what became of the file itself says more than what came to its name.
        let mut replaced = None;
        for (_, touch) in fitting {
            let file = touch.file.is_of(inode, generation);
            match touch.new {
                None if file && touch.old.as_ref().is_some_and(its) => return Some(Change::Removed),
                Some(_) if file && touch.old.as_ref().is_some_and(its) => return Some(Change::Moved),
                Some(new) if !file && its(&new) => replaced = Some(Change::Removed),
                _ => {}
            }
        }
        replaced
    }

    /// What the last call that named such a file as a process ran, while it ran, would have done to its name.
    pub(super) fn called(&self, process: &Process, end: u64) -> Option<Change> {
        let name = named(process)?.name;
        let its = |named: Option<Named>| named.is_some_and(|named| named.name == name);
        let during = process.image.since..=end;
        let calls = self.hints.iter().rev().filter(|hint| during.contains(&hint.time));
        calls.into_iter().find_map(|hint| match (hint.call?, hint.names) {
            (Call::Rename, [old, _]) if its(old) => Some(Change::Moved),
            (_, names) => names.into_iter().any(its).then_some(Change::Removed),
        })
    }

    /// Who did it.
    ///
    /// Surest is of whom the hook told that this very file lost this name; then who took it, by marks; then a call on this name by one who touched this
    /// very inode, or by one whose own image it was; then who touched it by a call that isn't known; then
    /// a call on such a name.
    pub(super) fn who(&self, table: &Table, loss: &Loss, answers: &Answers<'_>) -> Who {
        let name = named(&loss.process);
        let case = Case { doers: self, table, loss, answers, name };
        if let Some(hint) = case.told() {
            return Who::Sure(hint.clone());
        }
        let went = case.went();
        if let Some((false, hint)) = went {
            return Who::Sure(hint);
        }
        // Of whom it is known what the file was after it, this is another deed: the one that did it may not be told yet.
        let sure = case
            .calls()
            .filter(|call| call.lost.is_none() && (case.own(call) || case.touched(call.actor.key)));
        if let Some(call) = sure.min_by_key(|call| case.unlikely(call)) {
            return Who::Sure(call.clone());
        }
        if let Some(hint) = case.toucher().or(went.map(|(_, hint)| hint)) {
            return Who::Likely(hint);
        }
        match case.calls().min_by_key(|call| case.unlikely(call)) {
            Some(call) if case.here(call) => Who::Likely(call.clone()),
            Some(call) => Who::Perhaps(call.clone()),
            None => Who::Nobody,
        }
    }
}

/// The name by which what a process runs was executed.
pub(super) fn named(process: &Process) -> Option<Named> {
    process.image.executable.as_ref().map(|path| Named::of(path.as_bytes()))
}

/// Adds to a queue of what is remembered for a while.
fn keep(queue: &mut VecDeque<(Between, Touch)>, most: usize, when: Between, touch: Touch) {
    let old = when.1.saturating_sub(FRESH);
    while queue.len() >= most || queue.front().is_some_and(|(first, _)| first.1 < old) {
        queue.pop_front();
    }
    queue.push_back((when, touch));
}

/// A loss, and all that may tell who did it.
struct Case<'a> {
    doers: &'a Doers,
    table: &'a Table,
    loss: &'a Loss,
    answers: &'a Answers<'a>,
    /// The name by which it was executed.
    name: Option<Named>,
}

impl<'a> Case<'a> {
    /// What was done before it was executed was done to another file of that name, or number.
    fn fresh(&self, when: u64) -> bool {
        when >= self.loss.process.image.since && when.saturating_add(FRESH) > self.loss.time
    }

    fn distance(&self, when: u64) -> u64 {
        when.abs_diff(self.loss.time)
    }

    fn same(&self, named: &Named) -> bool {
        self.name.is_some_and(|name| name.name == named.name)
    }

    /// By which the hook told that it came to be as it is now, whenever it was executed: the nearest in time.
    fn told(&self) -> Option<&'a Hint> {
        let Loss { now, time, .. } = self.loss;
        let so = |lost: &Running| {
            let here = (lost.dentry, lost.nameless()) == (now.dentry, now.nameless())
                && (lost.parent, lost.name_hash) == (now.parent, now.name_hash);
            // By another entry of it, as file handles lead to: the last link is gone all the same.
            lost.same_file(now) && (here || lost.nlink == 0 && now.nlink == 0)
        };
        let fresh = |hint: &&Hint| hint.time.saturating_add(FRESH) > *time;
        let told = self.doers.hints.iter().filter(fresh).filter(|hint| hint.lost.as_ref().is_some_and(so));
        told.min_by_key(|hint| self.distance(hint.time))
    }

    /// Calls that named it, or by one whose own image it was; none that left it a name when it has none.
    fn calls(&self) -> impl Iterator<Item = &'a Hint> {
        let Loss { change, now, .. } = self.loss;
        self.doers.hints.iter().filter(|hint| {
            let possible = match &hint.lost {
                Some(lost) => lost.nameless() == now.nameless(),
                None => *change == Change::Removed || hint.call == Some(Call::Rename),
            };
            let named = || hint.names.iter().flatten().any(|named| self.same(named));
            self.fresh(hint.time) && possible && (self.own(hint) || named())
        })
    }

    fn own(&self, hint: &Hint) -> bool {
        hint.own && hint.actor.now.same_file(&self.loss.now)
    }

    /// Whether a call named it in this directory.
    fn here(&self, hint: &Hint) -> bool {
        hint.names.iter().flatten().any(|named| self.same(named) && Some(*named) == self.name)
    }

    /// Of several calls that fit: one that lost its own, then with the same directory, then the nearest in time.
    fn unlikely(&self, hint: &Hint) -> (bool, bool, u64) {
        (!self.own(hint), !self.here(hint), self.distance(hint.time))
    }

    /// Who touched this very inode.
    fn touches(&self) -> impl Iterator<Item = &'a (Between, Touch)> {
        let (inode, generation) = (self.loss.now.inode, self.loss.now.generation);
        let this = move |touch: &Touch| touch.file.is_of(inode, generation);
        self.doers.touches.iter().filter(move |(when, touch)| self.fresh(when.1) && this(touch))
    }

    /// The process of a thread that touched it.
    fn process(&self, when: Between, thread: u32) -> Option<&'a Process> {
        if self.table.lately(thread).is_some() {
            return self.table.had(thread, when.0, when.1);
        }
        let known = (self.answers.thread_of)(thread).and_then(|key| self.table.known(key));
        known.or_else(|| self.table.lately((self.answers.thread_group)(thread)?))
    }

    /// By which thread a process touched it.
    fn touch_of(&self, key: Key) -> Option<u32> {
        let by = |when, thread| self.process(when, thread).is_some_and(|process| process.key == key);
        self.touches().find(|(when, touch)| by(*when, touch.pid)).map(|(_, touch)| touch.pid)
    }

    fn touched(&self, key: Key) -> bool {
        self.touch_of(key).is_some()
    }

    fn toucher(&self) -> Option<Hint> {
        let (when, touch) = self.touches().min_by_key(|(when, _)| self.distance(when.1))?;
        Some(self.doer(when.1, self.process(*when, touch.pid)?, None))
    }

    /// Who took the name, by the names that went, and whether that is weak.
    ///
    /// Of several: what is sure, then what touched the file, then the nearest in time, then the first.
    fn went(&self) -> Option<(bool, Hint)> {
        let tells = (self.answers.tells)(self.loss.now.device);
        let gone = self.doers.gone.iter().enumerate().filter(|(_, (when, _))| self.fresh(when.1));
        let fitting = gone.filter_map(|(at, (when, touch))| {
            let (sure, call) = self.took(touch, tells)?;
            let actor = self.table.had(touch.pid, when.0, when.1)?;
            let weak = !sure && !self.touched(actor.key);
            Some(((!sure, weak, self.distance(when.1), at), (when.1, actor, call)))
        });
        let ((_, weak, _, at), (when, actor, call)) = fitting.min_by_key(|(order, _)| *order)?;
        Some((weak, Hint { entry: Some(at), ..self.doer(when, actor, call) }))
    }

    fn doer(&self, when: u64, actor: &Process, call: Option<Call>) -> Hint {
        let key = actor.key;
        let alone = || (self.answers.thread_of)(key.pid) != Some(key);
        let thread = self.touch_of(key).or_else(|| alone().then_some(key.pid));
        let time = when.min(self.loss.time);
        Hint {
            time,
            actor: actor.clone(),
            thread,
            call,
            names: [None; 2],
            own: false,
            lost: None,
            entry: None,
        }
    }

    /// Whether this took the name, and by which call: for sure, or only as far as its name tells.
    fn took(&self, touch: &Touch, tells: bool) -> Option<(bool, Option<Call>)> {
        let Loss { change, process, now, .. } = self.loss;
        let here = touch.device.is_none_or(|device| device == now.device);
        // What is not told of the file system itself is told of those that it lies over: a file in the
        // upper layer has the same inode number, one in a lower layer another.
        if !here && tells {
            return None;
        }
        let generation = if here { now.generation } else { 0 };
        let file = touch.file.is_of(now.inode, generation);
        let named = |place: &Place| self.name.is_none_or(|name| place.name == name.name);
        let directory = process.now.directory;
        let there = |place: &Place| directory != 0 && place.directory.is_of(directory, 0);
        let beneath = !here && !touch.claimed;
        let old = touch.old?;
        match (change, touch.new) {
            (Change::Removed, None) if file => Some((named(&old), Some(Call::Unlink))),
            // A file that came back to its own name has put nothing in its place.
            (Change::Removed, Some(new)) if !file && named(&new) && (there(&new) || beneath) => {
                // What hides a file of a lower layer is put over it as well.
                Some((there(&new), (here || !old.temporary).then_some(Call::Rename)))
            }
            (Change::Moved, Some(_)) if file => Some((true, Some(Call::Rename))),
            (Change::Moved, Some(_)) if named(&old) && beneath => Some((there(&old), Some(Call::Rename))),
            _ => None,
        }
    }
}
