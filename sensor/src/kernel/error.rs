//! What stands between the sensor and the kernel.

use std::{error::Error, io};

use aya::maps::MapError;

use super::{Gap, btf, refusal};

/// What stands between the sensor and the kernel.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is in its message")]
pub enum KernelError {
    #[error("reading the kernel's type information, {path}")]
    NoBtf { path: &'static str, source: io::Error },
    #[error(
        "reading the kernel's type information, {path}: it is damaged, or of a format that this version doesn't know"
    )]
    BadBtf { path: &'static str, source: btf::BtfError },
    #[error(
        "this kernel is locked down for confidentiality (/sys/kernel/security/lockdown): it lets no program read its memory, so there is nothing to see; boot it with lockdown=integrity, which forbids what changes the kernel and lets the sensor work, or without lockdown"
    )]
    LockedDown,
    #[error("this kernel has no {members}: report its version and this line")]
    Unknown { members: String },
    #[error("the kernel refused {what}: {why}")]
    Refused { what: &'static str, why: Gap },
    #[error("the kernel refused {what}, which --hooks best demands: {why}")]
    Demanded { what: &'static str, why: Gap },
    #[error("loading {what} into the kernel")]
    Load { what: &'static str, source: Box<dyn Error + Send + Sync> },
    #[error("waiting for the kernel's rings")]
    Ring(#[source] io::Error),
    #[error("reading the kernel's list of tasks")]
    Tasks(#[source] Box<dyn Error + Send + Sync>),
    #[error("telling the programs that nobody reads for a while")]
    Quiet(#[source] MapError),
    #[error("reading the programs' counters")]
    Counters(#[source] MapError),
    #[error("reading the counters of sockets")]
    Traffic(#[source] Box<dyn Error + Send + Sync>),
}

impl KernelError {
    /// Why nothing can be seen at all.
    #[must_use]
    pub fn gap(&self) -> Gap {
        match self {
            Self::NoBtf { source, .. } => Gap {
                reason: format!("{self}: {}", refusal::explain(source, &[]).reason),
                missing: "BTF".to_owned(),
                remedy: "a kernel from 5.8 on with CONFIG_DEBUG_INFO_BTF=y, and sysfs mounted on /sys"
                    .to_owned(),
                ..Gap::default()
            },
            Self::Unknown { members } => {
                Gap { reason: self.to_string(), missing: members.clone(), ..Gap::default() }
            }
            Self::Refused { what, why } => {
                Gap { reason: format!("the kernel refused {what}: {}", why.reason), ..why.clone() }
            }
            Self::Demanded { what, why } => Gap {
                reason: format!("the kernel refused {what}, which --hooks best demands: {}", why.reason),
                ..why.clone()
            },
            other => {
                let why = other.source().map(|source| refusal::explain(source, &[])).unwrap_or_default();
                Gap { reason: format!("{other}: {}", why.reason), ..why }
            }
        }
    }
}
