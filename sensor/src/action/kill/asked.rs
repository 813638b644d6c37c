//! What was asked for, as a rule, and in words.

use std::{
    fs::File,
    io::{self, Read},
    thread,
    time::Duration,
};

use nix::unistd::geteuid;

use super::{By, Kill};
use crate::{
    action::{Failure, Status, user_id},
    contain::{
        heard::Heard,
        sweep::Sweeper,
        targets::{self, Rule, Targets},
    },
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
/// How often it is looked who holds a socket that nobody was seen to hold: it may have gone from one process to another
/// meanwhile.
const LOOKS: usize = 3;
/// Between two of these looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Most processes that are named in an error.
const NAMED_MOST: usize = 16;

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
    /// Of whom it couldn't be seen what they have open, a phrase each.
    unread: Vec<String>,
}

/// Why a port is still held.
pub(super) struct Left {
    /// In a sentence, with what to do.
    pub(super) why: String,
    /// That it isn't permitted to see by whom, or that it isn't done.
    pub(super) status: Status,
}

impl Asked {
    pub(super) fn of(args: &Kill, host: &Host, sweeper: &mut Sweeper) -> Result<Self, Failure> {
        let who = &args.who;
        let mut unread = Vec::new();
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
            _ if let Some(pid) = who.pid => (Rule::Process(key(pid, &sweeper.rows())?), format!("pid {pid}")),
            _ if let Some(pid) = who.tree => {
                (Rule::Tree(key(pid, &sweeper.rows())?), format!("tree of pid {pid}"))
            }
            _ if let Some(port) = who.port => {
                let seen = Listeners::of(port, host, sweeper)
                    .map_err(|error| Failure::new(Status::Failed, failed(port, &error)))?;
                unread = seen.unread;
                (Rule::Holders(seen.heard), format!("port {port}"))
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
        Ok(Self { rule, system, target, shown, unread })
    }

    /// What is still so that was to end.
    pub(super) fn left(&self, args: &Kill, host: &Host, sweeper: &mut Sweeper) -> Option<Left> {
        let port = args.who.port?;
        match Listeners::of(port, host, sweeper) {
            Ok(seen) => seen.left(port),
            Err(error) => Some(Left { why: failed(port, &error), status: Status::Part }),
        }
    }

    /// That somebody holds the port whom nobody sees, a sentence.
    pub(super) fn unseen(&self, args: &Kill, targets: &Targets) -> Option<String> {
        match targets.rule() {
            Rule::Holders(heard) if heard.has_unheld() => Some(unseen(args.who.port?, &self.unread)),
            _ => None,
        }
    }
}

fn failed(port: Port, error: &io::Error) -> String {
    format!("looking who holds port {port}: {error}; try it again, as root")
}

/// Why it isn't known who holds a port, and what to do.
fn unseen(port: Port, unread: &[String]) -> String {
    let unread = if unread.is_empty() { String::new() } else { format!(" ({})", unread.join("; ")) };
    match geteuid().is_root() {
        true => format!(
            "port {port} is held, and nobody is seen who holds it{unread}: its socket is the kernel's own (NFS, WireGuard), io_uring's, \
             under way between processes, or of a process that can't be seen from here; `sensor port close {port}` closes it by the firewall"
        ),
        false => format!("port {port} is held, and only root sees by whom{unread}: run it with sudo"),
    }
}

/// Who listens on a port in this network namespace, or hears on it.
struct Listeners {
    heard: Heard,
    /// Of whom it couldn't be seen what they have open, a phrase each.
    unread: Vec<String>,
}

impl Listeners {
    /// Looks again as long as a socket has no holder, for some times.
    fn of(port: Port, host: &Host, sweeper: &mut Sweeper) -> io::Result<Self> {
        let mut seen = Self::at(port, host, sweeper)?;
        for _ in 1..LOOKS {
            if !seen.heard.has_unheld() {
                break;
            }
            thread::sleep(PAUSE);
            seen = Self::at(port, host, sweeper)?;
        }
        Ok(seen)
    }

    /// Who began when is taken from the look that finds who holds what: no other look has those who live as short as it takes.
    fn at(port: Port, host: &Host, sweeper: &mut Sweeper) -> io::Result<Self> {
        let look = Look::by(host, sweeper.kernel())?;
        let open = Open::at(&look);
        let Some((own, _)) = look.reader.network_namespace(None) else {
            return Err(io::Error::other("/proc doesn't show which network namespace this is"));
        };
        let sockets = Sockets::at(&look, &open, Scope::Hearing);
        let key = |pid: u32| {
            let began = || look.reader.seen(pid).map(|seen| Key { pid, start: seen.start });
            look.table.at(pid).map(|process| process.key).or_else(began)
        };
        let ours = sockets.found.iter().filter(|found| found.netns == own && is_heard(found, port));
        let heard = Heard::of(ours.map(|found| {
            let holders = open.sockets.get(&found.inode).into_iter().flatten();
            (found.inode, holders.filter_map(|holder| key(holder.pid)).collect())
        }));
        Ok(Self { heard, unread: open.unread.told() })
    }

    fn left(&self, port: Port) -> Option<Left> {
        let holders = self.heard.holders();
        if !holders.is_empty() {
            let pids: Vec<String> = holders.iter().take(NAMED_MOST).map(|key| key.pid.to_string()).collect();
            let more = holders.len().saturating_sub(NAMED_MOST);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let why = format!(
                "port {port} is still held, by {}{more}: do it again, or `sensor port close {port}` closes it by the firewall",
                pids.join(", ")
            );
            return Some(Left { why, status: Status::Part });
        }
        let status = if geteuid().is_root() { Status::Part } else { Status::NotPermitted };
        self.heard.has_unheld().then(|| Left { why: unseen(port, &self.unread), status })
    }
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
    fn a_port_that_is_held_is_never_taken_for_free() {
        let port: Port = "80/tcp".parse().unwrap();
        let seen = |sockets: Vec<(u64, Vec<Key>)>| {
            let unread = vec!["what process 9 has open, which may not be read".to_owned()];
            Listeners { heard: Heard::of(sockets), unread }.left(port)
        };
        assert!(seen(Vec::new()).is_none());
        let held = seen(vec![(7, vec![Key { pid: 5, start: 1 }]), (8, Vec::new())]).unwrap();
        assert_eq!(held.status, Status::Part);
        assert!(held.why.contains("still held, by 5"), "{}", held.why);
        let unseen = seen(vec![(8, Vec::new())]).unwrap();
        let status = if geteuid().is_root() { Status::Part } else { Status::NotPermitted };
        assert_eq!(unseen.status, status);
        assert!(unseen.why.contains("process 9"), "{}", unseen.why);
    }

    #[test]
    fn hashes_are_of_their_length() {
        assert_eq!(hash(&"A".repeat(64)), Ok(Text::from("a".repeat(64))));
        assert!(hash("").is_err() && hash(&"g".repeat(64)).is_err());
    }
}
