//! The system calls that no crate wraps: an iterator over a map, and file systems of the kernel's own
//! wherever they are mounted.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use nix::libc::{self, c_long};

/// Commands of `bpf(2)` and a sort of attaching (`include/uapi/linux/bpf.h`).
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

fn bpf<T>(command: c_long, attribute: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `attribute`, of the size that is said; what it points to lives as long.
    owned(unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_ref(attribute), size_of::<T>()) })
}

/// The root of the cgroups of version 2, by a mount that nobody else sees: it is there whether and
/// wherever the host has them mounted.
pub(super) fn cgroup_root() -> io::Result<OwnedFd> {
    own_mount(c"cgroup2")
}

/// The kernel's word on security (`securityfs`), likewise.
pub(super) fn security_root() -> io::Result<OwnedFd> {
    own_mount(c"securityfs")
}

fn own_mount(name: &CStr) -> io::Result<OwnedFd> {
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

fn owned(result: c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel just gave this descriptor, to nobody else.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
