//! Sockets: whose they are, what is told of them, and what only a look at open files shows.

use std::collections::{HashMap, HashSet};

use super::{Pipeline, PipelineError, take::Until};
use crate::{
    event::{
        self, Action, Actor, Event, Fact, Key, Running, Stamp,
        socket::{self, Ends, Side, Socket},
    },
    field::Field,
    kernel::Batch,
    record::Record,
    sockets::{Known, owners},
};

/// Least time between two looks at all open files, nanoseconds; a host with many is looked at more seldom.
const LOOK: u64 = 20_000_000;
/// The share of the time that looks may take: one part in so many.
const SHARE: u64 = 20;
/// Least time between looks that nothing asks for, and their share: they show what no hook sees.
const SELDOM: u64 = 1_000_000_000;
const SELDOM_SHARE: u64 = 1000;
/// How long a socket waits for its process to be known, nanoseconds: each second all processes are looked at.
const EARLY: u64 = 3_000_000_000;
/// Most listeners that wait for their port, and most connections that wait for whose they are; the others are told without it.
const UNRESOLVED_MOST: usize = 4096;

/// What waits for a look at all open files.
#[derive(Default)]
pub(super) struct Looks {
    /// Listeners whose port was chosen after they were told.
    unresolved: Vec<(Stamp, Socket)>,
    /// Connections that were made by somebody whom the programs had to forget.
    ownerless: Vec<(Stamp, Socket)>,
    /// Connections that nobody has taken, as of the last second.
    untaken: HashSet<u64>,
    /// When the next look may be, nanoseconds since boot.
    after: u64,
    /// When the next is due in any case, nanoseconds since boot.
    due: u64,
    /// Sockets that no hook sees being bound, and that were told.
    unseen: HashSet<u64>,
    /// Sockets of processes that aren't known yet, and when they were first shown, nanoseconds since boot.
    early: HashMap<u64, u64>,
    /// Connections that no process had open at the last look.
    pub(super) doubted: HashSet<u64>,
    /// Cookies of sockets of MPTCP that were there before, by which they were told: their ends have others.
    preexisting: HashMap<Ends, u64>,
    /// Connections that were gone at the last look and not told.
    pub(super) gone: Vec<u64>,
}

impl Looks {
    /// Whether something is waiting that is to be told soon.
    pub(super) fn waiting(&self) -> bool {
        !self.unresolved.is_empty() || !self.ownerless.is_empty()
    }
}

impl Pipeline<'_> {
    pub(super) fn take_bind(
        &mut self,
        stamp: Stamp,
        actor: Actor,
        socket: &Socket,
    ) -> Result<(), PipelineError> {
        self.meet(stamp, actor);
        self.owns(socket.cookie, stamp.key);
        let server = self.server(socket, stamp.key, socket.datagram);
        self.tell_socket(&socket::BIND, stamp, server)
    }

    pub(super) fn take_listen(
        &mut self,
        stamp: Stamp,
        actor: Actor,
        socket: &Socket,
    ) -> Result<(), PipelineError> {
        self.meet(stamp, actor);
        self.owns(socket.cookie, stamp.key);
        if socket.local.1 != 0 && socket.unseen() && self.looks.unseen.insert(socket.cookie) {
            // It had its port before, so it was bound.
            self.counts.found(socket::BIND.name);
            let server = self.server(socket, stamp.key, false);
            self.tell_socket(&socket::BIND, stamp, server)?;
        }
        if socket.local.1 == 0 && self.looks.unresolved.len() < UNRESOLVED_MOST {
            self.looks.unresolved.push((stamp, *socket));
            return Ok(());
        }
        self.sockets.listens(socket, stamp.key);
        let server = self.server(socket, stamp.key, true);
        self.tell_socket(&socket::LISTEN, stamp, server)
    }

    pub(super) fn take_connect(
        &mut self,
        stamp: Stamp,
        actor: Actor,
        socket: &Socket,
    ) -> Result<(), PipelineError> {
        self.meet(stamp, actor);
        if stamp.key.pid == 0 && self.looks.ownerless.len() < UNRESOLVED_MOST {
            self.looks.ownerless.push((stamp, *socket));
            return Ok(());
        }
        self.tell_connect(stamp, socket, None)
    }

    fn tell_connect(
        &mut self,
        stamp: Stamp,
        socket: &Socket,
        method: Option<&'static str>,
    ) -> Result<(), PipelineError> {
        self.owns(socket.cookie, stamp.key);
        if !socket.failed {
            self.sockets.connected(
                socket.cookie,
                Known { owner: known(stamp.key), began: Side::Here, ends: socket.ends() },
            );
        }
        self.tell_peers(&socket::CONNECT, stamp, socket, Side::Here, method)
    }

    /// Tells connections that waited for a look, those of them that are wanted, with the process that it shows.
    fn tell_ownerless(
        &mut self,
        wanted: impl Fn(&Socket) -> bool,
        owner: impl Fn(&Socket) -> Option<(Key, u32)>,
    ) -> Result<(), PipelineError> {
        if self.looks.ownerless.is_empty() {
            return Ok(());
        }
        let (told, kept) =
            std::mem::take(&mut self.looks.ownerless).into_iter().partition(|(_, it)| wanted(it));
        self.looks.ownerless = kept;
        for (mut stamp, socket) in told {
            let owner = owner(&socket);
            if let Some((key, thread)) = owner {
                stamp = Stamp { key, thread, ..stamp };
            }
            self.tell_connect(stamp, &socket, owner.map(|_| "sweep"))?;
        }
        Ok(())
    }

    /// Without a process that took or used it, a connection is its listener's.
    pub(super) fn take_accept(
        &mut self,
        mut stamp: Stamp,
        actor: Actor,
        socket: &Socket,
    ) -> Result<(), PipelineError> {
        self.meet(stamp, actor);
        let mut method = None;
        if stamp.key.pid == 0
            && let Some(owner) = self.sockets.taker(socket.netns, socket.local)
        {
            stamp = of(owner, stamp.time);
            method = Some("listener");
        }
        self.owns(socket.cookie, stamp.key);
        self.sockets.connected(
            socket.cookie,
            Known { owner: known(stamp.key), began: Side::There, ends: socket.ends() },
        );
        self.tell_peers(&socket::ACCEPT, stamp, socket, Side::There, method)
    }

    /// Tells a connection with both its ends; `method`: by what it was found, if no hook told it.
    fn tell_peers(
        &mut self,
        action: &'static Action,
        stamp: Stamp,
        socket: &Socket,
        began: Side,
        method: Option<&'static str>,
    ) -> Result<(), PipelineError> {
        self.tell_socket(action, stamp, |record| {
            socket.set_peers(record, began);
            socket.set_outcome(record, true);
            if let Some(method) = method {
                record.set(Field::SensorMethod, method);
            }
        })
    }

    pub(super) fn take_close(
        &mut self,
        stamp: Stamp,
        actor: Actor,
        socket: &Socket,
    ) -> Result<(), PipelineError> {
        self.meet(stamp, actor);
        let mut socket = *socket;
        if let Some(ends) = socket.ends().filter(|_| socket.mptcp)
            && let Some(cookie) = self.looks.preexisting.remove(&ends)
        {
            socket.cookie = cookie;
        }
        // Its beginning comes first.
        let closer = (stamp.key.pid != 0).then_some((stamp.key, stamp.thread));
        self.tell_ownerless(|it| it.cookie == socket.cookie, |_| closer)?;
        // Who closes it has had it since whoever opened it gave it away.
        self.owns(socket.cookie, stamp.key);
        self.close(stamp, &socket, None)
    }

    /// Tells an end; without a process that closed, as that of whose it was. `method`: what told it, if no hook did.
    pub(super) fn close(
        &mut self,
        mut stamp: Stamp,
        socket: &Socket,
        method: Option<&'static str>,
    ) -> Result<(), PipelineError> {
        let had = self.owner_of(socket.cookie);
        self.owned_till_now(socket.cookie);
        let known = self.sockets.ended(socket.cookie);
        let listened = socket.listened.then(|| self.sockets.stopped(socket.cookie)).flatten();
        self.reaches.closed(socket.cookie);
        if stamp.key.pid == 0
            && let Some(owner) = known.and_then(|known| known.owner).or(listened).or(had)
        {
            stamp = of(owner, stamp.time);
        }
        let counts = self.traffic.is_some() && method.is_none();
        let by_port = self.side(socket);
        self.tell_socket(&socket::CLOSE, stamp, |record| {
            if let Some(method) = method {
                record.set(Field::SensorMethod, method);
            }
            if socket.listened || socket.remote.1 == 0 {
                socket.set_server(record);
            } else {
                let began = known.map_or(by_port, |known| known.began);
                socket.set_peers(record, began);
                if counts {
                    socket.set_moved(record, began);
                }
            }
            socket.set_outcome(record, true);
        })
    }

    /// Takes in who acts on a socket, if that isn't known.
    pub(super) fn meet(&mut self, stamp: Stamp, actor: Actor) {
        if stamp.key.pid == 0 {
            return;
        }
        if self.table.get(stamp.key).is_some() {
            self.table.acts_as(stamp.key, actor.ids);
        } else if self.table.known(stamp.key).is_none() {
            // Its birth was lost.
            self.adopt(stamp, actor, &Running::default(), Until::AsNow);
        }
    }

    pub(super) fn tell_socket(
        &mut self,
        action: &'static Action,
        stamp: Stamp,
        set: impl FnOnce(&mut Record),
    ) -> Result<(), PipelineError> {
        if stamp.key.pid != 0 {
            return self.tell_process(action, stamp, set);
        }
        let mut record = action.record();
        set(&mut record);
        self.deliver(action.name, stamp.time, record)
    }

    /// What was there before, but for what the rings tell already.
    pub(super) fn begin_sockets(&mut self, batch: &mut Batch) -> Result<(), PipelineError> {
        let rows = self.open_sockets()?;
        // What came since the hooks are there, and is in the look too, is in the rings by now.
        self.kernel.drain(batch);
        let begun = self.kernel.attempts().into_iter().map(|it| socket::attempt::begun(it).2.socket.cookie);
        let fresh: HashSet<u64> = batch
            .iter()
            .filter_map(|record| event::decode(record).ok())
            .filter_map(|event| match event.fact {
                Fact::SocketBind(it)
                | Fact::SocketListen(it)
                | Fact::SocketConnect(it)
                | Fact::SocketAccept(it) => Some(it.cookie),
                Fact::SocketAttempt(it) => Some(it.socket.cookie),
                _ => None,
            })
            .chain(begun)
            .collect();
        let below = rows.iter().filter(|(.., socket)| socket.mptcp && !fresh.contains(&socket.cookie));
        self.looks.preexisting =
            below.filter_map(|(.., socket)| Some((socket.ends()?, socket.cookie))).collect();
        // Listeners first: which end of a connection began it shows in them.
        for (key, thread, socket) in rows.iter().filter(|(.., socket)| socket.listens()) {
            if !fresh.contains(&socket.cookie) {
                self.sockets.listens(socket, *key);
                let server = self.server(socket, *key, true);
                self.tell_found(&socket::LISTEN, *key, *thread, server)?;
            }
        }
        for (key, thread, socket) in rows.iter().filter(|(.., socket)| !socket.listens()) {
            if !fresh.contains(&socket.cookie) {
                self.begin_socket(*key, *thread, socket)?;
            }
        }
        Ok(())
    }

    fn begin_socket(&mut self, key: Key, thread: u32, socket: &Socket) -> Result<(), PipelineError> {
        if socket.unseen() && socket.only_bound() {
            self.looks.unseen.insert(socket.cookie);
        }
        if !socket.ported {
            let server = self.server(socket, key, true);
            return self.tell_found(&socket::BIND, key, thread, server);
        }
        if socket.datagram && (socket.local.1 != 0 || socket.connected()) {
            self.remember_datagram(socket.cookie);
        }
        if socket.connected() {
            // Taken between the hooks and this look: the programs need not tell it any more.
            let _: Option<[u64; socket::KEPT]> = self.kernel.take_untaken(socket.cookie);
            let began = self.side(socket);
            // Of MPTCP the look shows another cookie from its first packet on.
            let ends = socket.ends().filter(|_| !socket.mptcp);
            self.sockets.connected(socket.cookie, Known { owner: Some(key), began, ends });
            let action = if began == Side::Here { &socket::CONNECT } else { &socket::ACCEPT };
            return self.tell_found(action, key, thread, |record| {
                socket.set_peers(record, began);
                socket.set_outcome(record, true);
            });
        }
        if socket.local.1 != 0 && socket.state == UNCONNECTED {
            let server = self.server(socket, key, true);
            return self.tell_found(&socket::BIND, key, thread, server);
        }
        Ok(())
    }

    /// Who seems to have begun a connection: the other end where a listener has this one's port.
    fn side(&self, socket: &Socket) -> Side {
        match self.sockets.listener(socket.netns, socket.local) {
            Some(_) if !socket.datagram => Side::There,
            _ => Side::Here,
        }
    }

    /// Has the end of a datagram socket told, or counts that it won't be.
    pub(super) fn remember_datagram(&mut self, cookie: u64) {
        if !self.kernel.remember_datagram(cookie) {
            self.counts.found(socket::CLOSE.name);
            self.counts.lost("kernel", socket::CLOSE.name, "map_full", 1);
        }
    }

    fn tell_found(
        &mut self,
        action: &'static Action,
        key: Key,
        thread: u32,
        set: impl FnOnce(&mut Record),
    ) -> Result<(), PipelineError> {
        self.counts.found(action.name);
        let stamp = Stamp { time: self.host.boot_now(), key, thread };
        self.tell_socket(action, stamp, |record| {
            set(record);
            record.set(Field::SensorSocketPreexisting, true);
        })
    }

    /// Ports that were chosen late, and connections that were taken in silence; `due`: a second has passed.
    pub(super) fn look_at_sockets(&mut self, due: bool) -> Result<(), PipelineError> {
        let mut silent = HashSet::new();
        if due {
            let untaken: HashSet<u64> = self.kernel.untaken().into_iter().collect();
            // What came a moment ago may still be taken aloud.
            silent = untaken.intersection(&self.looks.untaken).copied().collect();
            self.looks.untaken = untaken;
        }
        let began = self.host.boot_now();
        let wanted = self.looks.waiting() || !silent.is_empty() || self.looks.due <= began;
        if self.looks.after > began || !wanted {
            return Ok(());
        }
        let rows = self.open_sockets()?;
        self.doubt_connections(&rows, false)?;
        let now = self.host.boot_now();
        let took = now.saturating_sub(began);
        self.looks.after = now.saturating_add(LOOK.max(took.saturating_mul(SHARE)));
        self.looks.due = now.saturating_add(SELDOM.max(took.saturating_mul(SELDOM_SHARE)));
        self.reaches.settle(&rows);
        let early = self.early(&rows, now);
        self.tell_unseen(&rows, &early, now)?;
        let shown: HashMap<u64, &(Key, u32, Socket)> = rows.iter().map(|row| (row.2.cookie, row)).collect();
        for (stamp, mut socket) in std::mem::take(&mut self.looks.unresolved) {
            if let Some((.., found)) = shown.get(&socket.cookie) {
                socket.local = found.local;
                self.sockets.listens(&socket, stamp.key);
            }
            let server = self.server(&socket, stamp.key, true);
            self.tell_socket(&socket::LISTEN, stamp, server)?;
        }
        self.tell_ownerless(
            |it| !early.contains(&it.cookie),
            |it| shown.get(&it.cookie).map(|(key, thread, _)| (*key, *thread)),
        )?;
        for (key, thread, socket) in &rows {
            if silent.contains(&socket.cookie)
                && !early.contains(&socket.cookie)
                && let Some(body) = self.kernel.take_untaken(socket.cookie)
            {
                self.counts.found(socket::ACCEPT.name);
                let known = Known { owner: Some(*key), began: Side::There, ends: socket.ends() };
                self.sockets.connected(socket.cookie, known);
                let stamp = Stamp { time: now, key: *key, thread: *thread };
                let socket = socket::kept(body);
                self.tell_peers(&socket::ACCEPT, stamp, &socket, Side::There, Some("sweep"))?;
            }
        }
        Ok(())
    }

    /// Sockets of processes whose birth is still in the rings: a later look has them told with their process.
    fn early(&mut self, rows: &[(Key, u32, Socket)], now: u64) -> HashSet<u64> {
        let unknown = rows.iter().filter(|(key, ..)| self.table.known(*key).is_none());
        let since = |cookie| (cookie, self.looks.early.get(&cookie).copied().unwrap_or(now));
        self.looks.early = unknown.map(|(.., socket)| since(socket.cookie)).collect();
        let early = self.looks.early.iter().filter(|(_, since)| now.saturating_sub(**since) < EARLY);
        early.map(|(cookie, _)| *cookie).collect()
    }

    /// Raw and packet sockets, and those of SCTP that are bound, which no hook sees.
    fn tell_unseen(
        &mut self,
        rows: &[(Key, u32, Socket)],
        early: &HashSet<u64>,
        time: u64,
    ) -> Result<(), PipelineError> {
        let mut there = HashSet::new();
        for (key, thread, socket) in rows.iter().filter(|(.., socket)| socket.unseen()) {
            let told = self.looks.unseen.contains(&socket.cookie);
            if !told && socket.only_bound() && early.contains(&socket.cookie) {
                self.looks.due = time;
                continue;
            }
            if told || socket.only_bound() {
                there.insert(socket.cookie);
            }
            if told || !socket.only_bound() {
                continue;
            }
            self.counts.found(socket::BIND.name);
            let stamp = Stamp { time, key: *key, thread: *thread };
            let server = self.server(socket, stamp.key, true);
            self.tell_socket(&socket::BIND, stamp, |record| {
                server(record);
                record.set(Field::SensorMethod, "sweep");
            })?;
        }
        self.looks.unseen = there;
        Ok(())
    }

    /// What still waits is told as it is.
    pub(super) fn end_sockets(&mut self) -> Result<(), PipelineError> {
        for (stamp, socket) in std::mem::take(&mut self.looks.unresolved) {
            let server = self.server(&socket, stamp.key, true);
            self.tell_socket(&socket::LISTEN, stamp, server)?;
        }
        self.tell_ownerless(|_| true, |_| None)
    }

    /// All sockets that are open, each once, with whose it is.
    pub(super) fn open_sockets(&mut self) -> Result<Vec<(Key, u32, Socket)>, PipelineError> {
        let mut bytes = std::mem::take(&mut self.rows);
        let result = self.kernel.look_at_sockets(&mut bytes);
        let mut broken = 0;
        let rows = event::decode_rows(&bytes).filter_map(|row| match row {
            Ok(Event { stamp, fact: Fact::SocketLook(socket), .. }) => {
                Some((stamp.key, stamp.thread, socket))
            }
            _ => {
                broken += 1;
                None
            }
        });
        let rows = owners(rows, |cookie| self.owner_of(cookie));
        self.owners_shown(rows.iter().map(|(key, _, socket)| (socket.cookie, *key)));
        self.rows = bytes;
        self.counts.lost("decode", socket::LISTEN.name, "malformed", broken);
        result.map(|()| rows).map_err(PipelineError::from)
    }
}

/// `TCP_CLOSE`, the state of a socket that is neither connected nor listening.
const UNCONNECTED: u16 = 7;

fn known(key: Key) -> Option<Key> {
    (key.pid != 0).then_some(key)
}

fn of(owner: Key, time: u64) -> Stamp {
    Stamp { time, key: owner, thread: owner.pid }
}
