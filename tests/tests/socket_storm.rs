//! Many short connections: each that is made and taken is told, and none is lost.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that can't go on fails the test, there is nobody else to tell"
)]

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::find::Source;
use tests::program::{join, net};
use tests::skip::skip;
use tests::{DEADLINE, Event, Running, Sensor, lock, words};

/// How many of a `loss` event may have been sockets'.
fn lost_sockets(event: &Event) -> usize {
    let of_sockets = |row: &&Value| {
        row["action"].as_str().is_some_and(|action| action == "unknown" || action.starts_with("socket_"))
    };
    event
        .list("sensor.lost")
        .iter()
        .filter(of_sockets)
        .filter_map(|row| row["count"].as_u64())
        .map(|count| usize::try_from(count).unwrap())
        .sum()
}

#[test]
fn no_connection_of_a_storm_is_lost() {
    if skip() {
        return;
    }
    const EACH: usize = 5000;
    let lock = lock::alone();
    let sensor = Sensor::start(vec![]);
    let count = EACH.to_string();
    // Two at once, so that on each processor interrupts find programs under way.
    let mut pairs = [(); 2].map(|()| {
        let listen = words!["tcp", "a", "4", "bind", "a", "127.0.0.1", "0", "listen", "a", "port", "a"];
        let server = Running::of(net(), join([listen, words!["serve", "a", &count, "wait"]]));
        let port = server.line().trim_start_matches("port ").to_owned();
        let client = Running::of(net(), words!["many", &port, &count]);
        (server, port, client)
    });
    for (server, _, client) in &mut pairs {
        client.end();
        server.end();
    }
    // So many lines take their time where others work too.
    let _: u64 = sensor.count("socket_close", 4 * 5000, 4 * DEADLINE);
    sensor.fence();
    let told = |action, pid, port: &str| {
        sensor.find(action).pid(pid).with("destination.port", port.to_owned()).all().len()
    };
    let lost = || sensor.find("loss").all().iter().map(lost_sockets).sum::<usize>();
    let mut missing = 0;
    for (server, port, client) in &pairs {
        assert_eq!(told("socket_connect", client.pid(), port), EACH);
        assert_eq!(told("socket_accept", server.pid(), port), EACH);
        // An end comes in an interrupt, when the other end has said that it knows.
        let end = Instant::now() + DEADLINE;
        for pid in [server.pid(), client.pid()] {
            let closes = || told("socket_close", pid, port);
            while closes() + lost() < EACH && Instant::now() < end {
                let _: Option<Event> = sensor.watch(Duration::from_secs(1), |_| false);
            }
            missing += EACH - closes();
        }
    }
    assert!(missing <= lost(), "{missing} ends are missing, {} told as lost", lost());
    assert_eq!(lost(), 0, "what one program is skipped for, the other tells");
    let account = sensor.stop().account();
    for action in ["socket_connect", "socket_accept", "socket_close"] {
        let of = &account[action];
        assert_eq!((of.seen, of.lost), (of.delivered, 0), "{action}");
    }
    drop(lock);
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
