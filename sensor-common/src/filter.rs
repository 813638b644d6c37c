//! What the program that keeps packets out is told: one rule of the firewall, in words of 32 bits as packets have them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most ranges of addresses that are let through.
pub const ALLOW_MOST: usize = 64;
/// Most connections that are let be.
pub const KEPT_MOST: usize = 16;

/// A range of addresses: those of IPv4 as IPv6 has them (`::ffff:…`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Range {
    /// The first address, in network order.
    pub first: [u32; 4],
    /// The bits that all of them share.
    pub mask: [u32; 4],
}

/// A connection of TCP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Kept {
    /// Its other end, as above.
    pub remote: [u32; 4],
    /// That one's port.
    pub remote_port: u32,
    /// The port of this end.
    pub local_port: u32,
}

/// A rule.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Filter {
    /// Nanoseconds since boot from which on it lets all through.
    pub until: u64,
    /// Inode number of the network namespace that it is of.
    pub netns: u32,
    /// The port that it closes; 0 for all there is.
    pub port: u32,
    /// Numbers of the protocols that it closes the port of; 0 for none.
    pub protocols: [u32; 2],
    /// How many ranges there are, and how many connections.
    pub allowed: u32,
    /// See `allowed`.
    pub kept: u32,
    /// The ranges.
    pub allow: [Range; ALLOW_MOST],
    /// The connections.
    pub keep: [Kept; KEPT_MOST],
}
