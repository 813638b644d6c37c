//! The way without nftables: a rule as the programs at the root of the cgroups take it (`kernel/filter.rs`).

use std::time::Duration;

use super::rule::{Cidr, Id, Rule, Scope};
use crate::{
    host::Host,
    kernel::filter::{self, Filter, FilterError, KEPT_MOST, Kept, Range},
    procfs::Reader,
};

/// What this way can't.
pub const LESS: &str = "packets that pass through this host, to containers too, and what the kernel itself answers, which no program at the cgroups meets";

/// Puts a rule in force for so long, and looks whether it is.
pub(super) fn apply(rule: &Rule, lasts: Option<Duration>, host: &Host) -> Result<(), FilterError> {
    Reader::new(host.proc())
        .enter_first_cgroup_namespace()
        .map_err(|error| FilterError::Kernel(format!("entering the host's cgroup namespace: {error}")))?;
    let wanted = told(rule, until(lasts, host));
    filter::put(rule.id.as_str(), &wanted)?;
    match filter::get(rule.id.as_str())? {
        Some(there) if there == wanted => Ok(()),
        _ => {
            filter::remove(rule.id.as_str())?;
            Err(FilterError::Kernel("the rule was put there and reads otherwise".to_owned()))
        }
    }
}

/// Gives a rule another time.
pub(super) fn prolong(id: &Id, lasts: Option<Duration>, host: &Host) -> Result<(), FilterError> {
    filter::prolong(id.as_str(), until(lasts, host))
}

/// The rules of a network namespace, and whether the kernel applies each.
pub(super) fn rules(netns: u32, host: &Host) -> Result<Vec<(Id, bool)>, FilterError> {
    let ours = filter::all()?.into_iter().filter(|(.., told)| told.netns == netns);
    let live = |attached: bool, told: &Filter| attached && host.boot_now() < told.until;
    Ok(ours.filter_map(|(id, attached, told)| Some((id.parse().ok()?, live(attached, &told)))).collect())
}

/// Takes a rule out; nothing is done where it isn't there.
pub(super) fn undo(id: &Id) -> Result<(), FilterError> {
    filter::remove(id.as_str())
}

fn until(lasts: Option<Duration>, host: &Host) -> u64 {
    let nanos = |lasts: Duration| u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX);
    lasts.map_or(u64::MAX, |lasts| host.boot_now().saturating_add(nanos(lasts)))
}

fn told(rule: &Rule, until: u64) -> Filter {
    let (mut allow, mut keep) = ([Range::default(); super::rule::ALLOW_MOST], [Kept::default(); KEPT_MOST]);
    for (to, from) in allow.iter_mut().zip(&rule.allow) {
        *to = range(from);
    }
    for (to, from) in keep.iter_mut().zip(&rule.kept) {
        let remote = range(&Cidr::host(from.remote.ip())).first;
        *to = Kept { remote, remote_port: from.remote.port().into(), local_port: from.local.port().into() };
    }
    let (port, transports) = match rule.scope {
        Scope::Close(port) => (port.number.get().into(), port.transports()),
        Scope::Isolate => (0, &[][..]),
    };
    let number = |at: usize| transports.get(at).map_or(0, |transport| transport.number().into());
    let count = |all: usize, most: usize| u32::try_from(all.min(most)).unwrap_or(0);
    Filter {
        until,
        netns: rule.netns,
        port,
        protocols: [number(0), number(1)],
        allowed: count(rule.allow.len(), allow.len()),
        kept: count(rule.kept.len(), keep.len()),
        allow,
        keep,
    }
}

/// As the programs compare: an address of IPv4 as IPv6 has it.
fn range(range: &Cidr) -> Range {
    let (first, bits) = match range.first {
        std::net::IpAddr::V4(address) => (address.to_ipv6_mapped(), 96 + u32::from(range.bits)),
        std::net::IpAddr::V6(address) => (address, u32::from(range.bits)),
    };
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    Range { first: words(first.octets()), mask: words(mask.to_be_bytes()) }
}

fn words(bytes: [u8; 16]) -> [u32; 4] {
    let (words, _) = bytes.as_chunks();
    std::array::from_fn(|at| words.get(at).copied().map_or(0, u32::from_ne_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_told_as_packets_have_addresses() {
        let of = |word: &str| range(&word.parse().unwrap());
        let four = of("10.0.0.0/8");
        assert_eq!(four.first, [0, 0, u32::from_be(0xffff), u32::from_be(0x0a00_0000)]);
        assert_eq!(four.mask, [u32::MAX, u32::MAX, u32::MAX, u32::from_be(0xff00_0000)]);
        assert_eq!(of("::/0").mask, [0; 4]);
        assert_eq!(of("2001:db8::1").mask, [u32::MAX; 4]);
        assert_eq!(of("0.0.0.0/0").mask, [u32::MAX, u32::MAX, u32::MAX, 0]);
    }
}
