//! What each fact changes in what is known, and what is told of it.

use std::{collections::HashMap, sync::Arc};

use super::{Pipeline, PipelineError};
use crate::{
    enrich::Enricher,
    event::{
        self, Actor, Event, Fact, Key, Stamp,
        exe_deleted::{self, Method},
        exe_memfd,
        exec::Exec,
        exit, fork,
        name::Name,
    },
    field::Field,
    kernel::Marked,
    process::{Image, Process, Table},
    procfs::{Reader, Whom},
    record::Record,
    verdict::{Answers, Between, Hint, runtime},
};

/// When the kernel was last asked what happened to names, nanoseconds since boot: what it tells now came after.
#[derive(Default)]
pub(super) struct Asked {
    touched: u64,
    gone: u64,
}

/// For how long after a hint that came ahead of the deed everything is looked at each round, nanoseconds.
const AHEAD: u64 = 300_000_000;
/// And after something running was touched.
const TOUCHED: u64 = 50_000_000;

/// What the name of an image is taken to have been until now, of a process whose birth wasn't seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// As it is now, or missing as now.
    AsNow,
    /// It had it, wherever it is now.
    Named,
    /// It had another.
    Elsewhere,
}

impl Pipeline<'_> {
    pub(super) fn take(&mut self, event: Event) -> Result<(), PipelineError> {
        let Event { stamp, actor, fact } = event;
        match fact {
            Fact::Fork(fork) => self.take_fork(stamp, actor, fork),
            Fact::Exec(exec) => self.take_exec(stamp, actor, exec),
            Fact::Exit(exit) => self.take_exit(stamp, actor, exit),
            Fact::Name(name) => self.take_name(stamp, actor, &name),
            Fact::Image(image) => {
                self.look(stamp, &image.running);
                Ok(())
            }
            Fact::SocketBind(socket) => self.take_bind(stamp, actor, &socket),
            Fact::SocketListen(socket) => self.take_listen(stamp, actor, &socket),
            Fact::SocketConnect(socket) => self.take_connect(stamp, actor, &socket),
            Fact::SocketAccept(socket) => self.take_accept(stamp, actor, &socket),
            Fact::SocketClose(socket) => self.take_close(stamp, actor, &socket),
            Fact::SocketAttempt(attempt) => self.take_attempt(stamp, actor, attempt),
            // Only asked for, never told by itself.
            Fact::Usage(_) | Fact::SocketLook(_) => Ok(()),
        }
    }

    pub(super) fn take_fork(
        &mut self,
        stamp: Stamp,
        actor: Actor,
        fork: fork::Fork,
    ) -> Result<(), PipelineError> {
        self.table.born(stamp.key, actor, fork.creator);
        self.learn_cgroup(stamp.key);
        self.tell_process(&fork::ACTION, stamp, |_| {})
    }

    /// Notes who a process is now.
    pub(super) fn refresh_actor(&mut self, key: Key, actor: Actor) {
        self.table.refresh(key, actor);
        self.learn_cgroup(key);
    }

    /// Asks for the path of a cgroup in which nobody has executed anything: who was moved there tells its id alone.
    fn learn_cgroup(&mut self, key: Key) {
        if self.table.lacks_cgroup(key)
            && let Some(path) = self.reader.cgroup(key.pid, key.start)
        {
            self.table.is_in(key, &path);
        }
    }

    pub(super) fn take_exec(
        &mut self,
        stamp: Stamp,
        actor: Actor,
        mut exec: Exec,
    ) -> Result<(), PipelineError> {
        if exec.executable.cut || exec.working_directory.cut || exec.args_unread {
            self.complete(stamp.key, &mut exec);
        }
        self.verdicts.left(stamp.key);
        let (_, before) = self.table.became(stamp.key, stamp.time, actor, &exec);
        self.hold(stamp.key, &exec.running);
        self.watch_space(&actor, stamp.key.pid);
        self.mark(stamp.key, &exec.running)?;
        let Some(process) = self.table.get(stamp.key) else {
            return Ok(());
        };
        let mut extra = Record::new();
        Enricher::set_before(process, before.as_ref(), &mut extra);
        let nameless = exec.executable.nameless || exec.running.nameless();
        self.tell_process(&event::exec::ACTION, stamp, |record| record.extend(extra.clone()))?;
        if !nameless {
            return Ok(());
        }
        let memfd = exec.executable.path.as_bytes().starts_with(b"memfd:");
        let runtime = memfd
            && before.is_some_and(|before| {
                runtime(before.image.executable.as_ref(), &before.image.running)
                    && self.is_hosts(&actor, &before.image)
            });
        self.tell_nameless(stamp, |record| {
            record.extend(extra);
            exe_memfd::set(record, memfd, runtime);
        })
    }

    /// Asks /proc for what the program couldn't read, if the process still lives.
    pub(super) fn complete(&mut self, key: Key, exec: &mut Exec) {
        let Some(details) = self.reader.details(Whom::of(key, &exec.running)) else {
            return;
        };
        if let (true, Some(path)) = (exec.executable.cut, details.executable) {
            exec.executable.path = path;
        }
        if let (true, Some(path)) = (exec.working_directory.cut, details.working_directory) {
            exec.working_directory.path = path;
        }
        if exec.args_unread && !details.args_unread {
            exec.args = details.args.into();
            exec.args_unread = details.args_truncated;
        }
    }

    pub(super) fn take_exit(
        &mut self,
        stamp: Stamp,
        actor: Actor,
        exit: exit::Exit,
    ) -> Result<(), PipelineError> {
        if self.table.get(stamp.key).is_none() {
            self.table.found(stamp.key, actor, Image::default());
        }
        self.refresh_actor(stamp.key, actor);
        // The last net: what no hook and no sweep saw shows in the image at the end.
        self.look(stamp, &exit.running);
        if exit.running.inode == 0
            && let Some(process) = self.table.get(stamp.key)
        {
            self.verdicts.ended(process, stamp.time);
        }
        let life = self.life(stamp.key, &exit)?;
        self.end_usage(stamp.key, stamp.time, &life)?;
        let (end, page) = (self.enricher.boot.at(stamp.time), self.host.page_bytes());
        self.tell_process(&exit::ACTION, stamp, |record| {
            record.set(Field::ProcessEnd, end);
            exit.set(record, page, signal_name);
            life.set(record);
        })?;
        self.table.ended(stamp.key, stamp.time);
        self.ended(&exit.running);
        Ok(())
    }

    pub(super) fn take_name(&mut self, stamp: Stamp, actor: Actor, name: &Name) -> Result<(), PipelineError> {
        let known = self.table.get(stamp.key).is_some_and(|process| {
            !name.own || (process.now.same_file(&name.running) && process.now.dentry == name.running.dentry)
        });
        if !known {
            // Its exec was lost. The kernel tells `own` only of an image that had the name until now.
            let until_now = match (name.own, name.running.nameless()) {
                (false, _) => Until::AsNow,
                (true, true) => Until::Named,
                (true, false) => Until::Elsewhere,
            };
            self.adopt(stamp, actor, &name.running, until_now);
        }
        self.refresh_actor(stamp.key, actor);
        let Some(process) = self.table.get(stamp.key) else {
            return Ok(());
        };
        self.verdicts.hint(Hint::of(process.clone(), stamp.time, stamp.thread, name));
        if let Some(lost) = &name.lost {
            self.hinted |= !self.verdicts.lost(&mut self.table, lost, stamp.time);
        }
        self.hinted |= name.old.is_some() || name.new.is_some();
        if name.ahead {
            self.ahead = stamp.time.saturating_add(AHEAD);
        }
        if name.own {
            self.look(stamp, &name.running);
        }
        // Names can be taken faster than it is told who runs them.
        if name.lost.is_some() && self.verdicts.many() { self.settle(self.host.boot_now()) } else { Ok(()) }
    }

    /// Looks at everything that runs: what lost its name, what began or ended unseen.
    pub(super) fn sweep(&mut self, began: u64) -> Result<(), PipelineError> {
        self.kernel.sweep(&mut self.rows)?;
        let rows = std::mem::take(&mut self.rows);
        let mut shown = HashMap::new();
        for event in event::decode_rows(&rows) {
            let Ok(Event { stamp, actor, fact: Fact::Image(image) }) = event else {
                self.counts.lost("decode", exe_deleted::ACTION.name, "malformed", 1);
                continue;
            };
            if image.alive || image.ending {
                shown.insert(stamp.key.pid, stamp.key.start);
            }
            if !image.alive {
                continue;
            }
            if stamp.key.start < began && self.unknown(stamp.key, &image.running, began) {
                self.take_unseen(stamp, actor, &image.running)?;
            }
            self.look(stamp, &image.running);
        }
        self.rows = rows;
        self.missed.forget(&shown);
        self.table.keep(began, &shown);
        if self.kernel.keep_marks(self.table.iter().map(|process| &process.now)) {
            let all: Vec<_> = self.table.iter().map(|process| (process.key, process.now)).collect();
            all.into_iter().try_for_each(|(key, running)| self.mark(key, &running))?;
        }
        Ok(())
    }

    /// Whether a process that a look shows isn't known, or is known by another image, as its exec was lost.
    fn unknown(&mut self, key: Key, running: &event::Running, now: u64) -> bool {
        match self.table.get(key) {
            None => true,
            Some(process) => self.missed.exec(key, &process.now, running, now),
        }
    }

    /// Takes in a process or an image that only a look shows.
    fn take_unseen(
        &mut self,
        stamp: Stamp,
        actor: Actor,
        running: &event::Running,
    ) -> Result<(), PipelineError> {
        let before = self.table.get(stamp.key).map(|process| Arc::clone(&process.image));
        // Whether it had a name when it was executed is not known: rather told once too often.
        self.adopt(stamp, actor, running, Until::Named);
        self.mark(stamp.key, running)?;
        let Some(process) = self.table.get(stamp.key) else { return Ok(()) };
        let inherited = process.parent.as_ref().is_some_and(|parent| parent.image.running.same_file(running));
        if !process.image.nameless || inherited {
            return Ok(());
        }
        let runtime = before.is_some_and(|before| {
            runtime(before.executable.as_ref(), &before.running) && self.is_hosts(&actor, &before)
        });
        self.tell_nameless(stamp, |record| {
            exe_memfd::set(record, true, runtime);
            record.set(Field::SensorMethod, Method::Sweep.word());
        })
    }

    /// Somebody touched a file that is running: what became of it shows in a look.
    pub(super) fn take_touched(&mut self, now: u64) {
        let touches = self.kernel.touched();
        self.count_overflows(touches.overflows);
        let after = std::mem::replace(&mut self.asked.touched, now);
        for touch in touches.told {
            self.hinted = true;
            // The kernel tells a link less before the name is gone, so a look or two more, unless the loss itself is told.
            if !self.kernel.tells_losses() {
                self.ahead = self.ahead.max(now.saturating_add(TOUCHED));
            }
            self.verdicts.touched(Between(after, self.host.boot_now()), touch);
        }
    }

    /// Names went, of whatever files: kept for when something running is found to have lost its own.
    /// Gives how many.
    pub(super) fn take_gone(&mut self) -> usize {
        let before = self.host.boot_now();
        let touches = self.kernel.gone();
        self.count_overflows(touches.overflows);
        let (after, now) = (std::mem::replace(&mut self.asked.gone, before), self.host.boot_now());
        let count = touches.told.len();
        for touch in touches.told {
            self.verdicts.gone(Between(after, now), touch);
        }
        count
    }

    /// Of those who ended the kernel may have shown no image. What became of it until then is told by now, or shows in
    /// the file itself where it is held.
    pub(super) fn look_back(&mut self) {
        if self.verdicts.ended_unseen() {
            self.take_gone();
            // Where hooks tell who lost what, there is nothing else to be found.
            let exact = self.kernel.tells_losses();
            let left = |process: &Process| (!exact).then(|| self.capture.left(process, self.host))?;
            self.verdicts.look_back(&mut self.table, left);
        }
    }

    fn count_overflows(&mut self, overflows: u64) {
        self.counts.lost("kernel", exe_deleted::ACTION.name, "queue_full", overflows);
        self.hinted |= overflows != 0;
    }

    /// Asks the kernel to tell when the image of a process is touched.
    pub(super) fn mark(&mut self, key: Key, running: &event::Running) -> Result<(), PipelineError> {
        if running.inode == 0 || running.nameless() {
            return Ok(());
        }
        // By now it may run another file, which would have the mark in place of this one.
        let file = match running.foreign() || self.kernel.is_marked(running) {
            true => None,
            false => match self.reader.still_executes(key.pid, running) {
                None => return Ok(()),
                file => file,
            },
        };
        let path = file
            .as_ref()
            .map_or_else(|| self.reader.executable(key.pid), |file| self.reader.descriptor(file));
        let Marked { new, uncovered } = self.kernel.mark(running, &path);
        // What happened before the mark, nobody is woken for.
        let path = self.table.get(key).and_then(|process| process.image.executable.as_ref());
        self.hinted |= new && path.is_some_and(|path| !self.reader.named(key.pid, path));
        if uncovered {
            self.tell_coverage(self.host.boot_now())?;
        }
        Ok(())
    }

    /// Whether an image is the host's file of that name. Where a process lives with mounts of its own (a container, a user
    /// namespace), whoever made them may have put another there.
    fn is_hosts(&self, actor: &Actor, image: &Image) -> bool {
        let own = self.table.at(std::process::id());
        own.is_some_and(|own| own.actor.mount_namespace() == actor.mount_namespace())
            || image.executable.as_ref().is_some_and(|path| self.reader.is_ours(path, &image.running))
    }

    /// Takes in a process whose birth wasn't seen, with what /proc tells of it; and what became of its image.
    pub(super) fn adopt(&mut self, stamp: Stamp, actor: Actor, running: &event::Running, until_now: Until) {
        let details = self.reader.details(Whom::of(stamp.key, running)).unwrap_or_default();
        let parent = self.table.get(stamp.key).and_then(|process| process.parent.clone());
        let process = details.found(&mut self.table, stamp.key, actor, *running);
        process.parent = parent.or(process.parent.take());
        if until_now != Until::AsNow && !process.image.nameless {
            process.now.nlink = running.nlink.max(1);
            process.now.flags &= !event::Running::UNHASHED;
        }
        if until_now == Until::Elsewhere {
            (process.now.parent, process.now.name_hash) = (0, 0);
        }
        self.hold(stamp.key, running);
    }

    /// Compares what a process runs with what it ran.
    pub(super) fn look(&mut self, stamp: Stamp, running: &event::Running) {
        self.verdicts.look(&mut self.table, stamp.key, running, stamp.time);
    }

    /// Tells the names that were lost, as far as they can be told by now.
    pub(super) fn settle(&mut self, now: u64) -> Result<(), PipelineError> {
        if !self.verdicts.open() {
            return Ok(());
        }
        let answers = Answers {
            taken: &|process, table| taken(&self.reader, process, table),
            tells: &|device| self.kernel.tells_names(device),
            thread_of: &|thread| self.kernel.thread_of(thread),
            thread_group: &|thread| self.reader.thread_group(thread),
        };
        for mut found in self.verdicts.settle(&mut self.table, now, &answers) {
            found.lost.package_manager &=
                found.hint.as_ref().is_some_and(|hint| self.is_hosts(&hint.actor.actor, &hint.actor.image));
            self.tell_lost(&found)?;
        }
        Ok(())
    }
}

/// Whether another file has the name by which a process was executed, as it sees it, or as another does
/// that lives in its mount namespace.
fn taken(reader: &Reader, process: &Process, table: &Table) -> bool {
    let space = |other: &&Process| other.actor.mount_namespace() == process.actor.mount_namespace();
    let others = table.iter().filter(space).map(|other| other.key.pid).take(4);
    // What lies on a file system that may not answer is not asked for.
    let path = process.image.executable.as_ref().filter(|_| !process.now.foreign());
    path.is_some_and(|path| {
        reader.leads_elsewhere(std::iter::once(process.key.pid).chain(others), path, process.now.inode)
    })
}

fn signal_name(signal: u8) -> Option<&'static str> {
    nix::sys::signal::Signal::try_from(i32::from(signal)).ok().map(nix::sys::signal::Signal::as_str)
}
