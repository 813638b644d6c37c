//! The addresses that a network namespace has, and which of them lead to a socket.

use std::{
    cmp::Reverse,
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use super::Exposure;

/// An address of an interface that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// How many bits of it are those of its network.
    pub prefix: u8,
    /// The number of its interface.
    pub device: u32,
    /// That of the VRF, bridge or bond that the interface belongs to, 0 for none.
    pub master: u32,
    /// The interface is a loopback: of IPv4 the whole network is the host's (`fib_add_ifaddr`,
    /// `net/ipv4/fib_frontend.c`).
    pub loopback: bool,
    /// Where its network is sent to as a whole.
    pub broadcast: Option<Ipv4Addr>,
}

/// By which addresses a socket can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The widest of what they are; none where there are no such addresses.
    pub widest: Option<Exposure>,
    /// They, the widest first.
    pub by: Vec<IpAddr>,
    /// Another where they are others.
    pub print: u64,
}

/// All addresses that are live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    addresses: Vec<Address>,
    v4: Arc<Reach>,
    v6: Arc<Reach>,
    both: Arc<Reach>,
}

impl Reach {
    fn new(by: Vec<IpAddr>) -> Self {
        Self::of(by.iter().copied().map(Exposure::of).max(), by)
    }

    fn of(widest: Option<Exposure>, by: Vec<IpAddr>) -> Self {
        let mut hasher = DefaultHasher::new();
        (widest.map(Exposure::word), &by).hash(&mut hasher);
        Self { widest, by, print: hasher.finish() }
    }

    /// Its word in an event.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.widest.map_or("none", Exposure::word)
    }
}

impl Live {
    /// Of these addresses, in whatever order.
    #[must_use]
    pub fn new(mut addresses: Vec<Address>) -> Self {
        addresses.retain(|address| !address.ip.is_unspecified());
        addresses.sort_by_key(|address| (Reverse(Exposure::of(address.ip)), address.ip));
        let all = |wanted: &dyn Fn(&IpAddr) -> bool| {
            // Several interfaces may have the same.
            let mut seen = HashSet::new();
            let ips = addresses.iter().map(|address| address.ip).filter(wanted);
            Arc::new(Reach::new(ips.filter(|ip| seen.insert(*ip)).collect()))
        };
        let (v4, v6, both) = (all(&IpAddr::is_ipv4), all(&IpAddr::is_ipv6), all(&|_| true));
        Self { addresses, v4, v6, both }
    }

    /// What leads to a socket that is bound to this address; `also_ipv4`: bound to all of IPv6, it takes IPv4; `device`:
    /// the interface or VRF that it is bound to, 0 for none.
    ///
    /// Nothing is said of a multicast address: who sends to it reaches who joined the group, on whatever
    /// interface that was.
    #[must_use]
    pub fn reach(&self, bound: IpAddr, also_ipv4: bool, device: u32) -> Option<Arc<Reach>> {
        let all = match bound {
            _ if bound.is_multicast() => return None,
            _ if bound.is_unspecified() && device != 0 => {
                return Some(Arc::new(Reach::new(self.of_device(bound, also_ipv4, device))));
            }
            IpAddr::V4(ip) if ip.is_unspecified() => &self.v4,
            IpAddr::V6(ip) if ip.is_unspecified() && also_ipv4 => &self.both,
            IpAddr::V6(ip) if ip.is_unspecified() => &self.v6,
            IpAddr::V4(ip) if self.is_broadcast(ip) => {
                // Routers don't pass it on (RFC 2644): from the link.
                return Some(Arc::new(Reach::of(Some(Exposure::LinkLocal), vec![bound])));
            }
            _ => return Some(Arc::new(Reach::new(if self.has(bound) { vec![bound] } else { Vec::new() }))),
        };
        Some(Arc::clone(all))
    }

    /// Those that a socket hears which is bound to no address and to this interface (`inet_sk_bound_dev_eq`).
    fn of_device(&self, bound: IpAddr, also_ipv4: bool, device: u32) -> Vec<IpAddr> {
        let heard = |address: &&Address| {
            (address.device == device || address.master == device)
                && (address.ip.is_ipv4() == bound.is_ipv4() || also_ipv4 && bound.is_ipv6())
        };
        self.addresses.iter().filter(heard).map(|address| address.ip).collect()
    }

    fn has(&self, wanted: IpAddr) -> bool {
        self.addresses.iter().any(|address| address.ip == wanted || address.is_for(wanted))
    }

    fn is_broadcast(&self, ip: Ipv4Addr) -> bool {
        self.addresses.iter().any(|address| match address.broadcast {
            Some(broadcast) => ip == broadcast || ip.is_broadcast(),
            None => false,
        }) && !self.addresses.iter().any(|address| address.ip == ip)
    }
}

impl Address {
    /// Whether another address is the host's because of this one.
    fn is_for(&self, other: IpAddr) -> bool {
        match (self.ip, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) if self.loopback => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(self.prefix.into())).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, prefix: u8, loopback: bool, broadcast: Option<&str>) -> Address {
        let broadcast = broadcast.map(|text| text.parse().unwrap());
        Address { ip: text.parse().unwrap(), prefix, device: 1, master: 0, loopback, broadcast }
    }

    fn live() -> Live {
        Live::new(vec![
            address("127.0.0.1", 8, true, None),
            address("::1", 128, true, None),
            address("10.1.2.3", 24, false, Some("10.1.2.255")),
            address("198.51.100.7", 32, false, None),
            address("198.51.100.7", 32, false, None),
            address("fe80::5", 64, false, None),
            address("fd00::5", 64, false, None),
        ])
    }

    fn told(live: &Live, bound: &str, also: bool) -> (&'static str, Vec<String>) {
        let reach = live.reach(bound.parse().unwrap(), also, 0).unwrap();
        (reach.word(), reach.by.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_wildcard_is_reached_by_all_addresses_of_its_family_widest_first() {
        let v4 = ["198.51.100.7", "10.1.2.3", "127.0.0.1"];
        let v6 = ["fd00::5", "fe80::5", "::1"];
        assert_eq!(told(&live(), "0.0.0.0", false), ("public", v4.map(str::to_owned).to_vec()));
        assert_eq!(told(&live(), "::", false), ("private", v6.map(str::to_owned).to_vec()));
        let both = ["198.51.100.7", "10.1.2.3", "fd00::5", "fe80::5", "127.0.0.1", "::1"];
        assert_eq!(told(&live(), "::", true), ("public", both.map(str::to_owned).to_vec()));
        assert_eq!(told(&Live::new(vec![]), "::", true), ("none", vec![]));
    }

    #[test]
    fn of_an_interface_or_what_it_belongs_to_its_addresses_count() {
        let on = |text, device, master| Address { device, master, ..address(text, 24, false, None) };
        let all = [on("10.0.0.1", 2, 9), on("fd00::1", 2, 9), on("10.0.0.2", 3, 0), on("10.0.0.9", 9, 0)];
        let live = Live::new(all.to_vec());
        for (bound, also, device, by) in [
            ("0.0.0.0", false, 2, vec!["10.0.0.1"]),
            ("::", true, 2, vec!["10.0.0.1", "fd00::1"]),
            ("::", false, 2, vec!["fd00::1"]),
            ("0.0.0.0", true, 9, vec!["10.0.0.1", "10.0.0.9"]),
            ("0.0.0.0", false, 4, vec![]),
            ("10.0.0.2", false, 2, vec!["10.0.0.2"]),
        ] {
            let reach = live.reach(bound.parse().unwrap(), also, device).unwrap();
            let told: Vec<_> = reach.by.iter().map(ToString::to_string).collect();
            assert_eq!(told, by, "{bound} on {device}");
        }
    }

    #[test]
    fn one_address_is_reached_by_itself_if_the_host_has_it() {
        for (bound, word) in [
            ("10.1.2.3", "private"),
            ("198.51.100.7", "public"),
            ("127.0.0.1", "loopback"),
            ("127.0.0.53", "loopback"),
            ("::1", "loopback"),
            ("fe80::5", "link_local"),
        ] {
            assert_eq!(told(&live(), bound, false), (word, vec![bound.to_owned()]));
        }
        // Others of its network are not, but on a loopback, and of IPv6 not even there.
        for bound in ["10.1.2.4", "198.51.100.8", "192.0.2.1", "fe80::6", "2001:db8::1", "128.0.0.1"] {
            assert_eq!(told(&live(), bound, false), ("none", vec![]), "{bound}");
        }
        assert_eq!(told(&Live::new(vec![]), "127.0.0.1", false), ("none", vec![]));
    }

    #[test]
    fn broadcast_is_from_the_link_and_multicast_is_not_judged() {
        for bound in ["10.1.2.255", "255.255.255.255"] {
            assert_eq!(told(&live(), bound, false), ("link_local", vec![bound.to_owned()]));
            assert_eq!(told(&Live::new(vec![address("127.0.0.1", 8, true, None)]), bound, false).0, "none");
        }
        for bound in ["224.0.0.251", "239.1.1.1", "ff02::fb"] {
            assert_eq!(live().reach(bound.parse().unwrap(), false, 0), None);
        }
    }

    #[test]
    fn a_print_is_another_where_the_addresses_are() {
        let before = live();
        let mut addresses = before.addresses.clone();
        addresses.reverse();
        assert_eq!(Live::new(addresses.clone()).v4.print, before.v4.print);
        addresses.retain(|address| address.ip != IpAddr::from([10, 1, 2, 3]));
        assert_ne!(Live::new(addresses.clone()).v4.print, before.v4.print, "the widest is the same");
        assert_eq!(Live::new(addresses).v6.print, before.v6.print);
    }

    #[test]
    fn any_prefix_is_taken() {
        for prefix in [0, 1, 31, 32, 33, 255] {
            let live = Live::new(vec![address("127.0.0.1", prefix, true, None)]);
            assert!(live.has(IpAddr::from([127, 0, 0, 1])), "{prefix}");
            assert_eq!(live.has(IpAddr::from([8, 8, 8, 8])), prefix <= 1, "{prefix}");
        }
    }
}
