//! The bytes of netlink: messages with a head, and attributes in them (`include/uapi/linux/netlink.h`).

use nix::errno::Errno;

use super::NetlinkError;

/// `NLMSG_ERROR`, `NLMSG_DONE`.
pub const ERROR: u16 = 2;
/// See `ERROR`.
pub const DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
pub const DUMP: u16 = 0x301;
/// `NLM_F_REQUEST | NLM_F_ACK`.
pub const COMMAND: u16 = 0x5;
/// `NLM_F_DUMP_INTR`: it changed while it was told.
const INTERRUPTED: u16 = 0x10;
/// `NLA_TYPE_MASK`: the other bits say how the attribute is told.
const TYPE: u16 = 0x3fff;
/// Size of `nlmsghdr`.
const HEAD: usize = 16;

/// The bytes are no such message, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: u16,
    /// The number of the question.
    pub sequence: u32,
    /// What is told changed while it was told.
    pub interrupted: bool,
    /// What follows its head.
    pub body: &'a [u8],
}

/// A message with its head.
#[must_use]
pub fn build(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend([kind, flags].into_iter().flat_map(u16::to_ne_bytes));
    bytes.extend([sequence, 0].into_iter().flat_map(u32::to_ne_bytes));
    bytes.extend(body);
    bytes
}

/// The messages in what was received at once; damage ends it.
pub fn split(mut bytes: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let Some((message, rest)) = cut(bytes, u32_at(bytes, 0).map(|len| len as usize), HEAD) else {
            bytes = &[];
            return Some(Err(Malformed));
        };
        bytes = rest;
        Some(understand(message).ok_or(Malformed))
    })
}

fn understand(message: &[u8]) -> Option<Message<'_>> {
    Some(Message {
        kind: u16_at(message, 4)?,
        sequence: u32_at(message, 8)?,
        interrupted: u16_at(message, 6)? & INTERRUPTED != 0,
        body: message.get(HEAD..)?,
    })
}

/// How an answer ended: its last message carries an error, 0 or nothing for none.
pub(super) fn end(last: Message<'_>) -> Result<(), NetlinkError> {
    match u32_at(last.body, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        None if last.kind == DONE => Ok(()),
        None => Err(NetlinkError::Malformed),
        Some(code) => Err(NetlinkError::Refused(Errno::from_raw(code.saturating_neg()))),
    }
}

/// The attributes in these bytes, each its kind and value; damage ends it.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let first = cut(bytes, u16_at(bytes, 0).map(usize::from), 4);
        let Some(((kind, value), rest)) =
            first.and_then(|(one, rest)| Some(((u16_at(one, 2)? & TYPE, one.get(4..)?), rest)))
        else {
            bytes = &[];
            return Some(Err(Malformed));
        };
        bytes = rest;
        Some(Ok((kind, value)))
    })
}

/// The value of the first attribute of a kind, if all of them are whole.
pub fn attribute(bytes: &[u8], wanted: u16) -> Result<Option<&[u8]>, Malformed> {
    let mut found = None;
    for attribute in attributes(bytes) {
        let (kind, value) = attribute?;
        if kind == wanted && found.is_none() {
            found = Some(value);
        }
    }
    Ok(found)
}

/// What has this length with its head, and what follows at the next word.
fn cut(bytes: &[u8], len: Option<usize>, head: usize) -> Option<(&[u8], &[u8])> {
    let len = len.filter(|len| *len >= head)?;
    let (first, _) = bytes.split_at_checked(len)?;
    Some((first, bytes.get(len.next_multiple_of(4)..).unwrap_or(&[])))
}

/// A word of 16 bits there, in the host's order.
#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_ne_bytes(*word))
}

/// A word of 16 bits there, in the network's order.
#[must_use]
pub fn be16_at(bytes: &[u8], at: usize) -> Option<u16> {
    u16_at(bytes, at).map(u16::from_be)
}

/// A word of 32 bits there, in the host's order.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

/// A word of 32 bits there, in the network's order.
#[must_use]
pub fn be32_at(bytes: &[u8], at: usize) -> Option<u32> {
    u32_at(bytes, at).map(u32::from_be)
}

/// Attributes as the kernel lays them out; none of them is longer than a length can say.
#[must_use]
pub fn attributes_of(all: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in all {
        bytes.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_is_split_again_and_a_cut_is_noticed() {
        let body = attributes_of(&[(1, b"abc"), (2 | 0x8000, b""), (1, b"last")]);
        let two = [build(7, DUMP, 3, &body), build(DONE, INTERRUPTED, 3, &[0; 4])].concat();
        let all: Vec<_> = split(&two).map(Result::unwrap).collect();
        assert_eq!((all[0].kind, all[0].sequence, all[0].interrupted), (7, 3, false));
        assert_eq!((all[1].kind, all[1].interrupted, end(all[1])), (DONE, true, Ok(())));
        assert_eq!(attribute(all[0].body, 1), Ok(Some(&b"abc"[..])), "the first");
        assert_eq!(attribute(all[0].body, 2), Ok(Some(&b""[..])), "without its bits");
        assert_eq!(attribute(all[0].body, 3), Ok(None));
        for len in 1..two.len() {
            let cut: Vec<_> = split(&two[..len]).collect();
            assert!(cut.iter().filter(|one| one.is_ok()).count() <= 1, "{len}");
        }
        for len in 1..body.len() {
            let cut: Vec<_> = attributes(&body[..len]).collect();
            assert!(cut.len() <= 3 && cut.iter().rev().skip(1).all(Result::is_ok), "{len}");
        }
    }

    #[test]
    fn lengths_that_lie_end_it() {
        for len in [0_u16, 3, 9, u16::MAX] {
            let mut bytes = attributes_of(&[(1, b"abcd")]);
            bytes[..2].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(attribute(&bytes, 1), Err(Malformed), "{len}");
        }
        let ends = |code: i32| end(split(&build(ERROR, 0, 1, &code.to_ne_bytes())).next().unwrap().unwrap());
        assert_eq!(ends(-1), Err(NetlinkError::Refused(Errno::EPERM)));
        assert!(matches!(ends(i32::MIN), Err(NetlinkError::Refused(_))));
        assert_eq!(ends(0), Ok(()));
    }
}
