//! `socket_bind`, `socket_listen`, `socket_connect`, `socket_accept`, `socket_close`: by whom, with which addresses.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that can't go on fails the test, there is nobody else to tell"
)]

use tests::find::{ACCEPTED, Source};
use tests::program::{join, nest, net, steps, storm};
use tests::skip::{because, not_here, skip};
use tests::{Event, Find, Running, Sensor, lock, words};

/// The number behind a word in the next line.
fn number(running: &Running, word: &str) -> u32 {
    let line = running.line();
    let number = line.strip_prefix(word).unwrap_or_else(|| panic!("{line:?} instead of {word}"));
    number.trim().parse().unwrap()
}

fn netns(pid: u32) -> String {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().to_string_lossy().into_owned();
    link.trim_start_matches("net:[").trim_end_matches(']').to_owned()
}

fn of<'a>(sensor: &'a Sensor, action: &str, pid: u32, field: &'static str, port: u32) -> Find<'a> {
    sensor.find(action).pid(pid).with(field, port)
}

/// What a listener's events say in common.
fn check_server(event: &Event, ip: &str, kind: &str, exposure: &str) {
    assert_eq!(event.str("server.ip"), ip, "{event}");
    assert_eq!(event.str("network.type"), kind, "{event}");
    assert_eq!(event.str("network.transport"), "tcp", "{event}");
    assert_eq!(event.str("sensor.exposure"), exposure, "{event}");
    assert_eq!(event.texts("event.category"), ["network"]);
}

#[test]
fn a_connection_from_bind_to_close() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    for (family, ip, kind) in [("4", "127.0.0.1", "ipv4"), ("6", "::1", "ipv6")] {
        let steps = words![
            "tcp", "a", family, "bind", "a", ip, "0", "listen", "a", "port", "a", "tcp", "b", family,
            "connect", "b", ip, "@a", "port", "b", "accept", "a", "c", "close", "b", "close", "c", "close",
            "a", "wait"
        ];
        let mut running = Running::of(net(), steps);
        let (pid, server, client) = (running.pid(), number(&running, "port"), number(&running, "port"));
        let bind = of(sensor, "socket_bind", pid, "server.port", server).wait();
        check_server(&bind, ip, kind, "loopback");
        assert_eq!(bind.texts("event.type"), ["info"]);
        let listen = of(sensor, "socket_listen", pid, "server.port", server).wait();
        check_server(&listen, ip, kind, "loopback");
        assert_eq!(listen.str("sensor.socket.cookie"), bind.str("sensor.socket.cookie"));
        assert_eq!(listen.str("sensor.socket.netns"), netns(pid));
        assert!(!listen.has("sensor.socket.preexisting"));

        let connect = of(sensor, "socket_connect", pid, "source.port", client).wait();
        let accept = of(sensor, "socket_accept", pid, "source.port", client).wait();
        let closes = sensor.find("socket_close").pid(pid).with("source.port", client);
        closes.wait();
        for (event, direction, types) in
            [(&connect, "egress", ["connection", "start"]), (&accept, "ingress", ["connection", "start"])]
        {
            assert_eq!(event.str("network.direction"), direction);
            assert_eq!(event.str("event.outcome"), "success");
            assert_eq!(event.texts("event.type"), types);
            assert_eq!((event.str("source.ip"), event.str("destination.ip")), (ip, ip));
            assert_eq!(event.num("destination.port"), u64::from(server));
            assert_eq!(event.str("network.type"), kind);
            assert_eq!(event.str("network.iana_number"), "6");
        }
        assert_ne!(connect.str("sensor.socket.cookie"), accept.str("sensor.socket.cookie"));
        let end = of(sensor, "socket_close", pid, "server.port", server).wait();
        assert_eq!(end.str("sensor.socket.cookie"), listen.str("sensor.socket.cookie"));
        running.end();
        sensor.fence();
        let closed: Vec<String> =
            closes.all().iter().map(|event| event.str("sensor.socket.cookie").to_owned()).collect();
        assert_eq!(closed.len(), 2, "each end once: {:?}", closes.all());
        for event in [&connect, &accept] {
            assert!(closed.iter().any(|cookie| cookie == event.str("sensor.socket.cookie")));
        }
        for action in ["socket_connect", "socket_accept"] {
            of(sensor, action, pid, "source.port", client).one();
        }
        of(sensor, "socket_bind", pid, "server.port", server).one();
    }
}

#[test]
fn listening_without_bind_has_its_real_port() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    for (family, ip, kind) in [("4", "0.0.0.0", "ipv4"), ("6", "::", "ipv6")] {
        let mut running = Running::of(net(), words!["tcp", "a", family, "listen", "a", "port", "a", "wait"]);
        let (pid, port) = (running.pid(), number(&running, "port"));
        let event = of(sensor, "socket_listen", pid, "server.port", port).wait();
        check_server(&event, ip, kind, "wildcard");
        assert_eq!(event.get("sensor.wildcard_also_ipv4").is_some(), family == "6", "{event}");
        sensor.find("socket_bind").pid(pid).none();
        running.end();
        sensor.find("socket_listen").pid(pid).one();
    }
}

#[test]
fn a_dual_stack_listener_and_an_ipv4_client() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let steps = steps(
        "tcp a 6 bind a :: 0 listen a port a tcp b 4 connect b 127.0.0.1 @a port b accept a c \
             tcp d 6 v6only d bind d :: 0 listen d port d wait",
    );
    let mut running = Running::of(net(), steps);
    let pid = running.pid();
    let [dual, client, only] = [0; 3].map(|_: u32| number(&running, "port"));
    for (port, also) in [(dual, true), (only, false)] {
        let event = of(sensor, "socket_listen", pid, "server.port", port).wait();
        check_server(&event, "::", "ipv6", "wildcard");
        assert_eq!(event.truth("sensor.wildcard_also_ipv4"), also);
    }
    for action in ["socket_connect", "socket_accept"] {
        let event = of(sensor, action, pid, "source.port", client).wait();
        assert_eq!((event.str("source.ip"), event.str("destination.ip")), ("127.0.0.1", "127.0.0.1"));
        assert_eq!(event.str("network.type"), "ipv4");
    }
    running.end();
}

#[test]
fn failed_connects_say_why() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    // A port that is bound and on which nobody listens.
    for (family, ip) in [("4", "127.0.0.1"), ("6", "::1")] {
        let steps = words![
            "tcp", "a", family, "bind", "a", ip, "0", "port", "a", "tcp", "b", family, "connect", "b", ip,
            "@a", "wait"
        ];
        let mut running = Running::of(net(), steps);
        let (pid, port) = (running.pid(), number(&running, "port"));
        assert_eq!(number(&running, "failed"), 111);
        let event = of(sensor, "socket_connect", pid, "destination.port", port).wait();
        assert_eq!(event.str("event.outcome"), "failure");
        assert_eq!(event.str("error.code"), "ECONNREFUSED");
        assert!(event.num("source.port") > 0);
        running.end();
        sensor.fence();
        sensor.find("socket_connect").pid(pid).one();
        sensor.find("socket_close").pid(pid).with("destination.port", port).none();
    }
}

#[test]
fn who_accepts_is_who_has_it() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let at_once = sensor.is_served_by(ACCEPTED);
    // A child accepts on the socket that its parent made, aloud or in silence.
    for (accept, then) in [("accept", "close"), ("accept-null", "close"), ("accept-null", "wait")] {
        let inner = join([
            words!["tcp", "b", "4", "connect", "b", "127.0.0.1", "@a", "port", "b"],
            nest(
                "fork",
                join([
                    words![accept, "a", "c"],
                    if then == "wait" { words!["wait"] } else { words![then, "c"] },
                ]),
            ),
        ]);
        let steps = join([
            words!["tcp", "a", "4", "bind", "a", "127.0.0.1", "0", "listen", "a"],
            inner,
            words!["wait"],
        ]);
        let mut running = Running::of(net(), steps);
        let client = number(&running, "port");
        let (parent, child) = (running.pid(), number(&running, "pid"));
        let event = sensor.find("socket_accept").with("source.port", client).wait();
        assert_eq!(event.num("process.pid"), u64::from(child), "{accept}, {then}: {event}");
        assert_ne!(parent, child);
        let by_look = then == "wait" && !at_once;
        assert_eq!(event.text("sensor.method").as_deref(), by_look.then_some("sweep"), "{event}");
        let connect = sensor.find("socket_connect").with("source.port", client).wait();
        assert_eq!(connect.num("process.pid"), u64::from(parent));
        running.end();
        sensor.find("socket_accept").with("source.port", client).one();
    }
}

#[test]
fn a_child_that_serves_is_who_closes() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let steps = join([
        words![
            "tcp",
            "a",
            "4",
            "bind",
            "a",
            "127.0.0.1",
            "0",
            "listen",
            "a",
            "tcp",
            "b",
            "4",
            "connect",
            "b"
        ],
        words!["127.0.0.1", "@a", "port", "b", "accept", "a", "c", "say", "accepted"],
        nest("fork", words!["wait", "close", "c", "wait"]),
    ]);
    let mut running = Running::of(net(), steps);
    let client = number(&running, "port");
    running.until("accepted");
    let (parent, child) = (running.pid(), number(&running, "pid"));
    let accept = sensor.find("socket_accept").with("source.port", client).wait();
    assert_eq!(accept.num("process.pid"), u64::from(parent));
    running.end();
    let cookie = accept.str("sensor.socket.cookie").to_owned();
    let close = sensor.find("socket_close").with("sensor.socket.cookie", cookie).wait();
    // The parent still had it when the child closed its own; the parent's end is the socket's.
    assert_eq!(close.num("process.pid"), u64::from(parent));
    assert_ne!(parent, child);
    assert_eq!(close.str("network.direction"), "ingress");
}

#[test]
fn connections_that_nobody_accepts_are_the_listeners() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let steps = steps(
        "tcp a 4 bind a 127.0.0.1 0 listen a tcp b 4 connect b 127.0.0.1 @a port b reset b \
             wait",
    );
    let mut running = Running::of(net(), steps);
    let (pid, client) = (running.pid(), number(&running, "port"));
    let event = of(sensor, "socket_accept", pid, "source.port", client).wait();
    assert_eq!(event.str("sensor.method"), "listener");
    let close =
        sensor.find("socket_close").with("sensor.socket.cookie", event.str("sensor.socket.cookie")).wait();
    assert_eq!(close.str("error.code"), "ECONNRESET");
    assert_eq!(close.num("process.pid"), u64::from(pid));
    running.end();
}

#[test]
fn threads_and_io_uring() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let thread = words!["tcp", "a", "4", "bind", "a", "127.0.0.1", "0", "listen", "a", "port", "a"];
    let mut running = Running::of(net(), join([nest("thread", thread), words!["wait"]]));
    let (pid, tid, port) = (running.pid(), number(&running, "tid"), number(&running, "port"));
    let event = of(sensor, "socket_listen", pid, "server.port", port).wait();
    assert_eq!(event.num("process.thread.id"), u64::from(tid));
    assert_ne!(pid, tid);
    running.end();

    let steps = steps(
        "tcp a 4 ring-bind a 127.0.0.1 0 ring-listen a port a tcp b 4 ring-connect b 127.0.0.1 \
             @a port b ring-accept a c wait",
    );
    let mut running = Running::of(net(), steps);
    let line = running.line();
    if line == "failed 22" && not_here("io_uring binds and listens from Linux 6.11 on") {
        return;
    }
    if line.starts_with("failed") && because(&format!("this kernel's io_uring: {line}")) {
        return;
    }
    let (pid, server) = (running.pid(), line.trim_start_matches("port ").parse().unwrap());
    let client = number(&running, "port");
    for action in ["socket_bind", "socket_listen"] {
        of(sensor, action, pid, "server.port", server).wait();
    }
    for action in ["socket_connect", "socket_accept"] {
        of(sensor, action, pid, "source.port", client).wait();
    }
    running.end();
}

#[test]
fn a_million_open_files_hide_no_socket() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    // The kernel gives way after a million of which nothing is told.
    let mut files = Running::of(storm(), words!["files", "1100000"]);
    files.until("open");
    let steps = steps("tcp a 4 bind a 127.0.0.1 0 listen a port a wait");
    let mut listener = Running::of(net(), steps);
    let port = number(&listener, "port");
    let sensor = Sensor::start(words![]);
    let event = of(&sensor, "socket_listen", listener.pid(), "server.port", port).wait();
    assert!(event.truth("sensor.socket.preexisting"), "{event}");
    // Only a later look finds this one.
    let mut raw = Running::of(net(), words!["raw", "a", "wait"]);
    sensor.find("socket_bind").pid(raw.pid()).with("network.transport", "icmp").wait();
    raw.end();
    listener.end();
    files.end();
    sensor.stop().clean();
}

#[test]
fn another_network_namespace_and_another_user() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let steps = steps(
        "netns user 65534 tcp a 4 listen a port a tcp b 4 connect b 127.0.0.1 @a port b accept \
             a c say done wait",
    );
    let mut running = Running::of(net(), steps);
    let pid = running.pid();
    let (port, client) = (number(&running, "port"), number(&running, "port"));
    running.until("done");
    let space = netns(pid);
    assert_ne!(space, netns(std::process::id()));
    let events = [
        of(sensor, "socket_listen", pid, "server.port", port).wait(),
        of(sensor, "socket_connect", pid, "source.port", client).wait(),
        of(sensor, "socket_accept", pid, "source.port", client).wait(),
    ];
    for event in events {
        assert_eq!(event.str("sensor.socket.netns"), space);
        assert_eq!(event.str("user.id"), "65534", "the user at that moment, not at the last exec");
    }
    running.end();
}

#[test]
fn udp_is_bound_connected_and_closed() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    for (family, ip) in [("4", "127.0.0.1"), ("6", "::1")] {
        let steps = words![
            "udp", "a", family, "bind", "a", ip, "0", "port", "a", "udp", "b", family, "connect", "b", ip,
            "@a", "port", "b", "send", "b", "close", "b", "close", "a", "wait"
        ];
        let mut running = Running::of(net(), steps);
        let (pid, server, client) = (running.pid(), number(&running, "port"), number(&running, "port"));
        let bind = of(sensor, "socket_bind", pid, "server.port", server).wait();
        assert_eq!((bind.str("network.transport"), bind.str("server.ip")), ("udp", ip));
        let connect = of(sensor, "socket_connect", pid, "destination.port", server).wait();
        assert_eq!(connect.str("destination.ip"), ip);
        assert_eq!(connect.str("event.outcome"), "success");
        assert_eq!((connect.str("source.ip"), connect.num("source.port")), (ip, u64::from(client)));
        let close = of(sensor, "socket_close", pid, "source.port", client).wait();
        assert_eq!((close.str("source.ip"), close.num("destination.port")), (ip, u64::from(server)));
        assert_eq!(close.str("sensor.socket.cookie"), connect.str("sensor.socket.cookie"));
        of(sensor, "socket_close", pid, "server.port", server).wait();
        running.end();
    }
}

#[test]
fn raw_and_packet_sockets_are_found() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(net(), words!["raw", "a", "packet", "b", "say", "done", "wait"]);
    running.until("done");
    for transport in ["icmp", "packet"] {
        let event = sensor.find("socket_bind").pid(running.pid()).with("network.transport", transport).wait();
        assert_eq!(event.str("sensor.method"), "sweep");
    }
    running.end();
}

#[test]
fn what_was_there_before_is_told_once_and_marked() {
    if skip() {
        return;
    }
    let lock = lock::together();
    let steps = steps(
        "netns tcp a 6 bind a :: 0 listen a port a tcp b 4 connect b 127.0.0.1 @a port b \
             accept a c udp d 4 bind d 127.0.0.1 0 port d raw e say ready wait",
    );
    let mut running = Running::of(net(), steps);
    let pid = running.pid();
    let [server, client, udp] = [0; 3].map(|_: u32| number(&running, "port"));
    running.until("ready");
    let sensor = Sensor::start(vec![]);
    let events = [
        of(&sensor, "socket_listen", pid, "server.port", server).wait(),
        of(&sensor, "socket_connect", pid, "source.port", client).wait(),
        of(&sensor, "socket_accept", pid, "source.port", client).wait(),
        of(&sensor, "socket_bind", pid, "server.port", udp).wait(),
        sensor.find("socket_bind").pid(pid).with("network.transport", "icmp").wait(),
    ];
    for event in &events {
        assert!(event.truth("sensor.socket.preexisting"), "{event}");
        assert_eq!(event.str("sensor.socket.netns"), netns(pid));
    }
    assert!(events[0].truth("sensor.wildcard_also_ipv4"));
    running.end();
    for event in &events[..4] {
        let close = sensor
            .find("socket_close")
            .with("sensor.socket.cookie", event.str("sensor.socket.cookie"))
            .wait();
        assert_eq!(close.num("process.pid"), u64::from(pid), "{close}");
    }
    let told = |action| sensor.find(action).pid(pid).all().len();
    assert_eq!((told("socket_listen"), told("socket_connect"), told("socket_accept")), (1, 1, 1));
    sensor.stop().clean();
    drop(lock);
}
