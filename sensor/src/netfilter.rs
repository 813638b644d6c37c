//! Whether the host's own firewall lets new connections to a port in: reads the rules of the thread's network namespace,
//! and changes nothing.
//!
//! Only what is understood for certain is said. A rule that depends on what isn't known here (an address, an
//! interface, a match of another program) may hold or not, and what hangs on it is not judged.

use nix::errno::Errno;

use crate::netlink::{Line, NetlinkError, Protocol};

mod judge;
mod rules;
mod sets;

pub use judge::Arrival;

/// `NFNL_SUBSYS_NFTABLES`, and its messages `NFT_MSG_GETCHAIN`, `NFT_MSG_GETRULE` (`include/uapi/linux/netfilter/`).
const SUBSYSTEM: u16 = 10 << 8;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const GET_RULE: u16 = SUBSYSTEM | 7;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const NEW_SET: u16 = SUBSYSTEM | 9;
const GET_SET: u16 = SUBSYSTEM | 10;
const NEW_ELEMENTS: u16 = SUBSYSTEM | 12;
const GET_ELEMENTS: u16 = SUBSYSTEM | 13;
/// `nfgenmsg`, of all families.
const ALL: [u8; 4] = [0; 4];
/// Most chains and rules; of more nothing is judged.
const MOST: usize = 65_536;
/// How often rules are read that change meanwhile.
const TRIES: u32 = 4;

/// What a firewall does with what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none that sees it.
    None,
    /// It lets it in.
    Open,
    /// It keeps it out.
    Closed,
    /// It has rules for input that aren't understood.
    NotJudged,
}

impl Verdict {
    /// Its word in a record; none where there is no firewall.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Open => Some("open"),
            Self::Closed => Some("closed"),
            Self::NotJudged => Some("not_judged"),
        }
    }
}

/// The rules of a network namespace.
#[derive(Clone, Debug, Default)]
pub struct Firewall {
    rules: rules::Rules,
    /// There are tables of the older sort, which aren't read.
    legacy: bool,
}

impl Firewall {
    /// That of the thread's network namespace; `legacy`: it has tables of the older sort (`iptables-legacy`).
    ///
    /// # Errors
    /// When the rules can't be had.
    pub fn read(legacy: bool) -> Result<Self, NetlinkError> {
        let none = Self { rules: rules::Rules::default(), legacy };
        match Self::ask(legacy) {
            // A kernel that answers no questions of this sort, or to whom nf_tables is unknown, has no rules of it.
            Err(
                NetlinkError::Call { source: Errno::EPROTONOSUPPORT, .. }
                | NetlinkError::Refused(Errno::EINVAL),
            ) => Ok(none),
            answer => answer,
        }
    }

    fn ask(legacy: bool) -> Result<Self, NetlinkError> {
        let mut line = Line::open(Protocol::NetlinkNetFilter)?;
        for _ in 0..TRIES {
            let mut rules = rules::Rules::default();
            let mut interrupted = line.dump(GET_CHAIN, &ALL, |kind, body| {
                if kind == NEW_CHAIN {
                    rules.add_chain(body);
                }
            })?;
            interrupted |= line.dump(GET_RULE, &ALL, |kind, body| {
                if kind == NEW_RULE {
                    rules.add_rule(body);
                }
            })?;
            interrupted |= fill(&mut line, &mut rules)?;
            if !interrupted {
                return Ok(Self { rules, legacy });
            }
        }
        // Whoever changes it all the time: nothing holds for long.
        Ok(Self { rules: rules::Rules::unreadable(), legacy })
    }

    /// What it does with a new connection, or a datagram, from another host.
    #[must_use]
    pub fn judge(&self, arrival: &Arrival) -> Verdict {
        match judge::judge(&self.rules, arrival) {
            Verdict::None | Verdict::Open if self.legacy => Verdict::NotJudged,
            verdict => verdict,
        }
    }
}

/// Reads the sets in which rules look something up that can be known; whether they changed meanwhile.
fn fill(line: &mut Line, rules: &mut rules::Rules) -> Result<bool, NetlinkError> {
    let wanted = rules.wanted();
    if wanted.is_empty() {
        return Ok(false);
    }
    let mut interrupted = line.dump(GET_SET, &ALL, |kind, body| {
        // Of one that isn't understood nothing is known.
        if kind == NEW_SET {
            let _: Result<(), _> = rules.sets.add(body);
        }
    })?;
    rules.sets.keep(|name| wanted.contains(name));
    for name in rules.sets.names() {
        let mut understood = true;
        let told = line.dump(GET_ELEMENTS, &sets::question(&name), |kind, body| {
            understood &= kind != NEW_ELEMENTS || rules.sets.add_elements(body).is_ok();
        });
        match told {
            Ok(changed) => interrupted |= changed,
            // It went meanwhile.
            Err(NetlinkError::Refused(Errno::ENOENT)) => interrupted = true,
            Err(error) => return Err(error),
        }
        if !understood {
            rules.sets.forget(&name);
        }
    }
    Ok(interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rules_nothing_stands_in_the_way() {
        let arrival = Arrival { v6: false, protocol: 6, port: 80 };
        assert_eq!(Firewall::default().judge(&arrival), Verdict::None);
        let older = Firewall { legacy: true, ..Firewall::default() };
        assert_eq!(older.judge(&arrival), Verdict::NotJudged);
        let restless = Firewall { rules: rules::Rules::unreadable(), legacy: false };
        assert_eq!(restless.judge(&arrival), Verdict::NotJudged);
    }

    #[test]
    fn the_kernels_rules_can_be_read() {
        match Firewall::read(false) {
            Ok(_) | Err(NetlinkError::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
