//! `[journal]`: what is kept of events.

use serde::Deserialize;

use super::Folder;

/// Where the journal is unless something else is said.
pub const JOURNAL: &str = "/var/lib/sensor/journal";

/// `[journal]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// Where events are kept; empty for nowhere. None when nothing is said.
    pub folder: Option<Folder>,
    /// Most bytes of all that is kept; the oldest go.
    pub max_bytes: JournalBytes,
    /// How long events are kept, seconds.
    pub max_age_s: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { folder: None, max_bytes: JournalBytes(1 << 30), max_age_s: 30 * 24 * 3600 }
    }
}

/// A size that the journal can keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct JournalBytes(u64);

impl JournalBytes {
    const LEAST: u64 = 8 << 20;
    const MOST: u64 = 1 << 40;

    /// Bytes.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for JournalBytes {
    type Error = String;

    fn try_from(bytes: u64) -> Result<Self, String> {
        match bytes {
            Self::LEAST..=Self::MOST => Ok(Self(bytes)),
            _ => {
                Err(format!("{bytes} is no size of a journal: give {} to {} bytes", Self::LEAST, Self::MOST))
            }
        }
    }
}
