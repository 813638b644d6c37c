//! Network bytes: told of who moved them by `usage`, `exit` and `socket_close`, and as many as the interface counted.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that can't go on fails the test, there is nobody else to tell"
)]

use tests::find::Source;
use tests::lock::{self, Lock};
use tests::place::cgroups;
use tests::program::{mover, nest, net};
use tests::skip::{because, skip};
use tests::{Event, Running, Sensor, comes, emulated, program, until, words};

/// In the order of what the interface counts.
const FIELDS: [&str; 4] = [
    "sensor.usage.net.rx_bytes",
    "sensor.usage.net.rx_packets",
    "sensor.usage.net.tx_bytes",
    "sensor.usage.net.tx_packets",
];
/// The headers of IP and UDP, and of IP and TCP with timestamps.
const UDP4: u64 = 28;
const UDP6: u64 = 48;
const TCP4: u64 = 52;

type Moved = [u64; 4];

fn each_second() -> (Lock, Sensor) {
    (lock::alone(), Sensor::with().config("[usage]\ninterval_s = 1\n").live())
}

fn of(event: &Event) -> Moved {
    FIELDS.map(|field| event.get(field).map_or(0, |_| event.num(field)))
}

fn sum(moved: impl IntoIterator<Item = Moved>) -> Moved {
    moved.into_iter().fold([0; 4], |sum, one| std::array::from_fn(|at| sum[at] + one[at]))
}

/// What is told of a process in all: by its exit, and after it.
fn life(source: &impl Source, exit: &Event) -> Moved {
    let entity = exit.str("process.entity_id").to_owned();
    let told = source.find("usage").with("process.entity_id", entity).all();
    let (before, after): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|event| event.num("event.sequence") < exit.num("event.sequence"));
    let before = sum(before.iter().map(of));
    if before != [0; 4] {
        assert_eq!(before, of(exit), "what was told on the way is what the exit tells: {exit:#}");
    }
    for event in &after {
        event.whole();
        assert_eq!(event.str("sensor.usage.scope"), "process");
        assert_eq!(event.num("process.pid"), exit.num("process.pid"));
        assert_eq!(event.num("sensor.usage.cpu_ns"), 0, "only its sockets live on: {event:#}");
    }
    sum([of(exit)].into_iter().chain(after.iter().map(of)))
}

/// Within one in a hundred, and a packet that ends a connection.
fn is_near(counted: u64, expected: u64) -> bool {
    counted.abs_diff(expected) <= expected / 100 + 100
}

struct Run {
    pid: u32,
    interface: Moved,
}

/// Has the program move so much, and waits until its processes have ended.
fn run(how: &str, count: u64) -> Run {
    let mut running = Running::of(mover(), words![how, count.to_string()]);
    let text = running.rest();
    assert!(running.wait().success(), "{how}: {text}");
    let interface = text.lines().find_map(|line| line.strip_prefix("interface ")).unwrap();
    let interface: Vec<u64> = interface.split(' ').map(|number| number.parse().unwrap()).collect();
    Run { pid: running.pid(), interface: interface.try_into().unwrap() }
}

/// What a process and its children moved.
fn of_family(source: &impl Source, pid: u32) -> Moved {
    let children = source.find("exit").with("process.parent.pid", pid).all();
    let exits = source.find("exit").pid(pid).all().into_iter().chain(children);
    sum(exits.map(|exit| life(source, &exit)))
}

/// All that says who moved what, of a process and its children, and what is nobody's.
fn told(source: &impl Source, pid: u32) -> Vec<Event> {
    let family = |event: &Event| {
        [event.get("process.pid"), event.get("process.parent.pid")].into_iter().flatten().any(|of| *of == pid)
    };
    let counts = |event: &Event| {
        FIELDS.iter().any(|field| event.has(field)) && (family(event) || !event.has("process.pid"))
    };
    let opens = |event: &Event| event.action().starts_with("socket_") && family(event);
    source.seen().so_far().into_iter().filter(|event| counts(event) || opens(event)).collect()
}

#[test]
fn every_way_is_counted_as_the_interface_counts() {
    if skip() {
        return;
    }
    const BYTES: u64 = 8_000_000;
    const DATAGRAMS: u64 = 4000;
    let (_lock, sensor) = each_second();
    let streams = ["write4", "write6", "sendfile4", "splice6", "uring4", "shared4", "shared6"];
    let runs: Vec<_> = [("udp4", DATAGRAMS), ("udp6", DATAGRAMS)]
        .into_iter()
        .chain(streams.map(|how| (how, BYTES)))
        .map(|(how, count)| (how, run(how, count)))
        .collect();
    let end = sensor.stop();
    end.clean();
    for (how, run) in runs {
        let moved = of_family(&end, run.pid);
        let [rx_bytes, _, tx_bytes, tx_packets] = moved;
        assert!(
            is_near(rx_bytes, run.interface[0]) && is_near(tx_bytes, run.interface[2]),
            "{how}: {moved:?} is not {:?}: {:#?}",
            run.interface,
            told(&end, run.pid)
        );
        match how {
            "udp4" => assert!(tx_bytes >= DATAGRAMS * (100 + UDP4) && tx_packets >= DATAGRAMS),
            "udp6" => assert!(tx_bytes >= DATAGRAMS * (100 + UDP6) && tx_packets >= DATAGRAMS),
            _ => assert!(tx_bytes >= BYTES + 2 * TCP4, "{how}: {moved:?}"),
        }
    }
    assert_eq!(end.account()["usage"].lost, 0);
}

#[test]
fn datagrams_are_exact_while_it_lives_and_at_its_end_and_for_its_user() {
    if skip() {
        return;
    }
    let (_lock, sensor) = each_second();
    let send = |count: &str| words!["datagrams", "b", "127.0.0.1", "@a", "1000", count];
    let steps = program::join([
        words!["netns", "user", "4321", "udp", "a", "4", "bind", "a", "127.0.0.1", "0", "udp", "b", "4"],
        send("7"),
        words!["say", "did", "wait"],
        send("5"),
        words!["close", "b", "close", "a", "say", "did", "wait"],
    ]);
    let mut running = Running::of(net(), steps);
    let pid = running.pid();
    running.until("did");
    // What each socket moved may be told at two times.
    let told = || sum(sensor.find("usage").pid(pid).all().iter().map(of));
    let seven = [7 * 1028, 7, 7 * 1028, 7];
    until("all that was sent is told", || told() == seven);
    running.go();
    running.until("did");
    let close = sensor.find("socket_close").pid(pid).wait();
    assert!(!close.has("source.bytes"), "it was connected to nobody: {close:#}");
    running.end();
    let exit = sensor.find("exit").pid(pid).wait();
    let twelve = [12 * 1028, 12, 12 * 1028, 12];
    // On a busy machine what was sent last may be read after its end.
    assert!([seven, twelve].contains(&of(&exit)), "{exit:#}");
    let end = sensor.stop();
    end.clean();
    assert_eq!(life(&end, &exit), twelve, "{exit:#}");
    let users = end.find("usage").with("sensor.usage.scope", "user").with("user.id", "4321").all();
    assert_eq!(sum(users.iter().map(of)), twelve, "{users:#?}");
}

#[test]
fn a_close_tells_what_each_end_sent() {
    if skip() {
        return;
    }
    let (_lock, sensor) = each_second();
    for (family, ip, headers) in [("4", "127.0.0.1", TCP4), ("6", "::1", TCP4 + 20)] {
        let serve = words!["accept", "a", "c", "take", "c", "300000", "give", "c", "5000", "close", "c"];
        let steps = program::join([
            words!["tcp", "a", family, "bind", "a", ip, "0", "listen", "a"],
            nest("spawn", serve),
            words!["tcp", "b", family, "connect", "b", ip, "@a", "port", "b", "give", "b", "300000"],
            words!["take", "b", "5000", "close", "b", "wait"],
        ]);
        let mut running = Running::of(net(), steps);
        let port: u64 = loop {
            if let Some(port) = running.line().strip_prefix("port ") {
                break port.trim().parse().unwrap();
            }
        };
        let closes = sensor.find("socket_close").with("source.port", port);
        let both = || closes.all().len() == 2;
        until("both ends are closed", both);
        for close in closes.all() {
            let [sent, back] = ["source", "destination"].map(|end| close.num(&format!("{end}.bytes")));
            let [packets, answers] =
                ["source", "destination"].map(|end| close.num(&format!("{end}.packets")));
            assert!(packets >= 5 && answers >= 1, "{close:#}");
            // What is sent again counts again, and all of it twice would be wrong.
            assert!(sent >= 300_000 + (packets - 1) * headers && sent < 550_000, "{close:#}");
            assert!(back >= 5000 + (answers - 1) * headers && back < 35_000, "{close:#}");
        }
        running.end();
    }
}

/// As `inetd` and `sshd` do: the listener accepts, a child serves, and the listener closes its descriptor.
#[test]
fn a_connection_that_was_handed_on_is_the_childs() {
    if skip() {
        return;
    }
    let (_lock, sensor) = each_second();
    let steps = program::join([
        words!["netns", "tcp", "a", "4", "bind", "a", "127.0.0.1", "0", "listen", "a"],
        words!["tcp", "b", "4", "connect", "b", "127.0.0.1", "@a", "accept", "a", "c"],
        nest(
            "spawn",
            words!["close", "a", "close", "b", "wait", "give", "c", "900000", "say", "gave", "wait"],
        ),
        words!["close", "c", "say", "handed", "take", "b", "900000", "say", "took", "wait"],
    ]);
    let mut running = Running::of(net(), steps);
    let lines = [running.line(), running.line()];
    let child = lines.iter().find_map(|line| line.strip_prefix("pid ")).unwrap();
    let child: u32 = child.trim().parse().unwrap();
    // A look at who has what: the socket is the child's alone. It takes a thousandth of the time at most, which is rarely
    // where each instruction is emulated.
    let wait = if emulated() { 60 } else { 3 };
    let looked = sensor.find("usage").with("sensor.usage.scope", "user").all().len() + wait;
    let looks = || sensor.find("usage").with("sensor.usage.scope", "user").all().len();
    until("there was a look", || looks() >= looked);
    running.go();
    let sent = || sum(sensor.find("usage").pid(child).all().iter().map(of))[2];
    assert!(comes(|| sent() > 900_000), "what it sent is told: {:#?}", told(&sensor, running.pid()));
    assert!(sent() < 950_000, "{}", sent());
    running.go();
    running.go();
    running.close();
    let end = sensor.stop();
    end.clean();
    let parent = end.find("usage").pid(running.pid()).all();
    let [received, _, sent, _] = sum(parent.iter().map(of));
    assert!(received > 900_000 && sent < 60_000, "the other end is the parent's: {parent:#?}");
}

/// Who dies with its connections open leaves them to the kernel.
#[test]
fn what_is_moved_after_the_end_is_told_too() {
    if skip() {
        return;
    }
    let (_lock, sensor) = each_second();
    let steps = program::join([
        words!["netns", "tcp", "a", "4", "bind", "a", "127.0.0.1", "0", "listen", "a"],
        // It ends at once; what it wrote is sent when the other reads.
        nest(
            "fork",
            words![
                "user",
                "4322",
                "tcp",
                "b",
                "4",
                "connect",
                "b",
                "127.0.0.1",
                "@a",
                "give",
                "b",
                "1500000"
            ],
        ),
        words!["accept", "a", "c", "say", "ended", "wait", "take", "c", "1500000", "say", "did", "wait"],
    ]);
    let mut running = Running::of(net(), steps);
    let child: u32 = running.line().strip_prefix("pid ").unwrap().trim().parse().unwrap();
    running.until("ended");
    let exit = sensor.find("exit").pid(child).wait();
    let early = of(&exit)[2];
    assert!(early < 1_500_000, "the other hasn't read: {exit:#}");
    running.go();
    running.until("did");
    sensor
        .find("usage")
        .pid(child)
        .such("late", |event| event.num("event.sequence") > exit.num("event.sequence") && of(event)[2] > 0)
        .wait();
    running.end();
    let end = sensor.stop();
    end.clean();
    let [_, _, sent, _] = life(&end, &exit);
    assert!((1_500_000..1_600_000).contains(&sent), "{sent}: {exit:#}");
    let users = end.find("usage").with("sensor.usage.scope", "user").with("user.id", "4322").all();
    assert_eq!(sum(users.iter().map(of)), life(&end, &exit), "{users:#?}");
}

/// A name is looked up so: a socket that nobody bound or connected, and an end before anybody looks.
#[test]
fn who_sends_and_ends_at_once_is_told() {
    if skip() {
        return;
    }
    const EACH: u64 = 5;
    let (_lock, sensor) = each_second();
    let child =
        nest("fork", words!["udp", "b", "4", "datagrams", "b", "127.0.0.1", "@a", "1000", EACH.to_string()]);
    let mut steps = vec![words!["netns", "udp", "a", "4", "bind", "a", "127.0.0.1", "0"]];
    steps.extend(vec![child; 10]);
    steps.push(words!["say", "did", "wait"]);
    let mut running = Running::of(net(), program::join(steps));
    running.until("did");
    running.end();
    let pid = running.pid();
    let end = sensor.stop();
    end.clean();
    let exits = end.find("exit").with("process.parent.pid", pid).all();
    assert_eq!(exits.len(), 10);
    for exit in exits {
        let [.., sent_bytes, sent] = life(&end, &exit);
        assert_eq!((sent_bytes, sent), (EACH * (1000 + UDP4), EACH), "{exit:#}");
    }
}

/// A ping is answered by the kernel: that answer belongs to no process.
#[test]
fn what_is_nobodys_has_a_row_of_its_own() {
    if skip() {
        return;
    }
    let (_lock, sensor) = each_second();
    // Resets for a port where nobody listens come from no socket.
    let steps = words!["tcp", "b", "4", "connect", "b", "127.0.0.1", "1"];
    for _ in 0..20 {
        let mut running = Running::of(net(), steps.clone());
        running.wait();
    }
    let row = sensor.find("usage").with("sensor.usage.scope", "unaccounted").wait();
    row.whole();
    assert!(!row.has("process.pid") && !row.has("user.id") && !row.has("sensor.usage.cpu_ns"), "{row:#}");
    let end = sensor.stop();
    end.clean();
    let rows = end.find("usage").with("sensor.usage.scope", "unaccounted").all();
    let [.., sent] = sum(rows.iter().map(of));
    assert!(sent >= 20, "{rows:#?}");
}

/// How many packets the other program has counted, as it says next.
fn tapped(running: &Running) -> u64 {
    let line = running.line();
    line.trim().strip_prefix("tapped ").unwrap().parse().unwrap()
}

/// A program of another's at the root of the cgroups goes on counting, before, beside and after the sensor.
#[test]
fn another_program_of_the_cgroup_is_left_as_it_is() {
    if skip() {
        return;
    }
    let Some(root) = cgroups() else {
        let _ = because("no cgroups of version 2 are mounted");
        return;
    };
    let lock = lock::alone();
    let send = words!["datagrams", "b", "127.0.0.1", "@a", "100", "50", "tapped", "t", "wait"];
    let mut steps = words!["udp", "a", "4", "bind", "a", "127.0.0.1", "0", "udp", "b", "4"];
    steps.extend(words!["bind", "b", "127.0.0.1", "0", "tap", "t", &root, "beside"]);
    for _ in 0..3 {
        steps.extend(send.clone());
    }
    let mut running = Running::of(net(), steps);
    let before = tapped(&running);
    assert!(before >= 50, "{before}");
    let sensor = Sensor::with().config("[usage]\ninterval_s = 1\n").live();
    running.go();
    let beside = tapped(&running);
    assert!(beside >= before + 50, "{beside}");
    let usage = sensor.find("usage").pid(running.pid()).with("sensor.usage.scope", "process").wait();
    assert_eq!(usage.num("sensor.usage.net.tx_packets"), 50, "{usage:#}");
    sensor.stop().clean();
    running.go();
    let after = tapped(&running);
    assert!(after >= beside + 50, "{after}");
    running.end();
    drop(lock);
}

/// One that was attached so that none may stand beside it is not replaced: what isn't seen then is told.
#[test]
fn an_exclusive_program_of_the_cgroup_is_not_replaced() {
    if skip() {
        return;
    }
    let Some(root) = cgroups() else {
        let _ = because("no cgroups of version 2 are mounted");
        return;
    };
    let lock = lock::alone();
    let steps = words![
        "udp",
        "a",
        "4",
        "bind",
        "a",
        "127.0.0.1",
        "0",
        "udp",
        "b",
        "4",
        "tap",
        "t",
        &root,
        "alone",
        "say",
        "on",
        "wait",
        "datagrams",
        "b",
        "127.0.0.1",
        "@a",
        "100",
        "50",
        "tapped",
        "t",
        "wait"
    ];
    let mut running = Running::of(net(), steps);
    assert_eq!(running.until("on"), [""; 0], "it is attached");
    let sensor = Sensor::with().config("[usage]\ninterval_s = 1\n").live();
    let coverage = sensor.find("coverage").wait().to_string();
    assert!(coverage.contains("cgroup_skb") && coverage.contains("unseen"), "{coverage}");
    running.go();
    let count = tapped(&running);
    assert!(count >= 50, "{count}");
    sensor.stop().clean();
    running.end();
    // Nobody writes any more: it is taken off, and doesn't stand in the way of the next.
    running.rest();
    drop(lock);
}
