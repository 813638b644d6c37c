//! What is odd about a socket that hears, each in a sentence, and who can reach it.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{LOOPBACK, Port, TCP, inet};
use crate::{
    field::Field,
    format::text::escape,
    look::{described::Described, executable::Verdict},
    net::{
        Exposure,
        found::{Found, Kind, State},
    },
    process::Process,
    procfs::namespaces::Kept,
    sockdiag::held::Filter,
};

/// Most different sockets of one port that are compared with each other.
const COMPARED_MOST: usize = 128;

/// A network namespace, a protocol, a port, and an address: where a socket is alone, unless it shares.
pub(super) type Place = (u32, u16, u16, IpAddr, u32);

/// Where a socket is, of those that have a port.
pub(super) fn place(found: &Found) -> Option<Place> {
    let inet = inet(found).filter(|inet| !inet.raw && listens(found, inet.protocol))?;
    Some((found.netns, inet.protocol, inet.local.1, inet.local.0, inet.device))
}

/// Whether it takes what others send: one of TCP that is but bound doesn't.
fn listens(found: &Found, protocol: u16) -> bool {
    found.state == State::Listens || found.state == State::Bound && protocol != TCP
}

/// Whether others than this host can reach it, as far as addresses tell.
pub(super) fn exposed(port: &Port<'_>) -> bool {
    let beyond = |widest: Option<Exposure>| widest.is_some_and(|widest| widest > Exposure::Loopback);
    match &port.found.kind {
        Kind::Inet(inet) if inet.raw || listens(port.found, inet.protocol) => match &port.reach {
            Some(reach) => beyond(reach.widest),
            // The addresses aren't known, or it is one that many have.
            None => Exposure::of(inet.local.0) > Exposure::Loopback,
        },
        Kind::Packet { device, .. } => *device != LOOPBACK && has_others(port),
        Kind::Vsock { .. } => true,
        Kind::Inet(_) | Kind::Unix { .. } | Kind::Netlink { .. } => false,
    }
}

/// Whether its namespace has another interface than the loopback in use; so it is thought of one that isn't known.
fn has_others(port: &Port<'_>) -> bool {
    let live = port.network.and_then(|network| network.live.as_ref());
    live.is_none_or(|live| {
        let any = [IpAddr::from([0_u8; 4]), IpAddr::from([0_u8; 16])];
        any.into_iter()
            .any(|ip| live.reach(ip, false, 0).is_some_and(|reach| reach.widest > Some(Exposure::Loopback)))
    })
}

/// The file that a process executes: device and inode.
type Identity = (u32, u64);

fn identity(process: &Process) -> Option<Identity> {
    (process.now.inode != 0).then_some((process.now.device, process.now.inode))
}

/// One of several on a port.
#[derive(Clone, PartialEq, Eq)]
struct Sharer {
    place: Place,
    v6only: bool,
    /// What its owners execute.
    executables: Vec<Identity>,
    /// One of them, to be named.
    pid: u32,
}

/// What is known of all.
pub(super) struct Judge<'p, 'd> {
    /// Processes that others can begin to talk to by a port.
    listening: HashSet<u32>,
    /// By namespace, protocol and port.
    sharers: HashMap<(u32, u16, u16), Vec<Sharer>>,
    described: &'d HashMap<u32, Described>,
    ports: std::marker::PhantomData<&'p ()>,
}

impl<'p, 'd> Judge<'p, 'd> {
    pub(super) fn new(ports: &[Port<'p>], described: &'d HashMap<u32, Described>) -> Self {
        let mut listening = HashSet::new();
        let mut sharers: HashMap<_, Vec<Sharer>> = HashMap::new();
        for port in ports {
            let Some((place, inet)) = place(port.found).zip(inet(port.found)) else { continue };
            listening.extend(port.owners.iter().map(|(process, _)| process.key.pid));
            let mut executables: Vec<Identity> =
                port.owners.iter().filter_map(|(process, _)| identity(process)).collect();
            executables.sort_unstable();
            executables.dedup();
            let Some((first, _)) = port.owners.first().filter(|_| !executables.is_empty()) else { continue };
            let sharer = Sharer { place, v6only: inet.v6only == Some(true), executables, pid: first.key.pid };
            let all = sharers.entry((place.0, place.1, place.2)).or_default();
            let known =
                |other: &Sharer| other.place == sharer.place && other.executables == sharer.executables;
            if all.len() < COMPARED_MOST && !all.iter().any(known) {
                all.push(sharer);
            }
        }
        Self { listening, sharers, described, ports: std::marker::PhantomData }
    }

    /// What is odd.
    pub(super) fn findings(&self, port: &Port<'_>) -> Vec<(u64, String)> {
        let mut findings = Vec::new();
        findings.extend(self.packets(port));
        findings.extend(self.shared(port));
        findings.extend(nobodys(port));
        findings.extend(lonely(port));
        findings.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
        findings
    }

    /// Who hears packets past all ports.
    fn packets(&self, port: &Port<'_>) -> Option<(u64, String)> {
        let (sort, hears) = match &port.found.kind {
            Kind::Packet { .. } => ("a packet socket", "what arrives past all ports and firewalls"),
            Kind::Inet(inet) if inet.raw => {
                ("a raw socket", "all packets of its protocol, whatever their port")
            }
            _ => return None,
        };
        let silent = !port.owners.is_empty()
            && !port.owners.iter().any(|(process, _)| self.listening.contains(&process.key.pid));
        let trusted =
            port.owners.iter().all(|(process, _)| self.is_packaged(process)) && !port.owners.is_empty();
        let lost = port.owners.iter().any(|(process, _)| self.has_lost_its_file(process));
        let whose = if trusted { "; its executable is that of a package" } else { "" };
        Some(match port.filter {
            Filter::None => {
                let severity = if trusted { 21 } else { 47 };
                (severity, format!("{sort} hears {hears}{whose}"))
            }
            filter if silent => {
                let how = match filter {
                    Filter::Classic(count) => format!("a filter of {count} instructions"),
                    _ => "a filter of extended BPF".to_owned(),
                };
                let severity = if trusted {
                    21
                } else if lost {
                    99
                } else {
                    73
                };
                (
                    severity,
                    format!(
                        "{sort} with {how}, and its process listens on no port: so looks a backdoor that waits for a secret packet (BPFDoor){whose}"
                    ),
                )
            }
            _ => {
                let severity = if trusted { 21 } else { 47 };
                (severity, format!("{sort} with a filter hears {hears}{whose}"))
            }
        })
    }

    fn is_packaged(&self, process: &Process) -> bool {
        self.described
            .get(&process.key.pid)
            .is_some_and(|known| known.record.has(Field::PackageName) && known.verdict == Verdict::Present)
    }

    fn has_lost_its_file(&self, process: &Process) -> bool {
        self.described.get(&process.key.pid).is_some_and(|known| known.severity >= 73)
    }

    /// Others on the same port that execute another file.
    fn shared(&self, port: &Port<'_>) -> Option<(u64, String)> {
        let place = place(port.found)?;
        let v6only = inet(port.found)?.v6only == Some(true);
        let own: Vec<Identity> = port.owners.iter().filter_map(|(process, _)| identity(process)).collect();
        if own.is_empty() {
            return None;
        }
        let others = self.sharers.get(&(place.0, place.1, place.2))?;
        let strange = |other: &&Sharer| {
            !own.iter().any(|executable| other.executables.contains(executable))
                && overlap((place, v6only), (other.place, other.v6only))
        };
        let same = others.iter().filter(strange).find(|other| other.place.3 == place.3);
        let other = same.or_else(|| others.iter().find(strange))?;
        let severity = if place.1 == 17 { 47 } else { 73 };
        let whose = self.named(other.pid);
        Some((
            severity,
            match (other.place.3 == place.3, other.place.3.is_unspecified()) {
                (true, _) => format!(
                    "another executable has the same address and port ({whose}): each gets a share of what arrives"
                ),
                (false, true) => format!(
                    "it takes from another executable what arrives for this address: {whose} has the port on all addresses"
                ),
                (false, false) => format!(
                    "another executable takes what arrives for {} on this port: {whose}",
                    other.place.3
                ),
            },
        ))
    }

    fn named(&self, pid: u32) -> String {
        let path = self.described.get(&pid).and_then(|known| known.record.text(Field::ProcessExecutable));
        let path = path.map_or_else(|| "an executable".to_owned(), |path| escape(path.as_bytes()));
        format!("{path} of process {pid}")
    }
}

/// Whether the same may arrive at both.
fn overlap((one, one_only): (Place, bool), (other, other_only): (Place, bool)) -> bool {
    let devices = one.4 == other.4 || one.4 == 0 || other.4 == 0;
    let takes = |all: IpAddr, only: bool, ip: IpAddr| {
        all == ip || all.is_unspecified() && (all.is_ipv4() == ip.is_ipv4() || all.is_ipv6() && !only)
    };
    devices && (takes(one.3, one_only, other.3) || takes(other.3, other_only, one.3))
}

/// What no process has.
fn nobodys(port: &Port<'_>) -> Option<(u64, String)> {
    if !port.owners.is_empty() || !matches!(port.found.kind, Kind::Inet(_) | Kind::Packet { .. }) {
        return None;
    }
    Some((
        21,
        "no process that can be read has it open: it is the kernel's own (WireGuard, VXLAN, NFS), of a process that may not be read, or kept in an io_uring".to_owned(),
    ))
}

/// What is in a namespace in which nobody lives, or another than its process's.
fn lonely(port: &Port<'_>) -> Option<(u64, String)> {
    let by = match &port.network?.kept {
        Kept::Process(_) => {
            let (owner, _) = port.owners.first()?;
            let [_, _, _, own, ..] = owner.actor.namespaces;
            let moved = own != 0 && own != port.found.netns && !matches!(port.found.kind, Kind::Vsock { .. });
            return moved
                .then(|| (21, "the socket is of another network namespace than its process".to_owned()));
        }
        Kept::Thread(pid) => format!("but a thread of process {pid}"),
        Kept::Mount(path) => format!("but a mount on {}", escape(path.as_bytes())),
        Kept::Descriptor(pid) => format!("but a descriptor of process {pid}"),
        Kept::Socket(pid) => format!("but the sockets of process {pid}"),
    };
    Some((47, format!("no process lives in its network namespace, which nothing keeps {by}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_when_the_same_may_arrive_at_both() {
        let place = |ip: &str, device| (1, 6, 80, ip.parse().unwrap(), device);
        for (one, only, other, overlaps) in [
            ("0.0.0.0", false, "10.0.0.1", true),
            ("::", false, "10.0.0.1", true),
            ("::", true, "10.0.0.1", false),
            ("::", true, "fd00::1", true),
            ("10.0.0.1", false, "10.0.0.1", true),
            ("10.0.0.1", false, "10.0.0.2", false),
            ("0.0.0.0", false, "fd00::1", false),
            ("::", false, "0.0.0.0", true),
        ] {
            let (one, other) = ((place(one, 0), only), (place(other, 0), false));
            assert_eq!(overlap(one, other), overlaps, "{one:?} {other:?}");
            assert_eq!(overlap(other, one), overlaps, "{other:?} {one:?}");
        }
        let on = |device| (place("0.0.0.0", device), false);
        assert!(!overlap(on(2), on(3)) && overlap(on(2), on(0)));
    }
}
