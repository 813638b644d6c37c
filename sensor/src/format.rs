//! Record to bytes: one file a format, and the table of them. What formats share stands here.

pub mod ecs;
pub mod ocsf;
pub mod table;
pub mod text;

use crate::field::Field;
use crate::record::{Record, Value};
use std::fmt;

mod json;
mod nest;

// What formats of JSON share.
use json::{array, number, quoted, value};
pub(crate) use json::{base64, json_string, rfc3339};
use nest::{Nest, Plan};

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
    Known {
        name: "ocsf",
        sentence: "Open Cybersecurity Schema Framework: one JSON object a line.",
        format: &ocsf::Ocsf,
    },
    Known { name: "text", sentence: "A line for a person.", format: &text::Lines { colour: false } },
];

/// The format of that name.
pub fn named(name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().find(|known| known.name == name).map(|known| known.format)
}

/// A value as JSON; objects in it have their members by their short names.
pub fn json_of(field: Field, held: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value(field, held, &mut out, object);
    out
}

fn object(record: &Record, _: Field, out: &mut Vec<u8>) -> bool {
    out.push(b'{');
    for (at, (field, held)) in record.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json_string(field.short().as_bytes(), out);
        out.push(b':');
        value(field, held, out, object);
    }
    out.push(b'}');
    true
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

/// The word for an `event.severity`, and the colour in which it is shown (ECMA-48, SGR).
pub(crate) fn severity(severity: u64) -> (&'static str, &'static str) {
    match severity {
        0..=21 => ("low", "36"),
        22..=47 => ("medium", "33"),
        48..=73 => ("high", "31"),
        74.. => ("critical", "1;31"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_by_name() {
        let names: Vec<_> = FORMATS.iter().map(|known| known.name).collect();
        assert_eq!(names, ["ecs", "ocsf", "text"]);
        assert!(names.iter().all(|name| named(name).is_some()));
        assert!(named("xml").is_none());
    }
}
