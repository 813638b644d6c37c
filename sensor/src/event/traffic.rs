//! What a socket sent and received: bytes from the kernel's counters to meaning. No event by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sensor_common::wire::traffic;
use zerocopy::FromBytes;

use super::{Key, Malformed};
use crate::net::Amount;

/// `AF_INET6` (`include/linux/socket.h`).
const IPV6: u16 = 10;

/// Bytes of a row.
pub const SIZE: usize = size_of::<traffic::Traffic>();

/// One socket's traffic, as of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The kernel's number of the socket, over the whole boot.
    pub cookie: u64,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// As in `/etc/protocols`.
    pub protocol: u16,
    /// Its own address; a v4-mapped one is shown as the IPv4 address that it is.
    pub local: SocketAddr,
    /// The other's, when it is connected.
    pub remote: Option<SocketAddr>,
    /// Who sent its first packet; not known of TCP, and of a socket that first received.
    pub user: Option<Key>,
    /// All of it since its first packet, or since the sensor began.
    pub total: Amount,
    /// What had been told before.
    pub told: Amount,
    /// It is gone; this is the last of it.
    pub ended: bool,
}

impl Traffic {
    /// What is new in this reading.
    #[must_use]
    pub fn news(&self) -> Amount {
        self.total.since(self.told)
    }

    /// Joins two rows of one socket, in whatever order they came.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        let last = if other.ended { other } else { self };
        Self {
            total: self.total.most(other.total),
            told: self.told.least(other.told),
            ended: self.ended || other.ended,
            ..last
        }
    }
}

/// Understands one row.
///
/// # Errors
/// When it hasn't the size of one.
pub fn decode(row: &[u8]) -> Result<Traffic, Malformed> {
    let body = traffic::Traffic::read_from_bytes(row).map_err(|_| Malformed::Head(row.len()))?;
    let remote_port = u16::from_be(body.remote_port_be);
    Ok(Traffic {
        cookie: body.cookie,
        netns: body.netns,
        protocol: body.protocol,
        local: SocketAddr::new(address(body.family, body.local), body.local_port),
        remote: (remote_port != 0).then(|| SocketAddr::new(address(body.family, body.remote), remote_port)),
        user: (body.pid != 0).then_some(Key { pid: body.pid, start: body.start }),
        total: Amount::of(body.counters()),
        told: Amount::of(body.told),
        ended: body.flags & traffic::Traffic::ENDED != 0,
    })
}

/// The words are as in a packet, whatever the machine's order is.
fn address(family: u16, words: [u32; 4]) -> IpAddr {
    let mut octets = [0; 16];
    octets.iter_mut().zip(words.iter().flat_map(|word| word.to_ne_bytes())).for_each(|(to, byte)| *to = byte);
    if family == IPV6 {
        return Ipv6Addr::from(octets).to_canonical();
    }
    let [a, b, c, d, ..] = octets;
    Ipv4Addr::new(a, b, c, d).into()
}

/// What belongs to no socket that is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// How much.
    pub amount: Amount,
    /// How often the kernel had no memory for a socket's counters.
    pub refused: u64,
    /// How many sockets ended while the ring was full.
    pub full: u64,
}

/// Understands the kernel's row of what no socket's counters could take.
///
/// # Errors
/// When it hasn't the size of one.
pub fn decode_rest(row: &[u8]) -> Result<Rest, Malformed> {
    let body = traffic::Unaccounted::read_from_bytes(row).map_err(|_| Malformed::Head(row.len()))?;
    let amount = Amount::of([body.tx_bytes, body.tx_packets, body.rx_bytes, body.rx_packets]);
    Ok(Rest { amount, refused: body.refused, full: body.full })
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    fn words(octets: [u8; 16]) -> [u32; 4] {
        std::array::from_fn(|at| u32::from_ne_bytes(octets[at * 4..at * 4 + 4].try_into().unwrap()))
    }

    fn row() -> traffic::Traffic {
        traffic::Traffic {
            tx_bytes: 1000,
            tx_packets: 10,
            rx_bytes: 2000,
            rx_packets: 20,
            told: [400, 4, 500, 5],
            flags: traffic::Traffic::ENDED,
            pid: 7,
            start: 9,
            cookie: 11,
            local: words([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            remote: words([10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            local_port: 5000,
            remote_port_be: 443_u16.to_be(),
            family: 2,
            protocol: 6,
            netns: 13,
            reserved: 0,
        }
    }

    #[test]
    fn a_row_is_understood() {
        let traffic = decode(row().as_bytes()).unwrap();
        assert_eq!(traffic.local, "127.0.0.1:5000".parse().unwrap());
        assert_eq!(traffic.remote, Some("10.1.2.3:443".parse().unwrap()));
        assert_eq!(traffic.user, Some(Key { pid: 7, start: 9 }));
        assert_eq!((traffic.cookie, traffic.netns, traffic.protocol, traffic.ended), (11, 13, 6, true));
        assert_eq!(traffic.total, Amount { tx_bytes: 1000, tx_packets: 10, rx_bytes: 2000, rx_packets: 20 });
        assert_eq!(traffic.news(), Amount { tx_bytes: 600, tx_packets: 6, rx_bytes: 1500, rx_packets: 15 });
    }

    #[test]
    fn addresses_are_what_they_are() {
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        let wide = traffic::Traffic { family: 10, local: words(mapped), remote_port_be: 0, pid: 0, ..row() };
        let traffic = decode(wide.as_bytes()).unwrap();
        assert_eq!(traffic.local, "192.0.2.1:5000".parse().unwrap());
        assert_eq!((traffic.remote, traffic.user), (None, None));
        let loopback = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let wide = traffic::Traffic { family: 10, remote: words(loopback), ..row() };
        assert_eq!(decode(wide.as_bytes()).unwrap().remote, Some("[::1]:443".parse().unwrap()));
    }

    #[test]
    fn any_bytes_are_a_row_or_none() {
        let whole = row();
        for len in 0..whole.as_bytes().len() {
            assert!(decode(&whole.as_bytes()[..len]).is_err());
        }
        assert!(decode(&[whole.as_bytes(), &[0]].concat()).is_err());
        let wild = decode(&[0xff; size_of::<traffic::Traffic>()]).unwrap();
        assert_eq!(wild.news(), Amount::default());
        let rest = [0xff; size_of::<traffic::Unaccounted>()];
        assert!(decode_rest(&rest[1..]).is_err());
        assert_eq!(decode_rest(&rest).unwrap().refused, u64::MAX);
    }

    #[test]
    fn rows_of_one_socket_are_joined_in_any_order() {
        let last = decode(row().as_bytes()).unwrap();
        let early =
            traffic::Traffic { tx_bytes: 700, flags: 0, remote_port_be: 0, told: [100, 1, 0, 0], ..row() };
        let early = decode(early.as_bytes()).unwrap();
        for joined in [early.joined(last), last.joined(early)] {
            assert_eq!((joined.total.tx_bytes, joined.told.tx_bytes), (1000, 100));
            assert!(joined.ended);
            assert_eq!(joined.remote, last.remote);
        }
    }
}
