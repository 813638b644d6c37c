//! Sockets: whose they are, and what is told of them.

use super::{Pipeline, PipelineError, look::UNRESOLVED_MOST, take::Until};
use crate::{
    event::{
        Action, Actor, Key, Running, Stamp,
        socket::{self, Side, Socket},
    },
    field::Field,
    record::Record,
    sockets::Known,
};

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

    pub(super) fn tell_connect(
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
    pub(super) fn tell_peers(
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

    /// Who seems to have begun a connection: the other end where a listener has this one's port.
    pub(super) fn side(&self, socket: &Socket) -> Side {
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
}

fn known(key: Key) -> Option<Key> {
    (key.pid != 0).then_some(key)
}

fn of(owner: Key, time: u64) -> Stamp {
    Stamp { time, key: owner, thread: owner.pid }
}
