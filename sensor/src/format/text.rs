//! Text: a line for a person. Nothing from the host reaches the terminal but what can be seen.

use super::{Format, misleads, number, rfc3339};
use crate::field::Field;
use crate::record::{Record, Text, Time, Value};
use std::io::Write as _;

pub mod cell;

/// Lines such as `12:34:56.789 exec 4242 root /usr/bin/ls -l | container=c0ffee`. What stands
/// before a bar without quotes is the process and its arguments: none of them can put one there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines {
    /// Whether an alert's severity is coloured, for a terminal that can.
    pub colour: bool,
}

/// What follows the process, where an event has it, and how it is called there.
const DETAILS: &[(Field, &str)] = &[
    (Field::ProcessExitCode, "exit"),
    (Field::SensorSignalName, "signal"),
    (Field::SensorCoreDumped, "core"),
    (Field::SensorScriptPath, "script"),
    (Field::FilePath, "file"),
    (Field::SensorMethod, "method"),
    (Field::SensorSelf, "self"),
    (Field::SensorExeState, "exe"),
    (Field::SensorEvidencePath, "evidence"),
    (Field::SensorEvidenceMissing, "no_evidence"),
    (Field::SensorCapabilitiesGained, "gained"),
    (Field::NetworkTransport, "transport"),
    (Field::NetworkDirection, "direction"),
    (Field::ServerIp, "server"),
    (Field::ServerPort, "port"),
    (Field::SourceIp, "source"),
    (Field::SourcePort, "port"),
    (Field::DestinationIp, "destination"),
    (Field::DestinationPort, "port"),
    (Field::EventOutcome, "outcome"),
    (Field::ErrorCode, "error"),
    (Field::SensorExposure, "exposure"),
    (Field::SensorWildcardAlsoIpv4, "also_ipv4"),
    (Field::SensorReach, "reach"),
    (Field::SensorReachableBy, "by"),
    (Field::SensorSocketPreexisting, "preexisting"),
    (Field::ContainerId, "container"),
    (Field::SensorRunners, "runners"),
    (Field::SensorLost, "lost"),
    (Field::SensorCoverage, "coverage"),
];

impl Format for Lines {
    fn write(&self, record: &Record, out: &mut Vec<u8>) {
        clock(record.get(Field::Timestamp), out);
        out.push(b' ');
        self.action(record, out);
        out.push(b' ');
        first(record, &[Field::ProcessPid], 7, out);
        out.push(b' ');
        first(record, &USER, 8, out);
        process(record, out);
        details(record, out);
        reason(record, out);
        out.push(b'\n');
    }
}

const USER: [Field; 4] = [Field::UserName, Field::ProcessUserName, Field::UserId, Field::ProcessUserId];

impl Lines {
    /// The action and, for an alert, its severity in a word.
    fn action(self, record: &Record, out: &mut Vec<u8>) {
        let Some((word, colour)) = severity(record) else {
            return first(record, &[Field::EventAction], 12, out);
        };
        let paint = |code: &str, out: &mut Vec<u8>| {
            if self.colour {
                out.extend_from_slice(format!("\x1b[{code}m").as_bytes());
            }
        };
        paint(colour, out);
        first(record, &[Field::EventAction], 0, out);
        out.extend_from_slice(format!(" [{word}]").as_bytes());
        paint("0", out);
    }
}

/// The word for the record's severity, and the colour in which it is shown.
fn severity(record: &Record) -> Option<(&'static str, &'static str)> {
    let severity = match record.get(Field::EventSeverity)? {
        Value::U64(severity) => *severity,
        Value::I64(severity) => u64::try_from(*severity).unwrap_or(0),
        _ => return None,
    };
    Some(super::severity(severity))
}

/// The time of day in UTC, to the millisecond.
fn clock(time: Option<&Value>, out: &mut Vec<u8>) {
    let Some(Value::Time(Time(ns))) = time else {
        return out.extend_from_slice(b"--:--:--.---");
    };
    let ms = ns.div_euclid(1_000_000).rem_euclid(86_400_000);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    // A vector takes every byte: there is no error to tell.
    let _ = write!(out, "{hours:02}:{minutes:02}:{seconds:02}.{:03}", ms % 1000);
}

/// The value of the first of the fields that the record has, or `-`, at least so many bytes wide.
fn first(record: &Record, fields: &[Field], width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    match fields.iter().find_map(|field| record.get(*field)) {
        Some(value) => show(value, out),
        None => out.push(b'-'),
    }
    while out.len() < start + width {
        out.push(b' ');
    }
}

/// The executable and its arguments, as a line of an event shows them.
#[must_use]
pub fn command(record: &Record) -> String {
    let mut out = Vec::new();
    process(record, &mut out);
    String::from_utf8_lossy(&out).trim_start().to_owned()
}

/// The executable and its arguments. The zeroth argument is shown, in brackets, if it tells
/// another name than the executable's.
fn process(record: &Record, out: &mut Vec<u8>) {
    let executable = match record.get(Field::ProcessExecutable) {
        Some(Value::Text(path)) => Some(path.as_bytes()),
        _ => None,
    };
    if let Some(path) = executable {
        out.push(b' ');
        escape_into(path, out);
    }
    let Some(Value::Texts(args)) = record.get(Field::ProcessArgs) else {
        return;
    };
    let mut args = args.iter().map(Text::as_bytes);
    if let (Some(path), Some(zeroth)) = (executable, args.clone().next()) {
        args.next();
        if base(zeroth) != base(path) {
            out.extend_from_slice(b" [");
            escape_into(zeroth, out);
            out.push(b']');
        }
    }
    for arg in args {
        out.push(b' ');
        escape_into(arg, out);
    }
    if record.get(Field::SensorArgsTruncated) == Some(&Value::Bool(true)) {
        out.extend_from_slice(" …".as_bytes());
    }
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Whether a value tells something: an executable that is where it should be does not.
fn is_news(field: Field, value: &Value) -> bool {
    match (field, value) {
        (Field::SensorExeState, value) => word(value) != Some(b"present"),
        (Field::EventOutcome, value) => word(value) == Some(b"failure"),
        (_, Value::Bool(held)) => *held,
        _ => true,
    }
}

/// A word of ours, also one that was read from a line.
fn word(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Word(word) => Some(word.as_bytes()),
        Value::Text(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// What the event has beside the process.
fn details(record: &Record, out: &mut Vec<u8>) {
    let mut lead = " |";
    for (field, label) in DETAILS {
        if let Some(value) = record.get(*field).filter(|value| is_news(*field, value)) {
            out.extend_from_slice(lead.as_bytes());
            out.push(b' ');
            out.extend_from_slice(label.as_bytes());
            out.push(b'=');
            show(value, out);
            lead = "";
        }
    }
}

/// The reason stands last and is a sentence: without quotes.
fn reason(record: &Record, out: &mut Vec<u8>) {
    let sentence = match record.get(Field::SensorReason) {
        Some(Value::Text(text)) => text.as_bytes(),
        Some(Value::Word(word)) => word.as_bytes(),
        _ => return,
    };
    out.extend_from_slice(b" | ");
    visible(sentence, |c| c == '\\', out);
}

/// Any value, on one line.
fn show(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::U64(held) | Value::Id(held) => number(held, out),
        Value::I64(held) => number(held, out),
        Value::Bool(held) => out.extend_from_slice(if *held { b"yes" } else { b"no" }),
        Value::Time(held) => rfc3339(*held, out),
        Value::Text(text) => escape_into(text.as_bytes(), out),
        Value::Word(word) => escape_into(word.as_bytes(), out),
        Value::Texts(texts) => {
            list(texts.iter(), out, |text, out| {
                escape_into(text.as_bytes(), out);
            });
        }
        Value::Words(words) => {
            list(words.iter(), out, |word, out| {
                escape_into(word.as_bytes(), out);
            });
        }
        Value::Flags(flags) => {
            list(flags.words(), out, |word, out| {
                escape_into(word.as_bytes(), out);
            });
        }
        Value::Records(records) => list(records.iter(), out, show_record),
    }
}

fn list<T>(items: impl Iterator<Item = T>, out: &mut Vec<u8>, mut write: impl FnMut(T, &mut Vec<u8>)) {
    out.push(b'[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        write(item, out);
    }
    out.push(b']');
}

fn show_record(record: &Record, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (field, value)) in record.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(field.short().as_bytes());
        out.push(b'=');
        show(value, out);
    }
    out.push(b'}');
}

/// Bytes from the host as a word that is safe to show and can't be taken for another: as it is if
/// it is plain, in single quotes as a shell would want it if it has spaces and the like, and as
/// `$'…'` if something in it has to be escaped: `\xNN` for bytes that are not UTF-8 and for
/// control characters, `\u{…}` for other characters that mislead, `\\` and `\'`.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    escape_into(bytes, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Bytes from the host as they stand alone in a column: without quotes, and with escapes as [`escape`] has them; a backslash of
/// their own is two.
pub fn bare(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    visible(bytes, |c| c == '\\', &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends what [`escape`] gives.
pub fn escape_into(bytes: &[u8], out: &mut Vec<u8>) {
    match needs(bytes) {
        Quotes::None => out.extend_from_slice(bytes),
        Quotes::Single => {
            out.push(b'\'');
            out.extend_from_slice(bytes);
            out.push(b'\'');
        }
        Quotes::Escaping => {
            out.extend_from_slice(b"$'");
            visible(bytes, |c| matches!(c, '\\' | '\''), out);
            out.push(b'\'');
        }
    }
}

enum Quotes {
    None,
    Single,
    Escaping,
}

fn needs(bytes: &[u8]) -> Quotes {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Quotes::Escaping;
    };
    if text.chars().any(|c| c == '\'' || misleads(c)) {
        return Quotes::Escaping;
    }
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c) || (!c.is_ascii() && !c.is_whitespace())
    };
    if !text.is_empty() && text.chars().all(plain) { Quotes::None } else { Quotes::Single }
}

/// Appends the bytes with escapes for all that misleads and a backslash before what `special` says.
fn visible(bytes: &[u8], special: impl Fn(char) -> bool, out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let _ = match c {
                _ if special(c) => write!(out, "\\{c}"),
                '\0'..='\x1f' | '\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
                _ if misleads(c) => write!(out, "\\u{{{:x}}}", u32::from(c)),
                _ => write!(out, "{c}"),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: Lines, record: &Record) -> String {
        let mut out = Vec::new();
        format.write(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn texts(texts: &[&[u8]]) -> Vec<Text> {
        texts.iter().map(|text| Text::copy_from(text)).collect()
    }

    fn exec() -> Record {
        let mut record = Record::new();
        record.set(Field::Timestamp, Time(1_709_210_096_123_456_789));
        record.set(Field::EventAction, "exec");
        record.set(Field::ProcessPid, 4242_u32);
        record.set(Field::UserId, Value::Id(1000));
        record.set(Field::UserName, Text::from("alice"));
        record.set(Field::ProcessExecutable, Text::from("/usr/bin/ls"));
        record.set(Field::ProcessArgs, texts(&[b"ls", b"-l", b"my file", b"|", b"exit=0"]));
        record.set(Field::SensorExeState, "present");
        record
    }

    #[test]
    fn an_exec() {
        let wanted = "12:34:56.123 exec         4242    alice    /usr/bin/ls -l 'my file' '|' exit=0\n";
        assert_eq!(line(Lines::default(), &exec()), wanted);
    }

    #[test]
    fn an_alert_and_who_runs_the_file() {
        let (mut record, mut runner) = (exec(), Record::new());
        runner.set(Field::RunnerPid, 7_u32);
        runner.set(Field::RunnerArgs, texts(&[b"x", b"a b"]));
        record.set(Field::EventAction, "exe_deleted");
        record.set(Field::EventSeverity, 73_u32);
        record.set(Field::ProcessArgs, texts(&[b"[kworker/0:1]"]));
        record.set(Field::FilePath, Text::from("/tmp/x"));
        record.set(Field::SensorSelf, true);
        record.set(Field::SensorRunners, vec![runner]);
        record.set(Field::SensorReason, Text::from(String::from("it unlinks\n itself")));
        let rest = "/usr/bin/ls ['[kworker/0:1]'] | file=/tmp/x self=yes \
                    runners=[{pid=7 args=[x 'a b']}] | it unlinks\\x0a itself\n";
        let plain = format!("12:34:56.123 exe_deleted [high] 4242    alice    {rest}");
        assert_eq!(line(Lines::default(), &record), plain);
        let coloured = plain.replace("exe_deleted [high]", "\x1b[31mexe_deleted [high]\x1b[0m");
        assert_eq!(line(Lines { colour: true }, &record), coloured);
    }

    #[test]
    fn an_empty_record_and_odd_values() {
        assert_eq!(line(Lines::default(), &Record::new()), "--:--:--.--- -            -       -       \n");
        let mut record = Record::new();
        record.set(Field::Timestamp, Time(-1));
        record.set(Field::EventSeverity, -1_i64);
        record.set(Field::ProcessArgs, texts(&[]));
        record.set(Field::SensorArgsTruncated, true);
        record.set(Field::SensorCapabilitiesGained, &["CAP_BPF", "CAP_SYSLOG"][..]);
        record.set(Field::SensorRunners, Vec::<Record>::new());
        assert_eq!(
            line(Lines::default(), &record),
            "23:59:59.999 - [low] -       -        … | gained=[CAP_BPF CAP_SYSLOG] runners=[]\n"
        );
    }

    #[test]
    fn words_are_quoted_and_escaped_as_they_need() {
        let cases: [(&[u8], &str); 12] = [
            (b"--colour=auto", "--colour=auto"),
            ("/tmp/é".as_bytes(), "/tmp/é"),
            (b"", "''"),
            (b"a b", "'a b'"),
            (b"$(x)\\", "'$(x)\\'"),
            (b"it's\\", r"$'it\'s\\'"),
            (b"\x1b[31m", r"$'\x1b[31m'"),
            (b"a\nb\x7f", r"$'a\x0ab\x7f'"),
            (b"\xff\xe2\x80", r"$'\xff\xe2\x80'"),
            ("\u{85}\u{202e}\u{2028}".as_bytes(), r"$'\u{85}\u{202e}\u{2028}'"),
            ("a\u{a0}b".as_bytes(), "'a\u{a0}b'"),
            ("a\u{200b}b".as_bytes(), r"$'a\u{200b}b'"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(escape(bytes), shown);
        }
    }

    /// The bytes that a word stands for.
    fn read(word: &str) -> Vec<u8> {
        let Some(body) = word.strip_prefix("$'").and_then(|rest| rest.strip_suffix('\'')) else {
            let bare = word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
            return bare.unwrap_or(word).as_bytes().to_vec();
        };
        let (mut out, mut chars) = (Vec::new(), body.chars());
        while let Some(c) = chars.next() {
            if c != '\\' {
                out.extend_from_slice(c.to_string().as_bytes());
                continue;
            }
            match chars.next().unwrap() {
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    out.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                'u' => {
                    let digits: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    let code = u32::from_str_radix(&digits, 16).unwrap();
                    out.extend_from_slice(char::from_u32(code).unwrap().to_string().as_bytes());
                }
                c => out.extend_from_slice(c.to_string().as_bytes()),
            }
        }
        out
    }

    #[test]
    fn random_bytes_are_harmless_and_can_be_read_back() {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        let pieces: [&[u8]; 12] = [
            b"a",
            b" ",
            b"'",
            b"\\",
            b"\n",
            b"\x1b",
            b"\xff",
            b"\xe2\x80\xae",
            b"\xc2\x85",
            b"$",
            b"\xc3",
            b"|",
        ];
        for _ in 0..20_000 {
            let length = random() % 6;
            let bytes: Vec<u8> = (0..length).flat_map(|_| pieces[random() % 12]).copied().collect();
            let word = escape(&bytes);
            assert_eq!(read(&word), bytes, "{word}");
            let mut record = exec();
            record.set(Field::ProcessArgs, texts(&[&bytes, &bytes]));
            record.set(Field::UserName, bytes.clone());
            record.set(Field::SensorReason, bytes);
            let line = line(Lines::default(), &record);
            assert!(!line.trim_end_matches('\n').chars().any(misleads), "{line:?}");
        }
    }
}
