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

use super::socket::{GO_ON, IPPROTO_TCP, SOCK_DGRAM, bytes, caller, describe, local, mapped, mine, theirs};
use crate::{
    emit::{lost, seen, tell},
    map::{ATTEMPTS, OWNERS},
    read::{
        At, Reach, Record, Typed, ask, has, now, sequence, shown, small,
        socket::{
            addressed_sock, cookie, file_iterator, given_address, own_cookie, own_sock, refused, socket_of,
        },
    },
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

#[inline(always)]
fn connect(context: &SockAddrContext, v6: bool) -> i32 {
    let sock = addressed_sock(context);
    let datagram = is_datagram(sock);
    if !datagram && sock.get::<u16>(ask!(offsets.sock_protocol)) != IPPROTO_TCP {
        return GO_ON;
    }
    let cookie = own_cookie(context);
    let made = settle(sock, cookie) == Some(true);
    let mut begun = Begun::default();
    begun.time = now();
    begun.owner = caller();
    if made {
        // It is to be told when it is closed.
        let _ = OWNERS.insert(cookie, &begun.owner, 0);
    }
    ask_for(context, v6, sock, &mut begun.attempt);
    begun.attempt.socket.cookie = cookie;
    begun.attempt.socket.error = refused();
    if begun.attempt.socket.error != 0 {
        begun.attempt.socket.flags |= Socket::FAILED;
    } else if ATTEMPTS.insert(cookie, &begun, 0).is_ok() {
        return GO_ON;
    } else if datagram {
        begun.attempt.socket.flags |= Socket::UNSURE;
        let _ = OWNERS.insert(cookie, &begun.owner, 0);
    } else {
        // Should it fail before it has a state, nobody will know.
        seen(SOCKET_ATTEMPT);
        lost(SOCKET_ATTEMPT, MAP_FULL);
        return GO_ON;
    }
    tell::<Attempt>(SOCKET_ATTEMPT, |record| {
        fill(record, &begun);
        true
    });
    GO_ON
}

/// Fills what is asked for: from where and to where, and by which routes.
#[inline(always)]
fn ask_for<R: Reach>(context: &SockAddrContext, v6: bool, sock: At<R>, attempt: &mut Attempt) {
    describe(sock, 0, &mut attempt.socket);
    let (address, port) = given_address(context, v6);
    attempt.socket.remote = if v6 { bytes(address) } else { mapped(address[0]) };
    attempt.socket.remote_port = u16::from_be(port);
    attempt.device = sock.get(ask!(offsets.sock_device));
    attempt.mark = sock.get(ask!(offsets.sock_mark));
    attempt.uid = sock.get(ask!(offsets.sock_uid));
    attempt.tos = u32::from(sock.get::<u8>(ask!(offsets.sock_tos)));
    attempt.hash = sock.get(ask!(offsets.sock_hash));
}

/// The last descriptor of a socket is closed; of TCP the state tells its end.
#[cgroup_sock(sock_release)]
pub fn socket_released(context: SockContext) -> i32 {
    let sock = own_sock(&context);
    let cookie = own_cookie(&context);
    let connected = settle(sock, cookie) == Some(true);
    if is_datagram(sock) && (OWNERS.remove(cookie).is_ok() || connected) {
        tell::<Socket>(SOCKET_CLOSE, |record| {
            describe(sock, cookie, &mut record.body);
            mine(record);
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
    conclude(sock, &mut record.body);
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
            made = Some(conclude(sock, &mut record.body));
        }
        // Unless user space took it meanwhile, and tells it.
        ATTEMPTS.remove(cookie).is_ok()
    });
    made
}

/// Sets what came of a connect that is over, by what its socket is now; gives whether it was made.
#[inline(always)]
fn conclude<R: Reach>(sock: At<R>, attempt: &mut Attempt) -> bool {
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
    local(sock, &mut attempt.socket);
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
