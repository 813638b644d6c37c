//! sudo's lines from systemd's journal, which journalctl reads: its format is a database of several versions.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::RecvTimeoutError,
    thread,
    time::Duration,
};

use super::sudo::{Entry, take};
use crate::{
    background::{self, Said},
    format,
    record::{Text, Time},
};

const JOURNALCTL: &str = "/usr/bin/journalctl";
/// Where journals are kept, of one folder a machine.
const FOLDERS: [&str; 2] = ["var/log/journal", "run/log/journal"];
/// Most bytes of its answer, and how long it may take.
const MOST_ANSWER: u64 = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take to end once it has said all, and how often that is looked for.
const ENDING: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(5);

/// What the journal has of sudo.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The lines, the oldest first.
    pub entries: Vec<Entry>,
    /// What of them couldn't be had, a sentence.
    pub missing: Option<String>,
}

/// The lines that programs called sudo wrote, as the journal itself knows; none where no journal is kept.
///
/// # Errors
/// Why a journal that is kept can't be read.
pub fn entries(root: &Path, since: Option<Time>) -> Result<Told, String> {
    match FOLDERS.iter().any(|folder| is_kept(&root.join(folder))) {
        true => ask(command(root, since), MOST_ANSWER),
        false => Ok(Told::default()),
    }
}

/// The newest first: what is too much is the oldest then.
fn command(root: &Path, since: Option<Time>) -> Command {
    let mut command = Command::new(JOURNALCTL);
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
    command.arg("--root").arg(root).args(["--no-pager", "--quiet", "--reverse", "--output=export"]);
    command.arg("--output-fields=MESSAGE,_SOURCE_REALTIME_TIMESTAMP");
    if let Some(since) = since {
        command.arg(format!("--since=@{}", since.0.div_euclid(1_000_000_000)));
    }
    command.args(["_COMM=sudo", "_COMM=sudo-rs"]);
    command
}

fn ask(mut command: Command, most: u64) -> Result<Told, String> {
    command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("the journal needs {JOURNALCTL}: {error}"))?;
    let answers = background::read_or_cut("journal", child.stdout.take(), most);
    let said = answers.recv_timeout(PATIENCE);
    // One that isn't read to its end dies of that, which says nothing.
    let all = matches!(&said, Ok(Ok(said)) if !said.cut);
    let fault = if all { fault(ended(&mut child)) } else { None };
    // It has ended, or is given up.
    let _: std::io::Result<()> = child.kill();
    let _: std::io::Result<ExitStatus> = child.wait();
    let said = said.map_err(|error| match error {
        RecvTimeoutError::Timeout => format!("{JOURNALCTL} gave no answer within {} s", PATIENCE.as_secs()),
        RecvTimeoutError::Disconnected => format!("there is no thread to read from {JOURNALCTL} by"),
    })?;
    judge(&said.map_err(|error| format!("reading from {JOURNALCTL}: {error}"))?, fault)
}

/// How it ended by itself; none when it doesn't.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    for _ in 0..ENDING.as_millis() / STEP.as_millis() {
        match child.try_wait() {
            Ok(None) => thread::sleep(STEP),
            ended => return ended.ok().flatten(),
        }
    }
    None
}

/// What is wrong with how it ended: then what it said may not be all.
fn fault(ended: Option<ExitStatus>) -> Option<String> {
    match ended {
        Some(status) if status.success() => None,
        Some(status) => Some(match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
        }),
        None => Some("didn't end".to_owned()),
    }
}

/// What was said, with what is missing of it.
fn judge(said: &Said, fault: Option<String>) -> Result<Told, String> {
    if let Some(fault) = fault.as_ref().filter(|_| said.bytes.is_empty()) {
        return Err(format!("sudo's lines in systemd's journal: {JOURNALCTL} {fault}: run it to see why"));
    }
    let entries = parse(&said.bytes, !said.cut && fault.is_none());
    let missing = match fault {
        Some(fault) => {
            Some(format!("{JOURNALCTL} {fault} after {} of them: run it to see why", entries.len()))
        }
        None if said.cut => Some(cut(&entries, said.bytes.len())),
        None => None,
    };
    let missing = missing.map(|missing| format!("sudo's lines in systemd's journal: {missing}"));
    Ok(Told { entries, missing })
}

/// What is said of an answer that was too long.
fn cut(entries: &[Entry], bytes: usize) -> String {
    let oldest = entries.iter().find_map(|entry| entry.time).map(|time| {
        let mut text = Vec::new();
        format::rfc3339(time, &mut text);
        format!(", and none from before {}", String::from_utf8_lossy(&text))
    });
    let oldest = oldest.unwrap_or_default();
    format!(
        "only the newest {bytes} bytes are read{oldest}: for the others run journalctl --until=TIME _COMM=sudo"
    )
}

/// There is a folder with a journal in it.
fn is_kept(folder: &Path) -> bool {
    let machines = std::fs::read_dir(folder).into_iter().flatten().take(64).filter_map(Result::ok);
    let journal = |path: &Path| path.extension().is_some_and(|end| end == "journal");
    machines
        .flat_map(|machine| std::fs::read_dir(machine.path()).into_iter().flatten().take(1024))
        .any(|file| file.is_ok_and(|file| journal(&file.path())))
}

/// An entry, as it came.
#[derive(Default)]
struct Raw<'a> {
    message: Option<&'a [u8]>,
    /// When the journal had it, and when it was written by its own word.
    time: Option<Time>,
    source: Option<Time>,
}

/// What came with the newest first, the oldest first: a line that goes on comes after its beginning then. `whole`: all of it came.
fn parse(bytes: &[u8], whole: bool) -> Vec<Entry> {
    let origin = Text::from("journal");
    let mut entries = Vec::new();
    for (raw, number) in split(bytes, whole).iter().rev().zip(1..) {
        if let Some(message) = raw.message {
            let message = String::from_utf8_lossy(message);
            take(&message, raw.source.or(raw.time), &origin, number, &mut entries);
        }
    }
    entries
}

/// The entries, in the order in which they came.
fn split(mut bytes: &[u8], whole: bool) -> Vec<Raw<'_>> {
    let (mut all, mut raw) = (Vec::new(), Raw::default());
    while let Some((part, rest)) = part(bytes) {
        bytes = rest;
        match part {
            Part::End => all.push(std::mem::take(&mut raw)),
            Part::Field(b"MESSAGE", value) => raw.message = Some(value),
            Part::Field(b"__REALTIME_TIMESTAMP", value) => raw.time = micro(value),
            Part::Field(b"_SOURCE_REALTIME_TIMESTAMP", value) => raw.source = micro(value),
            Part::Field(..) => {}
        }
    }
    // One without its end may lack a part of its command, unless nothing is missing.
    all.extend(Some(raw).filter(|raw| whole && raw.message.is_some()));
    all
}

/// Microseconds since the epoch.
fn micro(value: &[u8]) -> Option<Time> {
    std::str::from_utf8(value).ok()?.parse::<i64>().ok()?.checked_mul(1000).map(Time)
}

/// A part of the export format.
enum Part<'a> {
    /// A field, by its name.
    Field(&'a [u8], &'a [u8]),
    /// An entry is over.
    End,
}

/// The next part, and what follows it: `NAME=value` in a line, or `NAME`, a length of eight bytes and so many bytes; an empty line ends
/// an entry. None at the end, and where a part isn't all there.
fn part(bytes: &[u8]) -> Option<(Part<'_>, &[u8])> {
    if bytes.is_empty() {
        return None;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, rest) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    if line.is_empty() {
        return Some((Part::End, rest));
    }
    if let Some(at) = line.iter().position(|byte| *byte == b'=') {
        return Some((Part::Field(&line[..at], &line[at + 1..]), rest));
    }
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (value, rest) = rest.split_at_checked(length)?;
    Some((Part::Field(line, value), rest.strip_prefix(b"\n").unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUDO: &str = "alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=";

    fn entry(seconds: u64, message: &str) -> String {
        format!("__CURSOR=x\n__REALTIME_TIMESTAMP={seconds}000000\nMESSAGE={message}\n\n")
    }

    fn commands(entries: &[Entry]) -> Vec<String> {
        entries.iter().map(|entry| entry.command.to_str_lossy().into_owned()).collect()
    }

    fn said_by(script: &str, most: u64) -> Result<Told, String> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        ask(command, most)
    }

    #[test]
    fn the_export_format_is_read_and_cut_anywhere() {
        let mut bytes = format!(
            "__CURSOR=x\n__REALTIME_TIMESTAMP=1764180000000001\nMESSAGE={SUDO}/usr/bin/id\n\n__REALTIME_TIMESTAMP=2\nMESSAGE\n"
        )
        .into_bytes();
        let binary = "bob : PWD=/ ; USER=root ; COMMAND=/bin/echo \u{1b}\nx";
        bytes.extend((binary.len() as u64).to_le_bytes());
        bytes.extend(binary.as_bytes());
        bytes.extend(b"\n_SOURCE_REALTIME_TIMESTAMP=9\n\n");
        let entries = parse(&bytes, true);
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].time, entries[0].command.len()), (Some(Time(9000)), 13));
        assert_eq!(entries[1].time, Some(Time(1_764_180_000_000_001_000)));
        assert_eq!(entries.iter().map(|entry| entry.line).collect::<Vec<_>>(), [1, 2]);
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end], true).len() <= 2);
            // A command is told as a whole or not at all.
            assert!(parse(&bytes[..end], false).iter().all(|entry| {
                entries.iter().any(|whole| (&whole.command, whole.time) == (&entry.command, entry.time))
            }));
        }
    }

    #[test]
    fn what_goes_on_comes_after_its_beginning_and_the_oldest_is_lost() {
        let newest = entry(3, &format!("{SUDO}/bin/new"));
        let more = entry(2, "alice : (command continued) -c id");
        let begin = entry(1, &format!("{SUDO}/bin/sh"));
        let all = [newest, more, begin].concat();
        assert_eq!(commands(&parse(all.as_bytes(), true)), ["/bin/sh -c id", "/bin/new"]);
        let cut = &all.as_bytes()[..all.len() - 4];
        assert_eq!(
            commands(&parse(cut, false)),
            ["/bin/new"],
            "what goes on without its beginning is nothing"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let line = |seconds, command: &str| entry(seconds, &format!("{SUDO}{command}")).replace('\n', "\\n");
        let all = line(5, "/bin/new") + &line(4, "/bin/old");
        let whole = said_by(&format!("printf '{all}'"), 4096).unwrap();
        assert_eq!(
            (commands(&whole.entries), whole.missing),
            (vec!["/bin/old".into(), "/bin/new".into()], None)
        );
        let told = said_by(&format!("printf '{all}'; while echo; do :; done"), 150).unwrap();
        let missing = told.missing.unwrap();
        assert_eq!(commands(&told.entries), ["/bin/new"]);
        assert!(missing.contains("newest 150 bytes") && missing.contains("1970-01-01T00:00:05"), "{missing}");
        for (end, why) in [("exit 3", "status 3"), ("kill -9 $$", "signal 9")] {
            let told = said_by(&format!("printf '{all}'; {end}"), 4096).unwrap();
            let missing = told.missing.unwrap();
            assert!(told.entries.len() == 2 && missing.contains(why), "{missing}");
            assert!(said_by(end, 4096).unwrap_err().contains(why));
        }
        assert_eq!(said_by("exit 0", 4096), Ok(Told::default()));
    }

    #[test]
    fn no_journal_is_no_failure() {
        assert_eq!(entries(Path::new("/nowhere"), None), Ok(Told::default()));
    }
}
