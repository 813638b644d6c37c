//! `sensor who`: sessions that are really there, by ssh in all its ways, cron, containers and terminals.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that can't go on fails the test")]

use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::answer::{Answer, run};
use tests::program::{actor, copy, join, nest};
use tests::sensor::{binary, command};
use tests::skip::{missing, skip};
use tests::{DEADLINE, Event, Folder, Running, patience, words};

/// A process and all it started in its group; they end with this.
struct Group(Child);

impl Group {
    fn start(command: &mut Command) -> Self {
        use std::os::unix::process::CommandExt;
        let quiet = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.process_group(0).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// A private sshd on a port of loopback, with keys of its own.
struct Sshd {
    folder: Folder,
    port: u16,
    _running: Group,
}

const SSHD: &str = "/usr/sbin/sshd";

impl Sshd {
    /// None, with the reason told, where there is no sshd.
    fn start() -> Option<Self> {
        if !Path::new(SSHD).exists() || !Path::new("/usr/bin/ssh").exists() {
            let _ = missing("there is no sshd (openssh-server, openssh-client)");
            return None;
        }
        let folder = Folder::new();
        for key in ["host", "client"] {
            let mut keygen = Command::new("ssh-keygen");
            let made = run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.at(key)));
            assert!(made.status.success(), "{made:?}");
        }
        fs::set_permissions(folder.at("client.pub"), Permissions::from_mode(0o644)).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        // Free a moment ago: a port that sshd chose itself couldn't be known.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| folder.at(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin yes\nLoginGraceTime 60\n",
            at("host"),
            at("client.pub")
        );
        fs::write(folder.at("config"), config).unwrap();
        let running = Group::start(Command::new(SSHD).arg("-D").arg("-f").arg(folder.at("config")));
        let end = Instant::now() + patience(DEADLINE);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "sshd doesn't listen on {port}");
            std::thread::yield_now();
        }
        Some(Self { folder, port, _running: running })
    }

    /// Connects, with these options and what is to be run.
    fn login(&self, words: &[&str]) -> Group {
        let mut ssh = Command::new("/usr/bin/ssh");
        ssh.args([
            "-q",
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]);
        ssh.arg("-p").arg(self.port.to_string()).arg("-i").arg(self.folder.at("client"));
        Group::start(ssh.args(words))
    }

    /// Its sessions, once they are as wanted.
    fn sessions(&self, what: &str, wanted: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let of =
            |row: &Event| row.has("destination.port") && row.num("destination.port") == u64::from(self.port);
        until(what, of, wanted)
    }
}

/// The rows that are asked about, once they are as wanted.
fn until(what: &str, of: impl Fn(&Event) -> bool, wanted: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let end = Instant::now() + patience(DEADLINE);
    loop {
        let answer = Answer::done(&["who"]);
        let rows: Vec<Event> = answer.rows.into_iter().filter(|row| of(row)).collect();
        if wanted(&rows) {
            return rows;
        }
        assert!(Instant::now() < end, "not {what}: {rows:#?}");
    }
}

fn runs(row: &Event, args: &[&str]) -> bool {
    row.texts("sensor.session.command") == args
}

#[test]
fn every_way_of_ssh_is_a_session() {
    if skip() {
        return;
    }
    let Some(sshd) = Sshd::start() else { return };
    let command = sshd.login(&["root@127.0.0.1", "sleep 321"]);
    let typed = sshd.login(&["-T", "root@127.0.0.1"]);
    let terminal = sshd.login(&["-tt", "root@127.0.0.1", "sleep 322"]);
    let silent = sshd.login(&["-N", "root@127.0.0.1"]);
    let unknown = TcpStream::connect(("127.0.0.1", sshd.port)).unwrap();
    let find = |rows: &[Event], wanted: &dyn Fn(&Event) -> bool| rows.iter().find(|row| wanted(row)).cloned();
    let shell =
        |row: &Event| row.has("sensor.findings") && row.texts("sensor.findings")[0].contains("ssh -T");
    let nothing =
        |row: &Event| row.has("sensor.findings") && row.texts("sensor.findings")[0].contains("ssh -N");
    let waits = |row: &Event| {
        row.text("sensor.session.state").as_deref() == Some("authenticating") && row.has("source.port")
    };
    let by = |row: &Event| row.num("source.port") == u64::from(unknown.local_addr().unwrap().port());
    let rows = sshd.sessions("all ways of ssh", |rows| {
        let ways: [&dyn Fn(&Event) -> bool; 4] =
            [&|row| runs(row, &["sleep", "321"]), &shell, &|row| runs(row, &["sleep", "322"]), &nothing];
        rows.len() == 5
            && ways.iter().all(|way| rows.iter().any(|row| way(row) && !waits(row)))
            && rows.iter().any(|row| waits(row) && by(row))
    });
    for row in &rows {
        assert_eq!((row.str("sensor.session.kind"), row.str("source.ip")), ("ssh", "127.0.0.1"), "{row:#}");
        assert_eq!(row.texts("sensor.session.sources").last(), Some(&"proc"), "{row:#}");
        assert_eq!((row.str("event.action"), row.str("user.name")), ("session_snapshot", "root"));
        assert!(row.num("sensor.usage.rss_bytes") > 0 && row.num("sensor.usage.connections") >= 1, "{row:#}");
        assert!(row.has("sensor.usage.disk.read_bytes") && row.has("sensor.session.since"), "{row:#}");
    }
    let row = find(&rows, &|row| runs(row, &["sleep", "322"])).unwrap();
    assert!(row.str("sensor.tty").starts_with("pts/") && row.num("sensor.session.idle_s") < 60, "{row:#}");
    assert!(row.num("sensor.processes") >= 2, "{row:#}");
    let row = find(&rows, &|row| runs(row, &["sleep", "321"])).unwrap();
    assert!(!row.has("sensor.tty") && !row.has("sensor.session.idle_s"), "{row:#}");
    drop((command, typed, terminal, silent, unknown));
    sshd.sessions("all ended", <[Event]>::is_empty);
}

#[test]
fn what_was_waited_for_is_in_the_sums() {
    if skip() {
        return;
    }
    let Some(sshd) = Sshd::start() else { return };
    // Half a second of a processor, by a child that is gone; what reads is a child too.
    let busy =
        "timeout 0.7 sh -c 'while :; do :; done'; dd if=/dev/zero of=/dev/null bs=1M count=1; sleep 323; :";
    let _login = sshd.login(&["root@127.0.0.1", busy]);
    let rows = sshd.sessions("asleep", |rows| rows.iter().any(|row| runs(row, &["sleep", "323"])));
    assert!(rows[0].num("sensor.usage.cpu_ns") >= 200_000_000, "{:#}", rows[0]);
}

#[test]
fn jobs_of_cron_are_sessions() {
    if skip() {
        return;
    }
    if !Path::new("/usr/bin/busybox").exists() {
        let _ = missing("there is no busybox, whose crond is tried");
        return;
    }
    let folder = Folder::new();
    fs::write(folder.at("root"), "* * * * * sleep 327\n").unwrap();
    let mut crond = Command::new("/usr/bin/busybox");
    let supports = run(Command::new("/usr/bin/busybox").args(["crond", "--help"]));
    if !String::from_utf8_lossy(&supports.stderr).contains("-c") {
        let _ = missing("busybox was built without crond");
        return;
    }
    let crond = Group::start(crond.args(["crond", "-f", "-L", "/dev/null", "-c"]).arg(folder.path()));
    // It looks once a minute.
    let end = Instant::now() + Duration::from_secs(75);
    let row = loop {
        let rows = Answer::done(&["who"]).rows;
        if let Some(row) = rows.into_iter().find(|row| runs(row, &["sleep", "327"])) {
            break row;
        }
        assert!(Instant::now() < end, "no job of crond {}", crond.pid());
    };
    assert_eq!((row.str("sensor.session.kind"), row.str("user.name")), ("cron", "root"), "{row:#}");
}

#[test]
fn who_enters_a_container_from_outside_is_told() {
    if skip() {
        return;
    }
    let inside = join([words!["say", "runs"], words!["hang"]]);
    let mut unshare = Command::new("unshare");
    let container =
        Running::start(unshare.args(["--pid", "--fork", "--mount-proc"]).arg(actor()).args(inside));
    container.until("runs");
    let init = children(container.pid())[0];
    let mut nsenter = Command::new("nsenter");
    nsenter.arg("--target").arg(init.to_string()).args(["--pid", "--mount", "sleep", "325"]);
    let _entered = Group::start(&mut nsenter);
    let of = |row: &Event| row.str("sensor.session.kind") == "container";
    let rows = until("entered", of, |rows| rows.iter().any(|row| runs(row, &["sleep", "325"])));
    let row = rows.iter().find(|row| runs(row, &["sleep", "325"])).unwrap();
    assert_eq!(row.str("process.name"), "sleep", "{row:#}");
    assert!(rows.iter().all(|row| row.num("process.pid") != u64::from(init)), "the container itself is none");
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn logins_of_audit_hold_together() {
    if skip() {
        return;
    }
    // Its child lives on when it has ended, and belongs to the login all the same.
    let ready = words!["say", "runs", "hang"];
    let spawned = nest("spawn", words!["/bin/sleep", "326"]);
    let steps = [words!["loginuid", "65534", "new-session"], spawned, ready];
    let mut login = Running::of(actor(), join(steps));
    login.until("runs");
    let of = |row: &Event| row.text("sensor.login.uid").as_deref() == Some("65534");
    let wanted = |rows: &[Event]| rows.iter().any(|row| row.num("sensor.processes") == 2);
    let rows = until("a login", of, wanted);
    let row = rows.iter().find(|row| row.num("process.pid") == u64::from(login.pid())).unwrap();
    assert_eq!((row.str("sensor.login.name"), row.str("user.name")), ("nobody", "root"), "{row:#}");
    assert_eq!(row.str("sensor.session.kind"), "login", "{row:#}");
    let answer = Answer::done(&["who", "--user", "nobody"]);
    assert!(answer.rows.iter().any(|row| row.num("process.pid") == u64::from(login.pid())));
    let session = row.str("sensor.login.session").to_owned();
    login.end();
    let of = |row: &Event| row.text("sensor.login.session").as_ref() == Some(&session);
    let rows = until("what is left", of, |rows| rows.iter().any(|row| runs(row, &["/bin/sleep", "326"])));
    let left = u32::try_from(rows[0].num("process.pid")).unwrap();
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(left.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    );
}

#[test]
fn a_terminal_of_nobody_else_is_a_session_and_nothing_misleads() {
    if skip() {
        return;
    }
    let steps = nest("pty", words!["say", "runs", "hang", "ignore", "evil\x1b[2J\nroot"]);
    let typed = Running::of(actor(), steps);
    typed.until("runs");
    let pid = children(typed.pid())[0];
    let text = run(command().args(["who", "--format", "text"]));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
    let line = text.lines().find(|line| line.contains("evil\\x1b[2J\\x0aroot")).unwrap();
    assert!(line.contains("terminal") && line.contains("pts/"), "{text}");
    assert!(text.lines().last().unwrap().contains("only /proc knows"), "{text}");
    let answer = Answer::done(&["who"]);
    let row = answer.rows.iter().find(|row| row.num("process.pid") == u64::from(pid)).unwrap();
    assert_eq!(row.str("sensor.session.kind"), "terminal", "{row:#}");
    assert!(row.has("sensor.session.idle_s"), "{row:#}");
}

#[test]
fn without_root_it_does_what_it_can() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    copy(&binary(), &folder.at("sensor"));
    let login = Running::of(actor(), words!["loginuid", "65534", "new-session", "say", "runs", "hang"]);
    login.until("runs");
    let exec = nest("exec", words![folder.at("sensor"), "who", "--format", "json"]);
    let answer = Answer::of(Command::new(actor()).args(join([words!["become", "65534"], exec])));
    assert_eq!(answer.status, Some(4), "{}", answer.said);
    assert!(answer.said.contains("needs root"), "{}", answer.said);
    let row = answer.rows.iter().find(|row| row.num("process.pid") == u64::from(login.pid()));
    let row = row.unwrap_or_else(|| panic!("{:#?}", answer.rows));
    assert!(!row.has("sensor.usage.disk.read_bytes"), "what it doesn't know it doesn't sum up: {row:#}");
    let unknown = run(command().args(["who", "--user", "no-such-user"]));
    assert_eq!(unknown.status.code(), Some(2));
}
