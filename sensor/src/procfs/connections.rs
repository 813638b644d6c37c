//! Connected sockets of all network namespaces, by their inode, and who holds them.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::{descriptors::numbered, folder::Folder};

/// Most bytes of one table of sockets.
const MOST_TABLE: u64 = 32 * 1024 * 1024;
/// Most network namespaces, connections, and descriptors of all processes together.
const MOST_NAMESPACES: usize = 1024;
const MOST_CONNECTIONS: usize = 262_144;
const MOST_DESCRIPTORS: usize = 262_144;
/// Tables of a namespace; the second of each pair is of IPv6 and may be absent.
const TABLES: [&str; 4] = ["net/tcp", "net/tcp6", "net/udp", "net/udp6"];
/// The state of a connection that nobody holds any more (`include/net/tcp_states.h`).
const TIME_WAIT: &str = "06";

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The one here.
    pub own: SocketAddr,
    /// The other.
    pub remote: SocketAddr,
}

/// All connections that were seen.
#[derive(Debug, Default)]
pub struct Connections {
    /// By inode of the socket.
    ends: HashMap<u64, Ends>,
    held: HashSet<u64>,
    namespaces: HashSet<Vec<u8>>,
    descriptors: usize,
    /// There were more than are read.
    pub truncated: bool,
}

impl Connections {
    /// How many connections a process has, if its descriptors may be read and aren't too many.
    pub(super) fn held_by(&mut self, folder: &Folder) -> Option<u64> {
        self.learn(folder);
        let found: HashSet<u64> = self.descriptors(folder)?.into_iter().map(|(_, inode)| inode).collect();
        let count = found.len() as u64;
        self.held.extend(found);
        Some(count)
    }

    /// The connection of a process that has the lowest descriptor: of one that serves a single connection, as sshd does,
    /// that one, whatever it forwards beside.
    pub(super) fn first_held_by(&mut self, folder: &Folder) -> Option<Ends> {
        self.learn(folder);
        let (_, inode) = self.descriptors(folder)?.into_iter().min()?;
        self.ends.get(&inode).copied()
    }

    /// The descriptors of a process that are connections, and the inode of each.
    fn descriptors(&mut self, folder: &Folder) -> Option<Vec<(u32, u64)>> {
        let mut list = folder.list("fd")?;
        let mut found = Vec::new();
        for entry in list.iter() {
            let entry = entry.ok()?;
            let name = entry.file_name().to_str().unwrap_or("");
            let Ok(descriptor) = name.parse() else { continue };
            self.descriptors += 1;
            if self.descriptors > MOST_DESCRIPTORS {
                self.truncated = true;
                return None;
            }
            let inode = folder.link(&format!("fd/{name}")).as_deref().and_then(socket);
            found
                .extend(inode.filter(|inode| self.ends.contains_key(inode)).map(|inode| (descriptor, inode)));
        }
        Some(found)
    }

    /// Those that no process that could be read holds.
    #[must_use]
    pub fn unheld(&self) -> u64 {
        self.ends.keys().filter(|inode| !self.held.contains(inode)).count() as u64
    }

    /// How many lead to each address.
    #[must_use]
    pub fn by_remote(&self) -> HashMap<IpAddr, u64> {
        let mut counts = HashMap::new();
        for ends in self.ends.values() {
            *counts.entry(ends.remote.ip()).or_insert(0) += 1;
        }
        counts
    }

    /// Reads the tables of a process's network namespace, unless they are known.
    fn learn(&mut self, folder: &Folder) {
        let Some(namespace) = folder.link("ns/net") else { return };
        if self.namespaces.contains(&namespace) {
            return;
        }
        if self.namespaces.len() >= MOST_NAMESPACES {
            self.truncated = true;
            return;
        }
        self.namespaces.insert(namespace);
        for table in TABLES {
            let Some((bytes, more)) = folder.read(table, MOST_TABLE) else { continue };
            self.truncated |= more;
            for (inode, ends) in bytes.split(|byte| *byte == b'\n').filter_map(connection) {
                if self.ends.len() >= MOST_CONNECTIONS {
                    self.truncated = true;
                    return;
                }
                self.ends.insert(inode, ends);
            }
        }
    }
}

/// The inode of `socket:[123]`.
fn socket(link: &[u8]) -> Option<u64> {
    link.starts_with(b"socket:[").then(|| numbered(link))?
}

/// A line of a table: number, own address, other address, state, …, inode as the tenth.
fn connection(line: &[u8]) -> Option<(u64, Ends)> {
    let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (own, remote) = (end(fields.nth(1)?)?, end(fields.next()?)?);
    let state = fields.next()?;
    let inode: u64 = fields.nth(5)?.parse().ok()?;
    let connected = !remote.ip().is_unspecified() && remote.port() != 0 && state != TIME_WAIT && inode != 0;
    connected.then_some((inode, Ends { own, remote }))
}

/// An address and, after a colon, a port, in hexadecimal.
fn end(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    Some(SocketAddr::new(words(ip)?, u16::from_str_radix(port, 16).ok()?))
}

/// Words of 32 bits in hexadecimal, each in the host's order.
pub(super) fn words(text: &str) -> Option<IpAddr> {
    let word = |at: usize| -> Option<[u8; 4]> {
        Some(u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_the_tables() {
        let line = |remote: &str, state: &str, inode: u64| {
            let line = format!(
                "  1: 0100007F:1F90 {remote} {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1"
            );
            connection(line.as_bytes())
        };
        let to = |inode, remote: &str| {
            let own = "127.0.0.1:8080".parse().unwrap();
            Some((inode, Ends { own, remote: remote.parse().unwrap() }))
        };
        assert_eq!(line("0100007F:0050", "01", 5), to(5, "127.0.0.1:80"));
        assert_eq!(line("0000000000000000FFFF00000100007F:0050", "01", 6), to(6, "127.0.0.1:80"));
        assert_eq!(line("00000000000000000000000001000000:0050", "08", 7), to(7, "[::1]:80"));
        for none in [line("00000000:0000", "0A", 8), line("0100007F:0050", "06", 9), line("é:1", "01", 9)] {
            assert_eq!(none, None);
        }
        assert_eq!(connection(b"  sl  local_address rem_address   st"), None);
        assert_eq!(socket(b"socket:[12]"), Some(12));
        assert_eq!(socket(b"pipe:[12]"), None);
    }
}
