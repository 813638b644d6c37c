//! Packets that a rule of the sensor's firewall keeps out, where the kernel's own filter can't: at the root of the cgroups,
//! of one network namespace.

use aya_ebpf::{macros::cgroup_skb, programs::SkBuffContext};
use sensor_common::filter::{ALLOW_MOST, Filter, KEPT_MOST, Range};

use crate::{
    map::FILTER,
    read::{ask, now},
    sock::{Socket, interface},
};

const DROP: i32 = 0;
const PASS: i32 = 1;
/// The loopback is the first interface of each network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
const TCP: u16 = 6;
const UDP: u16 = 17;
const ICMPV6: u8 = 58;

#[cgroup_skb(ingress)]
pub fn filter_in(context: SkBuffContext) -> i32 {
    judge::<false>(&context)
}

#[cgroup_skb(egress)]
pub fn filter_out(context: SkBuffContext) -> i32 {
    judge::<true>(&context)
}

#[inline(always)]
fn judge<const SENT: bool>(context: &SkBuffContext) -> i32 {
    let Some(filter) = FILTER.get(0) else { return PASS };
    if now() >= filter.until || interface(context) == LOOPBACK {
        return PASS;
    }
    let Some(socket) = Socket::of_packet(context) else { return PASS };
    let sock = socket.washed();
    let net = sock.follow(ask!(offsets.sock_net));
    if net.get::<u32>(ask!(offsets.net_inum)) != filter.netns {
        return PASS;
    }
    let local: u16 = sock.get(ask!(offsets.sock_local_port));
    // On some kernels it is a byte, on others a word: none of these numbers is larger.
    let protocol = u16::from(sock.get::<u8>(ask!(offsets.sock_protocol)));
    if filter.port != 0 && !closes(filter, local, protocol) {
        return PASS;
    }
    let remote_port = sock.get::<u16>(ask!(offsets.sock_remote_port)).swap_bytes();
    match remote::<SENT>(context) {
        Some(remote) if is_allowed(filter, &remote) => PASS,
        Some(remote) if protocol == TCP && is_kept(filter, &remote, remote_port, local) => PASS,
        Some(remote) if filter.port == 0 && keeps_address::<SENT>(context, protocol, local, &remote) => PASS,
        _ => DROP,
    }
}

/// Whether a socket's port is the one that is closed.
#[inline(always)]
fn closes(filter: &Filter, local: u16, protocol: u16) -> bool {
    let [one, other] = filter.protocols;
    filter.port == u32::from(local) && (one == u32::from(protocol) || other == u32::from(protocol))
}

/// The address of the other side, from the packet's head.
#[inline(always)]
fn remote<const SENT: bool>(context: &SkBuffContext) -> Option<[u32; 4]> {
    let version = context.load::<u8>(0).ok()? >> 4;
    if version == 4 {
        let address: u32 = context.load(if SENT { 16 } else { 12 }).ok()?;
        return Some([0, 0, u32::from_be(0xffff), address]);
    }
    context.load(if SENT { 24 } else { 8 }).ok()
}

#[inline(always)]
fn is_allowed(filter: &Filter, remote: &[u32; 4]) -> bool {
    for at in 0..ALLOW_MOST {
        if at as u32 >= filter.allowed {
            break;
        }
        let Range { first, mask } = filter.allow[at];
        let differs = (remote[0] & mask[0] ^ first[0])
            | (remote[1] & mask[1] ^ first[1])
            | (remote[2] & mask[2] ^ first[2])
            | (remote[3] & mask[3] ^ first[3]);
        if differs == 0 {
            return true;
        }
    }
    false
}

#[inline(always)]
fn is_kept(filter: &Filter, remote: &[u32; 4], remote_port: u16, local: u16) -> bool {
    for at in 0..KEPT_MOST {
        if at as u32 >= filter.kept {
            break;
        }
        let kept = &filter.keep[at];
        let differs = (remote[0] ^ kept.remote[0])
            | (remote[1] ^ kept.remote[1])
            | (remote[2] ^ kept.remote[2])
            | (remote[3] ^ kept.remote[3])
            | (u32::from(remote_port) ^ kept.remote_port)
            | (u32::from(local) ^ kept.local_port);
        if differs == 0 {
            return true;
        }
    }
    false
}

/// Without what a host keeps no address: DHCP, and its neighbours over IPv6.
#[inline(always)]
fn keeps_address<const SENT: bool>(
    context: &SkBuffContext,
    protocol: u16,
    local: u16,
    remote: &[u32; 4],
) -> bool {
    if protocol == UDP && (local == 68 || local == 546) {
        let broadcast = *remote == [0, 0, u32::from_be(0xffff), u32::MAX];
        let servers = *remote == [u32::from_be(0xff02_0000), 0, u32::from_be(1), u32::from_be(0x0001_0002)];
        return !SENT || broadcast || servers;
    }
    let next: u8 = context.load(6).unwrap_or(0);
    let kind: u8 = context.load(40).unwrap_or(0);
    // Router and neighbour discovery, and the question for groups.
    let six = remote[2] != u32::from_be(0xffff) || remote[0] | remote[1] != 0;
    six && next == ICMPV6 && (kind == 130 || (133..=136).contains(&kind))
}
