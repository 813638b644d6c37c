//! Sockets: bound, listening, connected, accepted, closed.
//!
//! A TCP socket changes its state in the process that calls, or in an interrupt while anyone runs.
//! What a process does is remembered by the socket's cookie (`OWNERS`) until what comes of it is told.

use core::ffi::c_void;

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_sock, cgroup_sock_addr, fexit},
    programs::{BtfTracePointContext, FExitContext, SockAddrContext, SockContext},
};
use sensor_common::{
    ask::{ABSENT, datagram},
    loss::{MAP_FULL, RING_FULL},
    wire::{
        SOCKET_ACCEPT, SOCKET_BIND, SOCKET_CLOSE, SOCKET_CONNECT, SOCKET_LISTEN, SOCKET_LOOK,
        socket::{Owner, Socket},
    },
};

use super::{mptcp, sctp};
use crate::{
    emit::{header, lost, offer, seen, tell},
    map::{ATTEMPTS, DATAGRAMS, OWNERS, UNTAKEN},
    read::{
        At, Probed, Reach, Record, Typed, alone, arguments, ask, note, sequence, small,
        socket::{
            addressed_protocol, addressed_sock, cookie, file_iterator, own_cookie, own_sock, socket_of,
        },
        taken, unnoted, with, zero,
    },
    sock::{self, Counters},
    task::Task,
};

pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;
pub(super) const AF_PACKET: u16 = 17;
pub(super) const SOCK_STREAM: u16 = 1;
pub(super) const SOCK_DGRAM: u16 = 2;
pub(super) const IPPROTO_TCP: u16 = 6;
pub(super) const IPPROTO_SCTP: u16 = 132;
const IPPROTO_MPTCP: u16 = 262;
/// What a program of a cgroup says to let the call go on.
pub(super) const GO_ON: i32 = 1;

/// A socket of TCP, SCTP or MPTCP goes from one state to another (`inet_sk_set_state`, `net/ipv4/af_inet.c`).
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn socket_state(context: BtfTracePointContext) -> u32 {
    let _alone = alone();
    if let Some(change) = Change::of(&context) {
        change.tell();
        note(change.number());
    }
    0
}

/// Runs after it, and tells what it didn't: the kernel skips a program that is under way on a processor already,
/// and changes that an interrupt brings would be lost.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn socket_state_nested(context: BtfTracePointContext) -> u32 {
    let _alone = alone();
    if let Some(change) = Change::of(&context)
        && unnoted(change.number(), 0)
    {
        change.tell();
    }
    0
}

/// From which state to which a socket goes.
struct Change {
    sock: At<Typed>,
    protocol: u16,
    cookie: u64,
    old: u16,
    new: u16,
}

impl Change {
    /// Of a connection of MPTCP those of its first subflow are told, and who closes the socket above, which changes its
    /// state beside it.
    #[inline(always)]
    fn of(context: &BtfTracePointContext) -> Option<Self> {
        let sock: At<Typed> = At::argument(context, 0);
        let (old, new) = (context.arg::<u32>(1) as u16, context.arg::<u32>(2) as u16);
        let protocol = sock.get(ask!(offsets.sock_protocol));
        let cookie = match protocol {
            IPPROTO_TCP if mptcp::is_joined(sock) => return None,
            IPPROTO_TCP | IPPROTO_SCTP => cookie(sock),
            IPPROTO_MPTCP if new == Socket::FIN_WAIT1 || new == Socket::LAST_ACK => mptcp::cookie(sock)?,
            _ => return None,
        };
        Some(Self { sock, protocol, cookie, old, new })
    }

    /// One that no other change has at the time; states are fewer than 16.
    #[inline(always)]
    fn number(&self) -> u64 {
        self.cookie << 4 | u64::from(self.new & 15)
    }

    #[inline(always)]
    fn tell(&self) {
        let Self { sock, protocol, cookie, old, new } = *self;
        if protocol == IPPROTO_SCTP && new != Socket::LISTEN {
            return sctp::changed(sock, cookie, new);
        }
        match new {
            // Only a process that calls connects, shuts down or closes.
            Socket::SYN_SENT => {
                remember(cookie);
                // The state tells from here on.
                let _ = ATTEMPTS.remove(cookie);
            }
            Socket::FIN_WAIT1 | Socket::LAST_ACK => {
                let closes = closes();
                if closes {
                    remember(cookie);
                }
                take(cookie, closes);
            }
            Socket::ESTABLISHED => established(sock, cookie, old),
            Socket::LISTEN => tell::<Socket>(SOCKET_LISTEN, |record| {
                describe(sock, cookie, &mut record.body, 0);
                mine(record);
                true
            }),
            Socket::CLOSE => closed(sock, cookie, old),
            _ => {}
        }
    }
}

/// A function of its own, as the next: what each needs of the stack is not needed at once (512 bytes in all).
#[inline(never)]
fn established(sock: At<Typed>, cookie: u64, old: u16) {
    if old == Socket::SYN_SENT || OWNERS.get_ptr(cookie).is_some() {
        tell::<Socket>(SOCKET_CONNECT, |record| {
            describe(sock, cookie, &mut record.body, 0);
            remembered(cookie, record);
            true
        });
        let _ = OWNERS.remove(cookie);
    } else if old == Socket::SYN_RECV {
        let mut body = Socket::default();
        describe(sock, cookie, &mut body, 0);
        #[expect(
            clippy::needless_borrows_for_generic_args,
            reason = "by value it would be on the stack twice, which has no room for it"
        )]
        let kept = UNTAKEN.insert(cookie, &body, 0);
        if kept.is_err() {
            tell::<Socket>(SOCKET_ACCEPT, |record| {
                describe(sock, cookie, &mut record.body, 0);
                true
            });
        }
    }
}

#[inline(never)]
fn closed(sock: At<Typed>, cookie: u64, old: u16) {
    // Who connects comes there too, when the other end does as well at the same moment (RFC 9293, 3.5).
    if old == Socket::CLOSE || old == Socket::SYN_RECV && OWNERS.get_ptr(cookie).is_none() {
        return;
    }
    let error = sock.get::<u32>(ask!(offsets.sock_err)) as u16;
    // The other end, or a timer, leaves a reason; without one it is a process that calls.
    let calls = match old {
        Socket::LISTEN => closes(),
        Socket::ESTABLISHED | Socket::CLOSE_WAIT => error == 0 && closes(),
        _ => false,
    };
    let (kind, flags) = match old {
        Socket::SYN_SENT | Socket::SYN_RECV => (SOCKET_CONNECT, Socket::FAILED),
        Socket::LISTEN => (SOCKET_CLOSE, Socket::LISTENED),
        _ => (SOCKET_CLOSE, 0),
    };
    if !take(cookie, calls) && UNTAKEN.remove(cookie).is_ok() {
        // Nobody comes by any more who could tell it.
        seen(SOCKET_ACCEPT);
        lost(SOCKET_ACCEPT, RING_FULL);
    }
    tell::<Socket>(kind, |record| {
        describe(sock, cookie, &mut record.body, 0);
        record.body.error = error;
        record.body.flags |= flags;
        record.body.traffic = traffic(sock::Socket::of_typed(sock));
        if !remembered(cookie, record) && calls {
            mine(record);
        }
        true
    });
    let _ = OWNERS.remove(cookie);
}

/// Tells that a connection is taken, unless that was told: by who is remembered for it, else by who `calls`. False when
/// the ring had no room: it stays untaken, for whoever comes next.
#[inline(always)]
fn take(cookie: u64, calls: bool) -> bool {
    UNTAKEN.get_ptr(cookie).is_none()
        || offer::<Socket>(SOCKET_ACCEPT, |record| {
            if !remembered(cookie, record) && calls {
                mine(record);
            }
            taken(&UNTAKEN, &cookie, &mut record.body)
        })
}

/// `accept(2)` that wants to know who connected, and `getpeername(2)`: who calls it has the connection.
#[cgroup_sock_addr(getpeername4)]
pub fn socket_peer4(context: SockAddrContext) -> i32 {
    peer(&context)
}

#[cgroup_sock_addr(getpeername6)]
pub fn socket_peer6(context: SockAddrContext) -> i32 {
    peer(&context)
}

#[inline(always)]
fn peer(context: &SockAddrContext) -> i32 {
    let cookie = match addressed_protocol(context) as u16 {
        IPPROTO_MPTCP => mptcp::cookie(addressed_sock(context)),
        _ => Some(own_cookie(context)),
    };
    if let Some(cookie) = cookie {
        take(cookie, true);
    }
    GO_ON
}

/// The end of `inet_csk_accept` (`net/ipv4/inet_connection_sock.c`): who accepts, whether it asks who connected or not. Of
/// MPTCP it is given the subflow that the connection begins with.
#[fexit]
pub fn socket_accepted(context: FExitContext) -> i32 {
    let _alone = alone();
    let sock = arguments(&context).follow(ask!(functions.accept_result));
    // What the kernel's own threads accept has no process.
    if !sock.is_null() && closes() {
        take(sock.get(ask!(offsets.sock_cookie)), true);
    }
    0
}

/// `bind(2)` that succeeded.
#[cgroup_sock(post_bind4)]
pub fn socket_bound4(context: SockContext) -> i32 {
    bound(&context)
}

#[cgroup_sock(post_bind6)]
pub fn socket_bound6(context: SockContext) -> i32 {
    bound(&context)
}

#[inline(always)]
fn bound(context: &SockContext) -> i32 {
    let sock = own_sock(context);
    let cookie = own_cookie(context);
    // The kernel tells no end of its own (`inet_release`, net/ipv4/af_inet.c).
    if sock.get::<u16>(ask!(offsets.sock_type)) == SOCK_DGRAM && !of_kernel(sock) {
        remember_datagram(cookie);
    }
    tell::<Socket>(SOCKET_BIND, |record| {
        describe(sock, cookie, &mut record.body, 0);
        mine(record);
        true
    });
    GO_ON
}

/// Every socket that a process has open, in whatever network namespace: the iterator over open files.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn socket_look(context: *mut c_void) -> i32 {
    let Some((output, task, file)) = file_iterator(context) else {
        return 0;
    };
    let Some(sock) = socket_of(file).and_then(|socket| socket.follow_some(ask!(offsets.socket_sk))) else {
        return 0;
    };
    let family: u16 = sock.get(ask!(offsets.sock_family));
    if family != AF_INET && family != AF_INET6 && family != AF_PACKET {
        return 0;
    }
    if sock.get::<u16>(ask!(offsets.sock_protocol)) == IPPROTO_MPTCP {
        let Some(first) = mptcp::first(sock) else {
            return 0;
        };
        // Before its first packet nobody has asked for its cookie, and a program may not for what it isn't given.
        let cookie = mptcp::cookie(sock).unwrap_or(cookie(sock));
        show(output, task, |body| describe(first, cookie, body, zero() as u32));
    } else if !sctp::is_changing(sock) {
        show(output, task, |body| describe(sock, cookie(sock), body, zero() as u32));
    }
    0
}

/// Gives a socket that a process has open to the iterator's reader.
#[inline(always)]
fn show(output: *mut c_void, task: At<Typed>, fill: impl FnOnce(&mut Socket)) {
    let Some(record) = small::<Socket>(SOCKET_LOOK) else {
        return;
    };
    record.header = header(Task(task), SOCKET_LOOK, size_of::<Record<Socket>>());
    fill(&mut record.body);
    sequence(output, record);
}

/// What is counted beside a socket.
#[inline(always)]
pub(super) fn traffic(socket: sock::Socket) -> [u64; 4] {
    socket.counters().map_or([0; 4], Counters::totals)
}

/// The running thread's process.
#[inline(always)]
pub(super) fn caller() -> Owner {
    let task = Task::current();
    Owner {
        start: task.leader_start(),
        pid: task.tgid(),
        tid: task.pid(),
        ids: task.0.follow(ask!(offsets.task_cred)).array(ask!(offsets.cred_uid)),
    }
}

/// Whether who closes a socket is the running thread's process. The kernel itself closes what io_uring held when the
/// process that had the ring has ended. And the sensor's looks at open files hold each file for a moment: a socket
/// that its process closes meanwhile ends when the look lets go of it.
#[inline(always)]
pub(super) fn closes() -> bool {
    let task = Task::current();
    task.tgid() != ask!(own_pid) && !task.of_kernel()
}

/// Remembers the running thread's process for a socket.
#[inline(always)]
fn remember(cookie: u64) {
    let _ = OWNERS.insert(cookie, caller(), 0);
}

/// Whether the kernel made a socket for itself, as tunnels do.
#[inline(always)]
pub(super) fn of_kernel<R: Reach>(sock: At<R>) -> bool {
    sock.bit(ask!(offsets.sock_kernel), ask!(kernel_bit))
}

/// Remembers a datagram socket, so that its end is told.
#[inline(always)]
pub(super) fn remember_datagram(cookie: u64) {
    if DATAGRAMS.insert(cookie, datagram::SEEN, 0).is_err() {
        seen(SOCKET_CLOSE);
        lost(SOCKET_CLOSE, MAP_FULL);
    }
}

/// Makes a record one of the process that is remembered for a socket, if one is.
#[inline(always)]
fn remembered(cookie: u64, record: &mut Record<Socket>) -> bool {
    with(&OWNERS, &cookie, |owner| theirs(record, owner))
}

/// Makes a record one of this process.
#[inline(always)]
pub(super) fn theirs<B>(record: &mut Record<B>, owner: &Owner) {
    record.header.start = owner.start;
    record.header.pid = owner.pid;
    record.header.tid = owner.tid;
    record.actor.ids = owner.ids;
}

/// Makes a record one of the running thread's process.
#[inline(always)]
pub(super) fn mine(record: &mut Record<Socket>) {
    theirs(record, &caller());
}

/// Fills what the kernel's `struct sock` says. `nothing` is 0; in a program that must not call, one that the compiler can't
/// see through (`read::zero`), which takes room on the stack that the others don't have.
#[inline(always)]
pub(super) fn describe<R: Reach>(sock: At<R>, cookie: u64, body: &mut Socket, nothing: u32) {
    let family: u16 = sock.get(ask!(offsets.sock_family));
    body.cookie = cookie;
    body.family = family;
    body.socket = sock.get(ask!(offsets.sock_type));
    body.protocol = sock.get(ask!(offsets.sock_protocol));
    body.state = u16::from(sock.get::<u8>(ask!(offsets.sock_state)));
    body.netns = sock.follow(ask!(offsets.sock_net)).get(ask!(offsets.net_inum));
    body.device = sock.get(ask!(offsets.sock_device));
    body.flags = if mptcp::is_subflow(sock, body.protocol) { Socket::MPTCP } else { 0 };
    body.error = 0;
    body.reserved = [nothing as u16; 3];
    body.traffic = [u64::from(nothing); 4];
    if family == AF_INET6 {
        body.remote = bytes(sock.array::<u32, 4>(ask!(offsets.sock_remote6)));
        if sock.bit(ask!(offsets.sock_v6only), ask!(v6only_bit)) {
            body.flags |= Socket::V6ONLY;
        }
    } else {
        body.remote = mapped(sock.get(ask!(offsets.sock_remote4)), nothing);
    }
    local(sock, body, nothing);
    body.remote_port = u16::from_be(sock.get(ask!(offsets.sock_remote_port)));
}

/// Fills the socket's own address and port; its family is known.
#[inline(always)]
pub(super) fn local<R: Reach>(sock: At<R>, body: &mut Socket, nothing: u32) {
    body.local = match body.family {
        AF_INET6 => bytes(sock.array::<u32, 4>(ask!(offsets.sock_local6))),
        _ => mapped(sock.get(ask!(offsets.sock_local4)), nothing),
    };
    body.local_port = sock.get(ask!(offsets.sock_local_port));
    if body.local_port == 0 && ask!(offsets.sock_bound_port) != ABSENT {
        // A socket that closes has given its port back, and still has it noted.
        let noted: At<Probed> = At::any(sock.address());
        body.local_port = u16::from_be(noted.get(ask!(offsets.sock_bound_port)));
    }
}

/// An address of IPv4 in the form of IPv6 (RFC 4291, 2.5.5.2).
#[inline(always)]
pub(super) fn mapped(address: u32, nothing: u32) -> [u8; 16] {
    bytes([nothing, nothing, u32::from_be(0xffff), address])
}

/// Words in network order as they lie in memory.
#[inline(always)]
pub(super) fn bytes(words: [u32; 4]) -> [u8; 16] {
    let [a, b, c, d] = words.map(u32::to_ne_bytes);
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
}
