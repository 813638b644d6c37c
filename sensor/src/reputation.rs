//! What is known of a file by its hash: by lists of this host, by its packages, by VirusTotal. Nothing is ever uploaded.

pub mod cache;
pub mod lists;
pub mod pace;
pub mod virustotal;

use std::time::Duration;

/// What is to be thought of a file. Nobody knowing it is not the same as it being clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nobody who was asked knows it.
    Unknown,
    /// It is known, and nobody objects to it.
    Undetected,
    /// Somebody objects to it, and not enough do.
    Suspicious,
    /// It is on a list of good ones, or is what a package brought.
    KnownGood,
    /// It is on a list of bad ones, or enough engines call it malicious.
    Malicious,
}

impl Verdict {
    /// Its name in `sensor.reputation.verdict`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Undetected => "undetected",
            Self::Suspicious => "suspicious",
            Self::KnownGood => "known_good",
            Self::Malicious => "malicious",
        }
    }

    /// How odd it is, as `event.severity`; 0 is not odd.
    #[must_use]
    pub fn severity(self) -> u64 {
        match self {
            Self::Malicious => 99,
            Self::Suspicious => 47,
            Self::Unknown | Self::Undetected | Self::KnownGood => 0,
        }
    }
}

/// What one source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who: the path of a list, `deb`, `rpm` or `virustotal`.
    pub source: String,
    /// What that comes to.
    pub verdict: Verdict,
    /// A sentence.
    pub detail: String,
    /// Engines that call it malicious, and that judged it at all.
    pub engines: Option<(u64, u64)>,
    /// How long ago it was asked, when the answer was kept since then, seconds.
    pub age_s: Option<u64>,
}

impl Answer {
    /// Of a source of this host.
    #[must_use]
    pub fn local(source: impl Into<String>, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { source: source.into(), verdict, detail: detail.into(), engines: None, age_s: None }
    }
}

/// The answer that decides: what calls it bad before what calls it good, and that before doubts.
#[must_use]
pub fn decisive(answers: &[Answer]) -> Option<&Answer> {
    // Of equal ones the first.
    answers.iter().rev().max_by_key(|answer| answer.verdict)
}

/// Time, and whoever looks at it passing.
pub trait World {
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> u64;
    /// Lets time pass, and says why.
    fn wait(&mut self, how_long: Duration, why: &str);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bad_decides_before_what_is_good() {
        let answers = |verdicts: &[Verdict]| -> Vec<Answer> {
            verdicts.iter().map(|verdict| Answer::local(verdict.word(), *verdict, "")).collect()
        };
        use Verdict::{KnownGood, Malicious, Suspicious, Undetected, Unknown};
        for (all, wanted) in [
            (&[KnownGood, Malicious][..], Malicious),
            (&[Suspicious, KnownGood], KnownGood),
            (&[Undetected, Suspicious], Suspicious),
            (&[Unknown, Undetected], Undetected),
        ] {
            assert_eq!(decisive(&answers(all)).unwrap().verdict, wanted, "{all:?}");
        }
        assert_eq!(decisive(&[]), None);
        let two = [Answer::local("a", Malicious, ""), Answer::local("b", Malicious, "")];
        assert_eq!(decisive(&two).unwrap().source, "a");
    }
}
