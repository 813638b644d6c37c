//! The sockets of all network namespaces at this moment, with what leads to each namespace and what its firewall does.
//!
//! A thread of its own enters each namespace, as only a thread can do that, and asks by sock_diag; what a kernel has no
//! table of there is read from /proc, or asked of the socket itself.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    os::unix::fs::MetadataExt,
    thread,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};

use super::{
    Look,
    open::{Holder, Open},
};
use crate::{
    net::{found::Found, live::Live},
    netfilter::Firewall,
    procfs::{
        Reader,
        namespaces::{Kept, NetworkNamespaces},
    },
    rtnetlink::{AddressError, Asker},
    sockdiag::{self, DiagError, FAMILIES, Family, Scope, held::Held},
};

pub mod told;
pub mod traffic;

/// Most sockets, in no table, that are asked themselves what they are.
const ASKED_MOST: usize = 8192;
/// How often addresses are asked for that don't come in time.
const ADDRESS_TRIES: u32 = 4;
/// Most namespaces that are named among the parts.
const NAMED_MOST: usize = 8;

/// A network namespace.
#[derive(Debug)]
pub struct Network {
    /// What keeps it.
    pub kept: Kept,
    /// The addresses that lead there, where they are known.
    pub live: Option<Live>,
    /// Its firewall, where that may be read.
    pub firewall: Option<Firewall>,
    /// How many instructions filter its packet sockets, by inode, as far as the kernel tells.
    pub filters: HashMap<u64, u32>,
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Sockets {
    /// The sockets.
    pub found: Vec<Found>,
    /// The namespaces, by inode number.
    pub networks: BTreeMap<u32, Network>,
    /// What couldn't be looked at, a sentence each.
    pub parts: Vec<String>,
    unentered: Vec<String>,
    absent: HashSet<&'static str>,
}

/// What a thread brings from a namespace.
#[derive(Default)]
struct Told {
    found: Vec<Found>,
    firewall: Option<Firewall>,
    filters: HashMap<u64, u32>,
    /// Tables that couldn't be had, and why.
    missing: Vec<(Family, DiagError)>,
    parts: Vec<String>,
}

impl Sockets {
    /// Looks at all.
    #[must_use]
    pub fn at(look: &Look, open: &Open, scope: Scope) -> Self {
        let mut sockets = Self::default();
        let own = look.reader.network_namespace(None).map_or(0, |(inode, _)| inode);
        let spaces = open.networks(look);
        if spaces.truncated {
            sockets.parts.push("network namespaces: there are more than are looked at".to_owned());
        }
        if spaces.unknown != 0 {
            let unknown = spaces.unknown;
            sockets.parts.push(format!(
                "in which network namespaces {unknown} processes live, so that others than were found may be missing; run it as root"
            ));
        }
        sockets.visit_all(look, spaces, own, scope);
        sockets.ask_the_rest(look, open, own, scope);
        sockets.tell_unentered();
        // The kernel's list for netlink has those twice that have joined groups.
        let mut seen = HashSet::new();
        sockets.found.retain(|socket| socket.inode == 0 || seen.insert(socket.inode));
        sockdiag::without_doubles(&mut sockets.found);
        sockets
    }

    fn visit_all(&mut self, look: &Look, spaces: NetworkNamespaces, own: u32, scope: Scope) {
        let asker = Asker::default();
        for (inode, space) in spaces.all {
            let told = match &space.handle {
                // Nobody has to enter where they are.
                _ if inode == own => visit(&look.reader, inode, None, scope),
                Ok(file) => visit(&look.reader, inode, Some(file), scope),
                Err(why) => Err(Closed::Kept(why.clone())),
            };
            match told {
                Ok(told) => {
                    let file = space.handle.ok().filter(|_| inode != own);
                    self.learn(&asker, inode, space.kept, file.as_ref(), scope);
                    self.take(inode, told);
                }
                Err(Closed::Gone) => {}
                Err(Closed::Kept(why)) => self.read_from_outside(&look.reader, inode, space.kept, &why),
            }
        }
    }

    /// What leads to a namespace; only who asks who hears wants to know.
    fn learn(&mut self, asker: &Asker, inode: u32, kept: Kept, space: Option<&File>, scope: Scope) {
        let live = (scope == Scope::Hearing).then(|| addresses(asker, space));
        let live = live.and_then(|live| {
            live.map_err(|why| self.parts.push(format!("the addresses of network namespace {inode}: {why}")))
                .ok()
        });
        let network = Network { kept, live, firewall: None, filters: HashMap::new() };
        self.networks.insert(inode, network);
    }

    fn take(&mut self, inode: u32, told: Told) {
        self.found.extend(told.found);
        self.parts.extend(told.parts);
        for (family, why) in told.missing {
            match why {
                // Not there in this namespace is not there in any.
                DiagError::Absent => drop(self.absent.insert(family.name())),
                why => self
                    .parts
                    .push(format!("sockets of {} in network namespace {inode}: {why}", family.name())),
            }
        }
        if let Some(network) = self.networks.get_mut(&inode) {
            (network.firewall, network.filters) = (told.firewall, told.filters);
        }
    }

    /// By the tables in /proc of a process that lives there.
    fn read_from_outside(&mut self, reader: &Reader, inode: u32, kept: Kept, why: &str) {
        let mut any = false;
        if let Kept::Process(pid) = kept {
            for family in FAMILIES {
                let table = family.table();
                let found = table.and_then(|table| reader.network_table(&pid.to_string(), table, inode));
                any |= found.is_some();
                self.found.extend(found.unwrap_or_default());
            }
        }
        let network = Network { kept, live: None, firewall: None, filters: HashMap::new() };
        self.networks.insert(inode, network);
        self.unentered.push(match any {
            true => format!("{inode} (by what /proc shows of it, without its addresses and firewall; {why})"),
            false => format!("{inode} ({why})"),
        });
    }

    /// Sockets that no table had: of a namespace that nothing but they keep, or of a sort without a table.
    fn ask_the_rest(&mut self, look: &Look, open: &Open, own: u32, scope: Scope) {
        let known: HashSet<u64> = self.found.iter().map(|socket| socket.inode).collect();
        let rest = open.sockets.iter().filter(|(inode, _)| !known.contains(inode));
        let asker = Asker::default();
        let mut asked: Vec<(u64, Holder)> =
            rest.filter_map(|(inode, holders)| Some((*inode, *holders.first()?))).collect();
        asked.sort_unstable();
        for (inode, holder) in asked.into_iter().take(ASKED_MOST) {
            let Ok(held) = Held::borrow(holder.pid, holder.descriptor, inode) else { continue };
            let space = held.namespace().ok();
            let number = space.as_ref().and_then(|space| space.metadata().ok());
            let number = number.and_then(|facts| u32::try_from(facts.ino()).ok());
            if let (Some(number), Some(space)) = (number, space)
                && !self.networks.contains_key(&number)
                && let Ok(told) = visit(&look.reader, number, Some(&space), scope)
            {
                self.learn(&asker, number, Kept::Socket(holder.pid), Some(&space), scope);
                self.take(number, told);
            }
            self.found.extend(held.vsock(inode, number.unwrap_or(own)));
        }
    }

    fn tell_unentered(&mut self) {
        if self.unentered.is_empty() {
            return;
        }
        let named: Vec<&str> = self.unentered.iter().take(NAMED_MOST).map(String::as_str).collect();
        let more = self.unentered.len().saturating_sub(NAMED_MOST);
        let more = if more == 0 { String::new() } else { format!(", and {more} more") };
        self.parts.push(format!(
            "{} network namespaces: {}{more}; run it as root",
            self.unentered.len(),
            named.join(", ")
        ));
    }

    /// Whether the kernel has no table of these sockets by sock_diag.
    #[must_use]
    pub fn has_no_table(&self, family: Family) -> bool {
        self.absent.contains(family.name())
    }
}

/// The addresses of a namespace, of ours where none is given. The kernel doesn't answer while somebody else changes
/// interfaces, so it is asked more than once.
fn addresses(asker: &Asker, space: Option<&File>) -> Result<Live, String> {
    let mut tries = ADDRESS_TRIES;
    loop {
        let space = space.map(File::try_clone).transpose().map_err(|error| error.to_string())?;
        tries -= 1;
        match asker.ask(space) {
            Err(AddressError::Late) if tries > 0 => {}
            other => return other.map_err(|error| error.to_string()),
        }
    }
}

/// Why a namespace can't be asked.
enum Closed {
    /// Who was in it has ended.
    Gone,
    /// For this reason.
    Kept(String),
}

/// Asks in a namespace, on a thread of its own.
fn visit(reader: &Reader, inode: u32, space: Option<&File>, scope: Scope) -> Result<Told, Closed> {
    thread::scope(|threads| {
        let there = || {
            match space.map_or(Ok(()), |file| setns(file, CloneFlags::CLONE_NEWNET)) {
                Ok(()) => {}
                Err(Errno::ESRCH) => return Err(Closed::Gone),
                Err(errno) => return Err(Closed::Kept(format!("entering it: {errno}"))),
            }
            // Whoever showed the way may have gone elsewhere.
            match reader.namespace_of_thread() {
                Some(here) if here != inode => Err(Closed::Gone),
                None if space.is_some() => Err(Closed::Kept("/proc doesn't show where that led".to_owned())),
                _ => ask_here(reader, inode, scope).map_err(Closed::Kept),
            }
        };
        let thread = thread::Builder::new().name("namespace".to_owned()).spawn_scoped(threads, there);
        let thread = thread.map_err(|error| Closed::Kept(format!("starting a thread: {error}")))?;
        let ended = || Err(Closed::Kept("the thread that asks ended".to_owned()));
        thread.join().unwrap_or_else(|_| ended())
    })
}

/// Asks in the running thread's namespace.
fn ask_here(reader: &Reader, inode: u32, scope: Scope) -> Result<Told, String> {
    let mut line = sockdiag::line().map_err(|error| error.to_string())?;
    let mut told = Told::default();
    for family in FAMILIES {
        let table = || reader.network_table("thread-self", family.table()?, inode);
        match sockdiag::ask(&mut line, family, scope, inode) {
            Ok(found) => told.found.extend(found),
            Err(why) => {
                let found = table();
                if found.is_none() || matches!(why, DiagError::Absent) {
                    told.missing.push((family, why));
                }
                told.found.extend(found.unwrap_or_default());
            }
        }
    }
    if scope == Scope::Hearing {
        told.filters = sockdiag::packet_filters(&mut line).unwrap_or_default().into_iter().collect();
        match Firewall::read(reader.has_older_firewall("thread-self")) {
            Ok(firewall) => told.firewall = Some(firewall),
            Err(error) => {
                told.parts.push(format!("the firewall of network namespace {inode}: {error}"));
            }
        }
    }
    Ok(told)
}
