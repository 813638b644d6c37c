//! Connects of which no state tells: TCP that fails before it has one, and UDP; with source, outcome and reason.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that can't go on fails the test, there is nobody else to tell"
)]

use std::ffi::OsString;

use nix::errno::Errno;
use tests::find::Source;
use tests::place::Cgroup;
use tests::program::{join, nest, net};
use tests::skip::{because, skip};
use tests::{Event, Running, Sensor, words};

/// A network namespace in which some ways lead nowhere.
fn nowhere() -> Vec<OsString> {
    let routes = "ip route add unreachable 10.1.0.0/16; ip route add prohibit 10.2.0.0/16; \
                  ip route add blackhole 10.3.0.0/16; ip -6 route add unreachable fd01::/16; \
                  ip -6 route add prohibit fd02::/16; ip -6 route add blackhole fd03::/16";
    words!["netns", "run", routes]
}

/// The number behind a word in the next line.
fn number(running: &Running, word: &str) -> u32 {
    let line = running.line();
    line.strip_prefix(word).unwrap_or(&line).trim().parse().unwrap()
}

/// The event of the one connect of this process to this port.
fn connect(sensor: &Sensor, pid: u32, port: u32) -> Event {
    let find = sensor.find("socket_connect").pid(pid).with("destination.port", port);
    find.wait();
    find.one()
}

/// Checks that it failed for the reason that the program was given.
fn check_failed(event: &Event, errno: u32, ip: &str) {
    let errno = format!("{:?}", Errno::from_raw(i32::try_from(errno).unwrap()));
    assert_eq!(event.str("event.outcome"), "failure", "{event}");
    assert_eq!(event.str("error.code"), errno, "{event}");
    assert_eq!(event.str("destination.ip"), ip, "{event}");
    assert_eq!(event.str("network.direction"), "egress");
    assert_eq!(event.texts("event.type"), ["connection", "start"]);
    assert!(!event.has("source.ip"), "none was chosen: {event}");
}

const PLACES: [(&str, &str, u32); 8] = [
    ("4", "10.1.0.1", 113),
    ("4", "10.2.0.1", 13),
    ("4", "10.3.0.1", 22),
    ("4", "10.4.0.1", 101),
    ("6", "fd01::1", 113),
    ("6", "fd02::1", 13),
    ("6", "fd03::1", 22),
    ("6", "fd04::1", 101),
];

#[test]
fn every_way_that_leads_nowhere_has_its_reason() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    for (transport, close) in [("tcp", true), ("tcp", false), ("udp", true), ("udp", false)] {
        let mut steps = nowhere();
        for (port, (slot, (family, ip, _))) in (81..).zip("abcdefgh".chars().zip(PLACES)) {
            let slot = slot.to_string();
            steps.extend(words![transport, &slot, family, "connect", &slot, ip, port.to_string()]);
            if close {
                steps.extend(words!["close", &slot]);
            }
        }
        steps.extend(words!["say", "done", "wait"]);
        let mut running = Running::of(net(), steps);
        let pid = running.pid();
        for (port, (_, ip, errno)) in (81..).zip(PLACES) {
            assert_eq!(number(&running, "failed"), errno, "{transport} to {ip}");
            let event = connect(sensor, pid, port);
            check_failed(&event, errno, ip);
            assert_eq!(event.str("network.transport"), transport);
            assert_eq!(event.num("process.thread.id"), u64::from(pid));
        }
        running.until("done");
        running.end();
        sensor.fence();
        assert_eq!(sensor.find("socket_connect").pid(pid).all().len(), PLACES.len(), "each once");
    }
}

#[test]
fn one_socket_fails_and_then_succeeds() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let steps = join([
        nowhere(),
        words!["tcp", "a", "4", "bind", "a", "127.0.0.1", "0", "listen", "a", "port", "a", "tcp", "b", "4"],
        words!["nonblock", "b", "connect", "b", "10.2.0.1", "81", "connect", "b", "10.1.0.1", "82"],
        words!["connect", "b", "127.0.0.1", "@a", "say", "done", "wait"],
    ]);
    let mut running = Running::of(net(), steps);
    let (pid, server) = (running.pid(), number(&running, "port"));
    let failed = running.until("done");
    // 115: it is under way, and told when it is there.
    assert_eq!(failed, ["failed 13", "failed 113", "failed 115"]);
    let events = [connect(sensor, pid, 81), connect(sensor, pid, 82), connect(sensor, pid, server)];
    check_failed(&events[0], 13, "10.2.0.1");
    check_failed(&events[1], 113, "10.1.0.1");
    assert_eq!(events[2].str("event.outcome"), "success");
    for event in &events[..2] {
        assert_eq!(event.str("sensor.socket.cookie"), events[2].str("sensor.socket.cookie"));
    }
    running.end();
}

#[test]
fn threads_and_io_uring_fail_as_themselves() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let inner = words!["tcp", "a", "4", "connect", "a", "10.1.0.1", "81"];
    let steps = join([
        nowhere(),
        nest("thread", inner),
        words!["tcp", "b", "6", "ring-connect", "b", "fd02::1", "82", "udp", "c", "4"],
        words!["ring-connect", "c", "10.3.0.1", "83", "say", "done", "wait"],
    ]);
    let mut running = Running::of(net(), steps);
    let (pid, tid) = (running.pid(), number(&running, "tid"));
    running.until("done");
    let event = connect(sensor, pid, 81);
    check_failed(&event, 113, "10.1.0.1");
    assert_eq!(event.num("process.thread.id"), u64::from(tid));
    assert_ne!(pid, tid);
    check_failed(&connect(sensor, pid, 82), 13, "fd02::1");
    check_failed(&connect(sensor, pid, 83), 22, "10.3.0.1");
    running.end();
}

#[test]
fn rules_and_marks_decide_as_they_do_for_the_socket() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let rules = "ip route add unreachable 10.6.0.0/16 && ip rule add to 10.5.0.0/16 prohibit && \
                 ip rule add fwmark 7 to 10.6.0.0/16 prohibit && \
                 ip rule add uidrange 65534-65534 to 10.7.0.0/16 blackhole";
    let steps = join([
        words!["netns", "run", rules, "tcp", "a", "4", "connect", "a", "10.5.0.1", "81"],
        words!["tcp", "b", "4", "mark", "b", "7", "connect", "b", "10.6.0.1", "82"],
        words![
            "tcp", "c", "4", "connect", "c", "10.6.0.1", "83", "tcp", "d", "4", "connect", "d", "10.7.0.1",
            "84"
        ],
        words!["user", "65534", "tcp", "e", "4", "connect", "e", "10.7.0.1", "85", "say", "done", "wait"],
    ]);
    let mut running = Running::of(net(), steps);
    let pid = running.pid();
    let said = running.until("done");
    if said.iter().any(|line| line == "failed to run") && because("this kernel takes no such rules") {
        return;
    }
    assert_eq!(said, ["failed 13", "failed 13", "failed 113", "failed 101", "failed 22"]);
    check_failed(&connect(sensor, pid, 81), 13, "10.5.0.1");
    check_failed(&connect(sensor, pid, 82), 13, "10.6.0.1");
    check_failed(&connect(sensor, pid, 83), 113, "10.6.0.1");
    check_failed(&connect(sensor, pid, 84), 101, "10.7.0.1");
    check_failed(&connect(sensor, pid, 85), 22, "10.7.0.1");
    running.end();
}

#[test]
fn a_broadcast_address_is_no_place_for_a_connection() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let link = "ip link add v0 type veth peer name v1 && ip addr add 10.9.0.1/24 dev v0 && ip link set v0 up";
    let steps = words![
        "netns",
        "run",
        link,
        "tcp",
        "a",
        "4",
        "connect",
        "a",
        "10.9.0.255",
        "81",
        "udp",
        "b",
        "4",
        "connect",
        "b",
        "10.9.0.255",
        "82",
        "say",
        "done",
        "wait"
    ];
    let mut running = Running::of(net(), steps);
    let pid = running.pid();
    assert_eq!(running.until("done"), ["failed 101", "failed 13"]);
    check_failed(&connect(sensor, pid, 81), 101, "10.9.0.255");
    check_failed(&connect(sensor, pid, 82), 13, "10.9.0.255");
    running.end();
}

#[test]
fn what_another_program_of_a_cgroup_refuses_is_told_at_once() {
    if skip() {
        return;
    }
    let Some(group) = Cgroup::make(&format!("sensor-test-{}", std::process::id())) else {
        let _ = because("no cgroup of version 2 can be made");
        return;
    };
    let sensor = Sensor::shared();
    let steps = words![
        "refuse",
        group.path(),
        "tcp",
        "a",
        "4",
        "connect",
        "a",
        "127.0.0.1",
        "81",
        "udp",
        "b",
        "4",
        "connect",
        "b",
        "127.0.0.1",
        "82",
        "say",
        "done",
        "wait"
    ];
    let mut running = Running::of(net(), steps);
    let pid = running.pid();
    assert_eq!(running.until("done"), ["failed 1", "failed 1"]);
    for (port, transport) in [(81, "tcp"), (82, "udp")] {
        let event = connect(sensor, pid, port);
        check_failed(&event, 1, "127.0.0.1");
        assert_eq!(event.str("network.transport"), transport);
    }
    running.end();
}

#[test]
fn a_reason_that_cannot_be_known_is_none() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    // `EINVAL`, as nothing says on which link: no route is asked for, so nothing is known.
    let steps = words!["tcp", "a", "6", "connect", "a", "fe80::1", "81", "say", "done", "wait"];
    let mut running = Running::of(net(), steps);
    assert_eq!(running.until("done"), ["failed 22"]);
    let event = connect(sensor, running.pid(), 81);
    assert_eq!(event.str("event.outcome"), "failure");
    assert!(!event.has("error.code"), "{event}");
    running.end();
}

#[test]
fn udp_has_its_source_open_or_closed_at_once() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    for (family, ip) in [("4", "127.0.0.1"), ("6", "::1")] {
        for close in [true, false] {
            let steps = join([
                words!["udp", "a", family, "bind", "a", ip, "0", "port", "a", "udp", "b", family],
                words!["connect", "b", ip, "@a", "port", "b"],
                if close { words!["close", "b"] } else { words![] },
                words!["wait", "close", "b", "wait"],
            ]);
            let mut running = Running::of(net(), steps);
            let (pid, server, client) = (running.pid(), number(&running, "port"), number(&running, "port"));
            let event = connect(sensor, pid, server);
            assert_eq!(event.str("event.outcome"), "success", "{event}");
            assert_eq!((event.str("source.ip"), event.num("source.port")), (ip, u64::from(client)));
            assert_eq!(event.str("destination.ip"), ip);
            running.go();
            let ends = sensor.find("socket_close").pid(pid).with("source.port", client);
            let end = ends.wait();
            assert_eq!(end.str("sensor.socket.cookie"), event.str("sensor.socket.cookie"));
            assert!(event.num("event.sequence") < end.num("event.sequence"), "its end comes after it");
            running.end();
            sensor.fence();
            ends.one();
            sensor.find("socket_connect").pid(pid).one();
        }
    }
}
