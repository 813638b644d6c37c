//! Connections of MPTCP: told once, by their first subflow, and whose they are.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that can't go on fails the test, there is nobody else to tell"
)]

use tests::find::{ACCEPTED, Source};
use tests::program::{join, net, steps};
use tests::skip::{not_here, skip};
use tests::{Event, Running, Sensor, lock, words};

/// Whether the kernel has it, and its administrator allows it.
fn lacking() -> bool {
    let enabled = std::fs::read_to_string("/proc/sys/net/mptcp/enabled").unwrap_or_default();
    skip() || enabled.trim() != "1" && not_here("the kernel has no MPTCP, or net.mptcp.enabled isn't 1")
}

fn port(running: &Running) -> u32 {
    let line = running.line();
    line.strip_prefix("port ").unwrap_or_else(|| panic!("{line:?}")).parse().unwrap()
}

fn check(event: &Event) {
    assert_eq!((event.str("network.transport"), event.str("network.iana_number")), ("tcp", "6"), "{event}");
    assert!(event.truth("sensor.socket.mptcp"), "{event}");
}

#[test]
fn a_connection_from_bind_to_close() {
    if lacking() {
        return;
    }
    let sensor = Sensor::shared();
    for (family, ip) in [("4", "127.0.0.1"), ("6", "::1")] {
        let steps = steps(&format!(
            "mptcp a {family} bind a {ip} 0 listen a port a mptcp b {family} connect b {ip} @a port b \
             accept a c send b recv c close b close c close a wait"
        ));
        let mut running = Running::of(net(), steps);
        let (pid, server, client) = (running.pid(), port(&running), port(&running));
        let of = |action, field, port| {
            let event = sensor.find(action).pid(pid).with(field, port).wait();
            check(&event);
            event
        };
        let bind = of("socket_bind", "server.port", server);
        let listen = of("socket_listen", "server.port", server);
        let stopped = of("socket_close", "server.port", server);
        for event in [&bind, &listen, &stopped] {
            assert_eq!(event.str("sensor.socket.cookie"), bind.str("sensor.socket.cookie"));
            assert_eq!(event.str("server.ip"), ip);
        }
        let connect = of("socket_connect", "source.port", client);
        let accept = of("socket_accept", "source.port", client);
        for (event, direction) in [(&connect, "egress"), (&accept, "ingress")] {
            assert_eq!(event.str("network.direction"), direction);
            assert_eq!((event.str("source.ip"), event.str("destination.ip")), (ip, ip));
            assert!(!event.has("sensor.method"), "told by who did it, at once: {event}");
            let cookie = event.str("sensor.socket.cookie");
            let close = sensor.find("socket_close").with("sensor.socket.cookie", cookie).wait();
            assert_eq!(close.num("process.pid"), u64::from(pid));
            assert!(close.num("source.bytes") > 0 && close.num("destination.bytes") > 0, "{close}");
        }
        running.end();
        sensor.fence();
        for (action, count) in [
            ("socket_bind", 1),
            ("socket_listen", 1),
            ("socket_connect", 1),
            ("socket_accept", 1),
            ("socket_close", 3),
        ] {
            let told = sensor.find(action).pid(pid).all();
            assert_eq!(told.len(), count, "{action}: {told:?}");
        }
    }
}

#[test]
fn a_silent_accept_and_a_port_that_nobody_chose() {
    if lacking() {
        return;
    }
    let sensor = Sensor::shared();
    let steps =
        steps("mptcp a 4 listen a port a mptcp b 4 connect b 127.0.0.1 @a port b accept-null a c wait");
    let mut running = Running::of(net(), steps);
    let (pid, server, client) = (running.pid(), port(&running), port(&running));
    check(&sensor.find("socket_listen").pid(pid).with("server.port", server).wait());
    let accept = sensor.find("socket_accept").with("source.port", client).wait();
    let by_look = !sensor.is_served_by(ACCEPTED);
    assert_eq!(accept.num("process.pid"), u64::from(pid));
    assert_eq!(accept.text("sensor.method").as_deref(), by_look.then_some("sweep"), "{accept}");
    check(&accept);
    running.end();
}

#[test]
fn what_joins_later_is_no_connection_of_its_own() {
    if lacking() {
        return;
    }
    let sensor = Sensor::shared();
    let paths = "ip addr add 10.9.0.1/24 dev lo; ip addr add 10.9.0.2/24 dev lo; ip mptcp limits set subflow 2; \
                 ip mptcp endpoint add 10.9.0.2 dev lo subflow";
    let rest = "mptcp a 4 bind a 10.9.0.1 0 listen a port a mptcp b 4 connect b 10.9.0.1 @a port b accept a c \
                send b recv c joined b say joined wait close b close c close a wait";
    let mut running = Running::of(net(), join([words!["netns", "run", paths], steps(rest)]));
    let (pid, server, client) = (running.pid(), port(&running), port(&running));
    assert_eq!(running.until("joined"), Vec::<String>::new());
    running.go();
    for action in ["socket_connect", "socket_accept"] {
        check(&sensor.find(action).pid(pid).with("source.port", client).wait());
    }
    sensor.find("socket_close").pid(pid).with("server.port", server).wait();
    let ends = sensor.find("socket_close").with("destination.port", server);
    ends.wait();
    running.end();
    sensor.fence();
    for (action, count) in [("socket_connect", 1), ("socket_accept", 1), ("socket_close", 2)] {
        let told = sensor.find(action).with("destination.port", server).all();
        assert_eq!(told.len(), count, "{action}: {told:?}");
    }
}

#[test]
fn a_client_of_plain_tcp_is_accepted_as_such() {
    if lacking() {
        return;
    }
    let sensor = Sensor::shared();
    let steps =
        steps("mptcp a 4 bind a 127.0.0.1 0 listen a tcp b 4 connect b 127.0.0.1 @a port b accept a c wait");
    let mut running = Running::of(net(), steps);
    let (pid, client) = (running.pid(), port(&running));
    for action in ["socket_connect", "socket_accept"] {
        let event = sensor.find(action).pid(pid).with("source.port", client).wait();
        assert!(!event.has("sensor.socket.mptcp") && !event.has("sensor.method"), "{event}");
    }
    running.end();
}

#[test]
fn a_refused_connect_says_why() {
    if lacking() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(
        net(),
        steps("tcp a 4 bind a 127.0.0.1 0 port a mptcp b 4 connect b 127.0.0.1 @a close b wait"),
    );
    let (pid, server) = (running.pid(), port(&running));
    assert_eq!(running.line(), "failed 111");
    let event = sensor.find("socket_connect").pid(pid).with("destination.port", server).wait();
    check(&event);
    assert_eq!((event.str("event.outcome"), event.str("error.code")), ("failure", "ECONNREFUSED"));
    running.end();
    sensor.fence();
    sensor.find("socket_connect").pid(pid).one();
}

#[test]
fn what_was_there_before_has_the_cookie_of_its_end() {
    if lacking() {
        return;
    }
    let lock = lock::together();
    let steps = steps(
        "netns mptcp a 4 listen a port a mptcp b 4 connect b 127.0.0.1 @a port b accept a c say ready wait",
    );
    let mut running = Running::of(net(), steps);
    let (pid, server, client) = (running.pid(), port(&running), port(&running));
    running.until("ready");
    let sensor = Sensor::start(vec![]);
    let events = [
        sensor.find("socket_listen").pid(pid).with("server.port", server).wait(),
        sensor.find("socket_connect").pid(pid).with("source.port", client).wait(),
        sensor.find("socket_accept").pid(pid).with("source.port", client).wait(),
    ];
    running.end();
    for event in &events {
        check(event);
        assert!(event.truth("sensor.socket.preexisting"), "{event}");
        let cookie = event.str("sensor.socket.cookie");
        let close = sensor.find("socket_close").with("sensor.socket.cookie", cookie).wait();
        assert_eq!(close.num("process.pid"), u64::from(pid));
        assert!(!close.has("sensor.method"), "{close}");
    }
    sensor.stop().clean();
    drop(lock);
}
