//! What of a record stands in the cells of a table, safe to show.

use super::escape;
use crate::{
    field::Field,
    format::misleads,
    record::{Record, Text, Value},
};

/// Characters of a container's id: enough to tell it from others.
const SHORT_ID: usize = 12;

/// A field; nothing where there is none, or it is no text or number.
#[must_use]
pub fn shown(record: &Record, field: Field) -> String {
    match record.get(field) {
        Some(Value::Text(text)) => escape(text.as_bytes()),
        Some(Value::Word(word)) => (*word).to_owned(),
        Some(Value::U64(number) | Value::Id(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// A name, or where there is none the id.
#[must_use]
pub fn named(record: &Record, name: Field, id: Field) -> String {
    let name = shown(record, name);
    if name.is_empty() { shown(record, id) } else { name }
}

/// Texts, each as a word.
#[must_use]
pub fn words(record: &Record, field: Field) -> Vec<String> {
    record.texts(field).iter().map(Text::as_bytes).map(escape).collect()
}

/// What is odd, a sentence each.
#[must_use]
pub fn findings(record: &Record) -> Vec<String> {
    record.texts(Field::SensorFindings).iter().map(|finding| plain(finding.as_bytes())).collect()
}

/// The container in brackets, and a blank; nothing outside of one.
#[must_use]
pub fn container(record: &Record) -> String {
    let Some(id) = record.text(Field::ContainerId) else { return String::new() };
    let id: String = escape(id.as_bytes()).chars().take(SHORT_ID).collect();
    format!("({id}) ")
}

/// A text with its blanks and quotes as they are: only what would mislead is escaped.
#[must_use]
pub fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match misleads(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_the_host_is_safe_to_show() {
        let mut record = Record::new();
        record.set(Field::ContainerId, Text::from("0123456789abcdef"));
        record.set(Field::UserId, Value::Id(7));
        record.set(Field::ProcessName, Text::copy_from(b"a\x1b"));
        record.set(Field::SensorFindings, vec![Text::from("it's \x1b[2J here")]);
        assert_eq!(container(&record), "(0123456789ab) ");
        assert_eq!(named(&record, Field::UserName, Field::UserId), "7");
        assert_eq!(shown(&record, Field::ProcessName), r"$'a\x1b'");
        assert_eq!(findings(&record), [r"it's \u{1b}[2J here"]);
        assert_eq!(shown(&record, Field::FilePath), "");
    }
}
