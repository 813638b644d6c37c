//! The formats in which shells keep their histories; what a file is shows in its first bytes, not in its name.

use super::{Command, seconds};
use crate::record::{Text, Time};

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash: a command a line, before it `#SECONDS` if it was told to.
    Bash,
    /// zsh: a command a line, or `: SECONDS:LASTED;COMMAND`.
    Zsh,
    /// fish: `- cmd: COMMAND` and `  when: SECONDS`.
    Fish,
    /// ash, of busybox: a command a line.
    Ash,
    /// ksh93: commands that end with zeros.
    Ksh,
    /// mksh: numbered commands that end with zeros, or a command a line.
    Mksh,
    /// tcsh: before each command `#+SECONDS`.
    Tcsh,
    /// One that isn't known: a command a line.
    Other,
}

impl Shell {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Ash => "ash",
            Self::Ksh => "ksh",
            Self::Mksh => "mksh",
            Self::Tcsh => "tcsh",
            Self::Other => "sh",
        }
    }

    /// The shell of that file name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "bash" | "rbash" => Self::Bash,
            "zsh" | "zsh5" | "rzsh" => Self::Zsh,
            "fish" => Self::Fish,
            "ash" | "busybox" => Self::Ash,
            "ksh" | "ksh93" | "rksh" => Self::Ksh,
            "mksh" | "lksh" => Self::Mksh,
            "tcsh" | "csh" => Self::Tcsh,
            _ => Self::Other,
        }
    }
}

const MKSH: [u8; 2] = [0xab, 0xcd];
/// Before each of mksh's commands, followed by its number.
const MKSH_COMMAND: u8 = 0xff;
/// Also taken back by this: ksh93 begins with it and the version.
const KSH_UNDO: u8 = 0x81;
/// Before ksh93's notes of how many commands there were, of six bytes.
const KSH_NUMBER: u8 = 0x82;

/// The commands of a file, the oldest first; `cut`: its beginning is not here.
#[must_use]
pub fn parse(shell: Shell, bytes: &[u8], cut: bool) -> Vec<Command> {
    match bytes {
        _ if bytes.starts_with(&MKSH) => mksh(&bytes[MKSH.len()..]),
        [KSH_UNDO, 1, rest @ ..] => ksh(rest),
        _ if cut && shell == Shell::Mksh => mksh(bytes),
        _ if cut && shell == Shell::Ksh && bytes.contains(&0) => ksh(bytes),
        _ => {
            // What was cut within a line is none.
            let start = if cut {
                bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
            } else {
                0
            };
            let bytes = &bytes[start..];
            match shell {
                Shell::Fish => fish(bytes),
                _ if bytes.starts_with(b"- cmd: ") => fish(bytes),
                Shell::Zsh => zsh(bytes),
                _ if extended(bytes).is_some() => zsh(bytes),
                Shell::Tcsh => stamped(bytes, b"#+"),
                Shell::Bash | Shell::Other => stamped(bytes, b"#"),
                Shell::Ash | Shell::Ksh | Shell::Mksh => stamped(bytes, b"\0"),
            }
        }
    }
}

/// Lines without their ends, with their numbers.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    lines.map(|(line, number)| (number, line.strip_suffix(b"\r").unwrap_or(line)))
}

/// A command a line; what begins with this mark and goes on in digits is the next one's time.
fn stamped(bytes: &[u8], mark: &[u8]) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut time = None;
    for (line, text) in lines(bytes) {
        if let Some(stamp) = text.strip_prefix(mark).and_then(seconds) {
            time = Some(stamp);
        } else if !text.is_empty() {
            // Further lines of a command have no time of their own.
            let time = time.take();
            commands.push(Command { text: Text::copy_from(text), time, line, ..Command::default() });
        }
    }
    commands
}

/// `: SECONDS:LASTED;` and where the command begins.
fn extended(line: &[u8]) -> Option<(Time, i64, &[u8])> {
    let rest = line.strip_prefix(b": ")?;
    let colon = rest.iter().position(|byte| *byte == b':')?;
    let (start, rest) = (seconds(rest[..colon].trim_ascii())?, &rest[colon + 1..]);
    let end = rest.iter().position(|byte| *byte == b';')?;
    let lasted = seconds(&rest[..end])?;
    Some((start, lasted.0, &rest[end + 1..]))
}

fn zsh(bytes: &[u8]) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut all = lines(bytes);
    while let Some((line, first)) = all.next() {
        let mut whole = first.to_vec();
        // A line that ends in a backslash goes on.
        while whole.last() == Some(&b'\\') {
            whole.pop();
            let Some((_, next)) = all.next() else { break };
            whole.push(b'\n');
            whole.extend_from_slice(next);
        }
        let (time, end, text) = match extended(&whole) {
            Some((start, 0, text)) => (Some(start), None, text),
            Some((start, lasted, text)) => (Some(start), start.0.checked_add(lasted).map(Time), text),
            None => (None, None, &whole[..]),
        };
        if !text.is_empty() {
            let text = Text::from(unmeta(text));
            commands.push(Command { text, time, end, line, before: None });
        }
    }
    commands
}

/// zsh writes some bytes as 0x83 and the byte with its sixth bit turned.
fn unmeta(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        match byte {
            0x83 => bytes.extend(rest.next().map(|byte| byte ^ 0x20)),
            byte => bytes.push(*byte),
        }
    }
    bytes
}

fn fish(bytes: &[u8]) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for (line, text) in lines(bytes) {
        if let Some(command) = text.strip_prefix(b"- cmd: ") {
            let text = Text::from(unescaped(command));
            commands.push(Command { text, line, ..Command::default() });
        } else if let Some(when) = text.strip_prefix(b"  when: ")
            && let Some(last) = commands.last_mut()
        {
            last.time = seconds(when);
        }
    }
    commands
}

/// fish writes a line's end as `\n` and a backslash as two.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let (byte, taken) = match (byte, after.first()) {
            (b'\\', Some(b'n')) => (b'\n', 1),
            (b'\\', Some(b'\\')) => (b'\\', 1),
            (byte, _) => (*byte, 0),
        };
        bytes.push(byte);
        rest = &after[taken..];
    }
    bytes
}

fn mksh(mut bytes: &[u8]) -> Vec<Command> {
    let mut commands = Vec::new();
    while let Some(at) = bytes.iter().position(|byte| *byte == MKSH_COMMAND) {
        let Some((number, rest)) = bytes[at + 1..].split_first_chunk::<4>() else { break };
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        let line = u64::from(u32::from_be_bytes(*number));
        if end != 0 {
            let text = Text::copy_from(&rest[..end]);
            commands.push(Command { text, line, ..Command::default() });
        }
        bytes = rest.get(end + 1..).unwrap_or_default();
    }
    commands
}

fn ksh(mut bytes: &[u8]) -> Vec<Command> {
    let mut commands = Vec::new();
    while let Some(first) = bytes.first() {
        match (first, bytes.get(1)) {
            (0 | &KSH_UNDO, _) => bytes = &bytes[1..],
            (&KSH_NUMBER, Some(0)) => bytes = bytes.get(6..).unwrap_or_default(),
            _ => {
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                let text = Text::copy_from(bytes[..end].trim_ascii_end());
                if !text.is_empty() {
                    let line = commands.len() as u64 + 1;
                    commands.push(Command { text, line, ..Command::default() });
                }
                bytes = &bytes[end..];
            }
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(shell: Shell, bytes: &[u8]) -> Vec<(String, Option<i64>)> {
        let seconds = |time: Time| time.0 / 1_000_000_000;
        let all = parse(shell, bytes, false).into_iter();
        all.map(|command| (command.text.to_str_lossy().into_owned(), command.time.map(seconds))).collect()
    }

    fn is(text: &str, time: Option<i64>) -> (String, Option<i64>) {
        (text.to_owned(), time)
    }

    #[test]
    fn bash_with_and_without_times() {
        let file =
            b"ls\n#1764180000\nfor a in b\ndo :\n#99999999999999999999\n#a comment\n\n#1764180009\r\nid\r\n";
        let commands = [
            is("ls", None),
            is("for a in b", Some(1_764_180_000)),
            is("do :", None),
            is("#99999999999999999999", None),
            is("#a comment", None),
            is("id", Some(1_764_180_009)),
        ];
        assert_eq!(told(Shell::Bash, file), commands);
        assert_eq!(told(Shell::Ash, b"#1764180000\nls\n").len(), 2, "ash has no times");
        assert_eq!(told(Shell::Tcsh, b"#+1764180000\nls\n"), [is("ls", Some(1_764_180_000))]);
    }

    #[test]
    fn zsh_plain_and_extended() {
        let file = b": 1764180000:5;echo a\\\nb\n: 1764180001:0;w\x83\xb6x\n: no;time\nplain\n: 1:1;\n";
        let commands = parse(Shell::Zsh, file, false);
        assert_eq!(commands.len(), 4);
        assert_eq!(commands[0].text, Text::from("echo a\nb"));
        assert_eq!(commands[0].end, Some(Time(1_764_180_005_000_000_000)));
        assert_eq!((commands[1].text.as_bytes(), commands[1].line), (&b"w\x96x"[..], 3));
        assert_eq!((commands[2].time, commands[3].time), (None, None));
        assert_eq!(told(Shell::Other, file)[0].1, Some(1_764_180_000), "known by its first line");
    }

    #[test]
    fn fish_with_its_escapes() {
        let file =
            b"- cmd: echo \"two\\nlines\\\\\\\\\"\n  when: 1764180000\n  paths:\n    - x\n- cmd: exit\n";
        let commands = [is("echo \"two\nlines\\\\\"", Some(1_764_180_000)), is("exit", None)];
        assert_eq!(told(Shell::Fish, file), commands);
    }

    #[test]
    fn what_mksh_and_ksh93_really_wrote() {
        let mksh =
            b"\xab\xcd\xff\0\0\0\x01echo one\0\xff\0\0\0\x02echo \"two\nlines\"\0\xff\0\0\0\x03w \xff x\0";
        let commands = parse(Shell::Mksh, mksh, false);
        let texts: Vec<&[u8]> = commands.iter().map(|command| command.text.as_bytes()).collect();
        assert_eq!(texts, [&b"echo one"[..], b"echo \"two\nlines\"", b"w \xff x"]);
        assert_eq!(commands[2].line, 3);
        let ksh = b"\x81\x01echo one\n\0echo \"two\nlines\"\n\0\x82\0\0\0\x05\0xecho\n\0\0exit\n\0";
        let commands = told(Shell::Other, ksh);
        assert_eq!(commands, ["echo one", "echo \"two\nlines\"", "xecho", "exit"].map(|text| is(text, None)));
    }

    #[test]
    fn any_bytes_are_read_safely() {
        let seeds: [&[u8]; 5] = [
            b"\xab\xcd\xff\0\0\0\x01a\0\xff\0\0",
            b"\x81\x01\x82\0\x81\0a\0\x82",
            b": 1:2;a\\\n",
            b"- cmd: \\\n  when: x\n",
            b"#1\n#\n\\",
        ];
        let shells = [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Ksh, Shell::Mksh, Shell::Tcsh];
        for seed in seeds {
            for shell in shells {
                for end in 0..=seed.len() {
                    for cut in [false, true] {
                        assert!(parse(shell, &seed[..end], cut).len() <= end);
                    }
                }
            }
        }
    }
}
