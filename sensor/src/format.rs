//! Record to bytes: one file a format, and the table of them. What formats share stands here.

pub mod ecs;
pub mod table;
pub mod text;

use crate::record::{Record, Time};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::fmt;
use std::io;

/// A way to write records.
pub trait Format: fmt::Debug + Send + Sync {
    /// Appends the record to `out` as one whole line, with its end (`\n`) and no other.
    fn write(&self, record: &Record, out: &mut Vec<u8>);
}

/// One row of the table of formats.
#[derive(Debug)]
pub struct Known {
    /// What users call it in options and the configuration.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub sentence: &'static str,
    /// The format itself.
    pub format: &'static dyn Format,
}

/// Every format.
pub static FORMATS: &[Known] = &[
    Known { name: "ecs", sentence: "Elastic Common Schema: one JSON object a line.", format: &ecs::Ecs },
    Known { name: "text", sentence: "A line for a person.", format: &text::Lines { colour: false } },
];

/// The format of that name.
pub fn named(name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().find(|known| known.name == name).map(|known| known.format)
}

/// One flat object of texts as a line of JSON, for catalogues: what describes records is none.
pub fn flat_object(members: &[(&str, &str)]) -> String {
    let mut line = vec![b'{'];
    for (at, (name, value)) in members.iter().enumerate() {
        if at != 0 {
            line.push(b',');
        }
        json_string(name.as_bytes(), &mut line);
        line.push(b':');
        json_string(value.as_bytes(), &mut line);
    }
    line.extend_from_slice(b"}\n");
    String::from_utf8_lossy(&line).into_owned()
}

/// Whether a character could make a terminal or a reader show something else than what is there:
/// control characters (C0, DEL, C1), line separators, and what is invisible or turns the
/// direction of text.
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Appends the bytes as a JSON string, with U+FFFD for what is not UTF-8 and every character that
/// misleads as `\uXXXX`; says whether all was UTF-8.
pub(crate) fn json_string(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    if is_plain(bytes) {
        out.reserve(bytes.len() + 2);
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return true;
    }
    let text = String::from_utf8_lossy(bytes);
    // A vector takes every byte: there is no error to tell.
    let _ = text.serialize(&mut Serializer::with_formatter(&mut *out, Harmless));
    matches!(text, std::borrow::Cow::Borrowed(_))
}

/// Whether a JSON string holds the bytes as they are: printable ASCII, but `"` and `\\`.
fn is_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks();
    // Most texts are short: what doesn't fill the last word is looked at with what stands before.
    words.iter().all(|word| is_plain_word(*word))
        && match bytes.last_chunk() {
            Some(last) => rest.is_empty() || is_plain_word(*last),
            None => rest.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')),
        }
}

/// The same of eight bytes at once.
fn is_plain_word(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let word = u64::from_ne_bytes(word);
    // Below 128, a byte less `least` has its high bit set if it was smaller.
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let beyond = word | word.wrapping_add(ONES);
    (below(word, b' ') | is(b'"') | is(b'\\') | beyond) & HIGH == 0
}

/// Compact JSON that escapes, beyond what JSON asks for, all that misleads.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        if is_plain(fragment.as_bytes()) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut done = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| misleads(*c)) {
            writer.write_all(&fragment.as_bytes()[done..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            done = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[done..])
    }
}

/// The word for an `event.severity`, and the colour in which it is shown (ECMA-48, SGR).
pub(crate) fn severity(severity: u64) -> (&'static str, &'static str) {
    match severity {
        0..=21 => ("low", "36"),
        22..=47 => ("medium", "33"),
        48..=73 => ("high", "31"),
        74.. => ("critical", "1;31"),
    }
}

/// Appends a whole number in decimal.
pub(crate) fn number(number: impl Serialize, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, &number);
}

/// Appends the moment as RFC 3339 in UTC with nine digits after the second's point.
pub(crate) fn rfc3339(time: Time, out: &mut Vec<u8>) {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(9));
    // Years 1677 to 2262 are all within what a timestamp holds.
    let moment = Timestamp::from_nanosecond(i128::from(time.0)).unwrap_or(Timestamp::UNIX_EPOCH);
    let _ = PRINTER.print_timestamp(&moment, out);
}

/// Appends the bytes in base64, with the common alphabet and padding (RFC 4648, section 4).
pub(crate) fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            if digit <= chunk.len() {
                out.push(ALPHABET[(bits >> (18 - 6 * digit)) as usize & 63]);
            } else {
                out.push(b'=');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn json(text: &str) -> String {
        written(|out| assert!(json_string(text.as_bytes(), out)))
    }

    #[test]
    fn formats_are_found_by_name() {
        let names: Vec<_> = FORMATS.iter().map(|known| known.name).collect();
        assert_eq!(names, ["ecs", "text"]);
        assert!(names.iter().all(|name| named(name).is_some()));
        assert!(named("xml").is_none());
    }

    #[test]
    fn json_strings_are_harmless_and_keep_what_they_say() {
        assert_eq!(json("/usr/bin/ls"), r#""/usr/bin/ls""#);
        assert_eq!(json(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(json("\n\x1b[31m\x7f"), r#""\n\u001b[31m\u007f""#);
        assert_eq!(json("a\u{85}\u{202e}\u{2029}é"), r#""a\u0085\u202e\u2029é""#);
        assert_eq!(json("\u{e0041}"), r#""\udb40\udc41""#);
        for c in ('\0'..=char::MAX).step_by(7).chain('\0'..'\u{3000}') {
            let (text, shown) = (format!("x{c}y"), json(&format!("x{c}y")));
            assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
            assert!(!shown.chars().any(misleads), "{shown:?}");
        }
    }

    #[test]
    fn json_strings_say_what_is_not_utf8() {
        let mut out = Vec::new();
        assert!(!json_string(b"a\xff\xe2\x80", &mut out));
        assert_eq!(out, "\"a\u{fffd}\u{fffd}\"".as_bytes());
    }

    #[test]
    fn base64_as_in_the_rfc() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in vectors {
            assert_eq!(written(|out| base64(plain.as_bytes(), out)), coded);
        }
        assert_eq!(written(|out| base64(&[0xfb, 0xff, 0xfe], out)), "+//+");
    }

    #[test]
    fn moments_have_nanoseconds() {
        let shown = |ns| written(|out| rfc3339(Time(ns), out));
        assert_eq!(shown(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(shown(1_709_210_096_000_000_789), "2024-02-29T12:34:56.000000789Z");
        assert_eq!(shown(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(shown(i64::MAX), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(shown(i64::MIN), "1677-09-21T00:12:43.145224192Z");
    }
}
