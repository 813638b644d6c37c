//! `sensor fields`: the dictionary of fields, from the table that the code uses.

use super::{Catalogue, Failure, chosen, print};
use crate::{field::Field, format};

/// Prints it.
///
/// # Errors
/// When it is wanted in a format that has no place for it, or standard output doesn't take it.
pub fn act(args: &Catalogue) -> Result<(), Failure> {
    let text = match (args.markdown, chosen(args)?) {
        (true, _) => markdown(),
        (false, true) => Field::ALL
            .iter()
            .map(|field| {
                format!("{:<45} {:<8} {}\n", field.name(), field.kind().ecs_type(), field.sentence())
            })
            .collect(),
        (false, false) => Field::ALL.iter().map(|field| json(*field)).collect(),
    };
    print(&text)
}

fn json(field: Field) -> String {
    format::flat_object(&[
        ("name", field.name()),
        ("type", field.kind().ecs_type()),
        ("source", source(field)),
        ("ocsf", field.ocsf().unwrap_or("")),
        ("sentence", field.sentence()),
    ])
}

fn source(field: Field) -> &'static str {
    if field.ecs() { "ECS" } else { "sensor" }
}

/// The page `docs/fields.md`.
fn markdown() -> String {
    let mut page = String::from(
        "# Fields\n\n<!-- Made by `cargo xtask docs` from sensor/src/field.rs; edit that. -->\n\n\
         64-bit identifiers are strings. `ECS`: the Elastic Common Schema has the field; `sensor`: it is ours.\n\n\
         | field | type | from | OCSF | |\n|---|---|---|---|---|\n",
    );
    for field in Field::ALL {
        let array = if field.kind().is_array() { "[]" } else { "" };
        let ocsf = field.ocsf().map_or_else(String::new, |path| format!("`{path}`"));
        page.push_str(&format!(
            "| `{}` | {}{array} | {} | {ocsf} | {} |\n",
            field.name(),
            field.kind().ecs_type(),
            source(*field),
            field.sentence().replace('|', "\\|"),
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_in_the_page_and_a_line() {
        let page = markdown();
        for field in Field::ALL {
            assert!(page.contains(&format!("| `{}` |", field.name())));
            assert!(json(*field).contains(field.name()));
        }
    }
}
