//! What is kept of an unpacked kernel: its image, and the few modules that the tests need.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::{Error, Result};

/// Loaded where the kernel hasn't got them built in, as a host would by itself: the disk and what is on it, file systems,
/// pairs of interfaces, a protocol, the tables of sockets, and the firewall.
pub(super) const WANTED: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "crc32c_generic",
    "ext4",
    "overlay",
    "fuse",
    "veth",
    "sctp",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "unix_diag",
    "packet_diag",
    "netlink_diag",
    "vsock_diag",
    "sctp_diag",
    "mptcp_diag",
    "nf_tables",
    "nf_conntrack_netlink",
    "nft_ct",
    "nft_reject_inet",
    "nft_chain_nat",
    "nft_counter",
    "nft_nat",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
];

/// Copies them from where packages were unpacked, modules uncompressed and numbered in the order
/// in which they need each other.
pub(super) fn keep(unpacked: &Path, into: &Path) -> Result<()> {
    let mut files = Vec::new();
    walk(unpacked, &mut files)?;
    let is_image = |path: &&PathBuf| name(path).starts_with("vmlinuz");
    let image = files.iter().find(is_image);
    let image = image.ok_or_else(|| Error::Check(format!("no vmlinuz in {}", unpacked.display())))?;
    fs::copy(image, into.join("vmlinuz")).map_err(Error::file("copy", image))?;
    let modules: HashMap<String, &PathBuf> =
        files.iter().filter_map(|path| Some((module_name(&name(path))?, path))).collect();
    let folder = into.join("modules");
    fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    let mut done = Vec::new();
    for wanted in WANTED {
        load(wanted, &modules, &folder, &mut done)?;
    }
    Ok(())
}

/// Copies a module after those that it needs; one that isn't there is built in.
fn load(
    wanted: &str,
    modules: &HashMap<String, &PathBuf>,
    folder: &Path,
    done: &mut Vec<String>,
) -> Result<()> {
    let Some(path) = modules.get(wanted).filter(|_| !done.iter().any(|one| one == wanted)) else {
        return Ok(());
    };
    let bytes = uncompressed(path)?;
    done.push(wanted.to_owned());
    for needed in needs(&bytes) {
        load(&needed, modules, folder, done)?;
    }
    // Numbered after all that it needs.
    let count = fs::read_dir(folder).map_err(Error::file("list", folder))?.count();
    let to = folder.join(format!("{count:02}-{wanted}.ko"));
    fs::write(&to, bytes).map_err(Error::file("write", &to))
}

fn uncompressed(path: &Path) -> Result<Vec<u8>> {
    let mut command = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => Command::new("xz"),
        Some("zst") => Command::new("zstd"),
        _ => return fs::read(path).map_err(Error::file("read", path)),
    };
    command::bytes(command.arg("-dc").arg(path))
}

/// The modules that a module needs, as its `modinfo` section says.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module.get(at + KEY.len()..).unwrap_or_default().split(|byte| *byte == 0).next();
    let value = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    value.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// The kernel's name of the module in a file of this name.
fn module_name(file: &str) -> Option<String> {
    let (name, rest) = file.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst").then(|| name.replace('-', "_"))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::file("list", folder))? {
        let entry = entry.map_err(Error::file("list", folder))?;
        let kind = entry.file_type().map_err(Error::file("list", folder))?;
        if kind.is_dir() {
            walk(&entry.path(), found)?;
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_module_needs() {
        assert_eq!(needs(b"x\0license=GPL\0depends=virtio,virtio-ring\0y"), ["virtio", "virtio_ring"]);
        assert_eq!(needs(b"x\0depends=\0y"), [""; 0]);
        assert_eq!(needs(b"x"), [""; 0]);
    }

    #[test]
    fn knows_modules_by_their_files() {
        assert_eq!(module_name("virtio-blk.ko.xz").as_deref(), Some("virtio_blk"));
        assert_eq!(module_name("veth.ko").as_deref(), Some("veth"));
        assert_eq!(module_name("a.kobold"), None);
        assert_eq!(module_name("vmlinuz"), None);
    }
}
