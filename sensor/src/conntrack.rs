//! The connections that the kernel's filter knows (`ctnetlink`), of the network namespace of the thread: also those that
//! only pass through this host, and what their addresses are translated to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::netlink::{
    Line, NetlinkError, Protocol,
    message::{Malformed, attribute, attributes_of, be16_at},
};

/// `NFNL_SUBSYS_CTNETLINK`, and its messages `IPCTNL_MSG_CT_NEW`, `…_GET`, `…_DELETE`
/// (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`).
const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_ZONE`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ZONE: u16 = 18;
/// `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`.
const IP: u16 = 1;
const PROTO: u16 = 2;
/// `CTA_PROTOINFO`, `CTA_PROTOINFO_TCP`, `CTA_PROTOINFO_TCP_STATE`, and its `TCP_CONNTRACK_CLOSE`.
const STATE: [u16; 3] = [4, 1, 1];
const CLOSED: u8 = 8;
/// `CTA_IP_V4_SRC`, `…_V4_DST`, `…_V6_SRC`, `…_V6_DST`.
const SOURCES: [u16; 2] = [1, 3];
const DESTINATIONS: [u16; 2] = [2, 4];
/// `CTA_PROTO_NUM`, `…_SRC_PORT`, `…_DST_PORT`.
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Most connections: tables aren't larger by themselves.
const MOST: usize = 1_048_576;

/// A connection, one of its directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Direction {
    /// From where.
    pub source: SocketAddr,
    /// To where.
    pub destination: SocketAddr,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The transport protocol's number.
    pub protocol: u8,
    /// As it was begun.
    pub original: Direction,
    /// As its answers come, from whom they really come.
    pub reply: Direction,
    /// Whether a reset has passed, by which one end tells the other that it is over.
    pub closed: bool,
    /// What names it: its attributes, as the kernel told them.
    name: Vec<u8>,
}

/// A line to ask by.
///
/// # Errors
/// When the kernel refuses.
pub fn line() -> Result<Line, NetlinkError> {
    Line::open(Protocol::NetlinkNetFilter)
}

/// All connections with ports.
///
/// # Errors
/// When they can't be had.
pub fn all(line: &mut Line) -> Result<Vec<Flow>, NetlinkError> {
    let mut flows = Vec::new();
    // One that can't be understood is of a protocol without ports.
    line.dump(GET, &head(0), |kind, body| {
        if kind == NEW && flows.len() < MOST {
            flows.extend(flow(body).ok().flatten());
        }
    })?;
    Ok(flows)
}

/// Has the kernel forget a connection: what still comes of it begins anew, before the filter's rules.
///
/// # Errors
/// When it doesn't.
pub fn forget(line: &mut Line, flow: &Flow) -> Result<(), NetlinkError> {
    let family = if flow.original.source.is_ipv4() { AF_INET } else { AF_INET6 };
    line.command(DELETE, &[head(family).as_slice(), &flow.name].concat())
}

/// `struct nfgenmsg`.
fn head(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

fn flow(body: &[u8]) -> Result<Option<Flow>, Malformed> {
    let rest = body.get(4..).ok_or(Malformed)?;
    let (Some(told), Some(reply)) = (attribute(rest, ORIGINAL)?, attribute(rest, REPLY)?) else {
        return Ok(None);
    };
    let (Some((protocol, original)), Some((_, reply))) = (direction(told)?, direction(reply)?) else {
        return Ok(None);
    };
    let [info, tcp, state] = STATE;
    let info = attribute(attribute(rest, info)?.unwrap_or(&[]), tcp)?.unwrap_or(&[]);
    let closed = attribute(info, state)?.is_some_and(|state| state == [CLOSED]);
    let mut name = vec![(ORIGINAL | NESTED, told)];
    name.extend(attribute(rest, ZONE)?.map(|zone| (ZONE, zone)));
    Ok(Some(Flow { protocol, original, reply, closed, name: attributes_of(&name) }))
}

fn direction(tuple: &[u8]) -> Result<Option<(u8, Direction)>, Malformed> {
    let (ip, proto) = (attribute(tuple, IP)?.unwrap_or(&[]), attribute(tuple, PROTO)?.unwrap_or(&[]));
    let end = |[v4, v6]: [u16; 2], port: u16| {
        let four = attribute(ip, v4)?
            .and_then(|bytes| bytes.first_chunk())
            .map(|bytes: &[u8; 4]| IpAddr::V4(Ipv4Addr::from(*bytes)));
        let six = attribute(ip, v6)?
            .and_then(|bytes| bytes.first_chunk())
            .map(|bytes: &[u8; 16]| IpAddr::V6(Ipv6Addr::from(*bytes)));
        let port = attribute(proto, port)?.and_then(|bytes| be16_at(bytes, 0));
        Ok::<_, Malformed>(four.or(six).zip(port).map(|(ip, port)| SocketAddr::new(ip, port)))
    };
    let number = attribute(proto, NUMBER)?.and_then(|bytes| bytes.first()).copied();
    let (source, destination) = (end(SOURCES, SOURCE_PORT)?, end(DESTINATIONS, DESTINATION_PORT)?);
    let both = source.zip(destination).map(|(source, destination)| Direction { source, destination });
    Ok(number.zip(both))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
        let ip = attributes_of(&[(1, &source), (2, &destination)]);
        let proto = attributes_of(&[(1, &[6]), (2, &ports.0.to_be_bytes()), (3, &ports.1.to_be_bytes())]);
        attributes_of(&[(IP | NESTED, &ip), (PROTO | NESTED, &proto)])
    }

    #[test]
    fn a_connection_is_understood_and_a_cut_one_is_none() {
        let original = tuple([192, 0, 2, 1], [192, 0, 2, 2], (5000, 8080));
        let reply = tuple([172, 17, 0, 2], [192, 0, 2, 1], (80, 5000));
        let told =
            attributes_of(&[(ORIGINAL | NESTED, &original), (REPLY | NESTED, &reply), (ZONE, &[0, 7])]);
        let body = [head(AF_INET).as_slice(), &told].concat();
        let flow = flow(&body).unwrap().unwrap();
        assert_eq!(flow.protocol, 6);
        assert_eq!(flow.original.destination, "192.0.2.2:8080".parse().unwrap());
        assert_eq!(flow.reply.source, "172.17.0.2:80".parse().unwrap());
        assert!(!flow.closed);
        assert_eq!(attribute(&flow.name, ORIGINAL), Ok(Some(&original[..])));
        assert_eq!(attribute(&flow.name, ZONE), Ok(Some(&[0, 7][..])));
        for len in 0..body.len() - 8 {
            assert!(!matches!(super::flow(&body[..len]), Ok(Some(_))), "{len}");
        }
        let [info, tcp, state] = STATE;
        let within = |kind, value: &[u8]| attributes_of(&[(kind | NESTED, value)]);
        for (value, closed) in [(3, false), (CLOSED, true)] {
            let more = within(info, &within(tcp, &attributes_of(&[(state, &[value])])));
            assert_eq!(super::flow(&[body.as_slice(), &more].concat()).unwrap().unwrap().closed, closed);
        }
        let without_ports = attributes_of(&[
            (IP, &attributes_of(&[(1, &[1; 4]), (2, &[2; 4])])),
            (PROTO, &attributes_of(&[(1, &[1])])),
        ]);
        let told = attributes_of(&[(ORIGINAL, &without_ports), (REPLY, &without_ports)]);
        assert_eq!(super::flow(&[head(AF_INET).as_slice(), &told].concat()), Ok(None));
    }
}
