//! A session as a record: its leader as a process, where it came from, and the sums of all its processes.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    enrich::terminal_of,
    field::Field,
    host::Host,
    logins::{Login, Logins, Source},
    look::{
        Look,
        described::{Describer, find},
        sessions::{self, Kind, Session, is_shell, is_typed_into},
        sockets::traffic::{Traffic, Unsummed},
    },
    process::Process,
    procfs::{
        accounts::{Account, Accounts},
        connections::{Connections, Ends},
    },
    record::{Record, Text, Time, Value},
};

/// A session.
pub(super) struct Row {
    pub(super) record: Record,
    pub(super) kind: Kind,
    pub(super) since: Option<Time>,
    pub(super) severity: u64,
    pub(super) pid: u32,
}

/// How many odd processes of a session are told by themselves.
const ODD_MOST: usize = 8;

/// All sessions, or those of a user, and what couldn't be counted of them.
pub(super) fn all(look: &Look, logins: &Logins, host: &Host, user: Option<u32>) -> (Vec<Row>, Vec<String>) {
    let mut sessions = sessions::find(look, logins);
    sessions.retain(|session| user.is_none_or(|user| is_of(session, user)));
    let members: Vec<&Process> =
        sessions.iter().flat_map(|session| session.members.iter().copied()).collect();
    let mut maker = Maker {
        describer: Describer::new(look, host, &members),
        counts: Accounts::new(host.proc()),
        connections: Connections::default(),
        traffic: Traffic::at(look),
        unread: 0,
        unsummed: BTreeSet::new(),
        mount_namespace: look.reader.own_mount_namespace(),
        logins,
        host,
    };
    let rows = sessions.iter().map(|session| maker.row(session)).collect();
    let unread = maker.unread;
    let part = (unread != 0).then(|| {
        format!("what {unread} processes read and wrote, and their connections, which may not be asked for")
    });
    // Of whom it isn't known what it read and wrote, it is told already that its connections aren't.
    let unsummed = maker.unsummed.iter().filter(|why| unread == 0 || **why != Unsummed::Unread);
    let bytes = unsummed.flat_map(|why| maker.traffic.parts(*why));
    let parts = part.into_iter().chain(bytes).filter(|part| !look.parts.contains(part)).collect();
    (rows, parts)
}

/// Whether the user logged in, or a process of it acts as the user. What only let somebody in doesn't count: sshd's part of every
/// session is root's.
fn is_of(session: &Session<'_>, user: u32) -> bool {
    let leader = session.leader().map(|leader| leader.key);
    let acts = |member: &&Process| Some(member.key) == leader || !sessions::lets_in(member);
    let mut acting = session.members.iter().copied().filter(acts);
    acting.any(|member| !member.ids_of(user).is_empty())
        || session.logins.iter().any(|login| login.uid == Some(user))
}

struct Maker<'a> {
    describer: Describer<'a>,
    counts: Accounts,
    connections: Connections,
    traffic: Traffic,
    unread: usize,
    /// Why bytes of the network aren't known of some session.
    unsummed: BTreeSet<Unsummed>,
    mount_namespace: Option<u32>,
    logins: &'a Logins,
    host: &'a Host,
}

impl Maker<'_> {
    fn row(&mut self, session: &Session<'_>) -> Row {
        let leader = session.leader();
        let mut record = match leader {
            Some(leader) => self.describer.describe(leader).record,
            None => self.of_nobody(),
        };
        record.set(Field::EventCategory, &["session"][..]);
        record.set(Field::EventAction, "session_snapshot");
        record.set(Field::SensorSessionKind, session.kind.word());
        set_logins(session, &mut record);
        let since = since(session);
        if let Some(since) = since {
            record.set(Field::SensorSessionSince, since);
        }
        self.set_ends(session, &mut record);
        if let Some(idle) = leader.and_then(|leader| self.idle(leader)) {
            record.set(Field::SensorSessionIdleS, idle);
        }
        self.set_sums(session, &mut record);
        let mut findings = self.odd_members(session, leader);
        findings.extend(self.odd(session, leader));
        findings.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
        let severity = find(&mut record, findings);
        let pid = leader.map_or(0, |leader| leader.key.pid);
        Row { record, kind: session.kind, since, severity, pid }
    }

    /// What is said of any session.
    fn of_nobody(&self) -> Record {
        let mut record = Record::new();
        record.set(Field::EventKind, "event");
        record.set(Field::EventType, &["info"][..]);
        record.extend_from(&self.host.common());
        record.set(Field::Timestamp, self.host.boot().at(self.host.boot_now()));
        record
    }

    /// Both ends of the connection that it came by: by the socket itself, which nobody who came can forge.
    fn set_ends(&mut self, session: &Session<'_>, record: &mut Record) {
        let first = session.members.first().filter(|_| session.kind == Kind::Ssh);
        let ends = first.and_then(|first| self.counts.first_connection(first.key.pid, &mut self.connections));
        let text = |ip: IpAddr| Text::from(ip.to_string());
        if let Some(Ends { own, remote }) = ends {
            record.set(Field::SourceIp, text(remote.ip()));
            record.set(Field::SourcePort, remote.port());
            record.set(Field::DestinationIp, text(own.ip()));
            record.set(Field::DestinationPort, own.port());
        }
    }

    /// For how long nothing was read from its terminal, as `w` has it: by the time of the device's last access.
    fn idle(&self, leader: &Process) -> Option<u64> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        // In another mount namespace a terminal of the same number can be another one.
        let mounts = leader.actor.namespaces[2];
        if mounts != 0 && Some(mounts) != self.mount_namespace {
            return None;
        }
        let name = terminal_of(&leader.actor)?.to_str_lossy().into_owned();
        let device = std::fs::symlink_metadata(self.host.root().join("dev").join(name)).ok()?;
        let number = nix::sys::stat::makedev(leader.actor.tty_major.into(), leader.actor.tty_minor.into());
        if !device.file_type().is_char_device() || device.rdev() != number {
            return None;
        }
        let now = self.host.boot().at(self.host.boot_now()).0 / 1_000_000_000;
        u64::try_from(now.saturating_sub(device.atime())).ok()
    }

    /// What all its processes use and have used, and what it does.
    fn set_sums(&mut self, session: &Session<'_>, record: &mut Record) {
        record.set(Field::SensorProcesses, session.members.len() as u64);
        let accounts: Vec<(&Process, Account)> = session
            .members
            .iter()
            .filter_map(|member| Some((*member, self.counts.of(member.key.pid, &mut self.connections)?)))
            .collect();
        let sum = |number: &dyn Fn(&Account) -> u64| {
            accounts.iter().map(|(_, account)| number(account)).fold(0, u64::saturating_add)
        };
        record.set(
            Field::SensorUsageCpuNs,
            sum(&|account| account.cpu_ns.saturating_add(account.waited_cpu_ns)),
        );
        let page = self.host.page_bytes();
        record.set(Field::SensorUsageRssBytes, sum(&|account| account.rss_pages.saturating_mul(page)));
        let unread =
            |(_, account): &&(&Process, Account)| account.io.is_none() || account.connections.is_none();
        self.unread += accounts.iter().filter(unread).count();
        // A sum of some of them would pass for one of all.
        if !accounts.is_empty() && !accounts.iter().any(|account| unread(&account)) {
            let io = |account: &Account| account.io.unwrap_or_default();
            record.set(Field::SensorUsageDiskReadBytes, sum(&|account| io(account).disk_read));
            record.set(Field::SensorUsageDiskWriteBytes, sum(&|account| io(account).disk_write));
            record.set(Field::SensorUsageConnections, sum(&|account| account.connections.unwrap_or(0)));
        }
        self.set_traffic(session, record);
        if let Some(command) = doing(session, &accounts) {
            let name =
                || command.image.executable.clone().or_else(|| command.name.clone()).unwrap_or_default();
            // sshd writes what it does over its arguments, and leaves empty ones behind.
            let end = command.image.args.iter().rposition(|arg| !arg.is_empty()).map_or(0, |last| last + 1);
            let args = command.image.args.get(..end).unwrap_or_default().to_vec();
            record.set(Field::SensorSessionCommand, if args.is_empty() { vec![name()] } else { args });
            record.set(Field::SensorSessionCommandPid, command.key.pid);
        }
    }

    /// What its open connections have moved.
    fn set_traffic(&mut self, session: &Session<'_>, record: &mut Record) {
        if session.members.is_empty() {
            return;
        }
        match self.traffic.of(session.members.iter().map(|member| member.key.pid)) {
            Ok((received, sent)) => {
                record.set(Field::SensorUsageNetRxBytes, received);
                record.set(Field::SensorUsageNetTxBytes, sent);
            }
            Err(why) => drop(self.unsummed.insert(why)),
        }
    }

    /// The oddest of its processes; the leader's oddity is told already.
    fn odd_members(&mut self, session: &Session<'_>, leader: Option<&Process>) -> Vec<(u64, Text)> {
        let leader = leader.map(|leader| leader.key.pid);
        let others = session.members.iter().filter(|member| Some(member.key.pid) != leader);
        let mut odd: Vec<(u64, Text)> = others
            .flat_map(|member| {
                let described = self.describer.describe(member);
                let sentences = described.record.texts(Field::SensorFindings).to_vec();
                sentences.into_iter().map(move |sentence| {
                    let text = format!("process {}: {}", member.key.pid, sentence.to_str_lossy());
                    (described.severity, Text::from(text))
                })
            })
            .collect();
        odd.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
        odd.truncate(ODD_MOST);
        odd
    }

    /// What is odd about the session itself.
    fn odd(&self, session: &Session<'_>, leader: Option<&Process>) -> Vec<(u64, Text)> {
        let mut odd = Vec::new();
        let told = |source| session.logins.iter().any(|login| login.source == source);
        if session.members.is_empty() {
            let source = session.logins.first().map_or("", |login| login.source.word());
            odd.push((21, Text::from(format!(
                "{source} has it and no process of it is there: it ended without a record of its end, or is hidden"
            ))));
        }
        let terminal = leader.and_then(|leader| terminal_of(&leader.actor));
        if session.kind != Kind::Ssh || session.authenticating {
            return odd;
        }
        if terminal.is_some() && self.logins.utmp && !told(Source::Utmp) {
            odd.push((47, Text::from(
                "utmp, which is kept here, hasn't this login, so who and w don't show it: its record was removed, or sshd doesn't write any",
            )));
        }
        if !session.members.iter().any(|member| !sessions::lets_in(member)) {
            odd.push((
                21,
                Text::from(
                    "a connection that runs nothing (ssh -N): it may forward ports, and w doesn't show it",
                ),
            ));
        }
        if terminal.is_none() && leader.is_some_and(is_typed_into) {
            odd.push((
                21,
                Text::from("a shell that takes commands without a terminal (ssh -T), which w doesn't show"),
            ));
        }
        odd
    }
}

/// What the records of logins say of it.
fn set_logins(session: &Session<'_>, record: &mut Record) {
    let of = |source: Source| session.logins.iter().copied().filter(move |login| login.source == source);
    // logind knows more of its own sessions than utmp does.
    let all: Vec<&Login> = of(Source::Logind).chain(of(Source::Utmp)).collect();
    let mut sources: Vec<Text> = all.iter().map(|login| Text::from(login.source.word())).collect();
    sources.dedup();
    if !session.members.is_empty() {
        sources.push(Text::from("proc"));
    }
    record.set(Field::SensorSessionSources, sources);
    let first = |field: &dyn Fn(&Login) -> Option<Text>| all.iter().find_map(|login| field(login));
    if let Some(id) = first(&|login| login.id.clone()) {
        record.set(Field::SensorSessionId, id);
    }
    if let Some(from) = first(&|login| login.from.clone()) {
        record.set(Field::SourceAddress, from);
    }
    match (session.members.is_empty(), session.authenticating, first(&|login| login.state.clone())) {
        (true, ..) => record.set(Field::SensorSessionState, "gone"),
        (_, true, _) => record.set(Field::SensorSessionState, "authenticating"),
        (_, _, Some(state)) => record.set(Field::SensorSessionState, state),
        _ => {}
    }
    if let Some(tty) = first(&|login| login.tty.clone()).filter(|_| !record.has(Field::SensorTty)) {
        record.set(Field::SensorTty, tty);
    }
    if session.members.is_empty() {
        if let Some(uid) = all.iter().find_map(|login| login.uid) {
            record.set(Field::UserId, Value::Id(uid.into()));
        }
        if let Some(user) = first(&|login| login.user.clone()) {
            record.set(Field::UserName, user);
        }
    }
}

/// By logind, else by utmp, else its first process.
fn since(session: &Session<'_>) -> Option<Time> {
    let of = |source: Source| {
        session.logins.iter().filter(|login| login.source == source).find_map(|login| login.since)
    };
    let first = || session.members.first().map(|member| member.started);
    of(Source::Logind).or_else(|| of(Source::Utmp)).or_else(first)
}

/// What is in the foreground of its terminal, unless that is but a shell; else the youngest that is no shell; else its leader.
fn doing<'a>(session: &'a Session<'_>, accounts: &[(&'a Process, Account)]) -> Option<&'a Process> {
    let leader = session.leader()?;
    let foreground = accounts
        .iter()
        .find(|(process, _)| process.key.pid == leader.key.pid)
        .and_then(|(_, account)| account.foreground);
    let active = |process: &&Process| !is_shell(process) && !sessions::lets_in(process);
    let in_front = accounts.iter().filter(|(_, account)| Some(account.group) == foreground);
    let in_front =
        in_front.map(|(process, _)| *process).filter(active).min_by_key(|process| process.key.start);
    let youngest = || session.members.iter().copied().filter(active).max_by_key(|process| process.key.start);
    in_front.or_else(youngest).or(Some(leader))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;
    use crate::{kernel::Gap, logins};

    /// Number, parent, process group, group in the foreground, terminal, user, audit session, executable, arguments.
    type Fake = (u32, u32, u32, i32, u32, u32, u32, &'static str, &'static [&'static str]);

    const PTS0: u32 = 136 << 8;
    const NONE: u32 = u32::MAX;
    const FAKES: &[Fake] = &[
        (1, 0, 1, -1, 0, 0, NONE, "/lib/systemd/none", &["/sbin/init"]),
        (
            700,
            1,
            700,
            -1,
            0,
            0,
            NONE,
            "/none/sshd",
            &["sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"],
        ),
        (812, 700, 812, -1, 0, 0, 3, "/none/sshd-session", &["sshd-session: alice [priv]", ""]),
        (820, 812, 812, -1, 0, 1000, 3, "/none/sshd-session", &["sshd-session: alice@pts/0"]),
        (821, 820, 821, 830, PTS0, 1000, 3, "/none/bash", &["-bash"]),
        (829, 821, 829, 830, PTS0, 1002, 3, "/none/sleep", &["sleep", "9"]),
        (830, 821, 830, 830, PTS0, 1000, 3, "/none/vim", &["vim", "no\x1btes"]),
        (840, 1, 821, -1, 0, 1000, 3, "/none/nohup", &["nohup", "miner"]),
        (841, 1, 841, -1, 0, 1000, NONE, "/none/orphan", &["orphan"]),
        (900, 700, 900, -1, 0, 0, 4, "/none/sshd-session", &["sshd-session: bob [priv]"]),
        (901, 900, 901, 901, PTS0 + 1, 1001, 4, "/none/bash", &["-bash"]),
    ];

    fn host(root: &Path) -> Host {
        let write = |path: &str, text: &[u8]| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (pid, parent, group, foreground, terminal, uid, audit, executable, args) in FAKES {
            let at = |name: &str| format!("proc/{pid}/{name}");
            let rest = "0 ".repeat(29);
            let stat = format!(
                "{pid} (x) S {parent} {group} {group} {terminal} {foreground} 0 0 0 0 0 50 50 100 0 20 0 1 0 {pid} 0 10 {rest}"
            );
            write(&at("stat"), stat.trim().as_bytes());
            let status = format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t0\t0\t0\t0\n");
            write(&at("status"), status.as_bytes());
            write(&at("cmdline"), (args.join("\0") + "\0").as_bytes());
            let scope = if *audit == 3 || *pid == 841 { "user.slice/session-3.scope" } else { "x" };
            write(&at("cgroup"), format!("0::/{scope}\n").as_bytes());
            write(&at("sessionid"), audit.to_string().as_bytes());
            let login = if *audit == NONE { NONE } else { 997 + audit };
            write(&at("loginuid"), login.to_string().as_bytes());
            write(&at("io"), b"rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4\n");
            fs::create_dir_all(root.join(at("fd"))).unwrap();
            fs::create_dir_all(root.join(at("ns"))).unwrap();
            symlink("net:[1]", root.join(at("ns/net"))).unwrap();
            symlink(executable, root.join(at("exe"))).unwrap();
        }
        symlink("socket:[77]", root.join("proc/812/fd/4")).unwrap();
        let table = "head\n 0: 0100007F:0016 070200C0:C000 01 0:0 0:0 0 0 0 77 1\n";
        write("proc/812/net/tcp", table.as_bytes());
        write("proc/sys/kernel/random/boot_id", b"boot");
        write("proc/sys/kernel/pid_max", b"1000");
        let since = Host::under(root).unwrap().boot().0 / 1_000_000_000 + 9;
        write("etc/passwd", b"root:x:0:0::/:\nalice:x:1000:1000::/:\nbob:x:1001:1001::/:\n");
        let session = format!(
            "UID=1000\nUSER=alice\nSTATE=active\nTYPE=tty\nCLASS=user\nSCOPE=session-3.scope\nTTY=pts/0\n\
            REMOTE_HOST=client.example\nLEADER=812\nAUDIT=3\nREALTIME={since}000000\n"
        );
        let seconds = u32::try_from(since).unwrap();
        write("run/systemd/sessions/3", session.as_bytes());
        let records = [
            logins::utmp_record(7, 820, "pts/0", "alice", "client.example", seconds + 1),
            logins::utmp_record(7, 999, "pts/9", "ca\x1brol", "192.0.2.1", seconds + 2),
        ];
        write("run/utmp", &records.concat());
        Host::under(root).unwrap()
    }

    #[test]
    fn what_each_source_knows_is_told_as_one_session() {
        let root = std::env::temp_dir().join(format!("sensor-who-{}", std::process::id()));
        let host = host(&root);
        let look = Look::at(&host, Err(Gap::default())).unwrap();
        let logins = Logins::read(host.root());
        let (rows, parts) = all(&look, &logins, &host, None);
        // As root only what lets others in acts.
        let of_users = [1000, 1001, 1002, 0].map(|user| {
            let (rows, _) = all(&look, &logins, &host, Some(user));
            rows.iter().map(|row| row.pid).collect::<Vec<_>>()
        });
        fs::remove_dir_all(&root).unwrap();
        let pids: Vec<u32> = rows.iter().map(|row| row.pid).collect();
        assert_eq!(of_users, [vec![821], vec![901], vec![821], vec![]]);
        assert_eq!((logins.parts.clone(), pids), (Vec::new(), vec![821, 901, 0]));
        // Such a host has no network that could be asked.
        assert!(parts.iter().all(|part| part.contains("1 network namespaces: 1 (")), "{parts:?}");
        let of = |pid: u32| rows.iter().find(|row| row.pid == pid).unwrap();
        let texts = |row: &Row, field| {
            row.record.texts(field).iter().map(|text| text.to_str_lossy().into_owned()).collect::<Vec<_>>()
        };

        let alice = of(821);
        assert_eq!((alice.kind, alice.severity), (Kind::Ssh, 0));
        assert_eq!(texts(alice, Field::SensorSessionSources), ["logind", "utmp", "proc"]);
        assert_eq!(alice.since.unwrap().0, (host.boot().0 / 1_000_000_000 + 9) * 1_000_000_000);
        assert_eq!(texts(alice, Field::SensorSessionCommand), ["vim", "no\x1btes"]);
        let shown = |row: &Row, field| row.record.text(field).unwrap().to_str_lossy().into_owned();
        assert_eq!(shown(alice, Field::SourceIp), "192.0.2.7");
        assert_eq!(shown(alice, Field::SourceAddress), "client.example");
        assert_eq!(shown(alice, Field::SensorTty), "pts/0");
        let number = |row: &Row, field| row.record.number(field);
        assert_eq!(number(alice, Field::SourcePort), Some(0xC000));
        assert_eq!(number(alice, Field::SensorProcesses), Some(7), "orphans too");
        assert_eq!(number(alice, Field::SensorUsageDiskWriteBytes), Some(28));
        assert_eq!(number(alice, Field::SensorUsageCpuNs), Some(7 * 2_000_000_000));

        let bob = of(901);
        assert_eq!((bob.kind, bob.severity), (Kind::Ssh, 47));
        assert_eq!(texts(bob, Field::SensorSessionSources), ["proc"]);
        assert!(
            texts(bob, Field::SensorFindings)[0].starts_with("utmp, which is kept here, hasn't this login")
        );

        let carol = of(0);
        assert_eq!((carol.kind, carol.severity), (Kind::Login, 21));
        assert_eq!(texts(carol, Field::SensorSessionSources), ["utmp"]);
        let line = super::super::report::line(carol);
        assert_eq!(line.cells[..5], ["$'ca\\x1brol'", "", "login (gone)", "pts/9", "192.0.2.1"]);
    }
}
