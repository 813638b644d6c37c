//! `name`: hints that a running executable may have lost its name.
//!
//! Best at the end of the kernel's own functions, by whatever call they were come to: there it is known which file lost
//! which name. With the hooks of the calls the caller's path is user memory and can lie: it only makes the hint cheap.
//! The caller's own image is judged whatever the path said, and what no hint tells, the sweep and
//! the end of the process do.

use core::hint::black_box;

use aya_ebpf::{
    EbpfContext,
    macros::{fexit, raw_tracepoint, tracepoint},
    programs::{FExitContext, RawTracePointContext, TracePointContext},
};
use aya_log_ebpf::debug;
use sensor_common::{
    ask::ABSENT,
    loss::SCRATCH,
    wire::{NAME, name::Name},
};

use crate::{
    emit::{Haste, alert, header, lost, seen, submit},
    map::{Hint, INODES, NAMES, PENDING, TOLD},
    read::{
        At, From, Probed, Record, alone, arguments, ask, clear, context_word, copied, current_pid,
        last_components, small,
    },
    task::{Task, actor, named, running, unhashed},
};

/// The end of `vfs_unlink` (`fs/namei.c`), in whoever removes a name.
#[fexit]
pub fn unlinked(context: FExitContext) -> i32 {
    let _alone = alone();
    let arguments = arguments(&context);
    if arguments.get::<u32>(ask!(functions.unlink_result)) == 0 {
        went(arguments.follow(ask!(functions.unlink_dentry)), Name::UNLINK);
    }
    0
}

/// The end of `vfs_rename` (`fs/namei.c`): one name has moved, and another may have been replaced.
#[fexit]
pub fn renamed(context: FExitContext) -> i32 {
    let _alone = alone();
    let arguments = arguments(&context);
    if arguments.get::<u32>(ask!(functions.rename_result)) != 0 {
        return 0;
    }
    let entries = match ask!(functions.rename_data) {
        ABSENT => arguments,
        data => arguments.follow(data),
    };
    went(entries.follow(ask!(functions.rename_old)), Name::RENAME);
    went(entries.follow(ask!(functions.rename_new)), Name::RENAME);
    0
}

/// Tells a name that went, if it was of something running. Who runs a file holds its entry, so that still leads to it.
#[inline(always)]
fn went(dentry: At<Probed>, call: u32) {
    let inode = dentry.follow(ask!(offsets.dentry_inode));
    if INODES.get_ptr(inode.address()).is_none() {
        return;
    }
    alert(NAME, |record: &mut Record<Name>| {
        let task = Task::current();
        record.header = header(task, NAME, size_of::<Record<Name>>());
        actor(task, &mut record.actor);
        running(task.exe_file(), &mut record.body.running);
        named(inode, dentry, &mut record.body.lost);
        record.body.flags = call;
    });
}

/// io_uring's opcodes (`include/uapi/linux/io_uring.h`).
const OP_RENAMEAT: u8 = 35;
const OP_UNLINKAT: u8 = 36;

// Arguments lie 8 bytes apart from 16 on, and so does the result: `format` of each tracepoint.

#[tracepoint]
pub fn enter_unlink(context: TracePointContext) -> u32 {
    enter(unlinks(From::User, context_word::<16>(&context)))
}

#[tracepoint]
pub fn enter_unlinkat(context: TracePointContext) -> u32 {
    enter(unlinks(From::User, context_word::<24>(&context)))
}

#[tracepoint]
pub fn enter_rename(context: TracePointContext) -> u32 {
    enter(renames(From::User, context_word::<16>(&context), context_word::<24>(&context)))
}

/// `renameat` and `renameat2` have these in the same places.
#[tracepoint]
pub fn enter_renameat(context: TracePointContext) -> u32 {
    enter(renames(From::User, context_word::<24>(&context), context_word::<40>(&context)))
}

/// The end of `unlink` and `unlinkat`.
#[tracepoint]
pub fn leave_unlink(context: TracePointContext) -> u32 {
    leave(&context, Name::UNLINK)
}

/// The end of `rename`, `renameat` and `renameat2`.
#[tracepoint]
pub fn leave_rename(context: TracePointContext) -> u32 {
    leave(&context, Name::RENAME)
}

/// io_uring hands an unlink or a rename to a worker: the names are the kernel's own copies here.
#[raw_tracepoint(tracepoint = "io_uring_queue_async_work")]
pub fn uring(context: RawTracePointContext) -> u32 {
    let _alone = alone();
    // Each by itself: the verifier refuses a place among the arguments that is reckoned.
    let given: u64 = match ask!(uring_request) {
        0 => black_box(context.arg(0)),
        1 => black_box(context.arg(1)),
        3 => black_box(context.arg(3)),
        5 => black_box(context.arg(5)),
        _ => return 0,
    };
    let request = At::any(given - u64::from(ask!(uring_into)));
    let hint = match request.get::<u8>(ask!(offsets.uring_opcode)) {
        OP_UNLINKAT => unlinks(From::Kernel, queued(request, ask!(offsets.uring_unlink_name))),
        OP_RENAMEAT => renames(
            From::Kernel,
            queued(request, ask!(offsets.uring_rename_old)),
            queued(request, ask!(offsets.uring_rename_new)),
        ),
        _ => return 0,
    };
    if matches(hint) {
        let mut hint = hint;
        hint[0] |= Name::URING;
        tell(&context, Task::current(), hint);
    }
    0
}

/// The address of a path that a queued request holds.
#[inline(always)]
fn queued(request: At<Probed>, offset: u32) -> u64 {
    if offset == ABSENT {
        return 0;
    }
    request.follow(offset).get(ask!(offsets.filename_name))
}

#[inline(always)]
fn unlinks(from: From, path: u64) -> Hint {
    let (bit, [old, old_parent]) = last_name(from, path, Name::OLD);
    [Name::UNLINK | bit, old, 0, old_parent, 0]
}

#[inline(always)]
fn renames(from: From, old: u64, new: u64) -> Hint {
    let (old_bit, [old, old_parent]) = last_name(from, old, Name::OLD);
    let (new_bit, [new, new_parent]) = last_name(from, new, Name::NEW);
    [Name::RENAME | old_bit | new_bit, old, new, old_parent, new_parent]
}

/// Whether a hint names something running.
#[inline(always)]
fn matches(hint: Hint) -> bool {
    hint[0] & (Name::OLD | Name::NEW) != 0
}

/// `bit` when the last component of the path is that of something running, or can't be told; and the
/// hashes of it and of the one before.
#[inline(always)]
fn last_name(from: From, path: u64, bit: u32) -> (u32, [u32; 2]) {
    match last_components(from, path) {
        Some(hashes) if NAMES.get_ptr(hashes[0]).is_none() => (0, hashes),
        Some(hashes) => (bit, hashes),
        None => (bit, [0; 2]),
    }
}

/// Notes a call that names something running.
#[inline(always)]
fn enter(hint: Hint) -> u32 {
    if matches(hint) {
        let _ = PENDING.insert(current_pid(), hint, 0);
    }
    0
}

/// Tells a call that succeeded and named something running, or that took the caller's own image its name.
#[inline(always)]
fn leave(context: &impl EbpfContext, call: u32) -> u32 {
    let thread = current_pid();
    let pending = copied(&PENDING, &thread);
    if pending.is_some() {
        let _ = PENDING.remove(thread);
    }
    if context_word::<16>(context) != 0 {
        return 0;
    }
    let mut hint = pending.unwrap_or([0; 5]);
    let task = Task::current();
    if own_lost(task) {
        hint[0] |= Name::OWN | call;
    }
    if hint[0] != 0 {
        tell(context, task, hint);
    }
    0
}

/// Whether the caller's own image has no name, and nobody was told yet.
#[inline(always)]
fn own_lost(task: Task<Probed>) -> bool {
    let file = task.exe_file();
    if file.is_null() {
        return false;
    }
    let dentry = file.follow(ask!(offsets.file_dentry));
    let inode = file.follow(ask!(offsets.file_inode));
    if !unhashed(dentry) && inode.get::<u32>(ask!(offsets.inode_nlink)) != 0 {
        return false;
    }
    let key = [dentry.address(), current_pid() >> 32];
    if TOLD.get_ptr(key).is_some() {
        return false;
    }
    let _ = TOLD.insert(key, 1, 0);
    true
}

#[inline(always)]
fn tell(context: &impl EbpfContext, task: Task<Probed>, hint: Hint) {
    seen(NAME);
    let Some(record) = small::<Name>(NAME) else {
        lost(NAME, SCRATCH);
        return;
    };
    record.header = header(task, NAME, size_of::<Record<Name>>());
    actor(task, &mut record.actor);
    running(task.exe_file(), &mut record.body.running);
    clear(&mut record.body.lost);
    record.body.flags = hint[0];
    record.body.old = hint[1];
    record.body.new = hint[2];
    record.body.old_parent = hint[3];
    record.body.new_parent = hint[4];
    record.body.reserved = 0;
    if ask!(log) != 0 {
        debug!(context, "name: pid {}, hint {}", record.header.pid, hint[0]);
    }
    submit(NAME, record, size_of::<Record<Name>>() as u32, Haste::Urgent);
}
