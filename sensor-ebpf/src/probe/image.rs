//! What every process is running now: the task iterator, read at the start and by each sweep.

use core::ffi::c_void;

use sensor_common::wire::{IMAGE, image::Image};

use crate::{
    emit::header,
    read::{Record, ask, iterator, sequence, small},
    task::{Task, actor, remember, running},
};

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn image(context: *mut c_void) -> i32 {
    let Some((output, task)) = iterator(context) else {
        return 0;
    };
    let task = Task(task);
    if task.pid() != task.tgid() && task.leader().mm().is_some() {
        return 0;
    }
    let Some(record) = small::<Image>(IMAGE) else {
        return 0;
    };
    record.header = header(task, IMAGE, size_of::<Record<Image>>());
    if task.signal().get::<u32>(ask!(offsets.signal_live)) != 0 {
        record.header.flags = Image::ALIVE;
    } else if task.0.get::<u32>(ask!(offsets.task_exit_state)) == 0 {
        record.header.flags = Image::ENDING;
    }
    actor(task, &mut record.actor);
    let file = task.exe_file();
    remember(file);
    running(file, &mut record.body.running);
    sequence(output, record);
    0
}
