//! Where a file is: the walk from its name up to the root, across mounts.

use sensor_common::{
    ask::ABSENT,
    wire::{Path, Span, TEXT},
};

use crate::{
    map::Big,
    read::{At, Probed, Reach, Typed, append, ask, cursor, within},
};

/// Most steps of a walk; the names above are missing and the path is marked cut.
const DEPTH: u32 = 48;
/// No flag of `Path`: the walk has come to the root of its mount.
const ROOT: u32 = 1 << 31;
/// Most bytes of a path.
const LONGEST: u32 = 4096;
/// `MNT_NS_ANON_INO` (`include/uapi/linux/nsfs.h`); before Linux 6.18 it was 0.
const NO_NAMESPACE: u32 = 0xEFFF_FFF7;
/// Most names of a cgroup's path.
const CGROUP_DEPTH: u32 = 12;

/// A mount with nothing above it, and the flags of a walk that ends there.
#[derive(Default)]
pub struct Top {
    mnt: u64,
    flags: u32,
}

/// Appends the path of (`dentry`, `mnt`) to the text. Paths of one record share `top`, as most end at one mount.
#[inline(always)]
pub fn path(big: &mut Big, dentry: At<Typed>, mnt: At<Typed>, top: &mut Top) -> Path {
    if dentry.is_null() || mnt.is_null() {
        return Path::default();
    }
    let start = cursor(big);
    let mut flags = walk(big, dentry, mnt);
    if flags == ROOT && top.mnt == mnt.address() {
        flags = top.flags;
    } else if flags == ROOT {
        let below = cursor(big);
        flags = across(big, start, mnt.address());
        if cursor(big) == below {
            *top = Top { mnt: mnt.address(), flags };
        }
    }
    Path { names: since(big, start), flags }
}

/// What was appended to the text since it went on at `start`.
#[inline(always)]
pub fn since(big: &Big, start: u32) -> Span {
    Span { offset: (TEXT as u32).wrapping_add(start) as u16, len: cursor(big).wrapping_sub(start) as u16 }
}

/// Appends the names from the leaf up to the root of the mount; gives `ROOT`, or the flags of `Path`.
///
/// A function of its own, so that the verifier goes through its loop once and not for each way to a caller.
#[inline(never)]
fn walk(big: &mut Big, mut dentry: At<Typed>, mnt: At<Typed>) -> u32 {
    let start = cursor(big);
    let root = mnt.follow(ask!(offsets.vfsmount_root));
    for _ in 0..DEPTH {
        if dentry.address() == root.address() {
            return ROOT;
        }
        match step(big, start, dentry) {
            Ok(parent) => dentry = parent,
            Err(flags) => return flags,
        }
    }
    Path::CUT
}

/// Goes on from the root of a mount, across all mounts that it is on; gives the flags of `Path`.
///
/// The verifier knows the type of a `vfsmount` but not of the `mount` around it: from here on no type is known.
#[inline(never)]
fn across(big: &mut Big, start: u32, mnt: u64) -> u32 {
    let mut mount = Mount::around(mnt);
    let mut dentry = mount.root;
    for _ in 0..DEPTH {
        if dentry.address() == mount.root.address() {
            if mount.above.address() == mount.at.address() || mount.above.is_null() {
                return detached(mount.at);
            }
            dentry = mount.mountpoint;
            mount = Mount::read(mount.above);
            continue;
        }
        match step(big, start, dentry) {
            Ok(parent) => dentry = parent,
            Err(flags) => return flags,
        }
    }
    Path::CUT
}

/// A `struct mount` and what its walk needs.
#[derive(Clone, Copy)]
struct Mount {
    at: At<Probed>,
    above: At<Probed>,
    mountpoint: At<Probed>,
    root: At<Probed>,
}

impl Mount {
    /// The one around a `vfsmount`.
    #[inline(always)]
    fn around(mnt: u64) -> Self {
        Self::read(At::any(mnt.wrapping_sub(u64::from(ask!(offsets.mount_mnt)))))
    }

    /// Kernels keep the three pointers side by side: one read is cheaper than three.
    #[inline(always)]
    fn read(at: At<Probed>) -> Self {
        let first = ask!(offsets.mount_parent);
        let mountpoint = ask!(offsets.mount_mountpoint);
        let root = within(ask!(offsets.mount_mnt), ask!(offsets.vfsmount_root));
        let [above, mountpoint, root] =
            if mountpoint == first.wrapping_add(8) && root == first.wrapping_add(16) {
                at.array(first)
            } else {
                [at.get(first), at.get(mountpoint), at.get(root)]
            };
        Self { at, above: At::any(above), mountpoint: At::any(mountpoint), root: At::any(root) }
    }
}

/// Appends a name and gives the entry above, or the flags with which the walk ends.
#[inline(always)]
fn step<R: Reach>(big: &mut Big, start: u32, dentry: At<R>) -> Result<At<R>, u32> {
    let parent = dentry.follow(ask!(offsets.dentry_parent));
    let appended = append::<256>(big, dentry.get(ask!(offsets.dentry_name)));
    if !appended || cursor(big).wrapping_sub(start) > LONGEST {
        return Err(Path::CUT);
    }
    if parent.address() == dentry.address() {
        return Err(Path::NAMELESS);
    }
    Ok(parent)
}

/// A mount that was unmounted while it was in use belongs to no namespace, and one that was never mounted
/// anywhere (`fsmount(2)`) to a namespace without a number (`alloc_mnt_ns`, `fs/namespace.c`).
#[inline(always)]
fn detached(mount: At<Probed>) -> u32 {
    let offset = ask!(offsets.mount_ns);
    if offset == ABSENT {
        return 0;
    }
    let namespace: At<Probed> = At::any(mount.get(offset));
    if namespace.is_null() {
        return Path::DETACHED;
    }
    match namespace.get::<u32>(ask!(offsets.mnt_inum)) {
        0 | NO_NAMESPACE => Path::DETACHED,
        _ => 0,
    }
}

/// Appends the names of a cgroup from the leaf up.
#[inline(always)]
pub fn cgroup(big: &mut Big, mut node: At<Typed>) -> Span {
    let start = cursor(big);
    for _ in 0..CGROUP_DEPTH {
        let Some(parent) = node.follow_some(ask!(offsets.kn_parent)) else { break };
        if !append::<256>(big, node.get(ask!(offsets.kn_name))) {
            break;
        }
        node = parent;
    }
    since(big, start)
}
