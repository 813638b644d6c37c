//! Where the value of a member comes from.

use super::class::{self, Class};
use super::{element, word};
use crate::field::Field;
use crate::format::{json_string, number, quoted, severity, value};
use crate::record::{Record, Text, Value};

/// The framework's version.
pub(super) const VERSION: &str = r#""1.8.0""#;

/// Writes what is made of a record and its class.
pub(super) type Write = fn(&Record, &Class, &mut Vec<u8>);

/// Where a value comes from.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// The field as it is.
    Held(Field),
    /// The number that the field's text is.
    Whole(Field),
    /// The field's moment, milliseconds since the epoch.
    Millis(Field),
    /// The field's SHA-256, as a list of hashes.
    Hash(Field),
    /// The field's texts with blanks between them.
    Words(Field),
    /// The last component of the first field's path, unless the second has it.
    Last(Field, Option<Field>),
    /// The first of two that is there.
    Or(Field, Field),
    /// The field, where none of those is there.
    Unless(&'static [Field], Field),
    /// Of the first object of an array.
    First(Field, Field),
    /// Made of these fields, where the first is there.
    With(&'static [Field], Write),
    /// Made of the class.
    Made(Write),
    /// Always this.
    Fixed(&'static str),
}

impl Source {
    /// The fields that are told by this.
    pub(super) fn fields(&self) -> Vec<Field> {
        match *self {
            Self::Held(field) | Self::Millis(field) | Self::Hash(field) | Self::Unless(_, field) => {
                vec![field]
            }
            Self::Or(one, other) => vec![one, other],
            Self::Last(_, name) => name.into_iter().collect(),
            Self::With(fields, _) => fields.to_vec(),
            // Not all that they say.
            Self::First(..) | Self::Whole(_) | Self::Words(_) | Self::Made(_) | Self::Fixed(_) => Vec::new(),
        }
    }

    /// Whether there is one.
    pub(super) fn has(&self, record: &Record) -> bool {
        match *self {
            Self::Held(field) | Self::Hash(field) => record.has(field),
            Self::Whole(field) => whole(record, field).is_some(),
            Self::Millis(field) => matches!(record.get(field), Some(Value::Time(_))),
            Self::Words(field) => !record.texts(field).is_empty(),
            Self::Last(path, name) => record.has(path) || name.is_some_and(|name| record.has(name)),
            Self::Or(one, other) => record.has(one) || record.has(other),
            Self::Unless(others, field) => {
                record.has(field) && !others.iter().any(|field| record.has(*field))
            }
            Self::First(array, field) => first(record, array).is_some_and(|first| first.has(field)),
            Self::With(fields, _) => fields.first().is_some_and(|field| record.has(*field)),
            Self::Made(_) | Self::Fixed(_) => true,
        }
    }

    /// Writes it, where there is one.
    pub(super) fn write(&self, record: &Record, class: &Class, out: &mut Vec<u8>) {
        let of = |record: &Record, field: Field, out: &mut Vec<u8>| {
            if let Some(held) = record.get(field) {
                value(field, held, out, element);
            }
        };
        let held = |field: Field, out: &mut Vec<u8>| of(record, field, out);
        match *self {
            Self::Held(field) | Self::Unless(_, field) => held(field, out),
            Self::Whole(field) => number(whole(record, field).unwrap_or(0), out),
            Self::Millis(field) => {
                if let Some(Value::Time(time)) = record.get(field) {
                    number(time.0.div_euclid(1_000_000), out);
                }
            }
            Self::Hash(field) => {
                out.extend_from_slice(br#"[{"algorithm":"SHA-256","algorithm_id":3,"value":"#);
                held(field, out);
                out.extend_from_slice(b"}]");
            }
            Self::Words(field) => {
                let words: Vec<&[u8]> = record.texts(field).iter().map(Text::as_bytes).collect();
                json_string(&words.join(&b' '), out);
            }
            Self::Last(path, name) => match name.filter(|name| record.has(*name)) {
                Some(name) => held(name, out),
                None => drop(json_string(last(word(record, path)), out)),
            },
            Self::Or(one, other) => held(if record.has(one) { one } else { other }, out),
            Self::First(array, field) => {
                if let Some(first) = first(record, array) {
                    of(first, field, out);
                }
            }
            Self::With(_, write) | Self::Made(write) => write(record, class, out),
            Self::Fixed(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

/// The first object of an array.
fn first(record: &Record, array: Field) -> Option<&Record> {
    match record.get(array)? {
        Value::Records(records) => records.first(),
        _ => None,
    }
}

/// The last component of a path that has one.
fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().filter(|last| !last.is_empty()).unwrap_or(path)
}

/// A number, also of a text that is one.
fn whole(record: &Record, field: Field) -> Option<u64> {
    match record.get(field)? {
        Value::U64(number) | Value::Id(number) => Some(*number),
        Value::Text(text) => std::str::from_utf8(text.as_bytes()).ok()?.parse().ok(),
        _ => None,
    }
}

macro_rules! made {
    ($($(#[$doc:meta])* $name:ident = |$record:tt, $class:tt| $value:expr;)+) => {
        $($(#[$doc])* pub(super) fn $name($record: &Record, $class: &Class, out: &mut Vec<u8>) {
            Written::write($value, out);
        })+
    };
}

/// What can be made.
trait Written {
    fn write(self, out: &mut Vec<u8>);
}

impl Written for u64 {
    fn write(self, out: &mut Vec<u8>) {
        number(self, out);
    }
}

impl Written for bool {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self { b"true" } else { b"false" });
    }
}

impl Written for &str {
    fn write(self, out: &mut Vec<u8>) {
        json_string(self.as_bytes(), out);
    }
}

made! {
    activity_id = |record, class| activity(record, class).0;
    activity_name = |record, class| activity(record, class).1;
    category_uid = |_, class| class.category().0;
    category_name = |_, class| class.category().1;
    class_uid = |_, class| class.uid;
    class_name = |_, class| class.name;
    type_uid = |record, class| class.uid * 100 + activity(record, class).0;
    launch_type_id = |_, class| class.launch.0;
    launch_type = |_, class| class.launch.1;
    title = |_, class| class.title;
    severity_id = |record, _| level(record).0;
    severity_name = |record, _| level(record).1;
    status_id = |record, _| outcome(record).0;
    status = |record, _| outcome(record).1;
    direction_id = |record, _| way(record).0;
    direction = |record, _| way(record).1;
    barred_id = |record, _| barred(record).0;
    barred_name = |record, _| barred(record).1;
    protocol_version = |record, _| match word(record, Field::NetworkType) {
        b"ipv4" => 4_u64,
        b"ipv6" => 6,
        _ => 0,
    };
    opened_type = |record, _| match word(record, Field::SensorDescriptorKind) {
        b"file" | b"memfd" => 1_u64,
        b"directory" => 2,
        b"character_device" => 3,
        b"block_device" => 4,
        b"socket" => 5,
        b"pipe" | b"fifo" => 6,
        b"unasked" => 0,
        _ => 99,
    };
    is_remote = |record, _| record.has(Field::SourceIp) || record.has(Field::SourceAddress);
    /// `type_id` of a regular file.
    regular = |_, _| 1_u64;
    bytes = |record, _| sum(moved(record, Field::SourceBytes, Field::DestinationBytes));
    bytes_in = |record, _| moved(record, Field::SourceBytes, Field::DestinationBytes).0;
    bytes_out = |record, _| moved(record, Field::SourceBytes, Field::DestinationBytes).1;
    packets = |record, _| sum(moved(record, Field::SourcePackets, Field::DestinationPackets));
    packets_in = |record, _| moved(record, Field::SourcePackets, Field::DestinationPackets).0;
    packets_out = |record, _| moved(record, Field::SourcePackets, Field::DestinationPackets).1;
}

/// The name of what a descriptor leads to; where it has none, what it is.
pub(super) fn opened_name(record: &Record, _: &Class, out: &mut Vec<u8>) {
    let named = [word(record, Field::FileName), last(word(record, Field::FilePath))];
    let kind = word(record, Field::SensorDescriptorKind);
    json_string(named.into_iter().find(|name| !name.is_empty()).unwrap_or(kind), out);
}

/// `Class: Activity`, both words of ours.
pub(super) fn type_name(record: &Record, class: &Class, out: &mut Vec<u8>) {
    let name = |out: &mut Vec<u8>| {
        out.extend([class.name, ": ", activity(record, class).1].concat().bytes());
    };
    quoted(name, out);
}

fn activity(record: &Record, class: &Class) -> (u64, &'static str) {
    match word(record, Field::EventOutcome) {
        b"failure" if class.opens() => class::FAILED,
        _ => class.activity,
    }
}

fn level(record: &Record) -> (u64, &'static str) {
    let level = record.number(Field::EventSeverity).unwrap_or(0);
    match (level, severity(level).0) {
        (0, _) => (1, "Informational"),
        (_, "low") => (2, "Low"),
        (_, "medium") => (3, "Medium"),
        (_, "high") => (4, "High"),
        _ => (5, "Critical"),
    }
}

fn outcome(record: &Record) -> (u64, &'static str) {
    match word(record, Field::EventOutcome) {
        b"success" => (1, "Success"),
        b"failure" => (2, "Failure"),
        _ => (0, "Unknown"),
    }
}

fn way(record: &Record) -> (u64, &'static str) {
    match word(record, Field::NetworkDirection) {
        b"ingress" => (1, "Inbound"),
        b"egress" => (2, "Outbound"),
        _ => (0, "Unknown"),
    }
}

/// Which connections a rule is about: of a port those that come in, else all.
fn barred(record: &Record) -> (u64, &'static str) {
    match word(record, Field::SensorContainTarget).starts_with(b"port ") {
        true => (1, "Inbound"),
        false => (0, "Unknown"),
    }
}

/// What this host received and sent: the dictionary counts from who began the connection, the framework from here.
fn moved(record: &Record, source: Field, destination: Field) -> (u64, u64) {
    let [source, destination] = [source, destination].map(|field| record.number(field).unwrap_or(0));
    if way(record).0 == 1 { (source, destination) } else { (destination, source) }
}

fn sum((received, sent): (u64, u64)) -> u64 {
    received.saturating_add(sent)
}
