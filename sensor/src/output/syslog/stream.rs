//! By a connection: TCP (RFC 6587, octet counting), and TLS over it (RFC 5425). The other side says nothing of what it took, so
//! that it has arrived means here: its kernel acknowledged all of it, and the connection was still open after that.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Trouble, acked::Acked, name, pipe::Pipe, trouble};
use crate::{
    config::{self, Address},
    output::Clock,
    tls::Tls,
};

/// How long connecting to one address may take, and the handshake.
const CONNECTING: Duration = Duration::from_secs(10);
/// How long nothing may go on while something is under way, and how long a load may take in all.
const STALLED: Duration = Duration::from_secs(20);
const LOAD: Duration = Duration::from_secs(300);
/// How long a new server may take to say that it refuses us: in TLS 1.3 it learns who we are after we may begin.
const AFTER_HANDSHAKE: Duration = Duration::from_millis(500);
/// Between two looks at what is under way, milliseconds.
const LOOK: u8 = 20;

const CONNECTING_TO: &str = "connecting to";
const SENDING: &str = "sending messages to";
const SEE_SERVER: &str = "see to the server, and the network between";
const UNKNOWN: &str = "the kernel doesn't tell how much of a connection was acknowledged (inet_diag, tcp_diag): what is given to it \
                       counts as arrived";

/// The server, connected to or not.
pub(super) struct Stream {
    address: Address,
    tls: Option<(config::Tls, Tls)>,
    clock: Clock,
    open: Option<Open>,
    buffer: Vec<u8>,
    doubt: bool,
}

/// A connection.
struct Open {
    pipe: Pipe,
    /// None where the kernel doesn't tell.
    acked: Option<Acked>,
}

impl Stream {
    pub(super) fn new(address: &Address, tls: Option<&config::Tls>, clock: Clock) -> Result<Self, String> {
        let read = |files: &config::Tls| Tls::read(files).map(|tls| (files.clone(), tls));
        let tls = tls.map(read).transpose().map_err(|error| error.to_string())?;
        Ok(Self { address: address.clone(), tls, clock, open: None, buffer: Vec::new(), doubt: false })
    }

    /// The next load goes by a new connection, with certificates as they are then.
    pub(super) fn close(&mut self) {
        self.open = None;
        if let Some((files, tls)) = &mut self.tls {
            match Tls::read(files) {
                Ok(new) => *tls = new,
                Err(error) => say!("{error}: the certificates read before stay in use"),
            }
        }
    }

    pub(super) fn doubt(&self) -> Option<&str> {
        self.doubt.then_some(UNKNOWN)
    }

    /// Sends them, and waits until they are acknowledged.
    pub(super) fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), Trouble> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.connect()?,
        };
        self.buffer.clear();
        for message in messages {
            // RFC 6587, section 3.4.1.
            self.buffer.extend_from_slice(message.len().to_string().as_bytes());
            self.buffer.push(b' ');
            self.buffer.extend_from_slice(message);
        }
        open.send(&self.buffer, &self.clock).map_err(trouble(SENDING, SEE_SERVER))?;
        self.open = Some(open);
        Ok(())
    }

    fn connect(&mut self) -> Result<Open, Trouble> {
        let found = name::addresses(&self.address)
            .map_err(trouble("looking up the address of", "see to the name, and to who answers for names"))?;
        let mut last = trouble(CONNECTING_TO, SEE_SERVER)(io::Error::from(io::ErrorKind::NotFound));
        for to in found {
            match self.connect_to(&to) {
                Ok(open) => return Ok(open),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect_to(&mut self, to: &SocketAddr) -> Result<Open, Trouble> {
        let socket =
            TcpStream::connect_timeout(to, CONNECTING).map_err(trouble(CONNECTING_TO, SEE_SERVER))?;
        let acked = Acked::of(&socket).and_then(|mut acked| acked.under_way().map(|_| acked)).ok();
        self.doubt = acked.is_none();
        let mut pipe = Pipe::plain(socket).map_err(trouble(CONNECTING_TO, SEE_SERVER))?;
        if let Some((_, tls)) = &self.tls {
            let end = (self.clock)() + CONNECTING;
            let clock = &self.clock;
            let late = || clock() > end;
            pipe = pipe.secured(tls.config(), self.address.host(), &late).map_err(trouble(
                "agreeing on TLS with",
                "see to both sides' certificates, and that the name is the one in the server's",
            ))?;
            wait(&pipe, AFTER_HANDSHAKE).map_err(trouble(CONNECTING_TO, SEE_SERVER))?;
            pipe.hear().map_err(trouble(
                "agreeing on TLS with",
                "see to our certificate, and whom the server takes",
            ))?;
        }
        Ok(Open { pipe, acked })
    }
}

impl Open {
    fn send(&mut self, bytes: &[u8], clock: &Clock) -> io::Result<()> {
        // It may have been closed since the last load.
        self.pipe.hear()?;
        let end = clock() + LOAD;
        let mut moved = clock();
        let mut left = bytes;
        while !left.is_empty() || !self.pipe.is_flushed() {
            let now = clock();
            match self.pipe.write(left) {
                Ok(count) => {
                    left = left.get(count..).unwrap_or_default();
                    moved = now;
                }
                Err(error) if is_slow(&error) => self.pipe.hear()?,
                Err(error) => return Err(error),
            }
            if now > end || now.saturating_sub(moved) > STALLED {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        self.await_acknowledged(end, clock)
    }

    /// Until nothing is under way any more, and the connection is still open.
    fn await_acknowledged(&mut self, end: Duration, clock: &Clock) -> io::Result<()> {
        let (mut before, mut moved, mut pause) = (u32::MAX, clock(), 0);
        while let Some(acked) = &mut self.acked {
            // Also when the connection is gone.
            let under_way = acked.under_way().map_err(io::Error::other)?;
            if under_way == 0 {
                break;
            }
            let now = clock();
            if under_way != before {
                (before, moved) = (under_way, now);
            }
            if now > end || now.saturating_sub(moved) > STALLED {
                return Err(io::ErrorKind::TimedOut.into());
            }
            wait(&self.pipe, Duration::from_millis(u64::from(pause)))?;
            self.pipe.hear()?;
            pause = (pause * 2 + 1).min(LOOK);
        }
        self.pipe.hear()
    }
}

/// Waits until the other side says something, so long at most.
fn wait(pipe: &Pipe, at_most: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
    let mut wanted = [PollFd::new(pipe.socket().as_fd(), PollFlags::POLLIN)];
    match poll(&mut wanted, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether it only wasn't done in the time that a step may take.
pub(super) fn is_slow(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
