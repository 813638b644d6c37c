//! `sensor ps`: what runs, and what is to be thought of each executable; planted, and found.
#![expect(clippy::panic, reason = "a helper that can't go on fails the test")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use tests::answer::{Answer, run};
use tests::place::{mount_bind, mount_overlay, mount_tmpfs, private_mounts};
use tests::program::{actor, actor_at, copy, join, nest, storm};
use tests::sensor::{binary, command};
use tests::skip::skip;
use tests::terminal::Terminal;
use tests::{Event, Folder, Running, Sensor, find::Source, lock, words};

/// What `ps` answers to these options.
fn ps(args: &[&str]) -> Answer {
    Answer::done(&[&["ps"], args].concat())
}

/// Looks for processes in an answer.
trait ByPid {
    fn find(&self, pid: u32) -> Option<&Event>;
    fn of_pid(&self, pid: u32) -> &Event;
    fn verdict(&self, pid: u32) -> &str;
}

impl ByPid for Answer {
    fn find(&self, pid: u32) -> Option<&Event> {
        self.rows.iter().find(|row| row.num("process.pid") == u64::from(pid))
    }

    fn of_pid(&self, pid: u32) -> &Event {
        self.find(pid).unwrap_or_else(|| panic!("{pid} isn't among {}: {}", self.rows.len(), self.said))
    }

    fn verdict(&self, pid: u32) -> &str {
        self.of_pid(pid).str("sensor.exe.verdict")
    }
}

#[test]
fn a_lost_name_is_judged_by_the_file() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let idle = |name: &str| Running::idle(actor_at(folder.at(name)));
    let (deleted, replaced, linked) = (idle("deleted"), idle("replaced"), idle("linked"));
    let (called, present) = (idle("x (deleted)"), idle("present"));
    fs::remove_file(folder.at("deleted")).unwrap();
    copy(&actor(), &folder.at("new"));
    fs::rename(folder.at("new"), folder.at("replaced")).unwrap();
    fs::hard_link(folder.at("linked"), folder.at("other")).unwrap();
    fs::remove_file(folder.at("linked")).unwrap();
    let nameless = |step: String| {
        let running = Running::of(actor(), nest(&step, words!["image", "say", "runs", "hang"]));
        running.until("runs");
        running
    };
    let image = actor().display().to_string();
    let memfd = nameless(format!("memfd evil {image}"));
    let tmpfile = nameless(format!("tmpfile {} {image}", folder.path().display()));

    let answer = ps(&[]);
    let expected = [
        (&deleted, "deleted", "deleted", 73),
        (&replaced, "replaced", "replaced", 47),
        (&linked, "hard_link_left", "deleted", 47),
        (&memfd, "memfd", "memfd", 73),
        (&tmpfile, "never_named", "deleted", 73),
    ];
    for (running, verdict, state, severity) in expected {
        let row = answer.of_pid(running.pid());
        assert_eq!(row.str("sensor.exe.verdict"), verdict, "{row:#}");
        assert_eq!(row.str("sensor.exe.state"), state, "{row:#}");
        assert_eq!(row.num("event.severity"), severity, "{row:#}");
        assert_eq!(row.texts("sensor.findings").len(), 1, "{row:#}");
    }
    for running in [&called, &present] {
        let row = answer.of_pid(running.pid());
        assert_eq!(row.str("sensor.exe.verdict"), "present", "{row:#}");
        assert!(!row.has("event.severity") && !row.has("sensor.findings"), "{row:#}");
    }
    assert_eq!(
        answer.of_pid(called.pid()).str("process.executable"),
        folder.at("x (deleted)").to_string_lossy()
    );
    // The odd ones stand first.
    let severities: Vec<u64> = answer
        .rows
        .iter()
        .map(|row| if row.has("event.severity") { row.num("event.severity") } else { 0 })
        .collect();
    assert!(severities.is_sorted_by(|a, b| a >= b), "{severities:?}");

    let lost = ps(&["--deleted"]);
    assert!(expected.iter().all(|(running, ..)| lost.find(running.pid()).is_some()));
    assert!(lost.find(present.pid()).is_none() && lost.find(called.pid()).is_none());
}

#[test]
fn who_passes_for_the_kernel_is_told() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let plain = actor_at(folder.at("plain"));
    let bracketed =
        Running::start(Command::new(&plain).arg0("[kworker/0:1]").args(words!["say", "runs", "hang"]));
    let named = Running::of(&plain, words!["rename-self", "ksoftirqd/0", "say", "runs", "hang"]);
    let honest = Running::start(Command::new(&plain).arg0("[]").args(words!["say", "runs", "hang"]));
    [&bracketed, &named, &honest].into_iter().for_each(|running| drop(running.until("runs")));
    let answer = ps(&[]);
    assert_eq!(answer.verdict(bracketed.pid()), "fake_kernel_thread");
    assert_eq!(answer.verdict(named.pid()), "fake_kernel_thread");
    assert_eq!(answer.verdict(honest.pid()), "present");
    assert!(answer.find(2).is_none(), "kthreadd is one, and not asked for");
    assert_eq!(ps(&["--kernel"]).verdict(2), "kernel_thread");
}

#[test]
fn mounts_and_namespaces_are_seen_through() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let [lower, upper, work, merged, over, empty] =
        ["lower", "upper", "work", "merged", "over", "empty"].map(|name| folder.folder(name));
    actor_at(lower.join("shipped"));
    let covered = Running::idle(actor_at(over.join("program")));
    let present = Running::idle(actor_at(folder.at("plain")));
    let plain = present.pid();
    private_mounts(|| {
        mount_overlay(&lower, &upper, &work, &merged).unwrap();
        let shipped = Running::idle(merged.join("shipped"));
        let written = Running::idle(actor_at(merged.join("written")));
        let outside = program_outside(&[shipped.pid(), written.pid(), plain]);
        assert_eq!(outside.verdict(shipped.pid()), "other_mount_namespace");
        assert_eq!(outside.verdict(written.pid()), "container_upper_layer");
        assert_eq!(outside.verdict(plain), "present");

        // From here on in the same namespace as what is looked for.
        let inside = Running::idle(folder.at("plain"));
        mount_tmpfs(&over, "1m");
        let program = Running::idle(actor_at(folder.at("inside")));
        let hidden = Running::idle(actor_at(folder.at("hidden")));
        mount_bind(&empty, Path::new(&format!("/proc/{}", hidden.pid())));
        let answer = ps(&[]);
        assert_eq!(answer.verdict(inside.pid()), "present");
        assert_eq!(answer.verdict(program.pid()), "present");
        let row = answer.of_pid(hidden.pid());
        assert_eq!(row.num("event.severity"), 99, "{row:#}");
        assert!(row.texts("sensor.findings")[0].contains("mounted over"), "{row:#}");
        assert_eq!(answer.rows[0].num("event.severity"), 99);
    });
    assert_eq!(ps(&[]).verdict(covered.pid()), "present");
    private_mounts(|| {
        let running = Running::idle(actor_at(over.join("second")));
        mount_tmpfs(&over, "1m");
        assert_eq!(ps(&[]).verdict(running.pid()), "unreachable");
    });
}

/// What `ps` says in the mount namespace of the other threads.
fn program_outside(pids: &[u32]) -> Answer {
    let mut nsenter = Command::new("nsenter");
    nsenter.arg(format!("--mount=/proc/{}/ns/mnt", std::process::id())).arg(binary()).arg("ps");
    let answer = Answer::of(&mut nsenter);
    assert_eq!(answer.status, Some(0), "{}", answer.said);
    assert!(pids.iter().all(|pid| answer.find(*pid).is_some()), "{}", answer.said);
    answer
}

#[test]
fn users_are_found_by_whichever_id() {
    if skip() {
        return;
    }
    let ready = words!["say", "runs", "hang"];
    let nobody = Running::of(actor(), join([words!["become", "65534"], ready.clone()]));
    let login = Running::of(actor(), join([words!["loginuid", "65534"], ready.clone()]));
    let other = Running::of(actor(), ready);
    [&nobody, &login, &other].into_iter().for_each(|running| drop(running.until("runs")));
    let answer = ps(&["--user", "nobody"]);
    assert_eq!(
        answer.of_pid(nobody.pid()).texts("sensor.matches"),
        ["real", "effective", "saved", "file_system"]
    );
    assert_eq!(answer.of_pid(login.pid()).texts("sensor.matches"), ["login"]);
    assert!(answer.find(other.pid()).is_none());
    assert_eq!(ps(&["--user", "65534"]).rows.len(), answer.rows.len());
    let unknown = run(command().args(["ps", "--user", "no\x1bbody"]));
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(2), "{said}");
    assert!(said.contains("no user $'no\\x1bbody' in /etc/passwd"), "{said}");
}

#[test]
fn packages_and_ids_are_those_of_others() {
    if skip() {
        return;
    }
    let _alone = lock::alone();
    let sleep = Running::start(Command::new("sleep").arg("infinity"));
    let sensor = Sensor::start(words![]);
    let snapshot = sensor.find("process_snapshot").pid(sleep.pid()).wait();
    let answer = ps(&[]);
    let row = answer.of_pid(sleep.pid());
    for field in ["process.entity_id", "process.executable", "sensor.exe.inode", "user.name"] {
        assert_eq!(row.value(field), snapshot.value(field), "{field}");
    }
    if Path::new("/var/lib/dpkg/info/coreutils.list").exists() {
        assert_eq!((row.str("package.name"), row.str("package.type")), ("coreutils", "deb"));
    }
    assert!(row.num("sensor.usage.rss_bytes") > 0);
    sensor.stop().clean();
}

#[test]
fn children_stand_under_their_parents() {
    if skip() {
        return;
    }
    let child = nest("run", join([words![actor()], words!["pid", "hang"]]));
    let parent = Running::of(actor(), child);
    let pid: u32 = parent.line().parse().unwrap();
    let answer = ps(&["--tree"]);
    let place =
        |pid: u32| answer.rows.iter().position(|row| row.num("process.pid") == u64::from(pid)).unwrap();
    assert_eq!(place(pid), place(parent.pid()) + 1);
    assert!(place(std::process::id()) < place(parent.pid()));
}

#[test]
fn without_root_it_does_what_it_can() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    copy(&binary(), &folder.at("sensor"));
    let own = Running::of(actor(), words!["become", "65534", "say", "runs", "hang"]);
    own.until("runs");
    let other = Running::idle(actor());
    let exec = nest("exec", words![folder.at("sensor"), "ps", "--format", "json"]);
    let answer = Answer::of(Command::new(actor()).args(join([words!["become", "65534"], exec])));
    assert_eq!(answer.status, Some(4), "{}", answer.said);
    assert!(answer.said.contains("needs root") && answer.said.contains("executables of"), "{}", answer.said);
    assert_eq!(answer.verdict(other.pid()), "unread");
    let row = answer.of_pid(own.pid());
    assert!(["present", "unread"].contains(&row.str("sensor.exe.verdict")), "{row:#}");
    assert_eq!((row.str("user.id"), row.str("user.name")), ("65534", "nobody"));
    assert!(answer.rows.iter().all(|row| !row.has("process.entity_id")), "nobody's start is known so well");
    assert!(answer.rows.iter().all(|row| !row.has("sensor.findings")), "nobody is odd for being unknown");
}

#[test]
fn nobody_is_called_hidden_for_being_short_lived() {
    if skip() {
        return;
    }
    let mut births = Running::of(storm(), words!["births", "1000"]);
    births.line();
    for _ in 0..10 {
        let answer = ps(&[]);
        let hidden =
            answer.rows.iter().filter(|row| row.has("event.severity") && row.num("event.severity") == 99);
        let sentences: Vec<_> = hidden.flat_map(|row| row.texts("sensor.findings")).collect();
        assert!(!sentences.iter().any(|sentence| sentence.contains("/proc")), "{sentences:?}");
    }
    births.end();
}

#[test]
fn a_table_fits_and_shows_no_control_characters() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let name = "evil\x1b[2J\nroot";
    let running =
        Running::of(actor_at(folder.at(name)), words!["say", "runs", "hang", "ignore", "\x1b]0;x\x07"]);
    running.until("runs");
    fs::remove_file(folder.at(name)).unwrap();
    let output = run(command().args(["ps", "--format", "text"]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].trim_start().starts_with("PID") && lines[0].ends_with("COMMAND"), "{text}");
    let at = lines.iter().position(|line| line.contains("evil\\x1b[2J\\x0aroot")).unwrap();
    assert!(lines[at].contains("deleted"), "{text}");
    assert_eq!(lines[at + 1], "    ! the executable was deleted while it runs");
    assert!(lines.last().unwrap().contains("of them odd"), "{text}");

    let mut terminal = Terminal::start(&binary(), words!["ps"], &[], (80, 200));
    let screen = terminal.until("the sum", |lines| lines.iter().any(|line| line.contains("of them odd")));
    assert!(terminal.wait().success());
    assert!(screen.iter().any(|line| line.contains("! the executable was deleted")), "{screen:#?}");
    assert!(terminal.raw().windows(5).any(|bytes| bytes == b"\x1b[31m"), "no colour");
    let plain = Terminal::start(&binary(), words!["ps"], &[("NO_COLOR", "1")], (80, 200));
    plain.until("the sum", |lines| lines.iter().any(|line| line.contains("of them odd")));
    assert!(!plain.raw().contains(&0x1b), "colour");
}
