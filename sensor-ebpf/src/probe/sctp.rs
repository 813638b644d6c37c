//! SCTP. A socket has few states, with the numbers of TCP's (`enum sctp_sock_state`, `include/net/sctp/constants.h`), and
//! what is between associations isn't told by them.

use sensor_common::wire::{SOCKET_ACCEPT, SOCKET_CLOSE, SOCKET_CONNECT, socket::Socket};

use super::socket::{IPPROTO_SCTP, SOCK_STREAM, closes, describe, mine, traffic};
use crate::{
    emit::tell,
    read::{At, Probed, Typed, ask},
    sock,
};

/// A socket has an association. Who accepts one or peels it off does so for a new socket, which is no file yet
/// (`sctp_accept`) or no stream (`sctp_do_peeloff`); to who connects it comes in an interrupt.
#[inline(never)]
pub(super) fn changed(sock: At<Typed>, cookie: u64, new: u16) {
    if new != Socket::ESTABLISHED {
        return;
    }
    let taken =
        sock.follow(ask!(offsets.sock_socket)).is_null() || !is_stream(sock.get(ask!(offsets.sock_type)));
    tell::<Socket>(if taken { SOCKET_ACCEPT } else { SOCKET_CONNECT }, |record| {
        describe(sock, cookie, &mut record.body, 0);
        if taken {
            mine(record);
        }
        true
    });
}

/// The last descriptor of a socket is closed.
#[inline(always)]
pub(super) fn released(sock: At<Probed>, cookie: u64, beside: sock::Socket) {
    let (kind, flags) = match u16::from(sock.get::<u8>(ask!(offsets.sock_state))) {
        Socket::LISTEN => (SOCKET_CLOSE, Socket::LISTENED),
        Socket::ESTABLISHED | Socket::CLOSE_WAIT => (SOCKET_CLOSE, 0),
        Socket::CLOSE if tried(sock) => (SOCKET_CONNECT, Socket::FAILED),
        _ => return,
    };
    tell::<Socket>(kind, |record| {
        describe(sock, cookie, &mut record.body, 0);
        record.body.error = sock.get::<u32>(ask!(offsets.sock_err)) as u16;
        record.body.flags |= flags;
        record.body.traffic = traffic(beside);
        if closes() {
            mine(record);
        }
        true
    });
}

/// Whether a thread is in a call that works on a socket of SCTP: one that connects has a port before it has another end,
/// and would look as if it were bound.
#[inline(always)]
pub(super) fn is_changing(sock: At<Typed>) -> bool {
    sock.get::<u16>(ask!(offsets.sock_protocol)) == IPPROTO_SCTP
        && sock.get::<u8>(ask!(offsets.sock_state)) == Socket::CLOSE as u8
        && sock.get::<u32>(ask!(offsets.sock_owned)) != 0
}

/// Whether a stream that has no association wanted one. One that was accepted when its association had ended is shut
/// down (`sctp_sock_migrate`).
#[inline(always)]
fn tried(sock: At<Probed>) -> bool {
    is_stream(sock.get(ask!(offsets.sock_type)))
        && sock.get::<u16>(ask!(offsets.sock_remote_port)) != 0
        && sock.get::<u8>(ask!(offsets.sock_shutdown)) == 0
}

#[inline(always)]
fn is_stream(kind: u16) -> bool {
    kind == SOCK_STREAM
}
