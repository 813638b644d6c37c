//! What the kernel says of interfaces and their addresses (`rtnetlink(7)`): bytes to meaning, and the questions.

use std::net::{IpAddr, Ipv4Addr};

pub use crate::netlink::message::Malformed;
use crate::netlink::message::{self, DONE, DUMP, ERROR, attributes, u32_at};

/// `RTM_NEWLINK`, `RTM_GETLINK`, `RTM_NEWADDR`, `RTM_GETADDR` (`include/uapi/linux/rtnetlink.h`).
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
/// `IFLA_EXT_MASK`, and `RTEXT_FILTER_SKIP_STATS` in it: an interface's counters are most of its message.
const EXT_MASK: u16 = 29;
const SKIP_STATS: u32 = 8;
/// `IFLA_MASTER` (`include/uapi/linux/if_link.h`).
const MASTER: u16 = 10;
/// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_BROADCAST`, `IFA_FLAGS` (`include/uapi/linux/if_addr.h`).
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const BROADCAST: u16 = 4;
const FLAGS: u16 = 8;
/// `IFA_F_OPTIMISTIC`, `IFA_F_DADFAILED`, `IFA_F_TENTATIVE`.
const OPTIMISTIC: u32 = 0x04;
const DUPLICATE: u32 = 0x08;
const TENTATIVE: u32 = 0x40;
/// `IFF_UP`, `IFF_LOOPBACK` (`include/uapi/linux/if.h`).
const UP: u32 = 1;
const LOOPBACK: u32 = 8;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Sizes of `ifinfomsg`, `ifaddrmsg`.
const LINK_HEAD: usize = 16;
const ADDRESS_HEAD: usize = 8;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The answer is complete.
    Done,
    /// It isn't to be had, for this errno.
    Refused(i32),
    /// An interface.
    Link {
        /// Its number.
        index: u32,
        /// It is up.
        up: bool,
        /// It is a loopback.
        loopback: bool,
        /// The number of the VRF, bridge or bond that it belongs to, 0 for none.
        master: u32,
    },
    /// An address of an interface.
    Address {
        /// The interface's number.
        index: u32,
        /// The address, the host's own.
        ip: IpAddr,
        /// Bits of the network.
        prefix: u8,
        /// Where its network is sent to as a whole.
        broadcast: Option<Ipv4Addr>,
        /// It may be used: no other has it, as far as that had to be found out.
        usable: bool,
    },
    /// Something else.
    Other,
}

/// A message with its place in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The number of the question.
    pub sequence: u32,
    /// What is told changed while it was told.
    pub interrupted: bool,
    /// What it says.
    pub what: What,
}

/// The question for all interfaces.
#[must_use]
pub fn ask_links(sequence: u32) -> Vec<u8> {
    let mut body = vec![0; LINK_HEAD];
    body.extend([8_u16, EXT_MASK].into_iter().flat_map(u16::to_ne_bytes));
    body.extend(SKIP_STATS.to_ne_bytes());
    question(GET_LINK, sequence, &body)
}

/// The question for all addresses.
#[must_use]
pub fn ask_addresses(sequence: u32) -> Vec<u8> {
    question(GET_ADDRESS, sequence, &[0; ADDRESS_HEAD])
}

fn question(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    message::build(kind, DUMP, sequence, body)
}

/// The messages in what was received at once; damage ends it.
pub fn decode(bytes: &[u8]) -> impl Iterator<Item = Result<Message, Malformed>> {
    message::split(bytes).map(|told| told.and_then(|told| understand(told).ok_or(Malformed)))
}

fn understand(told: message::Message<'_>) -> Option<Message> {
    let body = told.body;
    let what = match told.kind {
        DONE => match u32_at(body, 0) {
            // The end of an answer carries an error, 0 for none.
            Some(code) if code != 0 => What::Refused(code.cast_signed().saturating_neg()),
            _ => What::Done,
        },
        ERROR => What::Refused(u32_at(body, 0)?.cast_signed().saturating_neg()),
        NEW_LINK => link(body)?,
        NEW_ADDRESS => address(body)?,
        _ => What::Other,
    };
    Some(Message { sequence: told.sequence, interrupted: told.interrupted, what })
}

fn link(body: &[u8]) -> Option<What> {
    let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
    let mut master = 0;
    for attribute in attributes(body.get(LINK_HEAD..)?) {
        let (kind, value) = attribute.ok()?;
        if kind == MASTER {
            master = u32_at(value, 0)?;
        }
    }
    Some(What::Link { index, up: flags & UP != 0, loopback: flags & LOOPBACK != 0, master })
}

fn address(body: &[u8]) -> Option<What> {
    let [family, prefix, old_flags, _] = *body.first_chunk()?;
    let index = u32_at(body, 4)?;
    let ip = |bytes: &[u8]| match family {
        AF_INET => bytes.first_chunk::<4>().filter(|_| bytes.len() == 4).map(|it| IpAddr::from(*it)),
        AF_INET6 => bytes.first_chunk::<16>().filter(|_| bytes.len() == 16).map(|it| IpAddr::from(*it)),
        _ => None,
    };
    if family != AF_INET && family != AF_INET6 {
        return Some(What::Other);
    }
    let (mut given, mut local, mut broadcast, mut flags) = (None, None, None, u32::from(old_flags));
    for attribute in attributes(body.get(ADDRESS_HEAD..)?) {
        let (kind, value) = attribute.ok()?;
        match kind {
            ADDRESS => given = Some(ip(value)?),
            LOCAL => local = Some(ip(value)?),
            BROADCAST => broadcast = Some(ip(value)?),
            FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    let broadcast = broadcast.and_then(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None });
    // Between two ends the other's stands in `IFA_ADDRESS`.
    let ip = local.or(given)?;
    let usable = flags & DUPLICATE == 0 && (flags & TENTATIVE == 0 || flags & OPTIMISTIC != 0);
    Some(What::Address { index, ip, prefix, broadcast, usable })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::attributes_of as attributes;

    fn told(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = question(kind, 7, body);
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes
    }

    fn address_message(family: u8, flags: u8, all: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![family, 24, flags, 0];
        body.extend(5_u32.to_ne_bytes());
        body.extend(attributes(all));
        told(NEW_ADDRESS, 0, &body)
    }

    fn link_message(index: u32, flags: u32) -> Vec<u8> {
        let words = [0, index, flags, 0];
        let body = [words.map(u32::to_ne_bytes).concat(), attributes(&[(MASTER, &9_u32.to_ne_bytes())])];
        told(NEW_LINK, 2, &body.concat())
    }

    fn only(bytes: &[u8]) -> Result<What, Malformed> {
        let all: Vec<_> = decode(bytes).collect();
        let [one] = all.as_slice() else { panic!("{all:?}") };
        one.map(|message| message.what)
    }

    /// As a dump has them: padding, several attributes, both families.
    fn answer() -> Vec<u8> {
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        [
            link_message(5, UP | LOOPBACK),
            address_message(
                AF_INET,
                0,
                &[(ADDRESS, &[10, 0, 0, 9]), (LOCAL, &[10, 0, 0, 1]), (3, b"eth0\0")],
            ),
            address_message(AF_INET6, 0, &[(ADDRESS, &v6), (FLAGS | 0x8000, &[0x80, 0, 0, 0])]),
            told(DONE, 2, &[0; 4]),
        ]
        .concat()
    }

    #[test]
    fn an_answer_is_understood() {
        let all: Vec<_> = decode(&answer()).map(|it| it.unwrap().what).collect();
        let [link, four, six, What::Done] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(*link, What::Link { index: 5, up: true, loopback: true, master: 9 });
        let own = |ip: &str| What::Address {
            index: 5,
            ip: ip.parse().unwrap(),
            prefix: 24,
            broadcast: None,
            usable: true,
        };
        assert_eq!(*four, own("10.0.0.1"), "the other end of a link isn't the host's");
        assert_eq!(*six, own("2001:db8::1"));
        assert_eq!(
            only(&link_message(3, 0)),
            Ok(What::Link { index: 3, up: false, loopback: false, master: 9 })
        );
    }

    #[test]
    fn errors_and_interruptions_are_told() {
        assert_eq!(only(&told(ERROR, 0, &(-13_i32).to_ne_bytes())), Ok(What::Refused(13)));
        assert_eq!(only(&told(DONE, 0, &(-4_i32).to_ne_bytes())), Ok(What::Refused(4)));
        assert_eq!(only(&told(ERROR, 0, &i32::MIN.to_ne_bytes())), Ok(What::Refused(i32::MAX)));
        assert_eq!(only(&told(99, 0, &[])), Ok(What::Other));
        let told = decode(&told(DONE, 0x10, &[0; 4])).next().unwrap().unwrap();
        assert!(told.interrupted && told.sequence == 7);
    }

    #[test]
    fn an_address_that_another_may_have_is_not_usable() {
        let of = |old: u8, new: Option<u32>| {
            let new = new.map(u32::to_ne_bytes);
            let mut all: Vec<(u16, &[u8])> = vec![(ADDRESS, &[1; 16])];
            all.extend(new.as_ref().map(|flags| (FLAGS, &flags[..])));
            match only(&address_message(AF_INET6, old, &all)) {
                Ok(What::Address { usable, .. }) => usable,
                other => panic!("{other:?}"),
            }
        };
        assert!(of(0, None) && of(0x80, Some(0x280)) && of(0, Some(TENTATIVE | OPTIMISTIC)));
        assert!(!of(0x40, None) && !of(0, Some(TENTATIVE)) && !of(0, Some(DUPLICATE)));
    }

    #[test]
    fn broadcast_is_kept() {
        let bytes = address_message(AF_INET, 0, &[(LOCAL, &[10, 0, 0, 1]), (BROADCAST, &[10, 0, 0, 255])]);
        let broadcast = Some(Ipv4Addr::new(10, 0, 0, 255));
        assert!(matches!(only(&bytes), Ok(What::Address { broadcast: told, .. }) if told == broadcast));
    }

    #[test]
    fn what_is_cut_at_any_byte_is_malformed_and_never_another_answer() {
        let bytes = answer();
        let whole: Vec<_> = decode(&bytes).map(Result::unwrap).collect();
        let mut ends = Vec::new();
        let mut end = 0;
        while let Some(len) = u32_at(&bytes, end) {
            end = (end + len as usize).next_multiple_of(4);
            ends.push(end);
        }
        for len in 0..bytes.len() {
            let told: Vec<_> = decode(&bytes[..len]).collect();
            let complete = ends.iter().filter(|end| **end <= len).count();
            for (one, right) in told.iter().zip(&whole) {
                assert!(one.is_err() || one == &Ok(*right), "{len}: {one:?}");
            }
            assert!(told.iter().filter(|one| one.is_ok()).count() <= complete + 1, "{len}");
            assert!(!told.contains(&Ok(whole[3])), "{len}: an end that didn't come");
        }
    }

    #[test]
    fn attributes_that_lie_about_their_length_are_malformed() {
        let good = address_message(AF_INET, 0, &[(ADDRESS, &[10, 0, 0, 1])]);
        for len in [0_u16, 1, 3, 7, 9, 200, u16::MAX] {
            let mut bytes = good.clone();
            bytes[24..26].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(only(&bytes), Err(Malformed), "{len}");
        }
        for len in [0_u32, 15, 23, 1000, u32::MAX] {
            let mut bytes = good.clone();
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
            assert!(decode(&bytes).all(|told| told == Err(Malformed)), "{len}");
        }
        assert_eq!(only(&address_message(AF_INET, 0, &[])), Err(Malformed), "no address at all");
        assert_eq!(only(&address_message(AF_INET6, 0, &[(ADDRESS, &[10, 0, 0, 1])])), Err(Malformed));
        assert_eq!(only(&address_message(1, 0, &[])), Ok(What::Other));
    }

    #[test]
    fn any_byte_may_be_any() {
        let bytes = answer();
        for at in 0..bytes.len() {
            for value in [0, 1, 4, 127, 255] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                assert!(decode(&bytes).count() <= bytes.len());
            }
        }
    }
}
