//! The table of processes: no gap at the start, the same identities in every run, flat memory, parents that are gone.

use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::time::Duration;
use tests::find::Source;
use tests::lock::alone;
use tests::program::{actor, actor_at, join, nest, storm};
use tests::skip::skip;
use tests::{Folder, Running, Sensor, emulated, words};

#[test]
fn no_gap_between_snapshot_and_stream() {
    if skip() {
        return;
    }
    let _alone = alone();
    let mut births = Running::of(storm(), words!["births"]);
    let early: u32 = births.line().parse().unwrap();
    let sensor = Sensor::start(words![]);
    births.go();
    let mut pids: BTreeSet<u32> = births.until("stopped").iter().map(|line| line.parse().unwrap()).collect();
    pids.insert(early);
    sensor.fence();
    let of = |action| -> BTreeSet<u32> {
        let events = sensor.find(action).with("process.parent.pid", births.pid()).all();
        let pids: BTreeSet<_> =
            events.iter().map(|event| u32::try_from(event.num("process.pid")).unwrap()).collect();
        assert_eq!(pids.len(), events.len(), "{action}: each once");
        pids
    };
    let (snapshots, forks) = (of("process_snapshot"), of("fork"));
    let missing: Vec<_> =
        pids.iter().filter(|pid| !snapshots.contains(pid) && !forks.contains(pid)).collect();
    assert!(missing.is_empty(), "of {} neither in the snapshot nor born: {missing:?}", pids.len());
    let twice: Vec<_> = pids.iter().filter(|pid| snapshots.contains(pid) && forks.contains(pid)).collect();
    assert!(twice.is_empty(), "in the snapshot and born: {twice:?}");
    assert!(snapshots.contains(&early) && !forks.is_empty());
    births.end();
    sensor.stop().clean();
}

#[test]
fn the_stream_begins_with_coverage_and_snapshot() {
    if skip() {
        return;
    }
    let _alone = alone();
    let folder = Folder::new();
    let program = actor_at(folder.at("prog"));
    let mut running = Running::of(&program, words!["ignore", "a b", "say", "here", "wait"]);
    running.until("here");
    let sensor = Sensor::start(words![]);
    sensor.fence();
    let snapshot = sensor.find("process_snapshot").pid(running.pid()).one();
    assert_eq!(snapshot.str("process.executable"), program.to_string_lossy());
    assert_eq!(
        snapshot.texts("process.args"),
        [&*program.to_string_lossy(), "ignore", "a b", "say", "here", "wait"]
    );
    assert_eq!(snapshot.str("process.user.id"), "0");
    assert_eq!(snapshot.num("process.parent.pid"), u64::from(std::process::id()));
    assert_eq!(snapshot.str("sensor.exe.state"), "present");
    assert!(snapshot.has("process.parent.executable") && snapshot.has("process.working_directory"));
    running.end();
    let pid = running.pid();
    let exit = sensor.find("exit").pid(pid).wait();
    assert_eq!(exit.str("process.entity_id"), snapshot.str("process.entity_id"));
    assert_eq!(exit.str("process.start"), snapshot.str("process.start"));
    assert_eq!(exit.str("process.executable"), program.to_string_lossy());

    let end = sensor.stop();
    end.clean();
    let events = end.events();
    assert_eq!(events[0].action(), "coverage");
    let last = events.iter().rposition(|event| event.action() == "process_snapshot").unwrap();
    let between: BTreeSet<&str> = events[1..=last].iter().map(tests::Event::action).collect();
    assert_eq!(between.into_iter().collect::<Vec<_>>(), ["process_snapshot"]);
}

#[test]
fn identities_outlive_the_sensor() {
    if skip() {
        return;
    }
    let _alone = alone();
    let first = Sensor::start(words![]);
    let mut running = Running::of(actor(), words!["wait"]);
    let fork = first.find("fork").pid(running.pid()).wait();
    let old = first.find("process_snapshot").pid(std::process::id()).wait();
    first.stop().clean();
    let second = Sensor::start(words![]);
    let again = second.find("process_snapshot").pid(running.pid()).wait();
    assert_eq!(again.str("process.entity_id"), fork.str("process.entity_id"));
    let new = second.find("process_snapshot").pid(std::process::id()).wait();
    assert_eq!(new.str("process.entity_id"), old.str("process.entity_id"));
    running.end();
    let exit = second.find("exit").pid(running.pid()).wait();
    assert_eq!(exit.str("process.entity_id"), fork.str("process.entity_id"));
    second.stop().clean();
}

/// Lines that a flood of processes doesn't multiply; a loss names the actions that it counts.
fn rare(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let is = |action| line.contains(&format!("\"action\":\"{action}\""));
    is("loss") || !(is("fork") || is("exit"))
}

#[test]
fn memory_stays_flat() {
    if skip() {
        return;
    }
    let _alone = alone();
    let sensor = Sensor::with().keep(rare).live();
    let many: u64 = if emulated() { 25_000 } else { 100_000 };
    let mut sum = 0;
    let mut flood = || {
        let mut running = Running::of(storm(), words!["vfork", many.to_string()]);
        running.close();
        assert!(running.wait_for(Duration::from_secs(120)).success());
        sum += many;
        sensor.settled(sum);
        sensor.resident()
    };
    // What is bounded fills in steps, whenever the sensor is furthest behind; what isn't, with each process, if by
    // three bytes only.
    let mut after = vec![flood(), flood()];
    while after[after.len() - 1].saturating_sub(after[after.len() - 2]) > 256 {
        assert!(
            after.len() < 6,
            "KiB resident after {many} processes, and after as many again each: {after:?}"
        );
        after.push(flood());
    }
    assert!(after[after.len() - 1] < 60 * 1024, "KiB resident: {after:?}");
    let end = sensor.stop();
    assert!(end.status.success(), "{:#?}", end.stderr);
}

#[test]
fn a_parent_that_is_gone_is_known() {
    if skip() {
        return;
    }
    let _alone = alone();
    let folder = Folder::new();
    let [parent, child] = ["parent", "child"].map(|name| actor_at(folder.at(name)));
    let sensor = Sensor::start(words![]);
    // Both have ended before the sensor can look at them.
    sensor.signal(Signal::SIGSTOP);
    let mut running = Running::of(&parent, join([nest("run", words![&child, "ignore", "x"])]));
    running.end();
    sensor.signal(Signal::SIGCONT);
    let event = sensor.find("exec").exe(&child).wait();
    assert_eq!(event.num("process.parent.pid"), u64::from(running.pid()));
    assert_eq!(event.str("process.parent.executable"), parent.to_string_lossy());
    assert_eq!(event.texts("process.parent.args")[0], parent.to_string_lossy());
    let parents = sensor.find("exec").exe(&parent).wait();
    assert_eq!(event.str("process.parent.entity_id"), parents.str("process.entity_id"));
    let exit = sensor.find("exit").exe(&child).wait();
    assert_eq!(exit.str("process.parent.executable"), parent.to_string_lossy());
    sensor.stop().clean();
}
