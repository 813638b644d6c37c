//! What a rule is: parsed once, from what was typed or from what was kept, into types that can't be wrong.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Most ranges that a rule lets in: what the program of the cgroup way has room for.
pub const ALLOW_MOST: usize = 64;
/// Longest life of a rule.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The name of a rule: eight hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// Of these bits.
    #[must_use]
    pub fn of(bits: u32) -> Self {
        Self(format!("{bits:08x}"))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let digits = word.len() == 8 && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        digits
            .then(|| Self(word.to_owned()))
            .ok_or_else(|| "a rule's id is eight hexadecimal digits".to_owned())
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// A port, of one transport protocol or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its number.
    pub number: NonZeroU16,
    /// Of this protocol alone.
    pub transport: Option<Transport>,
}

impl Port {
    /// The protocols that it is closed for.
    #[must_use]
    pub fn transports(&self) -> &'static [Transport] {
        match self.transport {
            None => &Transport::ALL,
            Some(Transport::Tcp) => &[Transport::Tcp],
            Some(Transport::Udp) => &[Transport::Udp],
        }
    }

    /// Whether it is this port of this protocol.
    #[must_use]
    pub fn is(&self, protocol: u16, port: u16) -> bool {
        let known = |transport: &Transport| u16::from(transport.number()) == protocol;
        self.number.get() == port && self.transports().iter().any(known)
    }
}

impl FromStr for Port {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (number, transport) = match word.split_once('/') {
            None => (word, None),
            Some((number, "tcp")) => (number, Some(Transport::Tcp)),
            Some((number, "udp")) => (number, Some(Transport::Udp)),
            Some(_) => return Err("after the port stands /tcp, /udp, or nothing for both".to_owned()),
        };
        let number = number.parse().map_err(|_| "a port is a number from 1 to 65535".to_owned())?;
        Ok(Self { number, transport })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            None => write!(formatter, "{}", self.number),
            Some(transport) => write!(formatter, "{}/{}", self.number, transport.word()),
        }
    }
}

/// A range of addresses: an address and how many of its first bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    /// The first address.
    pub first: IpAddr,
    /// The bits that all of them share.
    pub bits: u8,
}

impl Cidr {
    /// One address alone.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let first = address.to_canonical();
        Self { first, bits: width(first) }
    }

    /// Whether an address is in it; one of IPv4 in the clothes of IPv6 counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.first) && number(address) & self.mask() == number(self.first)
    }

    /// Whether it is one address alone.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.bits == width(self.first)
    }

    /// The bits that count, of the address's own width.
    #[must_use]
    pub fn mask(&self) -> u128 {
        let width = u32::from(width(self.first));
        let all = u128::MAX >> (128 - width);
        all & all.checked_shl(width - u32::from(self.bits)).unwrap_or(0)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (address, bits) = word.split_once('/').map_or((word, None), |(a, bits)| (a, Some(bits)));
        let first: IpAddr = address
            .parse()
            .map_err(|_| "not an address of IPv4 or IPv6, nor a range as 192.0.2.0/24".to_owned())?;
        let Some(bits) = bits else { return Ok(Self::host(first)) };
        let plain = bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse().ok().filter(|bits: &u8| plain && *bits <= width(first));
        let bits =
            bits.ok_or_else(|| format!("after the slash stands a number from 0 to {}", width(first)))?;
        if first.to_canonical() != first && bits < 128 {
            return Err("write a range of IPv4 as such, without ::ffff:".to_owned());
        }
        let range = Self { first: first.to_canonical(), bits: bits.min(width(first.to_canonical())) };
        if number(range.first) & range.mask() == number(range.first) {
            return Ok(range);
        }
        let masked = number(range.first) & range.mask();
        let start = match range.first {
            IpAddr::V4(_) => u32::try_from(masked).map_or(range.first, |bits| IpAddr::V4(bits.into())),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(masked)),
        };
        Err(format!("it has bits behind the slash's: that is {start}/{bits}, or {} alone", range.first))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_host() {
            true => write!(formatter, "{}", self.first),
            false => write!(formatter, "{}/{}", self.first, self.bits),
        }
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

impl From<Cidr> for String {
    fn from(range: Cidr) -> Self {
        range.to_string()
    }
}

/// How long something lasts, as it is typed: `90`, `90s`, `15m`, `1h`, `7d`.
///
/// # Errors
/// When it is none, nothing, or longer than a year.
pub fn span(word: &str) -> Result<Duration, String> {
    let at = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (number, unit) = word.split_at(at);
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a time is a number of seconds, or as 15m, 1h, 7d".to_owned()),
    };
    let seconds = number.parse().ok().and_then(|number: u64| number.checked_mul(unit));
    let span = seconds.map(Duration::from_secs).filter(|span| !span.is_zero() && *span <= LONGEST);
    span.ok_or_else(|| "a time is from a second to 366 days".to_owned())
}

/// A moment of this boot, that can be told after it too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The boot.
    pub boot: String,
    /// Nanoseconds since it.
    pub since_boot: u64,
    /// Nanoseconds of the epoch.
    pub epoch: i64,
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Connection {
    /// The end here.
    pub local: SocketAddr,
    /// The other.
    pub remote: SocketAddr,
}

/// What a rule keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// What arrives for a port of this host.
    Close(Port),
    /// All that arrives, leaves or passes.
    Isolate,
}

/// By what a rule is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The kernel's own filter.
    Nftables,
    /// A program of the sensor at the root of the cgroups.
    Cgroup,
}

impl Way {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Cgroup => "cgroup",
        }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name.
    pub id: Id,
    /// What it keeps out.
    pub scope: Scope,
    /// Who gets through all the same, in order.
    pub allow: Vec<Cidr>,
    /// Connections that get through: those the operator came by.
    pub kept: Vec<Connection>,
    /// Why it was made, as the operator said.
    pub reason: Option<String>,
    /// When it was made, nanoseconds of the epoch.
    pub made: i64,
    /// Inode number of the network namespace that it is of.
    pub netns: u32,
    /// The boot in which it was last put in force.
    pub boot: String,
    /// By what.
    pub way: Way,
    /// Whether it was put in force for sure: the record is written before.
    pub applied: bool,
    /// Until when it wants to be confirmed.
    pub confirm_by: Option<Moment>,
    /// Until when it is meant to last.
    pub until: Option<Moment>,
    /// Whether it is to be there after the next boot.
    pub persist: bool,
    /// The process that takes it back in time: its pid, and when that began.
    pub guard: Option<(u32, u64)>,
}

impl Rule {
    /// Whether the rule lets a connection be: from or to an address that is allowed, or the operator's own.
    #[must_use]
    pub fn allows(&self, connection: &Connection) -> bool {
        let remote = connection.remote.ip().to_canonical();
        let same = |kept: &Connection| canonical(kept) == canonical(connection);
        remote.is_loopback()
            || self.allow.iter().any(|range| range.contains(remote))
            || self.kept.iter().any(same)
    }

    /// The earlier of its two ends.
    #[must_use]
    pub fn end(&self) -> Option<&Moment> {
        let ends = [self.confirm_by.as_ref(), self.until.as_ref()];
        ends.into_iter().flatten().min_by_key(|moment| moment.epoch)
    }

    /// Whether another asks for the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        (self.scope, &self.allow, self.netns) == (other.scope, &other.allow, other.netns)
    }
}

fn canonical(connection: &Connection) -> [(IpAddr, u16); 2] {
    [connection.local, connection.remote].map(|end| (end.ip().to_canonical(), end.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_times_are_what_they_say() {
        let port: Port = "8080/udp".parse().unwrap();
        assert_eq!((port.number.get(), port.transports()), (8080, &[Transport::Udp][..]));
        assert_eq!("22".parse::<Port>().unwrap().transports().len(), 2);
        for wrong in ["0", "70000", "", "-1", "22/sctp", "22/", "tcp", "65536/tcp", "+22/"] {
            assert!(wrong.parse::<Port>().is_err(), "{wrong}");
        }
        assert_eq!(span("90").unwrap().as_secs(), 90);
        assert_eq!(span("2h").unwrap().as_secs(), 7200);
        for wrong in ["", "0", "1w", "h", "-1h", "367d", "99999999999999999999d", "1h30m"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_hold_what_is_in_them() {
        let range = |word: &str| word.parse::<Cidr>();
        let holds = |word: &str, address: &str| range(word).unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("192.0.2.7", "::ffff:192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("fd00::/8", "fdff::1") && !holds("fd00::/8", "fe80::1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "2001:db8::1") && !holds("::/0", "1.2.3.4"));
        assert_eq!(range("::ffff:192.0.2.7").unwrap().to_string(), "192.0.2.7");
        assert!(range("10.0.0.5/8").unwrap_err().contains("10.0.0.0/8"));
        assert!(range("fd00::1/8").unwrap_err().contains("fd00::/8"));
        for wrong in [
            "",
            "host",
            "10.0.0/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::ffff:1.2.3.0/120",
        ] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_kept_is_checked_as_what_is_typed() {
        let rule = Rule {
            id: Id::of(7),
            scope: Scope::Close("80/tcp".parse().unwrap()),
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            kept: vec![Connection { local: "[::1]:22".parse().unwrap(), remote: "[::2]:5".parse().unwrap() }],
            reason: Some("x".to_owned()),
            made: 1,
            netns: 2,
            boot: "b".to_owned(),
            way: Way::Nftables,
            applied: false,
            confirm_by: Some(Moment { boot: "b".to_owned(), since_boot: 9, epoch: 10 }),
            until: Some(Moment { boot: "b".to_owned(), since_boot: 3, epoch: 4 }),
            persist: false,
            guard: Some((1, 2)),
        };
        let text = serde_json::to_string(&rule).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), rule);
        assert_eq!(rule.end().unwrap().epoch, 4);
        for (from, to) in [
            ("00000007", "../../x"),
            ("10.0.0.0/8", "10.0.0.0/99"),
            (":80,", ":0,"),
            ("\"made\"", "\"mode\""),
        ] {
            let broken = text.replace(from, to);
            assert_ne!(broken, text);
            assert!(serde_json::from_str::<Rule>(&broken).is_err(), "{broken}");
        }
        let with = |local: &str, remote: &str| Connection {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        assert!(rule.allows(&with("1.2.3.4:80", "10.1.1.1:9")) && rule.allows(&with("[::1]:22", "[::2]:5")));
        assert!(
            !rule.allows(&with("1.2.3.4:80", "11.1.1.1:9")) && !rule.allows(&with("[::1]:22", "[::2]:6"))
        );
        assert!(rule.allows(&with("127.0.0.1:80", "127.0.0.1:9")));
    }
}
