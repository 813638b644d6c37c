//! Which processes belong together, because one login, one job or one step into a container began them.
//!
//! The nearest of these ancestors decides: a connection of sshd, a child of cron, what entered a container, what was
//! given another login by the kernel's audit. Orphans are found by audit's session, by logind's cgroup, or by the
//! leader of their session; and a terminal that nothing of this began is a session by itself.

use std::collections::{BTreeMap, HashMap};

use super::Look;
use crate::{
    logins::{Login, Logins, Source},
    process::Process,
    record::Text,
    verdict::trust::trusted,
};

/// How a session came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Over the network, through sshd or dropbear.
    Ssh,
    /// On a terminal of the host.
    Terminal,
    /// On a screen.
    Graphical,
    /// From outside into a container.
    Container,
    /// A user's own service manager.
    Services,
    /// A job of cron or at.
    Cron,
    /// Some other login.
    Login,
}

impl Kind {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Terminal => "terminal",
            Self::Graphical => "graphical",
            Self::Container => "container",
            Self::Services => "services",
            Self::Cron => "cron",
            Self::Login => "login",
        }
    }
}

/// A session.
#[derive(Debug)]
pub struct Session<'a> {
    /// How it came.
    pub kind: Kind,
    /// Its processes, the oldest first.
    pub members: Vec<&'a Process>,
    /// The records of it.
    pub logins: Vec<&'a Login>,
    /// Nobody has logged in yet.
    pub authenticating: bool,
}

/// Programs through which others come in, by the names of their files.
const DOORS: &[(&str, Kind)] = &[
    ("sshd", Kind::Ssh),
    ("sshd-session", Kind::Ssh),
    ("sshd-auth", Kind::Ssh),
    ("dropbear", Kind::Ssh),
    ("cron", Kind::Cron),
    ("crond", Kind::Cron),
    ("atd", Kind::Cron),
];
/// Programs that wait on a terminal until somebody comes.
const WAITING: &[&str] = &["agetty", "getty", "mingetty", "mgetty", "fgetty"];
/// Programs that let somebody in on a terminal and stay until the end.
const PORTERS: &[&str] = &["login"];
/// Shells that are typed into.
const SHELLS: &[&str] =
    &["sh", "bash", "rbash", "dash", "zsh", "fish", "ash", "ksh", "ksh93", "mksh", "tcsh", "csh", "busybox"];

/// What the processes of a session have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    /// The kernel's audit session.
    Audit(u32),
    /// The process that began it.
    Own(u32),
    /// logind's cgroup.
    Scope(Text),
}

/// All sessions of what was looked at, the oldest first.
#[must_use]
pub fn find<'a>(look: &'a Look, logins: &'a Logins) -> Vec<Session<'a>> {
    let grouping = Grouping::of(look);
    let mut groups: BTreeMap<Key, Vec<&Process>> = BTreeMap::new();
    for process in &grouping.all {
        if let Some(key) = grouping.keys.get(&process.key.pid) {
            groups.entry(key.clone()).or_default().push(process);
        }
    }
    let mut told: BTreeMap<Key, Vec<&Login>> = BTreeMap::new();
    let mut alone = Vec::new();
    for login in &logins.all {
        join_scope(login, &grouping, &mut groups);
        match grouping.key_of(login, &groups) {
            Some(key) => told.entry(key).or_default().push(login),
            None => alone.push(login),
        }
    }
    let mut sessions: Vec<Session<'_>> = groups
        .into_iter()
        .map(|(key, mut members)| {
            members.sort_by_key(|member| (member.key.start, member.key.pid));
            grouping.session(members, told.remove(&key).unwrap_or_default())
        })
        .collect();
    sessions.extend(alone.into_iter().map(|login| Session {
        kind: kind_of_login(login).unwrap_or(Kind::Login),
        members: Vec::new(),
        logins: vec![login],
        authenticating: false,
    }));
    sessions
}

/// What stands in a login's cgroup and under nobody else is of that login.
fn join_scope(login: &Login, grouping: &Grouping<'_>, groups: &mut BTreeMap<Key, Vec<&Process>>) {
    let (Some(scope), Some(leader)) = (&login.scope, login.leader) else { return };
    let Some(key) = grouping.keys.get(&leader).filter(|key| groups.contains_key(key)) else { return };
    let scope = Key::Scope(scope.clone());
    if *key != scope
        && let Some(rest) = groups.remove(&scope)
    {
        groups.entry(key.clone()).or_default().extend(rest);
    }
}

fn kind_of_login(login: &Login) -> Option<Kind> {
    let word = |text: &Option<Text>| text.clone().unwrap_or_default();
    match (word(&login.class).as_bytes(), word(&login.kind).as_bytes()) {
        (class, _) if class.starts_with(b"manager") => Some(Kind::Services),
        (_, b"x11" | b"wayland" | b"mir") => Some(Kind::Graphical),
        _ => None,
    }
}

struct Grouping<'a> {
    look: &'a Look,
    all: Vec<&'a Process>,
    /// The pid namespace that we look from.
    home: Option<u32>,
    keys: HashMap<u32, Key>,
}

impl<'a> Grouping<'a> {
    fn of(look: &'a Look) -> Self {
        let home = look.reader.own_pid_namespace();
        let mut grouping = Self { look, all: look.all(), home, keys: HashMap::new() };
        // Parents come before their children.
        for process in grouping.all.clone() {
            if let Some(key) = grouping.key(process) {
                grouping.keys.insert(process.key.pid, key);
            }
        }
        grouping
    }

    fn parent(&self, process: &Process) -> Option<&'a Process> {
        let parent = self.look.table.at(process.actor.parent)?;
        // One that is younger was given the number of another.
        (parent.key.start <= process.key.start && parent.key.pid != process.key.pid).then_some(parent)
    }

    fn key(&self, process: &Process) -> Option<Key> {
        let own = Key::Own(process.key.pid);
        let parent = self.parent(process);
        if process.key.pid == 1 || self.look.is_kernel(process) {
            return None;
        }
        if self.is_fresh(process) {
            return Some(Key::Audit(process.actor.login_session));
        }
        if self.begins(process) {
            return Some(own);
        }
        if let Some(key) = parent.and_then(|parent| self.keys.get(&parent.key.pid)) {
            return Some(key.clone());
        }
        if let Some(audit) = audit(process) {
            return Some(Key::Audit(audit));
        }
        if let Some(scope) = process.cgroup.as_ref().and_then(scope) {
            return Some(Key::Scope(scope));
        }
        if process.actor.session != process.key.pid {
            return self.keys.get(&process.actor.session).cloned();
        }
        let waits = trusted(&process.now) && WAITING.contains(&name(process).as_str());
        (process.actor.tty_major != 0 && !waits).then_some(own)
    }

    /// Audit gave it a session that its parent hasn't.
    fn is_fresh(&self, process: &Process) -> bool {
        audit(process).is_some() && audit(process) != self.parent(process).and_then(audit)
    }

    /// Something begins with it.
    fn begins(&self, process: &Process) -> bool {
        let Some(parent) = self.parent(process) else { return is_connection(process) };
        is_connection(process) && !is_connection(parent)
            || self.is_job(process, parent)
            || self.entered(process, parent)
    }

    /// A child of cron itself, not of a child of cron; dropbear has its connections so.
    fn is_job(&self, process: &Process, parent: &Process) -> bool {
        let kind = door(parent);
        let dropbear = || name(parent) == "dropbear" && name(process) == "dropbear";
        // sshd says by itself what is a connection.
        let waits = kind == Some(Kind::Cron) || kind == Some(Kind::Ssh) && dropbear();
        let above = self.parent(parent);
        waits && above.and_then(door) != kind && !self.is_fresh(parent)
    }

    /// It is in a pid namespace that its parent isn't in, and didn't make it.
    fn entered(&self, process: &Process, parent: &Process) -> bool {
        let (inside, outside) = (pid_namespace(process), pid_namespace(parent));
        inside != 0
            && outside != 0
            && inside != outside
            && self.look.reader.pid_inside(process.key.pid).is_some_and(|pid| pid != 1)
    }

    /// The session that a record speaks of.
    fn key_of(&self, login: &Login, groups: &BTreeMap<Key, Vec<&Process>>) -> Option<Key> {
        let by_leader = login.leader.and_then(|leader| {
            let process = self.look.table.at(leader)?;
            // A number that was used again is of another, but for a clock that was set meanwhile.
            let later = login.since.is_some_and(|since| process.started.0 > since.0.saturating_add(MINUTE));
            if later { None } else { self.keys.get(&leader).cloned() }
        });
        let by_audit = || login.audit.map(Key::Audit);
        let by_scope = || login.scope.clone().map(Key::Scope);
        let by_terminal = || {
            let tty = login.tty.as_ref().filter(|_| login.source == Source::Utmp)?;
            let on = |member: &&Process| crate::enrich::terminal_of(&member.actor).as_ref() == Some(tty);
            // One that was opened after the record was made is another's.
            let since = login.since.map_or(i64::MAX, |since| since.0.saturating_add(MINUTE));
            let mut all = groups.iter();
            let found = all.find(|(_, members)| {
                members.iter().find(|member| on(member)).is_some_and(|first| first.started.0 <= since)
            });
            found.map(|(key, _)| key.clone())
        };
        let known = |key: Option<Key>| key.filter(|key| groups.contains_key(key));
        known(by_leader).or_else(|| known(by_audit())).or_else(|| known(by_scope())).or_else(by_terminal)
    }

    fn session(&self, members: Vec<&'a Process>, logins: Vec<&'a Login>) -> Session<'a> {
        let authenticating = members.iter().any(|member| is_authenticating(member));
        let session = Session { kind: Kind::Login, members, logins, authenticating };
        Session { kind: self.kind(&session), ..session }
    }

    fn kind(&self, session: &Session<'_>) -> Kind {
        let Some(first) = session.members.first() else { return Kind::Login };
        if let Some(kind) = session.logins.iter().find_map(|login| kind_of_login(login)) {
            return kind;
        }
        let inside = |process: &Process| {
            let space = pid_namespace(process);
            space != 0 && self.home.is_some_and(|home| home != space)
        };
        let manager = |process: &Process| {
            name(process) == "systemd" && process.image.args.iter().any(|arg| arg.as_bytes() == b"--user")
        };
        let began = || door(first).or_else(|| self.parent(first).and_then(door));
        match () {
            () if began().is_some() => began().unwrap_or(Kind::Login),
            () if inside(first) => Kind::Container,
            () if manager(first) => Kind::Services,
            () if session.members.iter().any(|member| member.actor.tty_major != 0) => Kind::Terminal,
            () => Kind::Login,
        }
    }
}

/// How far a record's time may be off.
const MINUTE: i64 = 60_000_000_000;

impl Session<'_> {
    /// The process that stands for it: the oldest that somebody came for, not one that let them in.
    #[must_use]
    pub fn leader(&self) -> Option<&Process> {
        // What sshd runs as a user may be kept from us.
        let unread =
            |member: &Process| member.now.inode == 0 && DOORS.iter().any(|(door, _)| *door == name(member));
        let came = self.members.iter().copied().find(|member| !lets_in(member) && !unread(member));
        // Of a connection without a command, the last: it acts as the user.
        came.or_else(|| self.members.last().copied())
    }
}

/// Whether it is a shell.
#[must_use]
pub fn is_shell(process: &Process) -> bool {
    let shell = name(process);
    SHELLS.contains(&shell.as_str()) && (shell != "busybox" || applet(process).ends_with("sh"))
}

/// Whether it is a shell that takes its commands from who types them: it was given none, and no script.
#[must_use]
pub fn is_typed_into(process: &Process) -> bool {
    let option = |arg: &Text| {
        let bytes = arg.as_bytes();
        bytes.starts_with(b"--")
            || bytes.starts_with(b"-") && !bytes.contains(&b'c')
            || bytes.starts_with(b"+")
    };
    is_shell(process) && process.image.args.iter().skip(1).all(option)
}

/// Whether it only lets others in.
#[must_use]
pub fn lets_in(process: &Process) -> bool {
    door(process).is_some() || trusted(&process.now) && PORTERS.contains(&name(process).as_str())
}

/// The door that a process is, by its file, which only root can have put there.
fn door(process: &Process) -> Option<Kind> {
    let name = name(process);
    let of = |name: &str| DOORS.iter().find(|(door, _)| *door == name).map(|(_, kind)| *kind);
    let root = process.actor.ids.iter().step_by(2).any(|id| *id == 0);
    match () {
        // What it executes may not be asked: its name is believed of root's.
        () if process.now.inode == 0 => of(&name).filter(|_| root),
        () if !trusted(&process.now) => None,
        () if name == "busybox" => of(&applet(process)).filter(|_| root),
        () => of(&name),
    }
}

/// Whether it is a connection of sshd, which says so in its arguments, and sshd is trusted.
fn is_connection(process: &Process) -> bool {
    let args = &process.image.args;
    let title = args.first().map(Text::as_bytes).unwrap_or_default();
    let named = title.starts_with(b"sshd: ") || title.starts_with(b"sshd-session: ");
    let listens = title.windows(10).any(|part| part == b"[listener]");
    let begins = args.iter().any(|arg| matches!(arg.as_bytes(), b"-R" | b"-i"));
    door(process) == Some(Kind::Ssh) && name(process) != "dropbear" && (named && !listens || begins)
}

/// Whether it is a part of sshd that lives only until somebody has logged in.
fn is_authenticating(process: &Process) -> bool {
    let title = process.image.args.first().map(Text::to_str_lossy).unwrap_or_default();
    let marks = ["[net]", "[preauth]", "[accepted]"];
    door(process) == Some(Kind::Ssh)
        && (name(process) == "sshd-auth" || marks.iter().any(|mark| title.ends_with(mark)))
}

/// The name of the file that it executes, else its own.
fn name(process: &Process) -> String {
    let text = process.image.executable.as_ref().or(process.name.as_ref());
    text.map(base).unwrap_or_default()
}

/// Which of busybox' programs it is.
fn applet(process: &Process) -> String {
    let mut names = process.image.args.iter().map(base);
    let first = names.next().unwrap_or_default();
    let first = first.trim_start_matches('-').to_owned();
    if first == "busybox" { names.next().unwrap_or_default() } else { first }
}

fn base(text: &Text) -> String {
    let bytes = text.as_bytes();
    String::from_utf8_lossy(bytes.rsplit(|byte| *byte == b'/').next().unwrap_or(bytes)).into_owned()
}

fn audit(process: &Process) -> Option<u32> {
    let (uid, session) = (process.actor.login_uid, process.actor.login_session);
    (uid != u32::MAX && session != u32::MAX).then_some(session)
}

fn pid_namespace(process: &Process) -> u32 {
    process.actor.namespaces[4]
}

/// The name of a login's cgroup, such as `session-3.scope`.
fn scope(cgroup: &Text) -> Option<Text> {
    let mut names = cgroup.as_bytes().split(|byte| *byte == b'/');
    let scope = names.find(|name| name.starts_with(b"session-") && name.ends_with(b".scope"))?;
    Some(Text::copy_from(scope))
}
