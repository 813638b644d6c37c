//! Words of ours, one a bit.

/// A table of words, one a bit, from the lowest on. See `names!`.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// The words.
    pub words: &'static [&'static str],
    /// All of them, each in quotes and with a comma after it: most often all or none are set.
    pub quoted: &'static str,
}

/// Makes [`Names`] of literals.
macro_rules! names {
    ($($word:literal),+ $(,)?) => {
        $crate::record::Names { words: &[$($word),+], quoted: concat!($("\"", $word, "\","),+) }
    };
}

pub(crate) use names;

/// Which words of a table hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    bits: u64,
    names: &'static Names,
}

impl Flags {
    /// Bits without a word are left out.
    #[must_use]
    pub fn new(bits: u64, names: &'static Names) -> Self {
        let named = u32::try_from(names.words.len()).ok().and_then(|count| 1_u64.checked_shl(count));
        Self { bits: bits & named.map_or(u64::MAX, |above| above - 1), names }
    }

    /// The words of the bits that are set.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let set = move |(bit, _): &(usize, _)| self.bits >> bit & 1 != 0;
        self.names.words.iter().enumerate().filter(set).map(|(_, word)| *word)
    }

    /// If no bit is missing, all words, each in quotes and with a comma after it.
    #[must_use]
    pub fn all_quoted(self) -> Option<&'static str> {
        (self.bits.count_ones() as usize == self.names.words.len()).then_some(self.names.quoted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_words() {
        static NAMES: Names = names!["A", "B", "C"];
        let words = |bits| Flags::new(bits, &NAMES).words().collect::<Vec<_>>();
        assert_eq!(words(0), Vec::<&str>::new());
        assert_eq!(words(0b101 | 1 << 3 | 1 << 63), ["A", "C"]);
        assert_eq!(Flags::new(0b101 | 1 << 63, &NAMES).all_quoted(), None);
        assert_eq!(Flags::new(u64::MAX, &NAMES).all_quoted(), Some(r#""A","B","C","#));
        static MOST: Names = Names { words: &["A"; 64], quoted: "" };
        assert_eq!(Flags::new(u64::MAX, &MOST).words().count(), 64);
    }
}
