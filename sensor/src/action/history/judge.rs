//! Whether what ran is in the history of who ran it.

use std::collections::{HashMap, HashSet};

use super::row::Row;
use crate::{
    field::Field,
    histories::{History, sudo},
    look::sessions::{is_shell, is_typed_into},
    process::Process,
    record::{Text, Time},
};

/// What the histories of a user hold.
#[derive(Default)]
struct Memory {
    /// Every word of every command, without the folders before it.
    words: HashSet<Vec<u8>>,
    /// When the last of them was written.
    written: Option<Time>,
}

/// Of all users.
pub(super) struct Judge(HashMap<u32, Memory>);

const NOT_FOUND: &str = "it ran, and no command of its name is in the user's history, which was written since: it was typed so that it isn't remembered, or was removed";
const NOT_YET: &str = "it runs, and no command of its name is in the user's history, which was written since; some shells write only at their end";

impl Judge {
    /// By these histories.
    pub(super) fn of(histories: &[History]) -> Self {
        let mut users: HashMap<u32, Memory> = HashMap::new();
        // One of which a part is missing says nothing of what isn't in it.
        let whole = histories.iter().filter(|history| history.part.is_none() && !history.commands.is_empty());
        for history in whole {
            let memory = users.entry(history.uid).or_default();
            memory.written = memory.written.max(history.modified);
            let commands = history.commands.iter().map(|command| command.text.as_bytes());
            memory.words.extend(commands.flat_map(words).map(<[u8]>::to_vec));
        }
        Self(users)
    }

    /// Judges what sudo tells, where it was typed on a terminal.
    pub(super) fn sudo(&self, entry: &sudo::Entry, uid: Option<u32>, row: &mut Row) {
        let command = words(entry.command.as_bytes()).next();
        if let (Some(uid), Some(time), Some(command), Some(_)) = (uid, entry.time, command, &entry.tty) {
            self.judge(uid, time, command, NOT_FOUND, row);
        }
    }

    /// Judges what an interactive shell started and still runs.
    pub(super) fn live(&self, process: &Process, parent: Option<&Process>, row: &mut Row) {
        let typed = |parent: &Process| is_typed_into(parent) && parent.actor.tty_major != 0;
        let name = process.image.args.first().or(process.image.executable.as_ref()).map(Text::as_bytes);
        let command = name.and_then(|name| words(name).next());
        if let Some(command) = command.filter(|_| parent.is_some_and(typed) && !is_shell(process)) {
            self.judge(process.actor.ids[0], process.started, command, NOT_YET, row);
        }
    }

    fn judge(&self, uid: u32, time: Time, command: &[u8], sentence: &str, row: &mut Row) {
        let Some(memory) = self.0.get(&uid) else { return };
        let recorded = memory.words.contains(command);
        // What was written before says nothing of what came after.
        if recorded || memory.written.is_some_and(|written| written > time) {
            row.record.set(Field::SensorHistoryRecorded, recorded);
        }
        if !recorded && row.record.has(Field::SensorHistoryRecorded) {
            row.found([(21, sentence.to_owned())]);
        }
    }
}

/// The words of a command line, each without the folders before it and the quotes around it.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let between = |byte: &u8| byte.is_ascii_whitespace() || b"|&;()<>`$\"'{}".contains(byte);
    let base = |word: &'_ [u8]| word.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    line.split(between).map(move |word| &word[base(word)..]).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_without_folders_and_quotes() {
        let found: Vec<&[u8]> = words(b"sudo /usr/bin/id|'x y'; $(./run) /").collect();
        assert_eq!(found, [&b"sudo"[..], b"id", b"x", b"y", b"run"]);
    }
}
