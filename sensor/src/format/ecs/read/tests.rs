//! What is written comes back from what is read.

use super::*;
use crate::format::{FORMATS, Format, base64, ecs::Ecs};

fn line(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    Ecs.write(record, &mut out);
    out
}

/// Every format writes what was read as it writes what it was read from.
fn comes_back(record: &Record) {
    let line = line(record);
    let shown = String::from_utf8_lossy(&line);
    let again = read(&line).unwrap_or_else(|error| panic!("{error}: {shown}"));
    assert!(again.misfits().is_empty(), "{shown}");
    for known in FORMATS {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        known.format.write(record, &mut first);
        known.format.write(&again, &mut second);
        assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second), "{}", known.name);
    }
}

/// Numbers that look drawn by chance.
fn random() -> impl FnMut(usize) -> usize {
    let mut state = 5_u64;
    move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

fn text(random: &mut impl FnMut(usize) -> usize) -> Text {
    let odd = random(3) == 0;
    let bytes = (0..random(12)).map(|_| if odd { random(256) } else { 32 + random(90) } as u8);
    Text::from(bytes.collect::<Vec<u8>>())
}

/// A value that the field may hold, of whatever sort.
fn any(field: Field, random: &mut impl FnMut(usize) -> usize) -> Value {
    match field.kind() {
        Kind::Keyword => match random(3) {
            // A path is never a number or a word of ours.
            0 if field.short().ends_with("id") => Value::Id(random(100_000) as u64),
            0 | 1 if field.short() != "executable" => Value::Word("word"),
            _ => Value::Text(text(random)),
        },
        Kind::Ip => Value::Text("192.0.2.1".into()),
        Kind::Id => Value::Id(u64::MAX - random(1000) as u64),
        Kind::Keywords => match random(2) {
            // Arguments are never words of ours.
            0 if field.short() != "args" => Value::Words(&["one", "two"]),
            _ => Value::from((0..random(4)).map(|_| text(random)).collect::<Vec<Text>>()),
        },
        Kind::Long => match random(2) {
            0 => Value::U64(random(usize::MAX) as u64),
            _ => Value::I64(-(random(1000) as i64)),
        },
        Kind::Boolean => Value::Bool(random(2) == 0),
        Kind::Date => Value::Time(Time(random(1 << 31) as i64 * 1_000_000_007)),
        Kind::Objects | Kind::Raw => Value::Records(Vec::new()),
    }
}

#[test]
fn every_field_comes_back() {
    let mut random = random();
    let is_of = |field: Field, array: Field| {
        field.object().strip_prefix(array.name()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let arrays: Vec<Field> =
        Field::ALL.iter().copied().filter(|field| field.kind() == Kind::Objects).collect();
    let plain = |field: &Field| {
        !matches!(field.kind(), Kind::Objects | Kind::Raw)
            && !arrays.iter().any(|array| is_of(*field, *array))
    };
    let fields: Vec<Field> = Field::ALL.iter().copied().filter(plain).collect();
    for round in 0..300 {
        let mut record = Record::new();
        for field in &fields {
            if round == 0 || random(4) == 0 {
                record.set(*field, any(*field, &mut random));
            }
        }
        for array in &arrays {
            let members = Field::ALL.iter().copied().filter(|field| is_of(*field, *array));
            let members: Vec<Field> =
                members.filter(|field| !field.kind().is_array() || field.kind() == Kind::Keywords).collect();
            let element = |random: &mut dyn FnMut(usize) -> usize| {
                let mut element = Record::new();
                for member in &members {
                    if round == 0 || random(2) == 0 {
                        element.set(*member, any(*member, &mut |below| random(below)));
                    }
                }
                element
            };
            let elements: Vec<Record> = (0..random(3)).map(|_| element(&mut random)).collect();
            // An array within an element of another is one of its own.
            if !arrays.iter().any(|outer| is_of(*array, *outer)) {
                record.set(*array, elements);
            }
        }
        comes_back(&record);
    }
}

#[test]
fn a_record_with_exact_bytes_is_the_same_again() {
    let (mut odd, mut record) = (Record::new(), Record::new());
    odd.set(Field::RunnerPid, 1_u32);
    odd.set(Field::RunnerExecutable, Text::copy_from(b"\xff"));
    odd.set(Field::RunnerArgs, vec![Text::from("x"), Text::copy_from(b"\xfe")]);
    record.set(Field::ProcessExecutable, Text::copy_from(b"/tmp/\xff\xc3"));
    record.set(Field::ProcessArgs, vec![Text::from("ok"), Text::copy_from(b"\xc3\x28")]);
    record.set(Field::SensorExeInode, Value::Id(7));
    record.set(Field::Timestamp, Time(1_709_210_096_123_456_789));
    record.set(Field::SensorRunners, vec![Record::new(), odd]);
    assert_eq!(read(&line(&record)), Ok(record));
}

/// What the verbs answer, kept letter by letter in the tests' folder.
#[test]
fn golden_rows_come_back() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let mut rows = 0;
    for name in ["who-json.txt", "ports-json.txt"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let json = text.get(text.find("\n{").unwrap()..text.rfind("\n}").unwrap() + 2).unwrap();
        for row in serde_json::Deserializer::from_str(json).into_iter::<Json>() {
            let mut kept = row.unwrap().to_string();
            // What is of the moment was taken out.
            for key in ["@timestamp", "start", "since", "held_since"] {
                let now = format!("\"{key}\":\"2026-01-02T03:04:05.000000006Z\"");
                kept = kept.replace(&format!("\"{key}\":\"…\""), &now);
            }
            let kept = kept.replace("\"nlink\":\"…\"", "\"nlink\":1");
            let record = read(kept.as_bytes()).unwrap_or_else(|error| panic!("{error}: {kept}"));
            let parsed = |line: &[u8]| serde_json::from_slice::<Json>(line).unwrap();
            assert_eq!(parsed(&line(&record)), parsed(kept.as_bytes()));
            comes_back(&record);
            rows += 1;
        }
    }
    assert!(rows == 5, "{rows}");
}

#[test]
fn what_is_no_event_is_refused() {
    for wrong in ["", "1", "[]", "{", "{} {}", &"[".repeat(100_000), "{\"a\":\"\u{0}\"}"] {
        assert_eq!(read(wrong.as_bytes()), Err(ReadError::NoObject), "{}", &wrong[..wrong.len().min(20)]);
    }
    assert_eq!(read(b"{\"process\":{\"name\":\"\xff\"}}"), Err(ReadError::NoObject));
    for (wrong, field) in [
        (r#"{"process":{"pid":"1"}}"#, Field::ProcessPid),
        (r#"{"process":{"pid":1.5}}"#, Field::ProcessPid),
        (r#"{"process":{"pid":99999999999999999999}}"#, Field::ProcessPid),
        (r#"{"process":{"name":null}}"#, Field::ProcessName),
        (r#"{"process":{"args":["a",1]}}"#, Field::ProcessArgs),
        (r#"{"@timestamp":"9999-12-31T00:00:00Z"}"#, Field::Timestamp),
        (r#"{"@timestamp":"yesterday"}"#, Field::Timestamp),
        (r#"{"sensor":{"runners":[1]}}"#, Field::SensorRunners),
        (r#"{"sensor":{"runners":[{"sensor":{"raw":{}}}]}}"#, Field::SensorRaw),
    ] {
        assert_eq!(read(wrong.as_bytes()), Err(ReadError::Misfit(field)), "{wrong}");
    }
    for (wrong, field) in [
        (r#"{"process":{"name":"x"},"sensor":{"raw":{"process":{"name":"/w=="}}}}"#, Field::ProcessName),
        (r#"{"sensor":{"raw":{"process":{"name":"/w=="}}}}"#, Field::ProcessName),
        (r#"{"process":{"args":["x"]},"sensor":{"raw":{"process":{"args":[]}}}}"#, Field::ProcessArgs),
    ] {
        assert_eq!(read(wrong.as_bytes()), Err(ReadError::Raw(field)), "{wrong}");
    }
}

#[test]
fn fields_of_another_version_are_left_out() {
    let record = read(br#"{"process":{"pid":1,"soul":{"weight":21}},"tomorrow":[1]}"#).unwrap();
    assert_eq!((record.len(), record.number(Field::ProcessPid)), (1, Some(1)));
}

#[test]
fn base64_is_read_as_it_is_written_and_no_other() {
    for bytes in [&b""[..], b"f", b"fo", b"foo", b"\xfb\xff\xfe"] {
        let mut coded = Vec::new();
        base64(bytes, &mut coded);
        assert_eq!(decode(&coded).as_deref(), Some(bytes));
    }
    for wrong in ["Zg=", "Zg", "Z===", "Zg==Zg==", "Zm 9", "Zm9-", "===="] {
        assert_eq!(decode(wrong.as_bytes()), None, "{wrong}");
    }
}
