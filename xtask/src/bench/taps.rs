//! The two programs of a running sensor that each packet meets, taken off and put back in turns.
//!
//! A machine that is shared is faster and slower from one second to the next, by more than what is to be
//! measured. Starting and stopping the sensor takes that long; this takes microseconds.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::libc::{self, c_long};

use super::sensor::Sensor;
use crate::error::{Error, Result};

/// Commands of `bpf(2)` and sorts of attaching (`include/uapi/linux/bpf.h`).
const BPF_PROG_GET_FD_BY_ID: c_long = 13;
const BPF_LINK_CREATE: c_long = 28;
const BPF_LINK_GET_FD_BY_ID: c_long = 30;
const BPF_LINK_DETACH: c_long = 34;
const BPF_CGROUP_INET_INGRESS: u32 = 0;
const BPF_CGROUP_INET_EGRESS: u32 = 1;

/// Both programs; they are taken off when this is dropped.
#[derive(Debug)]
pub(crate) struct Taps {
    root: File,
    programs: Vec<Tap>,
    links: Vec<OwnedFd>,
}

#[derive(Debug)]
struct Tap {
    program: OwnedFd,
    attach_type: u32,
}

impl Taps {
    /// Takes the programs of this sensor off; it goes on without them.
    pub(crate) fn take(sensor: &Sensor) -> Result<Self> {
        let root = cgroups()?;
        let root = File::open(&root).map_err(Error::file("open", &root))?;
        let folder = sensor.proc().join("fdinfo");
        let mut programs = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::file("list", &folder))? {
            let path = entry.map_err(Error::file("list", &folder))?.path();
            // What was closed since is no link.
            let Some(link) = fs::read_to_string(&path).ok().and_then(|text| Link::of(&text)) else {
                continue;
            };
            let tap = link.take().map_err(Error::file("take off the link of", &path))?;
            programs.push(tap);
        }
        if programs.len() != 2 {
            return Err(Error::Check(format!(
                "the sensor counts packets by {} programs of cgroups, not by 2: see what its coverage event says",
                programs.len()
            )));
        }
        Ok(Self { root, programs, links: Vec::new() })
    }

    /// Takes them off.
    pub(crate) fn off(&mut self) {
        self.links.clear();
    }

    /// Puts them back.
    pub(crate) fn on(&mut self) -> Result<()> {
        self.off();
        for tap in &self.programs {
            let attribute =
                [tap.program.as_raw_fd(), self.root.as_raw_fd(), tap.attach_type.cast_signed(), 0];
            let link = bpf(BPF_LINK_CREATE, attribute).and_then(owned);
            self.links.push(link.map_err(Error::file("attach a program to", Path::new("the cgroups")))?);
        }
        Ok(())
    }
}

/// What a descriptor of a link to a packet's program says.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    id: u32,
    program: u32,
    attach_type: u32,
}

impl Link {
    fn of(fdinfo: &str) -> Option<Self> {
        let number = |key: &str| {
            let line = fdinfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            line.trim().parse().ok()
        };
        let link =
            Self { id: number("link_id")?, program: number("prog_id")?, attach_type: number("attach_type")? };
        let packets = [BPF_CGROUP_INET_INGRESS, BPF_CGROUP_INET_EGRESS].contains(&link.attach_type);
        // Other types of links number what they are attached to anew.
        (packets && fdinfo.contains("cgroup_id:")).then_some(link)
    }

    fn take(&self) -> io::Result<Tap> {
        let program = bpf(BPF_PROG_GET_FD_BY_ID, [self.program.cast_signed(), 0, 0, 0]).and_then(owned)?;
        let link = bpf(BPF_LINK_GET_FD_BY_ID, [self.id.cast_signed(), 0, 0, 0]).and_then(owned)?;
        bpf(BPF_LINK_DETACH, [link.as_raw_fd(), 0, 0, 0])?;
        Ok(Tap { program, attach_type: self.attach_type })
    }
}

/// Where the cgroups of version 2 are mounted.
fn cgroups() -> Result<PathBuf> {
    let path = Path::new("/proc/self/mounts");
    let mounts = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let mut fields = mounts.lines().map(|line| line.split(' '));
    let root = fields.find_map(|mut line| {
        let place = line.nth(1)?;
        (line.next()? == "cgroup2").then(|| PathBuf::from(place))
    });
    root.ok_or_else(|| {
        Error::Check("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified".to_owned())
    })
}

fn bpf(command: c_long, attribute: [i32; 4]) -> io::Result<c_long> {
    // SAFETY: the kernel reads `attribute`, of the size that is said; none of these commands has a pointer in it.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_ptr(), size_of_val(&attribute)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(result: c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave this descriptor, to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_packets_are_told_from_others() {
        let text = |kind: &str, attach: u32| {
            format!(
                "pos:\t0\nlink_type:\t{kind}\nlink_id:\t7\nprog_tag:\t0\nprog_id:\t9\n\
                 cgroup_id:\t1\nattach_type:\t{attach}\n"
            )
        };
        assert_eq!(Link::of(&text("cgroup", 1)), Some(Link { id: 7, program: 9, attach_type: 1 }));
        assert_eq!(Link::of(&text("cgroup", 34)), None);
        assert_eq!(Link::of("link_type:\ttracing\nlink_id:\t7\nprog_id:\t9\nattach_type:\t1\n"), None);
        assert_eq!(Link::of("pos:\t0\n"), None);
    }
}
