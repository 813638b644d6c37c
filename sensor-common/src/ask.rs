//! What user space tells the programs before they are loaded: offsets, limits, own pid.
//!
//! rustc emits no CO-RE relocations, so user space reads the offsets from the running kernel's
//! BTF and sets them as constants in the programs' own instructions.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The offset of a member that this kernel doesn't have.
pub const ABSENT: u32 = u32::MAX;

/// The upper half of a constant by which a program asks for a word of `Ask`; the lower half is the word's place there.
pub const ASKED: u32 = 0x3f4b_5341;

/// A call of the kernel's function whose number a word of `Ask` is: the upper half of the call's constant; the lower half is
/// the word's place there. No helper has such a number.
pub const CALLED: u32 = 0x5341_0000;

/// Of a datagram socket whose end is to be told (`DATAGRAMS`), how that came.
pub mod datagram {
    /// A program saw that it was bound or connected.
    pub const SEEN: u32 = 1;
    /// A look found it, and it may have been closed since.
    pub const FOUND: u32 = 2;
}

/// Inode number of the first user namespace (`PROC_USER_INIT_INO`, `include/linux/proc_ns.h`).
pub const FIRST_USER_NAMESPACE: u32 = 0xefff_fffd;

/// Most connections that user space asks about at once, whether they are still there.
pub const DOUBTED_MOST: u32 = 4096;

macro_rules! offsets {
    ($($name:ident: $strukt:literal [$($path:literal),+] $need:ident, $why:literal;)*) => {
        /// Where the members that the programs read are, in bytes from the start of their structure.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[expect(missing_docs, reason = "each is the structure and member of its row")]
        pub struct Offsets { $(pub $name: u32),* }

        impl Offsets {
            /// Every member absent: before user space fills it.
            pub const ABSENT: Self = Self { $($name: ABSENT),* };

            /// Fills each row by asking `find` for (structure, path), the first path that exists;
            /// gives the rows that no path answered.
            pub fn fill(mut find: impl FnMut(&str, &str) -> Option<u32>) -> (Self, impl Iterator<Item = &'static Row>) {
                let mut offsets = Self::ABSENT;
                let mut missing = [false; ROWS.len()];
                let mut row = 0;
                $(
                    $(if offsets.$name == ABSENT && let Some(at) = find($strukt, $path) {
                        offsets.$name = at;
                    })+
                    missing[row] = offsets.$name == ABSENT;
                    row += 1;
                )*
                let _ = row;
                (offsets, ROWS.iter().zip(missing).filter_map(|(row, gone)| gone.then_some(row)))
            }
        }

        /// The table of members, in the order of `Offsets`.
        pub const ROWS: &[Row] = &[$(Row {
            name: stringify!($name), strukt: $strukt, paths: &[$($path),+], need: Need::$need, why: $why,
        }),*];
    };
}

/// One member that the programs read.
#[derive(Debug)]
pub struct Row {
    /// Name in `Offsets`.
    pub name: &'static str,
    /// The kernel structure.
    pub strukt: &'static str,
    /// The member, by all names that it has had.
    pub paths: &'static [&'static str],
    /// What its absence means.
    pub need: Need,
    /// What is lost without it.
    pub why: &'static str,
}

/// Whether the sensor can do without a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without it the programs are not worth loading.
    Must,
    /// Without it one field or one hook is missing, and coverage says so.
    May,
    /// A kernel without it hasn't got the thing that it is of, and there is nothing to see.
    With,
}

offsets! {
    task_pid: "task_struct" ["pid"] Must, "thread ids";
    task_tgid: "task_struct" ["tgid"] Must, "process ids";
    task_start: "task_struct" ["start_boottime", "real_start_time"] Must, "entity ids";
    task_leader: "task_struct" ["group_leader"] Must, "process start times";
    task_real_parent: "task_struct" ["real_parent"] Must, "parents";
    task_signal: "task_struct" ["signal"] Must, "exits";
    task_mm: "task_struct" ["mm"] Must, "executables";
    task_cred: "task_struct" ["cred"] Must, "users";
    task_fs: "task_struct" ["fs"] May, "working directories";
    task_nsproxy: "task_struct" ["nsproxy"] May, "namespaces";
    task_thread_pid: "task_struct" ["thread_pid"] May, "pid namespaces";
    task_loginuid: "task_struct" ["loginuid"] May, "login users";
    task_sessionid: "task_struct" ["sessionid"] May, "login sessions";
    task_atomic_flags: "task_struct" ["atomic_flags"] May, "no_new_privs";
    task_cgroups: "task_struct" ["cgroups"] May, "cgroups";
    task_migration_disabled: "task_struct" ["migration_disabled"] With, "";
    storage_state: "bpf_local_storage_elem" ["state"] With, "";
    task_exit_state: "task_struct" ["exit_state"] Must, "ends of processes";
    task_exit_code: "task_struct" ["exit_code"] Must, "exit codes";
    task_ioac: "task_struct" ["ioac"] May, "I/O totals";
    task_runtime: "task_struct" ["se.sum_exec_runtime"] May, "CPU totals";
    task_arrivals: "task_struct" ["sched_info.pcount"] May, "CPU time of processes that the scheduler hasn't looked at";
    task_run_delay: "task_struct" ["sched_info.run_delay"] May, "CPU time of processes that the scheduler hasn't looked at";
    signal_live: "signal_struct" ["live.counter"] Must, "exits";
    signal_flags: "signal_struct" ["flags"] Must, "exit codes";
    signal_group_exit_code: "signal_struct" ["group_exit_code"] Must, "exit codes";
    signal_pids: "signal_struct" ["pids"] May, "session leaders";
    signal_tty: "signal_struct" ["tty"] May, "terminals";
    signal_maxrss: "signal_struct" ["maxrss"] May, "largest resident size";
    signal_runtime: "signal_struct" ["sum_sched_runtime"] May, "CPU totals";
    io_rchar: "task_io_accounting" ["rchar"] May, "I/O totals";
    io_read_bytes: "task_io_accounting" ["read_bytes"] May, "I/O totals";
    pid_level: "pid" ["level"] May, "pid namespaces";
    pid_numbers: "pid" ["numbers"] May, "session leaders";
    upid_ns: "upid" ["ns"] May, "pid namespaces";
    tty_driver: "tty_struct" ["driver"] May, "terminals";
    tty_index: "tty_struct" ["index"] May, "terminals";
    driver_major: "tty_driver" ["major"] May, "terminals";
    driver_minor: "tty_driver" ["minor_start"] May, "terminals";
    mm_arg_start: "mm_struct" ["arg_start"] Must, "arguments";
    mm_arg_end: "mm_struct" ["arg_end"] Must, "arguments";
    mm_exe_file: "mm_struct" ["exe_file"] Must, "executables";
    file_dentry: "file" ["f_path.dentry"] Must, "executables";
    file_mnt: "file" ["f_path.mnt"] Must, "executables";
    file_inode: "file" ["f_inode"] Must, "executables";
    inode_ino: "inode" ["i_ino"] Must, "executables";
    inode_sb: "inode" ["i_sb"] Must, "executables";
    inode_nlink: "inode" ["i_nlink"] Must, "lost names";
    inode_mode: "inode" ["i_mode"] Must, "executables";
    inode_uid: "inode" ["i_uid"] Must, "executables";
    inode_generation: "inode" ["i_generation"] Must, "executables";
    inode_ctime: "inode" ["i_ctime_sec", "__i_ctime.tv_sec", "i_ctime.tv_sec"] May, "identity of executables";
    inode_ctime_nsec: "inode" ["i_ctime_nsec", "__i_ctime.tv_nsec", "i_ctime.tv_nsec"] May, "identity of executables";
    sb_dev: "super_block" ["s_dev"] Must, "executables";
    sb_magic: "super_block" ["s_magic"] Must, "which file systems may keep who asks them waiting";
    sb_user_ns: "super_block" ["s_user_ns"] Must, "which file systems may keep who asks them waiting";
    dentry_parent: "dentry" ["d_parent"] Must, "paths";
    dentry_inode: "dentry" ["d_inode"] Must, "lost names";
    dentry_name: "dentry" ["d_name.name", "__d_name.name"] Must, "paths";
    dentry_hash_len: "dentry" ["d_name.hash_len", "__d_name.hash_len"] Must, "lost names";
    dentry_pprev: "dentry" ["d_hash.pprev"] Must, "lost names";
    vfsmount_root: "vfsmount" ["mnt_root"] Must, "paths";
    mount_mnt: "mount" ["mnt"] Must, "paths";
    mount_parent: "mount" ["mnt_parent"] Must, "paths";
    mount_mountpoint: "mount" ["mnt_mountpoint"] Must, "paths";
    mount_ns: "mount" ["mnt_ns"] May, "detached mounts";
    fs_pwd_dentry: "fs_struct" ["pwd.dentry"] May, "working directories";
    fs_pwd_mnt: "fs_struct" ["pwd.mnt"] May, "working directories";
    cred_uid: "cred" ["uid"] Must, "users";
    cred_permitted: "cred" ["cap_permitted"] May, "capabilities";
    cred_effective: "cred" ["cap_effective"] May, "capabilities";
    cred_user_ns: "cred" ["user_ns"] May, "namespaces";
    nsproxy_uts: "nsproxy" ["uts_ns"] May, "namespaces";
    nsproxy_ipc: "nsproxy" ["ipc_ns"] May, "namespaces";
    nsproxy_mnt: "nsproxy" ["mnt_ns"] May, "namespaces";
    nsproxy_net: "nsproxy" ["net_ns"] May, "namespaces";
    nsproxy_cgroup: "nsproxy" ["cgroup_ns"] May, "namespaces";
    uts_inum: "uts_namespace" ["ns.inum"] May, "namespaces";
    ipc_inum: "ipc_namespace" ["ns.inum"] May, "namespaces";
    mnt_inum: "mnt_namespace" ["ns.inum"] May, "namespaces";
    net_inum: "net" ["ns.inum"] May, "namespaces";
    cgroup_inum: "cgroup_namespace" ["ns.inum"] May, "namespaces";
    pid_inum: "pid_namespace" ["ns.inum"] May, "namespaces";
    user_inum: "user_namespace" ["ns.inum"] May, "namespaces";
    css_set_dfl: "css_set" ["dfl_cgrp"] May, "cgroups";
    css_set_subsys: "css_set" ["subsys"] May, "cgroups of version 1";
    css_cgroup: "cgroup_subsys_state" ["cgroup"] May, "cgroups of version 1";
    cgroup_kn: "cgroup" ["kn"] May, "cgroups";
    kn_id: "kernfs_node" ["id"] May, "cgroups";
    kn_parent: "kernfs_node" ["__parent", "parent"] May, "cgroups";
    kn_name: "kernfs_node" ["name"] May, "cgroups";
    bprm_filename: "linux_binprm" ["filename"] Must, "scripts";
    bprm_interp: "linux_binprm" ["interp"] Must, "scripts";
    bprm_argc: "linux_binprm" ["argc"] May, "the number of arguments that were cut";
    uring_opcode: "io_kiocb" ["opcode"] May, "names lost through io_uring";
    uring_unlink_name: "io_unlink" ["filename"] May, "names lost through io_uring";
    uring_rename_old: "io_rename" ["oldpath"] May, "names lost through io_uring";
    uring_rename_new: "io_rename" ["newpath"] May, "names lost through io_uring";
    filename_name: "filename" ["name"] May, "names lost through io_uring";
    task_thread_node: "task_struct" ["thread_node"] May, "in the totals of an exit, threads that are still ending";
    signal_thread_head: "signal_struct" ["thread_head"] May, "in the totals of an exit, threads that are still ending";
    signal_threads: "signal_struct" ["nr_threads"] May, "in the totals of an exit, threads that are still ending";
    signal_sequence: "signal_struct" ["stats_lock.seqcount.seqcount.sequence", "stats_lock.seqcount.sequence"] May, "whether threads ended while the totals of an exit were read";
    task_flags: "task_struct" ["flags"] Must, "which threads are about to end, so that no usage is counted twice";
    task_sighand: "task_struct" ["sighand"] May, "which threads are about to end, so that no usage is counted twice";
    sock_family: "sock" ["__sk_common.skc_family"] May, "sockets";
    sock_local4: "sock" ["__sk_common.skc_rcv_saddr"] May, "sockets";
    sock_remote4: "sock" ["__sk_common.skc_daddr"] May, "sockets";
    sock_local6: "sock" ["__sk_common.skc_v6_rcv_saddr"] May, "sockets of IPv6";
    sock_remote6: "sock" ["__sk_common.skc_v6_daddr"] May, "sockets of IPv6";
    sock_local_port: "sock" ["__sk_common.skc_num"] May, "sockets";
    sock_remote_port: "sock" ["__sk_common.skc_dport"] May, "sockets";
    sock_bound_port: "inet_sock" ["inet_sport"] May, "ports of sockets that are closed";
    sock_state: "sock" ["__sk_common.skc_state"] May, "sockets that were there before";
    sock_net: "sock" ["__sk_common.skc_net.net"] May, "network namespaces of sockets";
    sock_v6only: "sock" ["__sk_common.skc_ipv6only"] May, "whether a listener of IPv6 takes IPv4 too";
    sock_type: "sock" ["sk_type"] May, "sockets";
    sock_protocol: "sock" ["sk_protocol"] May, "sockets";
    sock_err: "sock" ["sk_err"] May, "why a connection failed";
    addressed_sk: "bpf_sock_addr_kern" ["sk"] May, "UDP sockets that connect";
    socket_sk: "socket" ["sk"] May, "sockets that were there before";
    sock_owned: "sock" ["sk_lock.owned"] May, "connects that failed and whose sockets stay open, soon";
    sock_device: "sock" ["__sk_common.skc_bound_dev_if"] May, "why a connect found no route, and to which interface a socket is bound";
    sock_mark: "sock" ["sk_mark"] May, "why a connect found no route";
    sock_uid: "sock" ["sk_uid"] May, "why a connect found no route";
    sock_tos: "inet_sock" ["tos"] May, "why a connect found no route";
    sock_hash: "sock" ["sk_txhash"] May, "whether a UDP socket was connected";
    sock_cookie: "sock" ["__sk_common.skc_cookie"] May, "who accepts connections of MPTCP";
    sock_socket: "sock" ["sk_socket"] May, "whether a connection of SCTP is made or accepted";
    sock_shutdown: "sock" ["sk_shutdown"] May, "connects of SCTP that fail";
    sock_kernel: "sock" ["sk_kern_sock"] May, "MPTCP";
    sock_ulp: "inet_connection_sock" ["icsk_ulp_data"] May, "MPTCP";
    tcp_mptcp: "tcp_sock" ["is_mptcp"] With, "MPTCP";
    subflow_asks_join: "mptcp_subflow_context" ["request_join"] With, "MPTCP";
    subflow_joined: "mptcp_subflow_context" ["mp_join"] With, "MPTCP";
    mptcp_first: "mptcp_sock" ["first"] With, "MPTCP";
    cgroup_retval: "bpf_cg_run_ctx" ["retval"] May, "connects that another program of a cgroup refused";
}

/// Where the functions that programs are called at the ends of are given what, in bytes from the start of their arguments, which lie 8 bytes
/// apart and before their result.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Functions {
    /// The entry that `vfs_unlink` removes.
    pub unlink_dentry: u32,
    /// What it returns.
    pub unlink_result: u32,
    /// The `struct renamedata` that `vfs_rename` is given; `ABSENT` where it is given all by itself (before Linux 5.12).
    pub rename_data: u32,
    /// The entry that moves: in that structure, or among the arguments.
    pub rename_old: u32,
    /// The entry whose name it takes.
    pub rename_new: u32,
    /// What it returns.
    pub rename_result: u32,
    /// The socket that `inet_csk_accept` returns.
    pub accept_result: u32,
}

/// The kernel's functions that programs call themselves, by their numbers in its type information; `ABSENT`: not called.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Calls {
    /// From here on no other task gets the processor (`kernel/bpf/helpers.c`, since Linux 6.10).
    pub preempt_disable: u32,
    /// Until here.
    pub preempt_enable: u32,
}

impl Calls {
    /// None is called.
    pub const ABSENT: Self = Self { preempt_disable: ABSENT, preempt_enable: ABSENT };
}

impl Functions {
    /// None of them is known.
    pub const ABSENT: Self = Self {
        unlink_dentry: ABSENT,
        unlink_result: ABSENT,
        rename_data: ABSENT,
        rename_old: ABSENT,
        rename_new: ABSENT,
        rename_result: ABSENT,
        accept_result: ABSENT,
    };
}

/// Where the program at `io_uring_queue_async_work` can read what it is given: a kernel that gives it elsewhere isn't known.
pub const URING_PLACES: [u32; 4] = [0, 1, 3, 5];

/// What the programs are told.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ask {
    /// Where the kernel keeps what is read.
    pub offsets: Offsets,
    /// Size of one `struct upid`, bytes.
    pub upid_size: u32,
    /// Bytes waiting in the bulk ring from which on the reader is woken.
    pub fill_mark: u32,
    /// The sensor's own process id: a socket that its look at open files was the last to hold wasn't closed by it.
    pub own_pid: u32,
    /// 1 to have the programs write log lines.
    pub log: u32,
    /// 1 to have the names of what runs remembered, for the hooks of the calls that take them.
    pub names: u32,
    /// 1 to have the inodes of what runs remembered, for the hooks of the functions that take names.
    pub inodes: u32,
    /// Where the functions that programs hang on are given what.
    pub functions: Functions,
    /// The functions that they call.
    pub calls: Calls,
    /// Position of `group_dead` among the arguments of `sched_process_exit`, or `ABSENT`.
    pub exit_group_dead: u32,
    /// Position of the request, or of a part of it, among the arguments of `io_uring_queue_async_work`, or `ABSENT`.
    pub uring_request: u32,
    /// How many bytes into the request that part is.
    pub uring_into: u32,
    /// The bit of `offsets.sock_v6only` in its byte.
    pub v6only_bit: u32,
    /// The same of `offsets.sock_kernel`.
    pub kernel_bit: u32,
    /// Of `offsets.tcp_mptcp`.
    pub mptcp_bit: u32,
    /// Of `offsets.subflow_asks_join`.
    pub asks_join_bit: u32,
    /// Of `offsets.subflow_joined`.
    pub joined_bit: u32,
}

impl Ask {
    /// Before user space fills it.
    pub const EMPTY: Self = Self {
        offsets: Offsets::ABSENT,
        upid_size: 16,
        fill_mark: u32::MAX,
        own_pid: 0,
        log: 0,
        names: 0,
        inodes: 0,
        functions: Functions::ABSENT,
        calls: Calls::ABSENT,
        exit_group_dead: ABSENT,
        uring_request: ABSENT,
        uring_into: 0,
        v6only_bit: 0,
        kernel_bit: 0,
        mptcp_bit: 0,
        asks_join_bit: 0,
        joined_bit: 0,
    };
}
