//! Reads of an event's line what measuring needs, without reading it all.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

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

/// When an event was, by the epoch: a line begins with it.
pub(crate) fn time(line: &[u8]) -> Option<Duration> {
    let text = line.strip_prefix(b"{\"@timestamp\":\"")?;
    let mut numbers = text.split(|byte| !byte.is_ascii_digit());
    let mut digits = || numbers.next().and_then(|digits| std::str::from_utf8(digits).ok());
    let mut number = || digits()?.parse::<u64>().ok();
    let (year, month, day) = (number()?, number()?, number()?);
    let (hour, minute, second) = (number()?, number()?, number()?);
    let fraction: u32 = format!("{:0<9}", digits()?).parse().ok()?;
    let seconds = ((days(year, month, day)? * 24 + hour) * 60 + minute) * 60 + second;
    Some(Duration::new(seconds, fraction))
}

/// Days from the epoch to a date.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years that begin in March have their odd day at their end.
    let (year, month) = match month {
        1..3 => (year.checked_sub(1)?, month + 9),
        _ => (year, month.checked_sub(3)?),
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    days.checked_sub(719_469)
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

    #[test]
    fn times_are_read() {
        let at = |text: &str| time(format!("{{\"@timestamp\":\"{text}\",").as_bytes());
        assert_eq!(at("1970-01-01T00:00:00.5Z"), Some(Duration::from_millis(500)));
        assert_eq!(at("2024-02-29T12:34:56.123456789Z"), Some(Duration::new(1_709_210_096, 123_456_789)));
        assert_eq!(at("2026-11-27T03:55:46.000000001Z"), Some(Duration::new(1_795_751_746, 1)));
        assert_eq!(at("yesterday"), None);
    }
}
