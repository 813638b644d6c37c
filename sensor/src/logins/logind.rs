//! logind's record of each session: a file under `/run/systemd/sessions`, which is also what `sd_login(3)` reads.

use std::{fs, path::Path};

use super::{Login, Logins, Source, filled};
use crate::record::Time;

const FOLDER: &str = "run/systemd/sessions";
/// Most sessions, and most bytes of one.
const MOST_SESSIONS: usize = 4096;
const MOST_BYTES: u64 = 64 * 1024;

pub(super) fn read(root: &Path, logins: &mut Logins) {
    let Ok(entries) = fs::read_dir(root.join(FOLDER)) else { return };
    logins.logind = true;
    let mut names: Vec<String> = entries
        .take(2 * MOST_SESSIONS)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        // Beside each session stands a queue, `3.ref`, and sometimes a file that is being written, `.#3…`.
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .collect();
    names.sort_unstable();
    if names.len() > MOST_SESSIONS {
        logins.parts.push(format!("/{FOLDER}: more than {MOST_SESSIONS} sessions"));
    }
    for name in names.into_iter().take(MOST_SESSIONS) {
        if let Some(bytes) = logins.bytes(root, &format!("{FOLDER}/{name}"), MOST_BYTES) {
            logins.all.push(session(name, &bytes));
        }
    }
}

fn session(name: String, bytes: &[u8]) -> Login {
    let mut login = Login { id: Some(name.into()), ..Login::of(Source::Logind) };
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (key, value) = (&line[..at], plain(&line[at + 1..]));
        let number = || std::str::from_utf8(&value).ok()?.parse::<u64>().ok();
        let small = || u32::try_from(number()?).ok();
        match key {
            b"UID" => login.uid = small(),
            b"USER" => login.user = filled(&value),
            b"TTY" => login.tty = filled(value.strip_prefix(b"/dev/").unwrap_or(&value)),
            b"REMOTE_HOST" => login.from = filled(&value),
            b"LEADER" => login.leader = small(),
            b"AUDIT" => login.audit = small().filter(|audit| *audit != 0 && *audit != u32::MAX),
            b"SCOPE" => login.scope = filled(&value),
            b"CLASS" => login.class = filled(&value),
            b"TYPE" => login.kind = filled(&value),
            b"STATE" => login.state = filled(&value),
            b"REALTIME" => login.since = number().and_then(microseconds),
            _ => {}
        }
    }
    login
}

fn microseconds(since_epoch: u64) -> Option<Time> {
    i64::try_from(since_epoch).ok()?.checked_mul(1000).map(Time)
}

/// A value without its quotes and escapes: `\n`, `\x41`, `\101`, and any other character that stands for itself.
fn plain(value: &[u8]) -> Vec<u8> {
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let mut rest = quoted.unwrap_or(value);
    let mut bytes = Vec::with_capacity(rest.len());
    let digits = |digits: &[u8], radix| u8::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let coded = match after {
            [b'x', a, b, ..] => digits(&[*a, *b], 16).map(|byte| (byte, 3)),
            [a @ b'0'..=b'3', b, c, ..] => digits(&[*a, *b, *c], 8).map(|byte| (byte, 3)),
            [b'n', ..] => Some((b'\n', 1)),
            [b't', ..] => Some((b'\t', 1)),
            [other, ..] => Some((*other, 1)),
            [] => None,
        };
        let (byte, taken) = coded.unwrap_or((b'\\', 0));
        bytes.push(byte);
        rest = &after[taken..];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Text;

    #[test]
    fn a_session_is_read_as_logind_writes_it() {
        let file = b"# This is private data. Do not parse.\nUID=1000\nUSER=alice\nACTIVE=1\nSTATE=active\n\
            REMOTE=1\nTYPE=tty\nCLASS=user\nSCOPE=session-3.scope\nFIFO=/run/systemd/sessions/3.ref\n\
            TTY=/dev/pts/0\nREMOTE_HOST=\"192.0.2.7\"\nSERVICE=sshd\nLEADER=812\nAUDIT=3\n\
            REALTIME=1764180000000001\nMONOTONIC=7\n";
        let login = session("3".to_owned(), file);
        let text = |text: &'static str| Some(Text::from(text));
        assert_eq!((login.uid, login.user, login.tty), (Some(1000), text("alice"), text("pts/0")));
        assert_eq!((login.from, login.leader, login.audit), (text("192.0.2.7"), Some(812), Some(3)));
        assert_eq!(login.since, Some(Time(1_764_180_000_000_001_000)));
        assert_eq!((login.scope, login.class), (text("session-3.scope"), text("user")));
    }

    #[test]
    fn whatever_stands_there_is_read_safely() {
        assert_eq!(plain(b"a\\x41\\101\\n\\\"\\"), b"aAA\n\"\\");
        assert_eq!(plain(b"\"\\xzz\""), b"\\xzz");
        assert_eq!(plain(b"\""), b"\"");
        let file = b"UID=-1\nLEADER=99999999999999999999\nREALTIME=18446744073709551615\nUSER=\n=x\nTTY\n\xff=\xff\n";
        let login = session("1".to_owned(), file);
        assert_eq!(login, Login { id: login.id.clone(), ..Login::of(Source::Logind) });
    }
}
