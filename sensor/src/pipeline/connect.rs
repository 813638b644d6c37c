//! Connects of which no state tells: what came of them, and why they failed.

use std::collections::HashMap;

use super::{Pipeline, PipelineError};
use crate::{
    event::{
        self, Actor, Event, Fact, Stamp,
        socket::{
            self, Side,
            attempt::{Answer, Attempt, Question},
        },
    },
    rtnetlink::route,
    sockets::Known,
};

/// Least time between two looks at connects that were begun, nanoseconds.
const LOOK: u64 = 20_000_000;
/// The share of the time that those looks may take: one part in so many.
const SHARE: u64 = 100;
/// After so long it is told as it is, nanoseconds: no thread takes that long to find a route.
const LATE: u64 = 1_000_000_000;
/// Most routes that are asked for in a round.
const ASKED_MOST: usize = 256;

/// What is known of connects in this round.
#[derive(Default)]
pub(super) struct Connects {
    /// When the next look may be, nanoseconds since boot.
    after: u64,
    /// Answers of this round, by network namespace.
    answers: HashMap<(u32, Question), Option<Answer>>,
}

impl Pipeline<'_> {
    pub(super) fn take_attempt(
        &mut self,
        stamp: Stamp,
        actor: Actor,
        mut attempt: Attempt,
    ) -> Result<(), PipelineError> {
        self.explain(stamp, &mut attempt);
        self.tell_attempt(stamp, actor, &attempt)
    }

    fn tell_attempt(&mut self, stamp: Stamp, actor: Actor, attempt: &Attempt) -> Result<(), PipelineError> {
        self.meet(stamp, actor);
        let socket = &attempt.socket;
        self.owns(socket.cookie, stamp.key);
        if !socket.failed {
            let owner = (stamp.key.pid != 0).then_some(stamp.key);
            self.sockets.connected(socket.cookie, Known { owner, began: Side::Here, ends: socket.ends() });
        }
        self.tell_socket(&socket::CONNECT, stamp, |record| {
            socket.set_peers(record, Side::Here);
            socket.set_outcome(record, !socket.unsure);
        })
    }

    /// Finds out why it failed, if the kernel still says so.
    fn explain(&mut self, stamp: Stamp, attempt: &mut Attempt) {
        if !attempt.unexplained() {
            return;
        }
        attempt.socket.error = match attempt.plain_reason() {
            0 => self.answer(stamp, attempt).map_or(0, |answer| attempt.reason(answer)),
            reason => reason,
        };
    }

    fn answer(&mut self, stamp: Stamp, attempt: &Attempt) -> Option<Answer> {
        let question = attempt.question()?;
        let netns = attempt.socket.netns;
        if let Some(answer) = self.connects.answers.get(&(netns, question)) {
            return *answer;
        }
        if self.connects.answers.len() >= ASKED_MOST {
            return None;
        }
        let space = |pid| self.reader.network_namespace(pid).filter(|(inode, _)| *inode == netns);
        let answer = match space(None) {
            Some(_) => route::ask(&question, None),
            None => {
                let others = self.table.iter().filter(|other| other.actor.network_namespace() == netns);
                let pids = std::iter::once(stamp.key.pid).chain(others.map(|other| other.key.pid).take(4));
                let mut spaces = pids.filter_map(|pid| space(Some(pid)));
                spaces.next().and_then(|(_, space)| route::ask(&question, Some(&space)))
            }
        };
        self.connects.answers.insert((netns, question), answer);
        answer
    }

    /// Tells what came of connects whose sockets are still open; `due`: a second has passed, `last`: none comes
    /// any more.
    pub(super) fn settle_connects(&mut self, due: bool, last: bool) -> Result<(), PipelineError> {
        self.connects.answers.clear();
        let began = self.host.boot_now();
        if (self.connects.after > began && !last) || !self.kernel.has_attempts() {
            return Ok(());
        }
        let rows = self.open_attempts()?;
        let now = self.host.boot_now();
        let took = now.saturating_sub(began);
        self.connects.after = now.saturating_add(LOOK.max(took.saturating_mul(SHARE)));
        for (stamp, actor, mut attempt) in rows {
            self.explain(stamp, &mut attempt);
            // Of datagrams one that is still on its way looks the same.
            let late = last || stamp.time.saturating_add(LATE) <= began;
            if !(attempt.socket.datagram && attempt.unexplained()) || late {
                self.conclude(stamp, actor, &attempt)?;
            }
        }
        if !due && !last {
            return Ok(());
        }
        // No process has them open by a descriptor: io_uring's own, or one that is handed over.
        for (stamp, actor, mut attempt) in self.kernel.attempts().into_iter().map(socket::attempt::begun) {
            let late = stamp.time.saturating_add(LATE) <= began;
            if late || (last && attempt.socket.datagram) {
                attempt.socket.unsure = attempt.socket.datagram;
                // Why can't be asked: by which routes isn't known of it.
                attempt.socket.failed = !attempt.socket.datagram;
                self.conclude(stamp, actor, &attempt)?;
            }
        }
        Ok(())
    }

    /// Tells one that the programs didn't tell.
    fn conclude(&mut self, stamp: Stamp, actor: Actor, attempt: &Attempt) -> Result<(), PipelineError> {
        let socket = &attempt.socket;
        let ends = socket.datagram && !socket.failed;
        if ends {
            // Before it is taken: it may be closed meanwhile.
            self.remember_datagram(socket.cookie);
        }
        if !self.kernel.take_attempt(socket.cookie, stamp.time) {
            // A program has told it, and either its end as well or that it goes on, of which it then remembers itself.
            if ends {
                self.kernel.forget_datagram(socket.cookie);
            }
            return Ok(());
        }
        self.counts.found(socket::CONNECT.name);
        self.tell_attempt(stamp, actor, attempt)
    }

    fn open_attempts(&mut self) -> Result<Vec<(Stamp, Actor, Attempt)>, PipelineError> {
        let mut bytes = std::mem::take(&mut self.rows);
        let result = self.kernel.look_at_attempts(&mut bytes);
        let (mut rows, mut broken) = (Vec::new(), 0);
        for row in event::decode_rows(&bytes) {
            match row {
                Ok(Event { stamp, actor, fact: Fact::SocketAttempt(attempt) }) => {
                    rows.push((stamp, actor, attempt));
                }
                _ => broken += 1,
            }
        }
        self.rows = bytes;
        self.counts.lost("decode", socket::CONNECT.name, "malformed", broken);
        result.map(|()| rows).map_err(PipelineError::from)
    }
}
