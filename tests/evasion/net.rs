//! Sockets by calls that are rarely looked at.

use tests::find::Source;
use tests::program::trick;
use tests::skip::{not_here, skip};
use tests::{Event, Running, Sensor, words};

/// The number behind a word in the next line.
fn number(running: &Running, word: &str) -> u32 {
    let line = running.line();
    let number = line.strip_prefix(word).unwrap_or_else(|| panic!("{line:?} instead of {word}"));
    number.trim().parse().unwrap()
}

/// The one event of that process and end.
fn one(sensor: &Sensor, action: &str, pid: u32, field: &'static str, port: u32) -> Event {
    let find = sensor.find(action).pid(pid).with(field, port);
    find.wait();
    find.one()
}

fn check_listener(sensor: &Sensor, pid: u32, program: &str, port: u32) {
    let listen = one(sensor, "socket_listen", pid, "server.port", port);
    // What held the port before, so that it would be known, was another socket.
    let cookie = listen.str("sensor.socket.cookie");
    let bind = sensor.find("socket_bind").pid(pid).with("sensor.socket.cookie", cookie).one();
    for event in [&bind, &listen] {
        assert_eq!(event.num("server.port"), u64::from(port));
        assert_eq!((event.str("server.ip"), event.str("network.transport")), ("127.0.0.1", "tcp"));
        assert_eq!(event.str("sensor.exposure"), "loopback");
        assert_eq!(event.str("process.name"), program_name(program));
    }
}

fn program_name(program: &str) -> String {
    trick(program).file_name().unwrap().to_string_lossy().into_owned()
}

/// A connection from `client` to `server`, as this process made (`socket_connect`) or took it (`socket_accept`).
fn check_connection(sensor: &Sensor, action: &str, pid: u32, client: u32, server: u32) -> Event {
    let event = one(sensor, action, pid, "source.port", client);
    assert_eq!((event.str("source.ip"), event.str("destination.ip")), ("127.0.0.1", "127.0.0.1"));
    assert_eq!(event.num("destination.port"), u64::from(server));
    assert_eq!(event.str("event.outcome"), "success");
    let direction = if action == "socket_connect" { "egress" } else { "ingress" };
    assert_eq!(event.str("network.direction"), direction);
    event
}

#[test]
fn by_calls_of_32_bit() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    for way in ["plain", "socketcall"] {
        let mut running = Running::of(trick("int80"), words![way]);
        let (pid, server, client) = (running.pid(), number(&running, "port"), number(&running, "port"));
        check_listener(sensor, pid, "int80", server);
        check_connection(sensor, "socket_connect", pid, client, server);
        running.end();
    }
}

#[test]
fn by_the_numbers_of_x32() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), tests::Folder::new());
    let [victim, moved] = ["victim", "moved"].map(|name| tests::program::actor_at(folder.at(name)));
    let mut runners = [&victim, &moved].map(Running::idle);
    let x32 = trick("x32");
    let mut running = Running::of(&x32, words![&victim, &moved, folder.at("other")]);
    let errors = [(); 3].map(|()| number(&running, ""));
    let (pid, port) = (running.pid(), number(&running, ""));
    let asked_for = std::fs::read_to_string("/proc/cmdline").unwrap().contains("syscall.x32=y");
    assert!(!asked_for || errors == [0; 3], "these calls were switched on: {errors:?}");
    // A kernel that has these calls runs the same code for them; one that hasn't does nothing.
    for (error, path, method) in [(errors[0], &victim, "unlink"), (errors[1], &moved, "rename")] {
        let alerts = sensor.find("exe_deleted").file(path);
        if error == 0 {
            assert_eq!(alerts.wait().num("process.pid"), u64::from(pid));
            assert_eq!(alerts.one().str("sensor.method"), method);
        } else {
            assert!(error == 38 && path.exists(), "errno {error}");
            sensor.fence();
            alerts.none();
        }
    }
    let connects = sensor.find("socket_connect").pid(pid).with("destination.port", port);
    if errors[2] == 0 {
        assert_eq!(connects.wait().str("event.outcome"), "success");
    } else {
        connects.none();
    }
    running.end();
    for runner in &mut runners {
        runner.end();
    }
}

/// `IORING_SETUP_SQPOLL`.
const POLLED: &str = "2";

#[test]
fn by_a_ring_and_without_a_descriptor() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    for flags in ["0", POLLED] {
        let mut running = Running::of(trick("ringnet"), words![flags]);
        let line = running.line();
        if line == "failed 22 bind" && not_here("io_uring binds and listens from Linux 6.11 on") {
            return;
        }
        if line.starts_with("failed") && tests::skip::because(&format!("this kernel's io_uring: {line}")) {
            return;
        }
        let (pid, server) = (running.pid(), line.trim_start_matches("port ").parse().unwrap());
        let client = number(&running, "port");
        check_listener(sensor, pid, "ringnet", server);
        check_connection(sensor, "socket_connect", pid, client, server);
        // Nobody has it by a descriptor. Where no program is called as it is accepted it is told when it ends
        // (docs/limits.md): not of the kernel's thread that then closes what the ring held.
        if !sensor.is_served_by(tests::find::ACCEPTED) {
            running.end();
        }
        sensor.find("socket_accept").with("source.port", client).with("destination.port", server).wait();
        check_connection(sensor, "socket_accept", pid, client, server);
        running.end();
        let closes = sensor.find("socket_close").with("source.port", client);
        closes.wait();
        sensor.fence();
        for close in closes.all() {
            assert_eq!(close.num("process.pid"), u64::from(pid), "{close:#}");
        }
    }
}

#[test]
fn a_connection_without_connect() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(trick("oddnet"), words!["fastopen"]);
    let (pid, server, client) = (running.pid(), number(&running, "port"), number(&running, "port"));
    check_listener(sensor, pid, "oddnet", server);
    check_connection(sensor, "socket_connect", pid, client, server);
    running.end();
}

#[test]
fn a_connection_with_itself() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(trick("oddnet"), words!["self"]);
    let (pid, port) = (running.pid(), number(&running, "port"));
    assert_eq!(number(&running, "port"), port);
    check_connection(sensor, "socket_connect", pid, port, port);
    running.end();
    one(sensor, "socket_close", pid, "source.port", port);
    sensor.find("socket_accept").with("source.port", port).pid(pid).none();
}

#[test]
fn a_connection_that_was_only_declared() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(trick("oddnet"), words!["repair"]);
    let (pid, _, client) = (running.pid(), number(&running, "port"), number(&running, "port"));
    let event = one(sensor, "socket_connect", pid, "source.port", client);
    assert_eq!((event.str("destination.ip"), event.num("destination.port")), ("127.1.2.3", 9));
    running.end();
    one(sensor, "socket_close", pid, "source.port", client);
}

#[test]
fn a_listener_that_was_stolen() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(trick("oddnet"), words!["stolen"]);
    let (parent, server, client) = (running.pid(), number(&running, "port"), number(&running, "port"));
    let thief = number(&running, "pid");
    check_listener(sensor, parent, "oddnet", server);
    check_connection(sensor, "socket_connect", parent, client, server);
    check_connection(sensor, "socket_accept", thief, client, server);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(thief.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    running.end();
}
