//! JSON as every format of it is written: strings that can't mislead, numbers, moments, bytes, values.

use super::misleads;
use crate::field::{Field, Kind};
use crate::record::{Record, Time, Value};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io;

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

/// Writes an element of the array of objects that this field holds, and says whether all its texts were UTF-8.
pub(crate) type Element = fn(&Record, Field, &mut Vec<u8>) -> bool;

/// Writes a value and says whether all its texts were UTF-8.
pub(crate) fn value(field: Field, value: &Value, out: &mut Vec<u8>, element: Element) -> bool {
    match value {
        Value::U64(held) => whole(field, |out| number(held, out), out),
        Value::I64(held) => whole(field, |out| number(held, out), out),
        Value::Id(held) => quoted(|out| number(held, out), out),
        Value::Bool(held) => out.extend_from_slice(if *held { b"true" } else { b"false" }),
        Value::Time(held) => quoted(|out| rfc3339(*held, out), out),
        Value::Text(text) => return json_string(text.as_bytes(), out),
        Value::Word(word) => return json_string(word.as_bytes(), out),
        Value::Texts(texts) => {
            return array(texts.iter(), out, |text, out| json_string(text.as_bytes(), out));
        }
        Value::Words(words) => {
            return array(words.iter(), out, |word, out| json_string(word.as_bytes(), out));
        }
        Value::Flags(flags) => match flags.all_quoted() {
            Some(all) => {
                out.push(b'[');
                out.extend_from_slice(all.strip_suffix(',').unwrap_or(all).as_bytes());
                out.push(b']');
            }
            None => return array(flags.words(), out, |word, out| json_string(word.as_bytes(), out)),
        },
        Value::Records(records) => {
            return array(records.iter(), out, |record, out| element(record, field, out));
        }
    }
    true
}

/// Writes a number; where the schema wants a keyword, as a string.
fn whole(field: Field, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    match field.kind() {
        Kind::Id | Kind::Ip | Kind::Keyword | Kind::Keywords => quoted(write, out),
        Kind::Long | Kind::Boolean | Kind::Date | Kind::Objects | Kind::Raw => write(out),
    }
}

/// Writes something between quotes.
pub(crate) fn quoted(write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// Writes an array and says whether `write` said yes to all elements.
pub(crate) fn array<T>(
    items: impl Iterator<Item = T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>) -> bool,
) -> bool {
    let mut all = true;
    out.push(b'[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        all &= write(item, out);
    }
    out.push(b']');
    all
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
