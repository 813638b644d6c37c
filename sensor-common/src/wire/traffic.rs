//! What one socket sent and received: no event, so no kind; it has a ring of its own.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The counters of a socket, beside it in the kernel and as they are told: totals since its first packet.
///
/// What each packet looks at comes first: it shares one line of the cache.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Traffic {
    /// IP bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// IP bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bits: `ENDED`.
    pub flags: u32,
    /// Process that first sent by it; 0 where that isn't known.
    pub pid: u32,
    /// Start of that process, nanoseconds since boot.
    pub start: u64,
    /// The counters when they were last told.
    pub told: [u64; 4],
    /// The kernel's number of the socket, over the whole boot.
    pub cookie: u64,
    /// Own address, as in a packet; of IPv4 the first word.
    pub local: [u32; 4],
    /// The other's, once connected; else zeros.
    pub remote: [u32; 4],
    /// Own port.
    pub local_port: u16,
    /// The other's port, as in a packet; 0 when not connected.
    pub remote_port_be: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// As in `/etc/protocols`.
    pub protocol: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Zero.
    pub reserved: u32,
}

impl Traffic {
    /// The socket is gone: these are its last numbers.
    pub const ENDED: u32 = 1;

    /// What was sent and received: bytes, packets, of each.
    #[inline(always)]
    #[must_use]
    pub fn counters(&self) -> [u64; 4] {
        [self.tx_bytes, self.tx_packets, self.rx_bytes, self.rx_packets]
    }
}

/// What no socket's counters could take.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Unaccounted {
    /// IP bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// IP bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// How often there was no memory for a socket's counters.
    pub refused: u64,
    /// Sockets that ended and found the ring full: their last numbers are in these.
    pub full: u64,
}
