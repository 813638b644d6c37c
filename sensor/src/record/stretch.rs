//! Fields that stand together and are the same in many records.

use super::{Fields, Record, Value};
use crate::field::Field;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

/// What a record has of a range of the dictionary, shared by many. What a format makes of it is
/// kept here, so that it is made once.
pub struct Stretch {
    record: Record,
    /// All fields of the range, also those without a value.
    span: Fields,
    first: Field,
    last: Field,
    written: OnceLock<(Vec<u8>, bool)>,
}

impl Stretch {
    /// The record's fields of this range; none if it has none there.
    #[must_use]
    pub fn of(record: &Record, range: RangeInclusive<Field>) -> Option<Self> {
        let fields = Field::ALL.get(*range.start() as usize..=*range.end() as usize)?;
        let mut part = Record::with_capacity(fields.len());
        let mut span = Fields::default();
        for field in fields {
            span.add(*field);
            if let Some(value) = record.get(*field) {
                part.set(*field, value.clone());
            }
        }
        let (first, last) = (part.iter().next()?.0, part.iter().last()?.0);
        Some(Stretch { record: part, span, first, last, written: OnceLock::new() })
    }

    /// The first of its fields that has a value.
    pub fn first(&self) -> Field {
        self.first
    }

    /// The last.
    pub fn last(&self) -> Field {
        self.last
    }

    /// Fields and values, in the order of the dictionary.
    pub fn iter(&self) -> impl Iterator<Item = (Field, &Value)> {
        self.record.iter()
    }

    /// What `write` gave the first time. For one format alone: that of which most is written.
    pub(crate) fn written(&self, write: impl FnOnce() -> (Vec<u8>, bool)) -> &(Vec<u8>, bool) {
        self.written.get_or_init(write)
    }

    pub(super) fn get(&self, field: Field) -> Option<&Value> {
        self.record.get(field)
    }

    pub(super) fn span(&self) -> Fields {
        self.span
    }
}

/// What was made of it is nothing that it is.
impl fmt::Debug for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Part;
    use std::sync::Arc;

    const RANGE: RangeInclusive<Field> = Field::ProcessUserId..=Field::ProcessGroupId;

    fn user() -> Record {
        let mut record = Record::new();
        record.set(Field::ProcessPid, 1_u32);
        record.set(Field::ProcessUserId, 2_u32);
        record.set(Field::ProcessSavedUserId, 3_u32);
        record
    }

    fn stretch() -> Arc<Stretch> {
        Arc::new(Stretch::of(&user(), RANGE).unwrap())
    }

    #[test]
    fn a_shared_stretch_is_as_its_fields() {
        let mut record = Record::new();
        record.set(Field::ProcessPid, 1_u32);
        record.share(&stretch());
        record.set(Field::ProcessParentPid, 4_u32);
        assert_eq!((record.parts().count(), record.len()), (3, 4));
        let mut plain = user();
        assert_ne!(record, plain);
        plain.set(Field::ProcessParentPid, 4_u32);
        assert_eq!(record, plain);
        assert!(record.has(Field::ProcessSavedUserId) && !record.has(Field::ProcessUserName));
        let (mut one, mut two) = (Record::new(), Record::new());
        one.extend_from(&record);
        two.extend(record);
        assert_eq!((&one, &two), (&plain, &plain));
    }

    #[test]
    fn a_field_within_the_range_is_set_beside_the_others() {
        for (field, fields) in [(Field::ProcessUserName, 3), (Field::ProcessUserId, 2)] {
            let (mut before, mut after) = (Record::new(), Record::new());
            before.set(field, "x");
            before.share(&stretch());
            after.share(&stretch());
            after.set(field, "x");
            for record in [&before, &after] {
                assert_eq!((record.len(), record.parts().count()), (fields, fields));
                assert!(record.parts().all(|part| matches!(part, Part::Field(..))));
            }
            assert_eq!(after.get(field), Some(&Value::Word("x")));
            assert_eq!(before.get(Field::ProcessSavedUserId), Some(&Value::U64(3)));
        }
    }

    #[test]
    fn a_range_without_values_is_no_stretch() {
        assert!(Stretch::of(&user(), Field::UserId..=Field::UserName).is_none());
        let stretch = stretch();
        assert_eq!((stretch.first(), stretch.last()), (Field::ProcessUserId, Field::ProcessSavedUserId));
    }
}
