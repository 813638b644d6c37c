//! `exit`: the whole process ends (`sched_process_exit`, `kernel/exit.c`).

use aya_ebpf::{bindings::BPF_NOEXIST, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use sensor_common::{
    ask::ABSENT,
    loss::{MAP_FULL, SCRATCH},
    wire::{
        EXIT, USAGE,
        exit::{Ended, Exit, Io},
    },
};

use crate::{
    emit::{Haste, header, lost, seen, submit},
    map::{ENDED, FINISHED, SUMMED},
    read::{
        At, Reach, Record, Typed, alone, ask, change, has, note, now, of_thread, processor, small, unnoted,
        zero,
    },
    task::{Task, actor, io, running},
};

/// `SIGNAL_GROUP_EXIT` (`include/linux/sched/signal.h`).
const GROUP_EXIT: u32 = 4;
/// How often the totals are read when threads end meanwhile.
const TRIES: u32 = 4;
/// The scheduler looks at least this often at who runs, nanoseconds: `CONFIG_HZ` isn't below 100.
const TICK_MOST: u64 = 10_000_000;
/// How many threads are looked at that are on their way out together with the last one.
const OTHERS_MOST: u32 = 64;

#[btf_tracepoint(function = "sched_process_exit")]
pub fn exit(context: BtfTracePointContext) -> u32 {
    let _alone = alone();
    let task = Task(At::argument(&context, 0));
    ended::<true>(&context, task);
    note(of_thread::<EXIT>(task.pid()));
    0
}

/// Runs after it, and tells what it didn't: the kernel skips a program from which it has taken the processor.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn exit_nested(context: BtfTracePointContext) -> u32 {
    let _alone = alone();
    let task = Task(At::argument(&context, 0));
    if unnoted(of_thread::<EXIT>(task.pid()), EXIT) {
        ended::<false>(&context, task);
    }
    0
}

/// `LOG`: for one program only, as the lines of a second would be a function that both call
/// (`docs/decisions/0016-no-calls-in-typed-programs.md`).
#[inline(always)]
fn ended<const LOG: bool>(context: &BtfTracePointContext, task: Task<Typed>) {
    let signal = task.signal();
    if signal.get::<u32>(ask!(offsets.signal_live)) != 0 {
        thread_ended(task);
        return;
    }
    // Two threads that end together may both find nobody alive: a newer kernel says who was last.
    if ask!(exit_group_dead) == ABSENT {
        if told_before(task) {
            thread_ended(task);
            return;
        }
    } else if context.arg::<u64>(1) & 1 == 0 {
        thread_ended(task);
        return;
    }
    seen(EXIT);
    let Some(record) = small::<Exit>(EXIT) else {
        lost(EXIT, SCRATCH);
        return;
    };
    actor(task, &mut record.actor);
    let body = &mut record.body;
    running(task.exe_file(), &mut body.running);
    totals(task, signal, body);
    if signal.get::<u32>(ask!(offsets.signal_threads)) > 1 {
        take_others(task, signal, &mut body.io);
    }
    body.status = status(task, signal);
    body.reserved = 0;
    // Last: its time is its place among the others.
    record.header = header(task, EXIT, size_of::<Record<Exit>>());
    let others = Ended { start: record.header.start, pid: record.header.pid, cpu: Ended::ANY };
    // Of those on their way out that weren't looked at the sum will be there in a moment.
    if has(&ENDED, &others) || signal.get::<u32>(ask!(offsets.signal_threads)) > 1 {
        record.header.flags = Exit::THREADS;
    }
    submit(EXIT, record, size_of::<Record<Exit>>() as u32, Haste::Bulk);
    if LOG && ask!(log) != 0 {
        debug!(context, "exit: pid {}, status {}", record.header.pid, record.body.status);
    }
}

/// Whether the end of this process was told; it is from now on.
#[inline(always)]
fn told_before(task: Task<Typed>) -> bool {
    let key = [u64::from(task.tgid()), task.leader_start()];
    // Not a full map: rather twice than never.
    FINISHED.insert(key, 1, u64::from(BPF_NOEXIST)).is_err() && FINISHED.get_ptr(key).is_some()
}

/// What `wait(2)` will give: the group's code when one call or signal ended all, else the leader's.
#[inline(always)]
fn status(task: Task<Typed>, signal: At<Typed>) -> u32 {
    if signal.get::<u32>(ask!(offsets.signal_flags)) & GROUP_EXIT != 0 {
        return signal.get(ask!(offsets.signal_group_exit_code));
    }
    task.leader().0.get(ask!(offsets.task_exit_code))
}

/// Keeps the I/O of a thread that ends before its process is told, unless who told that has taken it.
#[inline(always)]
fn thread_ended(task: Task<Typed>) {
    let more = io(task.0, ask!(offsets.task_ioac));
    if is_nothing(&more) || !claimed(task) {
        return;
    }
    let key = Ended { start: task.leader_start(), pid: task.tgid(), cpu: processor() };
    if change(&ENDED, &key, |sum| add_io(sum, &more)) {
        return;
    }
    let any = Ended { cpu: Ended::ANY, ..key };
    let nothing = zero();
    let none = Io {
        rchar: nothing,
        wchar: nothing,
        syscr: nothing,
        syscw: nothing,
        read_bytes: nothing,
        write_bytes: nothing,
        cancelled_write_bytes: nothing,
    };
    if ENDED.insert(any, none, 0).is_err() || ENDED.insert(key, more, 0).is_err() {
        lost(USAGE, MAP_FULL);
    }
}

/// Whether nobody else puts the I/O of this thread into a sum; nobody does from now on. By its address too: a thread that
/// executes something takes over the number and the start of the first one.
#[inline(always)]
fn claimed<R: Reach>(task: Task<R>) -> bool {
    let key = [task.0.address(), task.0.get(ask!(offsets.task_start))];
    // Not a map without memory: rather twice than never.
    SUMMED.insert(key, 1, u64::from(BPF_NOEXIST)).is_ok() || SUMMED.get_ptr(key).is_none()
}

/// Takes the I/O of threads that are not alive and haven't come to where this program is called: before Linux 6.16
/// a thread first wakes who joins it, which may end the process before the thread goes on.
#[inline(always)]
fn take_others(task: Task<Typed>, signal: At<Typed>, sum: &mut Io) {
    let node = ask!(offsets.task_thread_node);
    if node == ABSENT || ask!(offsets.signal_thread_head) == ABSENT {
        return;
    }
    let head = signal.address().wrapping_add(u64::from(ask!(offsets.signal_thread_head)));
    let mut next: u64 = At::any(head).get(0);
    for _ in 0..OTHERS_MOST {
        if next == head || next == 0 {
            break;
        }
        let other = Task(At::any(next.wrapping_sub(u64::from(node))));
        // The kernel sets this state after the hook: such a thread is in the map, however long ago it ended.
        if other.0.address() != task.0.address() && other.0.get::<u32>(ask!(offsets.task_exit_state)) == 0 {
            let more = io(other.0, ask!(offsets.task_ioac));
            if !is_nothing(&more) && claimed(other) {
                add_io(sum, &more);
            }
        }
        next = At::any(next).get(0);
    }
}

#[inline(always)]
fn is_nothing(io: &Io) -> bool {
    io.rchar | io.wchar | io.syscr | io.syscw | io.read_bytes | io.write_bytes == 0
}

/// The I/O of the last thread, and the CPU time of all. A thread that ends moves from the list of threads to the sum of those that ended
/// while the kernel holds a sequence lock: should one do so meanwhile, it is read again.
#[inline(always)]
fn totals(task: Task<Typed>, signal: At<Typed>, body: &mut Exit) {
    body.io = io(task.0, ask!(offsets.task_ioac));
    body.max_rss = signal.get(ask!(offsets.signal_maxrss));
    for _ in 0..TRIES {
        let before: u32 = signal.get(ask!(offsets.signal_sequence));
        sum(task, signal, body);
        if before & 1 == 0 && signal.get::<u32>(ask!(offsets.signal_sequence)) == before {
            return;
        }
    }
}

/// The threads that ended are summed in the signal struct; this one, a leader that ended before, and those
/// that are still on their way out are not yet.
#[inline(always)]
fn sum(task: Task<Typed>, signal: At<Typed>, body: &mut Exit) {
    body.cpu = signal.get(ask!(offsets.signal_runtime));
    let threads: u32 = signal.get(ask!(offsets.signal_threads));
    let leader = task.leader();
    body.cpu = body.cpu.wrapping_add(used(task));
    if leader.0.address() != task.0.address() {
        add(body, leader);
        if threads > 2 {
            add_others(task, leader, signal, body);
        }
    } else if threads > 1 {
        add_others(task, leader, signal, body);
    }
}

/// CPU time of the running thread. The scheduler sums it up when it looks: at each tick, and when the thread leaves its
/// processor. One that never left it has run since it first got it, that is since its start but for what it waited.
/// From its start on to its waiting its creator is at work, for some microseconds: so much is too much.
#[inline(always)]
fn used(task: Task<Typed>) -> u64 {
    let summed: u64 = task.0.get(ask!(offsets.task_runtime));
    if ask!(offsets.task_run_delay) == ABSENT || task.0.get::<u64>(ask!(offsets.task_arrivals)) != 1 {
        return summed;
    }
    let age = now().wrapping_sub(task.0.get(ask!(offsets.task_start)));
    let ran = age.wrapping_sub(task.0.get(ask!(offsets.task_run_delay)));
    // Clocks that differ, or a creator that was kept waiting: then what the scheduler says.
    if ran > age || ran < summed || ran.wrapping_sub(summed) > TICK_MOST {
        return summed;
    }
    ran
}

/// Adds the threads that are neither of the two.
#[inline(always)]
fn add_others(task: Task<Typed>, leader: Task<Typed>, signal: At<Typed>, body: &mut Exit) {
    let node = ask!(offsets.task_thread_node);
    if node == ABSENT || ask!(offsets.signal_thread_head) == ABSENT {
        return;
    }
    let head = signal.address().wrapping_add(u64::from(ask!(offsets.signal_thread_head)));
    let mut next: u64 = At::any(head).get(0);
    for _ in 0..OTHERS_MOST {
        if next == head || next == 0 {
            break;
        }
        let other = next.wrapping_sub(u64::from(node));
        if other != task.0.address() && other != leader.0.address() {
            add(body, Task(At::any(other)));
        }
        next = At::any(next).get(0);
    }
}

/// Adds what one thread used.
#[inline(always)]
fn add<R: Reach>(body: &mut Exit, task: Task<R>) {
    body.cpu = body.cpu.wrapping_add(task.0.get(ask!(offsets.task_runtime)));
}

#[inline(always)]
fn add_io(sum: &mut Io, more: &Io) {
    sum.rchar = sum.rchar.wrapping_add(more.rchar);
    sum.wchar = sum.wchar.wrapping_add(more.wchar);
    sum.syscr = sum.syscr.wrapping_add(more.syscr);
    sum.syscw = sum.syscw.wrapping_add(more.syscw);
    sum.read_bytes = sum.read_bytes.wrapping_add(more.read_bytes);
    sum.write_bytes = sum.write_bytes.wrapping_add(more.write_bytes);
    sum.cancelled_write_bytes = sum.cancelled_write_bytes.wrapping_add(more.cancelled_write_bytes);
}
