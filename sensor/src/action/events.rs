//! `sensor events`: the catalogue of events, from the table that the code uses.

use super::{Catalogue, Failure, chosen, print};
use crate::{
    event::{ACTIONS, Action},
    format,
};

/// Prints it.
///
/// # Errors
/// When it is wanted in a format that has no place for it, or standard output doesn't take it.
pub fn act(args: &Catalogue) -> Result<(), Failure> {
    let text = match (args.markdown, chosen(args)?) {
        (true, _) => markdown(),
        (false, true) => {
            ACTIONS.iter().map(|action| format!("{:<18} {}\n", action.name, action.sentence)).collect()
        }
        (false, false) => ACTIONS.iter().map(|action| json(action)).collect(),
    };
    print(&text)
}

fn json(action: &Action) -> String {
    let fields: Vec<_> = action.fields.iter().map(|field| field.name()).collect();
    format::flat_object(&[
        ("action", action.name),
        ("kind", action.kind),
        ("category", &action.category.join(",")),
        ("type", &action.types.join(",")),
        ("sentence", action.sentence),
        ("hooks", action.hooks),
        ("fields", &fields.join(",")),
    ])
}

/// The page `docs/events.md`.
fn markdown() -> String {
    let mut page = String::from(
        "# Events\n\n<!-- Made by `cargo xtask docs` from sensor/src/event.rs; edit that. -->\n\n\
         One JSON object a line, in the names of the Elastic Common Schema; what it lacks is under `sensor.`. \
         Every event has `@timestamp`, `ecs.version`, `event.{kind,category,type,action,sequence,id}`, \
         `host.{name,id,boot.id}` and `sensor.version`; an event about a process has the fields of \
         `process`, `user`, `sensor.login`, `sensor.exe`, `sensor.namespace` and `sensor.cgroup` as far as they \
         are known. All fields: [fields.md](fields.md).\n",
    );
    for action in ACTIONS {
        page.push_str(&format!(
            "\n## `{}`\n\n{}\n\n| | |\n|---|---|\n| `event.kind` | `{}` |\n| `event.category` | `{}` |\n| `event.type` | `{}` |\n| seen by | {} |\n",
            action.name,
            action.sentence,
            action.kind,
            action.category.join("`, `"),
            action.types.join("`, `"),
            action.hooks,
        ));
        if !action.fields.is_empty() {
            let names: Vec<_> = action.fields.iter().map(|field| format!("`{}`", field.name())).collect();
            page.push_str(&format!("| also carries | {} |\n", names.join(", ")));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_in_the_page_and_a_line() {
        let page = markdown();
        for action in ACTIONS {
            assert!(page.contains(&format!("## `{}`", action.name)));
            assert!(json(action).starts_with(&format!("{{\"action\":\"{}\"", action.name)));
        }
    }

    #[test]
    fn every_event_has_a_class_in_ocsf() {
        for action in ACTIONS {
            let mut line = Vec::new();
            format::named("ocsf").unwrap().write(&action.record(), &mut line);
            let line = String::from_utf8(line).unwrap();
            assert!(!line.contains("\"activity_name\":\"Unknown\""), "{}: {line}", action.name);
        }
    }
}
