//! MPTCP: below the socket that a process has, the kernel keeps one of TCP for each subflow.
//!
//! Addresses, packets and states are those of subflows. So a connection is told as the one that it begins with, by
//! the cookie of that; what joins it later isn't told.

use super::socket::{IPPROTO_TCP, of_kernel};
use crate::read::{At, Probed, Reach, ask};

/// Whether a socket is a subflow of MPTCP. Those are sockets of the kernel's own; of others no more is read.
#[inline(always)]
pub(super) fn is_subflow<R: Reach>(sock: At<R>, protocol: u16) -> bool {
    protocol == IPPROTO_TCP && of_kernel(sock) && beyond(sock).bit(ask!(offsets.tcp_mptcp), ask!(mptcp_bit))
}

/// Whether a socket of TCP is a subflow that joins a connection which is there.
#[inline(always)]
pub(super) fn is_joined<R: Reach>(sock: At<R>) -> bool {
    if !is_subflow(sock, IPPROTO_TCP) {
        return false;
    }
    let subflow = beyond(sock).follow(ask!(offsets.sock_ulp));
    subflow.bit(ask!(offsets.subflow_asks_join), ask!(asks_join_bit))
        || subflow.bit(ask!(offsets.subflow_joined), ask!(joined_bit))
}

/// The subflow with which a connection of MPTCP begins.
#[inline(always)]
pub(super) fn first<R: Reach>(mptcp: At<R>) -> Option<At<Probed>> {
    beyond(mptcp).follow_some(ask!(offsets.mptcp_first))
}

/// Its cookie; none while nobody asked for it.
#[inline(always)]
pub(super) fn cookie<R: Reach>(mptcp: At<R>) -> Option<u64> {
    match first(mptcp)?.get(ask!(offsets.sock_cookie)) {
        0 => None,
        cookie => Some(cookie),
    }
}

/// What is larger than the type that the verifier knows.
#[inline(always)]
fn beyond<R: Reach>(sock: At<R>) -> At<Probed> {
    At::any(sock.address())
}
