//! What shells and sudo remember of what was run: read as hostile, since whoever it is about can write it.

use std::path::Path;

use crate::{
    record::{Text, Time},
    untrusted::{Opened, Refused},
};

pub mod homes;
pub mod journal;
mod packed;
pub mod shell;
pub mod sudo;
pub mod tamper;

pub use shell::Shell;

/// Most bytes that are read of one file, its last.
pub const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// How many commands are kept of one file, the last.
const MOST_COMMANDS: usize = 200_000;

/// A command, as a shell remembers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// As it was typed.
    pub text: Text,
    /// When it began, where the file says so.
    pub time: Option<Time>,
    /// When it ended.
    pub end: Option<Time>,
    /// Where in the file it begins: its line, from 1 on; in a file that isn't of lines, its number.
    pub line: u64,
    /// It was run before that moment: the file tells later times.
    pub before: Option<Time>,
}

/// A history.
#[derive(Clone, Debug)]
pub struct History {
    /// Whose home it is in, or whose shell names it.
    pub uid: u32,
    /// The shell that keeps it.
    pub shell: Shell,
    /// Where it is.
    pub path: Text,
    /// Its size; none when it wasn't opened.
    pub size: Option<u64>,
    /// When its contents were last changed.
    pub modified: Option<Time>,
    /// What it remembers, the oldest first.
    pub commands: Vec<Command>,
    /// What is odd about it: how much, and a sentence.
    pub findings: Vec<(u64, String)>,
    /// What of it couldn't be read.
    pub part: Option<String>,
}

impl History {
    /// Keeps the last of its commands only.
    pub fn cut(&mut self, most: usize) {
        let surplus = self.commands.len().saturating_sub(most);
        if surplus != 0 {
            self.part = Some(format!("only the last {most} of its commands are told"));
            self.commands.drain(..surplus);
            self.commands.shrink_to_fit();
        }
    }
}

/// What is known of whose history it is.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// A shell of the user's is on a terminal, or the login records have the user.
    pub interactive: bool,
}

/// Reads one; none where there is no such file.
#[must_use]
pub fn read(root: &Path, path: &Path, shell: Shell, owner: Owner) -> Option<History> {
    use std::os::unix::ffi::OsStrExt;
    let mut history = History {
        uid: owner.uid,
        shell,
        path: Text::copy_from(path.as_os_str().as_bytes()),
        size: None,
        modified: None,
        commands: Vec::new(),
        findings: Vec::new(),
        part: None,
    };
    let mut find = |severity, sentence: String| history.findings.push((severity, sentence));
    match crate::untrusted::open(root, path) {
        Err(Refused::Absent) => return None,
        Err(Refused::Link(Some(to))) if to == Path::new("/dev/null") => {
            find(47, "it is a link to /dev/null: what is typed is remembered nowhere".to_owned());
        }
        Err(Refused::Link(Some(to))) => {
            find(21, format!("it is a link to {}, which isn't followed", shown(&to)));
        }
        Err(Refused::Link(None)) => {
            find(21, "a folder on the way to it is a link, which isn't followed".to_owned());
        }
        Err(Refused::Other(what)) => find(47, format!("it is {what}: a shell can't remember anything there")),
        Err(Refused::Failed(error)) => history.part = Some(error.to_string()),
        Ok(opened) => fill(&mut history, opened, owner),
    }
    Some(history)
}

fn fill(history: &mut History, opened: Opened, owner: Owner) {
    let (size, born, uid) = (opened.size, opened.born, opened.uid);
    history.size = Some(size);
    history.modified = Some(Time(opened.modified));
    match opened.tail(MOST_BYTES) {
        Err(error) => history.part = Some(error.to_string()),
        Ok((bytes, start)) => {
            history.commands = shell::parse(history.shell, &bytes, start != 0);
            if start != 0 {
                history.part = Some(format!("only the last {MOST_BYTES} of its {size} bytes are read"));
            }
        }
    }
    history.cut(MOST_COMMANDS);
    bound(&mut history.commands, history.modified);
    history.findings.extend(tamper::of_file(history, owner, uid, born));
}

/// Says of what has no time by which moment it was run.
fn bound(commands: &mut [Command], modified: Option<Time>) {
    let mut later = modified;
    for command in commands.iter_mut().rev() {
        match command.time {
            // The clock can have been set meanwhile: the least of them holds.
            Some(time) => later = Some(later.map_or(time, |later| later.min(time))),
            None => command.before = later,
        }
    }
}

/// A path that may hold anything, for a sentence.
fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().escape_ascii().to_string()
}

/// Seconds since the epoch, as digits.
fn seconds(digits: &[u8]) -> Option<Time> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number: i64 = std::str::from_utf8(digits).ok().filter(|_| all)?.parse().ok()?;
    number.checked_mul(1_000_000_000).map(Time)
}
