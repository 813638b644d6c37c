//! Sockets of SCTP, where the kernel has it: bound, listening, connected, accepted, closed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that can't go on fails the test, there is nobody else to tell"
)]

use tests::find::Source;
use tests::program::{net, steps};
use tests::skip::{not_here, skip};
use tests::{Event, Running, Sensor, lock};

fn lacking() -> bool {
    if skip() {
        return true;
    }
    let running = Running::of(net(), steps("sctp a 4 say made"));
    running.line() != "made" && not_here("the kernel has no SCTP")
}

fn port(running: &Running) -> u32 {
    let line = running.line();
    line.strip_prefix("port ").unwrap_or_else(|| panic!("{line:?}")).parse().unwrap()
}

/// The event of a socket of SCTP in a process, with this port.
fn of(sensor: &Sensor, action: &str, pid: u32, field: &'static str, port: u32) -> Event {
    let event = sensor.find(action).pid(pid).with(field, port).wait();
    assert_eq!(
        (event.str("network.transport"), event.str("network.iana_number")),
        ("sctp", "132"),
        "{event}"
    );
    event
}

fn count(sensor: &Sensor, pid: u32, wanted: &[(&str, usize)]) {
    sensor.fence();
    for (action, count) in wanted {
        let told = sensor.find(action).pid(pid).all();
        assert_eq!(told.len(), *count, "{action}: {told:?}");
    }
}

#[test]
fn a_connection_from_bind_to_close() {
    if lacking() {
        return;
    }
    let sensor = Sensor::shared();
    for (family, ip) in [("4", "127.0.0.1"), ("6", "::1")] {
        let steps = steps(&format!(
            "sctp a {family} bind a {ip} 0 listen a port a sctp b {family} connect b {ip} @a port b \
             accept a c send b recv c wait close b close c close a wait"
        ));
        let mut running = Running::of(net(), steps);
        let (pid, server, client) = (running.pid(), port(&running), port(&running));
        let bind = of(sensor, "socket_bind", pid, "server.port", server);
        let listen = of(sensor, "socket_listen", pid, "server.port", server);
        for event in [&bind, &listen] {
            assert_eq!((event.str("server.ip"), event.str("sensor.exposure")), (ip, "loopback"));
            assert_eq!(event.str("sensor.reach"), "loopback");
        }
        assert_eq!(bind.str("sensor.socket.cookie"), listen.str("sensor.socket.cookie"));
        let connect = of(sensor, "socket_connect", pid, "source.port", client);
        assert_eq!(connect.str("sensor.method"), "sweep");
        let accept = of(sensor, "socket_accept", pid, "source.port", client);
        assert!(!accept.has("sensor.method"), "{accept}");
        for (event, direction) in [(&connect, "egress"), (&accept, "ingress")] {
            assert_eq!((event.str("event.outcome"), event.str("network.direction")), ("success", direction));
            assert_eq!((event.str("destination.ip"), event.num("destination.port")), (ip, u64::from(server)));
        }
        running.go();
        for event in [&connect, &accept] {
            let cookie = event.str("sensor.socket.cookie");
            let close = sensor.find("socket_close").with("sensor.socket.cookie", cookie).wait();
            assert_eq!(close.num("process.pid"), u64::from(pid));
            assert_eq!(close.str("network.direction"), event.str("network.direction"));
            assert!(close.num("source.bytes") > 0 && close.num("destination.bytes") > 0, "{close}");
        }
        let stopped = of(sensor, "socket_close", pid, "server.port", server);
        assert_eq!(stopped.str("sensor.socket.cookie"), listen.str("sensor.socket.cookie"));
        running.end();
        count(
            sensor,
            pid,
            &[
                ("socket_bind", 1),
                ("socket_listen", 1),
                ("socket_connect", 1),
                ("socket_accept", 1),
                ("socket_close", 3),
            ],
        );
    }
}

#[test]
fn a_connection_that_ends_at_once_is_whose_it_was() {
    if lacking() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(
        net(),
        steps("sctp a 4 listen a port a sctp b 4 connect b 127.0.0.1 @a port b close b wait"),
    );
    let (pid, server, client) = (running.pid(), port(&running), port(&running));
    of(sensor, "socket_listen", pid, "server.port", server);
    of(sensor, "socket_connect", pid, "source.port", client);
    of(sensor, "socket_close", pid, "source.port", client);
    running.end();
    count(sensor, pid, &[("socket_bind", 0), ("socket_connect", 1), ("socket_accept", 0)]);
}

#[test]
fn a_refused_connect_is_told_at_the_end_of_its_socket() {
    if lacking() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(
        net(),
        steps(
            "sctp a 4 bind a 127.0.0.1 0 port a sctp b 4 connect b 127.0.0.1 @a say done wait close b wait",
        ),
    );
    let (pid, server) = (running.pid(), port(&running));
    assert_eq!(running.line(), "failed 111");
    // Bound, and that is all: nothing but a look shows it.
    let bind = of(sensor, "socket_bind", pid, "server.port", server);
    assert_eq!(bind.str("sensor.method"), "sweep");
    running.until("done");
    running.go();
    let event = of(sensor, "socket_connect", pid, "destination.port", server);
    assert_eq!(event.str("event.outcome"), "failure");
    assert_eq!(event.text("error.code").as_deref(), Some("ECONNREFUSED"), "{event}");
    running.end();
    count(sensor, pid, &[("socket_connect", 1), ("socket_close", 0)]);
}

#[test]
fn one_socket_for_many_listens_and_gives_one_away() {
    if lacking() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(
        net(),
        steps(
            "sctp-many a 4 bind a 127.0.0.1 0 listen a port a sctp b 4 connect b 127.0.0.1 @a port b \
             peel a c say peeled wait close c close b close a wait",
        ),
    );
    let (pid, server, client) = (running.pid(), port(&running), port(&running));
    running.until("peeled");
    of(sensor, "socket_bind", pid, "server.port", server);
    let listen = of(sensor, "socket_listen", pid, "server.port", server);
    let accept = of(sensor, "socket_accept", pid, "source.port", client);
    of(sensor, "socket_connect", pid, "source.port", client);
    running.go();
    for event in [&listen, &accept] {
        let cookie = event.str("sensor.socket.cookie");
        sensor.find("socket_close").pid(pid).with("sensor.socket.cookie", cookie).wait();
    }
    running.end();
    count(
        sensor,
        pid,
        &[("socket_bind", 1), ("socket_listen", 1), ("socket_accept", 1), ("socket_close", 3)],
    );
}

#[test]
fn what_was_there_before_is_told_once_and_marked() {
    if lacking() {
        return;
    }
    let lock = lock::together();
    let mut running = Running::of(
        net(),
        steps(
            "netns sctp a 6 listen a port a sctp b 6 connect b ::1 @a port b accept a c \
             sctp d 4 bind d 127.0.0.1 0 port d say ready wait",
        ),
    );
    let pid = running.pid();
    let [server, client, bound] = [0; 3].map(|_: u32| port(&running));
    assert_eq!(running.until("ready"), Vec::<String>::new());
    let sensor = Sensor::start(vec![]);
    let events = [
        of(&sensor, "socket_listen", pid, "server.port", server),
        of(&sensor, "socket_connect", pid, "source.port", client),
        of(&sensor, "socket_accept", pid, "source.port", client),
        of(&sensor, "socket_bind", pid, "server.port", bound),
    ];
    running.end();
    for event in &events[..3] {
        assert!(event.truth("sensor.socket.preexisting"), "{event}");
        let cookie = event.str("sensor.socket.cookie");
        let close = sensor.find("socket_close").with("sensor.socket.cookie", cookie).wait();
        assert_eq!(close.num("process.pid"), u64::from(pid), "{close}");
    }
    count(
        &sensor,
        pid,
        &[("socket_bind", 1), ("socket_listen", 1), ("socket_accept", 1), ("socket_close", 3)],
    );
    sensor.stop().clean();
    drop(lock);
}
