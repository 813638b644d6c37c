//! Sockets by the tables of /proc (`proc_pid_net(5)`), where the kernel can't be asked by sock_diag: those of raw
//! sockets without its module, and those of a namespace that may not be entered.

use std::net::{IpAddr, Ipv4Addr};

use super::{Reader, connections::words, folder::Folder};
use crate::net::found::{Found, Inet, Kind, State};

/// Most bytes of a table that are read.
const MOST: u64 = 64 * 1024 * 1024;
/// Tables of the older firewall that can drop what comes in.
const OLDER: [&[u8]; 4] = [b"filter", b"mangle", b"raw", b"security"];
/// A state of sockets of the host (`include/uapi/linux/net.h`).
const SS_CONNECTED: u64 = 3;
/// `__SO_ACCEPTCON`.
const ACCEPTS: u64 = 0x10000;

/// What the name of a table says of the sockets in it.
#[derive(Clone, Copy)]
struct Of {
    protocol: u16,
    raw: bool,
    v6: bool,
}

impl Reader {
    /// A table of the network namespace of a process, or of the running thread (`thread-self`); `netns`: its number. None
    /// when there is no such table, or it is too long.
    #[must_use]
    pub fn network_table(&self, process: &str, table: &str, netns: u32) -> Option<Vec<Found>> {
        let folder = Folder::open(&self.root.join(process))?;
        let (bytes, more) = folder.read(&format!("net/{table}"), MOST)?;
        (!more).then(|| rows(table, &bytes, netns))
    }

    /// Whether the kernel knows a protocol by this name.
    #[must_use]
    pub fn has_protocol(&self, name: &[u8]) -> bool {
        let folder = Folder::open(&self.root.join("self"));
        let list = folder.and_then(|folder| folder.text("net/protocols")).unwrap_or_default();
        list.split(|byte| *byte == b'\n').any(|line| line.split(|byte| *byte == b' ').next() == Some(name))
    }

    /// Whether the network namespace of a process, or of the running thread, has tables of the older firewall
    /// (`iptables-legacy`) by which packets can be kept out; only root is told.
    #[must_use]
    pub fn has_older_firewall(&self, process: &str) -> bool {
        let Some(folder) = Folder::open(&self.root.join(process)) else { return false };
        ["net/ip_tables_names", "net/ip6_tables_names"].iter().any(|list| {
            let names = folder.text(list).unwrap_or_default();
            names.split(|byte| *byte == b'\n').any(|name| OLDER.contains(&name))
        })
    }
}

/// The sockets in a table.
fn rows(table: &str, bytes: &[u8], netns: u32) -> Vec<Found> {
    let of = |protocol, raw, v6| Of { protocol, raw, v6 };
    let parse: &dyn Fn(&[u8]) -> Option<Found> = match table {
        "tcp" => &|line| inet(line, of(6, false, false), netns),
        "tcp6" => &|line| inet(line, of(6, false, true), netns),
        "udp" => &|line| inet(line, of(17, false, false), netns),
        "udp6" => &|line| inet(line, of(17, false, true), netns),
        "udplite" => &|line| inet(line, of(136, false, false), netns),
        "udplite6" => &|line| inet(line, of(136, false, true), netns),
        "raw" => &|line| inet(line, of(255, true, false), netns),
        "raw6" => &|line| inet(line, of(255, true, true), netns),
        "packet" => &|line| packet(line, netns),
        "unix" => &|line| unix(line, netns),
        "netlink" => &|line| netlink(line, netns),
        _ => return Vec::new(),
    };
    bytes.split(|byte| *byte == b'\n').filter_map(parse).collect()
}

/// Number, own address, other address, state, queues, timer, retransmits, user, timeout, inode.
fn inet(line: &[u8], of: Of, netns: u32) -> Option<Found> {
    let fields: Vec<&str> = std::str::from_utf8(line).ok()?.split_ascii_whitespace().collect();
    let end = |at: usize| {
        let (ip, port) = fields.get(at)?.split_once(':')?;
        Some((words(ip)?, u16::from_str_radix(port, 16).ok()?))
    };
    let state = u8::from_str_radix(fields.get(3)?, 16).ok()?;
    let (mut local, mut remote) = (end(1)?, end(2)?);
    // Of raw sockets the protocol stands in the place of the port.
    let protocol = if of.raw { local.1 } else { of.protocol };
    if of.raw {
        (local.1, remote.1) = (0, 0);
    }
    let unmapped = |ip: IpAddr| if of.v6 { ip } else { IpAddr::V4(v4(ip)) };
    (local.0, remote.0) = (unmapped(local.0), unmapped(remote.0));
    let state = State::of_inet(state, of.protocol == 6, of.raw || local.1 != 0);
    let (raw, v6) = (of.raw, of.v6);
    let kind = Kind::Inet(Inet { protocol, raw, v6, v6only: None, local, remote, device: 0, traffic: None });
    let uid = fields.get(7).and_then(|uid| uid.parse().ok());
    Some(Found { inode: fields.get(9)?.parse().ok()?, cookie: 0, netns, uid, state, kind })
}

fn v4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// Pointer, references, type, protocol, interface, running, memory, user, inode.
fn packet(line: &[u8], netns: u32) -> Option<Found> {
    let fields: Vec<&str> = std::str::from_utf8(line).ok()?.split_ascii_whitespace().collect();
    let protocol = u16::from_str_radix(fields.get(3)?, 16).ok()?;
    Some(Found {
        inode: fields.get(8)?.parse().ok()?,
        cookie: 0,
        netns,
        uid: fields.get(7)?.parse().ok(),
        state: if protocol == 0 { State::Other } else { State::Bound },
        kind: Kind::Packet { protocol, device: fields.get(4)?.parse().ok()? },
    })
}

/// Pointer, references, protocol, flags, type, state, inode, name, which ends the line and may hold anything.
fn unix(line: &[u8], netns: u32) -> Option<Found> {
    let mut rest = line;
    let mut fields = Vec::new();
    while fields.len() < 7 {
        let start = rest.iter().position(|byte| *byte != b' ')?;
        rest = rest.get(start..)?;
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        fields.push(std::str::from_utf8(rest.get(..end)?).ok()?);
        rest = rest.get(end..)?;
    }
    let hex = |at: usize| u64::from_str_radix(fields.get(at)?, 16).ok();
    let mut name = rest.strip_prefix(b" ").unwrap_or(rest).to_vec();
    // Abstract: the zero is shown so.
    if let Some(first) = name.first_mut().filter(|first| **first == b'@') {
        *first = 0;
    }
    let (flags, kind, state) = (hex(3)?, hex(4)?, hex(5)?);
    Some(Found {
        inode: fields.get(6)?.parse().ok()?,
        cookie: 0,
        netns,
        uid: None,
        state: match state {
            _ if flags & ACCEPTS != 0 => State::Listens,
            SS_CONNECTED => State::Connected,
            _ if !name.is_empty() => State::Bound,
            _ => State::Other,
        },
        kind: Kind::Unix { name, peer: 0, datagram: kind == 2 },
    })
}

/// Pointer, protocol, number, groups, memory, more memory, dump, locks, drops, inode.
fn netlink(line: &[u8], netns: u32) -> Option<Found> {
    let fields: Vec<&str> = std::str::from_utf8(line).ok()?.split_ascii_whitespace().collect();
    let port = fields.get(2)?.parse().ok()?;
    Some(Found {
        inode: fields.get(9)?.parse().ok()?,
        cookie: 0,
        netns,
        uid: None,
        state: if port == 0 { State::Other } else { State::Bound },
        kind: Kind::Netlink {
            protocol: fields.get(1)?.parse().ok()?,
            port,
            groups: u32::from_str_radix(fields.get(3)?, 16).ok()? != 0,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(table: &str, line: &str) -> Found {
        let all = rows(table, format!("  sl  local_address rem_address st\n{line}\n").as_bytes(), 9);
        let [one] = all.as_slice() else { panic!("{table}: {all:?}") };
        one.clone()
    }

    #[test]
    fn lines_are_understood() {
        let zero = "00000000:00000000 00:00000000 00000000";
        let tcp =
            one("tcp", &format!("   0: 0100007F:1F90 00000000:0000 0A {zero}  1000  0 55 1 0 100 0 0 10 0"));
        let Kind::Inet(inet) = tcp.kind else { panic!("{tcp:?}") };
        assert_eq!((inet.local, tcp.state), (("127.0.0.1".parse().unwrap(), 8080), State::Listens));
        assert_eq!((tcp.inode, tcp.uid, tcp.netns), (55, Some(1000), 9));

        let any = "00000000000000000000000000000000";
        let raw = one("raw6", &format!("  58: {any}:003A {any}:0000 07 {zero} 0 0 77 2 0 0"));
        let Kind::Inet(inet) = raw.kind else { panic!("{raw:?}") };
        assert_eq!((inet.protocol, inet.local.1, inet.raw, raw.state), (58, 0, true, State::Bound));
        assert!(inet.v6 && inet.local.0.is_ipv6());

        let packet = one("packet", "ffff8880 3      3    0003   2     1 0      0      4711");
        assert_eq!(packet.kind, Kind::Packet { protocol: 3, device: 2 });
        assert_eq!((packet.inode, packet.state), (4711, State::Bound));

        let unix = one("unix", "00000000: 00000002 00000000 00010000 0001 01 22113 @a b\x1b");
        assert_eq!(unix.kind, Kind::Unix { name: b"\0a b\x1b".to_vec(), peer: 0, datagram: false });
        assert_eq!((unix.inode, unix.state), (22113, State::Listens));

        let netlink = one("netlink", "0000 9   4242 00000001 0 0 0 2 0 31");
        assert_eq!(netlink.kind, Kind::Netlink { protocol: 9, port: 4242, groups: true });
    }

    #[test]
    fn broken_lines_are_none() {
        for table in ["tcp", "tcp6", "raw", "packet", "unix", "netlink", "other"] {
            for line in
                ["", "x", "0: 1:1 2:2", "\u{e9}: \u{e9} \u{e9} \u{e9} 0 0 0 0 0 5", "a b c d e f g h i j k"]
            {
                assert!(rows(table, line.as_bytes(), 1).is_empty(), "{table}: {line}");
            }
        }
    }
}
