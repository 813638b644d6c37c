//! A connect that was begun and of which no state tells: what came of it, and what to ask to know why it failed.

use std::net::{IpAddr, Ipv6Addr};

use nix::errno::Errno;
use sensor_common::wire::socket::{Attempt as Wire, Begun};

use super::{Socket, decode as decode_socket};
use crate::event::{Actor, Key, Stamp, Tail};

/// A connect, with what decides on its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The socket; `remote` is what was asked for.
    pub socket: Socket,
    /// What to ask.
    mark: u32,
    uid: u32,
    tos: u8,
}

/// See `Attempt`.
pub type SocketAttempt = Attempt;

/// What decides on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// To where.
    pub destination: IpAddr,
    /// From where, when the socket is bound.
    pub source: Option<IpAddr>,
    /// The interface that the socket is bound to, 0 for none.
    pub device: u32,
    /// The socket's mark.
    pub mark: u32,
    /// The socket's user.
    pub uid: u32,
    /// Type of service.
    pub tos: u8,
    /// Number of the transport protocol.
    pub protocol: u16,
    /// The other's port.
    pub port: u16,
}

impl Question {
    /// By where alone.
    #[must_use]
    pub fn to(destination: IpAddr) -> Self {
        Self { destination, source: None, device: 0, mark: 0, uid: 0, tos: 0, protocol: 0, port: 0 }
    }
}

/// What the kernel says to such a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is no way: an errno.
    Refused(u16),
    /// There is one, to that sort of destination (`RTN_UNICAST`… of `linux/rtnetlink.h`).
    Way(u8),
}

/// `RTN_BROADCAST` and `RTN_MULTICAST`.
const BROADCAST: u8 = 3;
const MULTICAST: u8 = 5;

pub(crate) fn decode(body: &Wire, tail: &Tail<'_>, flags: u16) -> Attempt {
    Attempt {
        socket: decode_socket(&body.socket, tail, flags),
        mark: body.mark,
        uid: body.uid,
        tos: u8::try_from(body.tos).unwrap_or(0),
    }
}

/// One that the programs keep, as it was begun.
#[must_use]
pub fn begun(words: [u64; 22]) -> (Stamp, Actor, Attempt) {
    let Begun { time, owner, attempt } = zerocopy::transmute!(words);
    let stamp = Stamp { time, key: Key { pid: owner.pid, start: owner.start }, thread: owner.tid };
    let actor = Actor { ids: owner.ids, ..Actor::default() };
    (stamp, actor, decode(&attempt, &Tail(&[]), 0))
}

impl Attempt {
    /// Whether it failed for a reason that isn't known.
    #[must_use]
    pub fn unexplained(&self) -> bool {
        self.socket.failed && self.socket.error == 0
    }

    /// What to ask for the reason; nothing where the kernel decides by what isn't known here: the scope of an
    /// address, or an address that it replaces.
    #[must_use]
    pub fn question(&self) -> Option<Question> {
        let (destination, port) = self.socket.remote;
        let (local, _) = self.socket.local;
        let source = (!local.is_unspecified()).then_some(local);
        let odd = match destination {
            IpAddr::V4(_) => self.socket.v6only,
            IpAddr::V6(ip) => ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_multicast(),
        };
        if odd || source.is_some_and(|source| source.is_ipv4() != destination.is_ipv4()) {
            return None;
        }
        let Self { socket, mark, uid, tos } = *self;
        Some(Question {
            destination,
            source,
            device: socket.device,
            mark,
            uid,
            tos,
            protocol: socket.protocol,
            port,
        })
    }

    /// Why it failed, by what the kernel answers to its question; 0 when that doesn't say.
    #[must_use]
    pub fn reason(&self, answer: Answer) -> u16 {
        match answer {
            Answer::Refused(errno) => errno,
            // `tcp_v4_connect`, and `__ip4_datagram_connect` without `SO_BROADCAST`.
            Answer::Way(BROADCAST | MULTICAST) if !self.socket.datagram => errno(Errno::ENETUNREACH),
            Answer::Way(BROADCAST) => errno(Errno::EACCES),
            Answer::Way(_) => 0,
        }
    }

    /// Why it failed, where the kernel always decides so and needs no route for it; 0 else.
    #[must_use]
    pub fn plain_reason(&self) -> u16 {
        // `tcp_v6_connect` and `__ip6_datagram_connect` take no IPv4 on a socket of IPv6 only.
        let mapped = self.socket.v6 && self.socket.v6only && self.socket.remote.0.is_ipv4();
        let group = matches!(self.socket.remote.0, IpAddr::V6(ip) if Ipv6Addr::is_multicast(&ip));
        if mapped || (group && !self.socket.datagram) { errno(Errno::ENETUNREACH) } else { 0 }
    }
}

fn errno(errno: Errno) -> u16 {
    u16::try_from(errno as i32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::socket::{KEPT, kept};

    fn to(remote: &str, local: &str) -> Attempt {
        let socket = Socket {
            remote: (remote.parse().unwrap(), 80),
            local: (local.parse().unwrap(), 0),
            protocol: 6,
            v6: remote.contains(':'),
            failed: true,
            device: 1,
            ..kept([0; KEPT])
        };
        Attempt { socket, mark: 2, uid: 3, tos: 4 }
    }

    #[test]
    fn what_decides_on_a_route_is_asked() {
        let question = to("10.0.0.1", "0.0.0.0").question().unwrap();
        assert_eq!(
            question,
            Question {
                destination: "10.0.0.1".parse().unwrap(),
                source: None,
                device: 1,
                mark: 2,
                uid: 3,
                tos: 4,
                protocol: 6,
                port: 80
            }
        );
        assert_eq!(to("fd00::1", "fd00::2").question().unwrap().source, Some("fd00::2".parse().unwrap()));
        for (remote, local) in [("fe80::1", "::"), ("::", "::"), ("ff02::1", "::"), ("10.0.0.1", "fd00::2")] {
            assert_eq!(to(remote, local).question(), None, "{remote} from {local}");
        }
    }

    #[test]
    fn a_way_is_a_reason_only_where_it_always_is() {
        let stream = to("10.0.0.255", "0.0.0.0");
        let datagram = Attempt { socket: Socket { datagram: true, ..stream.socket }, ..stream };
        for (answer, of_stream, of_datagram) in [
            (Answer::Refused(113), 113, 113),
            (Answer::Way(BROADCAST), 101, 13),
            (Answer::Way(MULTICAST), 101, 0),
            (Answer::Way(1), 0, 0),
        ] {
            assert_eq!(
                (stream.reason(answer), datagram.reason(answer)),
                (of_stream, of_datagram),
                "{answer:?}"
            );
        }
        let only = |it: Attempt| Attempt { socket: Socket { v6only: true, v6: true, ..it.socket }, ..it };
        assert_eq!(only(stream).plain_reason(), 101);
        assert_eq!((to("ff02::1", "::").plain_reason(), stream.plain_reason()), (101, 0));
    }

    #[test]
    fn what_is_kept_is_understood() {
        let mut words = [0; 22];
        words[0] = 5;
        words[1] = 7;
        words[2] = 11 | 12 << 32;
        words[7] = 99;
        let (stamp, _, attempt) = begun(words);
        assert_eq!(stamp, Stamp { time: 5, key: Key { pid: 11, start: 7 }, thread: 12 });
        assert_eq!(attempt.socket.cookie, 99);
    }
}
