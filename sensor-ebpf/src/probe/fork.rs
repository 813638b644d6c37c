//! `fork`: a process is born (`sched_process_fork`, `kernel/fork.c`).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sensor_common::{
    loss::SCRATCH,
    wire::{FORK, fork::Fork},
};

use crate::{
    emit::{Haste, header, lost, seen, submit},
    map::THREADS,
    read::{At, Record, Typed, alone, ask, note, of_thread, preempted, small, unnoted},
    task::{Task, actor},
};

#[btf_tracepoint(function = "sched_process_fork")]
pub fn fork(context: BtfTracePointContext) -> u32 {
    let _alone = alone();
    let task = Task(At::argument(&context, 1));
    tell(&context, task);
    // Who runs now: a kernel that may take the processor from it keeps it from being moved to another.
    let creator: At<Typed> = At::argument(&context, 0);
    if creator.get::<u16>(ask!(offsets.task_migration_disabled)) != 0 {
        preempted();
    }
    note(of_thread::<FORK>(task.pid()));
    0
}

/// Runs after it, and tells what it didn't: the kernel skips a program from which it has taken the processor.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn fork_nested(context: BtfTracePointContext) -> u32 {
    let _alone = alone();
    let task = Task(At::argument(&context, 1));
    if unnoted(of_thread::<FORK>(task.pid()), FORK) {
        tell(&context, task);
    }
    0
}

#[inline(always)]
fn tell(context: &BtfTracePointContext, child: Task<Typed>) {
    let creator = Task(At::argument(context, 0));
    if child.pid() != child.tgid() {
        // A thread may have ended when something that it did is told.
        let process = [u64::from(child.tgid()), child.leader_start()];
        let _ = THREADS.insert(child.pid(), process, 0);
        let _ = THREADS.insert(child.tgid(), process, 0);
        return;
    }
    seen(FORK);
    let Some(record) = small::<Fork>(FORK) else {
        lost(FORK, SCRATCH);
        return;
    };
    actor(child, &mut record.actor);
    record.body = Fork { creator_start: creator.leader_start(), creator: creator.tgid(), reserved: 0 };
    // Last: its time is its place among the others.
    record.header = header(child, FORK, size_of::<Record<Fork>>());
    submit(FORK, record, size_of::<Record<Fork>>() as u32, Haste::Bulk);
}
