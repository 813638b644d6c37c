//! What happens to a socket: one body for all of it; the kind says what.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The header is of the process that did it, all zeros where the program couldn't know it; of the actor
/// only the ids are filled.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Socket {
    /// The kernel's cookie of the socket, not used again during a boot.
    pub cookie: u64,
    /// Its own address; of IPv4 as `::ffff:a.b.c.d`.
    pub local: [u8; 16],
    /// The other's address, likewise.
    pub remote: [u8; 16],
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Bits, see below.
    pub flags: u32,
    /// Index of the interface that it is bound to, 0 for none.
    pub device: u32,
    /// Its own port; 0 when it has none, or none yet.
    pub local_port: u16,
    /// The other's port.
    pub remote_port: u16,
    /// Address family (`AF_INET`…).
    pub family: u16,
    /// `SOCK_STREAM`…
    pub socket: u16,
    /// `IPPROTO_TCP`…
    pub protocol: u16,
    /// Why it failed, an errno; 0 where it didn't, or the kernel gave no reason.
    pub error: u16,
    /// State of the socket (`TCP_ESTABLISHED`…), for one that is looked at.
    pub state: u16,
    /// Zeros.
    pub reserved: [u16; 3],
    /// Of one that is closed: IP bytes and packets sent, then received; else zeros.
    pub traffic: [u64; 4],
}

/// One is bound.
pub type SocketBind = Socket;
/// One listens.
pub type SocketListen = Socket;
/// A connection is made, or failed to be.
pub type SocketConnect = Socket;
/// A connection is taken.
pub type SocketAccept = Socket;
/// One is closed.
pub type SocketClose = Socket;
/// One is looked at.
pub type SocketLook = Socket;

impl Socket {
    /// IPv6 only (`IPV6_V6ONLY`).
    pub const V6ONLY: u32 = 1;
    /// It failed.
    pub const FAILED: u32 = 2;
    /// It listened.
    pub const LISTENED: u32 = 4;
    /// Whether it failed isn't known.
    pub const UNSURE: u32 = 8;
    /// It is one of TCP below MPTCP.
    pub const MPTCP: u32 = 16;

    /// `TCP_ESTABLISHED` (`include/net/tcp_states.h`); connected UDP sockets have it too.
    pub const ESTABLISHED: u16 = 1;
    /// `TCP_SYN_SENT`.
    pub const SYN_SENT: u16 = 2;
    /// `TCP_SYN_RECV`.
    pub const SYN_RECV: u16 = 3;
    /// `TCP_FIN_WAIT1`.
    pub const FIN_WAIT1: u16 = 4;
    /// `TCP_CLOSE`.
    pub const CLOSE: u16 = 7;
    /// `TCP_CLOSE_WAIT`.
    pub const CLOSE_WAIT: u16 = 8;
    /// `TCP_LAST_ACK`.
    pub const LAST_ACK: u16 = 9;
    /// `TCP_LISTEN`.
    pub const LISTEN: u16 = 10;
}

/// A connect that was begun, and what came of it: of datagrams all, of TCP those that failed before there was a
/// state to see. Its `socket` has the address that was asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Attempt {
    /// The socket.
    pub socket: Socket,
    /// Its mark (`SO_MARK`).
    pub mark: u32,
    /// The user whose routes it takes.
    pub uid: u32,
    /// Its type of service (`IP_TOS`).
    pub tos: u32,
    /// Its hash before (`sk_txhash`): another when a datagram socket was connected.
    pub hash: u32,
}

/// What came of a connect.
pub type SocketAttempt = Attempt;

/// A connect that was begun, as the programs remember it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Begun {
    /// When, as in `Header`.
    pub time: u64,
    /// By whom.
    pub owner: Owner,
    /// What.
    pub attempt: Attempt,
}

/// Who owns a socket, as the programs remember it until there is something to tell.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Owner {
    /// When the process began.
    pub start: u64,
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// As in `Actor`.
    pub ids: [u32; 8],
}
