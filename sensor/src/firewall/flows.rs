//! Connections that a new rule doesn't allow any more: ended, so that nobody goes on with what was begun before.
//!
//! Sockets end by `SOCK_DESTROY` in this network namespace, and in those to which connections are forwarded; the kernel
//! also forgets what its filter knew of them.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fs::File,
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};

use super::rule::{Connection, Rule, Scope};
use crate::{
    conntrack::{self, Direction, Flow},
    event::socket::attempt::{Answer, Question},
    net::found::{Found, Inet, Kind, State},
    netlink::{Line, NetlinkError},
    procfs::{Reader, namespaces::NetworkNamespaces},
    rtnetlink::route,
    sockdiag::{self, DiagError, Family, Scope as Which},
};

const TCP: u16 = 6;
const UDP: u16 = 17;
/// The tables with connections that can be ended.
const TABLES: [Family; 4] = [
    Family::Inet { v6: false, protocol: TCP },
    Family::Inet { v6: true, protocol: TCP },
    Family::Inet { v6: false, protocol: UDP },
    Family::Inet { v6: true, protocol: UDP },
];

/// `RTN_LOCAL` (`include/uapi/linux/rtnetlink.h`).
const LOCAL: u8 = 2;

/// How often it is looked whether the other sides were told, and how long is waited after each look.
const LOOKS: u32 = 30;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

const UNLISTED: &str = "connections that pass through this host, of which the kernel knows and which it can't list: \
    its part for that is missing (modprobe nf_conntrack_netlink)";

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Sockets that were ended.
    pub sockets: usize,
    /// Connections that the filter forgot.
    pub flows: usize,
    /// What couldn't be done, a sentence each.
    pub parts: Vec<String>,
}

/// The addresses of this network namespace: what only they have in common never leaves it.
#[derive(Default)]
struct Own(RefCell<HashMap<IpAddr, bool>>);

impl Own {
    /// Whether it is one of them: by the route to it, as binding to it is also allowed to others
    /// (`net.ipv4.ip_nonlocal_bind`).
    fn has(&self, address: IpAddr) -> bool {
        let local = |question| matches!(route::ask(&question, None), Some(Answer::Way(LOCAL)));
        let ask = || address.is_loopback() || address.is_unspecified() || local(Question::to(address));
        *self.0.borrow_mut().entry(address).or_insert_with(ask)
    }
}

/// All sockets of TCP and UDP of this network namespace.
///
/// # Errors
/// When they can't be had.
pub fn sockets(reader: &Reader) -> Result<Vec<Found>, DiagError> {
    let mut line = sockdiag::line()?;
    let netns = reader.namespace_of_thread().unwrap_or(0);
    let mut all = Vec::new();
    for family in TABLES {
        match sockdiag::ask(&mut line, family, Which::All, netns) {
            Ok(found) => all.extend(found),
            // A kernel without IPv6.
            Err(DiagError::Absent) if matches!(family, Family::Inet { v6: true, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// The sockets of this network namespace whose connections a rule forbids.
#[must_use]
pub fn forbidden<'a>(rule: &Rule, sockets: &'a [Found]) -> Vec<&'a Found> {
    let own = Own::default();
    sockets.iter().filter(|found| is_forbidden(rule, found, &own)).collect()
}

fn is_forbidden(rule: &Rule, found: &Found, own: &Own) -> bool {
    let Kind::Inet(inet) = &found.kind else { return false };
    let Some(connection) = connection(inet).filter(|_| found.state == State::Connected) else { return false };
    let within = match rule.scope {
        Scope::Close(port) => port.is(inet.protocol, inet.local.1),
        Scope::Isolate => true,
    };
    within && !rule.allows(&connection) && !own.has(connection.remote.ip())
}

/// One that has another end.
fn connection(inet: &Inet) -> Option<Connection> {
    let end = |(ip, port)| SocketAddr::new(ip, port);
    (inet.remote.1 != 0).then(|| Connection { local: end(inet.local), remote: end(inet.remote) })
}

/// Ends what a rule forbids.
#[must_use]
pub fn end(rule: &Rule, reader: &Reader) -> Ended {
    let mut ended = Ended::default();
    match sockets(reader) {
        Ok(sockets) => destroy(&forbidden(rule, &sockets), &mut ended),
        Err(error) => ended.parts.push(format!("connections of this host, which can't be listed: {error}")),
    }
    let listed = conntrack::line().and_then(|mut line| conntrack::all(&mut line).map(|all| (line, all)));
    let (mut line, mut flows) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            ended.parts.extend(unlisted(&error, reader.followed_connections()));
            return ended;
        }
    };
    let own = Own::default();
    flows.retain(|flow| forbids(rule, flow, &own));
    // The sockets first: the other side can still be told of their end.
    let before = ended.sockets;
    elsewhere(&flows, reader, &mut ended);
    if ended.sockets > before {
        told(&mut line, &flows);
    }
    for flow in &flows {
        match conntrack::forget(&mut line, flow) {
            Ok(()) => ended.flows += 1,
            Err(NetlinkError::Refused(Errno::ENOENT)) => {}
            Err(error) => {
                ended.parts.push(format!("connections that the kernel's filter doesn't forget: {error}"));
                break;
            }
        }
    }
    ended
}

/// What stays of connections that the kernel doesn't list, when it follows so many: nothing when there are none, as
/// without following them nothing is translated, and so nothing forwarded to a closed port.
fn unlisted(error: &NetlinkError, followed: u64) -> Option<String> {
    let absent = matches!(error, NetlinkError::Refused(Errno::EOPNOTSUPP | Errno::EINVAL));
    if followed == 0 && (absent || matches!(error, NetlinkError::Call { .. })) {
        return None;
    }
    let generic = || format!("connections that pass through this host, which can't be listed: {error}");
    Some(if absent { UNLISTED.to_owned() } else { generic() })
}

/// Waits a moment until what the ends of sockets told has passed: of a connection that is forgotten nothing is translated
/// back, and the other side would never hear of its end.
fn told(line: &mut Line, flows: &[Flow]) {
    let ours: HashSet<Direction> = flows.iter().map(|flow| flow.original).collect();
    let open = |flow: &Flow| u16::from(flow.protocol) == TCP && !flow.closed && ours.contains(&flow.original);
    for _ in 0..LOOKS {
        match conntrack::all(line) {
            Ok(now) if now.iter().any(open) => thread::sleep(BETWEEN_LOOKS),
            _ => return,
        }
    }
}

fn destroy(sockets: &[&Found], ended: &mut Ended) {
    let Ok(mut line) = sockdiag::line() else { return };
    for found in sockets {
        if !ended.note(sockdiag::destroy(&mut line, found)) {
            return;
        }
    }
}

impl Ended {
    /// What came of ending a socket; gives whether there is sense in going on.
    fn note(&mut self, result: Result<(), NetlinkError>) -> bool {
        let why = match result {
            Ok(()) => {
                self.sockets += 1;
                return true;
            }
            // It ended by itself.
            Err(NetlinkError::Refused(Errno::ENOENT)) => return true,
            Err(NetlinkError::Refused(Errno::EOPNOTSUPP)) => {
                "this kernel can't (CONFIG_INET_DIAG_DESTROY)".to_owned()
            }
            Err(other) => other.to_string(),
        };
        self.parts.push(format!("connections that are not ended, and get no packet any more: {why}"));
        false
    }
}

/// Whether a rule forbids a connection that the filter knows.
fn forbids(rule: &Rule, flow: &Flow, own: &Own) -> bool {
    let between = |remote, local| rule.allows(&Connection { local, remote });
    match rule.scope {
        Scope::Close(port) => {
            port.is(flow.protocol.into(), flow.original.destination.port())
                // What is for another host only passes by.
                && own.has(flow.original.destination.ip())
                && !between(flow.original.source, flow.original.destination)
        }
        Scope::Isolate => {
            let (from, to) = (flow.original.source, flow.original.destination);
            let allowed = between(from, to) || between(to, from);
            // Of one that is translated, by whom it really leads to.
            let behind = between(flow.reply.source, flow.reply.destination);
            let within = own.has(from.ip()) && own.has(to.ip());
            !(allowed || behind || within)
        }
    }
}

/// Ends the sockets of other network namespaces that forwarded connections lead to.
fn elsewhere(flows: &[Flow], reader: &Reader, ended: &mut Ended) {
    let ends: HashSet<(SocketAddr, SocketAddr)> = flows
        .iter()
        .flat_map(|flow| {
            [(flow.reply.source, flow.reply.destination), (flow.original.source, flow.original.destination)]
        })
        .collect();
    if ends.is_empty() {
        return;
    }
    let own = reader.namespace_of_thread();
    let pids = reader.listed().unwrap_or_default();
    let mut spaces = NetworkNamespaces::default();
    let pids: Vec<(u32, u32)> = pids.into_iter().map(|pid| (pid, 0)).collect();
    reader.namespaces_of_processes(&pids, &mut spaces);
    for (inode, space) in spaces.all {
        let Ok(file) = &space.handle else { continue };
        if Some(inode) != own {
            visit(file, &ends, reader, ended);
        }
    }
}

/// Only a thread can be in another namespace than its process.
fn visit(space: &File, ends: &HashSet<(SocketAddr, SocketAddr)>, reader: &Reader, ended: &mut Ended) {
    thread::scope(|threads| {
        let there = || {
            setns(space, CloneFlags::CLONE_NEWNET).ok()?;
            let mut ended = Ended::default();
            let sockets = sockets(reader).ok()?;
            let hit: Vec<&Found> = sockets.iter().filter(|found| is_one(found, ends)).collect();
            destroy(&hit, &mut ended);
            Some(ended)
        };
        let thread = thread::Builder::new().name("namespace".to_owned()).spawn_scoped(threads, there);
        // A namespace that goes meanwhile has taken its sockets along.
        if let Ok(Some(there)) = thread.map(|thread| thread.join().ok().flatten()) {
            ended.sockets += there.sockets;
            ended.parts.extend(there.parts);
        }
    });
}

fn is_one(found: &Found, ends: &HashSet<(SocketAddr, SocketAddr)>) -> bool {
    let Kind::Inet(inet) = &found.kind else { return false };
    let end = |(ip, port): (IpAddr, u16)| SocketAddr::new(ip.to_canonical(), port);
    found.state == State::Connected && ends.contains(&(end(inet.local), end(inet.remote)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_ends_no_sockets_is_told_once() {
        let mut ended = Ended::default();
        assert!(ended.note(Ok(())) && ended.note(Err(NetlinkError::Refused(Errno::ENOENT))));
        assert!(!ended.note(Err(NetlinkError::Refused(Errno::EOPNOTSUPP))));
        assert_eq!((ended.sockets, ended.parts.len()), (1, 1));
        assert!(ended.parts[0].contains("CONFIG_INET_DIAG_DESTROY"), "{:?}", ended.parts);
        let mut denied = Ended::default();
        assert!(!denied.note(Err(NetlinkError::Refused(Errno::EPERM))));
        assert!(!denied.parts[0].contains("CONFIG"), "{:?}", denied.parts);
    }

    #[test]
    fn connections_that_are_followed_and_not_listed_are_told() {
        let told = |error, followed| unlisted(&error, followed);
        let missing = || NetlinkError::Refused(Errno::EOPNOTSUPP);
        assert_eq!(told(missing(), 0), None);
        assert_eq!(told(NetlinkError::Refused(Errno::EINVAL), 1).as_deref(), Some(UNLISTED));
        assert_eq!(told(missing(), 1).as_deref(), Some(UNLISTED));
        let no_socket = || NetlinkError::Call { what: "opening it", source: Errno::EPROTONOSUPPORT };
        assert_eq!(told(no_socket(), 0), None);
        assert!(told(no_socket(), 1).is_some_and(|told| told.contains("opening it")));
        // What the kernel lists and we don't understand is told, however few there are.
        assert!(told(NetlinkError::Malformed, 0).is_some_and(|told| told.contains("malformed")));
    }
}
