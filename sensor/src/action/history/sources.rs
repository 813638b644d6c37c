//! All that remembers what was run: processes that live, histories of shells, logs of sudo.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::mpsc,
    time::Duration,
};

use super::{
    judge::Judge,
    row::{Maker, Row},
};
use crate::{
    background,
    histories::{
        self, History, Owner, Shell,
        homes::{self, User},
        journal, sudo, tamper,
    },
    host::Host,
    logins::Logins,
    look::{
        Look,
        described::Describer,
        sessions::{self, is_shell, lets_in},
    },
    process::Process,
    record::{Text, Time},
};

/// How long a home may keep us waiting: what answers for its file system may never do so.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many homes may keep a thread of ours for ever; after that, no other is asked.
const STUCK_MOST: usize = 8;
/// Most commands of all histories: anybody can have any number of files, and one by many names.
const COMMANDS_MOST: usize = 1_000_000;
/// How many files are read that only an environment names.
const NAMED_MOST: usize = 256;

/// Everything, as rows in the order of telling, and what couldn't be read.
pub(super) fn all(
    mut look: Look,
    host: &Host,
    user: Option<u32>,
    since: Option<Time>,
) -> (Vec<Row>, Vec<String>) {
    let mut parts = std::mem::take(&mut look.parts);
    let logins = Logins::read(host.root());
    let in_sessions: Vec<u32> = sessions::find(&look, &logins)
        .iter()
        .flat_map(|session| session.members.iter().filter(|member| !lets_in(member)))
        .map(|member| member.key.pid)
        .collect();
    let users = homes::users(&host.passwd());
    let (logs, entries) = sudo_entries(host, since, &mut parts);
    let wanted: Vec<&User> = users.iter().filter(|one| user.is_none_or(|user| one.uid == user)).collect();
    let typing = Typing::of(&look, &logins, &entries);
    let asked: Vec<(User, bool)> = wanted.iter().map(|one| ((*one).clone(), typing.has(one))).collect();
    let mut found = in_homes(host.root(), asked, &mut parts);
    let maker = Maker::of(host);
    let pids = in_sessions.iter().copied().collect();
    let (mut rows, named, unread) = variables(&mut look, &wanted, &pids, &maker);
    read_named(named, host.root(), &mut found, &mut parts);
    if unread != 0 {
        parts.push(format!(
            "the environments of {unread} processes, which may not be asked for, or were not told in time"
        ));
    }
    parts.extend(found.iter().filter_map(|history| {
        Some(format!("{}: {}", history.path.to_str_lossy().escape_debug(), history.part.as_ref()?))
    }));
    if let Some(first) = logs.packed.first() {
        let (count, first) = (logs.packed.len(), first.escape_debug());
        parts.push(format!(
            "{count} packed logs in /var/log, such as {first}: of packed ones only .gz are read"
        ));
    }

    let names: HashMap<u32, &Text> = users.iter().map(|one| (one.uid, &one.name)).collect();
    let ids: HashMap<&Text, u32> = users.iter().map(|one| (&one.name, one.uid)).collect();
    let judge = Judge::of(&found);
    for history in &found {
        let user = names.get(&history.uid).copied().cloned().unwrap_or_default();
        rows.push(maker.file(history, &user));
        rows.extend(history.commands.iter().map(|command| {
            let mut row = maker.command(command, history, &user);
            if tamper::tampers(&command.text) {
                row.found([(47, TAMPERS.to_owned())]);
            }
            row
        }));
    }
    for entry in &entries {
        let uid = ids.get(&entry.user).copied();
        if user.is_none() || user == uid {
            let mut row = maker.sudo(entry, uid);
            judge.sudo(entry, uid, &mut row);
            rows.push(row);
        }
    }
    rows.extend(live(&look, host, user, &pids, &judge));
    rows.retain(|row| row.is_file || since.is_none_or(|since| row.at.is_none_or(|at| at >= since)));
    // The order within a file holds where times are equal or unknown.
    rows.sort_by(|a, b| {
        let files = || (b.is_file, b.severity).cmp(&(a.is_file, a.severity));
        if a.is_file || b.is_file { files() } else { (&a.user, a.at).cmp(&(&b.user, b.at)) }
    });
    (rows, parts)
}

/// Who has, or has had, a shell on a terminal.
struct Typing {
    ids: HashSet<u32>,
    names: HashSet<Text>,
}

impl Typing {
    fn of(look: &Look, logins: &Logins, entries: &[sudo::Entry]) -> Self {
        let all = look.all().into_iter();
        let typed = all.filter(|process| process.actor.tty_major != 0 && is_shell(process));
        let logged_in = logins.all.iter().filter_map(|login| login.user.clone());
        let called = entries.iter().filter(|entry| entry.tty.is_some()).map(|entry| entry.user.clone());
        Self {
            ids: typed.map(|process| process.actor.ids[0]).collect(),
            names: logged_in.chain(called).collect(),
        }
    }

    fn has(&self, user: &User) -> bool {
        self.ids.contains(&user.uid) || self.names.contains(&user.name)
    }
}

/// What is said of a command that takes a history away.
const TAMPERS: &str = "it turns a history off, empties it, or leads it elsewhere";

/// By text logs and by the journal; what both have is told once.
fn sudo_entries(host: &Host, since: Option<Time>, parts: &mut Vec<String>) -> (sudo::Logs, Vec<sudo::Entry>) {
    let mut logs = sudo::logs(host.root());
    parts.append(&mut logs.parts);
    let mut entries = std::mem::take(&mut logs.entries);
    match journal::entries(host.root(), since) {
        Ok(journal) => {
            parts.extend(journal.missing);
            let second = |entry: &sudo::Entry| entry.time.map(|time| time.0.div_euclid(1_000_000_000));
            let known: HashSet<_> = entries
                .iter()
                .map(|entry| (second(entry), entry.user.clone(), entry.command.clone()))
                .collect();
            let new = journal.entries.into_iter().filter(|entry| {
                // The log's second may be the one after the journal's.
                let seconds = [second(entry), second(entry).map(|at| at + 1)];
                !seconds.iter().any(|at| known.contains(&(*at, entry.user.clone(), entry.command.clone())))
            });
            entries.extend(new);
        }
        Err(why) => parts.push(why),
    }
    (logs, entries)
}

/// The histories in homes, each asked by a thread that can be given up.
fn in_homes(root: &Path, users: Vec<(User, bool)>, parts: &mut Vec<String>) -> Vec<History> {
    let (mut found, mut stuck, mut left) = (Vec::new(), 0, COMMANDS_MOST);
    let mut rest = users.into_iter().peekable();
    while rest.peek().is_some() && stuck < STUCK_MOST {
        let (ask, asked) = mpsc::channel::<(User, bool)>();
        let (answer, answers) = mpsc::channel();
        let root = root.to_owned();
        let read = move || {
            for (user, interactive) in asked {
                // Nobody waits any more when it comes too late.
                if answer.send(homes::histories(&root, &user, interactive)).is_err() {
                    break;
                }
            }
        };
        if let Err(error) = background::begin("homes", read) {
            parts.push(format!("the homes of {} users: {error}", rest.count()));
            return found;
        }
        for (user, interactive) in rest.by_ref() {
            let name = user.name.clone();
            if ask.send((user, interactive)).is_err() {
                break;
            }
            match answers.recv_timeout(PATIENCE) {
                Ok(some) => found.extend(some.into_iter().map(|history| within(history, &mut left))),
                Err(_) => {
                    stuck += 1;
                    let name = name.to_str_lossy().escape_debug().to_string();
                    parts.push(format!("the home of {name}, whose file system gave no answer"));
                    break;
                }
            }
        }
    }
    if rest.peek().is_some() {
        parts.push(format!("the homes of {} more users", rest.count()));
    }
    found
}

/// A history, of which no more is kept than is left.
fn within(mut history: History, left: &mut usize) -> History {
    history.cut(*left);
    *left -= history.commands.len();
    history
}

/// A file that a process names for its user's history.
struct Named {
    path: Text,
    shell: Shell,
    uid: u32,
}

/// Reads those that aren't known from a home, so many at most: everybody can name any number of any files.
fn read_named(named: Vec<Named>, root: &Path, found: &mut Vec<History>, parts: &mut Vec<String>) {
    let known: HashSet<Text> = found.iter().map(|history| history.path.clone()).collect();
    let mut new: Vec<Named> = named.into_iter().filter(|named| !known.contains(&named.path)).collect();
    if new.len() > NAMED_MOST {
        parts.push(format!("{} more files that HISTFILE names", new.len() - NAMED_MOST));
        new.truncate(NAMED_MOST);
    }
    let read: usize = found.iter().map(|history| history.commands.len()).sum();
    let (mut stuck, mut left) = (0, COMMANDS_MOST.saturating_sub(read));
    for Named { path, shell, uid } in new {
        let shown = path.to_str_lossy().escape_debug().to_string();
        let (answer, answers) = mpsc::channel();
        let root = root.to_owned();
        let read = move || {
            let owner = Owner { uid, interactive: true };
            histories::read(&root, Path::new(OsStr::from_bytes(path.as_bytes())), shell, owner)
        };
        if stuck < STUCK_MOST {
            // Nobody waits any more when it comes too late; without a thread there is no answer.
            let _: std::io::Result<()> = background::begin("histories", move || drop(answer.send(read())));
        }
        match answers.recv_timeout(PATIENCE) {
            Ok(history) => found.extend(history.map(|history| within(history, &mut left))),
            Err(_) => {
                stuck += 1;
                parts.push(format!("{shown}, whose file system gave no answer"));
            }
        }
    }
}

/// What the environments of shells, and of all that was begun in sessions, say of histories; which files they name; how many
/// couldn't be read.
fn variables(
    look: &mut Look,
    users: &[&User],
    in_sessions: &HashSet<u32>,
    maker: &Maker,
) -> (Vec<Row>, Vec<Named>, usize) {
    let users: HashMap<u32, &User> = users.iter().map(|user| (user.uid, *user)).collect();
    let own_mounts = look.reader.own_mount_namespace();
    let asked: Vec<(u32, u32, bool, Shell)> = look
        .all()
        .into_iter()
        .filter(|process| is_shell(process) || in_sessions.contains(&process.key.pid))
        .map(|process| {
            let mounts = process.actor.namespaces[2];
            let here = mounts == 0 || Some(mounts) == own_mounts;
            let name = process.image.executable.as_ref().map(Text::to_str_lossy).unwrap_or_default();
            let shell = Shell::named(name.rsplit('/').next().unwrap_or_default());
            (process.key.pid, process.actor.ids[0], here, shell)
        })
        .collect();
    let (mut rows, mut named, mut unread) = (Vec::new(), Vec::new(), 0);
    // Each once for a user: what a shell has all have that it starts.
    let mut told: HashSet<(u32, &'static str, Text)> = HashSet::new();
    for (pid, uid, here, shell) in asked {
        let Some(user) = users.get(&uid) else { continue };
        let Some(variables) = look.reader.variables(pid, tamper::VARIABLES) else {
            // Who ended meanwhile has none.
            unread += usize::from(look.reader.is_process(pid));
            continue;
        };
        for (name, value) in variables {
            if !told.insert((uid, name, value.clone())) {
                continue;
            }
            if let Some((severity, odd)) = tamper::of_variable(name, value.as_bytes()) {
                rows.push(maker.variable(pid, user, shell.word(), (severity, &odd)));
            } else if name == "HISTFILE" && here && value.as_bytes().starts_with(b"/") {
                named.push(Named { path: value, shell, uid });
            }
        }
    }
    (rows, named, unread)
}

/// What runs: in sessions; of a user who is asked for, everywhere.
fn live(look: &Look, host: &Host, user: Option<u32>, in_sessions: &HashSet<u32>, judge: &Judge) -> Vec<Row> {
    let wanted = |process: &&Process| match user {
        Some(user) => !process.ids_of(user).is_empty() && !lets_in(process),
        None => in_sessions.contains(&process.key.pid),
    };
    let all: Vec<&Process> = look.all().into_iter().filter(wanted).collect();
    let mut describer = Describer::new(look, host, &all);
    let rows = all.into_iter().map(|process| {
        let mut row = Maker::live(describer.describe(process).record);
        let parent = look.table.at(process.actor.parent);
        judge.live(process, parent, &mut row);
        row
    });
    rows.collect()
}
