//! All sockets of a network namespace, as the kernel's own tables tell (`sock_diag(7)`): of the namespace that the
//! asking thread is in.

use nix::errno::Errno;

use crate::{
    net::found::{Found, Kind, State},
    netlink::{Line, NetlinkError, Protocol, message::Malformed},
};

pub mod held;
mod inet;
mod local;

/// `SOCK_DIAG_BY_FAMILY` (`include/uapi/linux/sock_diag.h`).
const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`.
const DESTROY: u16 = 21;
/// Most sockets of a namespace.
const MOST: usize = 1_048_576;

/// Which sockets are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that hear: they listen, or are bound and take from anybody.
    Hearing,
    /// All.
    All,
}

/// A table of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Of IPv4 or IPv6, of a transport protocol; `RAW` for all raw ones.
    Inet {
        /// Of IPv6.
        v6: bool,
        /// The protocol's number.
        protocol: u16,
    },
    /// Of packets.
    Packet,
    /// Of the host itself.
    Unix,
    /// To the kernel.
    Netlink,
    /// Between a machine and its guests.
    Vsock,
}

/// `IPPROTO_RAW`: stands for raw sockets of whichever protocol.
pub const RAW: u16 = 255;
/// `IPPROTO_TCP`.
pub const TCP: u16 = 6;
const UDP: u16 = 17;
const SCTP: u16 = 132;
const UDPLITE: u16 = 136;
/// `IPPROTO_MPTCP`.
pub const MPTCP: u16 = 262;

/// All tables that are asked for.
pub const FAMILIES: [Family; 16] = [
    Family::Inet { v6: false, protocol: TCP },
    Family::Inet { v6: true, protocol: TCP },
    Family::Inet { v6: false, protocol: UDP },
    Family::Inet { v6: true, protocol: UDP },
    Family::Inet { v6: false, protocol: RAW },
    Family::Inet { v6: true, protocol: RAW },
    Family::Inet { v6: false, protocol: SCTP },
    Family::Inet { v6: true, protocol: SCTP },
    Family::Inet { v6: false, protocol: UDPLITE },
    Family::Inet { v6: true, protocol: UDPLITE },
    Family::Inet { v6: false, protocol: MPTCP },
    Family::Inet { v6: true, protocol: MPTCP },
    Family::Packet,
    Family::Unix,
    Family::Netlink,
    Family::Vsock,
];

impl Family {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inet { protocol: RAW, .. } => "raw",
            Self::Inet { protocol, .. } => crate::net::transport(protocol).unwrap_or("ip"),
            Self::Packet => "packet",
            Self::Unix => "unix",
            Self::Netlink => "netlink",
            Self::Vsock => "vsock",
        }
    }

    /// Its file in the folder `net` of a process in /proc, where there is one in a form that says as much.
    #[must_use]
    pub fn table(self) -> Option<&'static str> {
        Some(match self {
            Self::Inet { v6: false, protocol: TCP } => "tcp",
            Self::Inet { v6: true, protocol: TCP } => "tcp6",
            Self::Inet { v6: false, protocol: UDP } => "udp",
            Self::Inet { v6: true, protocol: UDP } => "udp6",
            Self::Inet { v6: false, protocol: UDPLITE } => "udplite",
            Self::Inet { v6: true, protocol: UDPLITE } => "udplite6",
            Self::Inet { v6: false, protocol: RAW } => "raw",
            Self::Inet { v6: true, protocol: RAW } => "raw6",
            Self::Packet => "packet",
            Self::Unix => "unix",
            Self::Netlink => "netlink",
            Self::Inet { .. } | Self::Vsock => return None,
        })
    }

    fn question(self, scope: Scope) -> Vec<u8> {
        match self {
            Self::Inet { v6, protocol } => inet::question(v6, protocol, scope),
            Self::Packet => local::packet_question(),
            Self::Unix => local::unix_question(scope),
            Self::Netlink => local::netlink_question(),
            Self::Vsock => local::vsock_question(),
        }
    }

    fn decode(self, body: &[u8], netns: u32) -> Result<Found, Malformed> {
        match self {
            Self::Inet { protocol, .. } => inet::decode(body, netns, protocol),
            Self::Packet => local::packet(body, netns),
            Self::Unix => local::unix(body, netns),
            Self::Netlink => local::netlink(body, netns),
            Self::Vsock => local::vsock(body, netns),
        }
    }
}

/// Why a table isn't known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is in its message")]
pub enum DiagError {
    #[error("the kernel has no table of these sockets for sock_diag")]
    Absent,
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("there are more than {MOST} sockets")]
    TooMany,
}

/// The sockets of one table; `netns`: the number of the thread's namespace.
///
/// # Errors
/// When they can't be had.
pub fn ask(line: &mut Line, family: Family, scope: Scope, netns: u32) -> Result<Vec<Found>, DiagError> {
    let mut found = Vec::new();
    let mut wrong = None;
    let answer = line.dump(BY_FAMILY, &family.question(scope), |kind, body| {
        if kind != BY_FAMILY || found.len() > MOST {
            return;
        }
        match family.decode(body, netns) {
            Ok(socket) => found.push(socket),
            Err(malformed) => wrong = Some(malformed),
        }
    });
    match answer {
        Err(NetlinkError::Refused(Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP)) => {
            Err(DiagError::Absent)
        }
        Err(error) => Err(error.into()),
        Ok(_) if wrong.is_some() => Err(NetlinkError::Malformed.into()),
        Ok(_) if found.len() > MOST => Err(DiagError::TooMany),
        Ok(_) => Ok(found),
    }
}

/// Ends a socket of IPv4 or IPv6 in the kernel, whoever holds it: its other end is told, where that is usual.
///
/// # Errors
/// When the kernel can't (`CONFIG_INET_DIAG_DESTROY`) or may not, or the socket is gone.
pub fn destroy(line: &mut Line, found: &Found) -> Result<(), NetlinkError> {
    let Kind::Inet(inet) = &found.kind else { return Err(NetlinkError::Refused(Errno::EOPNOTSUPP)) };
    line.command(DESTROY, &inet::named(inet, found.cookie))
}

/// A line to ask by.
///
/// # Errors
/// When the kernel refuses.
pub fn line() -> Result<Line, NetlinkError> {
    Line::open(Protocol::NetlinkSockDiag)
}

/// The lengths of the programs that filter packet sockets, by inode, as far as the kernel tells: to who administers the
/// network, and of the classic sort. One that is too long for its answer ends the list.
///
/// # Errors
/// When the kernel refuses.
pub fn packet_filters(line: &mut Line) -> Result<Vec<(u64, u32)>, NetlinkError> {
    let mut filters = Vec::new();
    line.dump(BY_FAMILY, &local::packet_filter_question(), |kind, body| {
        if kind == BY_FAMILY {
            filters.extend(local::packet_filter(body).ok().flatten());
        }
    })?;
    Ok(filters)
}

/// The one listener that there is of two tables: of MPTCP, that by which its connections begin is also one of TCP, which
/// no descriptor names.
pub fn without_doubles(found: &mut Vec<Found>) {
    let listens = |socket: &Found, protocol: u16| match &socket.kind {
        Kind::Inet(inet) if inet.protocol == protocol && socket.state == State::Listens => {
            Some((socket.netns, inet.local, inet.device))
        }
        _ => None,
    };
    let joined: std::collections::HashSet<_> =
        found.iter().filter_map(|socket| listens(socket, MPTCP)).collect();
    found.retain(|socket| !listens(socket, TCP).is_some_and(|place| joined.contains(&place)));
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;
    use std::os::{fd::AsFd, linux::net::SocketAddrExt, unix::net::SocketAddr};

    use super::*;

    fn inode(socket: impl AsFd) -> u64 {
        nix::sys::stat::fstat(socket).unwrap().st_ino
    }

    fn of(family: Family, inode: u64) -> Found {
        let all = ask(&mut line().unwrap(), family, Scope::Hearing, 5).unwrap();
        all.into_iter().find(|socket| socket.inode == inode).unwrap()
    }

    #[test]
    fn own_listeners_are_in_the_tables() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let told = of(Family::Inet { v6: false, protocol: TCP }, inode(&tcp));
        let Kind::Inet(inet) = told.kind else { panic!("{told:?}") };
        let address = tcp.local_addr().unwrap();
        assert_eq!((inet.local, inet.protocol), ((address.ip(), address.port()), TCP));
        assert_eq!((told.state, told.netns, inet.raw), (State::Listens, 5, false));
        assert!(told.cookie != 0);

        let udp = UdpSocket::bind("[::]:0").unwrap();
        let told = of(Family::Inet { v6: true, protocol: UDP }, inode(&udp));
        let Kind::Inet(inet) = told.kind else { panic!("{told:?}") };
        assert_eq!((told.state, inet.v6, inet.v6only), (State::Bound, true, Some(false)));

        let name = format!("sensor-sockdiag-{}", std::process::id());
        let unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let told = of(Family::Unix, inode(&unix));
        assert_eq!(
            told.kind,
            Kind::Unix { name: [&[0], name.as_bytes()].concat(), peer: 0, datagram: false }
        );
        assert_eq!(told.state, State::Listens);
    }

    #[test]
    fn a_listener_of_mptcp_is_one() {
        let socket = |protocol: u16, port: u16, state| Found {
            inode: u64::from(protocol),
            cookie: 0,
            netns: 1,
            uid: None,
            state,
            kind: Kind::Inet(crate::net::found::Inet {
                protocol,
                raw: false,
                v6: false,
                v6only: None,
                local: ("0.0.0.0".parse().unwrap(), port),
                remote: ("0.0.0.0".parse().unwrap(), 0),
                device: 0,
                traffic: None,
            }),
        };
        let mut all = vec![
            socket(TCP, 80, State::Listens),
            socket(TCP, 81, State::Listens),
            socket(MPTCP, 80, State::Listens),
            socket(TCP, 80, State::Connected),
        ];
        without_doubles(&mut all);
        let left: Vec<_> = all.iter().map(|socket| (socket.inode, socket.state)).collect();
        assert_eq!(left, [(6, State::Listens), (262, State::Listens), (6, State::Connected)]);
    }
}
