//! Which hooks serve which event: one table, and what is left of it on this kernel.

use sensor_common::{
    ask::{ABSENT, Row},
    wire::{EXEC, EXIT, FORK},
};

use super::{Coverage, Gap, State, facts::Facts};
use crate::config::Names;

/// How a program is attached.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attach {
    /// To a raw tracepoint, by the types of its arguments: its program reads what they point to by plain loads.
    Typed(&'static str),
    /// To a raw tracepoint.
    Raw(&'static str),
    /// To a perf tracepoint of the category `syscalls`.
    Syscall(&'static str),
    /// To the end of a kernel function, by a trampoline.
    Function(&'static str),
    /// As an iterator over tasks.
    Tasks,
    /// As an iterator over the open files of all tasks.
    Files,
    /// As an iterator over the sockets that have counters.
    Sockets,
    /// To the root of the cgroups of version 2, for sockets.
    Sock(u32),
    /// The same, for calls with an address.
    SockAddr(u32),
    /// The same, for packets.
    Packets(u32),
}

/// What is attached to a cgroup (`enum bpf_attach_type`, `include/uapi/linux/bpf.h`).
const INGRESS: u32 = 0;
const EGRESS: u32 = 1;
const CONNECT4: u32 = 10;
const CONNECT6: u32 = 11;
const POST_BIND4: u32 = 12;
const POST_BIND6: u32 = 13;
const GETPEERNAME4: u32 = 29;
const GETPEERNAME6: u32 = 30;
const SOCK_RELEASE: u32 = 34;

/// Programs that the kernel may skip, the one that then tells in its stead, and in which place of the map `NESTED` it counts
/// what it told.
pub(super) const STEAD: &[(&str, &str, u32)] = &[
    ("socket_state", "socket_state_nested", 0),
    ("exec", "exec_nested", EXEC as u32),
    ("fork", "fork_nested", FORK as u32),
    ("exit", "exit_nested", EXIT as u32),
];

/// Where the kernel takes the processor also from programs at tracepoints: those that tell what it then skips.
pub(super) const PREEMPTED: &[Hook] = &[
    Hook {
        actions: &["exec", "exe_memfd"],
        name: "tp_btf/sched_process_exec nested",
        programs: &[("exec_nested", Typed("sched_process_exec"))],
        must: false,
        without: INTERRUPTING,
    },
    Hook {
        actions: &["fork"],
        name: "tp_btf/sched_process_fork nested",
        programs: &[("fork_nested", Typed("sched_process_fork"))],
        must: false,
        without: INTERRUPTING,
    },
    Hook {
        actions: &["exit"],
        name: "tp_btf/sched_process_exit nested",
        programs: &[("exit_nested", Typed("sched_process_exit"))],
        must: false,
        without: INTERRUPTING,
    },
];
const INTERRUPTING: &str =
    "what a task does that took the processor from one of the sensor's programs; it is counted";

/// One hook: programs that serve an event together.
#[derive(Debug)]
pub(super) struct Hook {
    /// The events it serves.
    pub(super) actions: &'static [&'static str],
    /// Its name for people.
    pub(super) name: &'static str,
    /// Programs and where each goes.
    pub(super) programs: &'static [(&'static str, Attach)],
    /// Whether the sensor is worth running without it.
    pub(super) must: bool,
    /// What is not seen without it.
    pub(super) without: &'static str,
}

use Attach::{Files, Function, Packets, Raw, Sock, SockAddr, Sockets, Syscall, Tasks, Typed};

/// Names of hooks that are asked for.
pub(super) const USAGE: &str = "iter/task usage";
pub(super) const TRAFFIC: &str = "cgroup_skb";
/// What finds the ends that no program was called for.
pub const UNTOLD_ENDS: &str = "iter/bpf_sk_storage_map close";
/// In whose place, where that walk isn't safe.
pub(super) const OPEN: &str = "iter/task_file usage";

/// Every hook. The order is that of attaching: ends before beginnings, so that nothing begins unseen and ends seen.
pub(super) const HOOKS: &[Hook] = &[
    Hook {
        actions: &["exit"],
        name: "tp_btf/sched_process_exit",
        programs: &[("exit", Typed("sched_process_exit"))],
        must: true,
        without: "ends of processes",
    },
    Hook {
        actions: &["exec", "exe_memfd"],
        name: "tp_btf/sched_process_exec",
        programs: &[("exec", Typed("sched_process_exec"))],
        must: true,
        without: "executions",
    },
    Hook {
        actions: &["fork"],
        name: "tp_btf/sched_process_fork",
        programs: &[("fork", Typed("sched_process_fork"))],
        must: true,
        without: "births of processes",
    },
    Hook {
        actions: &["exe_deleted", "process_snapshot"],
        name: "iter/task",
        programs: &[("image", Tasks)],
        must: true,
        without: "the images of what runs already, and names lost by a way that no hook sees",
    },
    Hook {
        actions: &["socket_close", "socket_connect"],
        name: "cgroup/sock_release",
        programs: &[("socket_released", Sock(SOCK_RELEASE))],
        must: false,
        without: "ends of sockets of UDP and SCTP, and at once what came of connects that found no route",
    },
    Hook {
        actions: &["socket_accept"],
        name: "cgroup/getpeername",
        programs: &[("socket_peer4", SockAddr(GETPEERNAME4)), ("socket_peer6", SockAddr(GETPEERNAME6))],
        must: false,
        without: "at once who accepted a connection; a look at open files still shows it, within a second",
    },
    Hook {
        actions: &["socket_listen", "socket_connect", "socket_accept", "socket_close", "usage"],
        name: "tp_btf/inet_sock_set_state",
        programs: &[
            ("socket_state", Typed("inet_sock_set_state")),
            ("socket_state_nested", Typed("inet_sock_set_state")),
        ],
        must: false,
        without: "sockets of TCP that listen, connect, accept and close, and so whose their network bytes are; of SCTP all of that \
                  but the end",
    },
    Hook {
        actions: &["socket_connect"],
        name: "cgroup/connect",
        programs: &[("socket_connect4", SockAddr(CONNECT4)), ("socket_connect6", SockAddr(CONNECT6))],
        must: false,
        without: "UDP sockets that connect, and connects of TCP that find no route",
    },
    Hook {
        actions: &["socket_connect"],
        name: "iter/task_file connect",
        programs: &[("socket_attempts", Files)],
        must: false,
        without: "soon what came of a UDP socket's connect, or of one that found no route, while the socket is open",
    },
    Hook {
        actions: &["socket_bind"],
        name: "cgroup/post_bind",
        programs: &[("socket_bound4", Sock(POST_BIND4)), ("socket_bound6", Sock(POST_BIND6))],
        must: false,
        without: "addresses that are bound",
    },
    Hook {
        actions: &["socket_listen", "socket_accept", "usage"],
        name: "iter/task_file",
        programs: &[("socket_look", Files)],
        must: false,
        without: "sockets that were there before, ports of listeners that didn't bind, who accepted without asking for the address, \
                  whose the network bytes of such sockets are, and of those that were handed on",
    },
    Hook {
        actions: &["socket_close"],
        name: UNTOLD_ENDS,
        programs: &[("socket_there", Sockets)],
        must: false,
        without: "ends of connections that the programs weren't called for",
    },
    Hook {
        actions: &["usage"],
        name: USAGE,
        programs: &[("usage", Tasks)],
        must: false,
        without: "what processes use while they run; their exits still tell the totals",
    },
    Hook {
        actions: &["usage"],
        name: "iter/bpf_sk_storage_map",
        programs: &[("bytes_read", Sockets)],
        must: false,
        without: "network bytes of a socket before it ends",
    },
    Hook {
        actions: &["usage"],
        name: OPEN,
        programs: &[("bytes_read_open", Files)],
        must: false,
        without: "network bytes of a socket before it ends",
    },
    Hook {
        actions: &["usage"],
        name: "tp_btf/tcp_destroy_sock",
        programs: &[("bytes_tcp_end", Typed("tcp_destroy_sock"))],
        must: false,
        without: "the last network bytes of a TCP socket that ended",
    },
    Hook {
        actions: &["usage"],
        name: "cgroup/sock_release",
        programs: &[("bytes_closed", Sock(SOCK_RELEASE))],
        must: false,
        without: "the last network bytes of a socket, not of TCP, that ended",
    },
    Hook {
        actions: &["usage"],
        name: TRAFFIC,
        programs: &[("bytes_sent", Packets(EGRESS)), ("bytes_received", Packets(INGRESS))],
        must: false,
        without: "network bytes",
    },
];

/// A way to learn who takes names.
pub(super) struct Way {
    /// As the configuration names it.
    pub(super) by: Names,
    /// Its hooks, beside the groups of fanotify.
    pub(super) hooks: &'static [Hook],
    /// How far the next one makes up for it where it is refused.
    pub(super) refused: State,
    /// What is missed then.
    pub(super) without: &'static str,
}

/// The ways, best first: the first that really loads and attaches serves.
pub(super) const WAYS: &[Way] = &[
    Way {
        by: Names::Fexit,
        hooks: FUNCTIONS,
        refused: State::Fallback,
        without: "where marks aren't taken (file systems that others answer for, old overlayfs), who took a name; each \
                  name that goes costs a microsecond more",
    },
    Way {
        by: Names::Fanotify,
        hooks: &[],
        refused: State::Replaced,
        without: "who took a name by a 32-bit call (tracepoints of the calls tell names that go instead, and every \
                  system call pays for them)",
    },
    Way { by: Names::Tracepoints, hooks: CALLS, refused: State::Unseen, without: "" },
];

/// Hooks of the functions that every call comes to which takes a name. Trampolines are refused on many hardened kernels.
pub(super) const FUNCTIONS: &[Hook] = &[
    Hook {
        actions: &["exe_deleted"],
        name: "fexit/vfs_unlink",
        programs: &[("unlinked", Function("vfs_unlink"))],
        must: false,
        without: "",
    },
    Hook {
        actions: &["exe_deleted"],
        name: "fexit/vfs_rename",
        programs: &[("renamed", Function("vfs_rename"))],
        must: false,
        without: "",
    },
];

/// Hooks that tell what others of `HOOKS` tell too, and sooner, where the kernel takes them.
pub(super) const SOONER: &[Hook] = &[Hook {
    actions: &["socket_accept"],
    name: "fexit/inet_csk_accept",
    programs: &[("socket_accepted", Function("inet_csk_accept"))],
    must: false,
    without: "at once who accepted without asking for the address; a look at open files or the connection's end tells it",
}];

/// Every hook, of whatever way.
pub(super) fn all() -> impl Iterator<Item = &'static Hook> {
    HOOKS.iter().chain(PREEMPTED).chain(SOONER).chain(WAYS.iter().flat_map(|way| way.hooks))
}

/// Hooks of the calls that take names, for kernels whose fanotify doesn't tell of names: they make
/// every system call slower.
const CALLS: &[Hook] = &[
    Hook {
        actions: &["exe_deleted"],
        name: "tracepoint/syscalls/unlink",
        programs: &[
            ("enter_unlink", Syscall("sys_enter_unlink")),
            ("leave_unlink", Syscall("sys_exit_unlink")),
        ],
        must: false,
        without: "who unlinked (unlink(2)); the sweep still sees that the name is gone, within a second",
    },
    Hook {
        actions: &["exe_deleted"],
        name: "tracepoint/syscalls/unlinkat",
        programs: &[
            ("enter_unlinkat", Syscall("sys_enter_unlinkat")),
            ("leave_unlink", Syscall("sys_exit_unlinkat")),
        ],
        must: false,
        without: "who unlinked (unlinkat(2)); the sweep still sees that the name is gone, within a second",
    },
    Hook {
        actions: &["exe_deleted"],
        name: "tracepoint/syscalls/rename",
        programs: &[
            ("enter_rename", Syscall("sys_enter_rename")),
            ("leave_rename", Syscall("sys_exit_rename")),
        ],
        must: false,
        without: "who renamed (rename(2)); the sweep still sees that the name is gone, within a second",
    },
    Hook {
        actions: &["exe_deleted"],
        name: "tracepoint/syscalls/renameat",
        programs: &[
            ("enter_renameat", Syscall("sys_enter_renameat")),
            ("leave_rename", Syscall("sys_exit_renameat")),
        ],
        must: false,
        without: "who renamed (renameat(2)); the sweep still sees that the name is gone, within a second",
    },
    Hook {
        actions: &["exe_deleted"],
        name: "tracepoint/syscalls/renameat2",
        programs: &[
            ("enter_renameat", Syscall("sys_enter_renameat2")),
            ("leave_rename", Syscall("sys_exit_renameat2")),
        ],
        must: false,
        without: "who renamed (renameat2(2)); the sweep still sees that the name is gone, within a second",
    },
    Hook {
        actions: &["exe_deleted"],
        name: "raw_tp/io_uring_queue_async_work",
        programs: &[("uring", Raw("io_uring_queue_async_work"))],
        must: false,
        without: "who unlinked or renamed through io_uring; the sweep still sees that the name is gone, within a second",
    },
];

/// Which event the members of the kernel are for, by the beginning of their names in `Offsets`.
const MEMBERS: &[(&str, &str)] = &[
    ("sock", "socket_connect"),
    ("addressed_", "socket_connect"),
    ("cgroup_retval", "socket_connect"),
    ("uring_", "exe_deleted"),
    ("filename_", "exe_deleted"),
    ("io_", "exit"),
    ("signal_", "exit"),
    ("task_ioac", "exit"),
    ("task_runtime", "exit"),
];

/// What isn't told where the kernel lacks a member that can be done without.
pub(super) fn without(row: &'static Row) -> Coverage {
    let serves = MEMBERS.iter().find(|(start, _)| row.name.starts_with(start));
    let member = format!("{}.{}", row.strukt, row.paths.first().unwrap_or(&""));
    let gap = Gap {
        reason: format!("this kernel has no {member}"),
        missing: member,
        effect: row.why.to_owned(),
        remedy: String::new(),
    };
    Coverage::unseen(serves.map_or("exec", |(_, action)| action), row.name, gap)
}

/// What it means that the kernel takes no program that calls its functions: as one that runs programs without compiling
/// them.
pub(super) fn without_calls(why: Gap) -> Coverage {
    let effect = "what another task does on a processor where it interrupts one of the sensor's programs, if Linux is 7.0 or newer: each is counted as lost";
    Coverage { action: "coverage", hook: "self/calls", state: State::Fallback, gap: why.effect(effect) }
}

/// What became of a hook: whether it is seen, and why not.
pub(super) type Outcome = (State, Gap);

/// Whether a hook is of use on this kernel.
pub(super) fn is_needed(hook: &Hook, facts: &Facts) -> bool {
    hook.name != OPEN || walks_freed(facts)
}

/// Whether the kernel's own walk over what lies beside sockets can come to a socket that ends meanwhile, and fall: from
/// Linux 7.0 on what lies beside one may lose its place there while the walk looks at it, which asks that only before
/// (`bpf_selem_unlink_nofail`, kernel/bpf/bpf_local_storage.c; `__bpf_sk_storage_map_seq_show`, net/core/bpf_sk_storage.c).
fn walks_freed(facts: &Facts) -> bool {
    facts.ask.offsets.storage_state != ABSENT
}

fn walk_refusal(hook: &Hook) -> Outcome {
    let (state, effect) = match hook.name {
        UNTOLD_ENDS => (State::Unseen, hook.without),
        _ => (
            State::Replaced,
            "network bytes, before it ends, of a socket that no process has open: connections of the kernel's own, and the \
             subflows of MPTCP (those that are open are looked at instead)",
        ),
    };
    let reason = "this kernel falls when a socket ends while what lies beside it is gone through";
    let remedy = "nothing to do: the sensor doesn't ask it to";
    (state, Gap { reason: reason.to_owned(), remedy: remedy.to_owned(), ..Gap::default() }.effect(effect))
}

/// Why a hook isn't tried on this kernel, if it isn't.
pub(super) fn refusal(hook: &Hook, facts: &Facts) -> Option<Outcome> {
    hook.programs.iter().find_map(|(_, attach)| match attach {
        Syscall(name) => syscall_refusal(facts, name),
        Raw("io_uring_queue_async_work") => uring_refusal(facts),
        Sock(_) | SockAddr(_) | Packets(_) => Some((State::Unseen, facts.cgroup.as_ref().err()?.clone())),
        Function(name) if !facts.absent.contains(*name) && takes_others(facts, name) => {
            let reason = format!("this kernel's {name} is given other arguments than those that are known");
            let remedy = "report this line and what `uname -r` says".to_owned();
            Some((State::Unseen, Gap { reason, remedy, ..Gap::default() }))
        }
        Sockets if walks_freed(facts) => Some(walk_refusal(hook)),
        Typed(_) | Raw(_) | Function(_) | Tasks | Files | Sockets => {
            let place = attach.place().filter(|place| facts.absent.contains(place))?;
            Some((
                State::Unseen,
                Gap {
                    reason: format!("this kernel has no {place}"),
                    missing: place,
                    remedy: "a newer kernel, or one built with it".to_owned(),
                    ..Gap::default()
                },
            ))
        }
    })
}

/// Whether it isn't known where a function is given what.
fn takes_others(facts: &Facts, function: &str) -> bool {
    let functions = &facts.ask.functions;
    match function {
        "vfs_unlink" => functions.unlink_dentry == ABSENT,
        "inet_csk_accept" => functions.accept_result == ABSENT,
        _ => functions.rename_old == ABSENT || functions.rename_new == ABSENT,
    }
}

fn uring_refusal(facts: &Facts) -> Option<Outcome> {
    let why = |reason: &str, remedy: &str| Gap {
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
        ..Gap::default()
    };
    if facts.ask.offsets.uring_unlink_name == ABSENT {
        return Some((State::Absent, why("this kernel's io_uring can't unlink or rename", "")));
    }
    let reason = "this kernel's io_uring doesn't tell what it is asked in a way that is known";
    (facts.ask.uring_request == ABSENT)
        .then(|| (State::Unseen, why(reason, "report this line and what `uname -r` says")))
}

fn syscall_refusal(facts: &Facts, name: &str) -> Option<Outcome> {
    match &facts.tracefs {
        Err(gap) => Some((State::Unseen, gap.clone())),
        Ok(_) if facts.has_tracepoint("syscalls", name) => None,
        Ok(root) => Some((
            State::Absent,
            Gap {
                reason: format!(
                    "no {name} in {}/events/syscalls: this architecture has no such call, or CONFIG_FTRACE_SYSCALLS is off",
                    root.display()
                ),
                remedy:
                    "nothing to do when the call doesn't exist; else a kernel with CONFIG_FTRACE_SYSCALLS"
                        .to_owned(),
                ..Gap::default()
            },
        )),
    }
}
