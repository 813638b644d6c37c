//! Who has the other end: of pipes, of sockets of the host, of connections that stay on the host.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use crate::{
    field::Field,
    look::{
        Look,
        open::{Holder, Open, Unread},
        sockets::Sockets,
    },
    net::found::{Found, Inet, Kind, State},
    record::Record,
};

/// Most processes that are told of one end.
const MOST: usize = 32;
/// Most holders of one pipe that are looked at.
const LOOKED_AT_MOST: usize = 256;

/// A connection by its ends: protocol, own address and port, the other's.
type Line = (u16, (IpAddr, u16), (IpAddr, u16));

/// Who has a pipe, and whether they can read and write.
type Sharer = (Holder, (bool, bool));

/// What is known of sockets and pipes.
pub(super) struct Ends<'a> {
    look: &'a Look,
    open: &'a Open,
    /// By inode.
    sockets: HashMap<u64, &'a Found>,
    /// Who has a pipe, and who of them can read and write, by inode.
    pipes: HashMap<u64, Vec<Sharer>>,
    /// Connected sockets, by namespace and inode.
    lines: HashMap<Line, Vec<(u32, u64)>>,
    /// Namespaces, protocols and ports on which somebody listens.
    listening: HashSet<(u32, u16, u16)>,
}

impl<'a> Ends<'a> {
    pub(super) fn new(look: &'a Look, open: &'a Open, sockets: &'a Sockets) -> Self {
        let mut ends = Self {
            look,
            open,
            sockets: HashMap::new(),
            pipes: HashMap::new(),
            lines: HashMap::new(),
            listening: HashSet::new(),
        };
        for found in sockets.found.iter().filter(|found| found.inode != 0) {
            ends.sockets.insert(found.inode, found);
            let Kind::Inet(inet) = &found.kind else { continue };
            match found.state {
                State::Listens => {
                    ends.listening.insert((found.netns, inet.protocol, inet.local.1));
                }
                State::Connected => {
                    let line = (inet.protocol, inet.local, inet.remote);
                    ends.lines.entry(line).or_default().push((found.netns, found.inode));
                }
                State::Bound | State::Other => {}
            }
        }
        ends
    }

    /// Of whom it isn't known what they have open.
    pub(super) fn unread(&self) -> &Unread {
        &self.open.unread
    }

    /// A socket, as a table shows it.
    pub(super) fn socket(&self, inode: u64) -> Option<&'a Found> {
        self.sockets.get(&inode).copied()
    }

    /// Whether the other end began a connection: it came to a port on which somebody here listens.
    pub(super) fn came(&self, found: &Found, inet: &Inet) -> bool {
        self.listening.contains(&(found.netns, inet.protocol, inet.local.1))
    }

    /// Who can write what is read here, and read what is written.
    pub(super) fn of_pipe(&mut self, own: Holder, inode: u64) -> Vec<Holder> {
        let (look, open) = (self.look, self.open);
        // Asked once: thousands may share a pipe.
        let all = self.pipes.entry(inode).or_insert_with(|| {
            let holders = open.pipes.get(&inode).map(Vec::as_slice).unwrap_or_default();
            let of = |holder: &Holder| Some((*holder, look.reader.access(holder.pid, holder.descriptor)?));
            holders.iter().take(LOOKED_AT_MOST).filter_map(of).collect()
        });
        let known = all.iter().find(|(holder, _)| *holder == own).map(|(_, access)| *access);
        let access = known.or_else(|| look.reader.access(own.pid, own.descriptor));
        let (reads, writes) = access.unwrap_or((true, true));
        let others = all.iter().filter(|(holder, (r, w))| *holder != own && (*r && writes || *w && reads));
        others.map(|(holder, _)| *holder).take(MOST * 2).collect()
    }

    /// Who has the other end of a socket, if it is on this host.
    pub(super) fn of_socket(&self, found: &Found) -> Vec<Holder> {
        let inodes: Vec<u64> = match &found.kind {
            Kind::Unix { peer, .. } if *peer != 0 => vec![*peer],
            Kind::Inet(inet) if found.state == State::Connected => self.across(found, inet),
            _ => Vec::new(),
        };
        let holders = inodes.iter().filter_map(|inode| self.open.sockets.get(inode));
        // Thousands may share it, by thousands of descriptors.
        holders.flatten().take(LOOKED_AT_MOST).copied().collect()
    }

    /// The sockets at the other end of a connection. Of another namespace only if there is but one: several can have the
    /// same addresses.
    fn across(&self, found: &Found, inet: &Inet) -> Vec<u64> {
        let line = (inet.protocol, inet.remote, inet.local);
        let all = self.lines.get(&line).map(Vec::as_slice).unwrap_or_default();
        let here: Vec<u64> =
            all.iter().filter(|(netns, _)| *netns == found.netns).map(|(_, inode)| *inode).collect();
        match all {
            [(_, inode)] if here.is_empty() && !inet.local.0.is_loopback() => vec![*inode],
            _ => here,
        }
    }

    /// The processes, each once.
    pub(super) fn records(&self, holders: &[Holder]) -> Vec<Record> {
        let mut seen = HashSet::new();
        let once = holders.iter().filter(|holder| seen.insert(holder.pid)).take(MOST);
        let record = |holder: &Holder| {
            let mut record = Record::new();
            record.set(Field::PeerPid, holder.pid);
            record.set(Field::PeerDescriptor, holder.descriptor);
            let process = self.look.table.at(holder.pid);
            if let Some(path) = process.and_then(|process| process.image.executable.clone()) {
                record.set(Field::PeerExecutable, path);
            }
            if let Some(name) = process.and_then(|process| process.name.clone()) {
                record.set(Field::PeerName, name);
            }
            record
        };
        once.map(record).collect()
    }
}
