//! Where fields go in a line, and in the elements of arrays of objects.

use crate::field::{Field, Kind};
use crate::format::Plan;
use std::sync::LazyLock;

/// That of the line, or of an element of this array.
pub(super) fn plan(array: Option<Field>) -> &'static Plan {
    static PLANS: LazyLock<Vec<(Option<Field>, Plan)>> = LazyLock::new(|| {
        let arrays = Field::ALL.iter().filter(|field| field.kind() == Kind::Objects);
        let of = |array| Plan::new(Field::ALL.iter().map(|field| (inside(*field, array), field.short())));
        std::iter::once(None).chain(arrays.copied().map(Some)).map(|array| (array, of(array))).collect()
    });
    // What is no array of objects has elements that keep all their names, as the line does.
    let known = PLANS.iter().find(|(of, _)| *of == array);
    &known.unwrap_or(&PLANS[0]).1
}

/// The objects that the field stands in, as seen from inside the objects of this array: none for
/// `sensor.runners.pid` inside `sensor.runners`. A field from elsewhere keeps all of its own.
fn inside(field: Field, array: Option<Field>) -> &'static str {
    let object = field.object();
    match array.and_then(|array| object.strip_prefix(array.name())) {
        Some("") => "",
        Some(rest) => rest.strip_prefix('.').unwrap_or(object),
        None => object,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_room() {
        assert!(plan(None).has_room());
    }

    #[test]
    fn every_object_of_an_array_is_known_by_its_short_path() {
        let at = |field, array| inside(field, Some(array));
        assert_eq!(at(Field::RunnerPid, Field::SensorRunners), "");
        assert_eq!(at(Field::RunnerPid, Field::SensorLost), "sensor.runners");
        assert_eq!(at(Field::ProcessThreadId, Field::SensorRunners), "process.thread");
        assert_eq!(inside(Field::ProcessThreadId, None), "process.thread");
    }
}
