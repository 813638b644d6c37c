//! A message of RFC 5424.

use std::io::Write as _;

use super::super::Parcel;
use crate::{config::Facility, format::rfc3339, record::Time};

/// Severities (RFC 5424, table 2).
const CRITICAL: u8 = 2;
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;

/// How long parts of the head may be.
const HOST_MOST: usize = 255;
const ID_MOST: usize = 32;
/// The mark of UTF-8.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// Writes messages.
pub(super) struct Writer {
    facility: u8,
    pid: u32,
    json: bool,
}

impl Writer {
    pub(super) fn new(facility: Facility, json: bool) -> Self {
        Self { facility: facility as u8, pid: std::process::id(), json }
    }

    /// Appends the event as a message.
    pub(super) fn write(&self, parcel: &Parcel<'_>, out: &mut Vec<u8>) {
        let priority = self.facility * 8 + severity(parcel.severity);
        // A vector takes every byte: there is no error to tell.
        let _ = write!(out, "<{priority}>1 ");
        let start = out.len();
        rfc3339(Time(parcel.time), out);
        // Six digits of a second are the most; nine and the Z are there.
        if out.len() > start + 4 {
            out.truncate(out.len() - 4);
            out.push(b'Z');
        }
        out.push(b' ');
        printable(parcel.host, HOST_MOST, out);
        let _ = write!(out, " sensor {} ", self.pid);
        printable(parcel.action, ID_MOST, out);
        out.extend_from_slice(b" - ");
        match std::str::from_utf8(parcel.bytes) {
            _ if parcel.bytes.is_ascii() => out.extend_from_slice(parcel.bytes),
            Ok(text) if self.json => escaped(text, out),
            _ => {
                out.extend_from_slice(BOM);
                out.extend_from_slice(String::from_utf8_lossy(parcel.bytes).as_bytes());
            }
        }
    }
}

/// An alert's severity, and of what is none that it informs.
fn severity(severity: u64) -> u8 {
    match severity {
        0 => INFORMATIONAL,
        1..=21 => NOTICE,
        22..=47 => WARNING,
        48..=73 => ERROR,
        74.. => CRITICAL,
    }
}

/// Printable ASCII without spaces, `-` for nothing.
fn printable(text: &str, most: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend(text.bytes().filter(u8::is_ascii_graphic).take(most));
    if out.len() == start {
        out.push(b'-');
    }
}

/// JSON in ASCII: what isn't stands in strings, where it has an escape. So no mark of UTF-8 is needed before it, at which readers
/// of JSON stumble.
fn escaped(json: &str, out: &mut Vec<u8>) {
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c as u8);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: bool, host: &str, severity: u64, bytes: &str) -> String {
        let parcel = Parcel {
            id: "1",
            time: 1_709_210_096_123_456_789,
            action: "exec",
            severity,
            host,
            bytes: bytes.as_bytes(),
        };
        let mut out = Vec::new();
        Writer { facility: 16, pid: 7, json }.write(&parcel, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_message() {
        assert_eq!(
            written(true, "web-1", 0, r#"{"a":1}"#),
            r#"<134>1 2024-02-29T12:34:56.123456Z web-1 sensor 7 exec - {"a":1}"#
        );
    }

    #[test]
    fn severities_are_those_of_alerts() {
        for (severity, priority) in [(0, 134), (21, 133), (47, 132), (73, 131), (99, 130), (u64::MAX, 130)] {
            assert!(written(true, "h", severity, "{}").starts_with(&format!("<{priority}>1 ")));
        }
    }

    #[test]
    fn json_is_sent_in_ascii_and_text_says_that_it_is_utf8() {
        assert!(
            written(true, "h", 0, "{\"a\":\"é\u{1f600}\"}").ends_with(" - {\"a\":\"\\u00e9\\ud83d\\ude00\"}")
        );
        assert!(written(false, "h", 0, "é").ends_with(" - \u{feff}é"));
        assert!(written(false, "h", 0, "e").ends_with(" - e"));
    }

    #[test]
    fn a_head_holds_what_it_may() {
        assert!(written(true, "", 0, "{}").contains("Z - sensor"));
        assert!(written(true, "a b\u{e9}\nc", 0, "{}").contains("Z abc sensor"));
        assert!(written(true, &"x".repeat(300), 0, "{}").contains(&format!("Z {} sensor", "x".repeat(255))));
    }
}
