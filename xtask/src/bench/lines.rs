//! Reads of an event's line what measuring needs, without reading it all.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::error::{Error, Result};

/// The action of an event, and the executable of its process, when the line has them.
pub(crate) fn action_and_executable(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (action, rest) = text_after(line, b"\"action\":\"")?;
    let (executable, _) = text_after(rest, b"\"executable\":\"")?;
    Some((action, executable))
}

/// The text after the first `key`, to the next quote, and what follows. Paths of programs to
/// measure with have no quotes.
pub(crate) fn text_after<'a>(line: &'a [u8], key: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (first, _) = key.split_first()?;
    let mut rest = line;
    loop {
        let at = rest.iter().position(|byte| byte == first)?;
        rest = rest.get(at..)?;
        if let Some(text) = rest.strip_prefix(key) {
            let end = text.iter().position(|byte| *byte == b'"')?;
            return Some(text.split_at(end));
        }
        rest = rest.get(1..)?;
    }
}

/// How many execs and exits of a program are in a file of events.
pub(crate) fn count(events: &Path, program: &Path) -> Result<(u64, u64)> {
    let file = File::open(events).map_err(Error::file("open", events))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let program = program.as_os_str().as_encoded_bytes();
    let (mut execs, mut exits, mut line) = (0, 0, Vec::new());
    while reader.read_until(b'\n', &mut line).map_err(Error::file("read", events))? > 0 {
        match action_and_executable(&line) {
            Some((b"exec", executable)) if executable == program => execs += 1,
            Some((b"exit", executable)) if executable == program => exits += 1,
            _ => {}
        }
        line.clear();
    }
    Ok((execs, exits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_comes_before_its_parent() {
        let line = br#"{"event":{"action":"exec"},"process":{"pid":1,"executable":"/a","parent":{"executable":"/b"}}}"#;
        assert_eq!(action_and_executable(line), Some((&b"exec"[..], &b"/a"[..])));
        assert_eq!(action_and_executable(br#"{"event":{"action":"loss"}}"#), None);
        assert_eq!(action_and_executable(br#"{"action":"torn"#), None);
    }

    #[test]
    fn only_whole_keys_count() {
        assert_eq!(text_after(b"\"\"a\":\"b\"c", b"\"a\":\""), Some((&b"b"[..], &b"\"c"[..])));
        assert_eq!(text_after(b"\"a\":1", b"\"a\":\""), None);
        assert_eq!(text_after(b"", b"\"a\":\""), None);
    }
}
