//! `exec`: an image is committed (`sched_process_exec`, `fs/exec.c`).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use sensor_common::{
    loss::SCRATCH,
    wire::{
        EXEC, MAX_ARGS, Path, Span, TEXT,
        exec::Exec,
        name::{HASH_START, hash_step},
    },
};

use crate::{
    emit::{Haste, header, lost, seen, submit},
    map::{Big, NAMES, TOLD},
    path::{Top, cgroup, path, since},
    read::{
        At, Typed, alone, append, ask, big, cursor, known, note, of_thread, set_cursor, text_byte, unnoted,
        user_args,
    },
    task::{Task, actor, remember, running},
};

#[btf_tracepoint(function = "sched_process_exec")]
pub fn exec(context: BtfTracePointContext) -> u32 {
    let _alone = alone();
    let task = Task(At::argument(&context, 0));
    tell(&context, task);
    note(of_thread::<EXEC>(task.pid()));
    0
}

/// Runs after it, and tells what it didn't: the kernel skips a program from which it has taken the processor.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn exec_nested(context: BtfTracePointContext) -> u32 {
    let _alone = alone();
    let task = Task(At::argument(&context, 0));
    if unnoted(of_thread::<EXEC>(task.pid()), EXEC) {
        tell(&context, task);
    }
    0
}

#[inline(always)]
fn tell(context: &BtfTracePointContext, task: Task<Typed>) {
    seen(EXEC);
    let Some(big) = big() else {
        lost(EXEC, SCRATCH);
        return;
    };
    big.record.exec.flags = 0;
    actor(task, &mut big.record.actor);
    let file = task.exe_file();
    // First: a name that goes from here on is told, one that went before shows below.
    remember(file);
    running(file, &mut big.record.exec.running);
    arguments(big, task.mm());
    places(big, task, file);
    names(big, task, At::argument(context, 2));
    let size = (TEXT as u32).wrapping_add(cursor(big));
    big.record.header = header(task, EXEC, size as usize);
    let haste = haste(big);
    submit(EXEC, &big.record, size, haste);
    if ask!(log) != 0 {
        debug!(
            context,
            "exec: pid {}, {} bytes, flags {}", big.record.header.pid, size, big.record.exec.flags
        );
    }
}

/// Copies the arguments to the start of the text.
#[inline(always)]
fn arguments(big: &mut Big, mm: Option<At<Typed>>) {
    let (start, end): (u64, u64) = match mm {
        Some(mm) => (mm.get(ask!(offsets.mm_arg_start)), mm.get(ask!(offsets.mm_arg_end))),
        None => (0, 0),
    };
    let total = end.saturating_sub(start);
    let len = if total > MAX_ARGS as u64 { MAX_ARGS as u32 } else { total as u32 };
    big.record.exec.args_bytes = total;
    if user_args(big, start, len) {
        big.record.exec.args = Span { offset: TEXT as u16, len: len as u16 };
        set_cursor(big, len);
    } else {
        big.record.exec.flags |= Exec::ARGS_UNREAD;
        big.record.exec.args = Span::default();
        set_cursor(big, 0);
    }
}

/// Writes the paths of the image and of the working directory.
#[inline(always)]
fn places(big: &mut Big, task: Task<Typed>, file: At<Typed>) {
    let leaf = cursor(big);
    let mut top = Top::default();
    big.record.exec.executable = if file.is_null() {
        Path::default()
    } else {
        let (dentry, mnt) = (file.follow(ask!(offsets.file_dentry)), file.follow(ask!(offsets.file_mnt)));
        path(big, dentry, mnt, &mut top)
    };
    if ask!(names) != 0 {
        remember_name(big, leaf);
    }
    let fs = task.0.follow(ask!(offsets.task_fs));
    let (dentry, mnt) = (fs.follow(ask!(offsets.fs_pwd_dentry)), fs.follow(ask!(offsets.fs_pwd_mnt)));
    big.record.exec.working_directory = path(big, dentry, mnt, &mut top);
}

/// Writes the cgroup's names, and the script's when it is one: that is as long as who executes it likes, so it comes last.
#[inline(always)]
fn names(big: &mut Big, task: Task<Typed>, bprm: At<Typed>) {
    let filename: u64 = bprm.get(ask!(offsets.bprm_filename));
    let interp: u64 = bprm.get(ask!(offsets.bprm_interp));
    big.record.exec.args_count = bprm.get(ask!(offsets.bprm_argc));
    big.record.exec.reserved = 0;
    big.record.exec.cgroup = cgroup(big, task.cgroup());
    let start = cursor(big);
    if filename != interp {
        big.record.exec.flags |= Exec::SCRIPT;
        append::<4096>(big, filename);
    }
    big.record.exec.filename = since(big, start);
}

/// Remembers the name by which the image was executed, for the hooks that see names go.
#[inline(always)]
fn remember_name(big: &Big, at: u32) {
    let mut hash = HASH_START;
    for step in 0..255_u32 {
        let byte = text_byte(big, at.wrapping_add(step));
        if byte == 0 {
            break;
        }
        hash = hash_step(hash, byte);
    }
    if NAMES.get_ptr(hash).is_none() {
        // A full map drops the name that was used longest ago; the sweep still finds what it misses.
        let _ = NAMES.insert(hash, 1, 0);
    }
}

/// An image without a name is an alert, and its missing name is no news later. A file that was not
/// executed before is to be known at once, so that it can be watched.
#[inline(always)]
fn haste(big: &Big) -> Haste {
    let running = &big.record.exec.running;
    if running.nameless() || big.record.exec.executable.flags & Path::NAMELESS != 0 {
        let _ = TOLD.insert([running.dentry, u64::from(big.record.header.pid)], 1, 0);
        return Haste::Urgent;
    }
    let file =
        [u64::from(running.device) << 32 | u64::from(running.generation), running.inode, running.ctime];
    if known(file) { Haste::Bulk } else { Haste::New }
}
