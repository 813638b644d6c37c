//! Sockets that aren't of IP: of packets, of the host itself, to the kernel, between a machine and its guests
//! (`packet_diag.h`, `unix_diag.h`, `netlink_diag.h`, `vm_sockets_diag.h` in `include/uapi/linux`).

use super::Scope;
use crate::{
    net::found::{Found, Kind, State},
    netlink::message::{Malformed, attribute, u16_at, u32_at},
};

const AF_UNIX: u8 = 1;
const AF_NETLINK: u8 = 16;
const AF_PACKET: u8 = 17;
const AF_VSOCK: u8 = 40;
const SOCK_DGRAM: u8 = 2;
/// As of TCP.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;
/// `PACKET_SHOW_INFO`, `PACKET_SHOW_FILTER`; `PACKET_DIAG_INFO`, `PACKET_DIAG_UID`, `PACKET_DIAG_FILTER`.
const PACKET_SHOW_INFO: u32 = 1;
const PACKET_SHOW_FILTER: u32 = 0x20;
const PACKET_INFO: u16 = 0;
const PACKET_UID: u16 = 5;
const PACKET_FILTER: u16 = 7;
/// `sizeof(struct sock_filter)`.
const INSTRUCTION: usize = 8;
/// `UDIAG_SHOW_NAME`, `UDIAG_SHOW_PEER`, `UDIAG_SHOW_UID`; `UNIX_DIAG_NAME`, `UNIX_DIAG_PEER`, `UNIX_DIAG_UID`.
const UNIX_SHOW: u32 = 0x01 | 0x04 | 0x40;
const UNIX_NAME: u16 = 0;
const UNIX_PEER: u16 = 2;
const UNIX_UID: u16 = 7;
/// `NDIAG_PROTO_ALL`, `NDIAG_SHOW_GROUPS`, `NETLINK_DIAG_GROUPS`.
const NETLINK_ALL: u8 = 255;
const NETLINK_SHOW_GROUPS: u32 = 2;
const NETLINK_GROUPS: u16 = 1;

fn words(family: u8, protocol: u8, words: &[u32]) -> Vec<u8> {
    let mut bytes = vec![family, protocol, 0, 0];
    bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    bytes
}

fn cookie(body: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32_at(body, at)?) | u64::from(u32_at(body, at + 4)?) << 32)
}

pub(super) fn packet_question() -> Vec<u8> {
    words(AF_PACKET, 0, &[0, PACKET_SHOW_INFO, 0, 0])
}

pub(super) fn packet_filter_question() -> Vec<u8> {
    words(AF_PACKET, 0, &[0, PACKET_SHOW_FILTER, 0, 0])
}

pub(super) fn packet(body: &[u8], netns: u32) -> Result<Found, Malformed> {
    let rest = body.get(16..).ok_or(Malformed)?;
    let protocol = u16_at(body, 2).ok_or(Malformed)?;
    let info = attribute(rest, PACKET_INFO)?;
    Ok(Found {
        inode: u64::from(u32_at(body, 4).ok_or(Malformed)?),
        cookie: cookie(body, 8).ok_or(Malformed)?,
        netns,
        uid: attribute(rest, PACKET_UID)?.and_then(|value| u32_at(value, 0)),
        // Without a protocol it hears nothing.
        state: if protocol == 0 { State::Other } else { State::Bound },
        kind: Kind::Packet { protocol, device: info.and_then(|value| u32_at(value, 0)).unwrap_or(0) },
    })
}

/// The inode of a packet socket and how many instructions filter it, where that is told.
pub(super) fn packet_filter(body: &[u8]) -> Result<Option<(u64, u32)>, Malformed> {
    let inode = u32_at(body, 4).ok_or(Malformed)?;
    let filter = attribute(body.get(16..).ok_or(Malformed)?, PACKET_FILTER)?;
    let count = filter.map_or(0, |code| u32::try_from(code.len() / INSTRUCTION).unwrap_or(u32::MAX));
    Ok((count != 0).then_some((u64::from(inode), count)))
}

pub(super) fn unix_question(scope: Scope) -> Vec<u8> {
    let states = match scope {
        Scope::Hearing => 1 << LISTEN | 1 << CLOSE,
        Scope::All => u32::MAX,
    };
    words(AF_UNIX, 0, &[states, 0, UNIX_SHOW, 0, 0])
}

pub(super) fn unix(body: &[u8], netns: u32) -> Result<Found, Malformed> {
    let [_, kind, state, _] = *body.first_chunk().ok_or(Malformed)?;
    let rest = body.get(16..).ok_or(Malformed)?;
    let word = |kind| Ok::<_, Malformed>(attribute(rest, kind)?.and_then(|value| u32_at(value, 0)));
    let name = attribute(rest, UNIX_NAME)?.unwrap_or(&[]).to_vec();
    Ok(Found {
        inode: u64::from(u32_at(body, 4).ok_or(Malformed)?),
        cookie: cookie(body, 8).ok_or(Malformed)?,
        netns,
        uid: word(UNIX_UID)?,
        state: match state {
            LISTEN => State::Listens,
            ESTABLISHED => State::Connected,
            CLOSE if !name.is_empty() => State::Bound,
            _ => State::Other,
        },
        kind: Kind::Unix { name, peer: word(UNIX_PEER)?.map_or(0, u64::from), datagram: kind == SOCK_DGRAM },
    })
}

pub(super) fn netlink_question() -> Vec<u8> {
    words(AF_NETLINK, NETLINK_ALL, &[0, NETLINK_SHOW_GROUPS, 0, 0])
}

pub(super) fn netlink(body: &[u8], netns: u32) -> Result<Found, Malformed> {
    let [_, _, protocol, _] = *body.first_chunk().ok_or(Malformed)?;
    let groups = attribute(body.get(28..).ok_or(Malformed)?, NETLINK_GROUPS)?;
    let port = u32_at(body, 4).ok_or(Malformed)?;
    Ok(Found {
        inode: u64::from(u32_at(body, 16).ok_or(Malformed)?),
        cookie: cookie(body, 20).ok_or(Malformed)?,
        netns,
        uid: None,
        state: if port == 0 { State::Other } else { State::Bound },
        kind: Kind::Netlink {
            protocol: u16::from(protocol),
            port,
            groups: groups.is_some_and(|groups| groups.iter().any(|byte| *byte != 0)),
        },
    })
}

pub(super) fn vsock_question() -> Vec<u8> {
    words(AF_VSOCK, 0, &[u32::MAX, 0, 0, 0, 0])
}

pub(super) fn vsock(body: &[u8], netns: u32) -> Result<Found, Malformed> {
    let [_, kind, state, _] = *body.first_chunk().ok_or(Malformed)?;
    let word = |at| u32_at(body, at).ok_or(Malformed);
    Ok(Found {
        inode: u64::from(word(20)?),
        cookie: cookie(body, 24).ok_or(Malformed)?,
        netns,
        uid: None,
        state: match state {
            LISTEN => State::Listens,
            ESTABLISHED => State::Connected,
            _ if kind == SOCK_DGRAM => State::Bound,
            _ => State::Other,
        },
        kind: Kind::Vsock { local: (word(4)?, word(8)?), remote: (word(12)?, word(16)?) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_refused_and_never_a_panic() {
        let bytes: Vec<u8> = (0..=60).collect();
        for len in 0..16 {
            assert!(packet(&bytes[..len], 1).is_err() && unix(&bytes[..len], 1).is_err());
            assert!(packet_filter(&bytes[..len]).is_err());
        }
        assert!((0..28).all(|len| netlink(&bytes[..len], 1).is_err()));
        assert!((0..32).all(|len| vsock(&bytes[..len], 1).is_err()));
    }

    #[test]
    fn a_guest_s_listener_is_understood() {
        let mut bytes = vec![AF_VSOCK, 1, LISTEN, 0];
        for word in [u32::MAX, 1024, u32::MAX, u32::MAX, 77, 5, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        let told = vsock(&bytes, 3).unwrap();
        assert_eq!((told.inode, told.cookie, told.state), (77, 5, State::Listens));
        assert_eq!(told.kind, Kind::Vsock { local: (u32::MAX, 1024), remote: (u32::MAX, u32::MAX) });
    }

    #[test]
    fn a_filter_is_counted_in_instructions() {
        let mut bytes = vec![AF_PACKET, 3, 0, 3];
        bytes.extend([9_u32, 0, 0].into_iter().flat_map(u32::to_ne_bytes));
        bytes.extend([20_u16, PACKET_FILTER].into_iter().flat_map(u16::to_ne_bytes));
        bytes.extend([0; 16]);
        assert_eq!(packet_filter(&bytes), Ok(Some((9, 2))));
        bytes.truncate(16);
        assert_eq!(packet_filter(&bytes), Ok(None));
        assert_eq!(packet(&bytes, 1).unwrap().state, State::Bound);
    }
}
