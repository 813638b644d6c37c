//! `socket_bind`, `socket_listen`, `socket_connect`, `socket_accept`, `socket_close`: one body, told five ways.

use std::{net::IpAddr, sync::Arc};

use sensor_common::wire::{self, socket::Socket as Wire};

pub mod attempt;

use super::{Action, Tail};
use crate::{
    field::Field,
    net::{
        Amount, Exposure, address,
        live::{Live, Reach},
        transport,
    },
    record::{Record, Text, Value},
};

const SERVER: &[Field] = &[
    Field::NetworkType,
    Field::NetworkIanaNumber,
    Field::NetworkTransport,
    Field::ServerIp,
    Field::ServerPort,
    Field::SensorMethod,
    Field::SensorSocketCookie,
    Field::SensorSocketNetns,
    Field::SensorSocketMptcp,
    Field::SensorSocketPreexisting,
    Field::SensorExposure,
    Field::SensorWildcardAlsoIpv4,
    Field::SensorReach,
    Field::SensorReachableBy,
    Field::SensorReachableByCount,
];

const PEERS: &[Field] = &[
    Field::EventOutcome,
    Field::ErrorCode,
    Field::NetworkType,
    Field::NetworkIanaNumber,
    Field::NetworkTransport,
    Field::NetworkDirection,
    Field::SourceIp,
    Field::SourcePort,
    Field::DestinationIp,
    Field::DestinationPort,
    Field::SensorMethod,
    Field::SensorSocketCookie,
    Field::SensorSocketNetns,
    Field::SensorSocketMptcp,
    Field::SensorSocketPreexisting,
];

/// What all five have in common.
const OF_SOCKETS: Action = Action {
    name: "",
    kind: "event",
    category: &["network"],
    types: &[],
    sentence: "",
    hooks: "",
    fields: &[],
    process: true,
};

/// What the catalogue says of `socket_bind`.
pub const BIND: Action = Action {
    name: "socket_bind",
    types: &["info"],
    sentence: "A socket of TCP, UDP or SCTP is bound to an address; the port is the real one, also when the kernel chose it. Of UDP also when other addresses of the host lead to it than was told (`sensor.method` `address_change`).",
    hooks: "cgroup post_bind4 and post_bind6; for what was there before, raw and packet sockets and SCTP, the iterator over open files; rtnetlink for the live addresses",
    fields: SERVER,
    ..OF_SOCKETS
};

/// Of `socket_listen`.
pub const LISTEN: Action = Action {
    name: "socket_listen",
    types: &["start"],
    sentence: "A socket of TCP (MPTCP too) or SCTP starts to listen; also each that listened when the sensor started, marked so; and when other addresses of the host lead to it than was told (`sensor.method` `address_change`).",
    hooks: "BTF tracepoint inet_sock_set_state; the iterator over open files for ports that nobody bound; rtnetlink for the live addresses",
    fields: SERVER,
    ..OF_SOCKETS
};

/// Of `socket_connect`.
pub const CONNECT: Action = Action {
    name: "socket_connect",
    types: &["connection", "start"],
    sentence: "A connection of TCP or SCTP is made, a UDP socket is given an address to talk to, or either failed to be and why.",
    hooks: "BTF tracepoint inet_sock_set_state; for UDP and for connects that found no route cgroup connect4, connect6 and sock_release, the iterator over open files",
    fields: PEERS,
    ..OF_SOCKETS
};

/// Of `socket_accept`.
pub const ACCEPT: Action = Action {
    name: "socket_accept",
    types: &["connection", "start"],
    sentence: "A connection of TCP or SCTP from elsewhere is taken, by the process that accepts it or else uses it first; without a process that did, it is told as the listener's.",
    hooks: "BTF tracepoint inet_sock_set_state; who: the end of inet_csk_accept (fexit) where the kernel takes it; cgroup getpeername4 and getpeername6, which accept(2) runs, the iterator over open files, the end of the connection",
    fields: PEERS,
    ..OF_SOCKETS
};

/// Of `socket_close`.
pub const CLOSE: Action = Action {
    name: "socket_close",
    types: &["connection", "end"],
    sentence: "A connection ends, a listener stops listening, or a UDP socket that was bound or connected is closed; by who closed it. An end of which no program told is found by a look (`sensor.method` `sweep`), without what was moved.",
    hooks: "BTF tracepoint inet_sock_set_state; cgroup sock_release for UDP and SCTP; the iterators over open files and over sockets for ends of which no program told",
    fields: &[
        Field::EventOutcome,
        Field::ErrorCode,
        Field::NetworkType,
        Field::NetworkIanaNumber,
        Field::NetworkTransport,
        Field::NetworkDirection,
        Field::SourceIp,
        Field::SourcePort,
        Field::SourceBytes,
        Field::SourcePackets,
        Field::DestinationIp,
        Field::DestinationPort,
        Field::DestinationBytes,
        Field::DestinationPackets,
        Field::ServerIp,
        Field::ServerPort,
        Field::SensorMethod,
        Field::SensorSocketCookie,
        Field::SensorSocketNetns,
        Field::SensorSocketMptcp,
        Field::SensorExposure,
        Field::SensorWildcardAlsoIpv4,
    ],
    ..OF_SOCKETS
};

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The kernel's cookie, not used again during a boot.
    pub cookie: u64,
    /// Its own address and port; port 0 when it has none.
    pub local: (IpAddr, u16),
    /// The other's.
    pub remote: (IpAddr, u16),
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Of IPv6, whatever its addresses are.
    pub v6: bool,
    /// Of IPv6 and IPv4 or one of them; else of packets.
    pub internet: bool,
    /// It takes no IPv4.
    pub v6only: bool,
    /// A datagram socket.
    pub datagram: bool,
    /// It has a port, as all but raw sockets and those of packets.
    pub ported: bool,
    /// Of TCP, and one that a connection of MPTCP begins with.
    pub mptcp: bool,
    /// Index of the interface that it is bound to, 0 for none.
    pub device: u32,
    /// The transport protocol's number.
    pub protocol: u16,
    /// It failed.
    pub failed: bool,
    /// It was a listener.
    pub listened: bool,
    /// Whether it failed isn't known.
    pub unsure: bool,
    /// Why it failed or ended, an errno; 0 for none.
    pub error: u16,
    /// Its state, by the kernel's numbers.
    pub state: u16,
    /// What it moved, of one that is closed.
    pub moved: Amount,
}

/// See `Socket`.
pub type SocketBind = Socket;
/// See `Socket`.
pub type SocketListen = Socket;
/// See `Socket`.
pub type SocketConnect = Socket;
/// See `Socket`.
pub type SocketAccept = Socket;
/// See `Socket`.
pub type SocketClose = Socket;
/// See `Socket`.
pub type SocketLook = Socket;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_PACKET: u16 = 17;
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;
/// As in `/etc/protocols`.
const TCP: u16 = 6;
const UDP: u16 = 17;
const UDPLITE: u16 = 136;
/// Likewise.
pub const SCTP: u16 = 132;

pub(super) fn decode(body: &Wire, _: &Tail<'_>, _: u16) -> Socket {
    Socket {
        cookie: body.cookie,
        local: (address(body.local), body.local_port),
        remote: (address(body.remote), body.remote_port),
        netns: body.netns,
        v6: body.family == AF_INET6,
        internet: body.family == AF_INET || body.family == AF_INET6,
        v6only: body.flags & Wire::V6ONLY != 0,
        datagram: body.socket == SOCK_DGRAM,
        ported: body.socket != SOCK_RAW && body.family != AF_PACKET,
        mptcp: body.flags & Wire::MPTCP != 0,
        device: body.device,
        protocol: body.protocol,
        failed: body.flags & Wire::FAILED != 0,
        listened: body.flags & Wire::LISTENED != 0,
        unsure: body.flags & Wire::UNSURE != 0,
        error: body.error,
        state: body.state,
        moved: Amount::of(body.traffic),
    }
}

/// How many words that is.
pub const KEPT: usize = size_of::<Wire>() / 8;

/// The body of a connection that the programs kept until somebody takes it.
#[must_use]
pub fn kept(words: [u64; KEPT]) -> Socket {
    let body: Wire = zerocopy::transmute!(words);
    decode(&body, &Tail(&[]), 0)
}

/// Between which ends a TCP connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    /// Its own address and port.
    pub local: (IpAddr, u16),
    /// The other's.
    pub remote: (IpAddr, u16),
}

impl Ends {
    /// The socket, as far as that is known after its end.
    #[must_use]
    pub fn socket(self, cookie: u64) -> Socket {
        let Self { netns, local, remote } = self;
        Socket {
            cookie,
            netns,
            local,
            remote,
            internet: true,
            ported: true,
            protocol: TCP,
            ..kept([0; KEPT])
        }
    }
}

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This socket.
    Here,
    /// The other end.
    There,
}

impl Socket {
    /// Whether it is one that no hook sees being bound: raw, of packets, of SCTP.
    #[must_use]
    pub fn unseen(&self) -> bool {
        !self.ported || !matches!(self.protocol, TCP | UDP | UDPLITE)
    }

    /// Whether that is what there is to tell of it: it is bound, and neither listens nor has another end.
    #[must_use]
    pub fn only_bound(&self) -> bool {
        use wire::socket::Socket as State;
        !self.ported || (self.local.1 != 0 && self.state == State::CLOSE && self.remote.1 == 0)
    }

    /// Its ends, when it is one of TCP: the end of another can't be missed.
    #[must_use]
    pub fn ends(&self) -> Option<Ends> {
        (self.protocol == TCP).then_some(Ends { netns: self.netns, local: self.local, remote: self.remote })
    }

    /// Whether it listens.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.state == wire::socket::Socket::LISTEN && !self.datagram
    }

    /// Whether it is connected, or was and isn't closed here yet.
    #[must_use]
    pub fn connected(&self) -> bool {
        use wire::socket::Socket as State;
        matches!(self.state, State::ESTABLISHED | State::CLOSE_WAIT) && self.remote.1 != 0
    }

    /// Sets what every event of a socket has.
    fn set(&self, record: &mut Record) {
        record.set(Field::SensorSocketCookie, Value::Id(self.cookie));
        record.set(Field::SensorSocketNetns, Value::Id(u64::from(self.netns)));
        if self.mptcp {
            record.set(Field::SensorSocketMptcp, true);
        }
        if !self.internet {
            // Below the network layer: there are no addresses.
            record.set(Field::NetworkTransport, "packet");
            return;
        }
        record.set(Field::NetworkType, if self.local.0.is_ipv6() { "ipv6" } else { "ipv4" });
        record.set(Field::NetworkIanaNumber, Value::Id(u64::from(self.protocol)));
        if let Some(name) = transport(self.protocol) {
            record.set(Field::NetworkTransport, name);
        }
    }

    /// Sets the address at which it can be reached.
    pub fn set_server(&self, record: &mut Record) {
        self.set(record);
        if !self.internet {
            return;
        }
        let (ip, port) = self.local;
        // A raw socket has its protocol where others have their port.
        let port = if self.ported { port } else { 0 };
        record.set(Field::ServerIp, text(ip));
        if port != 0 {
            record.set(Field::ServerPort, port);
        }
        let exposure = Exposure::of(ip);
        record.set(Field::SensorExposure, exposure.word());
        if exposure == Exposure::Wildcard && self.v6 {
            record.set(Field::SensorWildcardAlsoIpv4, !self.v6only);
        }
    }

    /// By which of the addresses that are live in its namespace it can be reached; see `Live::reach`.
    #[must_use]
    pub fn reach(&self, live: &Live) -> Option<Arc<Reach>> {
        // A raw socket takes its own family alone.
        let also_ipv4 = self.ported && !self.v6only;
        self.internet.then(|| live.reach(self.local.0, also_ipv4, self.device)).flatten()
    }

    /// Sets both ends of the connection, and which of them began it.
    pub fn set_peers(&self, record: &mut Record, began: Side) {
        self.set(record);
        let (source, destination, direction) = match began {
            Side::Here => (self.local, self.remote, "egress"),
            Side::There => (self.remote, self.local, "ingress"),
        };
        record.set(Field::NetworkDirection, direction);
        set_end(record, Field::SourceIp, Field::SourcePort, source);
        set_end(record, Field::DestinationIp, Field::DestinationPort, destination);
    }

    /// Sets what each end of a connection sent, which this end knows when it is over.
    pub fn set_moved(&self, record: &mut Record, began: Side) {
        let (sent, received) =
            ((self.moved.tx_bytes, self.moved.tx_packets), (self.moved.rx_bytes, self.moved.rx_packets));
        let (source, destination) = match began {
            Side::Here => (sent, received),
            Side::There => (received, sent),
        };
        record.set(Field::SourceBytes, source.0);
        record.set(Field::SourcePackets, source.1);
        record.set(Field::DestinationBytes, destination.0);
        record.set(Field::DestinationPackets, destination.1);
    }

    /// Sets whether it went well, and if not why; `certain`: the call can't fail any more.
    pub fn set_outcome(&self, record: &mut Record, certain: bool) {
        let outcome = match () {
            () if self.failed || self.error != 0 => "failure",
            () if certain => "success",
            () => "unknown",
        };
        record.set(Field::EventOutcome, outcome);
        if self.error != 0 {
            let errno = nix::errno::Errno::from_raw(i32::from(self.error));
            record.set(Field::ErrorCode, Text::from(format!("{errno:?}")));
        }
    }
}

/// An end that isn't chosen yet has neither address nor port.
fn set_end(record: &mut Record, ip: Field, port: Field, (address, number): (IpAddr, u16)) {
    if !address.is_unspecified() {
        record.set(ip, text(address));
    }
    if number != 0 {
        record.set(port, number);
    }
}

/// Most addresses that are told of one socket.
const REACHABLE_BY_MOST: usize = 32;

/// Sets by which addresses a socket can be reached.
pub fn set_reach(reach: &Reach, record: &mut Record) {
    record.set(Field::SensorReach, reach.word());
    let by: Vec<Text> = reach.by.iter().take(REACHABLE_BY_MOST).map(|ip| text(*ip)).collect();
    record.set(Field::SensorReachableBy, by);
    if reach.by.len() > REACHABLE_BY_MOST {
        record.set(Field::SensorReachableByCount, reach.by.len() as u64);
    }
}

fn text(ip: IpAddr) -> Text {
    Text::from(ip.to_string())
}

#[cfg(test)]
mod tests {
    use sensor_common::wire::SOCKET_CONNECT;

    use super::*;
    use crate::event::{Fact, decode as decode_record, tests::wire_record};

    fn wire() -> Wire {
        let mut local = [0; 16];
        local[10..].copy_from_slice(&[255, 255, 127, 0, 0, 1]);
        Wire { cookie: 9, local, local_port: 80, remote_port: 4000, family: AF_INET6, ..Wire::default() }
    }

    fn told(body: &Wire) -> Socket {
        match decode_record(&wire_record(SOCKET_CONNECT, body, &[])).unwrap().fact {
            Fact::SocketConnect(socket) => socket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ends_are_source_and_destination_by_who_began() {
        let socket = told(&Wire { remote: wire().local, protocol: 6, netns: 7, ..wire() });
        for (side, source, destination, direction) in
            [(Side::Here, 80, 4000, "egress"), (Side::There, 4000, 80, "ingress")]
        {
            let mut record = Record::new();
            socket.set_peers(&mut record, side);
            assert_eq!(record.get(Field::SourcePort), Some(&Value::U64(source)));
            assert_eq!(record.get(Field::DestinationPort), Some(&Value::U64(destination)));
            assert_eq!(record.get(Field::SourceIp), Some(&Value::Text(Text::from("127.0.0.1"))));
            assert_eq!(record.get(Field::NetworkDirection), Some(&Value::Word(direction)));
            assert_eq!(
                record.get(Field::NetworkType),
                Some(&Value::Word("ipv4")),
                "a mapped address is IPv4"
            );
            assert_eq!(record.get(Field::NetworkTransport), Some(&Value::Word("tcp")));
        }
    }

    #[test]
    fn a_wildcard_of_ipv6_says_whether_it_takes_ipv4() {
        for (flags, also) in [(0, true), (Wire::V6ONLY, false)] {
            let mut record = Record::new();
            told(&Wire { local: [0; 16], flags, ..wire() }).set_server(&mut record);
            assert_eq!(record.get(Field::SensorExposure), Some(&Value::Word("wildcard")));
            assert_eq!(record.get(Field::SensorWildcardAlsoIpv4), Some(&Value::Bool(also)));
        }
        let mut record = Record::new();
        told(&Wire { family: AF_INET, ..wire() }).set_server(&mut record);
        assert_eq!(record.get(Field::SensorExposure), Some(&Value::Word("loopback")));
        assert_eq!(record.get(Field::SensorWildcardAlsoIpv4), None);
    }

    #[test]
    fn a_long_list_of_addresses_is_cut_and_counted() {
        use crate::net::live::Address;
        let address = |last| {
            let ip = IpAddr::from([10, 0, 0, last]);
            Address { ip, prefix: 24, device: 1, master: 0, loopback: false, broadcast: None }
        };
        for (most, count) in [(0, None), (32, None), (33, Some(33))] {
            let live = Live::new((0..most).map(address).collect());
            let any = told(&Wire { family: AF_INET, local: [0; 16], ..wire() });
            let mut record = Record::new();
            set_reach(&any.reach(&live).unwrap(), &mut record);
            let word = if most == 0 { "none" } else { "private" };
            assert_eq!(record.get(Field::SensorReach), Some(&Value::Word(word)));
            let Some(Value::Texts(by)) = record.get(Field::SensorReachableBy) else { panic!("{record:?}") };
            assert_eq!(by.len(), usize::from(most).min(32));
            assert_eq!(record.get(Field::SensorReachableByCount), count.map(Value::U64).as_ref());
        }
        let packet = told(&Wire { family: AF_PACKET, ..wire() });
        assert_eq!(packet.reach(&Live::new(Vec::new())), None);
    }

    #[test]
    fn failures_have_their_reason_by_name() {
        for (flags, error, certain, outcome, code) in [
            (Wire::FAILED, 111, true, "failure", Some("ECONNREFUSED")),
            (Wire::FAILED, 0, true, "failure", None),
            (0, 0, true, "success", None),
            (0, 0, false, "unknown", None),
            (0, 104, true, "failure", Some("ECONNRESET")),
        ] {
            let mut record = Record::new();
            told(&Wire { flags, error, ..wire() }).set_outcome(&mut record, certain);
            assert_eq!(record.get(Field::EventOutcome), Some(&Value::Word(outcome)));
            assert_eq!(record.get(Field::ErrorCode), code.map(|code| Value::Text(Text::from(code))).as_ref());
        }
    }
}
