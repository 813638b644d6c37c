//! By which connections the person who acts came here: they are let be, whatever a rule keeps out.
//!
//! A connection that one of the processes holds which led to this one; of several the one with the lowest descriptor, as
//! sshd has its own. What the environment says (`SSH_CONNECTION`) counts only if there is such a connection, since a
//! terminal that was left and taken up again is nobody's child.

use std::net::{IpAddr, SocketAddr};

use super::rule::Connection;
use crate::{
    net::found::{Found, Kind, State},
    procfs::{Reader, descriptors::Target, seen::Seen},
};

/// Most processes that are followed upwards.
const MOST: usize = 64;
const TCP: u16 = 6;
/// Majors of terminals of the host itself: virtual and serial ones, `/dev/hvc`.
const CONSOLES: [u32; 4] = [4, 5, 204, 229];

/// Where the person is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operator {
    /// The connections.
    pub connections: Vec<Connection>,
    /// At a terminal of the host itself.
    pub at_console: bool,
}

impl Operator {
    /// Looks for the one who acts; `sockets`: those of this network namespace; `hint`: what `SSH_CONNECTION` says.
    #[must_use]
    pub fn find(reader: &Reader, sockets: &[Found], hint: Option<&str>) -> Self {
        let above = ancestors(reader, std::process::id());
        let mut connections: Vec<Connection> =
            above.iter().filter_map(|seen| held(reader, seen.pid, sockets)).collect();
        let hinted = hint
            .and_then(hinted)
            .filter(|hinted| sockets.iter().filter_map(established).any(|there| same(&there, hinted)));
        connections.extend(hinted);
        connections.sort_unstable();
        connections.dedup();
        let at_console = above.first().is_some_and(|own| own.is_on_terminal_of(&CONSOLES));
        Self { connections, at_console }
    }
}

/// A process and those that led to it, up to the first.
fn ancestors(reader: &Reader, pid: u32) -> Vec<Seen> {
    let next = |seen: &Seen| reader.seen(seen.parent()).filter(|parent| parent.start <= seen.start);
    std::iter::successors(reader.seen(pid), next).take(MOST).collect()
}

/// The connection of a process that has the lowest descriptor.
fn held(reader: &Reader, pid: u32, sockets: &[Found]) -> Option<Connection> {
    reader.descriptors(pid).ok()?.into_iter().find_map(|descriptor| match descriptor.target {
        Target::Socket(inode) => sockets.iter().find(|found| found.inode == inode).and_then(established),
        _ => None,
    })
}

/// Both ends of a connection of TCP.
fn established(found: &Found) -> Option<Connection> {
    let Kind::Inet(inet) = &found.kind else { return None };
    let end = |(ip, port): (IpAddr, u16)| SocketAddr::new(ip.to_canonical(), port);
    let connected = found.state == State::Connected && inet.protocol == TCP && !inet.raw;
    connected.then(|| Connection { local: end(inet.local), remote: end(inet.remote) })
}

fn same(one: &Connection, other: &Connection) -> bool {
    (one.local, one.remote) == (other.local, other.remote)
}

/// `client-ip client-port server-ip server-port` (`ssh(1)`).
fn hinted(text: &str) -> Option<Connection> {
    let mut words = text.split(' ');
    let mut end = || {
        let address: IpAddr = words.next()?.split('%').next()?.parse().ok()?;
        Some(SocketAddr::new(address.to_canonical(), words.next()?.parse().ok()?))
    };
    let (remote, local) = (end()?, end()?);
    Some(Connection { local, remote })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_a_hint() {
        let read = hinted("192.0.2.7 50000 ::ffff:192.0.2.1 22").unwrap();
        assert_eq!(
            read,
            Connection { local: "192.0.2.1:22".parse().unwrap(), remote: "192.0.2.7:50000".parse().unwrap() }
        );
        assert!(hinted("fe80::1%eth0 5 fe80::2%eth0 22").is_some());
        for wrong in ["", "a b c d", "192.0.2.7 50000 192.0.2.1", "192.0.2.7 99999 192.0.2.1 22"] {
            assert_eq!(hinted(wrong), None, "{wrong}");
        }
        let reader = Reader::new("/proc".into());
        let found = Operator::find(&reader, &[], Some("192.0.2.7 50000 192.0.2.1 22"));
        assert_eq!(found.connections, [], "there is no such connection");
        assert!(ancestors(&reader, std::process::id()).len() > 1);
    }
}
