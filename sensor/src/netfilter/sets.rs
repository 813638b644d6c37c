//! Sets and maps that rules look values up in (`include/uapi/linux/netfilter/nf_tables.h`): which are read, and what is in
//! them.

use std::collections::{BTreeMap, HashMap};

use super::rules::{Decision, verdict};
use crate::netlink::message::{Malformed, attribute, attributes, attributes_of, be32_at};

/// `NFTA_SET_TABLE`, `…_NAME`, `…_FLAGS`.
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
/// `NFT_SET_INTERVAL`, `NFT_SET_EVAL`, `NFT_SET_CONCAT`.
const INTERVAL: u32 = 4;
const EVALUATED: u32 = 0x20;
const CONCATENATED: u32 = 0x80;
/// `NFTA_SET_ELEM_LIST_TABLE`, `…_SET`, `…_ELEMENTS`.
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
/// `NFTA_SET_ELEM_KEY`, `…_DATA`, `…_FLAGS`; `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`.
const KEY: u16 = 1;
const DATA: u16 = 2;
const ELEMENT_FLAGS: u16 = 3;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
/// `NFT_SET_ELEM_INTERVAL_END`, `NFT_SET_ELEM_CATCHALL`.
const END: u32 = 1;
const CATCH_ALL: u32 = 2;
/// Most elements of all sets together.
const ELEMENTS_MOST: usize = 65_536;

/// A set, by family, table and name.
pub(super) type Name = (u8, Vec<u8>, Vec<u8>);

/// What an element leads to: nothing in a set, a decision in a map of verdicts.
type Led = Option<Decision>;

/// What is in a set.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    interval: bool,
    /// Keys, and whether there a range ends instead.
    elements: BTreeMap<Vec<u8>, (bool, Led)>,
    /// What is for all other keys.
    rest: Option<Led>,
}

/// Whether something is in a set, and what it leads to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Is(Led),
    IsNot,
    Unknown,
}

impl Set {
    /// What becomes of this value.
    pub(super) fn has(&self, value: &[u8]) -> Member {
        let sizes = self.elements.keys().all(|key| key.len() == value.len());
        let found = match self.interval {
            _ if !sizes => return Member::Unknown,
            false => self.elements.get(value),
            // The last that begins at or before it, unless it has ended.
            true => self.elements.range(..=value.to_vec()).next_back().map(|(_, element)| element),
        };
        match found.filter(|(end, _)| !end) {
            Some((_, led)) => Member::Is(led.clone()),
            None => self.rest.clone().map_or(Member::IsNot, Member::Is),
        }
    }

    /// What becomes of any value but this; names are followed by zeros.
    pub(super) fn has_other_than(&self, not: &[u8]) -> Member {
        let same = |key: &Vec<u8>| {
            key.starts_with(not) && key.iter().skip(not.len()).all(|byte| *byte == 0) && key.len() > not.len()
                || key == not
        };
        match self.rest.is_none() && !self.interval && self.elements.keys().all(same) {
            true => Member::IsNot,
            false => Member::Unknown,
        }
    }
}

/// The sets that are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    all: HashMap<Name, Set>,
    count: usize,
}

impl Sets {
    /// One whose elements are understood; of others nothing is known.
    pub(super) fn get(&self, name: &Name) -> Option<&Set> {
        self.all.get(name)
    }

    /// Takes note of a set, unless packets change what is in it, or its keys are several values.
    pub(super) fn add(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let (family, rest) = super::rules::family(body)?;
        let (Some(table), Some(name)) = (attribute(rest, SET_TABLE)?, attribute(rest, SET_NAME)?) else {
            return Err(Malformed);
        };
        let flags = attribute(rest, SET_FLAGS)?.and_then(|flags| be32_at(flags, 0)).unwrap_or(0);
        if flags & (EVALUATED | CONCATENATED) == 0 {
            let place = (family, super::rules::name(table), super::rules::name(name));
            self.all.insert(place, Set { interval: flags & INTERVAL != 0, ..Set::default() });
        }
        Ok(())
    }

    /// Keeps those of which rules ask something that can be known.
    pub(super) fn keep(&mut self, wanted: impl Fn(&Name) -> bool) {
        self.all.retain(|name, _| wanted(name));
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<Name> {
        self.all.keys().cloned().collect()
    }

    /// Of this one nothing is known.
    pub(super) fn forget(&mut self, name: &Name) {
        self.all.remove(name);
    }

    /// Adds elements of a set.
    pub(super) fn add_elements(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let (family, rest) = super::rules::family(body)?;
        let (Some(table), Some(name)) = (attribute(rest, LIST_TABLE)?, attribute(rest, LIST_SET)?) else {
            return Err(Malformed);
        };
        let place = (family, super::rules::name(table), super::rules::name(name));
        let Some(set) = self.all.get_mut(&place) else { return Ok(()) };
        for element in attributes(attribute(rest, LIST_ELEMENTS)?.unwrap_or(&[])) {
            self.count += 1;
            if self.count > ELEMENTS_MOST {
                return Err(Malformed);
            }
            set.add(element?.1)?;
        }
        Ok(())
    }
}

impl Set {
    fn add(&mut self, element: &[u8]) -> Result<(), Malformed> {
        let flags = attribute(element, ELEMENT_FLAGS)?.and_then(|flags| be32_at(flags, 0)).unwrap_or(0);
        let led = match attribute(element, DATA)? {
            Some(data) => Some(attribute(data, DATA_VERDICT)?.map_or(Ok(Decision::Else), verdict)?),
            None => None,
        };
        if flags & CATCH_ALL != 0 {
            self.rest = Some(led);
            return Ok(());
        }
        let key = attribute(element, KEY)?.ok_or(Malformed)?;
        let key = attribute(key, DATA_VALUE)?.ok_or(Malformed)?.to_vec();
        let end = flags & END != 0;
        // Where one range ends and the next begins, the beginning counts.
        match self.elements.get(&key) {
            Some((false, _)) if end => {}
            _ => drop(self.elements.insert(key, (end, led))),
        }
        Ok(())
    }
}

/// The question for the elements of a set, after `nfgenmsg`.
pub(super) fn question((family, table, name): &Name) -> Vec<u8> {
    let closed = |name: &[u8]| [name, &[0]].concat();
    let names = attributes_of(&[(LIST_TABLE, &closed(table)), (LIST_SET, &closed(name))]);
    [[*family, 0, 0, 0].as_slice(), &names].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(key: &[u8], flags: u32, verdict: Option<i32>) -> Vec<u8> {
        let key = attributes_of(&[(DATA_VALUE, key)]);
        let code = verdict.map(|code| attributes_of(&[(1, &code.cast_unsigned().to_be_bytes())]));
        let data = code.map(|code| attributes_of(&[(DATA_VERDICT, &code)]));
        let flags = flags.to_be_bytes();
        let mut all = vec![(KEY, key.as_slice()), (ELEMENT_FLAGS, flags.as_slice())];
        all.extend(data.as_deref().map(|data| (DATA, data)));
        attributes_of(&all)
    }

    fn sets(flags: u32, elements: &[Vec<u8>]) -> Sets {
        let mut sets = Sets::default();
        let head = [1, 0, 0, 0];
        let set =
            attributes_of(&[(SET_TABLE, b"t\0"), (SET_NAME, b"s\0"), (SET_FLAGS, &flags.to_be_bytes())]);
        sets.add(&[head.as_slice(), &set].concat()).unwrap();
        let list: Vec<(u16, &[u8])> = elements.iter().map(|element| (1, element.as_slice())).collect();
        let list = attributes_of(&list);
        let names = attributes_of(&[(LIST_TABLE, b"t\0"), (LIST_SET, b"s\0"), (LIST_ELEMENTS, &list)]);
        sets.add_elements(&[head.as_slice(), &names].concat()).unwrap();
        sets
    }

    fn name() -> Name {
        (1, b"t".to_vec(), b"s".to_vec())
    }

    #[test]
    fn single_values_are_in_it_or_not() {
        let sets = sets(0, &[element(&[0, 22], 0, None), element(&[0, 80], 0, None)]);
        let set = sets.get(&name()).unwrap();
        assert_eq!((set.has(&[0, 22]), set.has(&[0, 23])), (Member::Is(None), Member::IsNot));
        assert_eq!(set.has(&[22]), Member::Unknown, "of another size");
    }

    #[test]
    fn ranges_end_where_they_say() {
        let all = [
            element(&[0, 0], END, None),
            element(&[0, 20], 0, None),
            element(&[0, 23], END, None),
            element(&[0, 23], 0, None),
            element(&[0, 24], END, None),
            element(&[0, 80], 0, None),
        ];
        let sets = sets(INTERVAL, &all);
        let set = sets.get(&name()).unwrap();
        let has = |port: u16| set.has(&port.to_be_bytes()) == Member::Is(None);
        assert_eq!([1, 19, 20, 22, 23, 24, 79].map(has), [false, false, true, true, true, false, false]);
        assert_eq!([80, u16::MAX].map(has), [true, true]);
    }

    #[test]
    fn maps_lead_to_decisions() {
        let sets = sets(8, &[element(&[0, 22], 0, Some(1)), element(&[], CATCH_ALL, Some(0))]);
        let set = sets.get(&name()).unwrap();
        assert_eq!(set.has(&[0, 22]), Member::Is(Some(Decision::Accept)));
        assert_eq!(set.has(&[0, 23]), Member::Is(Some(Decision::Drop)));
    }

    #[test]
    fn other_names_than_one() {
        let one = sets(0, &[element(b"lo\0\0", 0, None)]);
        assert_eq!(one.get(&name()).unwrap().has_other_than(b"lo"), Member::IsNot);
        let two = sets(0, &[element(b"lo\0\0", 0, None), element(b"eth0", 0, None)]);
        assert_eq!(two.get(&name()).unwrap().has_other_than(b"lo"), Member::Unknown);
    }

    #[test]
    fn what_packets_change_is_not_known() {
        assert!(sets(EVALUATED, &[]).get(&name()).is_none());
        assert!(sets(CONCATENATED, &[]).get(&name()).is_none());
    }

    #[test]
    fn cut_bytes_are_no_elements() {
        let whole = element(&[0, 22], 0, Some(1));
        for len in 1..whole.len() {
            let mut set = Set::default();
            if set.add(&whole[..len]).is_ok() {
                assert!(set.elements.keys().all(|key| key == &[0, 22]), "{len}");
            }
        }
    }
}
