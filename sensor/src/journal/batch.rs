//! Events on their way into the journal: lines, and the words by which they are found again.

use std::borrow::Cow;

use crate::{
    field::Field,
    record::{Record, Time, Value},
};

/// What an event is found by beside its time, its severity and its number: one word of each at most. Tables and columns have these
/// names.
pub(super) const WORDS: [&str; 7] = ["run", "action", "entity", "user", "login", "executable", "remote"];
/// The two that every event has.
pub(super) const ALWAYS: usize = 2;
/// Longest word, bytes: a path has no more, and what has is cut.
const WORD_MOST: usize = 4096;
/// An event has no such word.
const NONE: u16 = u16::MAX;

/// What is known of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of its line, with its end.
    pub line: usize,
    pub time: i64,
    pub severity: Option<u64>,
    pub sequence: Option<u64>,
    /// How many bytes of the words are its own, each in turn.
    lengths: [u16; WORDS.len()],
}

/// Some events that follow each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub lines: Vec<u8>,
    words: Vec<u8>,
    heads: Vec<Head>,
}

/// One event of a batch.
pub(super) struct Item<'a> {
    pub head: &'a Head,
    pub line: &'a [u8],
    pub words: [Option<&'a [u8]>; WORDS.len()],
}

impl Batch {
    /// Adds an event.
    pub fn push(&mut self, record: &Record, line: &[u8]) {
        let (run, sequence) = numbered(record);
        let mut lengths = [NONE; WORDS.len()];
        let words = [
            run,
            text(record, Field::EventAction),
            text(record, Field::ProcessEntityId),
            text(record, Field::UserName).or_else(|| text(record, Field::UserId)),
            text(record, Field::SensorLoginName).or_else(|| text(record, Field::SensorLoginUid)),
            text(record, Field::ProcessExecutable),
            text(record, remote(record)),
        ];
        for (at, (word, length)) in words.iter().zip(&mut lengths).enumerate() {
            let Some(word) = word.as_deref().or((at < ALWAYS).then_some("")) else { continue };
            let word = word.get(..word.floor_char_boundary(WORD_MOST)).unwrap_or_default();
            *length = word.len() as u16;
            self.words.extend_from_slice(word.as_bytes());
        }
        let time = match record.get(Field::Timestamp) {
            Some(Value::Time(Time(time))) => *time,
            _ => 0,
        };
        self.lines.extend_from_slice(line);
        let severity = record.number(Field::EventSeverity);
        self.heads.push(Head { line: line.len(), time, severity, sequence, lengths });
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.lines.len() + self.words.len() + self.heads.len() * size_of::<Head>()
    }

    /// The time of the last event.
    pub fn newest(&self) -> Option<i64> {
        self.heads.last().map(|head| head.time)
    }

    /// Each event in turn.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        let (mut lines, mut words) = (&self.lines[..], &self.words[..]);
        self.heads.iter().map(move |head| {
            let mut next = |length: &u16| {
                let (word, rest) =
                    (*length != NONE).then(|| words.split_at_checked((*length).into())).flatten()?;
                words = rest;
                Some(word)
            };
            let own = head.lengths.each_ref().map(&mut next);
            let (line, rest) = lines.split_at_checked(head.line).unwrap_or_default();
            lines = rest;
            Item { head, line, words: own }
        })
    }
}

/// A field's text as formats show it.
fn text(record: &Record, field: Field) -> Option<Cow<'_, str>> {
    match record.get(field)? {
        Value::Text(text) => Some(text.to_str_lossy()),
        Value::Word(word) => Some(Cow::Borrowed(word)),
        Value::U64(number) | Value::Id(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// The run and the number of which `event.id` is made; all of it where it is made of something else.
fn numbered(record: &Record) -> (Option<Cow<'_, str>>, Option<u64>) {
    let id = text(record, Field::EventId);
    let Some((run, number)) = id.as_deref().and_then(|id| id.rsplit_once('-')) else { return (id, None) };
    let plain = !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
    let most = |number: &u64| i64::try_from(*number).is_ok();
    match number.parse().ok().filter(most).filter(|_| plain) {
        Some(number) => (Some(Cow::Owned(run.to_owned())), Some(number)),
        None => (id, None),
    }
}

/// Where the other host's address is.
fn remote(record: &Record) -> Field {
    match record.get(Field::NetworkDirection) {
        Some(Value::Word("ingress")) => Field::SourceIp,
        Some(Value::Word("egress")) => Field::DestinationIp,
        // One that isn't connected has none.
        _ => Field::NetworkDirection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Text;

    fn words(record: &Record) -> Vec<Option<String>> {
        let mut batch = Batch::default();
        batch.push(record, b"x\n");
        let item = batch.iter().next().unwrap();
        item.words.iter().map(|word| word.map(|word| String::from_utf8(word.to_vec()).unwrap())).collect()
    }

    fn event(id: &'static str) -> Record {
        let mut record = Record::new();
        record.set(Field::EventId, Text::from(id));
        record.set(Field::EventAction, "exec");
        record
    }

    #[test]
    fn events_come_out_as_they_went_in() {
        let mut batch = Batch::default();
        let mut record = event("a1-7");
        record.set(Field::Timestamp, Time(5));
        record.set(Field::EventSeverity, 73_u64);
        record.set(Field::UserId, Text::from("0"));
        record.set(Field::ProcessExecutable, Text::copy_from(b"/\xff"));
        batch.push(&record, b"one\n");
        batch.push(&event("a1-8"), b"three\n");
        assert_eq!((batch.len(), batch.newest()), (2, Some(0)));
        let items: Vec<_> = batch.iter().collect();
        assert_eq!((items[0].line, items[1].line), (&b"one\n"[..], &b"three\n"[..]));
        let head = items[0].head;
        assert_eq!((head.time, head.severity, head.sequence), (5, Some(73), Some(7)));
        let shown: [Option<&[u8]>; 7] =
            [Some(b"a1"), Some(b"exec"), None, Some(b"0"), None, Some("/\u{fffd}".as_bytes()), None];
        assert_eq!(items[0].words, shown);
        assert_eq!(items[1].words, [Some(&b"a1"[..]), Some(b"exec"), None, None, None, None, None]);
    }

    #[test]
    fn names_go_before_numbers_and_the_other_host_is_on_the_other_side() {
        let mut record = event("a-1");
        record.set(Field::UserId, Text::from("7"));
        record.set(Field::UserName, Text::from("eve"));
        record.set(Field::SensorLoginUid, Text::from("8"));
        record.set(Field::SourceIp, Text::from("192.0.2.1"));
        record.set(Field::DestinationIp, Text::from("192.0.2.2"));
        assert_eq!(words(&record)[3..], [Some("eve".into()), Some("8".into()), None, None]);
        record.set(Field::NetworkDirection, "egress");
        assert_eq!(words(&record)[6], Some("192.0.2.2".into()));
        record.set(Field::NetworkDirection, "ingress");
        assert_eq!(words(&record)[6], Some("192.0.2.1".into()));
    }

    #[test]
    fn ids_of_another_make_are_kept_as_they_are() {
        for (id, run, sequence) in [
            ("a-b-9", "a-b", Some(9)),
            ("a-09", "a-09", None),
            ("a-0", "a-0", None),
            ("a-", "a-", None),
            ("plain", "plain", None),
            ("a-99999999999999999999", "a-99999999999999999999", None),
            ("a-18446744073709551615", "a-18446744073709551615", None),
            ("a-+1", "a-+1", None),
        ] {
            let record = event(id);
            let found = numbered(&record);
            assert_eq!((found.0.unwrap().into_owned(), found.1), (run.to_owned(), sequence), "{id}");
        }
        assert_eq!(words(&Record::new())[..3], [Some(String::new()), Some(String::new()), None]);
    }

    #[test]
    fn long_words_are_cut_where_a_letter_ends() {
        let mut record = event("a-1");
        record.set(Field::ProcessExecutable, Text::from("é".repeat(4000)));
        assert_eq!(words(&record)[5].as_ref().unwrap().len(), WORD_MOST);
    }
}
