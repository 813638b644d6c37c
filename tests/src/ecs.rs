//! The published list of ECS: which fields there are, of what type, and which values some may have (tests/ecs/fields.tsv, made by
//! make.js beside it).

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

const LIST: &str = include_str!("../ecs/fields.tsv");

/// What the list says of a field.
struct Published {
    /// As Elasticsearch stores it.
    kind: &'static str,
    array: bool,
    /// The only values that it may have; empty for any.
    values: Vec<&'static str>,
}

static FIELDS: LazyLock<HashMap<&str, Published>> = LazyLock::new(|| {
    let rows = LIST.lines().filter(|line| !line.starts_with('#'));
    let field = |row: &'static str| {
        let mut cells = row.split('\t');
        let name = cells.next().unwrap_or_default();
        let kind = cells.next().unwrap_or_default();
        let array = cells.next() == Some("array");
        let values = cells.next().map(|values| values.split(',').collect()).unwrap_or_default();
        (name, Published { kind, array, values })
    };
    rows.map(field).collect()
});

/// The version of the list.
#[must_use]
pub fn version() -> &'static str {
    LIST.lines().find_map(|line| line.strip_prefix("# version ")).unwrap_or_default()
}

/// What is wrong with a value under this name; names under `sensor.` are our own.
#[must_use]
pub fn wrong(name: &str, value: &Value) -> Option<String> {
    if name.starts_with("sensor.") {
        return None;
    }
    let Some(field) = FIELDS.get(name) else { return Some(format!("{name}: not in the list of ECS")) };
    let items: Vec<&Value> = match (field.array, value.as_array()) {
        (true, Some(items)) => items.iter().collect(),
        (true, None) => return Some(format!("{name}: {value} is no array")),
        (false, _) => vec![value],
    };
    let wrong = items.into_iter().find(|item| !field.takes(item))?;
    Some(format!("{name}: {wrong} is no {} of ECS, or none of {:?}", field.kind, field.values))
}

/// What is wrong with `event.type` beside `event.category`.
#[must_use]
pub fn unexpected(categories: &[&str], types: &[&str]) -> Option<String> {
    let goes = |kind: &&str| {
        let named =
            categories.iter().filter_map(|category| FIELDS.get(&*format!("event.category={category}")));
        named.into_iter().any(|of| of.values.contains(kind))
    };
    let odd = types.iter().find(|kind| !categories.is_empty() && !goes(kind))?;
    Some(format!("event.type {odd} doesn't go with {categories:?}"))
}

impl Published {
    fn takes(&self, value: &Value) -> bool {
        match self.kind {
            "keyword" | "wildcard" | "constant_keyword" => {
                value.as_str().is_some_and(|text| self.values.is_empty() || self.values.contains(&text))
            }
            "date" => value.as_str().is_some_and(crate::fields::is_time),
            "ip" => value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
            "long" | "integer" => {
                value.is_i64() || value.as_u64().is_some_and(|number| i64::try_from(number).is_ok())
            }
            "boolean" => value.is_boolean(),
            // Nothing of ours is of another type.
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::answer::run;
    use crate::sensor::command;

    fn catalogue(name: &str) -> Vec<Value> {
        let output = run(command().args([name, "--format", "json"]));
        let rows = output.stdout.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
        rows.map(|row| serde_json::from_slice(row).expect("a row")).collect()
    }

    fn word<'a>(row: &'a Value, name: &str) -> &'a str {
        row[name].as_str().expect("a text")
    }

    #[test]
    fn every_field_of_ours_is_published_or_under_sensor() {
        let fields = catalogue("fields");
        assert!(fields.len() > 200);
        for row in &fields {
            let (name, kind) = (word(row, "name"), word(row, "type"));
            assert_eq!(word(row, "source") == "ECS", !name.starts_with("sensor."), "{name}");
            let Some(field) = FIELDS.get(name) else {
                assert!(name.starts_with("sensor."), "{name} is not in the list");
                continue;
            };
            // One of the types of a family, which are asked for alike.
            let there = if field.kind == "wildcard" { "keyword" } else { field.kind };
            assert_eq!(kind, there, "{name}");
        }
    }

    #[test]
    fn every_event_is_of_published_categories_and_types() {
        let events = catalogue("events");
        assert!(events.len() > 10);
        for row in &events {
            let list = |name| word(row, name).split(',').filter(|word| !word.is_empty()).collect::<Vec<_>>();
            let (categories, types) = (list("category"), list("type"));
            for (name, value) in [
                ("event.kind", json!(word(row, "kind"))),
                ("event.category", json!(categories)),
                ("event.type", json!(types)),
            ] {
                assert_eq!(wrong(name, &value), None, "{row}");
            }
            assert_eq!(unexpected(&categories, &types), None, "{row}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        for (name, value) in [
            ("process.pids", json!(1)),
            ("process.pid", json!("1")),
            ("process.pid", json!(u64::MAX)),
            ("process.args", json!([1])),
            ("process.args", json!("a")),
            ("process.name", json!(["a"])),
            ("event.kind", json!("odd")),
            ("event.category", json!(["process", "odd"])),
            ("source.ip", json!("localhost")),
            ("@timestamp", json!("yesterday")),
        ] {
            assert!(wrong(name, &value).is_some(), "{name} {value}");
        }
        assert_eq!(wrong("process.args", &json!(["a"])), None);
        assert!(unexpected(&["network"], &["creation"]).is_some());
    }
}
