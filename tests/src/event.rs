//! One event, as the sensor wrote it.

use crate::{ecs, fields};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// One line of the stream; cheap to clone.
#[derive(Clone, Debug)]
pub struct Event(Arc<Value>);

impl Event {
    /// Reads a line, or says what is wrong with it as a line.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        if let Some(byte) = line.iter().find(|byte| **byte < 0x20) {
            return Err(format!("a raw control byte {byte:#04x} in: {}", line.escape_ascii()));
        }
        match serde_json::from_slice(line) {
            Ok(value @ Value::Object(_)) => Ok(Self(Arc::new(value))),
            Ok(other) => Err(format!("not an object: {other}")),
            Err(why) => Err(format!("{why} in: {}", line.escape_ascii())),
        }
    }

    /// The value of a field, `process.parent.pid`-like, when there is one.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&Value> {
        field.split('.').try_fold(&*self.0, |value, name| value.get(name))
    }

    /// Whether the event has that field.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// A field that must be there.
    #[must_use]
    pub fn value(&self, field: &str) -> &Value {
        self.get(field).unwrap_or_else(|| panic!("no {field} in {self:#}"))
    }

    /// A field that must be a text.
    #[must_use]
    pub fn str(&self, field: &str) -> &str {
        self.value(field).as_str().unwrap_or_else(|| panic!("{field} is no text in {self:#}"))
    }

    /// A field that must be a number.
    #[must_use]
    pub fn num(&self, field: &str) -> u64 {
        self.value(field).as_u64().unwrap_or_else(|| panic!("{field} is no number in {self:#}"))
    }

    /// A field that must be true or false.
    #[must_use]
    pub fn truth(&self, field: &str) -> bool {
        self.value(field).as_bool().unwrap_or_else(|| panic!("{field} is neither true nor false in {self:#}"))
    }

    /// A field that must be an array.
    #[must_use]
    pub fn list(&self, field: &str) -> &[Value] {
        self.value(field).as_array().unwrap_or_else(|| panic!("{field} is no array in {self:#}"))
    }

    /// A field that must be an array of texts.
    #[must_use]
    pub fn texts(&self, field: &str) -> Vec<&str> {
        let text = |item| Value::as_str(item).unwrap_or_else(|| panic!("{field} isn't all text in {self:#}"));
        self.list(field).iter().map(text).collect()
    }

    /// A field as text whatever it is; nothing when it isn't there.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<String> {
        self.get(field).map(as_text)
    }

    /// `event.action`.
    #[must_use]
    pub fn action(&self) -> &str {
        self.get("event.action").and_then(Value::as_str).unwrap_or_default()
    }

    /// All leaves with their names; arrays of objects get `[]` in the name.
    #[must_use]
    pub fn leaves(&self) -> Vec<(String, &Value)> {
        let mut all = Vec::new();
        walk(String::new(), &self.0, &mut all);
        all
    }

    fn words(&self, field: &str) -> Vec<&str> {
        let list = self.get(field).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// What is wrong with what every event must have; empty when nothing is.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let missing =
            fields::COMMON.iter().filter(|name| !self.has(name)).map(|name| format!("{name}: missing"));
        let mut faults: Vec<String> = missing.collect();
        faults.extend(self.leaves().iter().filter_map(|(name, value)| fields::wrong(name, value)));
        faults.extend(self.leaves().iter().filter_map(|(name, value)| ecs::wrong(name, value)));
        if self.has("ecs.version") && self.text("ecs.version").as_deref() != Some(ecs::version()) {
            faults.push(format!("ecs.version: the list is that of {}", ecs::version()));
        }
        let (categories, types) = (self.words("event.category"), self.words("event.type"));
        faults.extend(ecs::unexpected(&categories, &types));
        let state = self.get("sensor.exe.state").and_then(Value::as_str);
        if state.is_some_and(|state| !fields::STATES.contains(&state)) {
            faults.push(format!("sensor.exe.state: {state:?} isn't one of {:?}", fields::STATES));
        }
        let kind = self.get("event.kind").and_then(Value::as_str);
        if matches!(self.action(), "exe_deleted" | "exe_memfd") {
            let severity = self.get("event.severity").and_then(Value::as_u64);
            if kind != Some("alert")
                || !matches!(severity, Some(21 | 47 | 73 | 99))
                || !self.has("sensor.reason")
            {
                faults.push(format!(
                    "an alert of kind {kind:?}, severity {severity:?}, and perhaps no sensor.reason"
                ));
            }
        } else if kind == Some("alert") {
            faults.push(format!("{} is no alert", self.action()));
        }
        faults
    }

    /// Checks all that every event must have.
    pub fn whole(&self) {
        let faults = self.faults();
        assert!(faults.is_empty(), "not a whole event: {faults:#?}\n{self:#}");
    }
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

/// A text without its quotes, all else as JSON has it.
#[must_use]
pub fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn walk<'a>(name: String, value: &'a Value, all: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(members) => {
            for (member, inner) in members {
                walk(if name.is_empty() { member.clone() } else { format!("{name}.{member}") }, inner, all);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                walk(format!("{name}[]"), item, all);
            }
        }
        _ => all.push((name, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::Event;

    #[test]
    fn raw_control_bytes_and_torn_lines_are_refused() {
        assert!(Event::parse(b"{\"a\":\"\x1b\"}").is_err());
        assert!(Event::parse(b"{\"a\":").is_err());
        assert!(Event::parse(b"[]").is_err());
    }

    #[test]
    fn fields_are_found_by_dotted_names() {
        let event = Event::parse(br#"{"a":{"b":[{"c":1},{"c":2}],"d":"x"}}"#).unwrap();
        assert_eq!(event.str("a.d"), "x");
        let names: Vec<String> = event.leaves().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.b[].c", "a.b[].c", "a.d"]);
        assert!(event.faults().iter().any(|fault| fault.starts_with("event.id")));
    }
}
