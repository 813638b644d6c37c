//! `fork`: a process is born (`sched_process_fork`, `kernel/fork.c`).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sensor_common::{
    loss::SCRATCH,
    wire::{FORK, fork::Fork},
};

use crate::{
    emit::{Haste, header, lost, seen, submit},
    map::THREADS,
    read::{At, Record, alone, small},
    task::{Task, actor},
};

#[btf_tracepoint(function = "sched_process_fork")]
pub fn fork(context: BtfTracePointContext) -> u32 {
    let _alone = alone();
    let creator = Task(At::argument(&context, 0));
    let child = Task(At::argument(&context, 1));
    if child.pid() != child.tgid() {
        // A thread may have ended when something that it did is told.
        let process = [u64::from(child.tgid()), child.leader_start()];
        let _ = THREADS.insert(child.pid(), process, 0);
        let _ = THREADS.insert(child.tgid(), process, 0);
        return 0;
    }
    seen(FORK);
    let Some(record) = small::<Fork>(FORK) else {
        lost(FORK, SCRATCH);
        return 0;
    };
    actor(child, &mut record.actor);
    record.body = Fork { creator_start: creator.leader_start(), creator: creator.tgid(), reserved: 0 };
    // Last: its time is its place among the others.
    record.header = header(child, FORK, size_of::<Record<Fork>>());
    submit(FORK, record, size_of::<Record<Fork>>() as u32, Haste::Bulk);
    0
}
