//! Floods: what matters is told in the middle of them, and what isn't told is counted. Each test has the machine for itself.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that can't go on fails the test, there is nobody else to tell"
)]

mod lost;

use lost::Lost;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::find::Source;
use tests::lock::alone;
use tests::program::{actor, actor_at, copy, join, nest, net, storm, threads, tiny, trick};
use tests::skip::{kernel, skip};
use tests::{End, Folder, Running, Sensor, Unshown, emulated, words};

/// Rings so small that a flood overflows them at once.
const SMALL: &str = "[kernel]\nbulk_ring_bytes = 65536\nurgent_ring_bytes = 65536\n";

/// Lines that are few in a flood.
fn rare(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    ["exe_deleted", "loss", "coverage"]
        .iter()
        .any(|action| line.contains(&format!("\"action\":\"{action}\"")))
}

/// Lines of connections, and those that are rare.
fn of_streams(line: &[u8]) -> bool {
    let connect = b"\"action\":\"socket_connect\"";
    rare(line) || line.windows(connect.len()).any(|window| window == connect)
}

/// What the `loss` events told of an action for a reason.
fn told(end: &End, action: &str, reason: Option<&str>) -> u64 {
    let losses = end.find("loss").all();
    let rows = losses.iter().flat_map(|loss| loss.list("sensor.lost"));
    let of = |row: &&serde_json::Value| {
        row["action"] == action && reason.is_none_or(|reason| row["reason"] == reason)
    };
    rows.filter(of).filter_map(|row| row["count"].as_u64()).sum()
}

/// Checks that the account adds up: for each action, seen is delivered and lost, what was delivered stands in the stream,
/// and what was lost was told.
fn adds_up(end: &End) -> BTreeMap<String, (u64, u64)> {
    let (account, counts) = (end.account(), end.counts());
    assert!(account.len() >= 8, "{:#?}", end.stderr);
    for (action, of) in &account {
        assert_eq!(of.seen, of.delivered + of.lost, "{action}: {:#?}", end.stderr);
        assert_eq!(of.delivered, counts.get(action).copied().unwrap_or(0), "{action}: in the stream");
        assert_eq!(of.lost, told(end, action, None), "{action}: lost and told");
    }
    account.into_iter().map(|(action, of)| (action, (of.seen, of.lost))).collect()
}

/// A file that runs, and the program that will take its name.
fn idle(path: &Path) -> (Running, fs::Metadata) {
    let victim = actor_at(path);
    let file = fs::metadata(&victim).unwrap();
    (Running::idle(&victim), file)
}

/// How severe it is that another took the name of an image that ran this long.
fn of_another(age: Duration) -> u64 {
    if age < Duration::from_secs(10) { 73 } else { 47 }
}

#[test]
fn all_floods_at_once() {
    if skip() {
        return;
    }
    let connections = kernel::sees_connections();
    let _alone = alone();
    let folder = Folder::new();
    let small = folder.at("tiny");
    copy(&tiny(), &small);
    let (victim, other) = (folder.at("victim"), actor_at(folder.at("other")));
    let sensor = Sensor::with().keep(rare).live();
    let before = Instant::now();
    let (mut running, file) = idle(&victim);
    let runs = Instant::now();
    let listen = words!["tcp", "a", "4", "bind", "a", "127.0.0.1", "0", "listen", "a", "port", "a"];
    let server = Running::of(net(), join([listen, words!["serve", "a", "3000", "wait"]]));
    let port = server.line().trim_start_matches("port ").to_owned();
    let mut floods = [
        Running::of(storm(), words!["fork", "6000"]),
        Running::of(storm(), words!["vfork", "6000"]),
        Running::of(storm(), words!["exec", "3000", &small]),
        Running::of(trick("memfds"), words!["500", &small]),
        Running::of(trick("renames"), words![folder.path(), "1", "30000"]),
        Running::of(net(), words!["many", &port, "3000", "0"]),
    ];
    // In the middle: half of the slowest has been seen.
    sensor.count("exec", 1500, Duration::from_secs(20));
    let least = runs.elapsed();
    let mut doer = Running::of(&other, words!["unlink", &victim]);
    assert!(doer.end().success());
    let most = before.elapsed();
    let by = (doer.pid(), other.as_path());
    let alert = sensor.find("exe_deleted").file(&victim).wait();
    let severity = alert.num("event.severity");
    assert!([least, most].map(of_another).contains(&severity), "{least:?} to {most:?}: {alert:#}");
    let lost =
        Lost { path: &victim, file: &file, method: "unlink", by, runners: vec![running.pid()], severity };
    for flood in &mut floods {
        assert!(flood.wait_for(Duration::from_secs(60)).success());
    }
    // Where each instruction is emulated the ring may have had no room for the doer's exec: then that is counted.
    let known = alert.has("process.executable") || !emulated();
    if known {
        lost.check(&alert);
    }
    assert_eq!(alert.num("process.pid"), u64::from(doer.pid()));
    assert_eq!((alert.str("sensor.method"), alert.truth("sensor.self")), ("unlink", false), "{alert:#}");
    assert_eq!(alert.list("sensor.runners")[0]["pid"], running.pid(), "{alert:#}");
    running.end();
    drop(server);
    let end = sensor.stop();
    end.clean();
    let account = adds_up(&end);
    assert!(known || account["exec"].1 > 0, "{account:?}");
    let streams = if connections { 3000 } else { 0 };
    for (action, least) in [
        ("fork", 15_500),
        ("exec", 3500),
        ("exit", 15_500),
        ("exe_memfd", 500),
        ("socket_connect", streams),
        ("socket_accept", streams),
    ] {
        assert!(account[action].0 >= least, "{action}: {account:?}");
    }
}

#[test]
fn nameless_images_by_the_hundred() {
    if skip() {
        return;
    }
    let _alone = alone();
    let folder = Folder::new();
    let small = folder.at("tiny");
    copy(&tiny(), &small);
    let sensor = Sensor::with().config(SMALL).live();
    sensor.signal(Signal::SIGSTOP);
    Running::of(trick("memfds"), words!["800", &small]).end();
    // Rings are full: this one can be in none of them.
    let image = nest(&format!("memfd hidden {}", actor().display()), words!["image", "say", "runs", "hang"]);
    let mut running = Running::of(actor(), image);
    running.until("runs");
    sensor.signal(Signal::SIGCONT);
    let alert = sensor.find("exe_memfd").pid(running.pid()).wait();
    assert_eq!(alert.str("sensor.exe.state"), "memfd");
    assert_eq!(alert.str("process.executable"), "memfd:hidden");
    assert_eq!(alert.texts("process.args"), ["image", "say", "runs", "hang"]);
    assert_eq!(alert.num("event.severity"), 73);
    assert_eq!(alert.str("sensor.method"), "sweep");
    running.end();
    sensor.fence();
    sensor.find("exe_memfd").pid(running.pid()).one();
    let end = sensor.stop();
    end.clean();
    let account = adds_up(&end);
    assert!(account["exec"].1 > 0, "{account:?}");
}

#[test]
fn what_was_executed_in_a_flood_and_loses_its_name_after_it() {
    if skip() {
        return;
    }
    let _alone = alone();
    let folder = Folder::new();
    let [known, victim, stranger] = ["known", "victim", "stranger"].map(|name| actor_at(folder.at(name)));
    let files = [&victim, &stranger].map(|path| fs::metadata(path).unwrap());
    let sensor = Sensor::with().config(SMALL).live();
    let last = |path: &Path| words!["say", "runs", "wait", "unlink", path, "say", "done", "wait"];
    // One that was seen before the flood and becomes another in it, and one that is born in it.
    let mut first = Running::of(
        &known,
        join([words!["say", "ready", "wait"], nest("exec", join([words![&victim], last(&victim)]))]),
    );
    first.until("ready");
    sensor.find("exec").pid(first.pid()).wait();
    sensor.signal(Signal::SIGSTOP);
    Running::of(storm(), words!["fork", "500"]).end();
    first.go();
    first.until("runs");
    let second = Running::of(&stranger, last(&stranger));
    second.until("runs");
    sensor.signal(Signal::SIGCONT);
    // That is known by a look after the loss was counted. Looks come each second, and one may be under way.
    sensor.find("loss").such("of an exec", |loss| loss.to_string().contains("\"exec\"")).wait();
    for _ in 0..4 {
        let _ = sensor.watch(Duration::from_secs(1), |_| false);
        sensor.fence();
    }
    for (mut running, path, file) in [(first, &victim, &files[0]), (second, &stranger, &files[1])] {
        sensor.find("exec").exe(path).none();
        running.go();
        running.until("done");
        let by = (running.pid(), path.as_path());
        let lost = Lost { path, file, method: "unlink", by, runners: vec![running.pid()], severity: 73 };
        lost.told(&sensor);
        running.end();
        let exit = sensor.find("exit").pid(running.pid()).wait();
        assert_eq!(exit.str("process.executable"), path.to_string_lossy());
    }
    let end = sensor.stop();
    end.clean();
    let account = adds_up(&end);
    assert!(account["exec"].1 >= 2, "{account:?}");
}

#[test]
fn who_did_it_ends_before_many_others() {
    if skip() {
        return;
    }
    let _alone = alone();
    let folder = Folder::new();
    let (victim, other) = (folder.at("victim"), actor_at(folder.at("other")));
    let sensor = Sensor::start(words![]);
    let (mut running, file) = idle(&victim);
    sensor.find("exec").exe(&victim).wait();
    sensor.signal(Signal::SIGSTOP);
    let mut doer = Running::of(&other, words!["unlink", &victim]);
    assert!(doer.end().success());
    Running::of(storm(), words!["fork", "3000"]).end();
    sensor.signal(Signal::SIGCONT);
    let by = (doer.pid(), other.as_path());
    Lost { path: &victim, file: &file, method: "unlink", by, runners: vec![running.pid()], severity: 73 }
        .told(&sensor);
    running.end();
    let end = sensor.stop();
    end.clean();
    adds_up(&end);
}

#[test]
fn who_did_it_began_behind_many_others() {
    if skip() {
        return;
    }
    let _alone = alone();
    let folder = Folder::new();
    let (victim, other, small) = (folder.at("victim"), actor_at(folder.at("other")), folder.at("tiny"));
    copy(&tiny(), &small);
    let sensor = Sensor::start(words![]);
    let before = Instant::now();
    let (mut running, file) = idle(&victim);
    let runs = Instant::now();
    sensor.find("exec").exe(&victim).wait();
    sensor.signal(Signal::SIGSTOP);
    // More than is taken at once of a ring, and less than has room in it: 500 times 12 KiB.
    Running::of(storm(), words!["exec", "500", &small, "x".repeat(12 * 1024)]).end();
    let least = runs.elapsed();
    let mut doer = Running::of(&other, words!["unlink", &victim]);
    assert!(doer.end().success());
    let most = before.elapsed();
    sensor.signal(Signal::SIGCONT);
    let by = (doer.pid(), other.as_path());
    // Where each instruction is emulated the flood takes longer than an image is young.
    let severity = sensor.find("exe_deleted").file(&victim).wait().num("event.severity");
    assert!([least, most].map(of_another).contains(&severity), "{least:?} to {most:?}: {severity}");
    Lost { path: &victim, file: &file, method: "unlink", by, runners: vec![running.pid()], severity }
        .told(&sensor);
    running.end();
    let end = sensor.stop();
    end.clean();
    let account = adds_up(&end);
    assert_eq!(account["exec"].1, 0, "{account:?}");
}

#[test]
fn a_rename_in_a_storm_of_renames() {
    if skip() {
        return;
    }
    let _alone = alone();
    let folder = Folder::new();
    let (victim, other) = (folder.at("victim"), actor_at(folder.at("other")));
    let sensor = Sensor::start(words![]);
    let (mut running, file) = idle(&victim);
    let mut flood = Running::of(trick("renames"), words![folder.path(), "2", "150000"]);
    sensor.find("exec").pid(flood.pid()).wait();
    let mut doer = Running::of(&other, words!["rename", &victim, folder.at("away")]);
    assert!(doer.end().success());
    let alert = sensor.find("exe_deleted").file(&victim).wait();
    assert!(flood.wait_for(Duration::from_secs(60)).success());
    running.end();
    let end = sensor.stop();
    end.clean();
    adds_up(&end);
    let by = (doer.pid(), other.as_path());
    let lost =
        Lost { path: &victim, file: &file, method: "rename", by, runners: vec![running.pid()], severity: 73 };
    // Who did it may be among the names for which the kernel's queue had no room; then that is told with a number.
    if alert.has("process.pid") || told(&end, "exe_deleted", Some("queue_full")) == 0 {
        lost.check(&alert);
    }
    end.find("exe_deleted").file(&victim).one();
}

#[test]
fn a_connection_that_waits_while_datagrams_come_and_go() {
    if skip() {
        return;
    }
    const COUNT: u64 = 70_000;
    let _alone = alone();
    // This is about what is remembered of a connection, not about how fast somebody reads of the others: all have room.
    let room = "[kernel]\nbulk_ring_bytes = 67108864\n";
    let sensor = Sensor::with().config(room).keep(of_streams).live();
    let mut running = Running::of(trick("fills"), words!["owners", COUNT.to_string()]);
    let said = running.until("done");
    let ports: Vec<u64> = said.iter().map(|line| line.trim_start_matches("port ").parse().unwrap()).collect();
    let find =
        || sensor.find("socket_connect").with("source.port", ports[1]).with("destination.port", ports[0]);
    let event = find().within(Duration::from_secs(30)).wait();
    assert_eq!(event.num("process.pid"), u64::from(running.pid()), "{event:#}");
    assert_eq!(event.str("event.outcome"), "success");
    running.end();
    // All sockets are closed when their processes have ended; of those that found no room it was counted.
    let told_of = sensor.count("socket_close", 65_536, Duration::from_secs(30));
    find().one();
    let end = sensor.stop();
    end.clean();
    let account = adds_up(&end);
    let (seen, _) = account["socket_close"];
    assert!(seen >= COUNT && account["socket_bind"].0 >= COUNT, "{told_of} closed, {account:?}");
    assert!(told(&end, "socket_close", Some("map_full")) >= COUNT - 65_536, "{:?}", end.find("loss").all());
}

#[test]
fn connects_under_way_without_room() {
    if skip() {
        return;
    }
    const COUNT: usize = 9000;
    let _alone = alone();
    let sensor = Sensor::start(words![]);
    // The room is for 8,192 (docs/limits.md), and nobody empties it.
    sensor.signal(Signal::SIGSTOP);
    let mut running = Running::of(trick("fills"), words!["connects", COUNT.to_string(), "255.255.255.255"]);
    let said = running.until("done");
    assert_eq!(said, ["errno 101"]);
    sensor.signal(Signal::SIGCONT);
    sensor.fence();
    running.end();
    sensor.fence();
    let told_of =
        |port| sensor.find("socket_connect").pid(running.pid()).with("destination.port", port).all();
    let datagrams = told_of(9);
    assert_eq!(datagrams.len(), COUNT);
    let unsure = datagrams.iter().filter(|event| event.str("event.outcome") == "unknown").count();
    assert!((1..=COUNT - 8000).contains(&unsure), "{unsure}");
    let stream = told_of(81).len() as u64;
    let end = sensor.stop();
    end.clean();
    adds_up(&end);
    assert_eq!(stream + told(&end, "socket_connect", Some("map_full")), 1);
}

#[test]
fn connections_that_nobody_takes_without_room() {
    if skip() {
        return;
    }
    const COUNT: usize = 17_000;
    let _alone = alone();
    let sensor = Sensor::start(words![]);
    let unshown = Unshown::watch(&sensor);
    let mut running = Running::of(trick("fills"), words!["untaken", COUNT.to_string()]);
    running.until("done");
    running.end();
    let pid = running.pid();
    sensor.count("socket_accept", COUNT as u64, Duration::from_secs(20));
    sensor.fence();
    let taken = sensor.find("socket_accept").pid(pid).all().len() as u64;
    let end = sensor.stop();
    end.clean();
    let account = adds_up(&end);
    let (seen, lost) = account["socket_accept"];
    let least = COUNT.saturating_sub(unshown.established()) as u64;
    assert!(seen >= least, "{account:?}");
    // All ends at once: what of it finds no room in the ring is counted.
    assert!((least..=COUNT as u64).contains(&(taken + lost)), "{taken} told: {:?}", end.find("loss").all());
}

#[test]
fn threads_that_come_and_go() {
    if skip() {
        return;
    }
    let _alone = alone();
    let folder = Folder::new();
    let victim = folder.at("victim");
    copy(&threads(), &victim);
    let file = fs::metadata(&victim).unwrap();
    let sensor = Sensor::start(words![]);
    let mut running = Running::of(&victim, words!["unlink", &victim, "wait"]);
    sensor.find("exec").exe(&victim).wait();
    Running::of(trick("fills"), words!["threads", "40000"]).end();
    running.go();
    let thread = running.line();
    let by = (running.pid(), victim.as_path());
    let alert =
        Lost { path: &victim, file: &file, method: "unlink", by, runners: vec![running.pid()], severity: 73 }
            .told(&sensor);
    assert_eq!(alert.text("process.thread.id"), Some(thread), "{alert:#}");
    running.end();
    sensor.stop().clean();
}

#[test]
fn processes_with_ended_threads_without_room() {
    if skip() {
        return;
    }
    let _alone = alone();
    let sensor = Sensor::with().keep(rare).live();
    let mut running = Running::of(trick("fills"), words!["ended", "9000"]);
    running.until("done");
    running.close();
    assert!(running.wait_for(Duration::from_secs(30)).success());
    let end = sensor.stop();
    end.clean();
    adds_up(&end);
    assert!(told(&end, "usage", Some("map_full")) > 0, "{:?}", end.find("loss").all());
}

/// Of a kernel that skips a program whose processor was taken from it hundreds would be missing.
#[test]
fn who_takes_the_processor_from_a_program_is_told() {
    if skip() {
        return;
    }
    let _alone = alone();
    let sensor = Sensor::with().live();
    let mut running = Running::of(trick("preempts"), words!["1500"]);
    let made = running.line();
    assert!(running.end().success(), "{made}");
    sensor.fence();
    let end = sensor.stop();
    end.clean();
    let account = adds_up(&end);
    for part in made.split(", ") {
        let (status, made) = part.split_once(": ").unwrap();
        let made: usize = made.parse().unwrap();
        let told = end.find("exit").with("process.exit_code", status).all().len();
        assert!(made >= 500 && told <= made && (made - told) * 100 <= made, "{told} of {made}: {account:?}");
    }
}
