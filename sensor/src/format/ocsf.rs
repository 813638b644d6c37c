//! OCSF: the Open Cybersecurity Schema Framework, one JSON object a line (<https://schema.ocsf.io/1.8.0>).
//!
//! A field stands where the dictionary says. What the framework has no place for is under `unmapped`, by the name that it
//! has in the dictionary; so are, under `sensor.raw.<name>` in base64, the exact bytes of texts that are not UTF-8.

use std::sync::LazyLock;

use super::{Format, Nest, array, base64, quoted, value};
use crate::field::{Field, Kind};
use crate::record::{Record, Text, Value};

mod class;
mod place;
mod source;

use class::{Class, Subject};
use place::Layout;

/// The framework's format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ocsf;

impl Format for Ocsf {
    fn write(&self, record: &Record, out: &mut Vec<u8>) {
        static LAYOUTS: LazyLock<Vec<Layout>> =
            LazyLock::new(|| Subject::ALL.iter().map(|subject| Layout::new(*subject)).collect());
        let class = class::of(record);
        let known = LAYOUTS.iter().find(|layout| layout.subject == class.subject);
        // The last takes whatever there is no other for.
        let Some(layout) = known.or(LAYOUTS.last()) else { return };
        out.push(b'{');
        members(layout, class, record, out);
        unmapped(layout, record, out);
        out.extend_from_slice(b"}\n");
    }
}

/// Writes what has a place.
fn members(layout: &'static Layout, class: &Class, record: &Record, out: &mut Vec<u8>) {
    let mut nest = Nest::new(&layout.plan);
    for (at, source) in layout.sources.iter().enumerate() {
        if source.has(record) {
            nest.key(at, out);
            source.write(record, class, out);
        }
    }
    nest.close(out);
}

/// Writes what has none.
fn unmapped(layout: &Layout, record: &Record, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(b",\"unmapped\":{");
    let empty = out.len();
    for (field, held) in record.iter().filter(|(field, _)| field.kind() != Kind::Raw) {
        if layout.lacks(field) {
            key(b"", field.name(), out);
            value(field, held, out, element);
        }
        raw(field.name(), held, out);
    }
    match out.len() == empty {
        true => out.truncate(start),
        false => out.push(b'}'),
    }
}

/// Writes a key of a flat object.
fn key(prefix: &[u8], name: &str, out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    quoted(|out| out.extend([prefix, name.as_bytes()].concat()), out);
    out.push(b':');
}

/// Writes an element of an array of objects, by the short names of its fields.
fn element(record: &Record, _: Field, out: &mut Vec<u8>) -> bool {
    out.push(b'{');
    for (field, held) in record.iter() {
        key(b"", field.short(), out);
        value(field, held, out, element);
        raw(field.short(), held, out);
    }
    out.push(b'}');
    true
}

/// Writes the exact bytes of texts that are not UTF-8; null for those of an array that are.
fn raw(name: &str, held: &Value, out: &mut Vec<u8>) {
    let exact = |text: &Text, out: &mut Vec<u8>| quoted(|out| base64(text.as_bytes(), out), out);
    match held {
        Value::Text(text) if !text.is_utf8() => {
            key(b"sensor.raw.", name, out);
            exact(text, out);
        }
        Value::Texts(texts) if !texts.iter().all(Text::is_utf8) => {
            key(b"sensor.raw.", name, out);
            array(texts.iter(), out, |text, out| {
                match text.is_utf8() {
                    true => out.extend_from_slice(b"null"),
                    false => exact(text, out),
                }
                true
            });
        }
        _ => {}
    }
}

/// The bytes of a text or word; none of anything else.
fn word(record: &Record, field: Field) -> &[u8] {
    match record.get(field) {
        Some(Value::Text(text)) => text.as_bytes(),
        Some(Value::Word(word)) => word.as_bytes(),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Time;
    use serde_json::{Value as Json, json};

    fn written(record: &Record) -> Json {
        let mut out = Vec::new();
        Ocsf.write(record, &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        assert!(!out.iter().any(u8::is_ascii_control), "{}", out.escape_ascii());
        serde_json::from_slice(&out).unwrap_or_else(|why| panic!("{why}: {}", out.escape_ascii()))
    }

    fn process(action: &'static str) -> Record {
        let mut record = Record::new();
        record.set(Field::EventAction, action);
        record.set(Field::Timestamp, Time(1_700_000_000_123_456_789));
        record.set(Field::ProcessPid, 7_u32);
        record.set(Field::ProcessExecutable, Text::copy_from(b"/tmp/\xff\x1b"));
        record.set(Field::ProcessHashSha256, "ab");
        record.set(Field::ProcessParentPid, 1_u32);
        record.set(Field::UserId, Value::Id(0));
        record.set(Field::ProcessUserId, Value::Id(0));
        record
    }

    #[test]
    fn who_begins_a_process_is_its_actor() {
        let line = written(&process("exec"));
        assert_eq!(line["class_uid"], 1007);
        assert_eq!(
            (&line["type_uid"], &line["type_name"]),
            (&json!(100_701), &json!("Process Activity: Launch"))
        );
        assert_eq!(line["actor"], json!({ "process": { "pid": 1 } }));
        assert_eq!(line["process"]["pid"], 7);
        assert_eq!(line["process"]["euid"], 0);
        assert_eq!(line["process"]["user"]["uid"], "0");
        assert_eq!(line["process"]["file"]["hashes"][0]["algorithm"], "SHA-256");
        assert_eq!((&line["time"], &line["severity_id"]), (&json!(1_700_000_000_123_u64), &json!(1)));
        assert_eq!(line["time_dt"], "2023-11-14T22:13:20.123456789Z");
        let line = written(&process("exit"));
        assert_eq!(line["actor"]["process"]["pid"], 7);
    }

    #[test]
    fn a_finding_has_its_evidence() {
        let mut record = process("exe_deleted");
        record.set(Field::EventSeverity, 73_u64);
        record.set(Field::FilePath, "/tmp/x");
        let line = written(&record);
        assert_eq!(line["evidences"][0]["file"], json!({ "name": "x", "path": "/tmp/x", "type_id": 1 }));
        assert_eq!(line["evidences"][0]["actor"]["process"]["pid"], 7);
        assert_eq!((&line["severity"], &line["is_alert"]), (&json!("High"), &json!(true)));
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let line = written(&process("exec"));
        assert_eq!(line["process"]["file"]["path"], "/tmp/\u{fffd}\u{1b}");
        assert_eq!(line["unmapped"], json!({ "sensor.raw.process.executable": "L3RtcC//Gw==" }));
    }

    #[test]
    fn amounts_are_counted_from_here() {
        let mut record = Record::new();
        record.set(Field::EventAction, "socket_connect");
        record.set(Field::NetworkTransport, "tcp");
        record.set(Field::NetworkDirection, "ingress");
        record.set(Field::SourceBytes, 10_u64);
        record.set(Field::DestinationBytes, 3_u64);
        record.set(Field::EventOutcome, "failure");
        let line = written(&record);
        assert_eq!(line["traffic"], json!({ "bytes": 13, "bytes_in": 10, "bytes_out": 3 }));
        assert_eq!((&line["activity_id"], &line["status_id"]), (&json!(4), &json!(2)));
    }
}
