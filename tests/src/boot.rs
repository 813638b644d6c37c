//! A host that boots and is cut off: systemd over this host's files, with namespaces of its own, what it writes kept from
//! one boot to the next.

use crate::place::{Cgroup, mount_tmpfs};
use crate::{Folder, until};
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const SYSTEMD: &str = "/lib/systemd/systemd";

/// Whether there is a systemd to boot.
#[must_use]
pub fn has_systemd() -> bool {
    Path::new(SYSTEMD).exists()
}

/// The first process of a host, from the mounts that a kernel and an initial file system leave it.
const INIT: &str = r#"set -e
echo $$ > "$2/cgroup.procs"
exec unshare --cgroup sh -ec '
    root=$1/root
    mount --make-rprivate /
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$root"
    mount -t proc proc "$root/proc"
    # This kernel stays as it is set, and so do its devices: services of a host that can only read these leave them alone.
    mount --bind -o ro "$root/proc/sys" "$root/proc/sys"
    mount -t sysfs -o ro sys "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount -t tmpfs run "$root/run"
    # A boot of its own.
    cat /proc/sys/kernel/random/uuid > "$root/run/boot_id"
    mount --bind "$root/run/boot_id" "$root/proc/sys/kernel/random/boot_id"
    mount -t tmpfs dev "$root/dev"
    for name in null zero full random urandom tty; do
        touch "$root/dev/$name"
        mount --bind "/dev/$name" "$root/dev/$name"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/0 "$root/dev/stdin"
    exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /lib/systemd/systemd --unit=sysinit.target
' sh "$1"
"#;

/// What outlives a boot.
#[derive(Debug)]
pub struct Host {
    disk: Folder,
}

/// A host that runs. Dropped it is cut off, as by a loss of power.
#[derive(Debug)]
pub struct Booted {
    unshare: Child,
    /// Its first process, as this host numbers it.
    init: u32,
    _cgroup: Cgroup,
}

impl Host {
    /// With this host's files.
    #[must_use]
    pub fn new() -> Self {
        let disk = Folder::new();
        // An overlay takes no folder of another one, and no folder within what lies below it.
        mount_tmpfs(disk.path(), "64m");
        for name in ["upper", "work", "root"] {
            fs::create_dir(disk.at(name)).unwrap();
        }
        // What is tested may lie in /tmp, which is emptied at a boot or hidden by a new one.
        for (folder, name) in [("systemd/system", "tmp.mount"), ("tmpfiles.d", "tmp.conf")] {
            let folder = disk.at("upper/etc").join(folder);
            fs::create_dir_all(&folder).unwrap();
            symlink("/dev/null", folder.join(name)).unwrap();
        }
        Self { disk }
    }

    /// Installs a program where only root writes: by which path.
    #[must_use]
    pub fn install(&self, program: &Path) -> PathBuf {
        let place = Path::new("usr/local/sbin");
        fs::create_dir_all(self.disk.at("upper").join(place)).unwrap();
        let name = place.join(program.file_name().unwrap_or_default());
        fs::copy(program, self.disk.at("upper").join(&name)).unwrap();
        Path::new("/").join(name)
    }

    /// Boots it until its own services are up; none where there are no cgroups of version 2.
    #[must_use]
    pub fn boot(&self) -> Option<Booted> {
        let cgroup = Cgroup::make(&format!("boot-{}", std::process::id()))?;
        let mut unshare = Command::new("unshare");
        unshare.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--net",
            "--uts",
            "--ipc",
            "sh",
            "-c",
            INIT,
            "sh",
        ]);
        unshare.arg(self.disk.path()).arg(cgroup.path());
        let child =
            unshare.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let mut init = 0;
        until("its first process is there", || {
            init = fs::read_to_string(&children).unwrap().trim().parse().unwrap_or(0);
            init != 0
        });
        let booted = Booted { unshare: child, init, _cgroup: cgroup };
        until("it has booted", || {
            String::from_utf8_lossy(&booted.there(&["systemctl", "is-active", "sysinit.target"]).stdout)
                .trim()
                == "active"
        });
        Some(booted)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A test that fails already says why.
        let _ = umount2(self.disk.path(), MntFlags::MNT_DETACH);
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Booted {
    /// What a command gives there.
    #[must_use]
    pub fn there(&self, words: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--all", "--root", "--wd=/"]).args(words);
        command.stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // Its first process goes with it, and with that all others.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let gone = format!("/proc/{}", self.init);
        until("it is off", || !Path::new(&gone).exists());
    }
}
