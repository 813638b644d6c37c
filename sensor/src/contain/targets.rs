//! Who is meant: a rule, asked anew at each sweep, so that who is born meanwhile is found too.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::RangeInclusive,
    path::PathBuf,
};

use super::{care::Care, handle::TICK_NS, heard::Heard};
use crate::{
    event::{Key, Running, exe_deleted::inner},
    look::{
        Row,
        hashed::{Wanted, of_process},
    },
    procfs::{Reader, descriptors::Closed},
    record::Text,
};

/// By which of its ids a process is a user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Whichever.
    Any,
    /// Of the login, which `su` and `sudo` don't change.
    Login,
    /// Who started it.
    Real,
    /// As whom it acts.
    Effective,
}

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// All of a user's.
    User {
        /// Which user.
        uid: u32,
        /// By which id.
        by: By,
    },
    /// One process.
    Process(Key),
    /// One, and all below it.
    Tree(Key),
    /// Whatever executes a file of this SHA-256.
    Hash(Text),
    /// Those that held the sockets of a port when the plan was made, and those that they gave them to since.
    Holders(Heard),
}

/// A process that is meant.
#[derive(Clone, Debug)]
pub struct Member {
    /// As it was found.
    pub row: Row,
    /// By what it is meant: `login`, `real`, `effective`, `thread`, `pid`, `tree`, `session`, `hash`, `port`, `child`.
    pub why: Vec<&'static str>,
    /// Its name.
    pub name: Text,
    /// The cgroup of version 2 that it was taken out of.
    pub home: Option<PathBuf>,
}

/// All who are meant.
pub struct Targets {
    rule: Rule,
    care: Care,
    /// When the plan was made, nanoseconds since boot.
    pub(super) began: u64,
    /// Also those that have ended since.
    pub members: BTreeMap<Key, Member>,
    /// Who is meant and left alone, and why.
    pub refused: BTreeMap<Key, (Member, &'static str)>,
    /// Which files have the hash.
    hashes: HashMap<File, bool>,
    /// Of files that the kernel and `stat(2)` say to be on different devices (layers, btrfs), by who executes them.
    hashes_of: HashMap<(Key, File), bool>,
    /// Of those born since, who live and were asked what they have open.
    asked: HashSet<Key>,
    /// Process ids of members that others have by now.
    reused: HashSet<u32>,
    /// Whether one who is meant ended in the last sweep before it could be taken in: it may have left children who weren't
    /// there yet for that sweep, so that it says little that nobody new was found.
    pub(super) fleeting: bool,
    /// Whose executables couldn't be hashed, and why.
    pub unread: BTreeMap<u32, String>,
    /// Largest file that is hashed.
    hash_most: u64,
}

/// A file as the kernel knows it: device, inode, change time, generation.
type File = (u32, u64, u64, u32);

impl Targets {
    /// None yet. `now`: nanoseconds since boot.
    #[must_use]
    pub fn new(rule: Rule, care: Care, now: u64, hash_most: u64) -> Self {
        Self {
            rule,
            care,
            began: now,
            members: BTreeMap::new(),
            refused: BTreeMap::new(),
            fleeting: false,
            hashes: HashMap::new(),
            hashes_of: HashMap::new(),
            asked: HashSet::new(),
            reused: HashSet::new(),
            unread: BTreeMap::new(),
            hash_most,
        }
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Takes in who of these is meant, and gives those that are new. `thorough`: also threads are asked for their user.
    pub fn select(&mut self, rows: &[Row], reader: &mut Reader, thorough: bool) -> Vec<Key> {
        let mut new = Vec::new();
        self.fleeting = false;
        // One whose main thread has ended has a row for each of the others.
        let mut asked = HashSet::new();
        let others = rows.iter().map(|row| row.key).filter(|key| {
            !self.members.contains_key(key)
                && self.members.range(began_until(key.pid, u64::MAX)).next().is_some()
        });
        self.reused.extend(others.map(|key| key.pid));
        if !self.asked.is_empty() {
            // Else it would grow with all that are born while it is looked.
            let living: HashSet<Key> = rows.iter().map(|row| row.key).collect();
            self.asked.retain(|key| living.contains(key));
        }
        for row in rows {
            if self.members.contains_key(&row.key) || self.refused.contains_key(&row.key) {
                continue;
            }
            let mut why = self.why(row, reader);
            if why.is_empty() && thorough && asked.insert(row.key) && self.of_thread(row, reader) {
                why.push("thread");
            }
            if !why.is_empty() && self.take(row, why, reader) {
                new.push(row.key);
            }
        }
        new
    }

    fn take(&mut self, row: &Row, why: Vec<&'static str>, reader: &Reader) -> bool {
        let Some(seen) = reader.seen(row.key.pid) else {
            self.fleeting = true;
            return false;
        };
        let member = Member { row: *row, why, name: seen.name.clone(), home: None };
        match self.care.refuses(row, &seen, reader) {
            Some(reason) => drop(self.refused.insert(row.key, (member, reason))),
            None => drop(self.members.insert(row.key, member)),
        }
        self.members.contains_key(&row.key)
    }

    /// By what a process is meant; by nothing if it isn't.
    fn why(&mut self, row: &Row, reader: &mut Reader) -> Vec<&'static str> {
        let mut why = match self.rule.clone() {
            Rule::User { uid, by } => of_user(row, uid, by),
            Rule::Process(key) if key == row.key => vec!["pid"],
            Rule::Tree(key) => self.in_tree(row, key),
            Rule::Hash(sha256) if self.has_hash(row, &sha256, reader) => vec!["hash"],
            Rule::Holders(_) if self.holds(row.key, reader) => vec!["port"],
            Rule::Process(_) | Rule::Hash(_) | Rule::Holders(_) => Vec::new(),
        };
        // Of whatever was born since, to one that is meant.
        if why.is_empty() && row.key.start >= self.began && self.members.contains_key(&parent(row)) {
            why.push("child");
        }
        why
    }

    fn in_tree(&self, row: &Row, root: Key) -> Vec<&'static str> {
        let within = |key: Key| self.members.contains_key(&key) || self.refused.contains_key(&key);
        match () {
            () if row.key == root || within(parent(row)) => vec!["tree"],
            // Whose parent has ended is found by its session, if that was begun in the tree.
            () if self.in_session(row) => vec!["session"],
            () => Vec::new(),
        }
    }

    /// Whether a member began its session. As long as somebody is in it, nobody else is given that number; so who leads one
    /// began it, and neither it nor who is in it is a member's.
    fn in_session(&self, row: &Row) -> bool {
        let session = row.actor.session;
        row.key.pid != session
            && !self.reused.contains(&session)
            && self.members.range(began_until(session, row.key.start)).next().is_some()
    }

    /// Whether it holds a socket of the port. Those older than the plan were asked for it; a younger one may have it of one
    /// that has ended, so that nothing else shows whose child it is.
    fn holds(&mut self, key: Key, reader: &Reader) -> bool {
        let Rule::Holders(heard) = &mut self.rule else { return false };
        if heard.is_held_by(key) {
            return true;
        }
        // Where /proc tells when it began, that is in ticks.
        let younger = key.start.saturating_add(TICK_NS) > self.began;
        if heard.is_empty() || !younger || !self.asked.insert(key) {
            return false;
        }
        match reader.descriptors(key.pid) {
            Ok(open) => heard.learn(key, &open),
            Err(closed) => {
                // As long as nobody is known it may have been the one.
                self.fleeting |= closed == Closed::Gone && self.members.is_empty();
                false
            }
        }
    }

    fn has_hash(&mut self, row: &Row, sha256: &Text, reader: &mut Reader) -> bool {
        let Running { inode, ctime, device, generation, .. } = row.running;
        if inode == 0 {
            return false;
        }
        let file = (device, inode, ctime, generation);
        if let Some(known) = self.hashes.get(&file).or_else(|| self.hashes_of.get(&(row.key, file))) {
            return *known;
        }
        let most = self.hash_most;
        let wanted = Wanted { file_most: most, most, md5: false, mappings: false, ask_all: false };
        match of_process(reader, row.key.pid, wanted) {
            Ok(images) => {
                let has = images.files.iter().any(|file| file.digest.sha256 == *sha256);
                // It may have executed something else since it was listed: then that was hashed, and nothing is known of
                // what it is listed with.
                match images.files.first().filter(|opened| opened.inode == inode) {
                    Some(opened) if inner(opened.device) == device => drop(self.hashes.insert(file, has)),
                    Some(_) => drop(self.hashes_of.insert((row.key, file), has)),
                    None => {}
                }
                has
            }
            // Another process that executes it may be asked in its place.
            Err(error) => {
                if reader.seen(row.key.pid).is_some_and(|seen| !seen.zombie) {
                    self.unread.insert(row.key.pid, error.to_string());
                }
                false
            }
        }
    }

    /// Whether one of its threads acts as the user.
    fn of_thread(&self, row: &Row, reader: &Reader) -> bool {
        let Rule::User { uid, by } = self.rule else { return false };
        let of = |ids: [u32; 8]| {
            let mut thread = *row;
            thread.actor.ids = ids;
            !of_user(&thread, uid, by).is_empty()
        };
        reader.users_of_threads(row.key.pid).into_iter().any(of)
    }
}

/// By which ids it is a user's.
fn of_user(row: &Row, uid: u32, by: By) -> Vec<&'static str> {
    let [real, _, _, _, effective, ..] = row.actor.ids;
    let ids = [
        (By::Login, "login", row.actor.login_uid),
        (By::Real, "real", real),
        (By::Effective, "effective", effective),
    ];
    let wanted = ids.into_iter().filter(|(id, _, _)| by == By::Any || by == *id);
    wanted.filter(|(_, _, id)| *id == uid).map(|(_, word, _)| word).collect()
}

/// All keys of a process id that began until then.
fn began_until(pid: u32, start: u64) -> RangeInclusive<Key> {
    Key { pid, start: 0 }..=Key { pid, start }
}

/// The parent of a process.
pub(super) fn parent(row: &Row) -> Key {
    Key { pid: row.actor.parent, start: row.actor.parent_start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Actor, procfs::descriptors::Target};
    use std::os::fd::AsRawFd;

    fn row(pid: u32, parent: u32, session: u32, uid: u32) -> Row {
        let actor = Actor {
            parent,
            parent_start: u64::from(parent),
            session,
            ids: [uid; 8],
            login_uid: u32::MAX,
            ..Actor::default()
        };
        Row { key: Key { pid, start: u64::from(pid) }, actor, running: Running::default() }
    }

    /// By what each of these is meant, in one sweep.
    fn why(rule: Rule, began: u64, rows: &[Row]) -> Vec<(u32, Vec<&'static str>)> {
        let mut reader = Reader::new("/proc".into());
        let mut targets = Targets::new(rule, Care::new(&reader, false, false), began, 0);
        let mut all = Vec::new();
        for row in rows {
            let why = targets.why(row, &mut reader);
            if !why.is_empty() {
                all.push((row.key.pid, why.clone()));
                let member = Member { row: *row, why, name: Text::default(), home: None };
                targets.members.insert(row.key, member);
            }
        }
        all
    }

    #[test]
    fn a_user_is_known_by_each_id() {
        let mut by_login = row(9, 1, 1, 0);
        by_login.actor.login_uid = 7;
        let mut by_real = row(10, 1, 1, 0);
        by_real.actor.ids[0] = 7;
        let rows = [by_login, by_real, row(11, 1, 1, 7), row(12, 1, 1, 8)];
        let any = why(Rule::User { uid: 7, by: By::Any }, u64::MAX, &rows);
        assert_eq!(any, [(9, vec!["login"]), (10, vec!["real"]), (11, vec!["real", "effective"])]);
        let effective = why(Rule::User { uid: 7, by: By::Effective }, u64::MAX, &rows);
        assert_eq!(effective, [(11, vec!["effective"])]);
    }

    #[test]
    fn who_is_born_meanwhile_is_meant_too() {
        // Of user 8, as a program is that gave itself another user.
        let rows = [row(5, 1, 1, 7), row(6, 5, 1, 8), row(20, 5, 1, 8), row(21, 20, 1, 8)];
        let all = why(Rule::User { uid: 7, by: By::Any }, 10, &rows);
        let pids: Vec<u32> = all.iter().map(|(pid, _)| *pid).collect();
        assert_eq!(pids, [5, 20, 21]);
        assert_eq!(all[1].1, ["child"]);
        let one = why(Rule::Process(rows[0].key), u64::MAX, &rows);
        assert_eq!(one, [(5, vec!["pid"])]);
    }

    #[test]
    fn who_was_given_the_socket_since_is_meant_and_no_older_one() {
        let mut reader = Reader::new("/proc".into());
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = reader.descriptors(std::process::id()).unwrap();
        let inode = own.iter().find_map(|open| match open.target {
            Target::Socket(inode) if open.number == socket.as_raw_fd().cast_unsigned() => Some(inode),
            _ => None,
        });
        let rule = Rule::Holders(Heard::of([(inode.unwrap(), Vec::new())]));
        let holder =
            |start| Row { key: Key { pid: std::process::id(), start }, ..row(std::process::id(), 1, 1, 7) };
        let mut targets = Targets::new(rule, Care::new(&reader, false, false), 50 * TICK_NS, 0);
        assert_eq!(targets.why(&holder(5), &mut reader), Vec::<&str>::new());
        assert_eq!(targets.why(&holder(60 * TICK_NS), &mut reader), ["port"]);
        assert!(!targets.fleeting);
        let gone = Row { key: Key { pid: u32::MAX, start: 60 * TICK_NS }, ..holder(0) };
        assert_eq!(targets.why(&gone, &mut reader), Vec::<&str>::new());
        assert!(targets.fleeting, "it may have been the one");
    }

    #[test]
    fn a_tree_holds_the_sessions_that_began_in_it() {
        let rows = [row(5, 1, 1, 7), row(6, 5, 6, 7), row(7, 1, 6, 7), row(8, 1, 1, 7), row(9, 7, 9, 7)];
        let all = why(Rule::Tree(rows[0].key), u64::MAX, &rows);
        let wanted = [(5, "tree"), (6, "tree"), (7, "session"), (9, "tree")];
        assert_eq!(all, wanted.map(|(pid, word)| (pid, vec![word])));
    }

    #[test]
    fn who_is_given_the_number_of_a_member_is_none() {
        let mut reader = Reader::new("/proc".into());
        let root = row(5, 1, 1, 7);
        let mut targets = Targets::new(Rule::Tree(root.key), Care::new(&reader, false, false), u64::MAX, 0);
        let member = Member { row: root, why: vec!["tree"], name: Text::default(), home: None };
        targets.members.insert(root.key, member);
        let later = |pid, start, parent, session| {
            let other = row(pid, parent, session, 7);
            Row { key: Key { pid, start }, ..other }
        };
        let (leader, child) = (later(5, 90, 1, 5), later(6, 91, 1, 5));
        assert_eq!(targets.why(&child, &mut reader), ["session"], "as long as nobody leads it");
        assert_eq!(targets.why(&leader, &mut reader), Vec::<&str>::new());
        let _: Vec<Key> = targets.select(&[leader], &mut reader, false);
        assert_eq!(targets.why(&child, &mut reader), Vec::<&str>::new());
    }
}
