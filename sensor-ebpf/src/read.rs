//! The only reads of kernel and user memory, and the only raw uses of map values.
//!
//! All unsafe of the programs lives here. What makes it sound everywhere: the helpers take any
//! address and fail instead of faulting, as does a load by type, a failed read leaves zeros, and
//! every type read is made of integers (`FromBytes`), for which any bytes are a value. The verifier
//! checks the rest again.

use core::{
    arch::asm,
    ffi::c_void,
    hint::{assert_unchecked, black_box},
    marker::PhantomData,
    mem::MaybeUninit,
    ptr,
};

use aya_ebpf::{
    EbpfContext,
    bindings::seq_file,
    helpers::generated as helper,
    maps::{HashMap, LruHashMap, PerCpuArray, RingBuf},
    programs::BtfTracePointContext,
};
use sensor_common::{
    ask::{ABSENT, ASKED},
    wire::{Actor, Header, MAX_RECORD},
};
use zerocopy::FromBytes;

use crate::map::{BIG, Big, COUNT, SMALL, Small};

mod alone;
pub mod mark;
pub mod socket;
pub mod text;

pub use alone::alone;
pub use mark::{confirm, end_of_quiet, known, note, of_thread, preempted, unnoted};
pub use text::{From, append, cursor, last_components, set_cursor, text_byte, user_args};

/// One answer of user space: `ask!(offsets.task_mm)`. A constant of the program from its load on.
macro_rules! ask {
    ($($path:tt)+) => {
        $crate::read::answer::<{ core::mem::offset_of!(sensor_common::ask::Ask, $($path)+) }>()
    };
}
pub(crate) use ask;

/// The word at this place of `Ask`: of this instruction's constant user space makes the answer.
#[inline(always)]
pub fn answer<const AT: usize>() -> u32 {
    let word: u64;
    // SAFETY: it only sets a register, to a word without anything above it.
    unsafe {
        asm!(
            "{word} = {asked} ll",
            word = out(reg) word,
            asked = const (ASKED as u64) << 32 | AT as u64,
            options(nomem, nostack, preserves_flags)
        );
        assert_unchecked(word <= u32::MAX as u64);
    }
    word as u32
}

/// A number as the kernel's structures hold them: what one load takes.
pub trait Word: FromBytes + Copy {}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

/// How the members of a structure are read.
pub trait Reach: Copy {
    fn word<T: Word>(address: u64) -> T;
    fn words<T: Word, const N: usize>(address: u64) -> [T; N];
}

/// By the program's own load: of what a typed program is given, and of what that points to. The
/// verifier knows those types and refuses any other load.
#[derive(Clone, Copy)]
pub struct Typed;

/// By a helper, at any address.
#[derive(Clone, Copy)]
pub struct Probed;

impl Reach for Typed {
    #[inline(always)]
    fn word<T: Word>(address: u64) -> T {
        // SAFETY: the verifier knows that this address is that of a member; a bad one reads as 0.
        // Volatile, so that two members are never read by one load, which the verifier refuses.
        unsafe { ptr::read_volatile(ptr::with_exposed_provenance::<T>(address as usize)) }
    }

    #[inline(always)]
    fn words<T: Word, const N: usize>(address: u64) -> [T; N] {
        let mut words = [T::new_zeroed(); N];
        let mut next = address;
        for word in &mut words {
            *word = Self::word(next);
            next = next.wrapping_add(size_of::<T>() as u64);
        }
        words
    }
}

impl Reach for Probed {
    #[inline(always)]
    fn word<T: Word>(address: u64) -> T {
        let [word] = Self::words(address);
        word
    }

    #[inline(always)]
    fn words<T: Word, const N: usize>(address: u64) -> [T; N] {
        let mut words = MaybeUninit::<[T; N]>::uninit();
        // SAFETY: the helper writes all of `words`, zeros when it fails, and any bytes are a `T`.
        unsafe {
            helper::bpf_probe_read_kernel(
                words.as_mut_ptr().cast(),
                size_of::<[T; N]>() as u32,
                address as *const c_void,
            );
            words.assume_init()
        }
    }
}

/// The address of a kernel structure, and how it is read.
#[derive(Clone, Copy)]
pub struct At<R>(u64, PhantomData<R>);

impl At<Probed> {
    /// Any address.
    #[inline(always)]
    pub fn any(address: u64) -> Self {
        Self(address, PhantomData)
    }
}

impl At<Typed> {
    /// An argument of a typed program that is a pointer; the verifier checks that it is.
    #[inline(always)]
    pub fn argument(context: &BtfTracePointContext, position: usize) -> Self {
        Self(context.arg(position), PhantomData)
    }
}

impl<R: Reach> At<R> {
    /// The number, for what isn't followed.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0
    }

    /// No structure.
    #[inline(always)]
    pub fn null() -> Self {
        Self(0, PhantomData)
    }

    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// A member that is a number; 0 when the kernel has no such member or the address isn't readable.
    #[inline(always)]
    pub fn get<T: Word>(self, offset: u32) -> T {
        if offset == ABSENT {
            return T::new_zeroed();
        }
        R::word(self.0.wrapping_add(u64::from(offset)))
    }

    /// A member that is an array of numbers.
    #[inline(always)]
    pub fn array<T: Word, const N: usize>(self, offset: u32) -> [T; N] {
        if offset == ABSENT {
            return [T::new_zeroed(); N];
        }
        R::words(self.0.wrapping_add(u64::from(offset)))
    }

    /// A member that is one bit, by its place in the byte.
    #[inline(always)]
    pub fn bit(self, offset: u32, bit: u32) -> bool {
        self.get::<u8>(offset) >> (bit & 7) & 1 != 0
    }

    /// A member of 64 bits that some kernels declare as two of 32: low, high.
    #[inline(always)]
    pub fn halves(self, offset: u32) -> u64 {
        let [low, high] = self.array::<u32, 2>(offset);
        u64::from(high) << 32 | u64::from(low)
    }

    /// A member that points to another structure.
    #[inline(always)]
    pub fn follow(self, offset: u32) -> Self {
        Self(self.get(offset), PhantomData)
    }

    /// A member that points to another structure, as a bare number: the verifier of older kernels takes no
    /// other steps from a typed pointer than those that it knows beforehand.
    #[inline(always)]
    pub fn probe(self, offset: u32) -> At<Probed> {
        if offset == ABSENT {
            return At::any(0);
        }
        At::any(Probed::word(self.0.wrapping_add(u64::from(offset))))
    }

    /// A member that may be null. Of a pointer under RCU the verifier wants to see that it was asked.
    #[inline(always)]
    pub fn follow_some(self, offset: u32) -> Option<Self> {
        let there = self.follow(offset);
        if there.is_null() { None } else { Some(there) }
    }
}

/// Zero, of which the compiler doesn't know that it is: of several zeros in a row it makes a call of `memset`, and
/// a program that reads by type must not call any function (`docs/decisions/0016-no-calls-in-typed-programs.md`).
#[inline(always)]
pub fn zero() -> u64 {
    black_box(0)
}

/// Makes a value all zeros, without a call.
#[inline(always)]
pub fn clear<T: FromBytes>(value: &mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    let (words, zero) = (ptr::from_mut(value).cast::<u64>(), zero());
    for at in 0..size_of::<T>() / 8 {
        // SAFETY: a word of the value, aligned as asserted; any bytes are a `T`.
        unsafe { words.add(at).write(zero) };
    }
}

/// The offset of a member of a member.
#[inline(always)]
pub fn within(outer: u32, inner: u32) -> u32 {
    if outer == ABSENT || inner == ABSENT { ABSENT } else { outer.wrapping_add(inner) }
}

/// The running thread's `task_struct`.
#[inline(always)]
pub fn current() -> At<Probed> {
    // SAFETY: a helper without arguments.
    At::any(unsafe { helper::bpf_get_current_task() })
}

/// Thread group and thread of the running thread: tgid in the upper half.
#[inline(always)]
pub fn current_pid() -> u64 {
    aya_ebpf::helpers::bpf_get_current_pid_tgid()
}

/// Now, nanoseconds since boot.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { helper::bpf_ktime_get_boot_ns() }
}

/// A 64-bit word of a tracepoint's context.
#[inline(always)]
pub fn context_word<const AT: usize>(context: &impl EbpfContext) -> u64 {
    // SAFETY: the verifier refuses an offset outside the context of the program's type.
    unsafe { *context.as_ptr().cast::<u8>().add(AT).cast::<u64>() }
}

/// The arguments of a traced function, 8 bytes apart, and its result after them. By a helper, since where an argument
/// stands is known as late as at the load.
#[inline(always)]
pub fn arguments(context: &impl EbpfContext) -> At<Probed> {
    At::any(context.as_ptr().expose_provenance() as u64)
}

/// The value of this CPU.
///
/// Exclusive while the program runs: it is alone on its processor (`alone`), and none of these is called from an interrupt.
#[expect(clippy::mut_from_ref, reason = "a per-CPU map is a place for each CPU, not one that is shared")]
#[inline(always)]
fn slot<T>(map: &'static PerCpuArray<T>, index: u32) -> Option<&'static mut T> {
    let value = map.get_ptr_mut(index)?;
    // SAFETY: a map value of this CPU, never freed while the program runs; exclusive as said above.
    Some(unsafe { &mut *value })
}

/// Where an `exec` record is built.
#[inline(always)]
pub fn big() -> Option<&'static mut Big> {
    slot(&BIG, 0)
}

/// A record of one kind without text.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Record<B> {
    pub header: Header,
    pub actor: Actor,
    pub body: B,
}

/// Where a record of `kind` is built.
#[inline(always)]
pub fn small<B: FromBytes>(kind: u16) -> Option<&'static mut Record<B>> {
    const { assert!(size_of::<Record<B>>() <= size_of::<Small>()) };
    let value = slot(&SMALL, u32::from(kind))?;
    // SAFETY: large and aligned enough (asserted above), and made of integers only.
    Some(unsafe { &mut *ptr::from_mut(value).cast::<Record<B>>() })
}

/// A copy of a map's value, when the key is there.
#[inline(always)]
pub fn copied<K, V: FromBytes + Copy>(map: &'static LruHashMap<K, V>, key: &K) -> Option<V> {
    // SAFETY: the value is copied at once; should another CPU write it meanwhile, any bytes are a `V`.
    unsafe { map.get(key).copied() }
}

/// Whether a key is there.
#[inline(always)]
pub fn has<K, V>(map: &'static HashMap<K, V>, key: &K) -> bool {
    map.get_ptr(key).is_some()
}

/// Changes a map's value when the key, which is of this CPU alone, is there; false when it isn't.
#[inline(always)]
pub fn change<K, V: FromBytes>(map: &'static HashMap<K, V>, key: &K, with: impl FnOnce(&mut V)) -> bool {
    let Some(value) = map.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: a live value, any bytes of which are a `V`; no other CPU writes it, and user space removes only
    // those of processes that have ended.
    with(unsafe { &mut *value });
    true
}

/// The number of the processor that this runs on.
#[inline(always)]
pub fn processor() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { helper::bpf_get_smp_processor_id() as u32 }
}

/// Shows an entry that another may take meanwhile; false when it isn't there.
#[inline(always)]
pub fn shown<K, V: FromBytes + Copy>(map: &'static HashMap<K, V>, key: &K, show: impl FnOnce(&V)) -> bool {
    let Some(value) = map.get_ptr(key) else { return false };
    // SAFETY: a value of the map, which lives while the program runs; should another CPU write it meanwhile,
    // any bytes are a `V`.
    show(unsafe { &*value });
    true
}

/// Moves an entry out of a map; false when it isn't there or another took it.
#[inline(always)]
pub fn taken<K, V: FromBytes + Copy>(map: &'static HashMap<K, V>, key: &K, into: &mut V) -> bool {
    // Should another take it meanwhile, the removal fails.
    shown(map, key, |value| *into = *value) && map.remove(key).is_ok()
}

/// Shows a map's value, when the key is there.
#[inline(always)]
pub fn with<K, V: FromBytes>(map: &'static LruHashMap<K, V>, key: &K, show: impl FnOnce(&V)) -> bool {
    // SAFETY: a value of the map, which lives while the program runs; should another CPU write it meanwhile,
    // any bytes are a `V`.
    let Some(value) = (unsafe { map.get(key) }) else { return false };
    show(value);
    true
}

/// Builds a record in the ring, and gives it to the reader if `fill` says so; nothing when it was full.
#[inline(always)]
pub fn reserved<B: Copy + FromBytes + 'static>(
    ring: &'static RingBuf,
    flags: u64,
    fill: impl FnOnce(&mut Record<B>) -> bool,
) -> Option<bool> {
    let mut entry = ring.reserve::<Record<B>>(0)?;
    // SAFETY: the entry is as large as a record, aligned to 8, and zeroed first: zeros are a record.
    let keep = unsafe {
        ptr::write_bytes(entry.as_mut_ptr().cast::<u64>(), 0, size_of::<Record<B>>() / 8);
        fill(&mut *entry.as_mut_ptr())
    };
    if keep {
        entry.submit(flags);
    } else {
        entry.discard(flags);
    }
    Some(keep)
}

/// Adds to a counter in a map's value that others add to.
#[inline(always)]
pub fn add(counter: *mut u64, by: u64) {
    // SAFETY: the verifier refuses an address that is no aligned word of a map's value.
    unsafe {
        asm!("lock *(u64 *)({at} + 0) += {by}", at = in(reg) counter, by = in(reg) by, options(nostack));
    }
}

/// Adds one to a counter of this CPU: in one instruction, as an interrupt adds to the same, and so does whoever gets the
/// processor while a program of a cgroup or at a function's end is under way.
#[inline(always)]
pub fn count(index: u32) {
    if let Some(counter) = slot(&COUNT, 0).and_then(|counters| counters.get_mut(index as usize)) {
        add(counter, 1);
    }
}

/// Puts the first `size` bytes of `record` into a ring; false when it was full.
#[inline(always)]
pub fn output<T>(ring: &'static RingBuf, record: &T, size: u32, flags: u64) -> bool {
    let size = black_box(size);
    if size as usize > size_of::<T>() || size as usize > MAX_RECORD {
        return false;
    }
    // SAFETY: `size` bytes of `record` are readable, as checked; the helper copies them.
    let result = unsafe {
        helper::bpf_ringbuf_output(
            ptr::from_ref(ring).cast_mut().cast(),
            ptr::from_ref(record).cast_mut().cast(),
            u64::from(size),
            flags,
        )
    };
    result == 0
}

/// Gives a record to the reader of an iterator.
#[inline(always)]
pub fn sequence<T>(seq: *mut c_void, record: &T) {
    // SAFETY: `seq` is the iterator's own, which the verifier checks; the record is readable.
    unsafe {
        helper::bpf_seq_write(seq.cast::<seq_file>(), ptr::from_ref(record).cast(), size_of::<T>() as u32);
    }
}

/// The iterator's two arguments: its output and the task, which is null at the end.
#[inline(always)]
pub fn iterator(context: *mut c_void) -> Option<(*mut c_void, At<Typed>)> {
    // SAFETY: the context of `iter/task` is { meta, task }, and meta begins with its seq_file; the
    // verifier knows the types and checks each load.
    unsafe {
        let task = *context.cast::<*mut c_void>().add(1);
        if task.is_null() {
            return None;
        }
        let meta = *context.cast::<*mut *mut c_void>();
        Some((*meta, At(task as u64, PhantomData)))
    }
}

/// What an iterator is given in this 64-bit word of its context; null at the end.
#[inline(always)]
pub fn given<const AT: usize>(context: *mut c_void) -> Option<At<Typed>> {
    // SAFETY: the verifier refuses a word outside the context, and knows the type of what is there.
    let address = unsafe { *context.cast::<*mut c_void>().add(AT) };
    if address.is_null() { None } else { Some(At(address as u64, PhantomData)) }
}
