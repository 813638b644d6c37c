//! What every live thread used: the task iterator, read at each interval.

use core::ffi::c_void;

use sensor_common::{
    ask::ABSENT,
    wire::{USAGE, usage::Usage},
};

use crate::{
    emit::header,
    read::{Record, ask, clear, iterator, sequence, small},
    task::{Task, actor, io},
};

/// `PF_EXITING` (`include/linux/sched.h`).
const EXITING: u32 = 4;

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn usage(context: *mut c_void) -> i32 {
    let Some((output, task)) = iterator(context) else {
        return 0;
    };
    let task = Task(task);
    let signal = task.signal();
    // Nobody of it lives: its `exit` tells all.
    if signal.get::<u32>(ask!(offsets.signal_live)) == 0 {
        return 0;
    }
    let Some(record) = small::<Usage>(USAGE) else {
        return 0;
    };
    record.header = header(task, USAGE, size_of::<Record<Usage>>());
    if task.pid() == task.tgid() {
        record.header.flags = Usage::ACTOR;
        actor(task, &mut record.actor);
    } else {
        clear(&mut record.actor);
    }
    let body = &mut record.body;
    body.ended_cpu = signal.get(ask!(offsets.signal_runtime));
    // The kernel lets a thread go of its handlers when it has added what it used: asked after that sum was
    // read, so that nothing is counted twice.
    if ask!(offsets.task_sighand) != ABSENT && task.0.follow_some(ask!(offsets.task_sighand)).is_none() {
        record.header.flags |= Usage::ENDED;
    }
    // Before the hook of its exit adds what it did.
    if task.0.get::<u32>(ask!(offsets.task_flags)) & EXITING != 0 {
        record.header.flags |= Usage::ENDING;
    }
    body.io = io(task.0, ask!(offsets.task_ioac));
    body.cpu = task.0.get(ask!(offsets.task_runtime));
    sequence(output, record);
    0
}
