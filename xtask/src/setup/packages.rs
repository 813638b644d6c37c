//! The Debian packages that tasks need: tables to edit, one row a package.

use std::path::Path;

/// Debian's compiler. A rustup of the same machine stays untouched.
pub(crate) const RUSTC: &str = "/usr/bin/rustc";

/// The lint driver that belongs to it.
pub(crate) const CLIPPY: &str = "/usr/bin/clippy-driver";

/// A package, and how to know without asking dpkg that it is there.
///
/// In `name` and `proof`, `{llvm}` stands for the LLVM version of the compiler, and `{-web}` for
/// the suffix of Debian's newer compiler in a stable release (nothing in unstable).
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: &'static str,
    /// A file that the package brings.
    pub(super) proof: &'static str,
    pub(super) used_for: &'static str,
    /// Whether the task is done without it where it can't be had.
    pub(super) optional: bool,
}

pub(super) const BUILD: &[Package] = &[
    row("rustc{-web}", RUSTC, "compiles the kernel programs"),
    row("libstd-rust{-web}-dev-bpf", "/usr/lib/rustlib/bpfel-unknown-none/lib", "core library for them"),
    row("llvm-{llvm}", "/usr/lib/llvm-{llvm}/bin/llvm-strip", "strips them"),
];

/// Looked for only when the linker has to be built.
pub(super) const LINKER: &[Package] = &[
    row("llvm-{llvm}-dev", "/usr/lib/llvm-{llvm}/include/llvm-c/Core.h", "builds bpf-linker"),
    row("g++", "/usr/bin/g++", "builds bpf-linker"),
    row("zlib1g-dev", "/usr/include/zlib.h", "builds bpf-linker"),
    row("libzstd-dev", "/usr/include/zstd.h", "builds bpf-linker"),
];

pub(super) const LINT: &[Package] = &[row("rust{-web}-clippy", CLIPPY, "clippy for the kernel programs")];

/// What the tests use beside the sensor.
pub(super) const TEST_PACKAGES: &[Package] = &[
    row("gcc", "/usr/bin/gcc", "small test programs in C"),
    row("libc6-dev", "/usr/include/stdio.h", "headers for them"),
    optional("python3-pip", "/usr/bin/pip3", "brings what checks OCSF lines"),
    optional("gcc-multilib", "/usr/lib32/crt1.o", "32-bit test programs (only a 64-bit x86 has them)"),
    row("openssh-server", "/usr/sbin/sshd", "sessions that `sensor who` tells"),
    row("openssh-client", "/usr/bin/ssh", "begins them"),
    row("nftables", "/usr/sbin/nft", "rules that `sensor port` makes"),
    row("iptables", "/usr/sbin/iptables-nft", "rules of others, which it leaves alone"),
    row("iproute2", "/sbin/ip", "network namespaces for them"),
    row("zsh", "/usr/bin/zsh", "a history that `sensor history` reads"),
    row("fish", "/usr/bin/fish", "another"),
    row("mksh", "/usr/bin/mksh", "another"),
    row("ksh93u+m", "/usr/bin/ksh93", "another"),
    row("systemd-journal-remote", "/lib/systemd/systemd-journal-remote", "makes a journal for it"),
    row("dbus", "/usr/share/dbus-1/system.conf", "what systemd-logind needs to write its sessions"),
    row("sudo", "/usr/bin/sudo", "writes the log that it reads"),
    row("openssl", "/usr/bin/openssl", "a TLS server that `sensor lookup` must not believe"),
    row("rsyslog", "/usr/sbin/rsyslogd", "a server that outputs send to"),
    row("rsyslog-gnutls", "/usr/share/doc/rsyslog-gnutls", "the same over TLS"),
    optional("valgrind", "/usr/bin/valgrind", "counts instructions"),
    row("rpm", "/usr/bin/rpmbuild", "makes and upgrades a package that runs"),
];

/// What virtual machines take, and the tools that the tests find in them.
pub(super) const MACHINES: &[Package] = &[
    row("busybox-static", "/bin/busybox", "the first program there"),
    row("e2fsprogs", "/sbin/mkfs.ext4", "makes their disk"),
    row("xz-utils", "/usr/bin/xz", "unpacks their modules"),
    row("binutils", "/usr/bin/strip", "makes the tests smaller for them"),
    row("iproute2", "/sbin/ip", "interfaces and routes for the tests"),
];

const fn row(name: &'static str, proof: &'static str, used_for: &'static str) -> Package {
    Package { name, proof, used_for, optional: false }
}

const fn optional(name: &'static str, proof: &'static str, used_for: &'static str) -> Package {
    Package { name, proof, used_for, optional: true }
}

impl Package {
    /// Its name for an LLVM version and a compiler suffix.
    pub(super) fn full_name(&self, llvm: u32, suffix: &str) -> String {
        self.name.replace("{llvm}", &llvm.to_string()).replace("{-web}", suffix)
    }

    /// Whether it is installed.
    pub(super) fn is_here(&self, llvm: u32) -> bool {
        let proof = self.proof.replace("{llvm}", &llvm.to_string());
        Path::new(&proof).exists()
    }
}
