//! Connects of which no state tells: those of datagrams, and those of TCP that fail before they have a state.
//!
//! The kernel calls a program before it connects, and none after. So what is begun is kept (`ATTEMPTS`), and
//! told when it shows what came of it: at the socket's next connect, at its end, or by a look at open files.

use core::ffi::c_void;

use aya_ebpf::{
    macros::{cgroup_sock, cgroup_sock_addr},
    programs::{SockAddrContext, SockContext},
};
use sensor_common::{
    ask::ABSENT,
    loss::MAP_FULL,
    wire::{
        SOCKET_ATTEMPT, SOCKET_CLOSE,
        socket::{Attempt, Begun, Owner, Socket},
    },
};

use super::{
    sctp,
    socket::{
        AF_INET, AF_INET6, GO_ON, IPPROTO_SCTP, IPPROTO_TCP, SOCK_DGRAM, SOCK_STREAM, bytes, caller, closes,
        describe, mapped, mine, of_kernel, remember_datagram, theirs, traffic,
    },
};
use crate::{
    emit::{lost, seen, tell},
    map::{ATTEMPTS, DATAGRAMS},
    read::{
        At, Probed, Reach, Record, Typed, ask, has, now, sequence, shown, small,
        socket::{
            addressed_sock, cookie, file_iterator, given_address, own_cookie, own_sock, refused, socket_of,
        },
        zero,
    },
    sock,
};

/// `connect(2)`, before the kernel looks for a route.
#[cgroup_sock_addr(connect4)]
pub fn socket_connect4(context: SockAddrContext) -> i32 {
    connect(&context, false)
}

#[cgroup_sock_addr(connect6)]
pub fn socket_connect6(context: SockAddrContext) -> i32 {
    connect(&context, true)
}

#[expect(
    clippy::field_reassign_with_default,
    clippy::needless_borrows_for_generic_args,
    reason = "a copy more, and it is too large for the stack of a program"
)]
#[inline(always)]
fn connect(context: &SockAddrContext, v6: bool) -> i32 {
    let sock = addressed_sock(context);
    let datagram = is_datagram(sock);
    if !datagram && sock.get::<u16>(ask!(offsets.sock_protocol)) != IPPROTO_TCP {
        return GO_ON;
    }
    // Nobody called, and no end of it is ever told.
    if datagram && of_kernel(sock) {
        return GO_ON;
    }
    let cookie = own_cookie(context);
    let made = settle(sock, cookie) == Some(true);
    let mut begun = Begun::default();
    begun.time = now();
    begun.owner = caller();
    if made {
        // It is to be told when it is closed.
        remember_datagram(cookie);
    }
    // No more than what can't be seen afterwards: this is on the way of every connect.
    let (address, port) = given_address(context, v6);
    let asked = &mut begun.attempt.socket;
    asked.cookie = cookie;
    asked.family = if v6 { AF_INET6 } else { AF_INET };
    asked.local = if v6 { [0; 16] } else { mapped(0, 0) };
    asked.remote = if v6 { bytes(address) } else { mapped(address[0], 0) };
    asked.remote_port = u16::from_be(port);
    asked.netns = sock.follow(ask!(offsets.sock_net)).get(ask!(offsets.net_inum));
    if datagram {
        asked.socket = SOCK_DGRAM;
        asked.protocol = sock.get(ask!(offsets.sock_protocol));
        begun.attempt.hash = sock.get(ask!(offsets.sock_hash));
    } else {
        asked.socket = SOCK_STREAM;
        asked.protocol = IPPROTO_TCP;
    }
    let error = refused();
    let mut flags = Socket::FAILED;
    if error == 0 {
        if ATTEMPTS.insert(cookie, &begun, 0).is_ok() {
            // Afterwards, so that who sees the number sees the connect.
            sock::begun();
            return GO_ON;
        }
        if !datagram {
            // Should it fail before it has a state, nobody will know.
            seen(SOCKET_ATTEMPT);
            lost(SOCKET_ATTEMPT, MAP_FULL);
            return GO_ON;
        }
        flags = Socket::UNSURE;
        remember_datagram(cookie);
    }
    tell::<Attempt>(SOCKET_ATTEMPT, |record| {
        fill(record, &begun);
        complete(sock, &mut record.body, 0);
        record.body.socket.error = error;
        record.body.socket.flags |= flags;
        true
    });
    GO_ON
}

/// Fills what the socket itself still says: from where, and by which routes.
#[inline(always)]
fn complete<R: Reach>(sock: At<R>, attempt: &mut Attempt, nothing: u32) {
    let Socket { cookie, remote, remote_port, .. } = attempt.socket;
    describe(sock, cookie, &mut attempt.socket, nothing);
    attempt.socket.remote = remote;
    attempt.socket.remote_port = remote_port;
    attempt.mark = sock.get(ask!(offsets.sock_mark));
    attempt.uid = sock.get(ask!(offsets.sock_uid));
    // Of `struct inet_sock`, beyond the type that the verifier knows.
    let inet: At<Probed> = At::any(sock.address());
    attempt.tos = u32::from(inet.get::<u8>(ask!(offsets.sock_tos)));
}

/// The last descriptor of a socket is closed; of TCP, and so of MPTCP, the state tells its end.
#[cgroup_sock(sock_release)]
pub fn socket_released(context: SockContext) -> i32 {
    let sock = own_sock(&context);
    let cookie = own_cookie(&context);
    if sock::protocol(&context) == u32::from(IPPROTO_SCTP) {
        sctp::released(sock, cookie, sock::Socket::of_context(&context));
        return GO_ON;
    }
    let made = settle(sock, cookie);
    // There was no room to tell it, which is counted: it isn't to be told later, and whether it was made isn't known.
    let untold = made.is_none() && ATTEMPTS.remove(cookie).is_ok();
    if is_datagram(sock) && (DATAGRAMS.remove(cookie).is_ok() || made == Some(true) || untold) {
        tell::<Socket>(SOCKET_CLOSE, |record| {
            describe(sock, cookie, &mut record.body, 0);
            record.body.traffic = traffic(sock::Socket::of_context(&context));
            if closes() {
                mine(record);
            }
            true
        });
    }
    GO_ON
}

/// What came of connects that were begun, of the sockets that are still open: the iterator over open files.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn socket_attempts(context: *mut c_void) -> i32 {
    let Some((output, _, file)) = file_iterator(context) else {
        return 0;
    };
    let Some(sock) = socket_of(file).and_then(|socket| socket.follow_some(ask!(offsets.socket_sk))) else {
        return 0;
    };
    let cookie = cookie(sock);
    // First what was begun, then whether the call is over: should it begin its way in between, user space
    // finds it taken.
    let Some(record) = small::<Attempt>(SOCKET_ATTEMPT) else {
        return 0;
    };
    if !shown(&ATTEMPTS, &cookie, |begun| fill(record, begun)) || under_way(sock) {
        return 0;
    }
    conclude(sock, &mut record.body, zero() as u32);
    record.header.size = size_of::<Record<Attempt>>() as u32;
    record.header.kind = SOCKET_ATTEMPT;
    sequence(output, record);
    0
}

/// Whether a thread is in a call that works on the socket.
#[inline(always)]
fn under_way(sock: At<Typed>) -> bool {
    ask!(offsets.sock_owned) == ABSENT || sock.get::<u32>(ask!(offsets.sock_owned)) != 0
}

/// Tells what came of an earlier connect of this socket, which is over: whether it was made, if there was one.
#[inline(always)]
fn settle<R: Reach>(sock: At<R>, cookie: u64) -> Option<bool> {
    if !has(&ATTEMPTS, &cookie) {
        return None;
    }
    let mut made = None;
    tell::<Attempt>(SOCKET_ATTEMPT, |record| {
        if shown(&ATTEMPTS, &cookie, |begun| fill(record, begun)) {
            made = Some(conclude(sock, &mut record.body, 0));
        }
        // Unless user space took it meanwhile, and tells it.
        ATTEMPTS.remove(cookie).is_ok()
    });
    made
}

/// Sets what came of a connect that is over, by what its socket is now; gives whether it was made.
#[inline(always)]
fn conclude<R: Reach>(sock: At<R>, attempt: &mut Attempt, nothing: u32) -> bool {
    complete(sock, attempt, nothing);
    if attempt.socket.socket != SOCK_DGRAM {
        // As soon as TCP has a state, it isn't kept any more.
        attempt.socket.flags |= Socket::FAILED;
        return false;
    }
    if ask!(offsets.sock_hash) == ABSENT {
        attempt.socket.flags |= Socket::UNSURE;
        return true;
    }
    // A new one for each connect that succeeds (`sk_set_txhash`).
    if sock.get::<u32>(ask!(offsets.sock_hash)) == attempt.hash {
        attempt.socket.flags |= Socket::FAILED;
        return false;
    }
    true
}

#[inline(always)]
fn is_datagram<R: Reach>(sock: At<R>) -> bool {
    sock.get::<u16>(ask!(offsets.sock_type)) == SOCK_DGRAM
}

#[inline(always)]
fn fill(record: &mut Record<Attempt>, begun: &Begun) {
    let owner: &Owner = &begun.owner;
    record.header.time = begun.time;
    theirs(record, owner);
    record.body = begun.attempt;
}
