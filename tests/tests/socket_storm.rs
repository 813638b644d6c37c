//! Many short connections: each that is made and taken is told, and none is lost.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::find::Source;
use tests::program::{self, join, net};
use tests::skip::{not_here, skip};
use tests::{DEADLINE, Event, Running, Sensor, Unshown, emulated, lock, patience, walk_falls, words};

/// A server with its port, and a client that connects so often, each time closes at once, and then pauses so long.
struct Pair {
    server: Running,
    port: String,
    client: Running,
}

/// So many pairs at once; all are done when it returns. Of two, interrupts find programs under way on each processor.
fn storm(pairs: usize, each: usize, pause: Duration) -> Vec<Pair> {
    let mut pairs = begin(pairs, each, pause);
    end(&mut pairs);
    pairs
}

/// Takes so many connections, and its port.
fn server(count: &str) -> (Running, String) {
    let listen = words!["tcp", "a", "4", "bind", "a", "127.0.0.1", "0", "listen", "a", "port", "a"];
    let server = Running::of(net(), join([listen, words!["serve", "a", count, "wait"]]));
    let port = server.line().trim_start_matches("port ").to_owned();
    (server, port)
}

fn begin(pairs: usize, each: usize, pause: Duration) -> Vec<Pair> {
    let count = each.to_string();
    let pair = |_| {
        let (server, port) = server(&count);
        let client = Running::of(net(), words!["many", &port, &count, pause.as_micros().to_string()]);
        Pair { server, port, client }
    };
    (0..pairs).map(pair).collect()
}

fn end(pairs: &mut [Pair]) {
    for pair in pairs {
        pair.client.end();
        pair.server.end();
    }
}

/// So many of them have a deadline.
const STEP: usize = 250;

/// Waits until so many have come. An end comes in an interrupt, when the other end has said that it knows: no fence is
/// behind it.
fn come(sensor: &Sensor, unshown: &Unshown, (action, pid, port): (&str, u32, &str), count: usize) {
    let to_port = || sensor.find(action).with("destination.port", port.to_owned());
    let find = to_port().pid(pid);
    let counts = |event: &Event| match event.action() {
        "loss" => counted(std::slice::from_ref(event)),
        _ => usize::from(find.fits(event)),
    };
    // Nothing is late as long as more come: this program reads them more slowly than the sensor writes.
    for goal in (STEP..count).step_by(STEP).chain([count]) {
        let came = Cell::new(0);
        let enough = |event: &Event| {
            came.set(came.get() + counts(event));
            came.get() >= goal
        };
        if sensor.watch(patience(DEADLINE), enough).is_none() {
            break;
        }
    }
    let (told, hidden) = (find.all().len(), unshown.established() + unshown.closed());
    let least = count.saturating_sub(hidden + counted(&sensor.find("loss").all()));
    let losses = sensor.find("loss").all();
    // By whom, and how.
    let mut all = BTreeMap::new();
    for event in to_port().all() {
        *all.entry((event.text("process.pid"), event.text("sensor.method"))).or_insert(0) += 1;
    }
    assert!((least..=count).contains(&told), "{told} of {count} {action} of {pid}: {all:?} {losses:?}");
}

/// Whether programs are skipped here in spite of those that serve in their place: tasks take the processor from programs at
/// tracepoints since Linux 7.0, and where each instruction is emulated a program lasts long enough that two do so in turn
/// (docs/limits.md).
fn preempts() -> bool {
    emulated() && walk_falls()
}

/// Changes of states that are counted in place of events, where that may be.
fn counted(losses: &[Event]) -> usize {
    match preempts() {
        true => usize::try_from(losses.iter().map(lost_of_states).sum::<u64>()).unwrap_or(usize::MAX),
        false => 0,
    }
}

/// 100,000 connections a minute, more where the machine is quick, and fewer where it is too slow for its clients.
#[test]
fn no_connection_is_lost() {
    if skip() {
        return;
    }
    const EACH: usize = 2500;
    let lock = lock::alone();
    let sensor = Sensor::start(vec![]);
    let began = Instant::now();
    let unshown = Unshown::watch(&sensor);
    let pairs = storm(2, EACH, Duration::from_micros(500));
    if began.elapsed() > Duration::from_secs(3 * EACH as u64 / 2500) {
        eprintln!("only {} connections in {:?}", 2 * EACH, began.elapsed());
    }
    for Pair { server, port, client } in &pairs {
        for (action, pid) in [
            ("socket_connect", client.pid()),
            ("socket_accept", server.pid()),
            ("socket_close", server.pid()),
            ("socket_close", client.pid()),
        ] {
            come(&sensor, &unshown, (action, pid, port), EACH);
        }
    }
    let end = sensor.stop();
    let account = end.account();
    for action in ["socket_connect", "socket_accept", "socket_close"] {
        let of = &account[action];
        let lost = if preempts() { of.lost } else { 0 };
        assert_eq!((of.seen, of.lost), (of.delivered + lost, lost), "{action}");
    }
    // What one program is skipped for, another tells.
    let skipped = end.find("loss").such("skipped", |event| event.to_string().contains("skipped")).all();
    let of_states: u64 = skipped.iter().map(lost_of_states).sum();
    assert_eq!(of_states as usize, counted(&skipped), "{skipped:?}");
    drop(lock);
}

/// As fast as one client goes.
#[test]
fn no_connection_of_a_storm_is_lost() {
    if skip() {
        return;
    }
    const EACH: usize = 5000;
    let lock = lock::alone();
    let sensor = Sensor::start(vec![]);
    let unshown = Unshown::watch(&sensor);
    let pairs = storm(1, EACH, Duration::ZERO);
    for Pair { server, port, client } in &pairs {
        come(&sensor, &unshown, ("socket_connect", client.pid(), port), EACH);
        come(&sensor, &unshown, ("socket_accept", server.pid(), port), EACH);
        come(&sensor, &unshown, ("socket_close", server.pid(), port), EACH);
    }
    let account = sensor.stop().account();
    for action in ["socket_connect", "socket_accept", "socket_close"] {
        let of = &account[action];
        let lost = if preempts() { of.lost } else { 0 };
        assert_eq!((of.seen, of.lost), (of.delivered + lost, lost), "{action}");
    }
    drop(lock);
}

/// Whether a line tells of something else than a socket; what it tells of stands near its beginning.
fn of_no_socket(line: &[u8]) -> bool {
    let begin = line.get(..256).unwrap_or(line);
    !String::from_utf8_lossy(begin).contains(r#""action":"socket_"#)
}

/// More sockets end than have room until the next reading is due: there is one before, and what they moved is their
/// processes'.
#[test]
fn what_a_long_storm_moved_is_its_processes() {
    if skip() {
        return;
    }
    // A server each, as a client has some 28,000 ports to one.
    const EACH: u64 = 20_000;
    const SERVERS: u64 = 3;
    let lock = lock::alone();
    // This is about the bytes, not about how fast somebody reads the events: all of those have room.
    let room = "[kernel]\nbulk_ring_bytes = 67108864\n";
    let sensor = Sensor::with().config(room).keep(of_no_socket).live();
    let count = EACH.to_string();
    let mut servers: Vec<_> = (0..SERVERS).map(|_| server(&count)).collect();
    let connects = servers.iter().map(|(_, port)| words!["many", port, &count, "0"]);
    let mut client = Running::of(net(), connects.flatten().collect());
    client.close();
    assert!(client.wait_for(4 * patience(DEADLINE)).success());
    for (server, _) in &mut servers {
        server.end();
    }
    sensor.fence();
    let end = sensor.stop();
    let of_usage = |event: &Event| event.list("sensor.lost").iter().any(|row| row["reason"] == "table_full");
    let lost = end.find("loss").such("no room for what moved", of_usage).all();
    assert!(lost.is_empty(), "{lost:?}");
    // At least three packets each: of most, as this machine may hide some of what interrupts bring.
    let exit = end.find("exit").pid(client.pid()).one();
    let late = |event: &Event| event.num("event.sequence") > exit.num("event.sequence");
    let late = end.find("usage").pid(client.pid()).such("of what came after its end", late).all();
    let packets =
        |event: &Event| event.get("sensor.usage.net.tx_packets").and_then(Value::as_u64).unwrap_or(0);
    let sent = packets(&exit) + late.iter().map(packets).sum::<u64>();
    let least = 3 * EACH * SERVERS;
    assert!(sent >= least * 9 / 10, "{sent} packets of {least}");
    drop(lock);
}

/// As fast as two go, while the output is read slowly: what doesn't fit has a number.
#[test]
fn of_a_storm_every_connection_is_told_or_counted() {
    if skip() {
        return;
    }
    const EACH: u64 = 5000;
    let lock = lock::alone();
    let sensor = Sensor::start(vec![]);
    let unshown = Unshown::watch(&sensor);
    let _: Vec<Pair> = storm(2, EACH as usize, Duration::ZERO);
    // The last end comes when the other side has said that it knows.
    let until = Instant::now() + patience(DEADLINE);
    let told = || sensor.seen().counts().get("socket_close").copied().unwrap_or(0);
    while told() + (unshown.closed() as u64) < 4 * EACH + 2 && Instant::now() < until {
        let _: Option<Event> = sensor.watch(Duration::from_millis(200), |_| false);
    }
    let end = sensor.stop();
    let account = end.account();
    let unknown: u64 = end.find("loss").all().iter().map(lost_of_states).sum();
    let (established, closed) = (unshown.established(), unshown.closed());
    for (action, made, hidden) in [
        ("socket_connect", 2 * EACH, established),
        ("socket_accept", 2 * EACH, established),
        ("socket_close", 4 * EACH + 2, closed),
    ] {
        let of = &account[action];
        assert_eq!(of.seen, of.delivered + of.lost, "{action}");
        assert!(
            of.seen + unknown + (hidden as u64) >= made,
            "{action}: {} of {made}, {unknown} unknown, {hidden} hidden",
            of.seen
        );
        assert!(of.delivered <= made, "{action}: {} of {made}", of.delivered);
    }
    drop(lock);
}

/// A look at all open files holds each of them for a moment, and a socket that is closed meanwhile ends when the look
/// lets go of it.
#[test]
fn what_ends_while_it_is_looked_at_was_closed_by_its_process() {
    if skip() {
        return;
    }
    // More at once would fill a ring that is read late.
    const EACH: usize = 5_000;
    let lock = lock::alone();
    let sensor = Sensor::start(vec![]);
    let unshown = Unshown::watch(&sensor);
    let mut all = Vec::new();
    for _ in 0..2 {
        let mut pairs = begin(1, EACH, Duration::ZERO);
        for _ in 0..60 {
            // Without a bind its port is only known by a look.
            Running::of(net(), words!["tcp", "a", "4", "listen", "a", "close", "a"]).end();
        }
        end(&mut pairs);
        sensor.fence();
        all.extend(pairs);
    }
    for Pair { client, server, port } in &all {
        for pid in [client.pid(), server.pid()] {
            come(&sensor, &unshown, ("socket_close", pid, port), EACH);
        }
    }
    sensor.find("socket_close").pid(sensor.pid()).none();
    drop(lock);
}

/// Whatever is the reason that the programs couldn't tell it: here the ring is full.
#[test]
fn an_end_that_no_program_told_is_found() {
    if skip() || walk_falls() && not_here("this kernel isn't asked which sockets are gone (docs/limits.md)") {
        return;
    }
    let lock = lock::alone();
    let sensor = Sensor::with().config("[kernel]\nbulk_ring_bytes = 4096\n").live();
    let steps = [
        words!["tcp", "a", "4", "bind", "a", "127.0.0.1", "0", "listen", "a", "port", "a"],
        words!["tcp", "b", "4", "connect", "b", "127.0.0.1", "@a", "accept", "a", "c", "say", "up", "wait"],
        words!["close", "b", "close", "c", "say", "down", "wait"],
    ];
    let mut running = Running::of(net(), join(steps));
    let port: u16 = running.line().trim_start_matches("port ").parse().unwrap();
    running.until("up");
    let told = |action| sensor.find(action).pid(running.pid()).with("destination.port", port);
    told("socket_connect").wait();
    told("socket_accept").wait();
    sensor.signal(Signal::SIGSTOP);
    Running::of(program::storm(), words!["fork", "300"]).end();
    running.go();
    running.until("down");
    sensor.signal(Signal::SIGCONT);
    for direction in ["egress", "ingress"] {
        let end = sensor.find("socket_close").pid(running.pid()).with("network.direction", direction).wait();
        assert_eq!(end.str("sensor.method"), "sweep", "{end}");
        assert_eq!((end.num("destination.port"), end.has("source.bytes")), (u64::from(port), false), "{end}");
    }
    running.end();
    sensor.fence();
    let end = sensor.stop();
    let swept = |event: &Event| event.text("sensor.method").as_deref() == Some("sweep");
    assert_eq!(end.find("socket_close").such("by a look", swept).all().len(), 2);
    let of = &end.account()["socket_close"];
    assert_eq!(of.seen, of.delivered + of.lost);
    drop(lock);
}

/// Changes of states that no program told: it can't be known which event each would have been.
fn lost_of_states(event: &Event) -> u64 {
    let rows = event.list("sensor.lost").iter().filter(|row| row["action"] == "unknown");
    rows.filter_map(|row| row["count"].as_u64()).sum()
}

#[test]
fn a_flood_of_failures_is_told_or_counted() {
    if skip() {
        return;
    }
    const EACH: usize = 20_000;
    let lock = lock::alone();
    let sensor = Sensor::start(vec![]);
    let steps = join([
        words!["netns", "run", "ip route add unreachable 10.1.0.0/16"],
        words!["miss", "10.1.0.1", "81", EACH.to_string(), "say", "done", "wait"],
    ]);
    let mut running = Running::of(net(), steps);
    let pid = running.pid();
    assert_eq!(running.until("done"), Vec::<String>::new());
    sensor.fence();
    let told = sensor.find("socket_connect").pid(pid).with("destination.port", 81).all();
    running.end();
    assert!(told.iter().all(|event| event.str("event.outcome") == "failure"));
    assert!(told.iter().all(|event| event.str("error.code") == "EHOSTUNREACH"));
    let account = sensor.stop().account();
    let of = &account["socket_connect"];
    assert_eq!(of.seen, of.delivered + of.lost);
    assert_eq!(told.len() + usize::try_from(of.lost).unwrap(), EACH);
    drop(lock);
}
