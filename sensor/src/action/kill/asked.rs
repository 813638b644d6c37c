//! What was asked for, as a rule, and in words.

use std::{
    collections::{BTreeSet, HashSet},
    fs::File,
    io::Read,
};

use super::{By, Kill};
use crate::{
    action::{Failure, Status, lister, user_id},
    contain::targets::{self, Rule},
    event::Key,
    evidence::folder::hexadecimal,
    firewall::rule::Port,
    format::text::escape,
    host::Host,
    look::{Look, Row, open::Open, sockets::Sockets},
    net::found::{Found, Kind, State},
    record::Text,
    sockdiag::Scope,
};

/// The first id of a person where the distribution doesn't say another (`login.defs(5)`).
const FIRST_PERSON: u32 = 1000;
/// `IPPROTO_TCP`, and `IPPROTO_MPTCP`, whose listeners take TCP too.
const TCP: u16 = 6;
const MPTCP: u16 = 262;
/// Most bytes of `login.defs` that are read.
const MOST_BYTES: u64 = 1024 * 1024;

/// What was asked for.
pub(super) struct Asked {
    /// Who is meant.
    pub(super) rule: Rule,
    /// It is a system account.
    pub(super) system: bool,
    /// In words, as it was typed.
    pub(super) target: String,
    /// The same, safe to show.
    pub(super) shown: String,
}

impl Asked {
    pub(super) fn of(args: &Kill, host: &Host, rows: &[Row]) -> Result<Self, Failure> {
        let who = &args.who;
        let (rule, target) = match who {
            _ if let Some(user) = &who.user => {
                let by = match args.by {
                    By::Any => targets::By::Any,
                    By::Login => targets::By::Login,
                    By::Real => targets::By::Real,
                    By::Effective => targets::By::Effective,
                };
                (Rule::User { uid: user_id(user, host)?, by }, format!("user {user}"))
            }
            _ if let Some(pid) = who.pid => (Rule::Process(key(pid, rows)?), format!("pid {pid}")),
            _ if let Some(pid) = who.tree => (Rule::Tree(key(pid, rows)?), format!("tree of pid {pid}")),
            _ if let Some(port) = who.port => {
                (Rule::Holders(holders(port, host, rows)?), format!("port {port}"))
            }
            _ => {
                let sha256 = who.sha256.clone().unwrap_or_default();
                let target = format!("sha256 {}", sha256.to_str_lossy());
                (Rule::Hash(sha256), target)
            }
        };
        let system = matches!(rule, Rule::User { uid, .. } if uid < first_person(host));
        let shown = match &who.user {
            Some(user) => format!("user {}", escape(user.as_bytes())),
            None => target.clone(),
        };
        Ok(Self { rule, system, target, shown })
    }

    /// What is still so that was to end, a sentence each.
    pub(super) fn left(&self, args: &Kill, host: &Host, rows: &[Row]) -> Vec<String> {
        let Some(port) = args.who.port else { return Vec::new() };
        match holders(port, host, rows) {
            Ok(left) if left.is_empty() => Vec::new(),
            Ok(left) => {
                let pids: Vec<String> = left.iter().map(|key| key.pid.to_string()).collect();
                vec![format!("port {port} is still held, by {}", pids.join(", "))]
            }
            Err(error) => vec![format!("whether port {port} is still held: {error}")],
        }
    }
}

/// Who listens on a port in this network namespace, or hears on it.
fn holders(port: Port, host: &Host, rows: &[Row]) -> Result<BTreeSet<Key>, Failure> {
    let look = Look::at(host, lister(host))
        .map_err(|error| Failure::new(Status::Failed, format!("listing who has the port open: {error}")))?;
    let open = Open::at(&look);
    let own = look.reader.network_namespace(None).map(|(inode, _)| inode);
    let sockets = Sockets::at(&look, &open, Scope::Hearing);
    let ours = sockets.found.iter().filter(|found| own == Some(found.netns) && is_heard(found, port));
    let pids: HashSet<u32> =
        ours.filter_map(|found| open.sockets.get(&found.inode)).flatten().map(|holder| holder.pid).collect();
    Ok(rows.iter().map(|row| row.key).filter(|key| pids.contains(&key.pid)).collect())
}

fn is_heard(found: &Found, port: Port) -> bool {
    let Kind::Inet(inet) = &found.kind else { return false };
    let protocol = if inet.protocol == MPTCP { TCP } else { inet.protocol };
    let hears = matches!(found.state, State::Listens | State::Bound);
    hears && !inet.raw && port.is(protocol, inet.local.1)
}

/// The process that has this number.
fn key(pid: u32, rows: &[Row]) -> Result<Key, Failure> {
    let found = rows.iter().find(|row| row.key.pid == pid);
    found.map(|row| row.key).ok_or_else(|| {
        Failure::new(
            Status::Failed,
            format!("there is no process {pid}, or it has ended and waits to be reaped"),
        )
    })
}

/// A SHA-256 that was typed.
pub(super) fn hash(word: &str) -> Result<Text, &'static str> {
    let word = word.to_ascii_lowercase();
    match hexadecimal(&word, 64) {
        true => Ok(Text::from(word)),
        false => Err("it is no SHA-256 (64 hexadecimal digits)"),
    }
}

/// The first id that isn't a system account's.
fn first_person(host: &Host) -> u32 {
    let mut text = String::new();
    let file = File::open(host.root().join("etc/login.defs"));
    let read = file.and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
    let said = read.ok().and_then(|_| {
        text.lines().find_map(|line| line.trim_start().strip_prefix("UID_MIN")?.trim().parse().ok())
    });
    said.unwrap_or(FIRST_PERSON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_says_who_is_a_person() {
        let root = std::env::temp_dir().join(format!("sensor-kill-{}", std::process::id()));
        std::fs::create_dir_all(root.join("proc/sys/kernel/random")).unwrap();
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("proc/sys/kernel/random/boot_id"), "x").unwrap();
        let host = Host::under(&root).unwrap();
        assert_eq!(first_person(&host), 1000);
        std::fs::write(root.join("etc/login.defs"), "# UID_MIN 5\nUID_MIN\t\t 500\nUID_MAX 60000\n").unwrap();
        assert_eq!(first_person(&host), 500);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn hashes_are_of_their_length() {
        assert_eq!(hash(&"A".repeat(64)), Ok(Text::from("a".repeat(64))));
        assert!(hash("").is_err() && hash(&"g".repeat(64)).is_err());
    }
}
