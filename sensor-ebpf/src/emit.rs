//! The one place that counts, fills the header and gives a record to a ring.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    maps::RingBuf,
};
use sensor_common::{
    loss::{RING_FULL, SEEN, slot},
    wire::Header,
};

use crate::{
    map::{BULK, URGENT},
    read::{Reach, Record, ask, count, end_of_quiet, output, reserved},
    task::Task,
};
use zerocopy::FromBytes;

/// How soon the reader is to have it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// At once: the reader is woken.
    Urgent,
    /// With the bulk, but the reader is woken for it: what is new, so that a flood of it keeps off the alerts' ring.
    New,
    /// When the reader comes by, or when the ring fills.
    Bulk,
}

/// The head of a record of `kind` about `task`.
#[inline(always)]
pub fn header<R: Reach>(task: Task<R>, kind: u16, size: usize) -> Header {
    Header {
        time: crate::read::now(),
        start: task.leader_start(),
        pid: task.tgid(),
        tid: task.pid(),
        size: size as u32,
        kind,
        flags: 0,
    }
}

/// Notes that a hook saw something, whatever becomes of it.
#[inline(always)]
pub fn seen(kind: u16) {
    count(slot(kind, SEEN));
}

/// Notes that something seen can't be told.
#[inline(always)]
pub fn lost(kind: u16, reason: u32) {
    count(slot(kind, reason));
}

/// Puts the first `size` bytes of a record into the ring of its haste, or counts it lost.
#[inline(always)]
pub fn submit<T>(kind: u16, record: &T, size: u32, haste: Haste) {
    let (ring, flags) = match haste {
        Haste::Urgent => (&URGENT, u64::from(BPF_RB_FORCE_WAKEUP)),
        Haste::New => (&BULK, u64::from(BPF_RB_FORCE_WAKEUP)),
        Haste::Bulk => (&BULK, bulk_wake(&BULK)),
    };
    if output(ring, record, size, flags) {
        return;
    }
    // A flood of alerts: one more wakes the reader from the larger ring.
    if haste != Haste::Urgent || !output(&BULK, record, size, flags) {
        lost(kind, RING_FULL);
    }
}

/// Builds an alert in the ring itself, or counts it lost: for programs that may be interrupted by another task's run of
/// them on the same processor, which would write into what they share.
#[inline(always)]
pub fn alert<B: Copy + FromBytes + 'static>(kind: u16, fill: impl Fn(&mut Record<B>)) {
    seen(kind);
    let whole = |record: &mut Record<B>| {
        fill(record);
        true
    };
    let wake = u64::from(BPF_RB_FORCE_WAKEUP);
    if reserved(&URGENT, wake, whole).is_none() && reserved(&BULK, wake, whole).is_none() {
        lost(kind, RING_FULL);
    }
}

/// Builds a record in the bulk ring itself, or counts it lost: for programs that may be called in an interrupt
/// while another builds its own. `fill` says whether there is something to tell after all.
#[inline(always)]
pub fn tell<B: Copy + FromBytes + 'static>(kind: u16, fill: impl FnOnce(&mut Record<B>) -> bool) {
    if !offer(kind, fill) {
        seen(kind);
        lost(kind, RING_FULL);
    }
}

/// The same of what is told later when the ring has no room now: false then, and nothing is counted.
#[inline(always)]
pub fn offer<B: Copy + FromBytes + 'static>(kind: u16, fill: impl FnOnce(&mut Record<B>) -> bool) -> bool {
    let told = reserved(&BULK, bulk_wake(&BULK), |record: &mut Record<B>| {
        record.header.time = crate::read::now();
        record.header.size = size_of::<Record<B>>() as u32;
        record.header.kind = kind;
        fill(record)
    });
    if told == Some(true) {
        seen(kind);
    }
    told.is_some()
}

/// A wake-up for each record would cost the workload more than all the rest: only the first after a
/// long sleep of the reader wakes it, and a filling ring.
#[inline(always)]
fn bulk_wake(ring: &RingBuf) -> u64 {
    if end_of_quiet() || ring.query(u64::from(BPF_RB_AVAIL_DATA)) > u64::from(ask!(fill_mark)) {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}
