//! What a look at all open files shows of sockets: those that were there before, those that no hook sees, and whose each is.

use std::collections::{HashMap, HashSet};

use super::{Pipeline, PipelineError};
use crate::{
    event::{
        self, Action, Event, Fact, Key, Stamp,
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
pub(super) const UNRESOLVED_MOST: usize = 4096;

/// What waits for a look at all open files.
#[derive(Default)]
pub(super) struct Looks {
    /// Listeners whose port was chosen after they were told.
    pub(super) unresolved: Vec<(Stamp, Socket)>,
    /// Connections that were made by somebody whom the programs had to forget.
    pub(super) ownerless: Vec<(Stamp, Socket)>,
    /// Connections that nobody has taken, as of the last second.
    untaken: HashSet<u64>,
    /// When the next look may be, nanoseconds since boot.
    after: u64,
    /// When the next is due in any case, nanoseconds since boot.
    due: u64,
    /// Sockets that no hook sees being bound, and that were told.
    pub(super) unseen: HashSet<u64>,
    /// Sockets of processes that aren't known yet, and when they were first shown, nanoseconds since boot.
    early: HashMap<u64, u64>,
    /// Connections that no process had open at the last look.
    pub(super) doubted: HashSet<u64>,
    /// Cookies of sockets of MPTCP that were there before, by which they were told: their ends have others.
    pub(super) preexisting: HashMap<Ends, u64>,
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

    /// Tells connections that waited for a look, those of them that are wanted, with the process that it shows.
    pub(super) fn tell_ownerless(
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
