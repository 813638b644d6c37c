//! The network: what its addresses are and from where they can be reached; bytes and packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub mod found;
pub mod live;

/// From where an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exposure {
    /// From this host only.
    Loopback,
    /// From what is on the same link.
    LinkLocal,
    /// From networks that aren't part of the internet.
    Private,
    /// From the internet, as far as nothing stands between.
    Public,
    /// By every address that the host has.
    Wildcard,
}

impl Exposure {
    /// Of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// Its word in an event.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::LinkLocal => "link_local",
            Self::Private => "private",
            Self::Public => "public",
            Self::Wildcard => "wildcard",
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Exposure {
    match address.octets() {
        [0, 0, 0, 0] => Exposure::Wildcard,
        [127, ..] => Exposure::Loopback,
        // Link-local (RFC 3927), multicast on the link (RFC 5771), broadcast.
        [169, 254, ..] | [224, 0, 0, _] | [255, 255, 255, 255] => Exposure::LinkLocal,
        // RFC 1918, shared by carriers (RFC 6598), multicast of an organisation (RFC 2365).
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] | [239, ..] => Exposure::Private,
        _ => Exposure::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Exposure {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return of_v4(mapped);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Exposure::Wildcard,
        [0, 0, 0, 0, 0, 0, 0, 1] => Exposure::Loopback,
        // Multicast by its scope (RFC 4291, 2.7).
        [first @ 0xff00..=0xffff, ..] => match first & 15 {
            0 | 1 => Exposure::Loopback,
            2 => Exposure::LinkLocal,
            3..=8 => Exposure::Private,
            _ => Exposure::Public,
        },
        [0xfe80..=0xfebf, ..] => Exposure::LinkLocal,
        // Unique local (RFC 4193), and site-local, which came before.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Exposure::Private,
        _ => Exposure::Public,
    }
}

/// An address from 16 bytes; one of IPv4 that is mapped into IPv6 is what it is.
#[must_use]
pub fn address(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// The protocol's name, as in `network.transport`; none of one that isn't known by a name.
#[must_use]
pub fn transport(protocol: u16) -> Option<&'static str> {
    Some(match protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        58 => "ipv6-icmp",
        132 => "sctp",
        136 => "udplite",
        262 => "mptcp",
        _ => return None,
    })
}

/// IP bytes and packets, each with its headers from IP on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Sent, bytes.
    pub tx_bytes: u64,
    /// Sent, packets.
    pub tx_packets: u64,
    /// Received, bytes.
    pub rx_bytes: u64,
    /// Received, packets.
    pub rx_packets: u64,
}

impl Amount {
    /// In this order.
    #[must_use]
    pub fn of([tx_bytes, tx_packets, rx_bytes, rx_packets]: [u64; 4]) -> Self {
        Self { tx_bytes, tx_packets, rx_bytes, rx_packets }
    }

    /// Of each pair what `each` makes of it.
    #[must_use]
    pub fn with(self, other: Self, each: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            tx_bytes: each(self.tx_bytes, other.tx_bytes),
            tx_packets: each(self.tx_packets, other.tx_packets),
            rx_bytes: each(self.rx_bytes, other.rx_bytes),
            rx_packets: each(self.rx_packets, other.rx_packets),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::wrapping_add)
    }

    /// What came since an earlier reading; nothing where that says more.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// The larger of each.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        self.with(other, u64::max)
    }

    /// The smaller of each.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        self.with(other, u64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposure_is_that_of_the_address() {
        for (text, word) in [
            ("0.0.0.0", "wildcard"),
            ("::", "wildcard"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:0.0.0.0", "wildcard"),
            ("169.254.0.1", "link_local"),
            ("fe80::1", "link_local"),
            ("febf::1", "link_local"),
            ("224.0.0.251", "link_local"),
            ("ff02::fb", "link_local"),
            ("255.255.255.255", "link_local"),
            ("10.0.0.1", "private"),
            ("172.15.0.1", "public"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("172.32.0.1", "public"),
            ("192.168.1.1", "private"),
            ("192.169.0.1", "public"),
            ("100.64.0.1", "private"),
            ("100.128.0.1", "public"),
            ("fd00::1", "private"),
            ("fc00::1", "private"),
            ("fec0::1", "private"),
            ("fe00::1", "public"),
            ("239.1.1.1", "private"),
            ("224.0.1.1", "public"),
            ("ff01::1", "loopback"),
            ("ff05::2", "private"),
            ("ff0e::1", "public"),
            ("8.8.8.8", "public"),
            ("2001:4860::8888", "public"),
            ("::2", "public"),
        ] {
            assert_eq!(Exposure::of(text.parse().unwrap()).word(), word, "{text}");
        }
    }

    #[test]
    fn mapped_addresses_are_shown_as_what_they_are() {
        let mut bytes = [0; 16];
        assert_eq!(address(bytes).to_string(), "::");
        bytes[10..].copy_from_slice(&[255, 255, 192, 0, 2, 1]);
        assert_eq!(address(bytes).to_string(), "192.0.2.1");
    }
}
