//! Nothing is lost without a number, and an alert not at all.

use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tests::find::Source;
use tests::lock::alone;
use tests::program::{actor_at, copy, storm, tiny};
use tests::sensor::Account;
use tests::skip::skip;
use tests::{End, Event, Folder, Running, Sensor, words};

/// What the `loss` events told, by action.
fn told(end: &End) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for loss in end.find("loss").all() {
        for row in loss.list("sensor.lost") {
            for name in ["stage", "action", "reason"] {
                assert!(row[name].as_str().is_some_and(|text| !text.is_empty()), "{name} in {loss:#}");
            }
            let count = row["count"].as_u64().unwrap_or_default();
            assert!(count > 0, "a loss of nothing: {loss:#}");
            *sums.entry(row["action"].as_str().unwrap_or_default().to_owned()).or_default() += count;
        }
    }
    sums
}

/// Checks the account of every action against the stream.
fn balanced(end: &End) -> BTreeMap<String, Account> {
    let (account, counts, told) = (end.account(), end.counts(), told(end));
    for (action, Account { seen, delivered, lost }) in &account {
        assert_eq!(*seen, delivered + lost, "{action}: {:#?}", end.stderr);
    }
    for action in ["fork", "exec", "exit"] {
        let Account { delivered, lost, .. } = account[action];
        assert_eq!(Some(&delivered), counts.get(action), "{action}: delivered and in the stream");
        let told = told.get(action).copied().unwrap_or_default();
        assert_eq!(lost, told, "{action}: lost and told in `loss` events");
    }
    account
}

#[test]
fn a_flood_that_nobody_reads() {
    if skip() {
        return;
    }
    let _alone = alone();
    const EACH: u64 = 1500;
    let folder = Folder::new();
    let small = folder.at("tiny");
    copy(&tiny(), &small);
    let [victim, mover] = ["victim", "mover"].map(|name| actor_at(folder.at(name)));
    let sensor =
        Sensor::with().config("[kernel]\nbulk_ring_bytes = 65536\nurgent_ring_bytes = 65536\n").live();
    // The flood's program is known by now: its execs are bulk.
    Running::of(&small, words![]).end();
    sensor.find("exec").exe(&small).wait();

    sensor.signal(Signal::SIGSTOP);
    Running::of(storm(), words!["exec", EACH.to_string(), &small]).end();
    let mut running = Running::of(&victim, words!["unlink", &victim, "say", "done", "wait"]);
    running.until("done");
    let elsewhere = folder.at("elsewhere");
    let mut moved = Running::of(&mover, words!["rename", &mover, &elsewhere, "say", "done", "wait"]);
    moved.until("done");
    Running::of(storm(), words!["exec", EACH.to_string(), &small]).end();
    sensor.signal(Signal::SIGCONT);

    let alert = sensor.find("exe_deleted").file(&victim).wait();
    assert_eq!(alert.num("process.pid"), u64::from(running.pid()));
    // Of one whose exec was lost, the calls' own hooks don't know that it had another name.
    if sensor.is_served_by("fexit/vfs_rename") {
        let alert = sensor.find("exe_deleted").pid(moved.pid()).wait();
        assert_eq!(alert.str("sensor.method"), "rename");
        assert_eq!(alert.str("file.path"), elsewhere.to_string_lossy());
    }
    moved.end();
    let loss = sensor.find("loss").wait();
    assert!(loss.has("sensor.lost"));
    running.end();
    sensor.fence();
    let end = sensor.stop();
    end.clean();
    let account = balanced(&end);
    for action in ["fork", "exec", "exit"] {
        let Account { seen, lost, .. } = account[action];
        assert!(seen >= 2 * EACH, "{action}: only {seen} seen");
        assert!(lost > 0, "{action}: the flood was not large enough to lose any");
    }
}

#[test]
fn losses_are_told_within_a_second() {
    if skip() {
        return;
    }
    let _alone = alone();
    let sensor = Sensor::with().config("[kernel]\nbulk_ring_bytes = 4096\n").live();
    // A busy machine takes the sensor's time away, but not each time: the quickest of some tries counts.
    let (mut last, mut took) = (0, Vec::new());
    while took.last().is_none_or(|took| *took > Duration::from_millis(1500)) {
        assert!(took.len() < 10, "{took:?}");
        sensor.signal(Signal::SIGSTOP);
        Running::of(storm(), words!["fork", "300"]).end();
        sensor.signal(Signal::SIGCONT);
        let (began, before) = (Instant::now(), last);
        let of_this = move |event: &Event| {
            let mut rows = event.list("sensor.lost").iter();
            let all = rows.any(|row| row["action"] == "fork" && row["count"].as_u64() > Some(200));
            all && event.num("event.sequence") > before
        };
        last = sensor.find("loss").such("of this flood", of_this).wait().num("event.sequence");
        took.push(began.elapsed());
    }
    let end = sensor.stop();
    end.clean();
    balanced(&end);
}

#[test]
fn all_that_was_seen_is_written_before_the_end() {
    if skip() {
        return;
    }
    let _alone = alone();
    const COUNT: usize = 500;
    let folder = Folder::new();
    let small = folder.at("tiny");
    copy(&tiny(), &small);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let sensor = Sensor::start(words![]);
        let mut running = Running::of(storm(), words!["exec", COUNT.to_string(), &small]);
        running.end();
        sensor.signal(signal);
        let end = sensor.ended();
        end.clean();
        let parent = running.pid();
        for action in ["fork", "exec", "exit"] {
            let count = end.find(action).with("process.parent.pid", parent).all().len();
            assert_eq!(count, COUNT, "{action} after {signal}");
        }
        balanced(&end);
    }
}

#[test]
fn nothing_is_lost_without_a_flood() {
    if skip() {
        return;
    }
    let _alone = alone();
    let folder = Folder::new();
    let small = folder.at("tiny");
    copy(&tiny(), &small);
    let sensor = Sensor::start(words![]);
    let mut running = Running::of(storm(), words!["exec", "5000", &small]);
    running.end();
    let end = sensor.stop();
    end.clean();
    for (action, account) in balanced(&end) {
        assert_eq!(account.lost, 0, "{action}");
    }
    assert_eq!(end.find("exec").exe(&small).all().len(), 5000);
    assert_eq!(end.find("exit").exe(&small).all().len(), 5000);
}

#[test]
fn the_account_speaks_of_actions() {
    if skip() {
        return;
    }
    let _alone = alone();
    let folder = Folder::new();
    let victim = actor_at(folder.at("victim"));
    let sensor = Sensor::start(words![]);
    tests::program::done(&victim, words!["unlink", &victim]);
    sensor.find("exe_deleted").file(&victim).wait();
    let end = sensor.stop();
    let (account, counts) = (end.account(), end.counts());
    for action in account.keys() {
        let known = [
            "fork",
            "exec",
            "exit",
            "exe_deleted",
            "exe_memfd",
            "process_snapshot",
            "coverage",
            "loss",
            "usage",
            "socket_bind",
            "socket_listen",
            "socket_connect",
            "socket_accept",
            "socket_close",
        ];
        assert!(known.contains(&action.as_str()), "{action} is no event.action: {:#?}", end.stderr);
    }
    assert_eq!(Some(&account["exe_deleted"].delivered), counts.get("exe_deleted"));
}
