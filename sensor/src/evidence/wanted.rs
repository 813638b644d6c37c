//! What is asked back of what was kept, or is held: in the words in which a person gives it.

use std::str::FromStr;

use super::folder::hexadecimal;
use crate::record::Text;

/// What is to be recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What a process runs, or ran.
    Pid(u32),
    /// The same, by its entity id.
    Entity(Text),
    /// What has this hash.
    Sha256(Text),
}

impl FromStr for Wanted {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let word = word.to_ascii_lowercase();
        match word.len() {
            64 if hexadecimal(&word, 64) => Ok(Self::Sha256(Text::from(word))),
            32 if hexadecimal(&word, 32) => Ok(Self::Entity(Text::from(word))),
            _ => word.parse().ok().filter(|pid| *pid != 0).map(Self::Pid).ok_or(
                "it is no pid, no entity id (32 hexadecimal digits) and no SHA-256 (64 hexadecimal digits)",
            ),
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "{pid}"),
            Self::Entity(word) | Self::Sha256(word) => f.write_str(&word.to_str_lossy()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_known_by_its_form() {
        assert_eq!("17".parse(), Ok(Wanted::Pid(17)));
        assert_eq!("A".repeat(64).parse(), Ok(Wanted::Sha256(Text::from("a".repeat(64)))));
        assert_eq!("1".repeat(32).parse(), Ok(Wanted::Entity(Text::from("1".repeat(32)))));
        for wrong in ["", "0", "-1", "17x", "/bin/sh", &"g".repeat(64), &"a".repeat(63), "4294967296"] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong}");
        }
        for word in ["17".to_owned(), "a".repeat(32), "0".repeat(64)] {
            assert_eq!(word.parse::<Wanted>().unwrap().to_string(), word);
        }
    }
}
