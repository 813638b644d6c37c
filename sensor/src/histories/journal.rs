//! sudo's lines from systemd's journal, which journalctl reads: its format is a database of several versions.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::sudo::{Entry, take};
use crate::background;
use crate::record::{Text, Time};

const JOURNALCTL: &str = "/usr/bin/journalctl";
/// Where journals are kept, of one folder a machine.
const FOLDERS: [&str; 2] = ["var/log/journal", "run/log/journal"];
/// Most bytes of its answer, and how long it may take.
const MOST_ANSWER: u64 = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

/// The lines that programs called sudo wrote, as the journal itself knows; none where no journal is kept.
///
/// # Errors
/// Why a journal that is kept can't be read.
pub fn entries(root: &Path, since: Option<Time>) -> Result<Option<Vec<Entry>>, String> {
    if !FOLDERS.iter().any(|folder| is_kept(&root.join(folder))) {
        return Ok(None);
    }
    let mut command = Command::new(JOURNALCTL);
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
    command.arg("--root").arg(root).args(["--no-pager", "--quiet", "--output=export"]);
    command.arg("--output-fields=MESSAGE,_SOURCE_REALTIME_TIMESTAMP");
    if let Some(since) = since {
        command.arg(format!("--since=@{}", since.0.div_euclid(1_000_000_000)));
    }
    command.args(["_COMM=sudo", "_COMM=sudo-rs"]);
    command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("the journal needs {JOURNALCTL}: {error}"))?;
    let answers = background::read("journal", child.stdout.take(), MOST_ANSWER);
    let bytes = answers.recv_timeout(PATIENCE);
    // It has closed its output, or is given up.
    let _: std::io::Result<()> = child.kill();
    let status = child.wait();
    let bytes = bytes.map_err(|_| format!("{JOURNALCTL} gave no answer within {} s", PATIENCE.as_secs()))?;
    let bytes = bytes.map_err(|error| format!("reading from {JOURNALCTL}: {error}"))?;
    // Killed after its answer was read is no failure; an end of its own that isn't 0 is.
    match status.ok().and_then(|status| status.code()) {
        Some(code) if code != 0 && bytes.is_empty() => Err(format!("{JOURNALCTL} ended with status {code}")),
        _ => Ok(Some(parse(&bytes))),
    }
}

/// There is a folder with a journal in it.
fn is_kept(folder: &Path) -> bool {
    let machines = std::fs::read_dir(folder).into_iter().flatten().take(64).filter_map(Result::ok);
    let journal = |path: &Path| path.extension().is_some_and(|end| end == "journal");
    machines
        .flat_map(|machine| std::fs::read_dir(machine.path()).into_iter().flatten().take(1024))
        .any(|file| file.is_ok_and(|file| journal(&file.path())))
}

/// The export format: `NAME=value` lines, or `NAME`, a length of eight bytes and so many bytes; an empty line ends an entry.
fn parse(mut bytes: &[u8]) -> Vec<Entry> {
    let origin = Text::from("journal");
    let (mut entries, mut number) = (Vec::new(), 0);
    let mut message = None;
    let (mut time, mut source) = (None, None);
    let micro =
        |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<i64>().ok()?.checked_mul(1000).map(Time);
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let (line, rest) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
        bytes = rest;
        let (name, value) = match line.iter().position(|byte| *byte == b'=') {
            _ if line.is_empty() => {
                number += 1;
                if let Some(message) = message.take() {
                    take(&String::from_utf8_lossy(message), source.or(time), &origin, number, &mut entries);
                }
                (time, source) = (None, None);
                continue;
            }
            Some(at) => (&line[..at], &line[at + 1..]),
            None => {
                let Some((length, rest)) = bytes.split_first_chunk() else { break };
                let Ok(length) = usize::try_from(u64::from_le_bytes(*length)) else { break };
                let Some((value, rest)) = rest.split_at_checked(length) else { break };
                bytes = rest.strip_prefix(b"\n").unwrap_or(rest);
                (line, value)
            }
        };
        match name {
            b"MESSAGE" => message = Some(value),
            b"__REALTIME_TIMESTAMP" => time = micro(value),
            b"_SOURCE_REALTIME_TIMESTAMP" => source = micro(value),
            _ => {}
        }
    }
    if let Some(message) = message {
        take(&String::from_utf8_lossy(message), source.or(time), &origin, number + 1, &mut entries);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_export_format_is_read_and_cut_anywhere() {
        let message = "alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/id";
        let mut bytes = format!(
            "__CURSOR=x\n__REALTIME_TIMESTAMP=1764180000000001\nMESSAGE={message}\n\n__REALTIME_TIMESTAMP=2\nMESSAGE\n"
        )
        .into_bytes();
        let binary = "bob : PWD=/ ; USER=root ; COMMAND=/bin/echo \u{1b}\nx";
        bytes.extend((binary.len() as u64).to_le_bytes());
        bytes.extend(binary.as_bytes());
        bytes.extend(b"\n_SOURCE_REALTIME_TIMESTAMP=9\n\n");
        let entries = parse(&bytes);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].time, Some(Time(1_764_180_000_000_001_000)));
        assert_eq!((entries[1].time, entries[1].command.len()), (Some(Time(9000)), 13));
        assert!((0..bytes.len()).all(|end| parse(&bytes[..end]).len() <= 2));
    }

    #[test]
    fn no_journal_is_no_failure() {
        assert_eq!(entries(Path::new("/nowhere"), None), Ok(None));
    }
}
