//! What programs in the kernel tell beside the counters of /proc: who sends and receives how much, and who
//! used how much up to its end.

use super::{
    holders::{Holders, Shares},
    lives::{Ended, Lives, Who},
};
use crate::{
    config::Names,
    event::{
        self, Actor, Event, Fact, Key, exec,
        exit::{self, Exit},
        fork, socket,
        traffic::Rest,
        usage::{self, Reading, Total, Used},
    },
    host::Host,
    kernel::{self, Batch, Counters, Coverage, Kernel, KernelError, Options},
    procfs::Reader,
    sockets::owners,
};

/// The hooks that are needed: less than what `run` takes.
const OPTIONS: Options = Options {
    bulk_ring_bytes: 4 * 1024 * 1024,
    urgent_ring_bytes: 256 * 1024,
    names: Names::Fexit,
    hooks: None,
    log: false,
    executed: None,
    actions: Some(&[
        exit::ACTION.name,
        exec::ACTION.name,
        fork::ACTION.name,
        usage::ACTION.name,
        socket::BIND.name,
        socket::LISTEN.name,
        socket::CONNECT.name,
        socket::ACCEPT.name,
        socket::CLOSE.name,
    ]),
};

/// When the end of one that began so long ago and isn't known was lost, nanoseconds.
const EXIT_LOST: u64 = 10_000_000_000;

/// The programs at work, and what is remembered of what they told.
pub struct Programs {
    kernel: Kernel,
    host: Host,
    holders: Holders,
    /// None where the kernel doesn't tell what threads used.
    lives: Option<Lives>,
    batch: Batch,
    rows: Vec<u8>,
    rest: Rest,
    counters: Counters,
    /// Records that couldn't be understood.
    malformed: u64,
}

/// What they told of one interval.
#[derive(Debug, Default)]
pub struct News {
    /// What each process that lives used, by the kernel's own counters; none where it doesn't tell.
    pub lives: Option<Vec<(Key, Used)>>,
    /// Who ended.
    pub ended: Vec<Ended>,
    /// Bytes of the network; none where nothing counts them.
    pub shares: Option<Shares>,
    /// What isn't known, and why.
    pub told: Vec<String>,
}

impl Programs {
    /// Loads them; else says why that can't be.
    pub fn open(host: &Host) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("network bytes not known: needs root".to_owned());
        }
        if !Reader::new(host.proc()).in_first_pid_namespace() {
            return Err("network bytes not known: this is not the host's pid namespace".to_owned());
        }
        Reader::new(host.proc()).enter_first_cgroup_namespace().map_err(|error| {
            format!(
                "network bytes not known: entering the host's cgroup namespace, /proc/2/ns/cgroup: {error}"
            )
        })?;
        let kernel = Kernel::start(&OPTIONS).map_err(|error| unknown(&error))?;
        let mut programs = Self {
            kernel,
            host: host.clone(),
            holders: Holders::default(),
            lives: None,
            batch: Batch::default(),
            rows: Vec::new(),
            rest: Rest::default(),
            counters: Counters::default(),
            malformed: 0,
        };
        if programs.kernel.tells_usage() {
            let (now, totals) = (host.boot_now(), programs.totals());
            programs.lives = Some(Lives::new(now, &totals.map_err(|error| unknown(&error))?));
        }
        // What was before doesn't count; whose sockets are is to be known from the start.
        programs.look().and_then(|()| programs.kernel.traffic()).map_err(|error| unknown(&error))?;
        Ok(programs)
    }

    /// Takes out what waits in the rings, so that they don't fill up within a long interval.
    pub fn tend(&mut self) {
        loop {
            self.kernel.drain(&mut self.batch);
            let batch = std::mem::take(&mut self.batch);
            batch.iter().for_each(|record| self.take(record));
            let more = batch.is_full();
            self.batch = batch;
            self.batch.clear();
            if !more {
                return;
            }
        }
    }

    fn take(&mut self, record: &[u8]) {
        let Ok(Event { stamp, actor, fact }) = event::decode(record) else {
            self.malformed += 1;
            return;
        };
        match fact {
            Fact::SocketBind(socket)
            | Fact::SocketListen(socket)
            | Fact::SocketConnect(socket)
            | Fact::SocketAccept(socket)
            | Fact::SocketClose(socket) => {
                self.holders.acts(socket.cookie, stamp.key, stamp.time);
            }
            Fact::SocketAttempt(attempt) => {
                self.holders.acts(attempt.socket.cookie, stamp.key, stamp.time);
            }
            Fact::Fork(fork) => {
                self.lives.iter_mut().for_each(|lives| lives.fork(stamp.key, fork.creator, &actor));
            }
            Fact::Exec(exec) => {
                self.lives.iter_mut().for_each(|lives| lives.exec(stamp.key, &actor, &exec));
            }
            Fact::Exit(exit) => self.exit(stamp.key, &actor, &exit),
            _ => {}
        }
    }

    fn exit(&mut self, key: Key, actor: &Actor, exit: &Exit) {
        let Some(lives) = &mut self.lives else { return };
        let threads = if exit.threads { self.kernel.take_ended_threads(key) } else { Vec::new() };
        let last = Used { cpu_ns: exit.cpu_ns, io: exit.io, net: None };
        let life = threads.into_iter().fold(last, |sum, io| sum.and(&Used::of_io(io)));
        lives.exit(key, actor, &life);
    }

    /// What each process that lives used since it began.
    fn totals(&mut self) -> Result<Vec<Total>, KernelError> {
        // Before the threads: one that ends meanwhile is in neither, and all of it in the next reading.
        let ended = self.kernel.ended_threads();
        self.kernel.usage(&mut self.rows)?;
        let mut reading = Reading::default();
        for row in event::decode_rows(&self.rows) {
            match row {
                Ok(Event { stamp, actor, fact: Fact::Usage(usage) }) => reading.add(stamp.key, actor, &usage),
                _ => self.malformed += 1,
            }
        }
        let long_ago = self.host.boot_now().saturating_sub(EXIT_LOST);
        for (key, io) in ended {
            let lives = reading.add_ended(key, &Used::of_io(io));
            let known = self.lives.as_ref().is_none_or(|lives| lives.knows(key));
            if !lives && !known && key.start < long_ago {
                self.kernel.take_ended_threads(key);
            }
        }
        Ok(reading.totals())
    }

    /// Who this is, if only its birth or what it executed told so.
    pub fn recent(&self, key: Key) -> Option<&Who> {
        self.lives.as_ref()?.recent(key)
    }

    /// What was told since the last time; `shown`: whom /proc has shown just now.
    pub fn news(&mut self, shown: impl Fn(Key) -> bool) -> News {
        let mut told = self.uncovered();
        let totals = self.lives.is_some().then(|| self.totals()).transpose().unwrap_or_else(|error| {
            told.push(unknown(&error));
            None
        });
        let lives = self.lives.as_mut().zip(totals).map(|(lives, totals)| lives.read(&totals, &shown));
        let shares = match self.shares(&mut told) {
            Ok(shares) => Some(shares),
            Err(error) => {
                told.push(unknown(&error));
                None
            }
        };
        // Who lived at neither reading is in the rings by now.
        self.tend();
        let ended = self.lives.as_mut().map(|lives| lives.ended(shown)).unwrap_or_default();
        if self.lives.as_mut().is_some_and(|lives| std::mem::take(&mut lives.truncated)) {
            told.push(
                "more processes were born or ended than are kept; what they used is in (rest)".to_owned(),
            );
        }
        self.losses(&mut told);
        News { lives, ended, shares: shares.filter(|_| self.counts()), told }
    }

    /// Whether packets are counted at all.
    fn counts(&self) -> bool {
        self.kernel.tells_traffic()
    }

    fn shares(&mut self, told: &mut Vec<String>) -> Result<Shares, KernelError> {
        // Who acted is known before what they did: a look alone misses who came and went.
        self.tend();
        self.look()?;
        let reading = self.kernel.traffic()?;
        self.tend();
        let before = std::mem::replace(&mut self.rest, reading.rest);
        let lost: u64 = reading.lost.iter().map(|(_, count)| count).sum();
        let refused = reading.rest.refused.saturating_sub(before.refused);
        let full = reading.rest.full.saturating_sub(before.full);
        for (count, what) in [
            (lost, "sockets ended whose bytes are in (rest): too many at once"),
            (refused, "packets are in (rest): the kernel had no memory to count them by socket"),
            (full, "sockets ended whose last bytes are in (rest): the kernel's ring was full"),
        ] {
            if count != 0 {
                told.push(format!("network: {count} {what}"));
            }
        }
        if std::mem::take(&mut self.holders.truncated) {
            told.push("network: more sockets than are remembered; bytes of some are in (rest)".to_owned());
        }
        let unowned = reading.rest.amount.since(before.amount);
        Ok(self.holders.share(&reading.sockets, unowned, self.host.boot_now()))
    }

    /// Who holds which socket now.
    fn look(&mut self) -> Result<(), KernelError> {
        self.kernel.look_at_sockets(&mut self.rows)?;
        let now = self.host.boot_now();
        let (mut held, mut malformed) = (Vec::new(), 0);
        for row in event::decode_rows(&self.rows) {
            match row {
                Ok(Event { stamp, fact: Fact::SocketLook(socket), .. }) => {
                    held.push((stamp.key, stamp.thread, socket));
                }
                _ => malformed += 1,
            }
        }
        self.malformed += malformed;
        for (key, _, socket) in owners(held.into_iter(), |cookie| self.holders.holder(cookie)) {
            self.holders.holds(socket.cookie, key, now);
        }
        Ok(())
    }

    /// Hooks that the kernel refused.
    fn uncovered(&self) -> Vec<String> {
        let mut told = Vec::new();
        // It doesn't ask which connections are gone.
        let concerns = |row: &&Coverage| row.state.lacks() && row.hook != kernel::UNTOLD_ENDS;
        for row in self.kernel.coverage().iter().filter(concerns) {
            let line = format!("{}: {}", row.hook, row.gap);
            if !told.contains(&line) {
                told.push(line);
            }
        }
        told
    }

    fn losses(&mut self, told: &mut Vec<String>) {
        match std::mem::take(&mut self.malformed) {
            0 => {}
            count => told.push(format!("{count} records from the kernel were not understood")),
        }
        let Ok(counters) = self.kernel.counters() else { return };
        for (action, reason, count) in counters.lost_since(&self.counters) {
            told.push(format!("{count} of {action} lost in the kernel: {reason}"));
        }
        self.counters = counters;
    }
}

fn unknown(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = format!("network bytes not known: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}
