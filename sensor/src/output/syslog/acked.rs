//! How much of what was written to a connection its other end hasn't acknowledged yet, by the kernel's table of sockets
//! (`sock_diag(7)`): syslog itself acknowledges nothing.

use std::net::{IpAddr, SocketAddr, TcpStream};

use crate::netlink::{Line, NetlinkError, Protocol, message::u32_at};

/// `SOCK_DIAG_BY_FAMILY`; `INET_DIAG_NOCOOKIE`, both halves.
const BY_FAMILY: u16 = 20;
const NO_COOKIE: [u8; 8] = [0xff; 8];
const TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `idiag_wqueue` in `struct inet_diag_msg`: of TCP, bytes written and not acknowledged.
const UNACKNOWLEDGED: usize = 60;

/// Who is asked about one connection.
pub(super) struct Acked {
    line: Line,
    question: Vec<u8>,
}

impl Acked {
    /// About this one.
    pub(super) fn of(stream: &TcpStream) -> Result<Self, NetlinkError> {
        let call = |what| {
            move |error: std::io::Error| NetlinkError::Call {
                what,
                source: nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0)),
            }
        };
        let (here, there) = (
            stream.local_addr().map_err(call("asking a socket for its address"))?,
            stream.peer_addr().map_err(call("asking a socket for its other end"))?,
        );
        Ok(Self { line: Line::open(Protocol::NetlinkSockDiag)?, question: question(here, there) })
    }

    /// Bytes that are under way.
    pub(super) fn under_way(&mut self) -> Result<u32, NetlinkError> {
        let mut bytes = None;
        self.line.ask(BY_FAMILY, &self.question, |kind, body| {
            bytes = bytes.or_else(|| u32_at(body, UNACKNOWLEDGED).filter(|_| kind == BY_FAMILY));
        })?;
        bytes.ok_or(NetlinkError::Malformed)
    }
}

/// `struct inet_diag_req_v2`.
fn question(here: SocketAddr, there: SocketAddr) -> Vec<u8> {
    let family = if here.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut bytes = vec![family, TCP, 0, 0];
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend([here, there].into_iter().flat_map(|end| end.port().to_be_bytes()));
    for end in [here, there] {
        let mut room = [0; 16];
        match end.ip() {
            IpAddr::V4(ip) => room[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => room = ip.octets(),
        }
        bytes.extend(room);
    }
    let device = match there {
        SocketAddr::V4(_) => 0,
        // Of a link-local address.
        SocketAddr::V6(there) => there.scope_id(),
    };
    bytes.extend(device.to_ne_bytes());
    bytes.extend(NO_COOKIE);
    bytes
}

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpListener};

    use super::*;

    #[test]
    fn the_kernel_says_what_is_under_way() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(at).unwrap();
            let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut acked = Acked::of(&near).unwrap();
            assert_eq!(acked.under_way(), Ok(0), "{at}");
            // More than the other end has room for, as nobody reads there.
            near.set_nonblocking(true).unwrap();
            while near.write(&[0; 65536]).is_ok() {}
            assert!(acked.under_way().unwrap() > 0, "{at}");
            drop(listener);
        }
    }
}
