//! Sockets: what is kept beside one, and the atomic additions to it.
//!
//! The second place with unsafe code. A value that the kernel keeps beside a socket may be written by
//! several CPUs at once: no reference is ever made to one. Counters are added to by an atomic
//! instruction; of what else is written, any value that was ever there will do.

use core::{
    ffi::c_void,
    ptr::{self, NonNull},
};

use aya_ebpf::{
    bindings::{BPF_RB_NO_WAKEUP, BPF_SK_STORAGE_GET_F_CREATE},
    helpers::generated as helper,
    programs::{BtfTracePointContext, SkBuffContext, SockContext},
};
use sensor_common::wire::traffic::{Traffic, Unaccounted};

use crate::{
    map::{BEGUN, SOCKETS, SPILL, TRAFFIC, UNACCOUNTED},
    read::{At, Probed, Reach, Typed, add, ask, given, output},
    task::Task,
};

/// `AF_INET6` (`include/linux/socket.h`).
const IPV6: u16 = 10;
/// As in `/etc/protocols`.
pub const IPPROTO_TCP: u16 = 6;

/// The counters beside a socket.
#[derive(Clone, Copy)]
pub struct Counters(NonNull<Traffic>);

/// The kernel's address of a socket as a program is given it, for the helpers that take one.
#[derive(Clone, Copy)]
pub struct Socket(*mut c_void);

impl Socket {
    /// That of a packet.
    #[inline(always)]
    pub fn of_packet(context: &SkBuffContext) -> Option<Self> {
        // SAFETY: a word of the context; volatile, as the verifier must see one load for the question and the use.
        let sk = unsafe { ptr::read_volatile(&raw const (*context.skb.skb).__bindgen_anon_2.sk) };
        if sk.is_null() { None } else { Some(Self(sk.cast())) }
    }

    /// The one that a program of sockets is about.
    #[inline(always)]
    pub fn of_context(context: &SockContext) -> Self {
        Self(context.sock.cast())
    }

    /// The first argument of a typed program.
    #[inline(always)]
    pub fn of_argument(context: &BtfTracePointContext) -> Self {
        Self(context.arg(0))
    }

    /// The same, as it is read.
    #[inline(always)]
    pub fn of_typed(sock: At<Typed>) -> Self {
        Self(sock.address() as *mut c_void)
    }

    /// Its address, for reading.
    #[inline(always)]
    pub fn at(self) -> At<Probed> {
        At::any(self.0 as u64)
    }

    /// Its address as a bare number, for reads by helper: the verifier takes no steps from a packet's socket.
    #[inline(always)]
    pub fn washed(self) -> At<Probed> {
        let kept = self.0;
        At::any(Probed::word(ptr::from_ref(&kept).expose_provenance() as u64))
    }

    /// What is beside it, if anything.
    #[inline(always)]
    pub fn counters(self) -> Option<Counters> {
        self.storage(ptr::null_mut(), 0)
    }

    /// Puts this beside it, unless another CPU just did.
    #[inline(always)]
    fn begin(self, mut first: Traffic) -> Option<Counters> {
        self.storage(&raw mut first, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
    }

    #[inline(always)]
    fn storage(self, first: *mut Traffic, flags: u64) -> Option<Counters> {
        let map = ptr::from_ref(&SOCKETS).cast_mut().cast();
        // SAFETY: the verifier knows the types of all three; `first` is read by the kernel only.
        let value = unsafe { helper::bpf_sk_storage_get(map, self.0, first.cast(), flags) };
        NonNull::new(value.cast()).map(Counters)
    }
}

/// The protocol of the socket that a program of sockets is about.
#[inline(always)]
pub fn protocol(context: &SockContext) -> u32 {
    // SAFETY: a word of the context.
    unsafe { (*context.sock).protocol }
}

/// The length of a packet, its IP header included.
#[inline(always)]
pub fn length(context: &SkBuffContext) -> u64 {
    u64::from(context.len())
}

/// The interface that a packet comes by or goes to.
#[inline(always)]
pub fn interface(context: &SkBuffContext) -> u32 {
    // SAFETY: a word of the context.
    unsafe { ptr::read_volatile(&raw const (*context.skb.skb).ifindex) }
}

/// The first packet of a socket: who sends it is known when it does so itself, which a socket of the kernel's own never does.
#[cold]
#[inline(never)]
pub fn first<const SENT: bool>(context: &SkBuffContext, socket: Socket, kernels: bool) -> Option<Counters> {
    let mut row = Traffic {
        // SAFETY: a helper that takes the packet of the context.
        cookie: unsafe { helper::bpf_get_socket_cookie(context.skb.skb.cast()) },
        ..Traffic::default()
    };
    outline(socket, &mut row);
    // TCP also answers on its own, in whatever process is interrupted.
    if SENT && row.protocol != IPPROTO_TCP && !kernels {
        let task = Task::current();
        (row.pid, row.start) = (task.tgid(), task.leader_start());
    }
    socket.begin(row)
}

/// What the first packet's program may know of its socket; the rest is read when it is told.
#[inline(always)]
fn outline(socket: Socket, row: &mut Traffic) {
    // SAFETY: a helper that takes a packet's socket.
    let sk = unsafe { helper::bpf_sk_fullsock(socket.0.cast()) };
    if sk.is_null() {
        return;
    }
    // SAFETY: words of a socket as the verifier knows it, one load for each.
    unsafe {
        row.family = ptr::read_volatile(&raw const (*sk).family) as u16;
        row.protocol = ptr::read_volatile(&raw const (*sk).protocol) as u16;
        row.local_port = ptr::read_volatile(&raw const (*sk).src_port) as u16;
        row.remote_port_be = ptr::read_volatile(&raw const (*sk).dst_port);
        if row.family == IPV6 {
            for at in 0..4 {
                row.local[at] = ptr::read_volatile(&raw const (*sk).src_ip6[at]);
                row.remote[at] = ptr::read_volatile(&raw const (*sk).dst_ip6[at]);
            }
        } else {
            row.local[0] = ptr::read_volatile(&raw const (*sk).src_ip4);
            row.remote[0] = ptr::read_volatile(&raw const (*sk).dst_ip4);
        }
    }
}

/// What is told of a socket beside its counters.
#[inline(always)]
fn describe<R: Reach>(sk: At<R>, row: &mut Traffic) {
    // Of the addresses of IPv6 the verifier knows bytes only.
    let wide = At::any(sk.address());
    row.family = sk.get(ask!(offsets.sock_family));
    row.protocol = sk.get(ask!(offsets.sock_protocol));
    if let Some(net) = sk.follow_some(ask!(offsets.sock_net)) {
        row.netns = net.get(ask!(offsets.net_inum));
    }
    let port: u16 = sk.get(ask!(offsets.sock_local_port));
    if port != 0 {
        row.local_port = port;
    }
    let remote_port: u16 = sk.get(ask!(offsets.sock_remote_port));
    // Of one that was disconnected the last is told.
    if row.remote_port_be != 0 && remote_port == 0 {
        return;
    }
    row.remote_port_be = remote_port;
    if row.family == IPV6 {
        row.local = wide.array(ask!(offsets.sock_local6));
        row.remote = wide.array(ask!(offsets.sock_remote6));
    } else {
        row.local = [sk.get(ask!(offsets.sock_local4)), 0, 0, 0];
        row.remote = [sk.get(ask!(offsets.sock_remote4)), 0, 0, 0];
    }
}

impl Counters {
    /// Counts a packet; false when the socket has told its last numbers already.
    #[inline(always)]
    pub fn count<const SENT: bool>(self, bytes: u64) -> bool {
        let value = self.0.as_ptr();
        // SAFETY: members of a value that stays while the program runs; only their addresses are taken.
        unsafe {
            if ptr::read_volatile(&raw const (*value).flags) & Traffic::ENDED != 0 {
                return false;
            }
            if SENT {
                add(&raw mut (*value).tx_bytes, bytes);
                add(&raw mut (*value).tx_packets, 1);
            } else {
                add(&raw mut (*value).rx_bytes, bytes);
                add(&raw mut (*value).rx_packets, 1);
            }
        }
        true
    }

    /// What was counted, in the order of `Traffic::counters`.
    #[inline(always)]
    pub fn totals(self) -> [u64; 4] {
        self.copy().counters()
    }

    /// The kernel's number of the socket.
    #[inline(always)]
    pub fn cookie(self) -> u64 {
        // SAFETY: as in `count`.
        unsafe { ptr::read_volatile(&raw const (*self.0.as_ptr()).cookie) }
    }

    /// What an iterator over sockets is at, and what is beside it.
    #[inline(always)]
    pub fn iterated(context: *mut c_void) -> Option<(Self, At<Typed>)> {
        let (socket, value) = (given::<2>(context)?, given::<3>(context)?);
        let value = NonNull::new(ptr::with_exposed_provenance_mut(value.address() as usize))?;
        Some((Self(value), socket))
    }

    /// Tells what changed since it was last told.
    #[inline(always)]
    pub fn tell<R: Reach>(self, sk: At<R>) {
        let mut row = self.copy();
        if row.flags & Traffic::ENDED == 0 && differ(&row.told, &row.counters()) {
            describe(sk, &mut row);
            self.give(&row);
        }
    }

    /// Tells the last numbers. When there is no room for them they count as nobody's.
    #[inline(always)]
    pub fn end(self, socket: Socket) {
        // SAFETY: as in `count`.
        unsafe { ptr::write_volatile(&raw mut (*self.0.as_ptr()).flags, Traffic::ENDED) };
        let mut row = self.copy();
        describe(socket.at(), &mut row);
        if row.local_port == 0 {
            row.local_port = u16::from_be(socket.at().get(ask!(offsets.sock_bound_port)));
        }
        if !self.give(&row) {
            forfeit(&row);
        }
    }

    /// Gives a row to the reader; false when both rings are full.
    #[inline(always)]
    fn give(self, row: &Traffic) -> bool {
        let size = size_of::<Traffic>() as u32;
        let given = output(&TRAFFIC, row, size, u64::from(BPF_RB_NO_WAKEUP))
            || output(&SPILL, row, size, u64::from(BPF_RB_NO_WAKEUP));
        if given {
            // SAFETY: as in `count`.
            unsafe { ptr::write_volatile(&raw mut (*self.0.as_ptr()).told, row.counters()) };
        }
        given
    }

    /// Each word as it is at some moment.
    #[inline(always)]
    fn copy(self) -> Traffic {
        // SAFETY: as in `count`; volatile, as no word may be read in two halves.
        let word = |at| unsafe { ptr::read_volatile(self.0.as_ptr().cast::<u64>().add(at)) };
        let words: [u64; size_of::<Traffic>() / size_of::<u64>()] = core::array::from_fn(word);
        zerocopy::transmute!(words)
    }
}

/// Notes that a connect is kept.
#[inline(always)]
pub fn begun() {
    if let Some(count) = BEGUN.get_ptr_mut(0) {
        add(count, 1);
    }
}

/// Compares without a call, which the compiler makes of a comparison of arrays.
#[inline(always)]
fn differ(some: &[u64; 4], others: &[u64; 4]) -> bool {
    some.iter().zip(others).fold(0, |bits, (one, other)| bits | (one ^ other)) != 0
}

/// For what has no counters of its own.
#[inline(always)]
fn rest() -> Option<*mut Unaccounted> {
    UNACCOUNTED.get_ptr_mut(0)
}

/// The last numbers of a socket that couldn't be told.
#[cold]
#[inline(never)]
fn forfeit(row: &Traffic) {
    let Some(rest) = rest() else {
        return;
    };
    let [tx_bytes, tx_packets, rx_bytes, rx_packets] = row.told;
    // SAFETY: members of a map's value; only their addresses are taken.
    unsafe {
        add(&raw mut (*rest).tx_bytes, row.tx_bytes.wrapping_sub(tx_bytes));
        add(&raw mut (*rest).tx_packets, row.tx_packets.wrapping_sub(tx_packets));
        add(&raw mut (*rest).rx_bytes, row.rx_bytes.wrapping_sub(rx_bytes));
        add(&raw mut (*rest).rx_packets, row.rx_packets.wrapping_sub(rx_packets));
        add(&raw mut (*rest).full, 1);
    }
}

/// Counts a packet for which there are no counters.
#[cold]
#[inline(never)]
pub fn unaccounted<const SENT: bool>(bytes: u64, refused: u64) {
    let Some(rest) = rest() else {
        return;
    };
    // SAFETY: members of a map's value; only their addresses are taken.
    unsafe {
        add(&raw mut (*rest).refused, refused);
        if SENT {
            add(&raw mut (*rest).tx_bytes, bytes);
            add(&raw mut (*rest).tx_packets, 1);
        } else {
            add(&raw mut (*rest).rx_bytes, bytes);
            add(&raw mut (*rest).rx_packets, 1);
        }
    }
}
