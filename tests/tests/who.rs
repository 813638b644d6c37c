//! `sensor who`: sessions that are really there, by ssh in all its ways, cron, containers and terminals.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::answer::{Answer, run};
use tests::place::{mount_tmpfs, private_mounts};
use tests::program::{actor, copy, join, nest};
use tests::sensor::{binary, command};
use tests::skip::{missing, skip};
use tests::sshd::{Group, Sshd};
use tests::{DEADLINE, Event, Folder, Running, patience, words};

/// The sessions of a private sshd, once they are as wanted.
fn sessions(sshd: &Sshd, what: &str, wanted: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let of = |row: &Event| row.has("destination.port") && row.num("destination.port") == u64::from(sshd.port);
    until(what, of, wanted)
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
    let rows = sessions(&sshd, "all ways of ssh", |rows| {
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
    sessions(&sshd, "all ended", <[Event]>::is_empty);
}

#[test]
fn what_was_waited_for_is_in_the_sums() {
    if skip() {
        return;
    }
    let Some(sshd) = Sshd::start() else { return };
    // The kernel ends it when it has had a second of a processor, however long that takes.
    let busy = "sh -c 'ulimit -t 1; while :; do :; done'; sleep 323; :";
    let _login = sshd.login(&["root@127.0.0.1", busy]);
    let rows = sessions(&sshd, "asleep", |rows| rows.iter().any(|row| runs(row, &["sleep", "323"])));
    assert!(rows[0].num("sensor.usage.cpu_ns") >= 900_000_000, "{:#}", rows[0]);
}

#[test]
fn bytes_of_open_connections_are_summed_up_and_those_of_a_shared_one_once() {
    const RECEIVED: usize = 1_000_000;
    const SENT: usize = 2_000_000;
    /// What sshd's own connection may add.
    const MORE: usize = 400_000;
    if skip() {
        return;
    }
    let Some(sshd) = Sshd::start() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The shell and what it runs have the same connection open, as have the two processes of sshd.
    let steps = format!(
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; head -c {SENT} /dev/zero >&3; head -c {RECEIVED} <&3 >/dev/null; \
         sleep 331; :'"
    );
    let _login = sshd.login(&["root@127.0.0.1", &steps]);
    let (mut other, _) = listener.accept().unwrap();
    other.read_exact(&mut vec![0; SENT]).unwrap();
    other.write_all(&vec![0; RECEIVED]).unwrap();
    let rows = sessions(&sshd, "asleep", |rows| rows.iter().any(|row| runs(row, &["sleep", "331"])));
    let bytes = |field| usize::try_from(rows[0].num(field)).unwrap();
    let (received, sent) = (bytes("sensor.usage.net.rx_bytes"), bytes("sensor.usage.net.tx_bytes"));
    assert!((RECEIVED..RECEIVED + MORE).contains(&received), "{received} {:#}", rows[0]);
    assert!((SENT..SENT + MORE).contains(&sent), "{sent} {:#}", rows[0]);
    assert!(rows[0].num("sensor.processes") >= 3, "{:#}", rows[0]);
}

#[test]
fn what_sshd_writes_into_utmp_is_told() {
    if skip() {
        return;
    }
    // sshd writes there if it is there; and into others' logs, which stay as they are.
    private_mounts(|| {
        ["/run", "/var/log"].into_iter().for_each(|place| mount_tmpfs(Path::new(place), "4m"));
        fs::write("/run/utmp", "").unwrap();
        let Some(sshd) = Sshd::start() else { return };
        let terminal = sshd.login(&["-tt", "root@127.0.0.1", "sleep 328"]);
        let silent = sshd.login(&["root@127.0.0.1", "sleep 329"]);
        let rows = sessions(&sshd, "both", |rows| {
            let there = |seconds| rows.iter().any(|row| runs(row, &["sleep", seconds]));
            rows.len() == 2 && there("328") && there("329")
        });
        let of = |seconds: &str| rows.iter().find(|row| runs(row, &["sleep", seconds])).unwrap();
        let (known, unknown) = (of("328"), of("329"));
        assert_eq!(known.texts("sensor.session.sources"), ["utmp", "proc"], "{known:#}");
        assert_eq!(unknown.texts("sensor.session.sources"), ["proc"], "{unknown:#}");
        assert!(!known.has("sensor.findings"), "it is where it should be: {known:#}");
        assert!(
            known.str("sensor.tty").starts_with("pts/") && known.has("sensor.session.since"),
            "{known:#}"
        );
        assert_eq!((known.str("user.name"), known.str("source.ip")), ("root", "127.0.0.1"));
        // Who takes the record away is told by /proc all the same, and that it is gone.
        fs::write("/run/utmp", utmp_without_lines()).unwrap();
        let rows = sessions(&sshd, "both again", |rows| rows.len() == 2);
        let row = rows.iter().find(|row| runs(row, &["sleep", "328"])).unwrap();
        assert_eq!(row.texts("sensor.session.sources"), ["proc"], "{row:#}");
        assert!(row.texts("sensor.findings").iter().any(|what| what.contains("utmp")), "{row:#}");
        drop((terminal, silent));
    });
}

/// systemd-logind on a bus of its own, without a systemd: it makes no sessions so, but keeps and writes those it finds.
fn logind() -> [Group; 2] {
    fs::create_dir_all("/run/dbus").unwrap();
    let bus =
        Group::start(Command::new("/usr/bin/dbus-daemon").args(["--system", "--nofork", "--nopidfile"]));
    let end = Instant::now() + patience(DEADLINE);
    while std::os::unix::net::UnixStream::connect("/run/dbus/system_bus_socket").is_err() {
        assert!(Instant::now() < end, "dbus-daemon doesn't listen");
        std::thread::yield_now();
    }
    [bus, Group::start(&mut Command::new(LOGIND))]
}

const LOGIND: &str = "/lib/systemd/systemd-logind";

#[test]
fn what_logind_itself_writes_is_told() {
    let there = Path::new(LOGIND).exists() && Path::new("/usr/share/dbus-1/system.conf").exists();
    if skip() || !there && missing("there is no systemd-logind, or no dbus") {
        return;
    }
    private_mounts(|| {
        ["/run", "/var/log"].into_iter().for_each(|place| mount_tmpfs(Path::new(place), "4m"));
        let Some(sshd) = Sshd::start() else { return };
        let _terminal = sshd.login(&["-tt", "root@127.0.0.1", "sleep 330"]);
        let asleep = |rows: &[Event]| rows.iter().any(|row| runs(row, &["sleep", "330"]));
        let rows = sessions(&sshd, "asleep", asleep);
        let (leader, tty) = (rows[0].num("process.pid"), rows[0].str("sensor.tty"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
        let times = format!("REALTIME={now}\nMONOTONIC=1000000\n");
        for name in ["sessions", "users"] {
            fs::create_dir_all(Path::new("/run/systemd").join(name)).unwrap();
        }
        let session = format!(
            "UID=0\nUSER=root\nACTIVE=1\nREMOTE=1\nTYPE=tty\nCLASS=user\nSCOPE=session-c9.scope\nREMOTE_HOST=192.0.2.9\n\
             SERVICE=sshd\nTTY={tty}\nLEADER={leader}\n{times}"
        );
        let file = "/run/systemd/sessions/c9";
        fs::write(file, session).unwrap();
        fs::write("/run/systemd/users/0", format!("NAME=root\nSTATE=active\nDISPLAY=c9\n{times}")).unwrap();
        let _running = logind();
        let end = Instant::now() + patience(DEADLINE);
        // Its own first line.
        while !fs::read_to_string(file).unwrap_or_default().starts_with("# This is private data") {
            assert!(Instant::now() < end, "logind hasn't written it: {:?}", fs::read_to_string(file));
            std::thread::yield_now();
        }
        let rows = sessions(&sshd, "still there", asleep);
        let row = &rows[0];
        assert_eq!((rows.len(), row.texts("sensor.session.sources")), (1, vec!["logind", "proc"]), "{row:#}");
        assert_eq!((row.num("process.pid"), row.str("sensor.tty")), (leader, tty), "{row:#}");
        assert_eq!(row.str("source.ip"), "127.0.0.1", "the socket is believed, not the file: {row:#}");
    });
}

/// One record, of the host's start (`BOOT_TIME` in `utmp(5)`): utmp is in use, and nobody is in it.
fn utmp_without_lines() -> Vec<u8> {
    let mut record = vec![0; 384];
    record[0] = 2;
    record
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
    for field in ["sensor.usage.disk.read_bytes", "sensor.usage.net.rx_bytes"] {
        assert!(!row.has(field), "what it doesn't know it doesn't sum up: {row:#}");
    }
    let unknown = run(command().args(["who", "--user", "no-such-user"]));
    assert_eq!(unknown.status.code(), Some(2));
}
