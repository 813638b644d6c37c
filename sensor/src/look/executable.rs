//! What is to be thought of what a process executes: from the file itself, and never from a text alone.

use std::collections::HashMap;

use super::{Beside, Look};
use crate::{
    enrich,
    event::exe_deleted::basename,
    process::Process,
    procfs::space::{Lead, Space},
    record::Text,
};

/// A verdict; those further down are odder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It is where it was executed.
    Present,
    /// The kernel's own thread: there is none.
    KernelThread,
    /// The process has ended.
    Ended,
    /// It may not be asked for, or nobody answered.
    Unread,
    /// It is where it was executed, which is in another mount namespace than ours.
    OtherMountNamespace,
    /// An upgrade has put another file in its place.
    Upgraded,
    /// Another file has its name.
    Replaced,
    /// It is not of the container's image: it was written since.
    UpperLayer,
    /// It has other names, and not this one any more.
    LinkLeft,
    /// Its path leads elsewhere, though it has its name: something is mounted over it, or its mount is gone.
    Unreachable,
    /// It has no name any more.
    Deleted,
    /// It never had a name: made without one (`O_TMPFILE`).
    NeverNamed,
    /// It never had a name: it lives in memory.
    Memfd,
    /// It passes itself off as a thread of the kernel.
    FakeKernelThread,
}

impl Verdict {
    /// Its name in `sensor.exe.verdict`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::KernelThread => "kernel_thread",
            Self::Ended => "ended",
            Self::Unread => "unread",
            Self::OtherMountNamespace => "other_mount_namespace",
            Self::Upgraded => "upgraded",
            Self::Replaced => "replaced",
            Self::UpperLayer => "container_upper_layer",
            Self::LinkLeft => "hard_link_left",
            Self::Unreachable => "unreachable",
            Self::Deleted => "deleted",
            Self::NeverNamed => "never_named",
            Self::Memfd => "memfd",
            Self::FakeKernelThread => "fake_kernel_thread",
        }
    }

    /// What it means for `sensor.exe.state`, where that needs a look at where the path leads.
    #[must_use]
    pub fn state(self) -> Option<&'static str> {
        match self {
            Self::Upgraded | Self::Replaced => Some("replaced"),
            Self::Unreachable => Some("unreachable"),
            _ => None,
        }
    }

    /// How odd it is, as `event.severity`; 0 is not odd.
    #[must_use]
    pub fn severity(self) -> u64 {
        match self {
            Self::Present | Self::KernelThread | Self::Ended | Self::Unread | Self::OtherMountNamespace => 0,
            Self::Upgraded => 21,
            Self::Replaced | Self::UpperLayer | Self::LinkLeft | Self::Unreachable => 47,
            Self::Deleted | Self::NeverNamed | Self::Memfd => 73,
            Self::FakeKernelThread => 99,
        }
    }

    /// Why it is odd, in a sentence.
    #[must_use]
    pub fn sentence(self) -> Option<&'static str> {
        Some(match self {
            Self::Present | Self::KernelThread | Self::Ended | Self::Unread | Self::OtherMountNamespace => {
                return None;
            }
            Self::Upgraded => {
                "a package upgrade has put another file in the executable's place; restart it to run that"
            }
            Self::Replaced => "the executable's name belongs to another file now",
            Self::UpperLayer => "the executable is not of the container's image: it was written since",
            Self::LinkLeft => {
                "the name by which it was executed is gone, and the file has another name somewhere (a hard link)"
            }
            Self::Unreachable => {
                "the executable's path doesn't lead to it: something is mounted over it, or its mount is gone"
            }
            Self::Deleted => "the executable was deleted while it runs",
            Self::NeverNamed => "the executable never had a name: it was made without one (O_TMPFILE)",
            Self::Memfd => "the executable never had a name: it runs from memory (memfd)",
            Self::FakeKernelThread => "it calls itself a kernel thread, and executes a file",
        })
    }
}

/// How threads of the kernel are called; a name goes on with a slash, a digit or a dash, or ends.
const KERNEL_NAMES: [&str; 24] = [
    "cpuhp",
    "ext4",
    "idle_inject",
    "irq",
    "jbd2",
    "kauditd",
    "kblockd",
    "kcompactd",
    "kdevtmpfs",
    "kdmflush",
    "khugepaged",
    "khungtaskd",
    "kintegrityd",
    "ksmd",
    "ksoftirqd",
    "kstrp",
    "kswapd",
    "kthreadd",
    "kthrotld",
    "kworker",
    "migration",
    "rcu_preempt",
    "rcu_sched",
    "scsi_eh",
];

/// Whether a name is such as only threads of the kernel have.
fn is_kernel_name(name: &[u8]) -> bool {
    KERNEL_NAMES.iter().any(|known| {
        let rest = name.strip_prefix(known.as_bytes());
        rest.and_then(<[u8]>::split_first)
            .map_or(rest.is_some(), |(next, _)| matches!(next, b'/' | b'-' | b'_') || next.is_ascii_digit())
    })
}

/// Whether a process that executes a file is called like a thread of the kernel: by its name, or as `ps` shows those,
/// in brackets.
fn passes_for_kernel(process: &Process, name: Option<&Text>) -> bool {
    let zeroth = process.image.args.first().map(Text::as_bytes).unwrap_or_default();
    let bracketed = zeroth.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]"));
    bracketed.or(name.map(Text::as_bytes)).is_some_and(is_kernel_name)
}

/// Judges one after the other.
pub struct Judge<'a> {
    look: &'a Look,
    own: u32,
    /// By mount namespace.
    spaces: HashMap<u32, Space>,
}

impl<'a> Judge<'a> {
    /// Of what was looked at.
    #[must_use]
    pub fn new(look: &'a Look) -> Self {
        let own = look.reader.own_mount_namespace().unwrap_or(0);
        Self { look, own, spaces: HashMap::new() }
    }

    /// Whether a process's paths are ours: it lives in our mount namespace.
    #[must_use]
    pub fn is_own(&self, process: &Process) -> bool {
        let space = process.actor.mount_namespace();
        // Not known: of others it would be.
        space == self.own || space == 0
    }

    /// What is to be thought of what a process executes; `owned`: whether some package owns a file of its path.
    pub fn verdict(&mut self, process: &Process, owned: bool) -> Verdict {
        let none = Beside::default();
        let beside = self.look.beside.get(&process.key.pid).unwrap_or(&none);
        let seen = beside.seen.as_ref();
        if process.now.inode == 0 {
            return match seen {
                _ if beside.unread => Verdict::Unread,
                Some(seen) if seen.kernel => Verdict::KernelThread,
                Some(seen) if seen.zombie => Verdict::Ended,
                Some(_) => Verdict::Unread,
                None => Verdict::Ended,
            };
        }
        if passes_for_kernel(process, seen.map(|seen| &seen.name)) {
            return Verdict::FakeKernelThread;
        }
        if enrich::state(process) == "memfd" {
            return Verdict::Memfd;
        }
        let Some(path) = &process.image.executable else { return Verdict::Unread };
        let own = self.is_own(process);
        let space = self.space(process, own);
        let lead = match process.now.foreign() {
            true => Lead::Unasked,
            false => space.lead(path, process.now.inode),
        };
        match (process.now.nameless(), lead) {
            (true, Lead::Elsewhere) if owned => Verdict::Upgraded,
            (true, Lead::Elsewhere) => Verdict::Replaced,
            (true, _) if is_unnamed(path, process) => Verdict::NeverNamed,
            (true, _) if process.now.nlink > 0 => Verdict::LinkLeft,
            (true, _) => Verdict::Deleted,
            // In another namespace the root that we enter by may be another than the one the path is from.
            (false, Lead::Elsewhere | Lead::Nowhere) if own => Verdict::Unreachable,
            (false, _) if !own && space.written(path) => Verdict::UpperLayer,
            (false, _) if !own => Verdict::OtherMountNamespace,
            (false, _) => Verdict::Present,
        }
    }

    fn space(&mut self, process: &Process, own: bool) -> &Space {
        let reader = &self.look.reader;
        let number = if own { self.own } else { process.actor.mount_namespace() };
        self.spaces.entry(number).or_insert_with(|| reader.space((!own).then_some(process.key.pid)))
    }
}

/// The kernel calls a file that was made without a name after its inode (`d_tmpfile`, `fs/dcache.c`).
fn is_unnamed(path: &Text, process: &Process) -> bool {
    process.now.nlink == 0 && basename(path).as_bytes() == format!("#{}", process.now.inode).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_the_kernel_are_known_by_name() {
        for name in ["kworker/0:1", "ksoftirqd/1", "kthreadd", "jbd2/vda1-8", "irq/24-pciehp", "scsi_eh_0"] {
            assert!(is_kernel_name(name.as_bytes()), "{name}");
        }
        for name in ["kworkerx", "irqbalance", "ksmtuned", "bash", "", "migrationtool"] {
            assert!(!is_kernel_name(name.as_bytes()), "{name}");
        }
    }
}
