//! `sensor watch`: what happens now, of one process or of some sorts, for a person.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::answer::run;
use tests::program::{actor, done};
use tests::sensor::command;
use tests::skip::skip;
use tests::{Event, Folder, Running, words};

#[test]
fn only_what_is_wanted_is_shown() {
    if skip() {
        return;
    }
    // It is there before, and its snapshot says that the watch is at work.
    let mut running = Running::of(actor(), words!["say", "up", "wait", "run", actor(), "pid"]);
    running.until("up");
    let pid = running.pid().to_string();
    let mut watch = command();
    watch.args(["watch", "--pid", &pid, "--action", "process_snapshot,exit"]).stdout(Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let mut shown = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || {
        let event = Event::parse(shown.next().unwrap().unwrap().as_bytes()).unwrap();
        (event.action().to_owned(), event.num("process.pid"))
    };
    assert_eq!(next(), ("process_snapshot".to_owned(), running.pid().into()));
    running.end();
    assert_eq!(next(), ("exit".to_owned(), running.pid().into()));
    kill(Pid::from_raw(watch.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(watch.wait().unwrap().success() && shown.next().is_none());
}

#[test]
fn what_the_configuration_masks_is_masked() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let config = folder.at("sensor.toml");
    std::fs::write(&config, "[redact]\npatterns = ['--pin=([0-9]+)']\n").unwrap();
    let mut running = Running::of(actor(), words!["say", "up", "wait", "ignore", "--pin=4711081547110815"]);
    running.until("up");
    let mut watch = command();
    watch.args(["watch", "--format", "json", "--action", "process_snapshot", "--pid"]);
    watch.arg(running.pid().to_string()).arg("--config").arg(&config).stdout(Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let mut shown = String::new();
    BufReader::new(watch.stdout.take().unwrap()).read_line(&mut shown).unwrap();
    assert!(shown.contains("--pin=***") && !shown.contains("4711081547110815"), "{shown}");
    kill(Pid::from_raw(watch.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(watch.wait().unwrap().success());
    running.end();
}

#[test]
fn whoever_has_seen_enough_goes() {
    if skip() {
        return;
    }
    let mut watch = command().args(["watch", "--format", "text"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(watch.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("coverage") || first.contains("process_snapshot"), "{first}");
    // It ends at the next event, since nobody reads any more.
    while watch.try_wait().unwrap().is_none() {
        done(&actor(), words!["pid"]);
    }
    assert!(watch.wait().unwrap().success());
    let wrong = run(command().args(["watch", "--action", "exek"]));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("there are"), "{wrong:?}");
}

#[test]
fn a_configuration_is_checked_without_being_used() {
    let folder = Folder::new();
    let check = |text: &str| {
        let file = folder.at("sensor.toml");
        std::fs::write(&file, text).unwrap();
        let output = run(command().args(["run", "--check", "--config"]).arg(file));
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) =
        check("[[outputs]]\nname = \"siem\"\ntype = \"file\"\npath = \"/var/log/sensor.json\"\n");
    assert!(code == Some(0) && said.contains("siem"), "{said}");
    let (code, said) = check("[kernel]\nbulk_ring_byte = 4096\n");
    assert!(code == Some(2) && said.contains("did you mean `bulk_ring_bytes`?"), "{said}");
    let token = "[[outputs]]\nname = \"x\"\ntype = \"hec\"\nurl = \"https://127.0.0.1:1\"\ntoken_file = \"/nowhere/token\"\n";
    let (code, said) = check(token);
    assert!(code == Some(2) && said.contains("/nowhere/token"), "{said}");
}
