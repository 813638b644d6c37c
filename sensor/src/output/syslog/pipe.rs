//! A connection as bytes go through it, secured or not. No step takes longer than a tick.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

use super::stream::is_slow;

/// How long one step may take.
const TICK: Duration = Duration::from_millis(250);
/// How much is read at once, and how often, of a side that has nothing to say.
const HEARD: usize = 4096;
const HEARD_MOST: usize = 64;

/// The connection.
pub(super) struct Pipe {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Pipe {
    pub(super) fn plain(socket: TcpStream) -> io::Result<Self> {
        socket.set_read_timeout(Some(TICK))?;
        socket.set_write_timeout(Some(TICK))?;
        // Each write is a whole load.
        socket.set_nodelay(true)?;
        Ok(Self { socket, tls: None })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Agrees on TLS with the other side, which is to be this one.
    pub(super) fn secured(
        mut self,
        config: Arc<ClientConfig>,
        name: &str,
        late: &dyn Fn() -> bool,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() || tls.wants_write() {
            if late() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let step = match tls.wants_write() {
                true => tls.write_tls(&mut self.socket).map(drop),
                false => take(&mut tls, &mut self.socket),
            };
            match step {
                Err(error) if is_slow(&error) => {}
                other => other?,
            }
        }
        self.tls = Some(Box::new(tls));
        Ok(self)
    }

    /// Gives on some of it; with nothing, what it still holds itself.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write(bytes);
        };
        // It takes what it has room for.
        let taken = tls.writer().write(bytes)?;
        match tls.write_tls(&mut self.socket) {
            // What was taken isn't given again.
            Err(error) if taken == 0 || !is_slow(&error) => Err(error),
            _ => Ok(taken),
        }
    }

    /// Whether it holds nothing itself.
    pub(super) fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// Takes what the other side says, without waiting: nothing that means anything here, but that it closes.
    pub(super) fn hear(&mut self) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        let heard = self.hear_now();
        self.socket.set_nonblocking(false)?;
        match heard {
            Err(error) if is_slow(&error) => Ok(()),
            other => other,
        }
    }

    fn hear_now(&mut self) -> io::Result<()> {
        for _ in 0..HEARD_MOST {
            let mut room = [0; HEARD];
            match &mut self.tls {
                None if self.socket.read(&mut room)? == 0 => {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                None => {}
                Some(tls) => {
                    take(tls, &mut self.socket)?;
                    // Its words are thrown away, so that they don't gather.
                    while !matches!(tls.reader().read(&mut room), Ok(0) | Err(_)) {}
                }
            }
        }
        Ok(())
    }
}

/// Reads once, and understands it.
fn take(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    if tls.read_tls(socket)? == 0 {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let state = tls.process_new_packets().map_err(|error| {
        // The other side is told why, if it still listens.
        let _ = tls.write_tls(socket);
        io::Error::new(io::ErrorKind::InvalidData, error)
    })?;
    match state.peer_has_closed() {
        true => Err(io::ErrorKind::ConnectionAborted.into()),
        false => Ok(()),
    }
}
