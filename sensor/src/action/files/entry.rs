//! One descriptor as a record: what it leads to, how it is open, what is particular and what is odd about it.

use std::collections::HashMap;

use nix::{errno::Errno, sys::stat::SFlag};

use super::ends::Ends;
use crate::{
    event::{exe_deleted::basename, socket::Side},
    field::Field,
    look::{Look, described::find, open::Holder, sockets::told},
    net::found::Kind,
    process::Process,
    procfs::{
        descriptors::{Descriptor, Target},
        opened::{Facts, Mounts, Opened, access, is_same, names_only},
        space::{Lead, Space},
    },
    record::{Record, Text, Value},
};

/// Most descriptors of the parent that lead to the same and are compared with one.
const COMPARED_MOST: usize = 16;
/// The kernel's mark at the end of a link whose file lost its name.
const MARK: &[u8] = b" (deleted)";

/// Makes records, one after the other.
pub(super) struct Entries<'a> {
    look: &'a Look,
    ends: Ends<'a>,
    mounts: &'a Mounts,
    /// What the parents have open, by pid and by where it leads.
    parents: HashMap<u32, HashMap<Target, Vec<u32>>>,
    spaces: HashMap<u32, Space>,
    /// Why it can't be told what is inherited.
    incomparable: Option<Errno>,
    /// Pipes and connected sockets of the host of which nobody has the other end who may be looked at.
    loose: usize,
}

/// What is found of one descriptor.
#[derive(Default)]
struct Notes {
    marks: Vec<&'static str>,
    odd: Vec<(u64, String)>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(look: &'a Look, ends: Ends<'a>, mounts: &'a Mounts) -> Self {
        let (parents, spaces) = (HashMap::new(), HashMap::new());
        Self { look, ends, mounts, parents, spaces, incomparable: None, loose: 0 }
    }

    /// What couldn't be told of any.
    pub(super) fn parts(&self) -> Vec<String> {
        let mut parts = Vec::new();
        parts.extend(self.incomparable.map(|errno| format!("which descriptors are inherited: {errno}")));
        let unread = self.ends.unread();
        if self.loose != 0 && !unread.is_empty() {
            let (loose, unread) = (self.loose, unread.told().join(", and "));
            parts.push(format!("who has the other end of {loose} pipes and sockets: {unread}"));
        }
        parts
    }

    /// Sets all that is known; gives how odd it is.
    pub(super) fn set(
        &mut self,
        process: &Process,
        descriptor: &Descriptor,
        opened: &Opened,
        record: &mut Record,
    ) -> u64 {
        let own = Holder { pid: process.key.pid, descriptor: descriptor.number };
        record.set(Field::SensorDescriptorNumber, descriptor.number);
        if let Some(mode) = self.mode(own, opened) {
            record.set(Field::SensorDescriptorMode, mode);
        }
        let mut notes = Notes::default();
        let kind = match &descriptor.target {
            Target::Socket(inode) => {
                record.set(Field::FileInode, Value::Id(*inode));
                self.set_socket(process, *inode, record, &mut notes);
                "socket"
            }
            Target::Pipe(inode) => {
                record.set(Field::FileInode, Value::Id(*inode));
                let peers = self.ends.of_pipe(own, *inode);
                self.loose += usize::from(peers.is_empty());
                self.set_peers(&peers, record);
                "pipe"
            }
            Target::Namespace(sort, number) => {
                record.set(Field::FileInode, Value::Id(u64::from(*number)));
                record.set(Field::FileName, sort.clone());
                if is_another(process, sort, *number) {
                    notes.marks.push("other_namespace");
                }
                "namespace"
            }
            Target::Anonymous(name) => {
                record.set(Field::FileName, name.clone());
                "anonymous"
            }
            Target::File(path) => self.set_file(process, path, opened, record, &mut notes),
        };
        record.set(Field::SensorDescriptorKind, kind);
        if self.is_inherited(process, descriptor) {
            notes.marks.push("inherited");
        }
        if !notes.marks.is_empty() {
            let marks: Vec<Text> = notes.marks.iter().map(|mark| Text::from(*mark)).collect();
            record.set(Field::SensorDescriptorMarks, marks);
        }
        notes.odd.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
        find(record, notes.odd)
    }

    /// What it is open for: by its flags, else by what the link allows.
    fn mode(&self, own: Holder, opened: &Opened) -> Option<&'static str> {
        if opened.flags.is_some_and(names_only) {
            return Some("path");
        }
        let access = opened.flags.and_then(access);
        match access.or_else(|| self.look.reader.access(own.pid, own.descriptor))? {
            (true, true) => Some("read_write"),
            (true, false) => Some("read"),
            (false, true) => Some("write"),
            (false, false) => None,
        }
    }

    fn set_file(
        &mut self,
        process: &Process,
        link: &Text,
        opened: &Opened,
        record: &mut Record,
        notes: &mut Notes,
    ) -> &'static str {
        let memory = self.mounts.is_memory(opened.mount) && link.as_bytes().starts_with(b"/memfd:");
        let lost = self.is_lost(process, link, opened.file.as_ref());
        let path = if lost { unmarked(link, memory) } else { link.clone() };
        let name = basename(&path);
        if !name.is_empty() {
            record.set(Field::FileName, name);
        }
        record.set(Field::FilePath, path.clone());
        if let Some(facts) = &opened.file {
            record.set(Field::FileInode, Value::Id(facts.inode));
            record.set(Field::FileDevice, Value::Id(facts.device));
            record.set(Field::FileSize, facts.size);
        }
        let kind = opened.file.as_ref().map_or("unasked", |facts| kind(facts, memory));
        let unlinked = lost && opened.file.is_none_or(|facts| facts.links == 0);
        match (memory, lost, unlinked) {
            (true, ..) => notes.marks.push("memfd"),
            (_, _, true) => notes.marks.push("unlinked"),
            (_, true, _) => notes.marks.push("hard_link_left"),
            _ => {}
        }
        self.mark_mount(process, opened, kind, notes);
        let of_processes =
            self.mounts.get(opened.mount).is_some_and(|mount| mount.kind.as_bytes() == b"proc");
        notes.odd.extend(match () {
            () if is_others_memory(process.key.pid, &path, of_processes) => {
                Some((73, "it has the memory of another process open".to_owned()))
            }
            () if is_machines_memory(&path, of_processes) => {
                Some((73, "it has the memory of the machine open".to_owned()))
            }
            () if memory => {
                Some((21, "it has memory open as a file that never had a name (memfd)".to_owned()))
            }
            () if unlinked && kind == "file" => {
                Some((21, "the file was removed while it is open".to_owned()))
            }
            () => None,
        });
        kind
    }

    /// Whether the file has lost the name by which it was opened.
    fn is_lost(&mut self, process: &Process, link: &Text, facts: Option<&Facts>) -> bool {
        if !link.as_bytes().ends_with(MARK) {
            return false;
        }
        let Some(facts) = facts else { return true };
        // A file may be called so.
        facts.links == 0 || {
            let (reader, pid) = (&self.look.reader, process.key.pid);
            let space = self.spaces.entry(pid).or_insert_with(|| reader.space(Some(pid)));
            space.lead(link, facts.inode) != Lead::There
        }
    }

    fn mark_mount(&self, process: &Process, opened: &Opened, kind: &'static str, notes: &mut Notes) {
        let own = process.actor.mount_namespace();
        if opened.mount == 0 || own == 0 || self.mounts.is_memory(opened.mount) {
            return;
        }
        let Some(mount) = self.mounts.get(opened.mount) else {
            return notes.marks.push("detached");
        };
        if mount.space == own {
            return;
        }
        notes.marks.push("other_namespace");
        if matches!(kind, "directory" | "block_device") {
            notes.odd.push((
                73,
                format!(
                    "a {} of another mount namespace is open: a way out of its own",
                    kind.replace('_', " ")
                ),
            ));
        }
    }

    fn set_socket(&mut self, process: &Process, inode: u64, record: &mut Record, notes: &mut Notes) {
        let Some(found) = self.ends.socket(inode) else { return };
        let came = matches!(&found.kind, Kind::Inet(inet) if self.ends.came(found, inet));
        told::set(found, if came { Side::There } else { Side::Here }, record);
        let [_, _, _, own, ..] = process.actor.namespaces;
        if own != 0 && own != found.netns {
            notes.marks.push("other_namespace");
        }
        let hears = match &found.kind {
            Kind::Packet { .. } => Some("a packet socket hears what arrives past all ports and firewalls"),
            Kind::Inet(inet) if inet.raw => {
                Some("a raw socket hears all packets of its protocol, whatever their port")
            }
            _ => None,
        };
        notes.odd.extend(hears.map(|hears| (47, hears.to_owned())));
        let peers = self.ends.of_socket(found);
        let paired = matches!(&found.kind, Kind::Unix { peer, .. } if *peer != 0);
        self.loose += usize::from(paired && peers.is_empty());
        self.set_peers(&peers, record);
    }

    fn set_peers(&self, holders: &[Holder], record: &mut Record) {
        let peers = self.ends.records(holders);
        if !peers.is_empty() {
            record.set(Field::SensorPeers, peers);
        }
    }

    /// Whether the parent has the very same open file, by whichever number.
    fn is_inherited(&mut self, process: &Process, descriptor: &Descriptor) -> bool {
        let (pid, parent) = (process.key.pid, process.actor.parent);
        if parent == 0 || self.incomparable.is_some() || self.look.table.at(parent).is_none() {
            return false;
        }
        let reader = &self.look.reader;
        let of_parent = self.parents.entry(parent).or_insert_with(|| {
            let mut all: HashMap<Target, Vec<u32>> = HashMap::new();
            for Descriptor { number, target } in reader.descriptors(parent).unwrap_or_default() {
                all.entry(target).or_default().push(number);
            }
            all
        });
        let Some(numbers) = of_parent.get(&descriptor.target) else { return false };
        // It is most often the same number.
        let same_first = numbers.iter().filter(|number| **number == descriptor.number);
        let candidates = same_first.chain(numbers).take(COMPARED_MOST);
        for number in candidates {
            match is_same((pid, descriptor.number), (parent, *number)) {
                Ok(true) => return true,
                Ok(false) | Err(Errno::ESRCH | Errno::EBADF) => {}
                Err(errno) => {
                    self.incomparable = Some(errno);
                    return false;
                }
            }
        }
        false
    }
}

/// A link's text without the kernel's mark; of nameless memory also without its first slash, as executables are told.
fn unmarked(link: &Text, memory: bool) -> Text {
    let bare = link.as_bytes().strip_suffix(MARK).unwrap_or(link.as_bytes());
    let bare = if memory { bare.strip_prefix(b"/").unwrap_or(bare) } else { bare };
    Text::copy_from(bare)
}

fn kind(facts: &Facts, memory: bool) -> &'static str {
    let sort = SFlag::from_bits_truncate(facts.mode) & SFlag::S_IFMT;
    match sort {
        _ if memory => "memfd",
        SFlag::S_IFDIR => "directory",
        SFlag::S_IFCHR => "character_device",
        SFlag::S_IFBLK => "block_device",
        SFlag::S_IFIFO => "fifo",
        SFlag::S_IFSOCK => "socket",
        _ => "file",
    }
}

/// Whether a file is another process's memory (`proc_pid_mem(5)`); `of_processes`: it is on such a file system.
fn is_others_memory(pid: u32, path: &Text, of_processes: bool) -> bool {
    let number = |part: &[u8]| std::str::from_utf8(part).ok()?.parse::<u32>().ok();
    // Of a thread's the process comes before.
    let whose = path.as_bytes().split(|byte| *byte == b'/').find_map(number);
    of_processes && path.as_bytes().ends_with(b"/mem") && whose.is_some_and(|whose| whose != pid)
}

/// Whether a file is all memory that there is (`mem(4)`, `proc_kcore(5)`).
fn is_machines_memory(path: &Text, of_processes: bool) -> bool {
    let of_kernel = of_processes && path.as_bytes().ends_with(b"/kcore");
    of_kernel || matches!(path.as_bytes(), b"/dev/mem" | b"/dev/kmem")
}

/// Whether a namespace is another than that of the process; only of the sorts that are known of it.
fn is_another(process: &Process, sort: &Text, number: u32) -> bool {
    let [cgroup, ipc, mnt, net, pid, user, uts] = process.actor.namespaces;
    let own = match sort.as_bytes() {
        b"cgroup" => cgroup,
        b"ipc" => ipc,
        b"mnt" => mnt,
        b"net" => net,
        b"pid" => pid,
        b"user" => user,
        b"uts" => uts,
        _ => return false,
    };
    own != 0 && own != number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_taken_off_once() {
        let of = |link: &str, memory| unmarked(&Text::from(link.to_owned()), memory);
        assert_eq!(of("/tmp/x (deleted)", false).as_bytes(), b"/tmp/x");
        assert_eq!(of("/tmp/x (deleted) (deleted)", false).as_bytes(), b"/tmp/x (deleted)");
        assert_eq!(of("/memfd:a (deleted)", true).as_bytes(), b"memfd:a");
    }

    #[test]
    fn memory_of_others_is_known() {
        let of = |path: &str| is_others_memory(7, &Text::from(path.to_owned()), true);
        assert!(of("/proc/8/mem") && of("/proc/8/task/9/mem"));
        for path in ["/proc/7/mem", "/proc/7/task/9/mem", "/proc/x/mem", "/proc/8/maps", "mem", ""] {
            assert!(!of(path), "{path}");
        }
        let text = |path: &str| Text::from(path.to_owned());
        assert!(!is_others_memory(7, &text("/tmp/8/mem"), false));
        assert!(
            is_machines_memory(&text("/proc/kcore"), true) && is_machines_memory(&text("/dev/mem"), false)
        );
        assert!(!is_machines_memory(&text("/tmp/kcore"), false));
    }
}
