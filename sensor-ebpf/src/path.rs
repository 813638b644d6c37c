//! Where a file is: the walk from its name up to the root, across mounts.

use sensor_common::{
    ask::ABSENT,
    wire::{Path, Span, TEXT},
};

use crate::{
    map::Big,
    read::{At, Probed, Reach, Typed, append, ask, big, cursor},
};

/// Most steps of a walk; the names above are missing and the path is marked cut.
const DEPTH: u32 = 48;
/// Most bytes of a path.
const LONGEST: u32 = 4096;
/// Most names of a cgroup's path.
const CGROUP_DEPTH: u32 = 12;

/// Appends the path of (`dentry`, `mnt`) to the text.
#[inline(always)]
pub fn path(big: &mut Big, dentry: At<Typed>, mnt: At<Typed>) -> Path {
    if dentry.is_null() || mnt.is_null() {
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
fn walk(mut dentry: At<Typed>, mnt: At<Typed>) -> u32 {
    let Some(big) = big() else { return Path::CUT };
    let start = cursor(big);
    let root = mnt.follow(ask!(offsets.vfsmount_root)).address();
    for _ in 0..DEPTH {
        if dentry.address() == root {
            return across(start, mnt.address());
        }
        match step(big, start, dentry) {
            Ok(parent) => dentry = parent,
            Err(flags) => return flags,
        }
    }
    Path::CUT
}

/// Goes on from the root of a mount, across all mounts that it is on.
///
/// The verifier knows a `vfsmount` but not the `mount` around it: from here on no type is known.
#[inline(never)]
fn across(start: u32, mnt: u64) -> u32 {
    let Some(big) = big() else { return Path::CUT };
    let mut mnt = At::any(mnt);
    let mut root = mnt.follow(ask!(offsets.vfsmount_root)).address();
    let mut dentry = At::any(root);
    for _ in 0..DEPTH {
        if dentry.address() == root {
            let mount = At::any(mnt.address().wrapping_sub(u64::from(ask!(offsets.mount_mnt))));
            let above = mount.follow(ask!(offsets.mount_parent));
            if above.address() == mount.address() || above.is_null() {
                return detached(mount);
            }
            dentry = mount.follow(ask!(offsets.mount_mountpoint));
            mnt = At::any(above.address().wrapping_add(u64::from(ask!(offsets.mount_mnt))));
            root = mnt.follow(ask!(offsets.vfsmount_root)).address();
            continue;
        }
        match step(big, start, dentry) {
            Ok(parent) => dentry = parent,
            Err(flags) => return flags,
        }
    }
    Path::CUT
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

/// A mount that was unmounted while it was in use belongs to no namespace.
#[inline(always)]
fn detached(mount: At<Probed>) -> u32 {
    let offset = ask!(offsets.mount_ns);
    if offset != ABSENT && mount.get::<u64>(offset) == 0 { Path::DETACHED } else { 0 }
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
