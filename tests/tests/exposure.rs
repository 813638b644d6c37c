//! `sensor.reach` and `sensor.reachable_by`: by which of the live addresses a socket can be reached, and when that changes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that can't go on fails the test, there is nobody else to tell"
)]

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::find::Source;
use tests::program::{join, nest, net, output, steps};
use tests::skip::skip;
use tests::{DEADLINE, Event, Folder, Running, Sensor, lock, sensor, words};

/// Runs `ip`, in the network namespace of a process or in the thread's own.
fn ip(pid: Option<u32>, line: &str) {
    let mut command = match pid {
        None => Command::new("ip"),
        Some(pid) => {
            let mut command = Command::new("nsenter");
            command.args(["-t", &pid.to_string(), "-n", "ip"]);
            command
        }
    };
    let done = output(command.args(line.split(' ')), DEADLINE);
    assert!(done.status.success(), "ip {line}");
}

/// A network namespace of this thread's own, with nothing but a loopback that is up.
fn alone_with_loopback() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ip(None, "link set lo up");
}

/// A cable whose ends are `v0` and `v1`, both down. Without addresses of IPv6 that the kernel chooses.
fn cable(pid: Option<u32>) {
    for line in
        ["link add v0 type veth peer name v1", "link set v0 addrgenmode none", "link set v1 addrgenmode none"]
    {
        ip(pid, line);
    }
}

fn number(running: &Running) -> u32 {
    let line = running.line();
    line.strip_prefix("port ").unwrap_or_else(|| panic!("{line:?}")).parse().unwrap()
}

/// The socket of a process on a port, as it is told at first.
fn first(sensor: &Sensor, action: &str, running: &Running, port: u32) -> Event {
    let event = sensor.find(action).pid(running.pid()).with("server.port", port).wait();
    assert!(!event.has("sensor.method"), "{event}");
    event
}

fn check(event: &Event, reach: &str, by: &[&str]) {
    assert_eq!(event.str("sensor.reach"), reach, "{event}");
    assert_eq!(event.texts("sensor.reachable_by"), by, "{event}");
}

/// Waits until a socket is told anew as reached by these addresses.
fn change(sensor: &Sensor, of: &Event, reach: &'static str, by: &[&str]) -> Event {
    let event = sensor
        .find(of.action())
        .with("sensor.socket.cookie", of.str("sensor.socket.cookie"))
        .with("sensor.method", "address_change")
        .such("reached by these", |event| {
            event.num("event.sequence") > of.num("event.sequence")
                && event.str("sensor.reach") == reach
                && event.texts("sensor.reachable_by") == by
        })
        .wait();
    for same in ["process.entity_id", "server.ip", "server.port", "sensor.exposure", "sensor.socket.netns"] {
        assert_eq!(event.text(same), of.text(same), "{same}: {event}");
    }
    assert!(!event.has("sensor.socket.preexisting"), "{event}");
    event
}

/// All that was told of a socket because addresses changed.
fn changes(sensor: &Sensor, of: &Event) -> Vec<Event> {
    let cookie = of.str("sensor.socket.cookie");
    let found = sensor.find(of.action()).with("sensor.socket.cookie", cookie);
    found.with("sensor.method", "address_change").all()
}

/// Nanoseconds of the hour.
fn time(event: &Event) -> u64 {
    let text = event.str("@timestamp");
    let part = |from: usize, len: usize| text[from..from + len].parse::<u64>().unwrap();
    (part(14, 2) * 60 + part(17, 2)) * 1_000_000_000 + part(20, 9)
}

#[test]
fn what_is_bound_to_an_interface_is_reached_by_its_addresses() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    alone_with_loopback();
    cable(None);
    for line in
        ["addr add 10.1.2.3/24 dev v0", "link set v0 up", "addr add 203.0.113.5/24 dev v1", "link set v1 up"]
    {
        ip(None, line);
    }
    let sensor = Sensor::start(Vec::new());
    let steps = steps(
        "tcp a 4 device a v0 listen a port a tcp b 6 device b lo listen b port b \
         udp c 4 device c v1 bind c 0.0.0.0 0 port c tcp d 4 listen d port d wait",
    );
    let mut running = Running::of(net(), steps);
    let told = |action: &str| {
        let port = number(&running);
        first(&sensor, action, &running, port)
    };
    check(&told("socket_listen"), "private", &["10.1.2.3"]);
    check(&told("socket_listen"), "loopback", &["127.0.0.1", "::1"]);
    let datagrams = told("socket_bind");
    check(&datagrams, "public", &["203.0.113.5"]);
    check(&told("socket_listen"), "public", &["203.0.113.5", "10.1.2.3", "127.0.0.1"]);
    ip(None, "addr add 203.0.113.6/24 dev v1");
    change(&sensor, &datagrams, "public", &["203.0.113.5", "203.0.113.6"]);
    running.end();
    sensor.stop().clean();
}

#[test]
fn each_kind_of_socket_where_the_sensor_lives() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    alone_with_loopback();
    cable(None);
    let sensor = Sensor::start(Vec::new());
    let mut steps = Vec::new();
    for (slot, family, address, option) in [
        ("a", "4", "0.0.0.0", None),
        ("b", "4", "203.0.113.5", Some("freebind")),
        ("c", "6", "::", Some("v6only")),
        ("d", "6", "::", None),
        ("e", "4", "127.0.0.53", None),
    ] {
        steps.extend(words!["tcp", slot, family]);
        steps.extend(option.into_iter().flat_map(|option| words![option, slot]));
        steps.extend(words!["bind", slot, address, "0", "listen", slot, "port", slot]);
    }
    steps.extend(words!["udp", "f", "4", "bind", "f", "0.0.0.0", "0", "port", "f"]);
    steps.extend(words!["udp", "g", "4", "bind", "g", "224.0.0.251", "0", "port", "g", "wait"]);
    let mut running = Running::of(net(), steps);
    let ports: Vec<u32> = (0..7).map(|_| number(&running)).collect();
    let [any, missing, six, dual, resolver] =
        [0, 1, 2, 3, 4].map(|at| first(&sensor, "socket_listen", &running, ports[at]));
    let [datagrams, group] = [5, 6].map(|at| first(&sensor, "socket_bind", &running, ports[at]));
    check(&any, "loopback", &["127.0.0.1"]);
    check(&missing, "none", &[]);
    check(&six, "loopback", &["::1"]);
    check(&dual, "loopback", &["127.0.0.1", "::1"]);
    check(&resolver, "loopback", &["127.0.0.53"]);
    check(&datagrams, "loopback", &["127.0.0.1"]);
    assert_eq!((any.str("sensor.exposure"), missing.str("sensor.exposure")), ("wildcard", "public"));
    assert!(!group.has("sensor.reach") && !group.has("sensor.reachable_by"), "{group}");
    // What is bound for a listener tells it too.
    check(&first(&sensor, "socket_bind", &running, ports[1]), "none", &[]);

    // An address on an interface that is down leads nowhere.
    ip(None, "addr add 203.0.113.5/24 dev v0");
    ip(None, "addr add 10.7.0.1/24 dev lo");
    let any_private = change(&sensor, &any, "private", &["10.7.0.1", "127.0.0.1"]);
    let dual_private = change(&sensor, &dual, "private", &["10.7.0.1", "127.0.0.1", "::1"]);
    change(&sensor, &datagrams, "private", &["10.7.0.1", "127.0.0.1"]);
    assert!(changes(&sensor, &missing).is_empty(), "its interface is down");
    ip(None, "link set v0 up");
    let found = change(&sensor, &missing, "public", &["203.0.113.5"]);
    change(&sensor, &any_private, "public", &["203.0.113.5", "10.7.0.1", "127.0.0.1"]);
    // Of IPv6 alone; what listens to IPv4 only isn't told.
    let v4 = changes(&sensor, &any).len();
    ip(None, "addr add 2001:db8::7/64 dev v0 nodad");
    change(&sensor, &six, "public", &["2001:db8::7", "::1"]);
    change(&sensor, &dual_private, "public", &["203.0.113.5", "2001:db8::7", "10.7.0.1", "127.0.0.1", "::1"]);
    assert_eq!(changes(&sensor, &any).len(), v4, "{:?}", changes(&sensor, &any));
    ip(None, "link set v0 down");
    change(&sensor, &found, "none", &[]);
    assert!(changes(&sensor, &resolver).is_empty(), "its address was there all the time");
    running.end();
    sensor.find("socket_listen").pid(running.pid()).with("server.port", ports[0]).wait();
    sensor.stop().clean();
}

#[test]
fn addresses_in_another_namespace() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let steps = steps("netns tcp a 4 listen a port a udp b 6 bind b :: 0 port b wait");
    let mut running = Running::of(net(), steps);
    let (tcp, udp) = (number(&running), number(&running));
    let pid = running.pid();
    let listen = first(sensor, "socket_listen", &running, tcp);
    let bind = first(sensor, "socket_bind", &running, udp);
    check(&listen, "loopback", &["127.0.0.1"]);
    check(&bind, "loopback", &["127.0.0.1", "::1"]);
    cable(Some(pid));
    ip(Some(pid), "link set v0 up");
    ip(Some(pid), "addr add 192.168.7.1/24 dev v0");
    let private = change(sensor, &listen, "private", &["192.168.7.1", "127.0.0.1"]);
    change(sensor, &bind, "private", &["192.168.7.1", "127.0.0.1", "::1"]);
    ip(Some(pid), "addr add 198.51.100.9/24 dev v0");
    let public = change(sensor, &private, "public", &["198.51.100.9", "192.168.7.1", "127.0.0.1"]);
    ip(Some(pid), "addr flush dev v0");
    change(sensor, &public, "loopback", &["127.0.0.1"]);
    running.end();
}

#[test]
fn a_namespace_where_its_owner_does_not_live() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let child = nest("fork", words!["netns", "listen", "a", "port", "a", "wait"]);
    let parent = words!["tcp", "b", "4", "listen", "b", "port", "b", "wait"];
    let mut running = Running::of(net(), join([words!["netns", "tcp", "a", "4"], child, parent]));
    let child: u32 = running.line().trim_start_matches("pid ").parse().unwrap();
    let port = number(&running);
    let event = sensor.find("socket_listen").pid(child).with("server.port", port).wait();
    assert!(!event.has("sensor.reach"), "who called lives elsewhere: {event}");
    running.go();
    // Somebody who lives there: now the addresses can be asked for, and the first is told too.
    let other = number(&running);
    check(&first(sensor, "socket_listen", &running, other), "loopback", &["127.0.0.1"]);
    let cookie = event.str("sensor.socket.cookie");
    let later = sensor.find("socket_listen").with("sensor.socket.cookie", cookie);
    let later = later.with("sensor.method", "address_change").wait();
    check(&later, "loopback", &["127.0.0.1"]);
    assert_eq!(later.num("process.pid"), u64::from(running.pid()), "the child is gone");
    running.end();
}

#[test]
fn what_listened_before_and_an_address_that_flaps() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    alone_with_loopback();
    ip(None, "addr add 10.7.0.1/24 dev lo");
    let mut running = Running::of(
        net(),
        words!["tcp", "a", "4", "bind", "a", "0.0.0.0", "0", "listen", "a", "port", "a", "wait"],
    );
    let port = number(&running);
    let sensor = Sensor::start(Vec::new());
    let listen = first(&sensor, "socket_listen", &running, port);
    assert!(listen.truth("sensor.socket.preexisting"));
    check(&listen, "private", &["10.7.0.1", "127.0.0.1"]);

    let began = Instant::now();
    let mut turns = 0;
    while began.elapsed() < Duration::from_millis(3500) || turns <= 10 {
        ip(None, "addr add 198.51.100.9/24 dev lo");
        ip(None, "addr del 198.51.100.9/24 dev lo");
        turns += 1;
    }
    ip(None, "addr add 203.0.113.5/24 dev lo");
    change(&sensor, &listen, "public", &["203.0.113.5", "10.7.0.1", "127.0.0.1"]);
    let told = changes(&sensor, &listen);
    let most = began.elapsed().as_secs() + 3;
    assert!(told.len() as u64 <= most, "{turns} turns, told {} times instead of {most}", told.len());
    for pair in told.windows(2) {
        let apart = (time(&pair[1]) + 3_600_000_000_000 - time(&pair[0])) % 3_600_000_000_000;
        assert!(apart >= 990_000_000, "{apart} ns apart");
        assert_ne!(pair[0].value("sensor.reachable_by"), pair[1].value("sensor.reachable_by"));
    }
    running.end();
    sensor.stop().clean();
}

/// Whether the kernel dropped notices for a socket of this thread's namespace that follows addresses.
fn dropped() -> bool {
    let table = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let mut rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    // sk, Eth, Pid, Groups, Rmem, Wmem, Dump, Locks, Drops, Inode
    rows.any(|row| row[1] == "0" && row[3] == "00000111" && row[8] != "0")
}

#[test]
fn more_changes_than_the_kernel_keeps() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    alone_with_loopback();
    let sensor = Sensor::start(Vec::new());
    let mut running = Running::of(net(), words!["tcp", "a", "4", "listen", "a", "port", "a", "wait"]);
    let port = number(&running);
    let listen = first(&sensor, "socket_listen", &running, port);
    sensor.signal(Signal::SIGSTOP);
    let mut lines = "addr add 198.51.100.9/32 dev lo\naddr del 198.51.100.9/32 dev lo\n".repeat(2000);
    lines.push_str("addr add 10.7.0.1/32 dev lo\n");
    let folder = Folder::new();
    std::fs::write(folder.at("lines"), lines).unwrap();
    ip(None, &format!("-batch {}", folder.at("lines").display()));
    assert!(dropped(), "{}", std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap());
    sensor.signal(Signal::SIGCONT);
    change(&sensor, &listen, "private", &["10.7.0.1", "127.0.0.1"]);
    assert_eq!(changes(&sensor, &listen).len(), 1, "told once for all of it");
    running.end();
    sensor.stop().clean();
}

#[test]
fn many_addresses_are_cut_and_counted() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    alone_with_loopback();
    for last in 1..=40 {
        ip(None, &format!("addr add 10.7.0.{last}/32 dev lo"));
    }
    ip(None, "addr add 198.51.100.9/32 dev lo");
    let sensor = Sensor::start(Vec::new());
    let mut running = Running::of(net(), words!["tcp", "a", "4", "listen", "a", "port", "a", "wait"]);
    let port = number(&running);
    let event = first(&sensor, "socket_listen", &running, port);
    assert_eq!(event.str("sensor.reach"), "public");
    let by = event.texts("sensor.reachable_by");
    assert_eq!((by.len(), event.num("sensor.reachable_by_count")), (32, 42), "{event}");
    assert_eq!(by[..3], ["198.51.100.9", "10.7.0.1", "10.7.0.2"], "the widest first");
    running.end();
    sensor.stop().clean();
}

#[test]
fn without_netlink_nothing_is_guessed() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let blind = Running::of(net(), words!["no-netlink", "exec", sensor::binary(), "run"]);
    let next = |action: &str, pid: Option<u32>| loop {
        let event = Event::parse(blind.line().as_bytes()).unwrap();
        if event.action() == action && pid.is_none_or(|pid| event.num("process.pid") == u64::from(pid)) {
            event.whole();
            return event;
        }
    };
    let coverage = next("coverage", None);
    let rows = coverage.list("sensor.coverage");
    let row = rows.iter().find(|row| row["hook"] == "rtnetlink").unwrap();
    assert_eq!((row["action"].as_str(), row["state"].as_str()), (Some("socket_listen"), Some("unseen")));
    assert!(row["reason"].as_str().unwrap().contains("EAFNOSUPPORT"), "{row}");
    let mut running = Running::of(net(), words!["tcp", "a", "4", "listen", "a", "port", "a", "wait"]);
    let port = number(&running);
    let event = next("socket_listen", Some(running.pid()));
    assert_eq!((event.num("server.port"), event.str("sensor.exposure")), (u64::from(port), "wildcard"));
    assert!(!event.has("sensor.reach") && !event.has("sensor.reachable_by"), "{event}");
    running.end();
}
