//! A line of ECS as the record that it was written from: for events that were kept as lines and are wanted in another format.
//!
//! A word of ours comes back as a text, a number that is written as a keyword too: every format writes both alike. A field that
//! this version doesn't know is left out.

use std::{collections::HashMap, sync::LazyLock};

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use crate::{
    field::{Field, Kind},
    record::{Record, Text, Time, Value},
};

/// Why a line is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is no JSON, or no object.
    #[error("the line is no object of JSON")]
    NoObject,
    /// A field holds something else than it may.
    #[error("{} holds something else than the dictionary says", .0.name())]
    Misfit(Field),
    /// The exact bytes of a field aren't those of what is shown.
    #[error("the exact bytes of {} don't fit what is shown", .0.name())]
    Raw(Field),
}

/// Reads a line, with its end or without.
///
/// # Errors
/// When it is no event.
pub fn read(line: &[u8]) -> Result<Record, ReadError> {
    let Ok(Json::Object(members)) = serde_json::from_slice(line) else { return Err(ReadError::NoObject) };
    let mut record = Record::with_capacity(48);
    let mut raw = None;
    each(&members, None, &mut String::new(), &mut |field, held| {
        match field.kind() {
            Kind::Raw => raw = held.as_object(),
            _ => record.set(field, value(field, held)?),
        }
        Ok(())
    })?;
    if let Some(raw) = raw {
        restore(&mut record, raw, None)?;
    }
    Ok(record)
}

/// Calls `take` for each member that is a field, here and in objects below; `array`: that of whose elements this is one.
fn each<'a>(
    members: &'a Map<String, Json>,
    array: Option<Field>,
    path: &mut String,
    take: &mut dyn FnMut(Field, &'a Json) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let start = path.len();
    for (key, held) in members {
        if start > 0 {
            path.push('.');
        }
        path.push_str(key);
        match (named(path, array), held) {
            (Some(field), held) => take(field, held)?,
            (None, Json::Object(members)) => each(members, array, path, take)?,
            (None, _) => {}
        }
        path.truncate(start);
    }
    Ok(())
}

/// The field of this path; in an array's elements, first that of the array.
fn named(path: &str, array: Option<Field>) -> Option<Field> {
    static NAMES: LazyLock<HashMap<&str, Field>> =
        LazyLock::new(|| Field::ALL.iter().map(|field| (field.name(), *field)).collect());
    let inside = array.and_then(|array| NAMES.get(format!("{}.{path}", array.name()).as_str()));
    inside.or_else(|| NAMES.get(path)).copied()
}

fn value(field: Field, held: &Json) -> Result<Value, ReadError> {
    let misfit = || ReadError::Misfit(field);
    Ok(match (field.kind(), held) {
        (Kind::Keyword | Kind::Ip, Json::String(text)) => Value::Text(text.clone().into()),
        (Kind::Id, Json::String(text)) => id(text),
        (Kind::Long, Json::Number(number)) => match number.as_u64() {
            Some(number) => Value::U64(number),
            None => Value::I64(number.as_i64().ok_or_else(misfit)?),
        },
        (Kind::Boolean, Json::Bool(held)) => Value::Bool(*held),
        (Kind::Date, Json::String(text)) => Value::Time(time(text).ok_or_else(misfit)?),
        (Kind::Keywords, Json::Array(items)) => {
            let text = |item: &Json| item.as_str().map(|text| Text::from(text.to_owned())).ok_or_else(misfit);
            Value::from(items.iter().map(text).collect::<Result<Vec<Text>, _>>()?)
        }
        (Kind::Objects, Json::Array(items)) => {
            Value::Records(items.iter().map(|item| element(field, item)).collect::<Result<_, _>>()?)
        }
        _ => return Err(misfit()),
    })
}

fn element(array: Field, held: &Json) -> Result<Record, ReadError> {
    let members = held.as_object().ok_or(ReadError::Misfit(array))?;
    let mut record = Record::new();
    each(members, Some(array), &mut String::new(), &mut |field, held| {
        // One that has what belongs to no element is none of ours.
        if matches!(field.kind(), Kind::Raw) {
            return Err(ReadError::Misfit(field));
        }
        record.set(field, value(field, held)?);
        Ok(())
    })?;
    Ok(record)
}

/// A number, if it is written as one is.
fn id(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => Value::Id(number),
        _ => Value::Text(text.to_owned().into()),
    }
}

fn time(text: &str) -> Option<Time> {
    let moment: Timestamp = text.parse().ok()?;
    i64::try_from(moment.as_nanosecond()).ok().map(Time)
}

/// Puts exact bytes where texts weren't UTF-8.
fn restore(record: &mut Record, raw: &Map<String, Json>, array: Option<Field>) -> Result<(), ReadError> {
    let mut exact = Vec::new();
    each(raw, array, &mut String::new(), &mut |field, held| {
        exact.push((field, bytes_of(field, record.get(field), held).ok_or(ReadError::Raw(field))?));
        Ok(())
    })?;
    exact.into_iter().for_each(|(field, value)| record.set(field, value));
    Ok(())
}

fn bytes_of(field: Field, shown: Option<&Value>, raw: &Json) -> Option<Value> {
    match (shown?, raw) {
        (Value::Text(shown), Json::String(coded)) => Some(Value::Text(exact(shown, coded)?)),
        (Value::Texts(shown), Json::Array(raw)) if shown.len() == raw.len() => {
            let text = |(shown, raw): (&Text, &Json)| match raw {
                Json::Null => Some(shown.clone()),
                raw => exact(shown, raw.as_str()?),
            };
            Some(Value::from(shown.iter().zip(raw).map(text).collect::<Option<Vec<Text>>>()?))
        }
        (Value::Records(shown), Json::Array(raw)) if shown.len() == raw.len() => {
            let record = |(shown, raw): (&Record, &Json)| {
                let mut record = shown.clone();
                match raw {
                    Json::Null => Some(record),
                    raw => restore(&mut record, raw.as_object()?, Some(field)).ok().map(|()| record),
                }
            };
            Some(Value::Records(shown.iter().zip(raw).map(record).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// The bytes, if they are shown so.
fn exact(shown: &Text, coded: &str) -> Option<Text> {
    let text = Text::from(decode(coded.as_bytes())?);
    (text.to_str_lossy().as_bytes() == shown.as_bytes()).then_some(text)
}

/// Base64 as it is written here: with padding, and nothing in between.
fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let (groups, []) = coded.as_chunks::<4>() else { return None };
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (at, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|digit| **digit == b'=').count();
        if padding > 2 || (padding > 0 && at + 1 != groups.len()) {
            return None;
        }
        let mut bits = 0_u32;
        for digit in group.get(..4 - padding)? {
            bits = bits << 6 | digit_of(*digit)?;
        }
        bits <<= 6 * padding;
        bytes.extend_from_slice(bits.to_be_bytes().get(1..4 - padding)?);
    }
    Some(bytes)
}

fn digit_of(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests;
