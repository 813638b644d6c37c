//! The system calls that no crate wraps: an iterator over a map, file systems wherever they are mounted, and
//! what this process may do.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
    ptr,
};

use nix::libc::{self, c_long};

/// Commands of `bpf(2)` and a sort of attaching (`include/uapi/linux/bpf.h`).
const BPF_OBJ_PIN: c_long = 6;
const BPF_OBJ_GET_INFO_BY_FD: c_long = 15;
const BPF_MAP_FREEZE: c_long = 22;
const BPF_LINK_CREATE: c_long = 28;
const BPF_ITER_CREATE: c_long = 33;
const BPF_TRACE_ITER: u32 = 28;

/// What `BPF_LINK_CREATE` takes for an iterator.
#[repr(C)]
struct LinkCreate {
    program: RawFd,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: *const RawFd,
    info_len: u32,
    reserved: u32,
}

/// What `BPF_LINK_CREATE` takes for a cgroup.
#[repr(C)]
struct CgroupCreate {
    program: RawFd,
    target: RawFd,
    attach_type: u32,
    flags: u32,
}

/// What `BPF_OBJ_GET_INFO_BY_FD` takes.
#[repr(C)]
struct InfoAsk {
    fd: RawFd,
    len: u32,
    info: *mut LinkInfo,
}

/// What the kernel tells of a link to a cgroup (`struct bpf_link_info`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkInfo {
    sort: u32,
    id: u32,
    /// The id of its program.
    pub(super) program: u32,
    padding: u32,
    /// The cgroup's id, 0 when it is detached.
    cgroup: u64,
    attach_type: u32,
    reserved: u32,
}

/// What `BPF_OBJ_PIN` takes.
#[repr(C)]
struct Pin {
    path: *const libc::c_char,
    fd: RawFd,
    flags: u32,
}

/// What `BPF_ITER_CREATE` takes.
#[repr(C)]
struct IterCreate {
    link: RawFd,
    flags: u32,
}

/// Reading the file goes through all of a map by an iterator's program.
pub(super) fn walk(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<File> {
    let info = map.as_raw_fd();
    let create = LinkCreate {
        program: program.as_raw_fd(),
        target: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        info: &raw const info,
        info_len: u32::try_from(size_of::<RawFd>()).unwrap_or(0),
        reserved: 0,
    };
    let link = bpf(BPF_LINK_CREATE, &create)?;
    let iter = bpf(BPF_ITER_CREATE, &IterCreate { link: link.as_raw_fd(), flags: 0 })?;
    Ok(iter.into())
}

/// Attaches a program to a cgroup.
pub(super) fn link(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<OwnedFd> {
    let (program, target) = (program.as_raw_fd(), cgroup.as_raw_fd());
    bpf(BPF_LINK_CREATE, &CgroupCreate { program, target, attach_type, flags: 0 })
}

/// What a link is now.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let len = u32::try_from(size_of::<LinkInfo>()).unwrap_or(0);
    done(BPF_OBJ_GET_INFO_BY_FD, &InfoAsk { fd: link.as_raw_fd(), len, info: &raw mut info })?;
    Ok(info)
}

/// Gives a link a name, by which it stays when nobody has it open.
pub(super) fn pin(link: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    done(BPF_OBJ_PIN, &Pin { path: path.as_ptr(), fd: link.as_raw_fd(), flags: 0 })
}

/// From now on only programs write to a map.
pub(super) fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    done(BPF_MAP_FREEZE, &map.as_raw_fd())
}

fn done<T>(command: c_long, attribute: &T) -> io::Result<()> {
    // SAFETY: as below; where the attribute points to memory, the kernel writes no more than it says.
    match unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_ref(attribute), size_of::<T>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn bpf<T>(command: c_long, attribute: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `attribute`, of the size that is said; what it points to lives as long.
    owned(unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_ref(attribute), size_of::<T>()) })
}

/// The root of the cgroups of version 2.
pub(super) fn cgroup_root() -> io::Result<OwnedFd> {
    mounted(c"cgroup2")
}

/// The kernel's word on security (`securityfs`).
pub(super) fn security_root() -> io::Result<OwnedFd> {
    mounted(c"securityfs")
}

/// The root of a file system of the kernel's own, by a mount that nobody else sees: it is there whether and
/// wherever the host has it mounted.
fn mounted(name: &CStr) -> io::Result<OwnedFd> {
    const CLOSE: c_long = 1;
    const CREATE: c_long = 6;
    /// No set-user-id, no devices, nothing executed (`include/uapi/linux/mount.h`).
    const QUIET: c_long = 2 | 4 | 8;
    // SAFETY: a call that reads a string which ends with a NUL.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), CLOSE) })?;
    let (fd, null) = (context.as_raw_fd(), ptr::null::<u8>());
    // SAFETY: a call that takes no memory; the descriptor is open.
    if unsafe { libc::syscall(libc::SYS_fsconfig, fd, CREATE, null, null, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: likewise.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, CLOSE, QUIET) })
}

/// The sort of lockdown that the kernel is under (`kernel_lockdown(7)`); none when it isn't, or doesn't say.
pub(super) fn lockdown() -> Option<String> {
    let root = mounted(c"securityfs").ok()?;
    let (flags, mode) =
        (nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty());
    let file = nix::fcntl::openat(&root, c"lockdown", flags, mode).ok()?;
    let mut text = String::new();
    File::from(file).take(256).read_to_string(&mut text).ok()?;
    chosen(&text).filter(|word| *word != "none").map(str::to_owned)
}

/// The word in brackets: `none [integrity] confidentiality`.
fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(word, _)| word)
}

/// The capabilities in force, a bit each (`capget(2)`).
pub(super) fn capabilities() -> io::Result<u64> {
    /// `_LINUX_CAPABILITY_VERSION_3` (`include/uapi/linux/capability.h`).
    const VERSION: u32 = 0x2008_0522;
    // The version and whose; and effective, permitted and inheritable of the lower bits, then of the upper.
    let mut head = [VERSION, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: the kernel writes at most a head of two words and two sets of three, which is what there is.
    match unsafe { libc::syscall(libc::SYS_capget, head.as_mut_ptr(), sets.as_mut_ptr()) } {
        0 => Ok(u64::from(sets[0]) | u64::from(sets[3]) << 32),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a seccomp filter stands between us and the kernel.
pub(super) fn is_filtered() -> bool {
    /// `SECCOMP_MODE_FILTER` (`include/uapi/linux/seccomp.h`).
    const FILTER: i32 = 2;
    // SAFETY: a question that takes no memory.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) == FILTER }
}

/// Gives the kernel the memory that the start took and nobody holds (`malloc_trim(3)`): the allocator would keep it,
/// since little that lives on lies above it.
pub(super) fn give_back() {
    // SAFETY: the allocator takes its own locks, and moves nothing that somebody has.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

fn owned(result: c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel just gave this descriptor, to nobody else.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_word_is_in_brackets() {
        assert_eq!(chosen("none [integrity] confidentiality\n"), Some("integrity"));
        assert_eq!(chosen("none"), None);
    }

    #[test]
    fn capabilities_are_those_of_the_process() {
        let status = std::fs::read_to_string(format!("{}/self/status", "/proc")).unwrap();
        let wanted = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        assert_eq!(capabilities().unwrap(), u64::from_str_radix(wanted.trim(), 16).unwrap());
        assert_eq!(is_filtered(), !status.contains("Seccomp:\t0"));
    }
}
