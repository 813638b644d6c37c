//! What sockets send and receive: counted packet by packet at the root of the cgroups.

use core::ffi::c_void;

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_skb, cgroup_sock},
    programs::{BtfTracePointContext, SkBuffContext, SockContext},
};

use sensor_common::ask::ABSENT;

use super::socket::of_kernel;
use crate::{
    read::{
        At, Probed, alone, ask, confirm,
        socket::{file_iterator, socket_of},
    },
    sock::{Counters, IPPROTO_TCP, Socket, first, length, protocol, unaccounted},
};

/// `include/linux/net.h`.
const SOCK_STREAM: u16 = 1;
/// Lets the packet pass.
const PASS: i32 = 1;

#[cgroup_skb(egress)]
pub fn bytes_sent(context: SkBuffContext) -> i32 {
    count::<true>(context)
}

#[cgroup_skb(ingress)]
pub fn bytes_received(context: SkBuffContext) -> i32 {
    count::<false>(context)
}

/// What nearly every packet does is nothing but this, in a row: each jump would show in the throughput.
#[inline(always)]
fn count<const SENT: bool>(context: SkBuffContext) -> i32 {
    if let Some(socket) = Socket::of_packet(&context)
        && let Some(counters) = socket.counters()
        && counters.count::<SENT>(length(&context))
    {
        return PASS;
    }
    begin::<SENT>(context)
}

/// A packet that finds no counters beside its socket, or ones that have told their last numbers.
#[cold]
#[inline(never)]
fn begin<const SENT: bool>(context: SkBuffContext) -> i32 {
    let bytes = length(&context);
    let Some(socket) = Socket::of_packet(&context) else {
        unaccounted::<SENT>(bytes, 0);
        return PASS;
    };
    if socket.counters().is_some() {
        unaccounted::<SENT>(bytes, 0);
        return PASS;
    }
    let kernels = of_kernel(socket.washed());
    if ask!(offsets.storage_state) != ABSENT && kernels && is_never_told(socket.washed()) {
        unaccounted::<SENT>(bytes, 0);
        return PASS;
    }
    match first::<SENT>(&context, socket, kernels) {
        Some(counters) if counters.count::<SENT>(bytes) => {}
        Some(_) => unaccounted::<SENT>(bytes, 0),
        None => unaccounted::<SENT>(bytes, 1),
    }
    PASS
}

/// Whether a socket of the kernel's is one that it answers by (pings, ports where nobody listens) or tunnels with: it has no end
/// as long as its network namespace lives, and no process ever has it open. Where there is no walk over all, what lies
/// beside it would be told by nobody.
#[inline(always)]
fn is_never_told(sock: At<Probed>) -> bool {
    sock.get::<u16>(ask!(offsets.sock_type)) != SOCK_STREAM
}

/// A TCP socket is gone for good; the last that it sent came after its owner had closed it.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn bytes_tcp_end(context: BtfTracePointContext) -> i32 {
    let _alone = alone();
    let socket = Socket::of_argument(&context);
    if let Some(counters) = socket.counters() {
        counters.end(socket);
    }
    0
}

/// A socket of another protocol is closed.
#[cgroup_sock(sock_release)]
pub fn bytes_closed(context: SockContext) -> i32 {
    let socket = Socket::of_context(&context);
    if protocol(&context) != u32::from(IPPROTO_TCP)
        && let Some(counters) = socket.counters()
    {
        counters.end(socket);
    }
    PASS
}

/// Which of the sockets that user space asks about are still there: those that have counters.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub extern "C" fn socket_there(context: *mut c_void) -> i32 {
    if let Some((counters, _)) = Counters::iterated(context) {
        confirm(counters.cookie());
    }
    0
}

/// The counters of each open socket that has some, where a walk of the kernel over all of them isn't safe: the iterator over
/// open files.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn bytes_read_open(context: *mut c_void) -> i32 {
    let Some((_, _, file)) = file_iterator(context) else {
        return 0;
    };
    if let Some(sock) = socket_of(file).and_then(|socket| socket.follow_some(ask!(offsets.socket_sk)))
        && let Some(counters) = Socket::of_typed(sock).counters()
    {
        counters.tell(sock);
    }
    0
}

/// The counters of each socket that has some.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub extern "C" fn bytes_read(context: *mut c_void) -> i32 {
    if let Some((counters, socket)) = Counters::iterated(context) {
        counters.tell(socket);
    }
    0
}
