//! A list in an answer that has an end: a few bytes of text can be a large thing in memory.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

/// So many at most; more is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List<T, const MOST: usize>(pub Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

struct Elements<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Elements<T, MOST> {
    type Value = List<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {MOST} at most")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = from.next_element()? {
            if all.len() == MOST {
                return Err(Error::invalid_length(MOST + 1, &self));
            }
            all.push(one);
        }
        Ok(List(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::parse;

    #[test]
    fn a_list_has_an_end() {
        let list = |text: &str| parse::<List<u8, 3>>(text.as_bytes()).map(|list| list.0);
        assert_eq!(list("[1, 2, 3]").unwrap(), [1, 2, 3]);
        assert!(list("[]").unwrap().is_empty());
        for wrong in ["[1, 2, 3, 4]", "[1, 2", "{}", "[300]", ""] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
    }
}
