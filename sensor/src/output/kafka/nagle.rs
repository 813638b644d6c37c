//! Has each load sent at once.
//!
//! The client writes the length of a request by itself, and leaves `TCP_NODELAY` unset. The last segment of what
//! follows then waits until the broker's kernel has acknowledged that length, which it puts off for up to 40 ms
//! (RFC 896, RFC 1122 4.2.3.2): no more than 50,000 events a second, 2,000 at once.

use std::{fs, net::TcpStream, os::fd::RawFd};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Sets `TCP_NODELAY` on all TCP connections of this process: the client doesn't give its own, and the other outputs
/// set it themselves. Where one can't be had, loads on it come later and come all the same.
pub(super) fn never_wait() {
    let (Ok(itself), Ok(descriptors)) =
        (pidfd_open(getpid(), PidfdFlags::empty()), fs::read_dir("/proc/self/fd"))
    else {
        return;
    };
    for descriptor in descriptors.flatten() {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        let number = descriptor.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        let Some(number) = number.filter(|_| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
        else {
            continue;
        };
        if let Ok(socket) = pidfd_getfd(&itself, number, PidfdGetfdFlags::empty()) {
            // Whatever isn't TCP refuses it.
            let _ = TcpStream::from(socket).set_nodelay(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn reaches_a_connection_that_nobody_gave_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!ours.nodelay().unwrap());
        never_wait();
        assert!(ours.nodelay().unwrap());
    }
}
