//! Bytes to meaning: head, kind and size are checked, and whatever the bytes are, it never panics.
//!
//! Here are also all actions that the sensor can tell, as one table: what crosses from the kernel
//! is a kind, what a SIEM sees is an action, and some actions come from user space alone.

use sensor_common::{
    kinds,
    wire::{self, Header, Path, Span, TEXT},
};
use zerocopy::FromBytes;

pub use sensor_common::wire::{Actor, Running};

use crate::{
    field::Field,
    record::{Record, Text},
};

pub mod contain;
pub mod coverage;
pub mod exe_deleted;
pub mod exe_memfd;
pub mod exec;
pub mod exit;
pub mod fork;
pub mod image;
pub mod loss;
pub mod name;
pub mod process_snapshot;
pub mod socket;
pub mod touch;
pub mod traffic;
pub mod usage;
pub mod wanted;

pub use socket as socket_accept;
pub use socket as socket_bind;
pub use socket as socket_close;
pub use socket as socket_connect;
pub use socket as socket_listen;
pub use socket as socket_look;
pub use socket::attempt as socket_attempt;

/// The fields of what was used, between others.
macro_rules! with_used {
    ([$($before:ident),*], [$($after:ident),*]) => {
        &[
            $(Field::$before,)*
            Field::SensorUsageDiskReadBytes,
            Field::SensorUsageDiskWriteBytes,
            Field::SensorUsageDiskCancelledWriteBytes,
            Field::SensorUsageFileReadBytes,
            Field::SensorUsageFileWriteBytes,
            Field::SensorUsageFileReadCalls,
            Field::SensorUsageFileWriteCalls,
            Field::SensorUsageNetRxBytes,
            Field::SensorUsageNetTxBytes,
            Field::SensorUsageNetRxPackets,
            Field::SensorUsageNetTxPackets,
            Field::SensorUsageCpuNs,
            $(Field::$after,)*
        ]
    };
}
pub(crate) use with_used;

/// When something was seen, and which process it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since boot.
    pub time: u64,
    /// The process.
    pub key: Key,
    /// The thread, in the host's pid namespace.
    pub thread: u32,
}

/// A process over the whole boot: a reused pid is another key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Process id in the host's pid namespace.
    pub pid: u32,
    /// When it began, nanoseconds since boot.
    pub start: u64,
}

/// A record from the kernel, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When and about whom.
    pub stamp: Stamp,
    /// Who acts.
    pub actor: Actor,
    /// What is told.
    pub fact: Fact,
}

macro_rules! fact {
    ($($id:literal $name:ident $module:ident $kind:ident;)*) => {
        /// What a record tells, by kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Fact {
            $(
                #[doc = concat!("See `", stringify!($module), "`.")]
                $kind($module::$kind),
            )*
        }

        fn fact(kind: u16, record: &Tail<'_>, body: &[u8], flags: u16) -> Result<Fact, Malformed> {
            match kind {
                $(wire::$name => {
                    let (body, _) = wire::$module::$kind::read_from_prefix(body)
                        .map_err(|_| Malformed::Short { kind: stringify!($module) })?;
                    Ok(Fact::$kind($module::decode(&body, record, flags)))
                })*
                _ => Err(Malformed::Kind(kind)),
            }
        }
    };
}
kinds!(fact);

/// Why bytes are no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not even a head.
    #[error("a record of {0} bytes has no head")]
    Head(usize),
    /// A kind that this version doesn't know.
    #[error("a record of unknown kind {0}")]
    Kind(u16),
    /// The head says another size than there is.
    #[error("a record of {there} bytes says it has {said}")]
    Size {
        /// Bytes that are there.
        there: usize,
        /// Bytes that the head says.
        said: u32,
    },
    /// The body is cut off.
    #[error("a record of kind {kind} is cut off")]
    Short {
        /// Name of the kind.
        kind: &'static str,
    },
}

impl Malformed {
    /// Its word in a `loss` event.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Head(_) | Self::Size { .. } | Self::Short { .. } => "malformed",
            Self::Kind(_) => "unknown_kind",
        }
    }
}

/// Understands one record.
///
/// # Errors
/// When the bytes are none.
pub fn decode(record: &[u8]) -> Result<Event, Malformed> {
    let (header, rest) = Header::read_from_prefix(record).map_err(|_| Malformed::Head(record.len()))?;
    if header.size as usize != record.len() {
        return Err(Malformed::Size { there: record.len(), said: header.size });
    }
    let (actor, body) = Actor::read_from_prefix(rest).map_err(|_| Malformed::Short { kind: "actor" })?;
    let fact = fact(header.kind, &Tail(record), body, header.flags)?;
    let key = Key { pid: header.pid, start: header.start };
    Ok(Event { stamp: Stamp { time: header.time, key, thread: header.tid }, actor, fact })
}

/// The event that a record would have been which can't be understood, as far as its head says so.
#[must_use]
pub fn action_meant(record: &[u8]) -> &'static str {
    let kind = Header::read_from_prefix(record).map(|(header, _)| header.kind);
    let known = kind.ok().and_then(|kind| wire::KINDS.iter().find(|(known, _)| *known == kind));
    known.map_or("unknown", |(_, name)| action(name))
}

/// The records of a sweep, one after the other; what follows a damaged one can't be told apart any more.
pub fn decode_rows(mut rows: &[u8]) -> impl Iterator<Item = Result<Event, Malformed>> {
    std::iter::from_fn(move || {
        if rows.is_empty() {
            return None;
        }
        let said = Header::read_from_prefix(rows).map_or(usize::MAX, |(header, _)| header.size as usize);
        let (row, rest) = match said {
            0 => (rows, &[][..]),
            _ => rows.split_at_checked(said).unwrap_or((rows, &[])),
        };
        rows = rest;
        Some(decode(row))
    })
}

/// The whole record, from which text is taken.
pub struct Tail<'a>(&'a [u8]);

impl Tail<'_> {
    fn bytes(&self, span: Span) -> &[u8] {
        let start = usize::from(span.offset);
        // What stands before the text are numbers, kernel addresses among them: never to be shown.
        if start < TEXT {
            return &[];
        }
        self.0.get(start..start + usize::from(span.len)).unwrap_or(&[])
    }

    /// Pieces that are each ended by a NUL; an end without one counts too.
    fn pieces(&self, span: Span) -> impl Iterator<Item = &[u8]> {
        let bytes = self.bytes(span);
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        bytes.split(|byte| *byte == 0).take(if bytes.is_empty() && span.len == 0 { 0 } else { usize::MAX })
    }

    /// Text up to the first NUL.
    fn text(&self, span: Span) -> Option<Text> {
        self.pieces(span).next().filter(|text| !text.is_empty()).map(Text::copy_from)
    }

    /// Names from the leaf up, joined from the root down.
    fn joined(&self, span: Span) -> Vec<u8> {
        let names: Vec<&[u8]> = self.pieces(span).collect();
        let mut path = Vec::with_capacity(usize::from(span.len) + 1);
        for name in names.into_iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        path
    }

    fn location(&self, path: &Path) -> Location {
        let joined = self.joined(path.names);
        Location {
            // What was never in a directory has a name and no path.
            path: match joined.strip_prefix(b"/") {
                Some(name) if path.flags & Path::NAMELESS != 0 => Text::copy_from(name),
                _ => Text::from(joined),
            },
            cut: path.flags & Path::CUT != 0,
            nameless: path.flags & Path::NAMELESS != 0,
            detached: path.flags & Path::DETACHED != 0,
        }
    }
}

/// Where a file is, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The path, absolute; of something that never was in a directory, its name.
    pub path: Text,
    /// The directories at the top are missing.
    pub cut: bool,
    /// It never was in a directory.
    pub nameless: bool,
    /// Its mount is in no namespace any more.
    pub detached: bool,
}

/// One event that the sensor can tell.
#[derive(Debug)]
pub struct Action {
    /// `event.action`.
    pub name: &'static str,
    /// `event.kind`.
    pub kind: &'static str,
    /// `event.category`.
    pub category: &'static [&'static str],
    /// `event.type`.
    pub types: &'static [&'static str],
    /// When it is told.
    pub sentence: &'static str,
    /// What sees it.
    pub hooks: &'static str,
    /// The fields it has beside those of every event and of the process.
    pub fields: &'static [Field],
    /// Whether it tells of a process.
    pub process: bool,
}

/// Every event that the sensor can tell.
pub const ACTIONS: &[&Action] = &[
    &process_snapshot::ACTION,
    &fork::ACTION,
    &exec::ACTION,
    &exit::ACTION,
    &exe_deleted::ACTION,
    &exe_memfd::ACTION,
    &socket::BIND,
    &socket::LISTEN,
    &socket::CONNECT,
    &socket::ACCEPT,
    &socket::CLOSE,
    &loss::ACTION,
    &coverage::ACTION,
    &contain::ACTION,
    &usage::ACTION,
];

/// The event that a kind of record becomes: its own, but for those of which an alert may come.
#[must_use]
pub fn action(kind: &'static str) -> &'static str {
    match ACTIONS.iter().find(|action| action.name == kind) {
        Some(action) => action.name,
        None if kind == "socket_look" => socket::LISTEN.name,
        None if kind == "socket_attempt" => socket::CONNECT.name,
        None => exe_deleted::ACTION.name,
    }
}

/// Severities of alerts (`event.severity`).
pub mod severity {
    /// Usual on a healthy host.
    pub const LOW: u64 = 21;
    /// Odd.
    pub const MEDIUM: u64 = 47;
    /// Seldom innocent.
    pub const HIGH: u64 = 73;
}

impl Action {
    /// Begins a record of this action.
    #[must_use]
    pub fn record(&self) -> Record {
        let mut record = Record::with_capacity(48);
        record.set(Field::EventKind, self.kind);
        record.set(Field::EventCategory, self.category);
        record.set(Field::EventType, self.types);
        record.set(Field::EventAction, self.name);
        record
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sensor_common::wire::KINDS;
    use zerocopy::IntoBytes;

    use super::*;

    /// A record of a kind with a body and text.
    pub(crate) fn wire_record(
        kind: u16,
        body: &(impl IntoBytes + zerocopy::Immutable),
        text: &[u8],
    ) -> Vec<u8> {
        let mut bytes =
            Header { time: 5, start: 7, pid: 11, tid: 12, size: 0, kind, flags: 0 }.as_bytes().to_vec();
        bytes.extend_from_slice(Actor { parent: 1, ..Actor::default() }.as_bytes());
        bytes.extend_from_slice(body.as_bytes());
        bytes.extend_from_slice(text);
        let size = u32::try_from(bytes.len()).unwrap();
        resize(&mut bytes, size);
        bytes
    }

    fn resize(bytes: &mut [u8], size: u32) {
        bytes[24..28].copy_from_slice(&size.to_le_bytes());
    }

    fn largest(kind: u16) -> Vec<u8> {
        match kind {
            wire::FORK => wire_record(kind, &wire::fork::Fork::default(), &[]),
            wire::EXEC => {
                let text = Span { offset: u16::try_from(TEXT).unwrap(), len: 4 };
                let path = Path { names: text, flags: 0 };
                let body = wire::exec::Exec {
                    args: text,
                    filename: text,
                    cgroup: text,
                    executable: path,
                    ..Default::default()
                };
                wire_record(kind, &body, b"a\0b\0")
            }
            wire::EXIT => wire_record(kind, &wire::exit::Exit::default(), &[]),
            wire::NAME => wire_record(kind, &wire::name::Name::default(), &[]),
            wire::IMAGE => wire_record(kind, &wire::image::Image::default(), &[]),
            wire::USAGE => wire_record(kind, &wire::usage::Usage::default(), &[]),
            wire::SOCKET_BIND..=wire::SOCKET_LOOK => wire_record(kind, &wire::socket::Socket::default(), &[]),
            wire::SOCKET_ATTEMPT => wire_record(kind, &wire::socket::Attempt::default(), &[]),
            _ => panic!("kind {kind} has no example: add one"),
        }
    }

    #[test]
    fn every_truncation_of_every_kind_is_told_or_understood() {
        for (kind, name) in KINDS {
            let whole = largest(*kind);
            assert_eq!(decode(&whole).unwrap().stamp.key, Key { pid: 11, start: 7 }, "{name}");
            for len in 0..whole.len() {
                let mut cut = whole[..len].to_vec();
                assert!(decode(&cut).is_err(), "{name} cut to {len} with its old size");
                if len >= 28 {
                    resize(&mut cut, u32::try_from(len).unwrap());
                    let _ = decode(&cut);
                }
            }
        }
    }

    #[test]
    fn the_fixed_part_is_no_text() {
        let span = Span { offset: u16::try_from(TEXT - 1).unwrap(), len: 2 };
        let body = wire::exec::Exec { args: span, ..Default::default() };
        match decode(&wire_record(wire::EXEC, &body, b"ab")).unwrap().fact {
            Fact::Exec(exec) => assert!(exec.args.is_empty()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn unknown_kinds_are_told() {
        assert_eq!(decode(&wire_record(999, &0_u64, &[])), Err(Malformed::Kind(999)));
        assert_eq!(action_meant(&wire_record(999, &0_u64, &[])), "unknown");
        assert_eq!(action_meant(&wire_record(wire::EXIT, &0_u64, &[])), exit::ACTION.name);
        assert_eq!(action_meant(&[1, 2]), "unknown");
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut state = 1_u64;
        for (kind, _) in KINDS {
            for _ in 0..2000 {
                let mut bytes = largest(*kind);
                for _ in 0..8 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let at = (state >> 33) as usize % bytes.len();
                    if !(24..30).contains(&at) {
                        bytes[at] = (state >> 56) as u8;
                    }
                }
                assert!(decode(&bytes).is_ok());
            }
        }
    }

    #[test]
    fn rows_end_at_damage() {
        let mut rows = largest(wire::IMAGE);
        rows.extend(largest(wire::IMAGE));
        assert_eq!(decode_rows(&rows).filter(Result::is_ok).count(), 2);
        rows.truncate(rows.len() - 1);
        let found: Vec<bool> = decode_rows(&rows).map(|row| row.is_ok()).collect();
        assert_eq!(found, [true, false]);
        assert_eq!(decode_rows(&[0; 40]).count(), 1);
    }

    #[test]
    fn actions_are_distinct_and_documented() {
        let mut names: Vec<_> = ACTIONS.iter().map(|action| action.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ACTIONS.len());
        assert!(ACTIONS.iter().all(|action| action.sentence.ends_with('.')));
    }
}
