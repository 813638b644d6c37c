//! Lists of hashes: one a line, as written by hand, by `sha256sum` or by a feed; read through, never kept in memory.

use std::{
    collections::HashSet,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use crate::{record::Text, trusted};

/// Longest line that is looked at; of a longer one, its beginning.
const LONGEST: u64 = 4096;

/// What a list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Which of those that were asked for are on it.
    pub listed: HashSet<Text>,
    /// Lines that are neither a SHA-256, nor empty, nor a remark.
    pub odd_lines: u64,
}

/// Which of these hashes stand on a list.
///
/// # Errors
/// When it can't be read, or others than root and we could have written it.
pub fn search(path: &Path, wanted: &[Text]) -> Result<Found, String> {
    let file = trusted::open(path, 0o022, "write to it")?;
    search_in(BufReader::with_capacity(1 << 16, file), wanted).map_err(|error| error.to_string())
}

fn search_in(mut from: impl BufRead, wanted: &[Text]) -> io::Result<Found> {
    let mut found = Found::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(found);
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == LONGEST {
            skip_line(&mut from)?;
        }
        let mut words = line.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b',' | b';'));
        let Some(word) = words.find(|word| !word.is_empty()) else { continue };
        // `sha256sum` marks a line whose name has odd characters.
        let word = word.strip_prefix(b"\\").unwrap_or(word);
        if word.len() == 64 && word.iter().all(u8::is_ascii_hexdigit) {
            let is = |text: &&Text| text.as_bytes().eq_ignore_ascii_case(word);
            found.listed.extend(wanted.iter().find(is).cloned());
        } else if !word.starts_with(b"#") {
            found.odd_lines += 1;
        }
    }
}

fn skip_line(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let held = from.fill_buf()?;
        let (used, end) = match held.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (held.len(), held.is_empty()),
        };
        from.consume(used);
        if end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_found_however_a_list_is_written() {
        let hash = |digit: &str| Text::from(digit.repeat(64));
        let wanted = ["a", "b", "c", "d", "e"].map(hash);
        let lines = format!(
            "# a list\n\n{}\r\n  {}  *name of a file\n\\{}  odd\nnothing\n{}{}\n{},x\n{}",
            "A".repeat(64),
            "b".repeat(64),
            "c".repeat(64),
            "d".repeat(64),
            "d",
            "1".repeat(64),
            "e".repeat(64),
        );
        let found = search_in(lines.as_bytes(), &wanted).unwrap();
        assert_eq!(found.listed, ["a", "b", "c", "e"].map(hash).into());
        assert_eq!(found.odd_lines, 2);
        let mut long = vec![b'x'; 10_000];
        long.extend(b"\n".iter().chain("f".repeat(64).as_bytes()));
        let found = search_in(&long[..], &[hash("f")]).unwrap();
        assert_eq!((found.listed.len(), found.odd_lines), (1, 1));
        assert_eq!(search_in(&b"\xff\xfe\n"[..], &wanted).unwrap().odd_lines, 1);
    }
}
