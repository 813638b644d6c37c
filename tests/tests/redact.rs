//! Secrets in arguments are masked before anything is told, whoever tells it: by the sensor's own tables, and by an
//! operator's patterns.
#![expect(clippy::expect_used, reason = "a helper that can't go on fails the test")]

use std::process::Command;

use serde_json::Value;
use tests::find::Source;
use tests::program::{actor, join, nest};
use tests::skip::skip;
use tests::{Answer, Event, Folder, Running, Sensor, words};

/// Long, so that no time or number that is told has the same digits by chance.
const PIN: &str = "4711081547110815";
const SECRETS: [&str; 2] = ["--password=hunter2", "--pin=4711081547110815"];
/// A variable of its environment.
const BADGE: &str = "BADGE=KD-17";

/// A program with secrets among its arguments, that runs another one and waits.
fn telling() -> Running {
    let child = nest("run", words![actor(), "pid"]);
    let words = join([child, words!["say", "up", "wait", "ignore"], words![SECRETS[0], SECRETS[1]]]);
    let (name, value) = BADGE.split_once('=').expect("a variable");
    Running::start(Command::new(actor()).args(words).env(name, value))
}

/// What `inspect` shows of it, with this in the configuration.
fn inspected(pid: u32, redact: &str, args: &[&str], badge: &str) {
    let folder = Folder::new();
    let config = folder.at("sensor.toml");
    std::fs::write(&config, format!("[redact]\n{redact}\n")).expect("a configuration");
    let words = words!["inspect", pid.to_string(), "--format", "json", "--config", config];
    let answer = Answer::done(&words);
    assert_eq!(last_two(answer.rows[0].list("process.args")), args, "{redact}");
    assert!(answer.rows[0].texts("process.env_vars").contains(&badge), "{redact}: {:#}", answer.rows[0]);
}

fn last_two(args: &[Value]) -> &[Value] {
    &args[args.len() - 2..]
}

#[test]
fn secrets_are_masked_wherever_arguments_are_told() {
    if skip() {
        return;
    }
    // One is there before the sensor, and one comes after.
    let mut before = telling();
    before.until("up");
    let sensor = Sensor::with().config("[redact]\npatterns = ['--pin=([0-9]+)']\n").live();
    let mut after = telling();
    after.until("up");
    let masked = ["--password=***", "--pin=***"];
    inspected(after.pid(), "patterns = ['--pin=([0-9]+)', 'KD-[0-9]+']", &masked, "BADGE=***");
    inspected(after.pid(), "off = true", &SECRETS, BADGE);
    let shown = |event: &Event| last_two(event.list("process.args")).to_vec();
    assert_eq!(shown(&sensor.find("process_snapshot").pid(before.pid()).wait()), masked);
    assert_eq!(shown(&sensor.find("exec").pid(after.pid()).wait()), masked);
    let child = sensor.find("exec").with("process.parent.pid", after.pid()).wait();
    assert_eq!(last_two(child.list("process.parent.args")), masked);
    before.end();
    after.end();
    let end = sensor.stop();
    end.clean();
    let told = |event: &Event| ["hunter2", PIN].iter().any(|secret| event.to_string().contains(secret));
    assert!(!end.events().iter().any(told), "a secret is told");
}

#[test]
fn nothing_is_masked_where_that_is_asked_for() {
    if skip() {
        return;
    }
    let sensor = Sensor::with().config("[redact]\noff = true\n").live();
    let mut running = telling();
    running.until("up");
    assert_eq!(last_two(sensor.find("exec").pid(running.pid()).wait().list("process.args")), SECRETS);
    running.end();
    sensor.stop().clean();
}
