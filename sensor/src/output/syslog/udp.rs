//! By datagrams (RFC 5426): nobody learns whether one arrived, but when nobody listens there.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use super::{Trouble, name, trouble};
use crate::config::Address;

/// Longest message that a datagram of IPv4 holds.
pub(super) const MOST: usize = 65_507;
/// How long the socket may have no room.
const SLOW: Duration = Duration::from_secs(10);

const SENDING: &str = "sending datagrams to";

/// The socket.
pub(super) struct Udp {
    address: Address,
    socket: Option<UdpSocket>,
}

impl Udp {
    pub(super) fn new(address: &Address) -> Self {
        Self { address: address.clone(), socket: None }
    }

    pub(super) fn close(&mut self) {
        self.socket = None;
    }

    fn socket(&mut self) -> Result<&UdpSocket, Trouble> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.open()?,
        };
        Ok(self.socket.insert(socket))
    }

    fn open(&self) -> Result<UdpSocket, Trouble> {
        let found = name::addresses(&self.address)
            .map_err(trouble("looking up the address of", "see to the name, and to who answers for names"))?;
        let connect = |to: &SocketAddr| {
            let from = match to {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let socket = UdpSocket::bind(from)?;
            socket.set_write_timeout(Some(SLOW))?;
            socket.connect(to)?;
            Ok(socket)
        };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for to in &found {
            match connect(to) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(trouble(SENDING, "see to the network")(last))
    }

    /// Sends them. What the host itself refuses to send is tried again; what got lost isn't known.
    pub(super) fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), Trouble> {
        let socket = self.socket()?;
        let send = || {
            for message in messages {
                socket.send(message)?;
            }
            // Where nobody listens, the host there says so to the socket.
            socket.take_error()?.map_or(Ok(()), Err)
        };
        send().map_err(|error: io::Error| {
            self.socket = None;
            trouble(SENDING, "see to the server, and whether it listens there")(error)
        })
    }
}
