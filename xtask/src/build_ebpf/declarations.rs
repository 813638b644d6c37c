//! Puts the forward declarations of an object's BTF in the order of their names.
//!
//! LLVM writes a type that is only pointed to as a forward declaration, and all of them in the
//! order of their addresses in the linker's memory (`FixupDerivedTypes` in `BTFDebug.cpp`). That
//! changes with the length of the paths it was given, and with it what two builds are.
//! The format is in the kernel's `Documentation/bpf/btf.rst`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use object::{Object, ObjectSection};

use crate::error::{Error, Result};

const HEAD: usize = 12;
const FORWARD: u32 = 7;

/// A type: its kind, how many elements follow its head, and where it stands.
#[derive(Clone, Copy)]
struct Type {
    kind: u32,
    len: usize,
    at: usize,
}

impl Type {
    /// Where the words that follow its head stand: `every` bytes apart, from `first` on.
    fn words(&self, first: usize, every: usize) -> impl Iterator<Item = usize> {
        let at = self.at + HEAD + first;
        (0..self.len).map(move |n| at + n * every)
    }

    /// Bytes after its head.
    fn tail(&self) -> Option<usize> {
        Some(match self.kind {
            // An integer, a variable, a tag of a declaration.
            1 | 14 | 17 => 4,
            // An array.
            3 => 12,
            // Structs, unions, sections, enumerations of 64 bits.
            4 | 5 | 15 | 19 => self.len * 12,
            // Enumerations, parameters.
            6 | 13 => self.len * 8,
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        })
    }

    /// Where it names other types.
    fn types(&self) -> Vec<usize> {
        let itself = self.at + 8;
        match self.kind {
            2 | 8..=12 | 14 | 17 | 18 => vec![itself],
            3 => vec![self.at + HEAD, self.at + HEAD + 4],
            4 | 5 => self.words(4, 12).collect(),
            13 => self.words(4, 8).chain([itself]).collect(),
            15 => self.words(0, 12).collect(),
            _ => Vec::new(),
        }
    }

    /// Where it names strings.
    fn names(&self) -> Vec<usize> {
        let inner: Vec<usize> = match self.kind {
            4 | 5 | 19 => self.words(0, 12).collect(),
            6 | 13 => self.words(0, 8).collect(),
            _ => Vec::new(),
        };
        inner.into_iter().chain([self.at]).collect()
    }
}

/// Orders them in an ELF object, in place. An object without BTF is left as it is.
pub(super) fn order(object: &mut [u8]) -> Result<()> {
    let range = section(object)?;
    let Some(btf) = range.and_then(|range| object.get_mut(range)) else {
        return Ok(());
    };
    order_in(btf).ok_or_else(|| {
        Error::Check(
            "the BTF of the kernel programs isn't as its format says; this linker can't be used".into(),
        )
    })
}

fn section(object: &[u8]) -> Result<Option<Range<usize>>> {
    let file = object::File::parse(object)
        .map_err(|error| Error::Check(format!("cannot read the object of the kernel programs: {error}")))?;
    let range = file.section_by_name(".BTF").and_then(|section| section.file_range());
    Ok(range.map(|(at, len)| at as usize..(at + len) as usize))
}

fn order_in(btf: &mut [u8]) -> Option<()> {
    let header = word(btf, 4)? as usize;
    let part = |offset: usize, len: usize| {
        let start = header + word(btf, offset)? as usize;
        Some(start..start + word(btf, len)? as usize)
    };
    let (types, strings) = (part(8, 12)?, part(16, 20)?.start);
    let types = read(btf, types)?;
    let (forwards, others): (Vec<_>, Vec<_>) = (1..).zip(types).partition(|(_, each)| each.kind == FORWARD);
    let mut ordered = forwards
        .iter()
        .map(|(id, each)| Some((string(btf, strings, each.at)?, *id)))
        .collect::<Option<Vec<_>>>()?;
    ordered.sort();
    let elsewhere: BTreeSet<u32> =
        others.iter().flat_map(|(_, each)| each.names()).map(|at| word(btf, at)).collect::<Option<_>>()?;

    // Each type that was `id` is the one in whose place it is written now.
    let moved: BTreeMap<u32, u32> =
        ordered.iter().map(|(_, id)| *id).zip(forwards.iter().map(|(id, _)| *id)).collect();
    for at in others.iter().flat_map(|(_, each)| each.types()) {
        if let Some(new) = moved.get(&word(btf, at)?) {
            put(btf, at, *new)?;
        }
    }
    let heads = ordered.iter().map(|(_, id)| {
        let (_, each) = forwards.iter().find(|(other, _)| other == id)?;
        btf.get(each.at..each.at + HEAD).map(<[u8]>::to_vec)
    });
    let heads = heads.collect::<Option<Vec<_>>>()?;
    for ((_, each), head) in forwards.iter().zip(heads) {
        btf.get_mut(each.at..each.at + HEAD)?.copy_from_slice(&head);
    }
    order_strings(btf, strings, &forwards, &elsewhere)
}

/// Writes the names in their order too, each run of neighbours by itself. Who shares a name with
/// another type keeps its place.
fn order_strings(
    btf: &mut [u8],
    strings: usize,
    forwards: &[(u32, Type)],
    elsewhere: &BTreeSet<u32>,
) -> Option<()> {
    let mut names = BTreeMap::new();
    for (_, each) in forwards {
        let offset = word(btf, each.at)?;
        if !elsewhere.contains(&offset) {
            names.insert(offset, string(btf, strings, each.at)?);
        }
    }
    let mut places = BTreeMap::new();
    while let Some((&start, _)) = names.first_key_value() {
        let (mut end, mut run) = (start, Vec::new());
        while let Some(name) = names.remove(&end) {
            let old = end;
            end += u32::try_from(name.len()).ok()? + 1;
            run.push((name, old));
        }
        run.sort();
        let mut at = start;
        for (name, old) in run {
            let to = strings + at as usize;
            btf.get_mut(to..to + name.len())?.copy_from_slice(&name);
            *btf.get_mut(to + name.len())? = 0;
            places.insert(old, at);
            at += u32::try_from(name.len()).ok()? + 1;
        }
    }
    for (_, each) in forwards {
        if let Some(new) = places.get(&word(btf, each.at)?) {
            put(btf, each.at, *new)?;
        }
    }
    Some(())
}

fn read(btf: &[u8], range: Range<usize>) -> Option<Vec<Type>> {
    let (mut at, mut types) = (range.start, Vec::new());
    while at < range.end {
        let info = word(btf, at + 4)?;
        let each = Type { kind: info >> 24 & 0x1f, len: (info & 0xffff) as usize, at };
        at += HEAD + each.tail()?;
        types.push(each);
    }
    (at == range.end).then_some(types)
}

/// The string whose offset stands at `at`.
fn string(btf: &[u8], strings: usize, at: usize) -> Option<Vec<u8>> {
    let rest = btf.get(strings + word(btf, at)? as usize..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    rest.get(..end).map(<[u8]>::to_vec)
}

fn word(btf: &[u8], at: usize) -> Option<u32> {
    btf.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn put(btf: &mut [u8], at: usize, value: u32) -> Option<()> {
    btf.get_mut(at..)?.first_chunk_mut().map(|place| *place = value.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pointers to each name in the order given, then the names' declarations in the order `at`,
    /// and a struct named like one of them.
    fn btf(pointed: &[&str], declared: &[&str]) -> Vec<u8> {
        let (mut types, mut strings) = (Vec::new(), b"\0shared\0".to_vec());
        let first = pointed.len() as u32 + 2;
        let mut push = |words: &[u32]| types.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        for name in pointed {
            let id = declared.iter().position(|other| other == name).unwrap();
            push(&[0, 2 << 24, first + id as u32]);
        }
        push(&[1, 4 << 24, 0]);
        for name in declared {
            let at = if *name == "shared" { 1 } else { strings.len() as u32 };
            push(&[at, 7 << 24, 0]);
            if *name != "shared" {
                strings.extend(name.bytes().chain([0]));
            }
        }
        strings.extend(b"after\0");
        let words = [0x0001_eb9f, 24, 0, types.len(), types.len(), strings.len()];
        words.into_iter().flat_map(|word| (word as u32).to_le_bytes()).chain(types).chain(strings).collect()
    }

    #[test]
    fn gives_the_same_bytes_whatever_order_the_linker_chose() {
        let pointed = ["one", "three", "shared", "sixteen", "one"];
        let wanted = btf(&pointed, &["one", "shared", "sixteen", "three"]);
        for declared in [
            ["one", "shared", "sixteen", "three"],
            ["three", "one", "sixteen", "shared"],
            ["shared", "sixteen", "three", "one"],
            ["sixteen", "three", "shared", "one"],
        ] {
            let mut ordered = btf(&pointed, &declared);
            order_in(&mut ordered).unwrap();
            assert_eq!(ordered, wanted, "{declared:?}");
        }
    }

    #[test]
    fn refuses_what_isnt_whole() {
        let whole = btf(&["one", "two"], &["two", "one"]);
        for end in 0..whole.len() - 6 {
            let _ = order_in(&mut whole[..end].to_vec());
        }
        assert_eq!(order_in(&mut whole[..30].to_vec()), None);
        let mut unknown = whole;
        unknown[24 + 7] = 31;
        assert_eq!(order_in(&mut unknown), None);
    }
}
