//! What each target does with its bytes. The sensor's tests include this file to do the same with
//! the corpus, without a fuzzer.

use sensor::event;
use sensor::event::touch::{self, Touches};
use sensor::field::Field;
use sensor::format::{FORMATS, ecs, misleads};
use sensor::kernel::btf::Btf;
use sensor::record::{Record, Stretch, Text};
use std::sync::Arc;

/// Where `wire::Header` has the size of its record.
const SIZE: std::ops::RangeFrom<usize> = 24..;

/// Reads bytes as BTF and asks it everything there is to ask.
pub fn btf(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes) else { return };
    for name in ["task_struct", "kuid_t", "a"] {
        for path in ["flags", "se.load", "se.grid[1][3]", "right", "uid.val", "bit", "a[7].a", "a[1].b[2]"] {
            if let Some(member) = btf.offset(name, path) {
                assert!(member.bit_offset < 8, "{path}: {member:?}");
            }
        }
        let _ = btf.size_of_struct(name);
    }
    let _ = btf.params("vfs_unlink");
    let _ = btf.trace_params("sched_process_exit");
}

/// Reads bytes as one record from the kernel, as the rows of a sweep, and as what fanotify tells.
pub fn decode(bytes: &[u8]) {
    let mut touches = Touches::default();
    touch::decode(bytes, &mut touches);
    assert!(touches.told.len() <= bytes.len(), "{} touches", touches.told.len());
    let _ = event::decode(bytes);
    let rows = event::decode_rows(bytes).count();
    assert!(rows <= bytes.len(), "{rows} rows");
    // Most bytes say another size than they have; what lies behind that check is to be seen too.
    let mut record = bytes.to_vec();
    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
    if let Some(place) = record.get_mut(SIZE).and_then(|place| place.first_chunk_mut()) {
        *place = size;
        let _ = event::decode(&record);
    }
}

/// Puts bytes as texts into a record, and writes it in every format: by itself, and with some of its
/// fields shared.
pub fn format(bytes: &[u8]) {
    // Whatever it is, it is read or refused.
    let _ = ecs::read(bytes);
    let Some(([from, to], rest)) = bytes.split_first_chunk() else { return };
    let record = record(rest, false);
    let shared = share(&record, field(*from), field(*to));
    for known in FORMATS {
        let line = line(known.name, &record);
        assert_eq!(line, self::line(known.name, &shared), "{record:?}");
        if known.name == "ecs" {
            let read = serde_json::from_str::<serde_json::Value>(&line);
            assert!(read.is_ok_and(|read| read.is_object()), "{line:?}");
            comes_back(&line);
        }
    }
}

/// A line that can be read as a record is read as the same again when it is written from that.
fn comes_back(line: &str) {
    if let Ok(read) = ecs::read(line.as_bytes()) {
        let again = self::line("ecs", &read);
        assert_eq!(ecs::read(again.as_bytes()), Ok(read), "{again:?}");
    }
}

/// One line, in which nothing is that could show something else.
fn line(format: &str, record: &Record) -> String {
    let mut out = Vec::new();
    if let Some(format) = sensor::format::named(format) {
        format.write(record, &mut out);
    }
    let line = String::from_utf8(out).unwrap_or_default();
    let whole = line.strip_suffix('\n').is_some_and(|line| !line.chars().any(misleads));
    assert!(whole, "{format} of {record:?}: {line:?}");
    line
}

/// A field a piece: its number, the length of its text, the text. No object of an array has another
/// array of objects, for which readers have no patience.
fn record(mut bytes: &[u8], inner: bool) -> Record {
    let mut record = Record::new();
    while let Some(([number, length], rest)) = bytes.split_first_chunk() {
        let (text, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let (field, value) = (field(*number), Text::copy_from(text));
        if field.name() == "sensor.runners" && !inner {
            record.set(field, vec![Record::new(), self::record(text, true)]);
        } else if field.kind().is_array() {
            record.set(field, text.split(|byte| *byte == 0).map(Text::copy_from).collect::<Vec<_>>());
        } else {
            record.set(field, value);
        }
        bytes = rest;
    }
    record
}

/// The same record, with the fields of a range in a stretch.
fn share(record: &Record, from: Field, to: Field) -> Record {
    let mut shared = Record::new();
    if let Some(stretch) = Stretch::of(record, from..=to) {
        shared.share(&Arc::new(stretch));
    }
    for (field, value) in record.iter().filter(|(field, _)| !(from..=to).contains(field)) {
        shared.set(field, value.clone());
    }
    shared
}

fn field(number: u8) -> Field {
    Field::ALL[usize::from(number) % Field::ALL.len()]
}
