//! By which of the host's live addresses sockets can be reached, and who is to be told that this changed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Pipeline, PipelineError};
use crate::{
    event::{
        Key, Stamp,
        socket::{self, Socket, set_reach},
    },
    field::Field,
    kernel::{Coverage, Gap},
    net::live::{Live, Reach},
    record::Record,
    rtnetlink::{AddressError, Asker, Changes},
};

/// Least time from one round of telling that something changed to the next, nanoseconds.
const ROUND: u64 = 1_000_000_000;
/// The share of the time that a round may take, with its look at all open files: one part in so many.
const ROUND_SHARE: u64 = 20;
/// The same of asking for the addresses here.
const ASK_SHARE: u64 = 20;
/// How long the addresses of another namespace are taken to be the same, nanoseconds.
const SAME: u64 = 1_000_000_000;
/// Most other namespaces that are asked in one go, and the share of the time that this may take.
const OTHERS: usize = 16;
const OTHERS_SHARE: u64 = 1000;
/// Most namespaces that are remembered.
const SPACES_MOST: usize = 1024;
/// Most sockets of which it is remembered what was told; of those above, no change is told.
const TOLD_MOST: usize = 65_536;
/// Most that are told in one round; the others come in the next.
const ROUND_MOST: usize = 4096;
/// What serves the fields, as `coverage` names it.
const HOOK: &str = "rtnetlink";

/// A network namespace.
struct Space {
    live: Arc<Live>,
    /// When that was asked for, nanoseconds since boot.
    asked: u64,
    /// Who lives there, 0 for nobody that is known.
    pid: u32,
}

/// What was told of a socket.
struct Told {
    netns: u32,
    /// That of its reach, 0 where that wasn't known.
    print: u64,
}

/// What is known of addresses, and what was told of them.
pub(super) struct Reaches {
    asker: Asker,
    changes: Option<Changes>,
    /// The sensor's own network namespace, 0 where that isn't known.
    own: u32,
    /// Its addresses aren't those that are known.
    stale: bool,
    /// When they may be asked for again, nanoseconds since boot.
    after: u64,
    spaces: HashMap<u32, Space>,
    /// By cookie.
    told: HashMap<u64, Told>,
    /// Some addresses changed since the last round.
    moved: bool,
    /// Some socket was told while they weren't known.
    blind: bool,
    /// When the next round may be, and when others are asked again.
    round: u64,
    others: u64,
    coverage: Coverage,
    /// `coverage` isn't what was told.
    news: bool,
}

impl Default for Reaches {
    fn default() -> Self {
        Self {
            asker: Asker::default(),
            changes: None,
            own: 0,
            stale: true,
            after: 0,
            spaces: HashMap::new(),
            told: HashMap::new(),
            moved: false,
            blind: false,
            round: 0,
            others: 0,
            coverage: Coverage::seen(socket::LISTEN.name, HOOK),
            news: false,
        }
    }
}

impl Reaches {
    /// Whether the addresses of the sensor's own network namespace are known.
    pub(super) fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// A socket is closed.
    pub(super) fn closed(&mut self, cookie: u64) {
        self.told.remove(&cookie);
    }

    fn trouble(&mut self, error: Option<&AddressError>) {
        let row = match error {
            None => Coverage::seen(socket::LISTEN.name, HOOK),
            Some(error) => {
                let (missing, remedy) = match error {
                    AddressError::Call { .. } => {
                        ("AF_NETLINK", "allow the sensor netlink sockets (AF_NETLINK)")
                    }
                    _ => ("", ""),
                };
                let gap = Gap {
                    reason: error.to_string(),
                    missing: missing.to_owned(),
                    effect: "sensor.reach, and that it changes".to_owned(),
                    remedy: remedy.to_owned(),
                };
                Coverage::unseen(socket::LISTEN.name, HOOK, gap)
            }
        };
        if self.coverage != row {
            self.coverage = row;
            self.news = true;
        }
    }

    fn remember(&mut self, socket: &Socket, print: u64) {
        if self.told.len() < TOLD_MOST || self.told.contains_key(&socket.cookie) {
            self.told.insert(socket.cookie, Told { netns: socket.netns, print });
        }
    }

    /// Finds others where nobody is left of those who were known.
    pub(super) fn settle(&mut self, rows: &[(Key, u32, Socket)]) {
        for (key, _, socket) in rows {
            if let Some(space) = self.spaces.get_mut(&socket.netns)
                && space.pid == 0
            {
                space.pid = key.pid;
            }
        }
    }

    /// Takes in what a namespace was asked; its addresses changed if they were known and others.
    fn learn(&mut self, netns: u32, live: Live, pid: u32, now: u64) -> Arc<Live> {
        let live = match self.spaces.remove(&netns) {
            Some(known) if *known.live == live => known.live,
            known => {
                // What was told of it before there was trouble may be otherwise.
                self.moved |= known.is_some() || netns == self.own || std::mem::take(&mut self.blind);
                Arc::new(live)
            }
        };
        if self.spaces.len() >= SPACES_MOST {
            self.spaces.retain(|space, _| *space == self.own);
        }
        self.spaces.insert(netns, Space { live: Arc::clone(&live), asked: now, pid });
        live
    }
}

impl Pipeline<'_> {
    /// Asks to be told when the addresses here change, and what they are now.
    pub(super) fn follow_addresses(&mut self) {
        self.reaches.own = self.reader.network_namespace(None).map_or(0, |(inode, _)| inode);
        self.follow();
        (self.reaches.news, self.reaches.moved) = (false, false);
    }

    fn follow(&mut self) {
        match Changes::follow() {
            Ok(changes) => self.reaches.changes = Some(changes),
            Err(error) => self.reaches.trouble(Some(&error)),
        }
        // Whatever changes from here on is noticed.
        self.reaches.stale = true;
        self.refresh();
    }

    /// Sets the address at which a socket can be reached, and by which of the live ones. A change of those is
    /// told of one that serves, and not of one that has yet to listen.
    pub(super) fn server<'s>(
        &mut self,
        socket: &'s Socket,
        owner: Key,
        serves: bool,
    ) -> impl FnOnce(&mut Record) + use<'s> {
        let live = self.live(socket.netns, owner.pid);
        let unknown = live.is_none();
        let reach = live.and_then(|live| socket.reach(&live));
        if serves {
            self.reaches.blind |= unknown;
            self.reaches.remember(socket, reach.as_ref().map_or(0, |reach| reach.print));
        }
        move |record| {
            socket.set_server(record);
            if let Some(reach) = reach {
                set_reach(&reach, record);
            }
        }
    }

    /// The live addresses of a network namespace in which this process has a socket.
    fn live(&mut self, netns: u32, pid: u32) -> Option<Arc<Live>> {
        if netns == self.reaches.own {
            self.refresh();
            return self.reaches.spaces.get(&netns).map(|space| Arc::clone(&space.live));
        }
        let now = self.host.boot_now();
        match self.reaches.spaces.get(&netns) {
            Some(space) if space.asked.saturating_add(SAME) > now => Some(Arc::clone(&space.live)),
            known => {
                let other = known.map(|space| space.pid);
                self.ask(netns, pid).or_else(|| self.ask(netns, other.filter(|other| *other != pid)?))
            }
        }
    }

    /// Asks a namespace in which this process lives, if it still does.
    fn ask(&mut self, netns: u32, pid: u32) -> Option<Arc<Live>> {
        let (inode, file) = self.reader.network_namespace(Some(pid)).filter(|_| pid != 0)?;
        if inode != netns {
            return None;
        }
        let live = self.reaches.asker.ask(Some(file)).ok()?;
        Some(self.reaches.learn(netns, live, pid, self.host.boot_now()))
    }

    /// Asks for the addresses here, if they changed.
    fn refresh(&mut self) {
        let now = self.host.boot_now();
        let Some(changes) = &self.reaches.changes else { return };
        match changes.any() {
            Ok(any) => self.reaches.stale |= any,
            Err(error) => {
                // Whether they are still those that are known, nobody says any more.
                self.reaches.changes = None;
                self.reaches.spaces.remove(&self.reaches.own);
                self.reaches.trouble(Some(&error));
                return;
            }
        }
        if !self.reaches.stale || self.reaches.after > now {
            return;
        }
        let answer = self.reaches.asker.ask(None);
        let took = self.host.boot_now().saturating_sub(now);
        match answer {
            Ok(live) => {
                self.reaches.stale = false;
                self.reaches.after = now.saturating_add(took.saturating_mul(ASK_SHARE));
                self.reaches.trouble(None);
                self.reaches.learn(self.reaches.own, live, 0, now);
            }
            Err(error) => {
                self.reaches.after = now.saturating_add(ROUND.max(took.saturating_mul(ASK_SHARE)));
                self.reaches.spaces.remove(&self.reaches.own);
                self.reaches.trouble(Some(&error));
            }
        }
    }

    /// Each round: what changed, here and in other namespaces, and who is to be told.
    pub(super) fn look_at_addresses(&mut self) -> Result<(), PipelineError> {
        self.refresh();
        let now = self.host.boot_now();
        if self.reaches.others <= now {
            if self.reaches.changes.is_none() {
                self.follow();
            }
            self.look_at_others(now);
        }
        if std::mem::take(&mut self.reaches.news) {
            self.tell_coverage(now)?;
        }
        if !self.reaches.moved || self.reaches.round > now {
            return Ok(());
        }
        self.reaches.moved = false;
        let result = self.tell_moved();
        let end = self.host.boot_now();
        let took = end.saturating_sub(now);
        self.reaches.round = end.saturating_add(ROUND.max(took.saturating_mul(ROUND_SHARE)));
        result
    }

    /// The kernel tells nothing of addresses elsewhere: those where sockets are open are asked for, in turn.
    fn look_at_others(&mut self, now: u64) {
        let wanted: HashSet<u32> = self.reaches.told.values().map(|told| told.netns).collect();
        let own = self.reaches.own;
        self.reaches.spaces.retain(|netns, _| *netns == own || wanted.contains(netns));
        let others = self.reaches.spaces.iter().filter(|(netns, space)| **netns != own && space.pid != 0);
        let mut others: Vec<_> = others.map(|(netns, space)| (space.asked, *netns, space.pid)).collect();
        others.sort_unstable();
        for (_, netns, pid) in others.into_iter().take(OTHERS) {
            if self.ask(netns, pid).is_none()
                && let Some(space) = self.reaches.spaces.get_mut(&netns)
            {
                space.pid = 0;
            }
        }
        let took = self.host.boot_now().saturating_sub(now);
        self.reaches.others = now.saturating_add(SAME.max(took.saturating_mul(OTHERS_SHARE)));
    }

    /// Tells each socket anew that is open and reached by other addresses than was told of it.
    fn tell_moved(&mut self) -> Result<(), PipelineError> {
        let rows = self.open_sockets()?;
        let open: HashSet<u64> = rows.iter().map(|(.., socket)| socket.cookie).collect();
        self.reaches.told.retain(|cookie, _| open.contains(cookie));
        let time = self.host.boot_now();
        let mut count = 0;
        for (key, thread, socket) in &rows {
            let Some(reach) = self.moved(socket) else { continue };
            if count == ROUND_MOST {
                self.reaches.moved = true;
                break;
            }
            count += 1;
            self.reaches.remember(socket, reach.print);
            let action = if socket.listens() { &socket::LISTEN } else { &socket::BIND };
            self.counts.found(action.name);
            self.tell_socket(action, Stamp { time, key: *key, thread: *thread }, |record| {
                socket.set_server(record);
                set_reach(&reach, record);
                record.set(Field::SensorMethod, "address_change");
            })?;
        }
        Ok(())
    }

    /// By what a socket is reached now, if that isn't what was told of it.
    fn moved(&self, socket: &Socket) -> Option<Arc<Reach>> {
        let told = self.reaches.told.get(&socket.cookie)?;
        // A datagram socket that was given another end hears only that one.
        if socket.connected() {
            return None;
        }
        let reach = socket.reach(&self.reaches.spaces.get(&socket.netns)?.live)?;
        (reach.print != told.print).then_some(reach)
    }
}
