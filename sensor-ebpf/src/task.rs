//! Who acts: a `task_struct`, and what is told of it.

use sensor_common::{
    ask::{ABSENT, FIRST_USER_NAMESPACE},
    wire::{Actor, Running, exit::Io},
};

use crate::map::INODES;
use crate::read::{At, Probed, Reach, ask, clear, current, within};

/// `PIDTYPE_SID` (`include/linux/pid_types.h`).
const SID: u32 = 3;
/// `PF_KTHREAD` (`include/linux/sched.h`).
const KTHREAD: u32 = 0x0020_0000;
/// `PFA_NO_NEW_PRIVS` is bit 0 of `atomic_flags` (`include/linux/sched.h`).
const NO_NEW_PRIVS: u64 = 1;

/// The address of a `task_struct`.
#[derive(Clone, Copy)]
pub struct Task<R>(pub At<R>);

impl Task<Probed> {
    /// The running thread.
    #[inline(always)]
    pub fn current() -> Self {
        Self(current())
    }
}

impl<R: Reach> Task<R> {
    #[inline(always)]
    pub fn pid(self) -> u32 {
        self.0.get(ask!(offsets.task_pid))
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        self.0.get(ask!(offsets.task_tgid))
    }

    #[inline(always)]
    pub fn leader(self) -> Self {
        Self(self.0.follow(ask!(offsets.task_leader)))
    }

    /// Start of the process, nanoseconds since boot.
    #[inline(always)]
    pub fn leader_start(self) -> u64 {
        self.leader().0.get(ask!(offsets.task_start))
    }

    #[inline(always)]
    pub fn parent(self) -> Self {
        Self(self.0.follow(ask!(offsets.task_real_parent)))
    }

    #[inline(always)]
    pub fn signal(self) -> At<R> {
        self.0.follow(ask!(offsets.task_signal))
    }

    /// Whether it is a thread of the kernel's own.
    #[inline(always)]
    pub fn of_kernel(self) -> bool {
        self.0.get::<u32>(ask!(offsets.task_flags)) & KTHREAD != 0
    }

    /// The memory of the process; a kernel thread has none.
    #[inline(always)]
    pub fn mm(self) -> Option<At<R>> {
        self.0.follow_some(ask!(offsets.task_mm))
    }

    /// The file that is executed; null when there is none. No `Option`: of a missing one the compiler moves around what was
    /// never set, which the verifier refuses.
    #[inline(always)]
    pub fn exe_file(self) -> At<R> {
        match self.mm() {
            Some(mm) => mm.follow(ask!(offsets.mm_exe_file)),
            None => At::null(),
        }
    }

    /// The cgroup's `kernfs_node`: of version 1 where version 2 says nothing. The first controller stands for all of them, as container runtimes use all.
    #[inline(always)]
    pub fn cgroup(self) -> At<R> {
        let set = self.0.follow(ask!(offsets.task_cgroups));
        let unified = node(set.follow(ask!(offsets.css_set_dfl)));
        if unified.get::<u64>(ask!(offsets.kn_parent)) != 0 {
            return unified;
        }
        let css = set.follow(ask!(offsets.css_set_subsys));
        let first = node(css.follow(ask!(offsets.css_cgroup)));
        if first.get::<u64>(ask!(offsets.kn_parent)) != 0 { first } else { unified }
    }
}

#[inline(always)]
fn node<R: Reach>(cgroup: At<R>) -> At<R> {
    cgroup.follow(ask!(offsets.cgroup_kn))
}

/// Fills what is told of the one who acts.
#[inline(always)]
pub fn actor<R: Reach>(task: Task<R>, actor: &mut Actor) {
    let Some(cred) = task.0.follow_some(ask!(offsets.task_cred)) else {
        clear(actor);
        return;
    };
    actor.ids = cred.array(ask!(offsets.cred_uid));
    actor.permitted = cred.halves(ask!(offsets.cred_permitted));
    actor.effective = cred.halves(ask!(offsets.cred_effective));
    let parent = task.parent();
    actor.parent = parent.tgid();
    actor.parent_start = parent.leader_start();
    actor.login_uid = login(task, ask!(offsets.task_loginuid));
    actor.login_session = login(task, ask!(offsets.task_sessionid));
    actor.no_new_privs = (task.0.get::<u64>(ask!(offsets.task_atomic_flags)) & NO_NEW_PRIVS) as u32;
    actor.cgroup = task.cgroup().get(ask!(offsets.kn_id));
    terminal(task.signal(), actor);
    namespaces(task, cred, actor);
}

/// A login number; unset where the kernel keeps none.
#[inline(always)]
fn login<R: Reach>(task: Task<R>, offset: u32) -> u32 {
    if offset == ABSENT { u32::MAX } else { task.0.get(offset) }
}

#[inline(always)]
fn terminal<R: Reach>(signal: At<R>, actor: &mut Actor) {
    let session = signal.follow(within(ask!(offsets.signal_pids), SID * 8));
    actor.session = session.get(ask!(offsets.pid_numbers));
    actor.tty_major = 0;
    actor.tty_minor = 0;
    if let Some(tty) = signal.follow_some(ask!(offsets.signal_tty)) {
        let driver = tty.follow(ask!(offsets.tty_driver));
        actor.tty_major = driver.get(ask!(offsets.driver_major));
        let first: u32 = driver.get(ask!(offsets.driver_minor));
        actor.tty_minor = first.wrapping_add(tty.get(ask!(offsets.tty_index)));
    }
}

#[inline(always)]
fn namespaces<R: Reach>(task: Task<R>, cred: At<R>, actor: &mut Actor) {
    let proxy = task.0.follow(ask!(offsets.task_nsproxy));
    let user = cred.follow(ask!(offsets.cred_user_ns));
    actor.namespaces = [
        number(proxy, ask!(offsets.nsproxy_cgroup), ask!(offsets.cgroup_inum)),
        number(proxy, ask!(offsets.nsproxy_ipc), ask!(offsets.ipc_inum)),
        number(proxy, ask!(offsets.nsproxy_mnt), ask!(offsets.mnt_inum)),
        number(proxy, ask!(offsets.nsproxy_net), ask!(offsets.net_inum)),
        pid_namespace(task),
        user.get(ask!(offsets.user_inum)),
        number(proxy, ask!(offsets.nsproxy_uts), ask!(offsets.uts_inum)),
    ];
}

/// The inode number of a namespace that `base` points to.
#[inline(always)]
fn number<R: Reach>(base: At<R>, pointer: u32, inum: u32) -> u32 {
    base.follow(pointer).get(inum)
}

/// Bounds the depth of pid namespaces, of which the kernel allows 32 below the first (`MAX_PID_NS_LEVEL`,
/// `include/linux/pid_namespace.h`).
const DEEPEST: u32 = 63;

/// The innermost pid namespace: the last of an array that the verifier can't be told the length of.
#[inline(always)]
fn pid_namespace<R: Reach>(task: Task<R>) -> u32 {
    let pid = task.0.follow(ask!(offsets.task_thread_pid));
    let numbers = ask!(offsets.pid_numbers);
    let level: u32 = pid.get(ask!(offsets.pid_level));
    if level == 0 {
        return number(pid, within(numbers, ask!(offsets.upid_ns)), ask!(offsets.pid_inum));
    }
    let upid = task
        .0
        .probe(ask!(offsets.task_thread_pid))
        .address()
        .wrapping_add(u64::from(numbers))
        .wrapping_add(u64::from(level & DEEPEST) * u64::from(ask!(upid_size)));
    number(At::any(upid), ask!(offsets.upid_ns), ask!(offsets.pid_inum))
}

/// From Linux 6.13 on a bit above them says that somebody asked for the time (`I_CTIME_QUERIED`, `include/linux/fs.h`).
const NANOSECONDS: u32 = 0x3fff_ffff;

/// Fills what is told of the executed file, when there is one.
#[inline(always)]
pub fn running<R: Reach>(file: At<R>, running: &mut Running) {
    if file.is_null() {
        clear(running);
        return;
    }
    named(file.follow(ask!(offsets.file_inode)), file.follow(ask!(offsets.file_dentry)), running);
}

/// Fills what is told of a file by one of its names.
#[inline(always)]
pub fn named<R: Reach>(inode: At<R>, dentry: At<R>, running: &mut Running) {
    running.inode = inode.get(ask!(offsets.inode_ino));
    running.nlink = inode.get(ask!(offsets.inode_nlink));
    running.mode = u32::from(inode.get::<u16>(ask!(offsets.inode_mode)));
    running.uid = inode.get(ask!(offsets.inode_uid));
    running.generation = inode.get(ask!(offsets.inode_generation));
    running.ctime = inode
        .get::<u64>(ask!(offsets.inode_ctime))
        .wrapping_mul(1_000_000_000)
        .wrapping_add(u64::from(inode.get::<u32>(ask!(offsets.inode_ctime_nsec)) & NANOSECONDS));
    let sb = inode.follow(ask!(offsets.inode_sb));
    running.device = sb.get(ask!(offsets.sb_dev));
    running.dentry = dentry.address();
    running.parent = dentry.get(ask!(offsets.dentry_parent));
    let directory = dentry.follow(ask!(offsets.dentry_parent)).follow(ask!(offsets.dentry_inode));
    running.directory = directory.get(ask!(offsets.inode_ino));
    running.name_hash = dentry.halves(ask!(offsets.dentry_hash_len));
    running.flags = if unhashed(dentry) { Running::UNHASHED } else { 0 };
    if foreign(sb) {
        running.flags |= Running::FOREIGN;
    }
}

/// Remembers that a file is run, for the hooks of the functions that take names.
#[inline(always)]
pub fn remember<R: Reach>(file: At<R>) {
    if ask!(inodes) == 0 || file.is_null() {
        return;
    }
    let inode = file.follow(ask!(offsets.file_inode)).address();
    // The look for it also says that it is in use: a full map drops what was asked for longest ago.
    if INODES.get_ptr(inode).is_none() {
        let _ = INODES.insert(inode, 1, 0);
    }
}

/// `OVERLAYFS_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
const OVERLAY: u32 = 0x794c_7630;

/// Whether a process or another host answers for a file system, by its magic number: FUSE, NFS, CIFS and SMB2, 9p, AFS (two),
/// Ceph, Coda, Lustre (`include/uapi/linux/magic.h`). An overlay asks those below it in the name of who mounted it, so one that
/// was mounted in a user namespace, as anybody can, is taken for as slow as they.
#[inline(always)]
fn foreign<R: Reach>(sb: At<R>) -> bool {
    let magic = sb.get::<u64>(ask!(offsets.sb_magic)) as u32;
    if magic == OVERLAY {
        return number(sb, ask!(offsets.sb_user_ns), ask!(offsets.user_inum)) != FIRST_USER_NAMESPACE;
    }
    matches!(
        magic,
        0x6573_5546
            | 0x6969
            | 0xff53_4d42
            | 0xfe53_4d42
            | 0x0102_1997
            | 0x5346_414f
            | 0x6b41_4653
            | 0x00c3_6400
            | 0x7375_7245
            | 0x0bd0_0bd0
    )
}

/// Whether the entry is no longer in its directory (`d_unhashed`, `include/linux/dcache.h`).
#[inline(always)]
pub fn unhashed<R: Reach>(dentry: At<R>) -> bool {
    dentry.get::<u64>(ask!(offsets.dentry_pprev)) == 0
}

/// The `struct task_io_accounting` at `offset`.
#[inline(always)]
pub fn io<R: Reach>(base: At<R>, offset: u32) -> Io {
    let [read_bytes, write_bytes, cancelled_write_bytes] =
        base.array(within(offset, ask!(offsets.io_read_bytes)));
    let [rchar, wchar, syscr, syscw] = base.array(within(offset, ask!(offsets.io_rchar)));
    Io { rchar, wchar, syscr, syscw, read_bytes, write_bytes, cancelled_write_bytes }
}
