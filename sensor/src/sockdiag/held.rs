//! What a socket itself says that another process holds: borrowed for a moment, where no table tells it.
//!
//! While it is borrowed it doesn't end with its process.

use std::{
    fs::File,
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt},
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::net::found::{Found, Kind, State};

/// `SO_GET_FILTER` (`include/uapi/asm-generic/socket.h`).
const SO_GET_FILTER: libc::c_int = 26;
/// `SIOCGSKNS` (`include/uapi/linux/sockios.h`).
const SIOCGSKNS: libc::c_ulong = 0x894C;

/// A program that decides which packets a socket hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// There is none.
    None,
    /// Of so many instructions of the classic sort.
    Classic(u32),
    /// Of the extended sort.
    Extended,
}

impl Filter {
    /// Its word in a record; none where there is no filter.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Classic(_) => Some("classic"),
            Self::Extended => Some("extended"),
        }
    }
}

/// A socket of another process.
#[derive(Debug)]
pub struct Held(OwnedFd);

impl Held {
    /// The socket of this inode that a process has by this descriptor.
    ///
    /// # Errors
    /// When we may not, or it is another by now.
    pub fn borrow(pid: u32, descriptor: u32, inode: u64) -> Result<Self, Errno> {
        let raw = |error: rustix::io::Errno| Errno::from_raw(error.raw_os_error());
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::ESRCH)?;
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(raw)?;
        let socket = pidfd_getfd(process, descriptor.cast_signed(), PidfdGetfdFlags::empty()).map_err(raw)?;
        let same = nix::sys::stat::fstat(&socket).is_ok_and(|stat| stat.st_ino == inode);
        if same { Ok(Self(socket)) } else { Err(Errno::ESTALE) }
    }

    /// What filters it.
    ///
    /// # Errors
    /// When the kernel doesn't say.
    pub fn filter(&self) -> Result<Filter, Errno> {
        let mut count: libc::socklen_t = 0;
        // SAFETY: of a length of 0 the kernel writes nothing but the number of instructions into that length
        // (`sk_get_filter`, `net/core/filter.c`), which lives until the call returns.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_GET_FILTER,
                std::ptr::null_mut(),
                &raw mut count,
            )
        };
        match Errno::result(result) {
            Ok(_) if count == 0 => Ok(Filter::None),
            Ok(_) => Ok(Filter::Classic(count)),
            // It was not made of classic instructions.
            Err(Errno::EACCES) => Ok(Filter::Extended),
            Err(errno) => Err(errno),
        }
    }

    /// Its network namespace, to be entered.
    ///
    /// # Errors
    /// When we may not: it takes the right to administer that network.
    pub fn namespace(&self) -> Result<File, Errno> {
        // SAFETY: the call takes no argument beside the socket, and gives a new descriptor.
        let descriptor = unsafe { libc::ioctl(self.0.as_raw_fd(), SIOCGSKNS) };
        let descriptor = Errno::result(descriptor)?;
        // SAFETY: it was just made for us, and nobody else closes it.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// What it is, of the sorts that not every kernel has a table of: of those between a machine and its guests.
    #[must_use]
    pub fn vsock(&self, inode: u64, netns: u32) -> Option<Found> {
        let name: SockaddrStorage = getsockname(self.0.as_raw_fd()).ok()?;
        if name.family() != Some(AddressFamily::Vsock) {
            return None;
        }
        let local = name.as_vsock_addr().map(|it| (it.cid(), it.port()))?;
        let listens = getsockopt(&self.0, sockopt::AcceptConn).unwrap_or(false);
        let state = if listens { State::Listens } else { State::Other };
        let kind = Kind::Vsock { local, remote: (u32::MAX, u32::MAX) };
        Some(Found { inode, cookie: 0, netns, uid: None, state, kind })
    }
}

const _: () = assert!(size_of::<libc::socklen_t>() == 4);

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_of_ones_own_tells() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (fd, inode) =
            (socket.as_raw_fd().cast_unsigned(), nix::sys::stat::fstat(&socket).unwrap().st_ino);
        let held = Held::borrow(std::process::id(), fd, inode).unwrap();
        assert_eq!(held.filter(), Ok(Filter::None));
        assert_eq!(held.vsock(inode, 1), None);
        assert_eq!(Held::borrow(std::process::id(), fd, inode + 1).unwrap_err(), Errno::ESTALE);
        assert!(Held::borrow(u32::MAX, fd, inode).is_err());
        if nix::unistd::geteuid().is_root() {
            use std::os::unix::fs::MetadataExt;
            let own = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
            assert_eq!(held.namespace().unwrap().metadata().unwrap().ino(), own);
        }
    }
}
