//! Asks the kernel for a route (`RTM_GETROUTE`, `rtnetlink(7)`), as a socket of another would find it.

use std::{fs::File, net::IpAddr, os::fd::AsRawFd};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
    },
};

use crate::event::socket::attempt::{Answer, Question};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_HEAD: usize = 16;

const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_MARK: u16 = 16;
const RTA_UID: u16 = 25;
const RTA_IP_PROTO: u16 = 27;
const RTA_DPORT: u16 = 29;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The kernel's answer, in this network namespace or in another; none when it can't be asked.
#[must_use]
pub fn ask(question: &Question, namespace: Option<&File>) -> Option<Answer> {
    let Some(namespace) = namespace else { return ask_here(question) };
    // A thread's namespace is its own, and ends with it.
    std::thread::scope(|scope| {
        let there = || setns(namespace, CloneFlags::CLONE_NEWNET).ok().and_then(|()| ask_here(question));
        std::thread::Builder::new().spawn_scoped(scope, there).ok()?.join().ok()?
    })
}

fn ask_here(question: &Question) -> Option<Answer> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkRoute,
    )
    .ok()?;
    sendto(socket.as_raw_fd(), &message(question), &NetlinkAddr::new(0, 0), MsgFlags::empty()).ok()?;
    let mut reply = [0; 4096];
    // The kernel has answered by the time that the call returns.
    let size = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty()).ok()?;
    answer(reply.get(..size)?)
}

fn message(question: &Question) -> Vec<u8> {
    let (family, bits, tos) = match question.destination {
        IpAddr::V4(_) => (AF_INET, 32, question.tos & 0xfc),
        IpAddr::V6(_) => (AF_INET6, 128, 0),
    };
    let source_bits = if question.source.is_some() { bits } else { 0 };
    let mut bytes = vec![0; NLMSG_HEAD];
    // `struct rtmsg`.
    bytes.extend_from_slice(&[family, bits, source_bits, tos, 0, 0, 0, 0, 0, 0, 0, 0]);
    add(&mut bytes, RTA_DST, &octets(question.destination));
    if let Some(source) = question.source {
        add(&mut bytes, RTA_SRC, &octets(source));
    }
    add(&mut bytes, RTA_UID, &question.uid.to_ne_bytes());
    for (kind, word) in [(RTA_OIF, question.device), (RTA_MARK, question.mark)] {
        if word != 0 {
            add(&mut bytes, kind, &word.to_ne_bytes());
        }
    }
    // It knows ports of these two alone.
    if let Ok(protocol @ (6 | 17)) = u8::try_from(question.protocol) {
        add(&mut bytes, RTA_IP_PROTO, &[protocol]);
        if question.port != 0 {
            add(&mut bytes, RTA_DPORT, &question.port.to_be_bytes());
        }
    }
    let head = [
        &u32::try_from(bytes.len()).unwrap_or(0).to_ne_bytes()[..],
        &RTM_GETROUTE.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        &[0; 8],
    ]
    .concat();
    bytes.splice(..NLMSG_HEAD, head);
    bytes
}

/// Adds an attribute: its length and kind, its bytes, and up to the next multiple of four.
fn add(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&u16::try_from(value.len() + 4).unwrap_or(0).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn answer(reply: &[u8]) -> Option<Answer> {
    let kind = u16::from_ne_bytes(*reply.get(4..)?.first_chunk()?);
    let body = reply.get(NLMSG_HEAD..)?;
    match kind {
        NLMSG_ERROR => {
            let error = i32::from_ne_bytes(*body.first_chunk()?).checked_neg()?;
            u16::try_from(error).ok().filter(|error| *error != 0).map(Answer::Refused)
        }
        // The member `rtm_type`.
        RTM_NEWROUTE => body.get(7).copied().map(Answer::Way),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(destination: &str) -> Question {
        Question {
            destination: destination.parse().unwrap(),
            source: None,
            device: 0,
            mark: 0,
            uid: 0,
            tos: 0,
            protocol: 6,
            port: 80,
        }
    }

    #[test]
    fn a_message_is_as_long_as_it_says() {
        let whole = Question { source: "::1".parse().ok(), device: 3, mark: 4, ..question("fd00::1") };
        for question in [whole, question("10.0.0.1")] {
            let bytes = message(&question);
            assert_eq!(bytes[..4], u32::try_from(bytes.len()).unwrap().to_ne_bytes());
            assert_eq!(bytes.len() % 4, 0);
        }
    }

    #[test]
    fn this_host_knows_the_way_to_itself() {
        // `RTN_LOCAL`.
        assert_eq!(ask(&question("127.0.0.1"), None), Some(Answer::Way(2)));
    }

    #[test]
    fn replies_that_are_cut_off_are_none() {
        let mut error = vec![0; 20];
        error[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        error[16..20].copy_from_slice(&(-113_i32).to_ne_bytes());
        assert_eq!(answer(&error), Some(Answer::Refused(113)));
        for len in 0..20 {
            assert_eq!(answer(&error[..len]), None);
        }
        error[16..20].copy_from_slice(&i32::MIN.to_ne_bytes());
        assert_eq!(answer(&error), None);
        error[4..6].copy_from_slice(&RTM_NEWROUTE.to_ne_bytes());
        assert_eq!(answer(&error), None);
    }
}
