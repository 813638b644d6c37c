//! A socket as the kernel's own tables show it, whichever of them it was.

use std::net::IpAddr;

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Inode number, by which descriptors name it; 0 where no file stands for it.
    pub inode: u64,
    /// The kernel's cookie; 0 where it wasn't told.
    pub cookie: u64,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Whose it is, by the kernel.
    pub uid: Option<u32>,
    /// What it does.
    pub state: State,
    /// What it is.
    pub kind: Kind,
}

/// What a socket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It listens.
    Listens,
    /// It is bound: of datagrams and packets, it hears.
    Bound,
    /// It has another end.
    Connected,
    /// None of these.
    Other,
}

/// States of TCP, which others borrow (`include/net/tcp_states.h`).
const ESTABLISHED: u8 = 1;
const SYN_RECEIVED: u8 = 3;
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;
const NEW_SYN_RECEIVED: u8 = 12;
/// Bound, and nothing else yet: told from Linux 6.8 on.
const BOUND_INACTIVE: u8 = 13;

impl State {
    /// Of a socket of IP by its state's number; `streams`: it makes connections, `ported`: it has a port or needs none.
    #[must_use]
    pub fn of_inet(state: u8, streams: bool, ported: bool) -> Self {
        match state {
            LISTEN if streams => Self::Listens,
            CLOSE | BOUND_INACTIVE if ported => Self::Bound,
            CLOSE | BOUND_INACTIVE | TIME_WAIT | SYN_RECEIVED | NEW_SYN_RECEIVED => Self::Other,
            ESTABLISHED => Self::Connected,
            _ if streams => Self::Connected,
            _ => Self::Other,
        }
    }

    /// Its word in a record.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Listens => "listening",
            Self::Bound => "bound",
            Self::Connected => "connected",
            Self::Other => "other",
        }
    }
}

/// What a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of IPv4 or IPv6.
    Inet(Inet),
    /// Of packets, as they are on the link.
    Packet {
        /// The protocol on the link, `ETH_P_ALL` for all; 0 for none.
        protocol: u16,
        /// Index of the interface, 0 for all.
        device: u32,
    },
    /// Of the host itself.
    Unix {
        /// Its name: an abstract one begins with a zero; empty for none.
        name: Vec<u8>,
        /// Inode of the socket at the other end, 0 for none.
        peer: u64,
        /// Of datagrams.
        datagram: bool,
    },
    /// To the kernel.
    Netlink {
        /// Which part of it.
        protocol: u16,
        /// The number that it is spoken to by.
        port: u32,
        /// It has joined groups that are told things.
        groups: bool,
    },
    /// Between a machine and its guests.
    Vsock {
        /// Its own number and port.
        local: (u32, u32),
        /// The other's.
        remote: (u32, u32),
    },
}

/// A socket of IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inet {
    /// The transport protocol's number.
    pub protocol: u16,
    /// It is a raw one, which has its protocol where others have their port.
    pub raw: bool,
    /// Of IPv6, whatever its addresses are.
    pub v6: bool,
    /// It takes no IPv4; none where that isn't told.
    pub v6only: Option<bool>,
    /// Its own address and port.
    pub local: (IpAddr, u16),
    /// The other's.
    pub remote: (IpAddr, u16),
    /// Index of the interface that it is bound to, 0 for none.
    pub device: u32,
    /// Bytes that were received, and that were sent and have arrived, where the kernel keeps count of them: TCP.
    pub traffic: Option<(u64, u64)>,
}

/// The protocols of netlink by name (`include/uapi/linux/netlink.h`).
#[must_use]
pub fn netlink(protocol: u16) -> Option<&'static str> {
    Some(match protocol {
        0 => "route",
        2 => "usersock",
        3 => "firewall",
        4 => "sock_diag",
        5 => "nflog",
        6 => "xfrm",
        7 => "selinux",
        8 => "iscsi",
        9 => "audit",
        10 => "fib_lookup",
        11 => "connector",
        12 => "netfilter",
        13 => "ip6_fw",
        14 => "dnrtmsg",
        15 => "kobject_uevent",
        16 => "generic",
        18 => "scsitransport",
        20 => "rdma",
        21 => "crypto",
        22 => "smc",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_their_meaning() {
        for (state, streams, ported, means) in [
            (LISTEN, true, true, State::Listens),
            (CLOSE, true, false, State::Other),
            (BOUND_INACTIVE, true, true, State::Bound),
            (2, true, true, State::Connected),
            (TIME_WAIT, true, true, State::Other),
            (ESTABLISHED, false, true, State::Connected),
            (CLOSE, false, true, State::Bound),
            (200, false, true, State::Other),
        ] {
            assert_eq!(State::of_inet(state, streams, ported), means, "{state} {streams} {ported}");
        }
    }
}
