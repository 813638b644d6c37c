//! `[redact]`: which secrets are masked in what is told.

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

/// `[redact]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redact {
    /// Nothing is masked: arguments go out as they are.
    pub off: bool,
    /// What is masked besides what the sensor itself takes for a secret: of each match its first group, or all of it.
    pub patterns: Vec<Pattern>,
}

impl Redact {
    /// The expressions.
    pub fn expressions(&self) -> impl Iterator<Item = Regex> {
        self.patterns.iter().map(|pattern| pattern.get().clone())
    }
}

/// A regular expression over bytes, of bounded size; it takes linear time.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(Regex);

/// Largest expression when it is compiled, bytes.
const LARGEST: usize = 1 << 20;

impl Pattern {
    /// It.
    #[must_use]
    pub fn get(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let built =
            RegexBuilder::new(&text).unicode(false).size_limit(LARGEST).dfa_size_limit(LARGEST).build();
        let regex = built.map_err(|error| format!("{text:?} is no regular expression: {error}"))?;
        match regex.is_match(b"") {
            true => Err(format!("{text:?} matches where there is nothing: every text would be masked")),
            false => Ok(Self(regex)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_checked_when_they_are_read() {
        let pattern = |text: &str| Pattern::try_from(text.to_owned());
        assert!(pattern("--pin=([0-9]+)").is_ok());
        for (wrong, why) in
            [("(", "no regular expression"), ("x*", "nothing"), ("[a-z]{9999}{9999}", "no regular")]
        {
            assert!(pattern(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }
}
