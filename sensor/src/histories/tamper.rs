//! Signs that a history was emptied, shortened or led elsewhere.

use super::{History, Owner};
use crate::record::{Text, Time};

/// What turns a history off or empties it, wherever it stands in a command.
const NEEDLES: &[&str] = &[
    "unset HISTFILE",
    "HISTFILE=/dev/null",
    "HISTFILE=\"\"",
    "HISTFILE=''",
    "HISTFILE= ",
    "HISTSIZE=0",
    "HISTFILESIZE=0",
    "SAVEHIST=0",
    "set +o history",
    "history -c",
    "history -cw",
    "history clear",
    "history -p",
    "HISTIGNORE='*'",
    "HISTIGNORE=\"*\"",
    "HISTIGNORE=*",
    "fish_history ''",
    "--private",
];
/// What empties a file, when it is one of a history.
const ERASERS: &[&str] =
    &[">", "rm ", "shred ", "truncate ", "ln ", "unlink ", "srm ", "wipe ", "sed -i", "chattr "];
/// How many commands every shell keeps unless it is told otherwise: a file of more may have been shortened by the shell.
const KEPT: usize = 500;
const DAY: i64 = 86_400_000_000_000;

/// Whether a command takes a history away.
#[must_use]
pub fn tampers(command: &Text) -> bool {
    let text = command.to_str_lossy();
    let fish = text.trim_start().starts_with("fish");
    let mut needles = NEEDLES.iter().filter(|needle| fish || **needle != "--private");
    let file = || ["_history", ".histfile", ".zhistory"].iter().any(|name| text.contains(name));
    needles.any(|needle| text.contains(needle))
        || text.trim_end().ends_with("HISTFILE=")
        || file() && ERASERS.iter().any(|eraser| text.contains(eraser))
}

/// What a variable in the environment of a user's process means for the history.
#[must_use]
pub fn of_variable(name: &str, value: &[u8]) -> Option<(u64, String)> {
    let zero = || value.trim_ascii() == b"0";
    match name {
        "HISTFILE" if value.is_empty() => Some((47, "HISTFILE is empty: nothing is remembered".to_owned())),
        "HISTFILE" if value == b"/dev/null" => {
            Some((47, "HISTFILE is /dev/null: nothing is remembered".to_owned()))
        }
        "HISTSIZE" | "HISTFILESIZE" | "SAVEHIST" if zero() => {
            Some((47, format!("{name} is 0: nothing is remembered")))
        }
        "HISTIGNORE" if value.trim_ascii() == b"*" => {
            Some((47, "HISTIGNORE is *: nothing is remembered".to_owned()))
        }
        "fish_history" if value.is_empty() => {
            Some((47, "fish_history is empty: nothing is remembered".to_owned()))
        }
        _ => None,
    }
}

/// The variables that are looked at.
pub const VARIABLES: &[&str] =
    &["HISTFILE", "HISTSIZE", "HISTFILESIZE", "SAVEHIST", "HISTIGNORE", "fish_history"];

/// What is odd about a file that could be read.
pub(super) fn of_file(history: &History, owner: Owner, uid: u32, born: Option<Time>) -> Vec<(u64, String)> {
    let mut odd = Vec::new();
    if history.size == Some(0) {
        odd.push(match owner.interactive {
            true => {
                (47, "it is empty, though its user has had a shell on a terminal: it was emptied".to_owned())
            }
            false => (21, "it is empty: it was emptied, or made empty".to_owned()),
        });
    }
    if uid != owner.uid {
        odd.push((21, format!("it belongs to user {uid}, not to who has this home")));
    }
    let first = history.commands.first().and_then(|command| command.time);
    if let (Some(first), Some(born)) = (first, born)
        && history.commands.len() < KEPT
        && history.part.is_none()
        && first.0.saturating_sub(born.0) > DAY
    {
        let sentence =
            "its first command is more than a day younger than the file: its beginning was removed";
        odd.push((47, sentence.to_owned()));
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_history_away_is_known() {
        let bad = [
            "unset HISTFILE",
            "export HISTFILE=/dev/null",
            "export HISTFILE=",
            " HISTSIZE=0 bash",
            "set +o history",
            "history -c && exit",
            "> ~/.bash_history",
            "ln -sf /dev/null ~/.zsh_history",
            "shred -u .bash_history",
            "fish --private",
        ];
        for bad in bad {
            assert!(tampers(&Text::from(bad)), "{bad}");
        }
        for good in ["history", "cat ~/.bash_history", "echo $HISTFILE", "ls --private", "HISTSIZE=1000"] {
            assert!(!tampers(&Text::from(good)), "{good}");
        }
    }

    #[test]
    fn variables_that_lead_nowhere_are_known() {
        for (name, value) in
            [("HISTFILE", "/dev/null"), ("HISTFILE", ""), ("HISTSIZE", "0"), ("HISTIGNORE", "*")]
        {
            assert!(of_variable(name, value.as_bytes()).is_some(), "{name}={value}");
        }
        assert!(
            of_variable("HISTFILE", b"/home/a/.h").is_none() && of_variable("HISTSIZE", b"1000").is_none()
        );
    }
}
