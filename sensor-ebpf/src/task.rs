//! Who acts: a `task_struct`, and what is told of it.

use sensor_common::{
    ask::ABSENT,
    wire::{Actor, Running},
};

use crate::read::{ask, current, kernel, member};

/// `PIDTYPE_SID` (`include/linux/pid_types.h`).
const SID: u64 = 3;
/// `PFA_NO_NEW_PRIVS` is bit 0 of `atomic_flags` (`include/linux/sched.h`).
const NO_NEW_PRIVS: u64 = 1;

/// The address of a `task_struct`.
#[derive(Clone, Copy)]
pub struct Task(pub u64);

impl Task {
    /// The running thread.
    #[inline(always)]
    pub fn current() -> Self {
        Self(current())
    }

    #[inline(always)]
    pub fn pid(self) -> u32 {
        member(self.0, ask!(offsets.task_pid))
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        member(self.0, ask!(offsets.task_tgid))
    }

    #[inline(always)]
    pub fn leader(self) -> Self {
        Self(member(self.0, ask!(offsets.task_leader)))
    }

    /// Start of the process, nanoseconds since boot.
    #[inline(always)]
    pub fn leader_start(self) -> u64 {
        member(self.leader().0, ask!(offsets.task_start))
    }

    #[inline(always)]
    pub fn parent(self) -> Self {
        Self(member(self.0, ask!(offsets.task_real_parent)))
    }

    #[inline(always)]
    pub fn signal(self) -> u64 {
        member(self.0, ask!(offsets.task_signal))
    }

    #[inline(always)]
    pub fn mm(self) -> u64 {
        member(self.0, ask!(offsets.task_mm))
    }

    /// The file that is executed, 0 when there is none.
    #[inline(always)]
    pub fn exe_file(self) -> u64 {
        let mm = self.mm();
        if mm == 0 { 0 } else { member(mm, ask!(offsets.mm_exe_file)) }
    }

    #[inline(always)]
    fn cred(self) -> u64 {
        member(self.0, ask!(offsets.task_cred))
    }

    /// The cgroup's `kernfs_node`: of version 1 where version 2 says nothing. The first controller stands for all of them, as container runtimes use all.
    #[inline(always)]
    pub fn cgroup(self) -> u64 {
        let set: u64 = member(self.0, ask!(offsets.task_cgroups));
        let unified = node(member(set, ask!(offsets.css_set_dfl)));
        if member::<u64>(unified, ask!(offsets.kn_parent)) != 0 {
            return unified;
        }
        let css: u64 = member(set, ask!(offsets.css_set_subsys));
        let first = node(member(css, ask!(offsets.css_cgroup)));
        if member::<u64>(first, ask!(offsets.kn_parent)) != 0 { first } else { unified }
    }
}

#[inline(always)]
fn node(cgroup: u64) -> u64 {
    member(cgroup, ask!(offsets.cgroup_kn))
}

/// Fills what is told of the one who acts.
#[inline(always)]
pub fn actor(task: Task, actor: &mut Actor) {
    let parent = task.parent();
    actor.parent = parent.tgid();
    actor.parent_start = parent.leader_start();
    let cred = task.cred();
    actor.ids = member(cred, ask!(offsets.cred_uid));
    actor.permitted = member(cred, ask!(offsets.cred_permitted));
    actor.effective = member(cred, ask!(offsets.cred_effective));
    actor.login_uid = login(task, ask!(offsets.task_loginuid));
    actor.login_session = login(task, ask!(offsets.task_sessionid));
    actor.no_new_privs = (member::<u64>(task.0, ask!(offsets.task_atomic_flags)) & NO_NEW_PRIVS) as u32;
    actor.cgroup = member(task.cgroup(), ask!(offsets.kn_id));
    terminal(task.signal(), actor);
    namespaces(task, cred, actor);
}

/// A login number; unset where the kernel keeps none.
#[inline(always)]
fn login(task: Task, offset: u32) -> u32 {
    if offset == ABSENT { u32::MAX } else { member(task.0, offset) }
}

#[inline(always)]
fn terminal(signal: u64, actor: &mut Actor) {
    let pids = ask!(offsets.signal_pids);
    let session: u64 = if pids == ABSENT { 0 } else { kernel(signal + u64::from(pids) + SID * 8) };
    actor.session = member(session, ask!(offsets.pid_numbers));
    actor.tty_major = 0;
    actor.tty_minor = 0;
    let tty: u64 = member(signal, ask!(offsets.signal_tty));
    if tty != 0 {
        let driver: u64 = member(tty, ask!(offsets.tty_driver));
        actor.tty_major = member(driver, ask!(offsets.driver_major));
        actor.tty_minor = member::<u32>(driver, ask!(offsets.driver_minor))
            .wrapping_add(member::<u32>(tty, ask!(offsets.tty_index)));
    }
}

#[inline(always)]
fn namespaces(task: Task, cred: u64, actor: &mut Actor) {
    let proxy: u64 = member(task.0, ask!(offsets.task_nsproxy));
    let pid: u64 = member(task.0, ask!(offsets.task_thread_pid));
    let level: u32 = member(pid, ask!(offsets.pid_level));
    let upid = pid
        .wrapping_add(u64::from(ask!(offsets.pid_numbers)))
        .wrapping_add(u64::from(level & 31) * u64::from(ask!(upid_size)));
    let user: u64 = member(cred, ask!(offsets.cred_user_ns));
    actor.namespaces = [
        number(proxy, ask!(offsets.nsproxy_cgroup), ask!(offsets.cgroup_inum)),
        number(proxy, ask!(offsets.nsproxy_ipc), ask!(offsets.ipc_inum)),
        number(proxy, ask!(offsets.nsproxy_mnt), ask!(offsets.mnt_inum)),
        number(proxy, ask!(offsets.nsproxy_net), ask!(offsets.net_inum)),
        number(upid, ask!(offsets.upid_ns), ask!(offsets.pid_inum)),
        member(user, ask!(offsets.user_inum)),
        number(proxy, ask!(offsets.nsproxy_uts), ask!(offsets.uts_inum)),
    ];
}

/// The inode number of a namespace that `base` points to.
#[inline(always)]
fn number(base: u64, pointer: u32, inum: u32) -> u32 {
    let namespace: u64 = member(base, pointer);
    if namespace == 0 { 0 } else { member(namespace, inum) }
}

/// Fills what is told of the executed file; false when there is none.
#[inline(always)]
pub fn running(file: u64, running: &mut Running) -> bool {
    *running = Running::default();
    if file == 0 {
        return false;
    }
    let inode: u64 = member(file, ask!(offsets.file_inode));
    let dentry: u64 = member(file, ask!(offsets.file_dentry));
    running.inode = member(inode, ask!(offsets.inode_ino));
    running.nlink = member(inode, ask!(offsets.inode_nlink));
    running.mode = u32::from(member::<u16>(inode, ask!(offsets.inode_mode)));
    running.uid = member(inode, ask!(offsets.inode_uid));
    running.generation = member(inode, ask!(offsets.inode_generation));
    running.ctime = member::<u64>(inode, ask!(offsets.inode_ctime))
        .wrapping_mul(1_000_000_000)
        .wrapping_add(u64::from(member::<u32>(inode, ask!(offsets.inode_ctime_nsec))));
    running.device = member(member::<u64>(inode, ask!(offsets.inode_sb)), ask!(offsets.sb_dev));
    running.dentry = dentry;
    running.parent = member(dentry, ask!(offsets.dentry_parent));
    let directory: u64 = member(running.parent, ask!(offsets.dentry_inode));
    running.directory = member(directory, ask!(offsets.inode_ino));
    running.name_hash = member(dentry, ask!(offsets.dentry_hash_len));
    if unhashed(dentry) {
        running.flags |= Running::UNHASHED;
    }
    true
}

/// Whether the entry is no longer in its directory (`d_unhashed`, `include/linux/dcache.h`).
#[inline(always)]
pub fn unhashed(dentry: u64) -> bool {
    member::<u64>(dentry, ask!(offsets.dentry_pprev)) == 0
}
