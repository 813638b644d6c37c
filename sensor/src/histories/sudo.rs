//! What sudo and sudo-rs told the system's log: in text files of syslog, or from the journal.

use std::{fs, path::Path};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{
    MOST_BYTES,
    packed::{Unpacked, unpack},
};
use crate::{
    record::{Text, Time},
    untrusted::{Refused, open},
};

/// One line of sudo's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Who called it.
    pub user: Text,
    /// When.
    pub time: Option<Time>,
    /// On which terminal, without `/dev/`.
    pub tty: Option<Text>,
    /// In which folder.
    pub directory: Option<Text>,
    /// As whom it ran.
    pub effective: Text,
    /// What ran, or was to run.
    pub command: Text,
    /// Why it didn't.
    pub refused: Option<Text>,
    /// By the words of sudo-rs, not of sudo.
    pub rs: bool,
    /// The file, or `journal`.
    pub origin: Text,
    /// The line in it.
    pub line: u64,
}

/// All that logs tell.
#[derive(Debug, Default)]
pub struct Logs {
    /// Each line.
    pub entries: Vec<Entry>,
    /// Logs that are there.
    pub found: usize,
    /// Logs that are packed in a way that isn't read, by name.
    pub packed: Vec<String>,
    /// What couldn't be read, a sentence each.
    pub parts: Vec<String>,
}

const FOLDER: &str = "var/log";
/// Most files of that folder that are looked at.
const MOST_FILES: usize = 4096;
const MOST_ENTRIES: usize = 200_000;
/// How many entries back the beginning of a continued one is looked for: anybody can write such lines.
const BEFORE_MOST: usize = 1000;
/// How the names of packed logs end: those that are read, and those that aren't.
const PACKED: &str = ".gz";
const UNREAD: [&str; 3] = [".xz", ".bz2", ".zst"];
/// What pads a name of sudo's, and comes between the parts.
const BETWEEN: &str = " ; ";

/// The text files under a host's root.
#[must_use]
pub fn logs(root: &Path) -> Logs {
    let (mut logs, mut cut) = (Logs::default(), false);
    let zone = zone(root);
    let entries = fs::read_dir(root.join(FOLDER)).into_iter().flatten().take(MOST_FILES);
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    for name in names.iter().filter(|name| is_log(name)) {
        if UNREAD.iter().any(|end| name.ends_with(end)) {
            logs.packed.push(name.clone());
            continue;
        }
        let path = format!("{FOLDER}/{name}");
        match content(root, &path) {
            None => {}
            Some(Err(why)) => logs.parts.push(format!("/{path}: {why}")),
            Some(Ok(Content { bytes, written, missing })) => {
                logs.found += 1;
                logs.parts.extend(missing.map(|missing| format!("/{path}: {missing}")));
                read_lines(&bytes, &Text::from(format!("/{path}")), written, &zone, &mut logs.entries);
                cut |= logs.cut();
            }
        }
    }
    if cut {
        logs.parts.push(format!("sudo's log: only the last {MOST_ENTRIES} lines are told"));
    }
    logs
}

impl Logs {
    /// Forgets the oldest of too many; whether there were too many.
    fn cut(&mut self) -> bool {
        let more = self.entries.len().saturating_sub(MOST_ENTRIES);
        if more > 0 {
            self.entries.sort_by_key(|entry| entry.time);
            self.entries.drain(..more);
            self.entries.shrink_to_fit();
        }
        more > 0
    }
}

/// A log, unpacked.
struct Content {
    bytes: Vec<u8>,
    written: Time,
    /// What of it couldn't be had.
    missing: Option<String>,
}

/// What a log holds, or why that can't be read; none where there is no such file.
fn content(root: &Path, path: &str) -> Option<Result<Content, String>> {
    let opened = match open(root, Path::new(path)) {
        Err(Refused::Absent) => return None,
        Err(Refused::Link(_)) => return Some(Err("it is a link".to_owned())),
        Err(Refused::Other(what)) => return Some(Err(format!("it is {what}"))),
        Err(Refused::Failed(error)) => return Some(Err(error.to_string())),
        Ok(opened) => opened,
    };
    let (size, written) = (opened.size, Time(opened.modified));
    let read = if path.ends_with(PACKED) {
        opened.head(MOST_BYTES).map(|packed| {
            let Unpacked { bytes, missing } = unpack(&packed, size > MOST_BYTES);
            Content { bytes, written, missing }
        })
    } else {
        opened.tail(MOST_BYTES).map(|(bytes, start)| {
            let missing = (start != 0).then(|| format!("only its last {MOST_BYTES} bytes are read"));
            Content { bytes, written, missing }
        })
    };
    Some(read.map_err(|error| error.to_string()))
}

/// `auth.log` and `secure`, and what became of them: `auth.log.1`, `secure-20261101`.
fn is_log(name: &str) -> bool {
    ["auth.log", "secure"]
        .iter()
        .any(|log| name.strip_prefix(log).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-'])))
}

/// The host's own time zone (`localtime(5)`); UTC without one.
fn zone(root: &Path) -> TimeZone {
    let bytes = fs::read(root.join("etc/localtime")).ok().filter(|bytes| bytes.len() < 1 << 20);
    bytes.and_then(|bytes| TimeZone::tzif("local", &bytes).ok()).unwrap_or(TimeZone::UTC)
}

fn read_lines(bytes: &[u8], origin: &Text, written: Time, zone: &TimeZone, entries: &mut Vec<Entry>) {
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let text = String::from_utf8_lossy(line);
        let Some((time, rest)) = stamp(&text, written, zone) else { continue };
        let Some(message) = message(rest) else { continue };
        take(message, Some(time), origin, number, entries);
    }
}

/// A line of sudo's, or the rest of the one before.
pub(super) fn take(message: &str, time: Option<Time>, origin: &Text, line: u64, entries: &mut Vec<Entry>) {
    if let Some((user, rest)) = message.split_once(" : (command continued) ") {
        let mut lately = entries.iter_mut().rev().take(BEFORE_MOST);
        let last = lately.find(|entry| entry.user.as_bytes() == user.trim().as_bytes());
        if let Some(last) = last.filter(|last| last.command.len() < 64 * 1024) {
            last.command = Text::from([last.command.as_bytes(), b" ", rest.as_bytes()].concat());
        }
    } else if let Some(entry) = entry(message) {
        entries.push(Entry { time, origin: origin.clone(), line, ..entry });
    }
}

/// When a line was written, and what follows: `Nov 26 18:17:00`, which lacks the year, or RFC 3339.
fn stamp<'a>(line: &'a str, written: Time, zone: &TimeZone) -> Option<(Time, &'a str)> {
    let (first, rest) = line.split_once(' ')?;
    if let Ok(time) = first.parse::<Timestamp>() {
        return Some((Time(i64::try_from(time.as_nanosecond()).ok()?), rest));
    }
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = i8::try_from(MONTHS.iter().position(|month| *month == first)? + 1).ok()?;
    let (day, rest) = rest.trim_start().split_once(' ')?;
    let (clock, rest) = rest.split_once(' ')?;
    let mut clock = clock.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let day = day.parse().ok()?;
    let last = Timestamp::from_nanosecond(i128::from(written.0)).ok()?;
    let year = last.to_zoned_datetime(zone.clone()).year();
    // The latest year in which it isn't after the file was last written, but for a clock that was set.
    [year, year - 1].into_iter().find_map(|year| {
        let at = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        let at = zone.to_timestamp(at).ok()?;
        let limit = last.checked_add(jiff::SignedDuration::from_hours(24)).ok()?;
        (at <= limit).then(|| Some((Time(i64::try_from(at.as_nanosecond()).ok()?), rest)))?
    })
}

/// What sudo said, after the host's name and the program's, which may have a pid.
fn message(rest: &str) -> Option<&str> {
    let (tag, message) = rest.split_once(": ")?;
    let program = tag.rsplit(' ').next()?;
    let program = program.split('[').next()?;
    matches!(program, "sudo" | "sudo-rs").then_some(message)
}

/// `alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/id -u`, with a reason first where it was refused.
fn entry(message: &str) -> Option<Entry> {
    let (user, rest) = message.trim_start().split_once(" : ")?;
    let mut entry = Entry { user: Text::from(user.to_owned()), ..Entry::default() };
    let (before, command) = rest.split_once("COMMAND=")?;
    entry.command = Text::from(command.to_owned());
    for part in before.split(BETWEEN).map(str::trim) {
        let value = |text: &str| Text::from(text.to_owned());
        match part.split_once('=') {
            Some(("TTY", tty)) if tty != "unknown" => {
                // sudo leaves out the folder, sudo-rs doesn't.
                entry.rs = tty.starts_with("/dev/");
                entry.tty = Some(value(tty.strip_prefix("/dev/").unwrap_or(tty)));
            }
            Some(("PWD", directory)) => entry.directory = Some(value(directory)),
            Some(("USER", user)) => entry.effective = value(user),
            None if !part.is_empty() && entry.refused.is_none() => entry.refused = Some(value(part)),
            Some(_) | None => {}
        }
    }
    (!user.is_empty() && !entry.effective.is_empty()).then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time(i64::try_from(text.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap())
    }

    fn all(file: &str) -> Vec<Entry> {
        let mut entries = Vec::new();
        let (origin, written) = (Text::from("/var/log/auth.log"), at("2026-01-03T00:00:00Z"));
        read_lines(file.as_bytes(), &origin, written, &TimeZone::UTC, &mut entries);
        entries
    }

    #[test]
    fn lines_of_sudo_and_sudo_rs_are_understood() {
        let entries = all(
            "Jan  2 18:17:00 host sudo:    alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/bin/echo 'a b' x#012y\n\
             2026-01-02T18:17:01.5+01:00 host sudo[77]: alice : TTY=/dev/pts/1 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/id ; x\n\
             Dec 31 23:59:59 host sudo: bob : user NOT in sudoers ; PWD=/ ; USER=root ; COMMAND=/bin/sh\n\
             Jan  2 18:17:02 host sudo: bob : (command continued) -c id\n\
             Jan  2 18:17:03 host sudo: pam_unix(sudo:session): session opened for user root(uid=0)\n\
             Jan  2 18:17:03 host sshd[1]: alice : TTY=x ; PWD=/ ; USER=root ; COMMAND=/bin/forged\n\
             Feb 30 00:00:00 host sudo: a : USER=b ; COMMAND=c\nbroken\n",
        );
        assert_eq!(entries.len(), 3, "{entries:#?}");
        assert_eq!(entries[0].command, Text::from("/bin/echo 'a b' x#012y"));
        assert_eq!(
            (entries[0].time, entries[0].tty.clone()),
            (Some(at("2026-01-02T18:17:00Z")), Some(Text::from("pts/0")))
        );
        assert_eq!((entries[1].rs, entries[1].time), (true, Some(at("2026-01-02T17:17:01.5Z"))));
        assert_eq!(entries[1].command, Text::from("/usr/bin/id ; x"));
        assert_eq!(entries[2].refused, Some(Text::from("user NOT in sudoers")));
        assert_eq!(entries[2].time, Some(at("2025-12-31T23:59:59Z")), "of the year before");
        assert_eq!(entries[2].command, Text::from("/bin/sh -c id"));
    }

    #[test]
    fn only_logs_of_logins_are_read() {
        assert!(
            ["auth.log", "auth.log.1", "secure", "secure-20261101", "auth.log.2.gz"]
                .iter()
                .all(|name| is_log(name))
        );
        assert!(!["auth.logs", "secured", "syslog"].iter().any(|name| is_log(name)));
    }
}
