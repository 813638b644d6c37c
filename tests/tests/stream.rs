//! The stream as a whole: every event has what every event must have, in order, whatever happens.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use tests::find::Source;
use tests::program::{actor, actor_at, done, join, nest, threads};
use tests::sensor::{command, hooks};
use tests::skip::skip;
use tests::{Folder, Running, Sensor, words};

#[test]
fn every_event_is_whole() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::start(words![]), Folder::new());
    let victim = actor_at(folder.at("victim"));
    done(&victim, words!["unlink", &victim]);
    done(&actor(), nest(&format!("memfd x {}", actor().display()), words!["image"]));
    done(&threads(), words!["idle", "3"]);
    done(&actor(), join([words!["become", "65534"], nest("run", words![actor(), "pid"])]));
    Running::of(actor(), words!["signal", "9"]).end();
    sensor.fence();
    let end = sensor.stop();
    end.clean();
    let events = end.events();
    let sequences: Vec<u64> = events.iter().map(|event| event.num("event.sequence")).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "event.sequence rises by one");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for event in &events {
        assert_eq!(event.str("host.boot.id"), boot.trim());
        assert_eq!(event.str("host.name"), name.trim());
        assert!(event.str("ecs.version").starts_with("9."));
        assert_eq!(event.str("sensor.version"), env!("CARGO_PKG_VERSION"));
    }
    for action in ["coverage", "process_snapshot", "fork", "exec", "exit", "exe_deleted", "exe_memfd"] {
        assert!(events.iter().any(|event| event.action() == action), "no {action}");
    }
    // By the kernel's clock, whatever ring an event came through; the snapshot is older than the stream.
    let live: Vec<_> =
        events.iter().filter(|event| matches!(event.action(), "fork" | "exec" | "exit")).collect();
    for pair in live.windows(2) {
        assert!(pair[0].str("@timestamp") <= pair[1].str("@timestamp"), "{:#}\n{:#}", pair[0], pair[1]);
    }
}

#[test]
fn coverage_names_what_is_served() {
    if skip() {
        return;
    }
    let coverage = Sensor::shared().find("coverage").wait();
    let text = coverage.to_string();
    for action in ["fork", "exec", "exit", "exe_deleted", "exe_memfd"] {
        assert!(text.contains(action), "{action} in {coverage:#}");
    }
}

#[test]
fn two_sensors_tell_the_same() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let program = actor_at(folder.at("prog"));
    let sensors = [Sensor::start(words![]), Sensor::start(words![])];
    done(&program, words!["unlink", &program]);
    let told = sensors.each_ref().map(|sensor| {
        let exec = sensor.find("exec").exe(&program).wait();
        let alert = sensor.find("exe_deleted").file(&program).wait();
        (exec.str("process.entity_id").to_owned(), alert.num("event.severity"))
    });
    assert_eq!(told[0], told[1]);
    for sensor in sensors {
        sensor.stop().clean();
    }
}

#[test]
fn who_stops_reading_what_it_says_changes_nothing() {
    if skip() {
        return;
    }
    let mut run = command();
    run.arg("run").args(hooks()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut run = run.spawn().unwrap();
    let said = BufReader::new(run.stderr.take().unwrap());
    assert!(said.lines().any(|line| line.unwrap() == "sensor: ready"));
    // The reader is gone: what it says at the end finds nobody.
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0));
}
