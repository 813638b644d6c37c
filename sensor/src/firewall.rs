//! The sensor's own rules of the firewall: what somebody closes in an emergency, and how it is opened again.
//!
//! A rule is written to the ledger, put in force by one of the ways, and checked there. Whatever has an end is ended by the
//! kernel itself in time; the guard, a process of its own, then clears up and tells.

use std::{io, path::Path, time::Duration};

use crate::{host::Host, procfs::Reader};

pub mod boot;
pub mod cgroup;
pub mod flows;
pub mod guard;
mod ledger;
mod nft;
pub mod operator;
pub mod rule;

pub use ledger::{Known, Ledger, new_id};
pub use nft::NftError;

use nft::Nft;
use rule::{Id, Moment, Rule, Way};

/// What becomes of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The kernel applies it.
    InForce,
    /// The same, and it waits to be confirmed.
    Unconfirmed,
    /// Its record was written, and it isn't known to have been put in force.
    Pending,
    /// It should be in force, and isn't: its table is gone, or it is of an earlier boot.
    NotInForce,
    /// Its time is over, and nobody has cleared up yet.
    Over,
    /// It is of another network namespace, where it may be in force.
    Elsewhere,
    /// The kernel applies it, and it is on no record.
    Unrecorded,
}

impl State {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::InForce => "in_force",
            Self::Unconfirmed => "unconfirmed",
            Self::Pending => "pending",
            Self::NotInForce => "not_in_force",
            Self::Over => "over",
            Self::Elsewhere => "elsewhere",
            Self::Unrecorded => "unrecorded",
        }
    }
}

/// The ways, as far as this host has them.
#[derive(Debug)]
pub struct Firewall {
    nft: Result<Nft, NftError>,
    /// The network namespace.
    pub netns: u32,
}

impl Firewall {
    /// Looks which ways there are here.
    #[must_use]
    pub fn find(reader: &Reader) -> Self {
        Self { nft: Nft::find(), netns: reader.namespace_of_thread().unwrap_or(0) }
    }

    /// Why nft can't be run.
    #[must_use]
    pub fn no_nft(&self) -> Option<String> {
        self.nft().err()
    }

    fn nft(&self) -> Result<&Nft, String> {
        self.nft.as_ref().map_err(ToString::to_string)
    }

    /// The way that is taken for a rule, and why it isn't nftables: the kernel is asked, and nothing is changed.
    ///
    /// # Errors
    /// When somebody else has the table.
    pub fn way(&self, rule: &Rule) -> Result<(Way, Option<String>), String> {
        let refused = match &self.nft {
            Ok(nft) => {
                nft.check(rule).err().map(|error| (matches!(error, NftError::NotOurs), error.to_string()))
            }
            Err(error) => Some((false, error.to_string())),
        };
        match refused {
            None => Ok((Way::Nftables, None)),
            Some((true, why)) => Err(why),
            Some((false, why)) => Ok((Way::Cgroup, Some(why))),
        }
    }

    /// Puts a rule in force until its end.
    ///
    /// # Errors
    /// When it isn't in force: then nothing of it is.
    pub fn apply(&self, rule: &Rule, host: &Host) -> Result<(), String> {
        let lasts = lasts(rule, host);
        match rule.way {
            Way::Nftables => self.nft()?.apply(rule, lasts).map_err(|error| error.to_string()),
            Way::Cgroup => cgroup::apply(rule, lasts, host).map_err(|error| error.to_string()),
        }
    }

    /// Gives a rule that is in force the end that it says.
    ///
    /// # Errors
    /// When it can't be.
    pub fn prolong(&self, rule: &Rule, host: &Host) -> Result<(), String> {
        let lasts = lasts(rule, host);
        match rule.way {
            Way::Nftables => self.nft()?.prolong(&rule.id, lasts).map_err(|error| error.to_string()),
            Way::Cgroup => cgroup::prolong(&rule.id, lasts, host).map_err(|error| error.to_string()),
        }
    }

    /// Takes a rule out, whatever way it was put there.
    ///
    /// # Errors
    /// When it may still be there.
    pub fn undo(&self, id: &Id, way: Way) -> Result<(), String> {
        match way {
            Way::Nftables => self.nft()?.undo(id).map_err(|error| error.to_string()),
            Way::Cgroup => cgroup::undo(id).map_err(|error| error.to_string()),
        }
    }

    /// The rules that the kernel has here, and whether it applies each; what can't be read is told.
    #[must_use]
    pub fn present(&self, host: &Host) -> (Vec<(Id, Way, bool)>, Vec<String>) {
        let mut parts = Vec::new();
        let mut all = Vec::new();
        match self.nft.as_ref().map(Nft::table) {
            Ok(Ok(table)) => {
                let rules = table.map(|table| table.rules()).unwrap_or_default();
                all.extend(rules.into_iter().map(|(id, live)| (id, Way::Nftables, live)));
            }
            Ok(Err(error)) => parts.push(error.to_string()),
            // Rules that were made with it are told by their records.
            Err(_) => {}
        }
        match cgroup::rules(self.netns, host) {
            Ok(rules) => all.extend(rules.into_iter().map(|(id, live)| (id, Way::Cgroup, live))),
            Err(error) => parts.push(format!("rules at the cgroups: {error}")),
        }
        (all, parts)
    }

    /// What becomes of a rule that is on record; `present`: what the kernel has.
    #[must_use]
    pub fn state(&self, rule: &Rule, present: &[(Id, Way, bool)], host: &Host) -> State {
        let there = present.iter().find(|(id, ..)| *id == rule.id);
        match there {
            Some((.., true)) if rule.confirm_by.is_some() => State::Unconfirmed,
            Some((.., true)) => State::InForce,
            _ if rule.boot == host.boot_id && rule.netns != self.netns => State::Elsewhere,
            _ if is_over(rule, host) => State::Over,
            _ if !rule.applied => State::Pending,
            _ => State::NotInForce,
        }
    }
}

/// This long from now.
#[must_use]
pub fn moment(host: &Host, span: Duration) -> Moment {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Moment {
        boot: host.boot_id.clone(),
        since_boot: host.boot_now().saturating_add(nanos),
        epoch: host.now().0.saturating_add_unsigned(nanos),
    }
}

/// How long it is to a moment: nothing, when it is over.
#[must_use]
pub fn until(moment: &Moment, host: &Host) -> Duration {
    let nanos = match moment.boot == host.boot_id {
        true => moment.since_boot.saturating_sub(host.boot_now()),
        // The clock of another boot says nothing: the calendar does.
        false => u64::try_from(moment.epoch.saturating_sub(host.now().0)).unwrap_or(0),
    };
    Duration::from_nanos(nanos)
}

/// How long a rule has; none for good.
#[must_use]
pub fn lasts(rule: &Rule, host: &Host) -> Option<Duration> {
    rule.end().map(|end| until(end, host))
}

/// Whether its time is over.
#[must_use]
pub fn is_over(rule: &Rule, host: &Host) -> bool {
    lasts(rule, host).is_some_and(|left| left.is_zero())
}

/// Opens the ledger of a host.
///
/// # Errors
/// When it can't be.
pub fn ledger(root: &Path) -> io::Result<Ledger> {
    Ledger::open(root)
}
