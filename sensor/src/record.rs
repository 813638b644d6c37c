//! What an event is after it was understood: a list of (field, value), in the order of the
//! dictionary. No stage that works on records knows kinds of events.

use crate::field::{Field, Kind};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::ops::RangeBounds;
use std::sync::Arc;

mod flags;
mod stretch;

pub(crate) use flags::names;
pub use flags::{Flags, Names};
pub use stretch::Stretch;

/// Bytes from the host that are meant as text: file names, arguments. Who wrote them may be an
/// attacker: any byte can be there, also such as are not UTF-8. A clone shares the bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Bytes);

impl Text {
    /// A copy of the bytes.
    pub fn copy_from(bytes: &[u8]) -> Self {
        Text(Bytes::copy_from_slice(bytes))
    }

    /// A copy of these bytes, or the text itself where they are the same.
    #[must_use]
    pub fn replaced(&self, bytes: &[u8]) -> Self {
        if self.as_bytes() == bytes { self.clone() } else { Self::copy_from(bytes) }
    }

    /// The prefix, a hyphen and the number.
    #[must_use]
    pub fn numbered(prefix: &str, number: u64) -> Self {
        // Exactly what it needs: not to be moved again.
        let digits = 1 + number.checked_ilog10().unwrap_or(0) as usize;
        let mut text = String::with_capacity(prefix.len() + 1 + digits);
        text.push_str(prefix);
        let _ = write!(text, "-{number}");
        Text::from(text)
    }

    /// A part of it, which shares the bytes.
    ///
    /// # Panics
    /// When it is not a part.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        Text(self.0.slice(range))
    }

    /// The exact bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text with U+FFFD in place of what is not UTF-8.
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Whether all of it is UTF-8.
    pub fn is_utf8(&self) -> bool {
        std::str::from_utf8(&self.0).is_ok()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Escaped, so that a debug line is safe to show.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Text(Bytes::from_static(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text(Bytes::from(text))
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Text(Bytes::from(bytes))
    }
}

impl From<Bytes> for Text {
    fn from(bytes: Bytes) -> Self {
        Text(bytes)
    }
}

/// A moment, in nanoseconds since the epoch (1970, UTC); good for the years 1677 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// When the host booted, nanoseconds since the epoch; moves when the clock is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot(pub i64);

impl Boot {
    /// The moment that was so many nanoseconds after the boot.
    #[must_use]
    pub fn at(self, since_boot: u64) -> Time {
        Time(self.0.saturating_add(i64::try_from(since_boot).unwrap_or(i64::MAX)))
    }
}

/// What a field holds in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    U64(u64),
    /// A whole number that may be negative.
    I64(i64),
    /// True or false.
    Bool(bool),
    /// A 64-bit identifier; a decimal string in JSON, whose readers round large numbers.
    Id(u64),
    /// A text from the host.
    Text(Text),
    /// Texts from the host, shared by the records that carry them.
    Texts(Arc<[Text]>),
    /// A word of ours.
    Word(&'static str),
    /// Words of ours.
    Words(&'static [&'static str]),
    /// Those of a table of ours whose bits are set.
    Flags(Flags),
    /// A moment.
    Time(Time),
    /// An array of objects.
    Records(Vec<Record>),
}

impl Value {
    /// Whether a field of this kind is meant to hold this sort of value. Formats write any value
    /// under any field; a value that doesn't fit is a mistake of the code that set it.
    pub fn fits(&self, kind: Kind) -> bool {
        match self {
            Value::U64(_) | Value::I64(_) => kind == Kind::Long,
            Value::Bool(_) => kind == Kind::Boolean,
            Value::Id(_) => matches!(kind, Kind::Id | Kind::Keyword),
            Value::Text(_) | Value::Word(_) => matches!(kind, Kind::Id | Kind::Ip | Kind::Keyword),
            Value::Texts(_) | Value::Words(_) | Value::Flags(_) => kind == Kind::Keywords,
            Value::Time(_) => kind == Kind::Date,
            Value::Records(_) => kind == Kind::Objects,
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident($how:expr);)+) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Value::$variant($how(value))
            }
        })+
    };
}

value_from! {
    u64 => U64(u64::from);
    u32 => U64(u64::from);
    u16 => U64(u64::from);
    u8 => U64(u64::from);
    i64 => I64(i64::from);
    i32 => I64(i64::from);
    bool => Bool(bool::from);
    Text => Text(Text::from);
    String => Text(Text::from);
    Vec<u8> => Text(Text::from);
    Bytes => Text(Text::from);
    Arc<[Text]> => Texts(Arc::from);
    Vec<Text> => Texts(Arc::from);
    &'static str => Word(<&'static str>::from);
    &'static [&'static str] => Words(<&'static [&'static str]>::from);
    Flags => Flags(Flags::from);
    Time => Time(Time::from);
    Vec<Record> => Records(Vec::from);
}

const COUNT: usize = Field::ALL.len();
const WORDS: usize = COUNT.div_ceil(64);

// A place in a record takes a byte.
const _: () = assert!(COUNT <= 256);

/// An ordered list of (field, value): each field at most once, in the order of the dictionary
/// whatever the order in which they were set.
#[derive(Clone, Default)]
pub struct Record {
    /// In the order in which they were set first: none has to move for another.
    values: Vec<Value>,
    /// The fields that have one of the values.
    own: Fields,
    /// Whose fields are here too; none of them has a value of its own.
    stretches: Vec<Arc<Stretch>>,
    /// The first field of each stretch.
    firsts: Fields,
    /// All fields that could be in the stretches.
    covered: Fields,
    /// Where its value is, or the stretch that it is the first of.
    places: Places,
}

/// A piece of a record.
#[derive(Debug)]
pub enum Part<'a> {
    /// One field.
    Field(Field, &'a Value),
    /// Several that follow each other.
    Stretch(&'a Stretch),
}

#[derive(Clone)]
struct Places([u8; COUNT]);

impl Default for Places {
    fn default() -> Self {
        Places([0; COUNT])
    }
}

/// The same fields with the same values, in whatever order they were set.
impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Record {}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Record {
    /// A record without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// A record without fields that has room for this many.
    pub fn with_capacity(fields: usize) -> Self {
        Record { values: Vec::with_capacity(fields), ..Self::default() }
    }

    /// Gives the field this value; one that it had is replaced.
    pub fn set(&mut self, field: Field, value: impl Into<Value>) {
        self.put(field, value.into());
    }

    fn put(&mut self, field: Field, value: Value) {
        if self.covered.has(field) {
            self.dissolve();
        }
        if let Some(held) = self.place(field).and_then(|place| self.values.get_mut(place)) {
            *held = value;
            return;
        }
        self.own.add(field);
        // No more values than fields, whose number fits.
        self.places.0[field as usize] = self.values.len() as u8;
        self.values.push(value);
    }

    /// Sets the fields of a stretch, without a copy of them unless some could be here already.
    pub fn share(&mut self, stretch: &Arc<Stretch>) {
        let span = stretch.span();
        if self.own.meets(span) || self.covered.meets(span) {
            stretch.iter().for_each(|(field, value)| self.put(field, value.clone()));
            return;
        }
        self.places.0[stretch.first() as usize] = self.stretches.len() as u8;
        self.firsts.add(stretch.first());
        self.covered.join(span);
        self.stretches.push(Arc::clone(stretch));
    }

    /// Makes all fields of the stretches its own.
    fn dissolve(&mut self) {
        (self.firsts, self.covered) = Default::default();
        for stretch in std::mem::take(&mut self.stretches) {
            stretch.iter().for_each(|(field, value)| self.put(field, value.clone()));
        }
    }

    /// The field's value, if it has one.
    pub fn get(&self, field: Field) -> Option<&Value> {
        match self.place(field) {
            Some(place) => self.values.get(place),
            None if self.covered.has(field) => self.stretches.iter().find_map(|stretch| stretch.get(field)),
            None => None,
        }
    }

    /// The field's text, if it holds one.
    pub fn text(&self, field: Field) -> Option<&Text> {
        match self.get(field)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The field's number, if it holds one.
    pub fn number(&self, field: Field) -> Option<u64> {
        match self.get(field)? {
            Value::U64(number) | Value::Id(number) => Some(*number),
            _ => None,
        }
    }

    /// The field's texts; none where it holds none.
    pub fn texts(&self, field: Field) -> &[Text] {
        match self.get(field) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// Whether the field has a value.
    pub fn has(&self, field: Field) -> bool {
        self.get(field).is_some()
    }

    /// Fields and values, in the order of the dictionary.
    pub fn iter(&self) -> impl Iterator<Item = (Field, &Value)> {
        let mut all = self.own;
        all.join(self.covered);
        all.iter().filter_map(|field| Some((field, self.get(field)?)))
    }

    /// The same, with fields together that stand in one stretch.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let mut all = self.own;
        all.join(self.firsts);
        all.iter().filter_map(|field| {
            let place = usize::from(self.places.0[field as usize]);
            if self.own.has(field) {
                return self.values.get(place).map(|value| Part::Field(field, value));
            }
            self.stretches.get(place).map(|stretch| Part::Stretch(stretch))
        })
    }

    /// How many fields have a value.
    pub fn len(&self) -> usize {
        self.values.len() + self.stretches.iter().map(|stretch| stretch.iter().count()).sum::<usize>()
    }

    /// Whether no field has a value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.stretches.is_empty()
    }

    /// Sets all fields of the other record, which wins where both have one.
    pub fn extend(&mut self, mut other: Record) {
        for field in other.own.iter() {
            if let Some(value) = other.place(field).and_then(|place| other.values.get_mut(place)) {
                self.put(field, std::mem::replace(value, Value::Bool(false)));
            }
        }
        other.stretches.iter().for_each(|stretch| self.share(stretch));
    }

    /// As [`Record::extend`], of a record that stays.
    pub fn extend_from(&mut self, other: &Record) {
        for part in other.parts() {
            match part {
                Part::Field(field, value) => self.put(field, value.clone()),
                Part::Stretch(stretch) => {
                    stretch.iter().for_each(|(field, value)| self.put(field, value.clone()));
                }
            }
        }
    }

    /// Fields whose value is not of the dictionary's kind, here and in inner records: none,
    /// unless the code is wrong. For tests.
    pub fn misfits(&self) -> Vec<Field> {
        let mut found = Vec::new();
        for (field, value) in self.iter() {
            if !value.fits(field.kind()) {
                found.push(field);
            }
            if let Value::Records(records) = value {
                found.extend(records.iter().flat_map(Record::misfits));
            }
        }
        found
    }

    /// Where the field's own value is, if it has one.
    fn place(&self, field: Field) -> Option<usize> {
        self.own.has(field).then(|| usize::from(self.places.0[field as usize]))
    }
}

/// A set of fields, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fields([u64; WORDS]);

impl Fields {
    fn has(self, field: Field) -> bool {
        self.0[field as usize / 64] & (1 << (field as usize % 64)) != 0
    }

    fn add(&mut self, field: Field) {
        self.0[field as usize / 64] |= 1 << (field as usize % 64);
    }

    fn join(&mut self, other: Fields) {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word |= more);
    }

    fn meets(self, other: Fields) -> bool {
        self.0.iter().zip(other.0).any(|(one, two)| one & two != 0)
    }

    /// In the order of the dictionary.
    fn iter(mut self) -> impl Iterator<Item = Field> {
        let mut word = 0;
        std::iter::from_fn(move || {
            while *self.0.get(word)? == 0 {
                word += 1;
            }
            let bits = &mut self.0[word];
            let lowest = bits.trailing_zeros() as usize;
            *bits &= *bits - 1;
            Field::ALL.get(word * 64 + lowest).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(record: &Record) -> Vec<Field> {
        record.iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn fields_come_in_the_order_of_the_dictionary() {
        let mut record = Record::new();
        for field in Field::ALL.iter().rev() {
            record.set(*field, field.name());
        }
        assert_eq!(fields(&record), Field::ALL);
        assert!(Field::ALL.iter().all(|f| record.get(*f) == Some(&Value::Word(f.name()))));
    }

    #[test]
    fn any_order_of_setting_gives_the_same_record() {
        let (mut state, mut record, mut sorted) = (1_u64, Record::new(), std::collections::BTreeMap::new());
        for n in 0..2000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let field = Field::ALL[(state >> 33) as usize % Field::ALL.len()];
            record.set(field, n);
            sorted.insert(field, Value::U64(n));
            assert_eq!(record.len(), sorted.len());
        }
        assert!(record.iter().eq(sorted.iter().map(|(field, value)| (*field, value))));
    }

    #[test]
    fn a_second_value_replaces_the_first() {
        let mut record = Record::with_capacity(2);
        record.set(Field::ProcessPid, 1_u32);
        record.set(Field::EventAction, "exec");
        record.set(Field::ProcessPid, 2_u32);
        assert_eq!(record.get(Field::ProcessPid), Some(&Value::U64(2)));
        assert_eq!(fields(&record), [Field::EventAction, Field::ProcessPid]);
        assert_eq!(record.get(Field::UserId), None);
    }

    #[test]
    fn extend_merges_and_the_other_wins() {
        let (mut one, mut two) = (Record::new(), Record::new());
        one.set(Field::ProcessPid, 1_u32);
        one.set(Field::UserId, Value::Id(0));
        two.set(Field::ProcessPid, 2_u32);
        two.set(Field::EventKind, "event");
        one.extend(two);
        assert_eq!(fields(&one), [Field::EventKind, Field::ProcessPid, Field::UserId]);
        assert_eq!(one.get(Field::ProcessPid), Some(&Value::U64(2)));
    }

    #[test]
    fn the_order_of_setting_does_not_count() {
        let (mut one, mut two) = (Record::new(), Record::new());
        one.set(Field::ProcessPid, 1_u32);
        one.set(Field::UserId, Value::Id(0));
        two.set(Field::UserId, Value::Id(0));
        assert_ne!(one, two);
        two.extend_from(&one);
        assert_eq!(one, two);
        two.set(Field::ProcessPid, 2_u32);
        assert_ne!(one, two);
    }

    #[test]
    fn misfits_are_found_also_inside() {
        let (mut record, mut inner) = (Record::new(), Record::new());
        inner.set(Field::RunnerPid, "one");
        record.set(Field::SensorRunners, vec![inner]);
        record.set(Field::ProcessPid, 1_u32);
        record.set(Field::UserId, Value::Id(1));
        record.set(Field::Timestamp, 5_u64);
        assert_eq!(record.misfits(), [Field::Timestamp, Field::RunnerPid]);
    }

    #[test]
    fn text_keeps_its_bytes() {
        let text = Text::copy_from(b"a\xffb");
        assert_eq!(text.as_bytes(), b"a\xffb");
        assert_eq!(text.to_str_lossy(), "a\u{fffd}b");
        assert!(!text.is_utf8());
        assert_eq!(Text::from("x"), Text::from(String::from("x")));
        assert!(Text::from(vec![]).is_empty());
    }

    #[test]
    fn numbered_texts() {
        for number in [0, 9, 10, u64::MAX] {
            assert_eq!(Text::numbered("a", number).to_str_lossy(), format!("a-{number}"));
        }
    }

    #[test]
    fn debug_text_is_safe_to_show() {
        let shown = format!("{:?}", Text::copy_from(b"\x1b[31m\xff\xe2\x80\xae"));
        assert!(shown.bytes().all(|b| (0x20..0x7f).contains(&b)), "{shown}");
    }
}
