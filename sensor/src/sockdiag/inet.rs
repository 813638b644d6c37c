//! Sockets of IPv4 and IPv6 (`include/uapi/linux/inet_diag.h`).

use std::net::{IpAddr, Ipv4Addr};

use super::{MPTCP, RAW, SCTP, Scope, TCP};
use crate::{
    net::{
        self,
        found::{Found, Inet, Kind, State},
    },
    netlink::message::{Malformed, attributes, be16_at, u32_at},
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Sizes of `inet_diag_sockid` and `inet_diag_msg`.
const SOCKET_ID: usize = 48;
const MESSAGE: usize = 72;
/// `INET_DIAG_REQ_PROTOCOL`: the number of a protocol that has no room in the question.
const REQUEST_PROTOCOL: u16 = 4;
/// `INET_DIAG_INFO`, as an answer and as what is asked for; and in it (`struct tcp_info`, `include/uapi/linux/tcp.h`)
/// `tcpi_bytes_acked` and `tcpi_bytes_received`.
const INFO: u16 = 2;
const TELL_INFO: u8 = 1 << (INFO - 1);
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
/// `INET_DIAG_PROTOCOL`, `INET_DIAG_SKV6ONLY`.
const PROTOCOL: u16 = 10;
const V6_ONLY: u16 = 11;
/// States that hear (`include/net/tcp_states.h`): `TCP_CLOSE`, `TCP_LISTEN`, `TCP_BOUND_INACTIVE`; a raw socket also in
/// that which is `TCP_ESTABLISHED`.
const HEARING: u32 = 1 << 7 | 1 << 10 | 1 << 13;
const ESTABLISHED: u32 = 1 << 1;

pub(super) fn question(v6: bool, protocol: u16, scope: Scope) -> Vec<u8> {
    let connected = if protocol == RAW { ESTABLISHED } else { 0 };
    let states = match scope {
        Scope::Hearing => HEARING | connected,
        Scope::All => u32::MAX,
    };
    let family = if v6 { AF_INET6 } else { AF_INET };
    let small = u8::try_from(protocol);
    let told = if scope == Scope::All && protocol == TCP { TELL_INFO } else { 0 };
    let mut bytes = vec![family, small.unwrap_or(0), told, 0];
    bytes.extend(states.to_ne_bytes());
    bytes.extend([0; SOCKET_ID]);
    if small.is_err() {
        bytes.extend([8, REQUEST_PROTOCOL].into_iter().flat_map(u16::to_ne_bytes));
        bytes.extend(u32::from(protocol).to_ne_bytes());
    }
    bytes
}

/// A question about one socket (`struct inet_diag_req_v2`).
pub(super) fn named(inet: &Inet, cookie: u64) -> Vec<u8> {
    let family = if inet.v6 { AF_INET6 } else { AF_INET };
    let mut bytes = vec![family, u8::try_from(inet.protocol).unwrap_or(0), 0, 0];
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend([inet.local.1, inet.remote.1].into_iter().flat_map(u16::to_be_bytes));
    for (address, _) in [inet.local, inet.remote] {
        bytes.extend(wide(address, inet.v6));
    }
    bytes.extend(inet.device.to_ne_bytes());
    bytes.extend([cookie as u32, (cookie >> 32) as u32].into_iter().flat_map(u32::to_ne_bytes));
    bytes
}

/// An address in the room of one of IPv6.
fn wide(address: IpAddr, v6: bool) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        // The tables of IPv6 show it unwrapped.
        IpAddr::V4(address) if v6 => address.to_ipv6_mapped().octets(),
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
    }
}

pub(super) fn decode(body: &[u8], netns: u32, asked: u16) -> Result<Found, Malformed> {
    let fixed = body.first_chunk::<MESSAGE>().ok_or(Malformed)?;
    let [family, state, ..] = *fixed;
    let v6 = family == AF_INET6;
    let port = |at| be16_at(fixed, at).unwrap_or(0);
    let word = |at| u32_at(fixed, at).unwrap_or(0);
    let ip = |at| address(v6, fixed, at).ok_or(Malformed);
    let (mut v6only, mut protocol, mut traffic) = (None, asked, None);
    for attribute in attributes(&body[MESSAGE..]) {
        match attribute? {
            (V6_ONLY, [value, ..]) => v6only = Some(*value != 0),
            (INFO, info) if asked == TCP => {
                traffic = u64_at(info, BYTES_RECEIVED).zip(u64_at(info, BYTES_ACKED));
            }
            (PROTOCOL, [value, ..]) if asked == RAW => protocol = u16::from(*value),
            _ => {}
        }
    }
    // Of raw sockets older kernels have it there alone.
    if asked == RAW && protocol == RAW {
        protocol = port(4);
    }
    let local = (ip(8)?, if asked == RAW { 0 } else { port(4) });
    let remote = (ip(24)?, if asked == RAW { 0 } else { port(6) });
    Ok(Found {
        inode: u64::from(word(68)),
        cookie: u64::from(word(44)) | u64::from(word(48)) << 32,
        netns,
        uid: Some(word(64)),
        state: State::of_inet(state, matches!(asked, TCP | MPTCP | SCTP), asked == RAW || local.1 != 0),
        kind: Kind::Inet(Inet {
            protocol,
            raw: asked == RAW,
            v6,
            v6only,
            local,
            remote,
            device: word(40),
            traffic,
        }),
    })
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn address(v6: bool, bytes: &[u8], at: usize) -> Option<IpAddr> {
    let all = bytes.get(at..)?.first_chunk::<16>()?;
    if v6 {
        return Some(net::address(*all));
    }
    all.first_chunk::<4>().map(|four| IpAddr::V4(Ipv4Addr::from(*four)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE: u8 = 7;
    const LISTEN: u8 = 10;

    fn message(family: u8, state: u8, attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; MESSAGE];
        (bytes[0], bytes[1]) = (family, state);
        bytes[4..6].copy_from_slice(&80_u16.to_be_bytes());
        bytes[8..12].copy_from_slice(&[10, 0, 0, 1]);
        bytes[44..48].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[64..68].copy_from_slice(&1000_u32.to_ne_bytes());
        bytes[68..72].copy_from_slice(&99_u32.to_ne_bytes());
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn a_socket_is_understood_and_a_cut_one_refused() {
        let only = [5, 0, V6_ONLY as u8, 0, 1, 0, 0, 0];
        let bytes = message(AF_INET6, LISTEN, &only);
        let told = decode(&bytes, 3, TCP).unwrap();
        assert_eq!((told.inode, told.cookie, told.uid, told.netns), (99, 7, Some(1000), 3));
        let Kind::Inet(inet) = told.kind else { panic!("{told:?}") };
        assert_eq!((inet.v6only, inet.local.1, told.state), (Some(true), 80, State::Listens));
        for len in 0..bytes.len() - 3 {
            let whole = len == MESSAGE;
            assert_eq!(decode(&bytes[..len], 3, TCP).is_ok(), whole, "{len}");
        }
        let v4 = decode(&message(AF_INET, CLOSE, &[]), 3, 17).unwrap();
        let Kind::Inet(inet) = v4.kind else { panic!("{v4:?}") };
        assert_eq!((inet.local, v4.state), (("10.0.0.1".parse().unwrap(), 80), State::Bound));
    }

    #[test]
    fn a_socket_is_named_as_it_was_told() {
        for v6 in [false, true] {
            let bytes = message(if v6 { AF_INET6 } else { AF_INET }, 1, &[]);
            let Kind::Inet(inet) = decode(&bytes, 3, TCP).unwrap().kind else { panic!() };
            let named = named(&inet, 0x0102_0304_0000_0007);
            assert_eq!(named.len(), 8 + SOCKET_ID);
            assert_eq!((named[0], named[1]), (bytes[0], 6));
            assert_eq!(named[8..48], bytes[4..44], "ports, addresses, interface");
            assert_eq!(named[48..], [&7_u32.to_ne_bytes()[..], &0x0102_0304_u32.to_ne_bytes()].concat());
        }
    }

    #[test]
    fn a_raw_one_has_its_protocol_and_no_port() {
        let told = decode(&message(AF_INET, CLOSE, &[5, 0, PROTOCOL as u8, 0, 58, 0, 0, 0]), 3, RAW).unwrap();
        let Kind::Inet(inet) = told.kind else { panic!("{told:?}") };
        assert_eq!((inet.protocol, inet.local.1, inet.raw, told.state), (58, 0, true, State::Bound));
        let Kind::Inet(older) = decode(&message(AF_INET, CLOSE, &[]), 3, RAW).unwrap().kind else { panic!() };
        assert_eq!(older.protocol, 80, "it stands in the place of the port");
    }

    #[test]
    fn a_protocol_without_room_has_an_attribute() {
        assert_eq!(question(false, MPTCP, Scope::All).len(), 8 + SOCKET_ID + 8);
    }
}
