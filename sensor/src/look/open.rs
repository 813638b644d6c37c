//! What all processes have open at this moment: who holds which socket and which pipe, and which namespaces are held so.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Look;
use crate::procfs::{
    descriptors::{Closed, Descriptor, Target},
    namespaces::NetworkNamespaces,
};

/// Most descriptors of all processes together.
const MOST: usize = 4_194_304;
/// Most processes that are named of those of which it isn't known.
const NAMED_MOST: usize = 8;

/// A descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The descriptor's number.
    pub descriptor: u32,
}

/// Who holds what.
#[derive(Debug, Default)]
pub struct Open {
    /// Sockets, by inode.
    pub sockets: HashMap<u64, Vec<Holder>>,
    /// Pipes, by inode.
    pub pipes: HashMap<u64, Vec<Holder>>,
    /// How many descriptors each process has.
    pub counts: HashMap<u32, usize>,
    /// Network namespaces: by whom, and which.
    networks: Vec<(Holder, u32)>,
    /// Of whom it isn't known.
    pub unread: Unread,
}

/// Processes of which it isn't known what they have open.
#[derive(Debug, Default)]
pub struct Unread(BTreeMap<Closed, Vec<u32>>);

impl Unread {
    /// One more; nothing, if it is gone.
    pub fn add(&mut self, pid: u32, closed: Closed) {
        if closed != Closed::Gone {
            self.0.entry(closed).or_default().push(pid);
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn has(&self, pid: u32) -> bool {
        self.0.values().any(|pids| pids.contains(&pid))
    }

    /// What isn't known, a few by number, with the reason: a phrase each.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let named = |(closed, pids): (&Closed, &Vec<u32>)| {
            let shown: Vec<String> = pids.iter().take(NAMED_MOST).map(ToString::to_string).collect();
            let more = pids.len().saturating_sub(NAMED_MOST);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            Some(format!("what process {}{more} has open, which {}", shown.join(", "), closed.why()?))
        };
        self.0.iter().filter_map(named).collect()
    }
}

impl Open {
    /// Looks at all processes.
    #[must_use]
    pub fn at(look: &Look) -> Self {
        let mut open = Self::default();
        let mut left = MOST;
        let known = look.all().into_iter().map(|process| process.key.pid);
        // Also one that is known by nothing else.
        let pids: BTreeSet<u32> = known.chain(look.reader.listed().unwrap_or_default()).collect();
        let pids = pids.into_iter().filter(|pid| is_alive(look, *pid)).collect();
        look.reader.another().descriptors_of(pids, |pid, found| match found {
            Ok(all) if all.len() <= left => {
                left -= all.len();
                all.iter().for_each(|descriptor| open.take(pid, descriptor));
                open.counts.insert(pid, all.len());
            }
            Ok(_) => open.unread.add(pid, Closed::TooMany),
            Err(closed) => open.unread.add(pid, closed),
        });
        open
    }

    fn take(&mut self, pid: u32, Descriptor { number, target }: &Descriptor) {
        let holder = Holder { pid, descriptor: *number };
        match target {
            Target::Socket(inode) => self.sockets.entry(*inode).or_default().push(holder),
            Target::Pipe(inode) => self.pipes.entry(*inode).or_default().push(holder),
            Target::Namespace(kind, number) if kind.as_bytes() == b"net" => {
                self.networks.push((holder, *number));
            }
            Target::Namespace(..) | Target::Anonymous(_) | Target::File(_) => {}
        }
    }

    /// All network namespaces that can be found by processes, threads, mounts and descriptors.
    #[must_use]
    pub fn networks(&self, look: &Look) -> NetworkNamespaces {
        let mut spaces = NetworkNamespaces::default();
        let mut all = look.all();
        all.retain(|process| is_alive(look, process.key.pid));
        let processes: Vec<(u32, u32)> =
            all.iter().map(|process| (process.key.pid, process.actor.namespaces[3])).collect();
        look.reader.namespaces_of_processes(&processes, &mut spaces);
        // Who lives in each mount namespace, once.
        let mut mounts: HashMap<u32, u32> = HashMap::new();
        for process in &all {
            mounts.entry(process.actor.mount_namespace()).or_insert(process.key.pid);
        }
        for pid in &processes {
            look.reader.namespaces_of_threads(pid.0, &mut spaces);
        }
        let mut dwellers: Vec<u32> = mounts.into_values().collect();
        dwellers.push(std::process::id());
        dwellers.sort_unstable();
        for pid in dwellers {
            look.reader.namespaces_of_mounts(pid, &mut spaces);
        }
        for (holder, inode) in &self.networks {
            look.reader.namespace_of_descriptor(holder.pid, holder.descriptor, *inode, &mut spaces);
        }
        spaces
    }
}

/// Whether a process can have something open: it is none of the kernel's own, and hasn't ended.
fn is_alive(look: &Look, pid: u32) -> bool {
    let seen = look.beside.get(&pid).and_then(|beside| beside.seen.as_ref());
    seen.is_none_or(|seen| !seen.kernel && !seen.zombie)
}
