//! One pass over a text, which copies what stays and skips what is masked. Nothing is looked at twice but a bounded number of times.

use std::borrow::Cow;

use super::{
    MASK, is_path,
    table::{Sort, TOKENS, secret_name},
};

/// How a private key begins, and what its first line holds.
const PEM: &[u8] = b"-----BEGIN ";
const PRIVATE: &[u8] = b"PRIVATE KEY";
/// Longest first line of such a key, and longest name that is looked at.
const PEM_LINE: usize = 80;
/// From how many characters on the user of an address is taken for a token.
const USER_TOKEN: usize = 20;

/// Where a text is.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    /// What was copied so far; nothing as long as nothing was masked.
    out: Option<Vec<u8>>,
    /// Up to where it was copied.
    copied: usize,
}

pub(super) fn text(text: &[u8]) -> Cow<'_, [u8]> {
    let mut scan = Scan { text, at: 0, out: None, copied: 0 };
    let mut name = 0;
    while let Some(byte) = text.get(scan.at) {
        let starts =
            scan.at == 0 || text.get(scan.at - 1).is_none_or(|before| !before.is_ascii_alphanumeric());
        if starts && (scan.private_key() || scan.token()) {
            name = scan.at;
            continue;
        }
        match byte {
            b':' if text.get(scan.at..).is_some_and(|rest| rest.starts_with(b"://")) => scan.address(),
            b'=' | b':' => scan.value(name, *byte),
            b'"' | b'\'' if matches!(text.get(scan.at + 1), Some(b':' | b'=')) => {
                // The end of a name in quotes.
                scan.at += 1;
                continue;
            }
            byte if byte.is_ascii_alphanumeric() || b"_-.".contains(byte) => {
                scan.at += 1;
                continue;
            }
            _ => scan.at += 1,
        }
        name = scan.at;
    }
    match scan.out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.extend_from_slice(text.get(scan.copied..).unwrap_or_default());
            Cow::Owned(out)
        }
    }
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Masks from there to there, and goes on after it.
    fn mask(&mut self, from: usize, to: usize) {
        let out = self.out.get_or_insert_default();
        out.extend_from_slice(self.text.get(self.copied..from).unwrap_or_default());
        out.extend_from_slice(MASK);
        (self.at, self.copied) = (to, to);
    }

    /// How far it goes from there until one of these, or the end.
    fn until(&self, from: usize, ends: &[u8]) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        from + rest.iter().position(|byte| ends.contains(byte)).unwrap_or(rest.len())
    }

    /// At the sign after what may be a name that began there.
    fn value(&mut self, name: usize, sign: u8) {
        let named = self.text.get(name..self.at).unwrap_or_default();
        let named = named.strip_suffix(b"\"").or(named.strip_suffix(b"'")).unwrap_or(named);
        let dashes = named.iter().take_while(|byte| **byte == b'-').count();
        let named = named.get(dashes..).unwrap_or_default();
        self.at += 1;
        let Some(sort) = secret_name(named) else { return };
        let blanks =
            if sign == b':' { self.rest().iter().take_while(|byte| **byte == b' ').count() } else { 0 };
        let mut from = self.at + blanks;
        // Before its end is looked for: that isn't reached then, and would be looked for again and again.
        if sort == Sort::MayBeFile && is_path(self.text.get(from..).unwrap_or_default()) {
            return;
        }
        let to = match self.text.get(from) {
            Some(quote @ (b'"' | b'\'')) => {
                from += 1;
                self.until(from, &[*quote])
            }
            // A header's goes on to the end of its line.
            _ if sign == b':' => self.until(from, b"\n\"',}"),
            _ => self.until(from, b"&;, \t\n\"'}"),
        };
        match to > from {
            true => self.mask(from, to),
            false => self.at = from,
        }
    }

    /// At the `://` of an address: who is named before the host.
    fn address(&mut self) {
        let from = self.at + 3;
        let end = self.until(from, b"/?# \t\n\"'");
        let host = self.text.get(from..end).unwrap_or_default();
        self.at = from;
        let Some(user) = host.iter().rposition(|byte| *byte == b'@') else { return };
        match host.get(..user).and_then(|user| user.iter().position(|byte| *byte == b':')) {
            Some(colon) => self.mask(from + colon + 1, from + user),
            None if user >= USER_TOKEN => self.mask(from, from + user),
            None => {}
        }
        self.at = self.at.max(end);
    }

    /// Whether a token begins here, which is masked then.
    fn token(&mut self) -> bool {
        let rest = self.rest();
        let Some((_, least)) = TOKENS.iter().find(|(start, _)| rest.starts_with(start)) else { return false };
        let is = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.+/=".contains(byte);
        let length = rest.iter().take_while(|byte| is(byte)).count();
        if length < *least {
            return false;
        }
        self.mask(self.at, self.at + length);
        true
    }

    /// The same of a private key: what follows is all masked.
    fn private_key(&mut self) -> bool {
        let rest = self.rest();
        let line = rest.get(..rest.len().min(PEM_LINE)).unwrap_or_default();
        let is = line.starts_with(PEM) && line.windows(PRIVATE.len()).any(|part| part == PRIVATE);
        if is {
            self.mask(self.at, self.text.len());
        }
        is
    }
}
