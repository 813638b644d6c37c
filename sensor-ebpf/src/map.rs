//! Every map.

use aya_ebpf::{
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use sensor_common::{
    ask::DOUBTED_MOST,
    filter::Filter,
    loss::SLOTS,
    wire::{
        Actor, Header, KINDS, MAX_RECORD, TEXT,
        exec::Exec,
        exit::{Ended, Io},
        socket::{Begun, Owner, Socket},
        traffic::{Traffic, Unaccounted},
    },
};

/// Taken from the text: a value of a map of each processor is at most as large as a record may be.
const CURSOR: usize = size_of::<u64>();

/// Where a record with its text is built before it goes into a ring.
#[repr(C)]
pub struct Big {
    /// Where the text goes on. Beside what is written first: the end of the text is on a page that is seldom touched.
    pub cursor: u32,
    pub reserved: u32,
    pub record: Long,
}

/// A record with its text.
#[repr(C)]
pub struct Long {
    pub header: Header,
    pub actor: Actor,
    pub exec: Exec,
    pub text: [u8; MAX_RECORD - TEXT - CURSOR],
}

/// Room for any record without text.
pub type Small = [u64; 64];

/// What a call under way may be doing: bits of `Name`, hashes of the old name, the new one,
/// and of the directories' names before them.
pub type Hint = [u32; 5];

/// Records that wake the reader at once: alerts.
#[map]
pub static URGENT: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// Records that the reader comes by for.
#[map]
pub static BULK: RingBuf = RingBuf::with_byte_size(8 * 1024 * 1024, 0);

/// Where an `exec` record is built: too large for the stack, and a ring reserves only constant sizes.
#[map]
pub static BIG: PerCpuArray<Big> = PerCpuArray::with_max_entries(1, 0);

/// Where the records of each other kind are built.
#[map]
pub static SMALL: PerCpuArray<Small> = PerCpuArray::with_max_entries(KINDS.len() as u32 + 1, 0);

/// Where a path from user memory is looked at.
#[map]
pub static PATH: PerCpuArray<[u8; 4096]> = PerCpuArray::with_max_entries(1, 0);

/// What was seen and what was lost, by kind and reason (`sensor_common::loss`): one value, so that user space reads all
/// by one call.
#[map]
pub static COUNT: PerCpuArray<[u64; SLOTS as usize]> = PerCpuArray::with_max_entries(1, 0);

/// Hashes of the last path component of what runs, as it was executed.
#[map]
pub static NAMES: LruHashMap<u32, u32> = LruHashMap::with_max_entries(16384, 0);

/// Inodes of what runs, by their addresses, for the hooks of the functions that take names. One that nobody runs any more
/// costs a hint for nothing.
#[map]
pub static INODES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(16384, 0);

/// How many files are kept in `KNOWN`. A power of two.
pub const KNOWN_MOST: u32 = 16384;

/// Files that were executed before: (device and generation, inode, change time), each in the place that these give, as to be
/// forgotten only costs a wake-up of the reader. It is looked at by each execution: no map's hash.
#[map]
pub static KNOWN: Array<[u64; 3]> = Array::with_max_entries(KNOWN_MOST, 0);

/// Calls under way that name something running, by thread.
#[map]
pub static PENDING: LruHashMap<u64, Hint> = LruHashMap::with_max_entries(4096, 0);

/// Images whose lost name was told already, or was never there: (directory entry, process).
#[map]
pub static TOLD: LruHashMap<[u64; 2], u32> = LruHashMap::with_max_entries(4096, 0);

/// Process (id and start) of each thread that began, the last of them; also of the first thread, when it isn't the only one.
#[map]
pub static THREADS: LruHashMap<u32, [u64; 2]> = LruHashMap::with_max_entries(16384, 0);

/// 1 while the reader sleeps long: who puts the first record into the bulk ring wakes it, and sets 0.
#[map]
pub static QUIET: Array<u32> = Array::with_max_entries(1, 0);

/// Processes whose end was told, by id and start: where the hook doesn't say which thread was the last, two may be.
#[map]
pub static FINISHED: LruHashMap<[u64; 2], u32> = LruHashMap::with_max_entries(4096, 0);

/// Threads whose I/O is in a sum already, by address and start: it is added by the end of the thread or by that of the
/// process, whichever comes first. Asked within moments, by then the oldest are forgotten.
#[map]
pub static SUMMED: LruHashMap<[u64; 2], u32> = LruHashMap::with_max_entries(4096, 0);

/// I/O of threads that ended before their process. The kernel's own sum (`signal->ioac`) is of no use: the I/O of
/// children is added to it when they are reaped, and would be counted once for them and once for their parent.
#[map]
pub static ENDED: HashMap<Ended, Io> = HashMap::with_max_entries(16384, 0);

/// Who is connecting or closing, by the socket's cookie: what comes of it is often seen in an interrupt.
/// The oldest is forgotten when it is full, and then user space knows the owner, or looks for it.
#[map]
pub static OWNERS: LruHashMap<u64, Owner> = LruHashMap::with_max_entries(32768, 0);

/// Datagram sockets that were bound or connected, whose end is told. No map that forgets: an end that won't be told is
/// counted when there is no room.
#[map]
pub static DATAGRAMS: HashMap<u64, u32> = HashMap::with_max_entries(65536, 0);

/// Connections that are there and that no process has taken or used yet. When it is full they are told at once,
/// as the listener's.
#[map]
pub static UNTAKEN: HashMap<u64, Socket> = HashMap::with_max_entries(16384, 0);

/// What each socket sent and received, kept beside it for as long as it lives.
#[btf_map]
pub static SOCKETS: SkStorage<Traffic> = SkStorage::new();

/// What no socket's counters could take.
#[map]
pub static UNACCOUNTED: Array<Unaccounted> = Array::with_max_entries(1, 0);

/// Counters of sockets that changed, when they are asked for, and of those that ended. Small, since what is mapped
/// counts as the reader's memory, twice.
#[map]
pub static TRAFFIC: RingBuf = RingBuf::with_byte_size(1024 * 1024, 0);

/// The same, of those for which there is no room: mapped only while they are read.
#[map]
pub static SPILL: RingBuf = RingBuf::with_byte_size(16 * 1024 * 1024, 0);

/// How many changes another program told for the first at its hook: by kind, and in place 0 for `socket_state`.
#[map]
pub static NESTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(KINDS.len() as u32 + 1, 0);

/// 1 from when a program saw that this kernel takes the processor from programs at tracepoints.
#[map]
pub static PREEMPTED: Array<u32> = Array::with_max_entries(1, 0);

/// How many changes can be noted on a processor: as many as an interrupt brings between two programs, so that
/// hardly two meet in one place. A power of two.
pub const NOTES: u32 = 1024;

/// Changes that a program has told and the second at its hook hasn't been asked about yet.
#[map]
pub static NOTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(NOTES, 0);

/// Connects that were begun and of which it isn't known yet what came. It is small, as user space goes over it.
#[map]
pub static ATTEMPTS: HashMap<u64, Begun> = HashMap::with_max_entries(8192, 0);

/// How many connects were ever kept in `ATTEMPTS`: to look there for some takes long, and most of the time there are
/// none.
#[map]
pub static BEGUN: Array<u64> = Array::with_max_entries(1, 0);

/// Connections of which user space doesn't know whether they are still there, by cookie: 1 when they are. As many as
/// it asks about at once.
#[map]
pub static DOUBTED: HashMap<u64, u32> = HashMap::with_max_entries(DOUBTED_MOST, 0);

/// The rule of the firewall that `filter_in` and `filter_out` keep; each has a map of its own.
#[map]
pub static FILTER: Array<Filter> = Array::with_max_entries(1, 0);
