//! The disk of a virtual machine: the sensor and the tests as they are, with the few tools and
//! libraries that they need, and no compiler.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::GUEST;
use crate::command;
use crate::error::{Error, Missing, Result};

/// What tests start beside the sensor and their own programs; busybox has the rest.
const TOOLS: &[&str] = &[
    "cat",
    "date",
    "dash",
    "dpkg",
    "dpkg-deb",
    "dpkg-query",
    "dpkg-split",
    "ip",
    "ldconfig",
    "nft",
    "nsenter",
    "rm",
    "setpriv",
    "setsid",
    "sleep",
    "start-stop-daemon",
    "stat",
    "stty",
    "tar",
    "timeout",
    "tty",
    "unshare",
];
const FOLDERS: &[&str] = &[
    "dev",
    "etc",
    "opt",
    "proc",
    "root",
    "run",
    "sys",
    "tests/programs",
    "usr/bin",
    "usr/lib",
    "usr/lib64",
    "usr/sbin",
    "var/lib/dpkg/info",
    "var/lib/dpkg/updates",
    "var/log",
    "var/tmp",
];
const LINKS: &[(&str, &str)] = &[
    ("usr/bin", "bin"),
    ("usr/sbin", "sbin"),
    ("usr/lib", "lib"),
    ("usr/lib64", "lib64"),
    ("dash", "usr/bin/sh"),
];
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    ),
    ("etc/group", "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    ("var/lib/dpkg/status", ""),
];
pub(super) const BUSYBOX: &str = "/bin/busybox";
/// Of which only what is written takes room.
const SIZE: &str = "4G";

/// A folder that becomes the root of the machine.
pub(super) struct Root {
    folder: PathBuf,
    libraries: BTreeSet<PathBuf>,
}

impl Root {
    /// An empty one in this place, with the usual folders and tools.
    pub(super) fn make(folder: PathBuf) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(Error::file("remove", &folder))?;
        }
        let mut root = Self { folder, libraries: BTreeSet::new() };
        for name in FOLDERS {
            root.make_folder(name)?;
        }
        let temporary = root.make_folder("tmp")?;
        fs::set_permissions(&temporary, Permissions::from_mode(0o1777))
            .map_err(Error::file("open", &temporary))?;
        for (name, text) in FILES {
            let path = root.folder.join(name);
            fs::write(&path, text).map_err(Error::file("write", &path))?;
        }
        for (to, name) in LINKS {
            root.link(to, name)?;
        }
        for tool in TOOLS {
            root.tool(tool)?;
        }
        root.busybox()?;
        root.program("guest", GUEST.as_bytes())?;
        Ok(root)
    }

    /// Puts a program in as it is, with the libraries that it needs.
    pub(super) fn copy(&mut self, from: &Path, to: &str) -> Result<()> {
        let path = self.folder.join(to);
        fs::copy(from, &path).map_err(Error::file("copy", from))?;
        for library in libraries(from)? {
            if self.libraries.insert(library.clone()) {
                let to = self.folder.join(library.strip_prefix("/").unwrap_or(&library));
                let folder = to.parent().unwrap_or(&self.folder);
                fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
                fs::copy(&library, &to).map_err(Error::file("copy", &library))?;
            }
        }
        Ok(())
    }

    /// Where a name of the machine is here.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes it a file system in a file.
    pub(super) fn disk(&self, image: &Path) -> Result<()> {
        let _: std::io::Result<()> = fs::remove_file(image);
        let mut make = Command::new("/sbin/mkfs.ext4");
        // What kernels of ten years ago don't know.
        make.args(["-q", "-F", "-O", "^metadata_csum_seed,^orphan_file", "-d"]);
        command::run(make.arg(&self.folder).arg(image).arg(SIZE))
    }

    fn make_folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).map_err(Error::file("make", &path))?;
        Ok(path)
    }

    fn link(&self, to: &str, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        symlink(to, &path).map_err(Error::file("make", &path))
    }

    fn program(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, content).map_err(Error::file("write", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(Error::file("open", &path))
    }

    fn tool(&mut self, name: &str) -> Result<()> {
        let folders = ["usr/bin", "usr/sbin"];
        let found = folders.iter().find(|folder| Path::new("/").join(folder).join(name).exists());
        let Some(folder) = found else {
            let tool = Missing {
                what: format!("{name}: a tool that the tests use"),
                install: format!("apt-file search bin/{name}"),
            };
            return Err(Error::Missing { purpose: "testing in virtual machines", missing: vec![tool] });
        };
        let path = format!("{folder}/{name}");
        let from = Path::new("/").join(&path);
        self.copy(&from, &path)
    }

    /// Busybox, by all its names that no other tool has.
    fn busybox(&mut self) -> Result<()> {
        self.copy(Path::new(BUSYBOX), "usr/bin/busybox")?;
        let names = command::read(Command::new(BUSYBOX).arg("--list"))?;
        for name in names.lines() {
            let taken = ["usr/bin", "usr/sbin"].iter().any(|folder| {
                self.folder.join(folder).join(name).is_symlink()
                    || self.folder.join(folder).join(name).exists()
            });
            if !taken {
                self.link("busybox", &format!("usr/bin/{name}"))?;
            }
        }
        Ok(())
    }
}

/// The shared libraries of a program, the loader too; none of a static one.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").env("LC_ALL", "C").arg(program).output();
    let output = output.map_err(|source| Error::Start { command: "ldd".to_owned(), source })?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(ldd: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let line = line.split_once("=>").map_or(line, |(_, path)| path).trim();
        let path = line.split_once(" (")?.0;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    ldd.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ldd_prints() {
        let text = "\tlinux-vdso.so.1 (0x7)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7)\n\t/lib64/ld-linux-x86-64.so.2 (0x7)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse(text), expected);
        assert_eq!(parse("\tnot a dynamic executable\n"), [] as [PathBuf; 0]);
    }
}
