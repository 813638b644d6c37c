//! ECS: one JSON object a line, nested from the dotted names.
//!
//! A text that is not UTF-8 has U+FFFD where bytes could not be shown, and its exact bytes in
//! base64 under `sensor.raw.<the field's whole name>`. There, an array has as many elements as the
//! field's own, with null for those that were UTF-8; an object in an array has only the members
//! that were not.

use super::{Format, Nest, array, base64, quoted, value};
use crate::field::{Field, Kind};
use crate::record::{Part, Record, Stretch, Value};

mod nest;
mod read;
mod whose;

use nest::plan;
pub use read::{ReadError, read};
pub use whose::{Whose, whose};

/// The version of the schema that the fields are those of.
pub const ECS_VERSION: &str = "9.4.0";

/// The format of the Elastic Common Schema.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ecs;

impl Format for Ecs {
    fn write(&self, record: &Record, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut nest = Nest::new(plan(None));
        if !members(record, None, &mut nest, out) {
            nest.key(Field::SensorRaw as usize, out);
            raw_object(record, None, out);
        }
        nest.close(out);
        out.extend_from_slice(b"}\n");
    }
}

/// Writes all fields, of the line or of an element of this array, and says whether all their texts were UTF-8.
fn members(record: &Record, array: Option<Field>, nest: &mut Nest, out: &mut Vec<u8>) -> bool {
    let mut utf8 = true;
    for part in record.parts() {
        utf8 &= match part {
            Part::Field(field, held) => member(field, held, nest, out),
            Part::Stretch(stretch) => members_of(stretch, array, nest, out),
        };
    }
    utf8
}

/// Writes a field, if it has a place of its own, and says whether all its texts were UTF-8.
fn member(field: Field, held: &Value, nest: &mut Nest, out: &mut Vec<u8>) -> bool {
    if field.kind() == Kind::Raw {
        return true;
    }
    nest.key(field as usize, out);
    value(field, held, out, object)
}

/// The same of a stretch: wherever it is written, it is the same after its first key.
fn members_of(stretch: &Stretch, array: Option<Field>, nest: &mut Nest, out: &mut Vec<u8>) -> bool {
    let write = |nest: &mut Nest, out: &mut Vec<u8>| {
        stretch.iter().fold(true, |utf8, (field, held)| utf8 & member(field, held, nest, out))
    };
    // The raw field is the last of all, and not written as the others.
    if array.is_some() || stretch.last().kind() == Kind::Raw {
        return write(nest, out);
    }
    let (written, utf8) = stretch.written(|| {
        let (mut key, mut all) = (Vec::new(), Vec::new());
        Nest::new(plan(None)).key(stretch.first() as usize, &mut key);
        let utf8 = write(&mut Nest::new(plan(None)), &mut all);
        (all.split_off(key.len()), utf8)
    });
    nest.key(stretch.first() as usize, out);
    out.extend_from_slice(written);
    nest.at(stretch.last() as usize);
    *utf8
}

/// The fields that have a place of their own in what is written.
fn written(record: &Record) -> impl Iterator<Item = (Field, &Value)> {
    record.iter().filter(|(field, _)| field.kind() != Kind::Raw)
}

/// Writes an element of an array of objects and says whether all its texts were UTF-8.
fn object(record: &Record, array: Field, out: &mut Vec<u8>) -> bool {
    let mut nest = Nest::new(plan(Some(array)));
    out.push(b'{');
    let utf8 = members(record, Some(array), &mut nest, out);
    nest.close(out);
    out.push(b'}');
    utf8
}

/// Writes the exact bytes of the record's texts that are not UTF-8.
fn raw_object(record: &Record, array: Option<Field>, out: &mut Vec<u8>) {
    let mut nest = Nest::new(plan(array));
    out.push(b'{');
    for (field, held) in written(record).filter(|(_, held)| !is_utf8(held)) {
        nest.key(field as usize, out);
        raw_value(field, held, out);
    }
    nest.close(out);
    out.push(b'}');
}

fn raw_value(field: Field, value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => quoted(|out| base64(text.as_bytes(), out), out),
        Value::Texts(texts) => {
            array(texts.iter(), out, |text, out| {
                or_null(text.is_utf8(), out, |out| {
                    quoted(|out| base64(text.as_bytes(), out), out);
                })
            });
        }
        Value::Records(records) => {
            array(records.iter(), out, |record, out| {
                let utf8 = record.iter().all(|(_, held)| is_utf8(held));
                or_null(utf8, out, |out| raw_object(record, Some(field), out))
            });
        }
        // Never not UTF-8, so never asked for.
        Value::U64(_)
        | Value::I64(_)
        | Value::Bool(_)
        | Value::Id(_)
        | Value::Time(_)
        | Value::Word(_)
        | Value::Words(_)
        | Value::Flags(_) => out.extend_from_slice(b"null"),
    }
}

fn or_null(null: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> bool {
    if null {
        out.extend_from_slice(b"null");
    } else {
        write(out);
    }
    true
}

/// Whether all texts in the value are UTF-8.
fn is_utf8(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.is_utf8(),
        Value::Texts(texts) => texts.iter().all(crate::record::Text::is_utf8),
        Value::Records(records) => records.iter().all(|record| record.iter().all(|(_, held)| is_utf8(held))),
        Value::U64(_)
        | Value::I64(_)
        | Value::Bool(_)
        | Value::Id(_)
        | Value::Time(_)
        | Value::Word(_)
        | Value::Words(_)
        | Value::Flags(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::misleads;
    use crate::record::{Text, Time};
    use serde_json::{Value as Json, json};

    fn line(record: &Record) -> String {
        let mut out = Vec::new();
        Ecs.write(record, &mut out);
        let line = String::from_utf8(out).unwrap();
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        line
    }

    fn parsed(record: &Record) -> Json {
        serde_json::from_str(&line(record)).unwrap()
    }

    fn texts(texts: &[&[u8]]) -> Vec<Text> {
        texts.iter().map(|text| Text::copy_from(text)).collect()
    }

    #[test]
    fn a_line() {
        let mut record = Record::new();
        record.set(Field::SensorVersion, "0.1.0");
        record.set(Field::Timestamp, Time(1_709_210_096_123_456_789));
        record.set(Field::EventCategory, &["process"][..]);
        record.set(Field::EventAction, "exec");
        record.set(Field::HostBootId, Text::from("b"));
        record.set(Field::ProcessPid, 4242_u32);
        record.set(Field::ProcessArgs, texts(&[b"ls", b"-l"]));
        record.set(Field::ProcessInteractive, true);
        record.set(Field::ProcessThreadId, 4243_u32);
        record.set(Field::ProcessTtyCharDeviceMajor, 136_u32);
        record.set(Field::ProcessUserId, 1000_u32);
        record.set(Field::SensorExeInode, Value::Id(u64::MAX));
        let wanted = concat!(
            r#"{"@timestamp":"2024-02-29T12:34:56.123456789Z","#,
            r#""event":{"category":["process"],"action":"exec"},"host":{"boot":{"id":"b"}},"#,
            r#""process":{"pid":4242,"args":["ls","-l"],"interactive":true,"thread":{"id":4243},"#,
            r#""tty":{"char_device":{"major":136}},"user":{"id":"1000"}},"#,
            r#""sensor":{"version":"0.1.0","exe":{"inode":"18446744073709551615"}}}"#,
            "\n",
        );
        assert_eq!(line(&record), wanted);
    }

    #[test]
    fn every_sort_of_value() {
        let mut one = Record::new();
        one.set(Field::LostStage, "ring");
        one.set(Field::LostCount, u64::MAX);
        let mut record = Record::new();
        record.set(Field::ProcessExitCode, -1_i64);
        record.set(Field::EventSequence, 7_u64);
        record.set(Field::SensorSelf, false);
        record.set(Field::FileInode, Value::Id(9));
        record.set(Field::FilePath, Text::from("/a\"b"));
        record.set(Field::ProcessArgs, texts(&[]));
        record.set(Field::EventKind, "event");
        record.set(Field::EventType, &["start", "change"][..]);
        record.set(Field::ProcessEnd, Time(0));
        record.set(Field::SensorLost, vec![one, Record::new()]);
        record.set(Field::SensorCoverage, Vec::<Record>::new());
        let wanted = json!({
            "event": {"kind": "event", "type": ["start", "change"], "sequence": 7},
            "process": {"end": "1970-01-01T00:00:00.000000000Z", "args": [], "exit_code": -1},
            "file": {"path": "/a\"b", "inode": "9"},
            "sensor": {
                "self": false,
                "lost": [{"stage": "ring", "count": u64::MAX}, {}],
                "coverage": [],
            },
        });
        assert_eq!(parsed(&record), wanted);
        assert_eq!(line(&Record::new()), "{}\n");
    }

    #[test]
    fn exact_bytes_of_what_is_not_utf8() {
        let (mut odd, mut fine) = (Record::new(), Record::new());
        odd.set(Field::RunnerPid, 1_u32);
        odd.set(Field::RunnerExecutable, Text::copy_from(b"\xff"));
        odd.set(Field::RunnerArgs, texts(&[b"x", b"\xfe"]));
        fine.set(Field::RunnerPid, 2_u32);
        let mut record = Record::new();
        record.set(Field::ProcessExecutable, Text::copy_from(b"/tmp/\xff\xc3"));
        record.set(Field::ProcessArgs, texts(&[b"ok", b"\xc3\x28", b"\xc3\xa9"]));
        record.set(Field::ProcessParentName, Text::copy_from(b"\x80"));
        record.set(Field::SensorRunners, vec![fine, odd]);
        let shown = parsed(&record);
        assert_eq!(shown["process"]["executable"], "/tmp/\u{fffd}\u{fffd}");
        assert_eq!(shown["process"]["args"], json!(["ok", "\u{fffd}(", "é"]));
        assert_eq!(shown["sensor"]["runners"][1]["args"], json!(["x", "\u{fffd}"]));
        let raw = json!({
            "process": {
                "executable": "L3RtcC//ww==",
                "args": [null, "wyg=", null],
                "parent": {"name": "gA=="},
            },
            "sensor": {"runners": [null, {"executable": "/w==", "args": [null, "/g=="]}]},
        });
        assert_eq!(shown["sensor"]["raw"], raw);
    }

    #[test]
    fn a_value_set_where_raw_goes_is_not_written() {
        let mut record = Record::new();
        record.set(Field::SensorRaw, "mine");
        assert_eq!(line(&record), "{}\n");
        record.set(Field::UserName, Text::copy_from(b"\xff"));
        assert_eq!(parsed(&record)["sensor"]["raw"], json!({"user": {"name": "/w=="}}));
    }

    #[test]
    fn fields_from_elsewhere_keep_their_objects_inside_an_array() {
        let mut inner = Record::new();
        inner.set(Field::ProcessThreadId, 1_u32);
        inner.set(Field::SensorExeNlink, 2_u32);
        inner.set(Field::RunnerPid, 3_u32);
        let mut record = Record::new();
        record.set(Field::SensorRunners, vec![inner]);
        let wanted = json!([{"process": {"thread": {"id": 1}}, "sensor": {"exe": {"nlink": 2}}, "pid": 3}]);
        assert_eq!(parsed(&record)["sensor"]["runners"], wanted);
    }

    /// Puts the value where the field's name says.
    fn put(root: &mut Json, name: &str, value: Json) {
        let slot = name.split('.').fold(root, |object, part| &mut object[part]);
        assert!(slot.is_null(), "{name} is written twice");
        *slot = value;
    }

    #[test]
    fn random_records_read_back_as_they_were() {
        let mut state = 3_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        // Objects in arrays have a shape of their own.
        let arrays = Field::ALL.iter().filter(|field| field.kind() == Kind::Objects);
        let arrays: Vec<_> = arrays.map(|field| field.name()).collect();
        let plain = |field: &&Field| {
            field.kind() != Kind::Raw && !arrays.iter().any(|array| field.name().starts_with(array))
        };
        let fields: Vec<_> = Field::ALL.iter().filter(plain).copied().collect();
        for _ in 0..3_000 {
            let (mut record, mut wanted) = (Record::new(), json!({}));
            for _ in 0..random(40) {
                let field = fields[random(fields.len())];
                if record.has(field) {
                    continue;
                }
                let bytes: Vec<u8> = (0..random(12)).map(|_| random(256) as u8).collect();
                let (text, lossy) = (Text::from(bytes.clone()), String::from_utf8_lossy(&bytes).into_owned());
                if field.kind().is_array() {
                    record.set(field, vec![text.clone(), Text::from("é")]);
                    put(&mut wanted, field.name(), json!([lossy, "é"]));
                } else {
                    record.set(field, text.clone());
                    put(&mut wanted, field.name(), json!(lossy));
                }
                if !text.is_utf8() {
                    let mut coded = Vec::new();
                    base64(&bytes, &mut coded);
                    let coded = json!(String::from_utf8(coded).unwrap());
                    let raw = if field.kind().is_array() { json!([coded, null]) } else { coded };
                    put(&mut wanted, &format!("sensor.raw.{}", field.name()), raw);
                }
            }
            let shown = line(&record);
            assert_eq!(serde_json::from_str::<Json>(&shown).unwrap(), wanted, "{shown}");
            assert!(!shown.trim_end().chars().any(misleads), "{shown:?}");
            keys_are_unique(&shown);
        }
    }

    /// A reader keeps the last of two members of one name: an object that was opened twice would
    /// lose what it had, and be written with fewer keys again.
    fn keys_are_unique(line: &str) {
        let again = serde_json::from_str::<Json>(line).unwrap().to_string();
        assert_eq!(line.matches("\":").count(), again.matches("\":").count(), "{line}");
    }
}
