//! Where a file is: the walk from its name up to the root, across mounts.

use sensor_common::wire::{Path, Span, TEXT};

use crate::{
    map::Big,
    read::{append, ask, big, cursor, member},
};

/// Most steps of a walk; the names above are missing and the path is marked cut.
const DEPTH: u32 = 48;
/// Most bytes of a path.
const LONGEST: u32 = 4096;
/// Most names of a cgroup's path.
const CGROUP_DEPTH: u32 = 12;

/// Appends the path of (`dentry`, `mnt`) to the text.
#[inline(always)]
pub fn path(big: &mut Big, dentry: u64, mnt: u64) -> Path {
    if dentry == 0 || mnt == 0 {
        return Path::default();
    }
    let start = cursor(big);
    let flags = walk(dentry, mnt);
    Path { names: since(big, start), flags }
}

/// What was appended to the text since it went on at `start`.
#[inline(always)]
pub fn since(big: &Big, start: u32) -> Span {
    Span { offset: (TEXT as u32).wrapping_add(start) as u16, len: cursor(big).wrapping_sub(start) as u16 }
}

/// Appends the names from the leaf up; gives the flags of `Path`.
///
/// A function of its own, so that the verifier goes through its loop once and not for each way to a caller.
#[inline(never)]
fn walk(mut dentry: u64, mut mnt: u64) -> u32 {
    let Some(big) = big() else { return Path::CUT };
    let start = cursor(big);
    let mut root: u64 = member(mnt, ask!(offsets.vfsmount_root));
    for _ in 0..DEPTH {
        if dentry == root {
            let mount = mnt.wrapping_sub(u64::from(ask!(offsets.mount_mnt)));
            let above: u64 = member(mount, ask!(offsets.mount_parent));
            if above == mount || above == 0 {
                return detached(mount);
            }
            dentry = member(mount, ask!(offsets.mount_mountpoint));
            mnt = above.wrapping_add(u64::from(ask!(offsets.mount_mnt)));
            root = member(mnt, ask!(offsets.vfsmount_root));
            continue;
        }
        let parent: u64 = member(dentry, ask!(offsets.dentry_parent));
        let appended = append::<256>(big, member(dentry, ask!(offsets.dentry_name)));
        if !appended || cursor(big).wrapping_sub(start) > LONGEST {
            return Path::CUT;
        }
        if parent == dentry {
            return Path::NAMELESS;
        }
        dentry = parent;
    }
    Path::CUT
}

/// A mount that was unmounted while it was in use belongs to no namespace.
#[inline(always)]
fn detached(mount: u64) -> u32 {
    let offset = ask!(offsets.mount_ns);
    if offset != sensor_common::ask::ABSENT && member::<u64>(mount, offset) == 0 { Path::DETACHED } else { 0 }
}

/// Appends the names of a cgroup from the leaf up.
#[inline(always)]
pub fn cgroup(big: &mut Big, mut node: u64) -> Span {
    let start = cursor(big);
    for _ in 0..CGROUP_DEPTH {
        let parent: u64 = member(node, ask!(offsets.kn_parent));
        if parent == 0 || !append::<256>(big, member(node, ask!(offsets.kn_name))) {
            break;
        }
        node = parent;
    }
    since(big, start)
}
