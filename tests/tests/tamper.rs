//! What is done to the sensor itself shows: programs taken away, maps written, the process stopped or killed.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use nix::sys::signal::Signal;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tests::find::{ACCEPTED, Source};
use tests::program::{actor, actor_at, attacker, done};
use tests::skip::{not_here, skip};
use tests::{Event, Folder, Running, Sensor, lock, words};

/// Does it to a sensor: how many times it worked, and the last error.
fn attack(sensor: &Sensor, what: &[&str]) -> (u32, String) {
    let mut words = words![sensor.pid().to_string()];
    words.extend(what.iter().map(std::ffi::OsString::from));
    let said = done(&attacker(), words);
    let (count, error) = said.trim().split_once(' ').unwrap();
    (count.parse().unwrap(), error.to_owned())
}

fn with_state(folder: &Path) -> Sensor {
    Sensor::with().config(&format!("state.folder = {:?}\n", folder.to_str().unwrap())).live()
}

/// The rows of a `coverage` event by a hook.
fn rows(event: &Event, hook: &str) -> Vec<(String, String)> {
    let rows = event.list("sensor.coverage").iter().filter(|row| row["hook"] == hook);
    rows.map(|row| {
        (row["state"].as_str().unwrap().to_owned(), row["reason"].as_str().unwrap_or("").to_owned())
    })
    .collect()
}

fn is(event: &Event, hook: &str, state: &str, reason: &str) -> bool {
    let rows = rows(event, hook);
    !rows.is_empty() && rows.iter().all(|(is, why)| is == state && why.contains(reason))
}

/// Waits until it is told that this hook is so, and then that it is seen again, by later events; gives their numbers.
fn told_and_over(sensor: &Sensor, hook: &'static str, reason: &'static str) -> (u64, u64) {
    let told = sensor.find("coverage").such(hook, |event| is(event, hook, "unseen", reason)).wait();
    let told = told.num("event.sequence");
    let over = |event: &Event| event.num("event.sequence") > told && is(event, hook, "seen", "");
    (told, sensor.find("coverage").such("seen again", over).wait().num("event.sequence"))
}

/// A socket is bound: told by a hook of cgroups.
fn is_seen_binding(sensor: &Sensor) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    sensor.find("socket_bind").with("server.port", port).pid(std::process::id()).wait();
}

#[test]
fn programs_that_are_detached_are_told_and_attached_again() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let sensor = Sensor::start(words![]);
    is_seen_binding(&sensor);
    let (count, error) = attack(&sensor, &["detach"]);
    assert_eq!((count, &*error), (10, "EOPNOTSUPP"), "cgroups' links; others can't be detached");
    told_and_over(&sensor, "cgroup/post_bind", "BPF_LINK_DETACH");
    for hook in ["cgroup/sock_release", "cgroup/getpeername", "cgroup/connect", "cgroup_skb"] {
        sensor.find("coverage").such(hook, |event| is(event, hook, "unseen", "BPF_LINK_DETACH")).wait();
    }
    is_seen_binding(&sensor);
    // Once more: it is told once more.
    let before = sensor.find("coverage").all().len() as u64;
    assert_eq!(attack(&sensor, &["detach"]).0, 10);
    assert!(
        sensor.count("coverage", before + 2, Duration::from_secs(15)) >= before + 2,
        "and that it is over"
    );
    let again = |event: &Event| is(event, "cgroup_skb", "unseen", "BPF_LINK_DETACH");
    assert_eq!(sensor.find("coverage").such("again", again).all().len(), 2);
    sensor.stop().clean();
}

#[test]
fn another_program_in_a_link_is_told_and_thrown_out() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let sensor = Sensor::start(words![]);
    let (count, error) = attack(&sensor, &["replace"]);
    assert_eq!((count, &*error), (2, "-"), "both directions");
    told_and_over(&sensor, "cgroup_skb", "BPF_LINK_UPDATE");
    sensor.stop().clean();
}

#[test]
fn marks_that_are_taken_away_are_told_and_set_again() {
    if skip() {
        return;
    }
    let _together = lock::together();
    // Better hooks need no such marks.
    let (sensor, folder) = (Sensor::start(words!["--hooks", "base"]), Folder::new());
    assert!(attack(&sensor, &["marks"]).0 >= 1);
    told_and_over(&sensor, "fanotify/filesystem", "marks");
    let victim = actor_at(folder.at("victim"));
    done(&victim, words!["unlink", &victim]);
    let alert = sensor.find("exe_deleted").file(&victim).wait();
    assert_eq!(alert.str("sensor.method"), "unlink");
    sensor.stop().clean();
}

#[test]
fn functions_that_are_switched_off_are_told_and_marks_serve_meanwhile() {
    const HOOK: &str = "fexit/vfs_unlink";
    if skip() {
        return;
    }
    // A setting of the whole machine.
    let _alone = lock::alone();
    let (sensor, folder) = (Sensor::start(words![]), Folder::new());
    if !is(&sensor.find("coverage").wait(), HOOK, "seen", "") {
        let _ = not_here("no functions serve on this kernel, or they aren't wanted");
        return;
    }
    let setting = "/proc/sys/kernel/ftrace_enabled";
    if let Err(why) = fs::write(setting, "0") {
        let _ = not_here(&format!("this kernel doesn't let them be switched off: {why}"));
        return;
    }
    let lost = |name: &str| {
        let victim = actor_at(folder.at(name));
        let mut running = Running::idle(&victim);
        sensor.find("exec").exe(&victim).wait();
        let mut stranger = Running::of(actor(), words!["unlink", &victim]);
        let pid = stranger.pid();
        assert!(stranger.end().success());
        let alert = sensor.find("exe_deleted").file(&victim).wait();
        assert_eq!(alert.text("process.pid"), Some(pid.to_string()), "{name}");
        running.end();
    };
    lost("before-it-is-noticed");
    let off = sensor.find("coverage").such("off", |event| is(event, HOOK, "unseen", "ftrace_enabled")).wait();
    assert!(is(&off, "fanotify/filesystem", "seen", ""), "marks serve meanwhile");
    assert!(is(&off, ACCEPTED, "unseen", "ftrace_enabled"), "{off:#}");
    lost("by-marks");
    fs::write(setting, "1").unwrap();
    let later = |event: &Event| event.num("event.sequence") > off.num("event.sequence");
    let on = |event: &Event| later(event) && is(event, HOOK, "seen", "");
    let on = sensor.find("coverage").such("on again", on).wait();
    assert!(rows(&on, "fanotify/filesystem").is_empty(), "marks are gone again");
    assert!(is(&on, ACCEPTED, "seen", ""), "{on:#}");
    lost("by-functions-again");
    sensor.stop().clean();
}

#[test]
fn maps_can_not_be_written_from_outside() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let (sensor, folder) = (Sensor::start(words![]), Folder::new());
    for map in [
        ".rodata",
        "COUNT",
        "NAMES",
        "KNOWN",
        "TOLD",
        "PENDING",
        "FINISHED",
        "THREADS",
        "NESTED",
        "UNACCOUNTED",
    ] {
        assert_eq!(attack(&sensor, &["map", map]), (0, "EPERM".to_owned()), "{map}");
    }
    let program = actor_at(folder.at("program"));
    done(&program, words!["unlink", &program]);
    sensor.find("exec").exe(&program).wait();
    sensor.find("exe_deleted").file(&program).wait();
    sensor.find("exit").exe(&program).wait();
    let end = sensor.stop();
    end.clean();
    for (action, account) in end.account() {
        assert_eq!(account.seen, account.delivered + account.lost, "{action}");
    }
}

#[test]
fn a_stop_of_the_process_shows_as_a_gap() {
    if skip() {
        return;
    }
    let _alone = lock::alone();
    let sensor = Sensor::start(words![]);
    sensor.fence();
    sensor.signal(Signal::SIGSTOP);
    let told = sensor.watch(Duration::from_millis(4500), |event| event.has("no such field"));
    assert!(told.is_none());
    sensor.signal(Signal::SIGCONT);
    let gap = |event: &Event| is(event, "self/pace", "unseen", "SIGSTOP");
    let told = sensor.find("coverage").such("the gap", gap).wait();
    let (_, reason) = rows(&told, "self/pace").remove(0);
    let seconds: f64 = reason.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!((4.0..20.0).contains(&seconds), "{reason}");
    let later = told.num("event.sequence");
    let over = |event: &Event| event.num("event.sequence") > later && rows(event, "self/pace").is_empty();
    sensor.find("coverage").such("over", over).wait();
    sensor.stop().clean();
}

#[test]
fn a_killed_run_is_told_by_the_next() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let state = folder.at("state");
    let first = with_state(&state);
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    first.fence();
    // It is noted each second how far it came.
    let noted = || -> u64 {
        let mut names = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
        let file = names.find(|path| path.to_str().unwrap().contains("/run-")).unwrap();
        fs::read_to_string(file).unwrap().split(' ').nth(5).unwrap().parse().unwrap()
    };
    while noted() == 0 {
        let _ = first.watch(Duration::from_millis(50), |event| event.has("no such field"));
    }
    let (least, id) = (noted(), first.find("coverage").wait().str("event.id").to_owned());
    first.signal(Signal::SIGKILL);
    let end = first.ended();
    assert!(!end.status.success());
    let last = end.events().last().unwrap().num("event.sequence");

    let second = with_state(&state);
    let coverage = second.find("coverage").wait();
    assert_eq!(coverage.num("event.sequence"), 1);
    let told = rows(&coverage, "self/last_run");
    let [(unseen, reason)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(unseen, "unseen");
    let run = id.strip_suffix("-1").unwrap();
    let sequence = reason.split(&format!("{run}-")).nth(1).and_then(|rest| rest.split(',').next());
    let sequence: u64 = sequence.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{reason}"));
    assert!((least..=last).contains(&sequence) && reason.contains("was killed"), "{least} {last} {reason}");
    let over = |event: &Event| event.num("event.sequence") > 1 && rows(event, "self/last_run").is_empty();
    second.find("coverage").such("over", over).wait();
    let end = second.stop();
    end.clean();

    // A clean end: a last word, and nothing for the next.
    let events = end.events();
    let word = events.iter().rev().find(|event| event.action() == "coverage").unwrap();
    assert!(
        is(word, "self/run", "off", "asked to stop") && is(word, "cgroup/post_bind", "off", "asked to stop")
    );
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    let third = with_state(&state);
    assert!(rows(&third.find("coverage").wait(), "self/last_run").is_empty());
    third.stop().clean();
}

#[test]
fn a_folder_that_others_can_write_is_not_used() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let state = folder.folder("state");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    let sensor = with_state(&state);
    let coverage = sensor.find("coverage").wait();
    assert!(is(&coverage, "self/state", "unseen", "others may write"), "{coverage}");
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    sensor.stop().clean();
    // None is wanted: nothing is said.
    let sensor = Sensor::with().config("state.folder = \"\"\n").live();
    assert!(rows(&sensor.find("coverage").wait(), "self/state").is_empty());
    sensor.stop().clean();
}
