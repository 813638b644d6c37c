//! Questions to the kernel by netlink (`netlink(7)`) that it answers with a list, in the network namespace of the thread.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::{
        socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockType, sockopt::ReceiveTimeout},
        time::{TimeVal, TimeValLike},
    },
};

pub use nix::sys::socket::SockProtocol as Protocol;

use message::{COMMAND, DONE, DUMP, ERROR, Malformed};

pub mod message;

/// Longest message of an answer: the kernel makes none above 32 KiB (`netlink_recvmsg`).
const LONGEST: usize = 64 * 1024;
/// Most bytes of one answer.
const MOST: usize = 256 * 1024 * 1024;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is in its message")]
pub enum NetlinkError {
    #[error("{what}: {source}")]
    Call { what: &'static str, source: Errno },
    #[error("the kernel refuses the question: {0}")]
    Refused(Errno),
    #[error("the kernel's answer is malformed")]
    Malformed,
    #[error("the kernel's answer is longer than {MOST} bytes")]
    TooLong,
}

impl From<Malformed> for NetlinkError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

fn call(what: &'static str) -> impl Fn(Errno) -> NetlinkError {
    move |source| NetlinkError::Call { what, source }
}

/// A line to one part of the kernel.
#[derive(Debug)]
pub struct Line {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Line {
    /// To this part; an answer that takes longer than a second is given up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(protocol: Protocol) -> Result<Self, NetlinkError> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
            .map_err(call("opening a netlink socket"))?;
        socket::setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(1))
            .map_err(call("setting a timeout"))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; LONGEST] })
    }

    /// Asks for a list, and takes each of its messages in: its kind, and what follows its head. True when the list
    /// changed while it was told.
    ///
    /// # Errors
    /// When there is none, or not all of it.
    pub fn dump(
        &mut self,
        kind: u16,
        question: &[u8],
        mut take: impl FnMut(u16, &[u8]),
    ) -> Result<bool, NetlinkError> {
        self.exchange(kind, DUMP, question, &mut take)
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// When it isn't.
    pub fn command(&mut self, kind: u16, what: &[u8]) -> Result<(), NetlinkError> {
        self.exchange(kind, COMMAND, what, &mut |_, _| {}).map(drop)
    }

    /// Asks for one thing.
    ///
    /// # Errors
    /// When there is none.
    pub fn ask(
        &mut self,
        kind: u16,
        question: &[u8],
        mut take: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        self.exchange(kind, COMMAND, question, &mut take).map(drop)
    }

    fn exchange(
        &mut self,
        kind: u16,
        flags: u16,
        question: &[u8],
        take: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<bool, NetlinkError> {
        self.sequence += 1;
        let bytes = message::build(kind, flags, self.sequence, question);
        socket::sendto(self.socket.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())
            .map_err(call("asking by netlink"))?;
        let (mut interrupted, mut all) = (false, 0_usize);
        loop {
            let received = socket::recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut self.buffer);
            let (len, from) = match received {
                Err(Errno::EINTR) => continue,
                other => other.map_err(call("receiving by netlink"))?,
            };
            // Other processes can send to us too.
            if from.is_none_or(|from| from.pid() != 0) {
                continue;
            }
            all = all.saturating_add(len);
            for told in message::split(self.buffer.get(..len).unwrap_or(&[])) {
                let told = told?;
                if told.sequence != self.sequence {
                    continue;
                }
                interrupted |= told.interrupted;
                match told.kind {
                    ERROR | DONE => return message::end(told).map(|()| interrupted),
                    kind => take(kind, told.body),
                }
            }
            if all > MOST {
                return Err(NetlinkError::TooLong);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_and_refuses() {
        let mut line = Line::open(Protocol::NetlinkRoute).unwrap();
        let mut links = 0;
        // `RTM_GETLINK` with an empty `ifinfomsg`.
        line.dump(18, &[0; 16], |_, _| links += 1).unwrap();
        assert!(links >= 1, "there is a loopback");
        let mut diag = Line::open(Protocol::NetlinkSockDiag).unwrap();
        // No family has this number.
        let refused = diag.dump(20, &[200; 56], |_, _| {}).unwrap_err();
        assert!(matches!(refused, NetlinkError::Refused(Errno::EINVAL | Errno::ENOENT)), "{refused}");
    }
}
