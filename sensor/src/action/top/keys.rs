//! What a terminal sends for keys.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// The key of that name.
    Up,
    /// The key of that name.
    Down,
    /// The key of that name.
    Left,
    /// The key of that name.
    Right,
    /// The key of that name.
    PageUp,
    /// The key of that name.
    PageDown,
    /// The key of that name.
    Home,
    /// The key of that name.
    End,
    /// The key of that name.
    Enter,
    /// The key of that name.
    Escape,
    /// The key of that name.
    Backspace,
    /// Ctrl-C, Ctrl-D.
    Interrupt,
}

/// Longest sequence that is waited for; what is longer is none of ours.
const LONGEST: usize = 16;

/// Bytes to keys; a sequence that comes in pieces is waited for.
#[derive(Debug, Default)]
pub struct Keys {
    begun: Vec<u8>,
}

impl Keys {
    /// The keys in what was read.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.begun.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.begun);
        let (mut rest, mut keys) = (all.as_slice(), Vec::new());
        while !rest.is_empty() {
            match first(rest) {
                Some((key, size)) => {
                    keys.extend(key);
                    rest = rest.get(size.max(1)..).unwrap_or(&[]);
                }
                None => {
                    if rest.len() <= LONGEST {
                        self.begun = rest.to_vec();
                    }
                    break;
                }
            }
        }
        keys
    }
}

/// The first key and its size; a key that means nothing here is none, and nothing at all was not sent whole.
fn first(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let (byte, rest) = bytes.split_first()?;
    let key = match byte {
        // By itself it is the key; no terminal sends a sequence with a pause after its first byte.
        0x1b => return if rest.is_empty() { Some((Some(Key::Escape), 1)) } else { sequence(rest) },
        b'\r' | b'\n' => Some(Key::Enter),
        0x7f | 0x08 => Some(Key::Backspace),
        0x03 | 0x04 => Some(Key::Interrupt),
        0..0x20 => None,
        _ => return character(bytes),
    };
    Some((key, 1))
}

/// After an escape: `[` or `O`, numbers, and a letter or `~`.
fn sequence(rest: &[u8]) -> Option<(Option<Key>, usize)> {
    if !matches!(rest.first(), Some(b'[' | b'O')) {
        return Some((Some(Key::Escape), 1));
    }
    let body = rest.get(1..)?;
    let end = body.iter().position(|byte| matches!(byte, 0x40..=0x7e))?;
    let key = match (body.get(..end)?, body.get(end)?) {
        (_, b'A') => Some(Key::Up),
        (_, b'B') => Some(Key::Down),
        (_, b'C') => Some(Key::Right),
        (_, b'D') => Some(Key::Left),
        (_, b'H') | (b"1" | b"7", b'~') => Some(Key::Home),
        (_, b'F') | (b"4" | b"8", b'~') => Some(Key::End),
        (b"5", b'~') => Some(Key::PageUp),
        (b"6", b'~') => Some(Key::PageDown),
        _ => None,
    };
    Some((key, end + 3))
}

fn character(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let chunk = bytes.utf8_chunks().next()?;
    if let Some(c) = chunk.valid().chars().next() {
        return Some(((!crate::format::misleads(c)).then_some(Key::Char(c)), c.len_utf8()));
    }
    let invalid = chunk.invalid().len();
    // What is cut off at the end may go on in the next read.
    let cut = invalid == bytes.len() && std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none());
    if cut { None } else { Some((None, invalid)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_whole_or_in_pieces() {
        let mut keys = Keys::default();
        assert_eq!(
            keys.read(b"q\x1b[A\x1bOB\r\x7f"),
            [Key::Char('q'), Key::Up, Key::Down, Key::Enter, Key::Backspace]
        );
        assert_eq!(keys.read(b"\x1b"), [Key::Escape]);
        assert_eq!(keys.read(b"\x1b["), []);
        assert_eq!(keys.read(b"6~j"), [Key::PageDown, Key::Char('j')]);
        assert_eq!(keys.read("é".as_bytes().get(..1).unwrap()), []);
        assert_eq!(keys.read("é".as_bytes().get(1..).unwrap()), [Key::Char('é')]);
        assert_eq!(keys.read(b"\xff\x00x\x03"), [Key::Char('x'), Key::Interrupt]);
        assert_eq!(keys.read(b"\x1b[1;5P/"), [Key::Char('/')]);
    }

    #[test]
    fn nothing_is_kept_for_ever() {
        let mut keys = Keys::default();
        keys.read(b"\x1b[");
        for _ in 0..100 {
            keys.read(b"11111111");
        }
        assert!(keys.begun.len() <= LONGEST + 8);
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                Keys::default().read(&[first, second]);
            }
        }
    }
}
