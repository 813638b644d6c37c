//! Reads of sockets: by their cookies, of open files, and by the contexts of programs of cgroups.

use core::{ffi::c_void, marker::PhantomData, ptr};

use aya_ebpf::{
    EbpfContext,
    helpers::generated as helper,
    programs::{SockAddrContext, SockContext},
};

use sensor_common::ask::ABSENT;

use super::{At, Probed, Typed, ask};

/// The kernel's cookie of a socket that a typed program was given.
#[inline(always)]
pub fn cookie(sock: At<Typed>) -> u64 {
    // SAFETY: the helper takes a pointer to a socket, which the verifier checks.
    unsafe { helper::bpf_get_socket_cookie(sock.0 as *mut c_void) }
}

/// The socket of an open file, when it is one.
#[inline(always)]
pub fn socket_of(file: At<Typed>) -> Option<At<Typed>> {
    // SAFETY: the helper takes a pointer to a file, which the verifier checks.
    let socket = unsafe { helper::bpf_sock_from_file(file.0 as *mut _) };
    if socket.is_null() { None } else { Some(At(socket as u64, PhantomData)) }
}

/// The cookie of the socket that a program of a cgroup is called for.
#[inline(always)]
pub fn own_cookie(context: &impl EbpfContext) -> u64 {
    // SAFETY: the helper takes the program's context, which the verifier checks.
    unsafe { helper::bpf_get_socket_cookie(context.as_ptr()) }
}

/// The `struct sock` that a program of a cgroup is called for: its context is that structure itself.
#[inline(always)]
pub fn own_sock(context: &SockContext) -> At<Probed> {
    At::any(context.sock as u64)
}

/// The same of a program that is also given an address: its context is a `struct bpf_sock_addr_kern`.
#[inline(always)]
pub fn addressed_sock(context: &SockAddrContext) -> At<Probed> {
    At::<Probed>::any(context.sock_addr as u64).follow(ask!(offsets.addressed_sk))
}

/// The address that such a program is given: of IPv4, of IPv6, and the port, all in network order.
#[inline(always)]
pub fn given_address(context: &SockAddrContext, v6: bool) -> ([u32; 4], u16) {
    // SAFETY: the verifier knows the context and its members, and refuses what this type of program may not read.
    unsafe {
        let given = context.sock_addr;
        let port = ptr::read_volatile(&raw const (*given).user_port) as u16;
        if !v6 {
            return ([ptr::read_volatile(&raw const (*given).user_ip4), 0, 0, 0], port);
        }
        let mut words = [0; 4];
        for (at, word) in words.iter_mut().enumerate() {
            *word = ptr::read_volatile((&raw const (*given).user_ip6).cast::<u32>().add(at));
        }
        (words, port)
    }
}

/// The protocol of the socket that such a program is called for.
#[inline(always)]
pub fn addressed_protocol(context: &SockAddrContext) -> u32 {
    // SAFETY: a word of the context.
    unsafe { ptr::read_volatile(&raw const (*context.sock_addr).protocol) }
}

/// What other programs of the cgroup said to this call so far: an errno, 0 when it may go on.
#[inline(always)]
pub fn refused() -> u16 {
    if ask!(offsets.cgroup_retval) == ABSENT {
        return 0;
    }
    // SAFETY: a helper without arguments, that is there when its result has a place.
    let result = unsafe { helper::bpf_get_retval() };
    result.wrapping_neg() as u16
}

/// The iterator's arguments where it goes over open files: its output, the task and the file.
#[inline(always)]
pub fn file_iterator(context: *mut c_void) -> Option<(*mut c_void, At<Typed>, At<Typed>)> {
    // SAFETY: the context of `iter/task_file` is { meta, task, fd, file }, 8 bytes each; the verifier knows the
    // types and checks each load.
    unsafe {
        let task = *context.cast::<*mut c_void>().add(1);
        let file = *context.cast::<*mut c_void>().add(3);
        if task.is_null() || file.is_null() {
            return None;
        }
        let meta = *context.cast::<*mut *mut c_void>();
        Some((*meta, At(task as u64, PhantomData), At(file as u64, PhantomData)))
    }
}
