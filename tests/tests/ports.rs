//! `sensor ports`: what listens in network namespaces that the test makes, whose it is, who can reach it, what is odd.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that can't go on fails the test")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use tests::answer::run;
use tests::place::{mount_bind, private_mounts};
use tests::program::{actor, copy, join, nest, net, steps};
use tests::sensor::{binary, command};
use tests::skip::{because, skip};
use tests::{Answer, Event, Folder, Running, words};

/// What `ports` answers. On some machines nobody may look at the first process: its sockets are then nobody's.
fn ports(words: &[&str]) -> Answer {
    let words: Vec<OsString> = ["ports"].iter().chain(words).map(OsString::from).collect();
    whole(Answer::to(&words))
}

fn whole(answer: Answer) -> Answer {
    let of_first = "of the sockets: what process 1 has open, which may not be read";
    let known = |part: &str| part.ends_with(of_first) || part.contains("sockets of vsock of processes");
    let said = answer.said.trim().trim_start_matches("sensor: not seen: ").to_owned();
    let complete = answer.status == Some(0);
    assert!(
        complete || answer.status == Some(4) && said.split("; ").all(known),
        "{:?} {said}",
        answer.status
    );
    answer
}

/// A program in a network namespace of its own, where only the loopback is.
fn alone(line: &str) -> Running {
    on(&net(), &format!("netns {line} say runs wait"))
}

fn on(program: &Path, line: &str) -> Running {
    let running = Running::of(program, steps(line));
    let before = running.until("runs");
    assert!(!before.iter().any(|line| line.contains("failed")), "{before:?}");
    running
}

fn of_pid(answer: &Answer, pid: u32) -> Vec<&Event> {
    answer.rows.iter().filter(|row| row.text("process.pid") == Some(pid.to_string())).collect()
}

/// The one of a process on this port.
fn at(answer: &Answer, pid: u32, port: u16) -> &Event {
    let all = of_pid(answer, pid);
    let found = all.iter().find(|row| row.text("server.port") == Some(port.to_string()));
    found.unwrap_or_else(|| panic!("no port {port} of {pid} in {:#?}: {}", answer.rows, answer.said))
}

fn sentences(row: &Event) -> String {
    if row.has("sensor.findings") { row.texts("sensor.findings").join("\n") } else { String::new() }
}

fn namespace(path: &str) -> String {
    fs::metadata(path).unwrap().ino().to_string()
}

#[test]
fn listeners_of_another_namespace_are_seen_as_what_they_are() {
    if skip() {
        return;
    }
    let running = alone(
        "tcp a 6 bind a :: 90 listen a tcp b 6 v6only b bind b :: 91 listen b tcp c 4 bind c 127.0.0.1 92 listen c \
         udp d 4 bind d 0.0.0.0 93 tcp e 4 bind e 0.0.0.0 94 tcp f 4 connect f 127.0.0.1 92",
    );
    let answer = ports(&[]);
    let (pid, own) = (running.pid(), namespace(&format!("/proc/{}/ns/net", running.pid())));
    for (port, transport, state) in
        [(90, "tcp", "listening"), (91, "tcp", "listening"), (92, "tcp", "listening"), (93, "udp", "bound")]
    {
        let row = at(&answer, pid, port);
        assert_eq!((row.str("network.transport"), row.str("sensor.socket.state")), (transport, state));
        assert_eq!(row.str("sensor.socket.netns"), own, "{row:#}");
        assert_eq!(row.str("sensor.reach"), "loopback", "{row:#}");
        assert_eq!(row.str("event.kind"), "state");
        assert!(!row.has("sensor.firewall") && !row.has("event.severity"), "{row:#}");
        let owner = &row.list("sensor.owners")[0];
        assert_eq!(owner["pid"], pid);
        assert_eq!(owner["executable"], net().to_str().unwrap());
        assert_eq!(owner["verdict"], "present");
        assert_eq!(row.value("sensor.held_since"), row.value("process.start"));
    }
    assert!(at(&answer, pid, 90).truth("sensor.wildcard_also_ipv4"));
    assert!(!at(&answer, pid, 91).truth("sensor.wildcard_also_ipv4"));
    assert!(!at(&answer, pid, 92).has("sensor.wildcard_also_ipv4"));
    assert_eq!(at(&answer, pid, 92).str("sensor.exposure"), "loopback");
    // From Linux 6.8 on the kernel also shows what is bound and silent; a connection is no listener.
    let silent = of_pid(&answer, pid).len() - 4;
    assert!(silent <= 1, "{:#?}", of_pid(&answer, pid));
    if silent == 1 {
        assert_eq!(at(&answer, pid, 94).str("sensor.socket.state"), "bound");
    }
    let exposed = ports(&["--exposed"]);
    assert!(of_pid(&exposed, pid).is_empty(), "only the loopback leads there");
}

#[test]
fn all_who_hold_a_socket_own_it_the_oldest_first() {
    if skip() {
        return;
    }
    let running = Running::of(
        net(),
        steps("netns tcp a 4 bind a 0.0.0.0 80 listen a spawn 4 say child wait wait wait"),
    );
    let child: u32 = running.line().strip_prefix("pid ").unwrap().parse().unwrap();
    running.until("child");
    let answer = ports(&[]);
    let row = at(&answer, running.pid(), 80);
    let pids: Vec<u64> =
        row.list("sensor.owners").iter().map(|owner| owner["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids, [running.pid(), child].map(u64::from));
    assert!(!row.has("sensor.socket.sharing"), "it is one socket: {row:#}");
}

#[test]
fn sharing_a_port_is_odd_when_the_executables_differ() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let other = folder.at("other");
    copy(&net(), &other);
    let listens = |address: &str, port: u16| {
        format!("tcp a 4 reuseport a bind a {address} {port} listen a say runs wait")
    };
    let first = on(&net(), &format!("netns {}", listens("0.0.0.0", 80)));
    let within = |program: &Path, line: String| {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--net=/proc/{}/ns/net", first.pid())).arg(program).args(steps(&line));
        let running = Running::start(&mut nsenter);
        running.until("runs");
        running
    };
    let second = within(&net(), listens("0.0.0.0", 80));
    let answer = ports(&[]);
    for running in [&first, &second] {
        let row = at(&answer, running.pid(), 80);
        assert_eq!(row.num("sensor.socket.sharing"), 2);
        assert!(!row.has("event.severity"), "the same executable: {row:#}");
    }
    let third = within(&other, listens("0.0.0.0", 80));
    let narrow = within(&other, listens("127.0.0.1", 80));
    let answer = ports(&[]);
    for (running, sentence) in [
        (&first, "another executable has the same address and port"),
        (&third, "another executable has the same address and port"),
        (&narrow, "takes from another executable what arrives for this address"),
    ] {
        let row = at(&answer, running.pid(), 80);
        assert_eq!(row.num("event.severity"), 73, "{row:#}");
        assert!(sentences(row).contains(sentence), "{row:#}");
    }
    assert!(sentences(at(&answer, narrow.pid(), 80)).contains(net().to_str().unwrap()));
    // The suspicious ones stand first.
    let severity = |row: &Event| row.text("event.severity").map_or(0, |number| number.parse().unwrap());
    let severities: Vec<u64> = answer.rows.iter().map(severity).collect();
    assert!(severities.is_sorted_by(|a, b| a >= b), "{severities:?}");
}

#[test]
fn a_filtered_socket_without_a_listener_looks_like_a_backdoor() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let gone = folder.at("gone");
    copy(&net(), &gone);
    let backdoor = on(&gone, "netns packet p filter p 7 say runs wait");
    fs::remove_file(&gone).unwrap();
    let extended = alone("packet p filter-extended p");
    let raw = alone("raw r filter r 3");
    let sniffer = alone("packet p");
    let server = alone("packet p filter p 5 tcp a 4 bind a 127.0.0.1 80 listen a");
    let answer = ports(&[]);
    let only = |running: &Running, transport: &str| {
        let rows = of_pid(&answer, running.pid());
        let row = rows.iter().find(|row| row.str("network.transport") == transport);
        (*row.unwrap_or_else(|| panic!("{rows:#?}"))).clone()
    };
    for (running, transport, filter, severity) in [
        (&backdoor, "packet", "classic", 99),
        (&extended, "packet", "extended", 73),
        (&raw, "icmp", "classic", 73),
    ] {
        let row = only(running, transport);
        assert_eq!(row.str("sensor.socket.filter"), filter, "{row:#}");
        assert_eq!(row.num("event.severity"), severity, "{row:#}");
        assert!(
            sentences(&row).contains("BPFDoor") && sentences(&row).contains("listens on no port"),
            "{row:#}"
        );
    }
    assert!(sentences(&only(&backdoor, "packet")).contains("a filter of 7 instructions"));
    assert!(only(&backdoor, "packet").texts("sensor.findings")[1].contains("deleted while it runs"));
    assert_eq!(only(&backdoor, "packet").str("sensor.socket.name"), "all");
    assert_eq!(only(&raw, "icmp").str("sensor.socket.name"), "raw");
    for running in [&sniffer, &server] {
        let row = only(running, "packet");
        assert_eq!(row.num("event.severity"), 47, "{row:#}");
        assert!(
            sentences(&row).contains("past all ports") && !sentences(&row).contains("BPFDoor"),
            "{row:#}"
        );
    }
    assert!(!only(&sniffer, "packet").has("sensor.socket.filter"));
}

#[test]
fn sockets_without_ip_have_names() {
    if skip() {
        return;
    }
    let name = "evil\x1b[2J\nx";
    let words = join([
        steps("netns vsock v 7777 listen v netlink n 9 1"),
        words!["unix", "u", name],
        steps("listen u say runs wait"),
    ]);
    let running = Running::of(net(), words);
    let before = running.until("runs");
    let answer = ports(&[]);
    let rows = of_pid(&answer, running.pid());
    let of = |transport: &str| rows.iter().find(|row| row.str("network.transport") == transport);
    assert_eq!(of("unix").unwrap().str("sensor.socket.name"), format!("@{name}"));
    assert_eq!(of("netlink").unwrap().str("sensor.socket.name"), "audit");
    // Without sockets of vsock in the kernel making one fails.
    if before.is_empty() {
        let row = of("vsock").unwrap();
        assert_eq!((row.str("sensor.socket.name"), row.num("server.port")), ("any:7777", 7777));
        assert_eq!(row.str("sensor.socket.state"), "listening");
    }
    let text = String::from_utf8(run(command().args(["ports", "--format", "text"])).stdout).unwrap();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
    assert!(text.contains("@evil\\x1b[2J\\x0ax"), "{text}");
}

#[test]
fn a_firewall_that_closes_the_port_is_told() {
    if skip() {
        return;
    }
    let line = "netns tcp a 4 bind a 0.0.0.0 80 listen a tcp b 4 bind b 0.0.0.0 81 listen b \
                tcp c 6 bind c :: 82 listen c udp d 4 bind d 0.0.0.0 80 firewall 80 82 say runs wait";
    let running = Running::of(net(), steps(line));
    let refused = running.until("runs").iter().any(|line| line.contains("failed"));
    if refused && because("this kernel has no nf_tables") {
        return;
    }
    let answer = ports(&[]);
    let told = |port, transport: &str| {
        let rows = of_pid(&answer, running.pid());
        let row = rows.iter().find(|row| {
            row.text("server.port") == Some(u16::to_string(&port))
                && row.str("network.transport") == transport
        });
        row.unwrap().str("sensor.firewall").to_owned()
    };
    assert_eq!(told(80, "tcp"), "open");
    assert_eq!(told(81, "tcp"), "closed");
    assert_eq!(told(80, "udp"), "closed");
    assert_eq!(told(82, "tcp"), "not_judged", "from one address it is open");
    let text = String::from_utf8(run(command().args(["ports", "--format", "text"])).stdout).unwrap();
    assert!(text.contains("a firewall has rules for input; not judged"), "{text}");
}

#[test]
fn what_others_can_reach_is_told_apart() {
    if skip() {
        return;
    }
    // The other end of the link is in a namespace of its own.
    let line = "netns tcp a 4 bind a 0.0.0.0 80 listen a tcp b 4 bind b 127.0.0.1 81 listen b packet p \
                tcp c 4 freebind c bind c 10.77.0.1 82 listen c tcp d 4 bind d 0.0.0.0 83 listen d say runs wait \
                firewall 80 0 say closed wait";
    let mut running = Running::of(net(), steps(line));
    running.until("runs");
    let pid = running.pid().to_string();
    let ip = |words: &str| {
        let words = steps(words);
        let done =
            Command::new("nsenter").arg(format!("--net=/proc/{pid}/ns/net")).arg("ip").args(words).status();
        done.is_ok_and(|status| status.success())
    };
    if !ip("link add one type veth peer name two") && because("`ip` can't make a link here") {
        return;
    }
    assert!(ip("addr add 10.77.0.1/24 dev one") && ip("link set one up") && ip("link set two up"));
    let own = running.pid();
    let reached = |answer: &Answer| {
        let mut ports: Vec<String> =
            of_pid(answer, own).iter().filter_map(|row| row.text("server.port")).collect();
        ports.sort();
        (ports, of_pid(answer, own).iter().any(|row| row.str("network.transport") == "packet"))
    };
    let exposed = ports(&["--exposed"]);
    assert_eq!(reached(&exposed), (vec!["80".into(), "82".into(), "83".into()], true));
    assert_eq!(at(&exposed, own, 80).str("sensor.reach"), "private");
    running.go();
    let refused = running.until("closed").iter().any(|line| line.contains("failed"));
    if refused && because("this kernel has no nf_tables") {
        return;
    }
    assert_eq!(reached(&ports(&["--exposed"])), (vec!["80".into()], true), "the others are closed");
    let text =
        String::from_utf8(run(command().args(["ports", "--exposed", "--format", "text"])).stdout).unwrap();
    assert!(text.contains("2 more that a firewall closes are not shown"), "{text}");
}

#[test]
fn namespaces_are_found_whatever_keeps_them() {
    if skip() {
        return;
    }
    let listens = "tcp a 4 bind a 127.0.0.1 80 listen a";
    let folder = Folder::new();
    let place = folder.at("space");
    fs::write(&place, "").unwrap();
    private_mounts(|| kept_namespaces(&place, listens));
}

fn kept_namespaces(place: &Path, listens: &str) {
    // A thread lives there, its process doesn't.
    let thread = nest("thread", steps(&format!("netns {listens} say there wait")));
    let thread = Running::of(net(), thread);
    thread.until("there");
    // Nobody lives there; a descriptor leads there, and a socket is of it.
    let descriptor = on(&net(), &format!("here h netns here k {listens} back h say runs wait"));
    // Nothing but the socket is of it.
    let socket = on(&net(), &format!("here h netns {listens} back h close h say runs wait"));
    // It is mounted, and a socket is of it that a process elsewhere holds.
    let maker =
        on(&net(), &format!("here h netns here k {listens} say runs wait back h close k say back wait"));
    let mut maker = maker;
    mount_bind(Path::new(&format!("/proc/{}/ns/net", maker.pid())), place);
    maker.go();
    maker.until("back");
    let all = [
        (&thread, format!("a thread of process {}", thread.pid())),
        (&descriptor, format!("a descriptor of process {}", descriptor.pid())),
        (&socket, format!("the sockets of process {}", socket.pid())),
        (&maker, format!("a mount on {}", place.display())),
    ];
    // Another test's namespace can end while it is looked at, and this one be given its number; or the sensor of another test
    // has a thread there at that moment.
    let is_told = |answer: &Answer| {
        all.iter().all(|(running, kept)| {
            of_pid(answer, running.pid()).iter().any(|row| sentences(row).contains(kept))
        })
    };
    let mut answer = ports(&[]);
    for _ in 0..4 {
        if is_told(&answer) {
            break;
        }
        answer = ports(&[]);
    }
    for (running, kept) in &all {
        let row = at(&answer, running.pid(), 80);
        assert_eq!(row.num("event.severity"), 47, "{row:#}");
        assert!(sentences(row).contains(kept), "{kept}: {row:#}");
        let own = namespace(&format!("/proc/{}/ns/net", running.pid()));
        assert_ne!(row.str("sensor.socket.netns"), own);
    }
    let row = at(&answer, maker.pid(), 80);
    assert_eq!(row.str("sensor.socket.netns"), namespace(&place.display().to_string()));
}

#[test]
fn a_namespace_is_entered_also_when_something_is_mounted_over_its_process() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let empty = folder.folder("empty");
    private_mounts(|| {
        let running = alone("tcp a 4 bind a 127.0.0.1 8123 listen a");
        let space = namespace(&format!("/proc/{}/ns/net", running.pid()));
        mount_bind(&empty, Path::new(&format!("/proc/{}", running.pid())));
        let answer = Answer::to(&["ports"]);
        let row = answer.rows.iter().find(|row| row.str("sensor.socket.netns") == space);
        let row = row.unwrap_or_else(|| panic!("{:#?}: {}", answer.rows, answer.said));
        assert_eq!((row.num("server.port"), row.str("sensor.reach")), (8123, "loopback"));
        assert!(!row.has("sensor.owners"), "{row:#}");
        assert_eq!(answer.status, Some(4), "{}", answer.said);
        assert!(answer.said.contains("who holds") && answer.said.contains(&running.pid().to_string()));
        let files = Answer::to(&["files", "--pid", &running.pid().to_string()]);
        assert_eq!((files.status, files.rows.len()), (Some(4), 0), "{}", files.said);
        assert!(files.said.contains("may not be read"), "{}", files.said);
    });
}

#[test]
fn a_deleted_executable_that_listens_stands_out() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let path = folder.at("server");
    copy(&net(), &path);
    let running = on(&path, "netns tcp a 4 bind a 0.0.0.0 80 listen a say runs wait");
    fs::remove_file(&path).unwrap();
    let answer = ports(&[]);
    let row = at(&answer, running.pid(), 80);
    assert_eq!((row.str("sensor.exe.verdict"), row.num("event.severity")), ("deleted", 73));
    assert_eq!(row.list("sensor.owners")[0]["verdict"], "deleted");
    assert!(sentences(row).contains("deleted while it runs"));
}

#[test]
fn without_root_it_shows_what_it_may() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    copy(&binary(), &folder.at("sensor"));
    let hidden = alone("tcp a 4 bind a 0.0.0.0 80 listen a");
    let own = Running::of(net(), steps("user 65534 tcp a 4 bind a 127.0.0.1 0 listen a port a wait"));
    let line = own.line();
    let port = line.strip_prefix("port ").unwrap();
    let exec = nest("exec", words![folder.at("sensor"), "ports", "--format", "json"]);
    let answer = Answer::of(Command::new(actor()).args(join([words!["become", "65534"], exec])));
    assert_eq!(answer.status, Some(4), "{}", answer.said);
    assert!(answer.said.contains("in which network namespaces"), "{}", answer.said);
    assert!(answer.said.contains("who holds") && answer.said.contains("the firewall of"), "{}", answer.said);
    assert!(of_pid(&answer, hidden.pid()).is_empty());
    let port: u16 = port.parse().unwrap();
    let row = answer.row("server.port", &port.to_string());
    assert_eq!((row.str("network.transport"), row.str("sensor.reach")), ("tcp", "loopback"));
    assert!(!row.has("process.entity_id"), "nobody's start is known so well: {row:#}");
    // Its owner is of the same user; but who changed user may be looked at by root alone.
    assert_eq!(of_pid(&answer, own.pid()).len() + usize::from(!row.has("process.pid")), 1);
}

#[test]
fn wrong_usage_is_refused() {
    if skip() {
        return;
    }
    assert_eq!(run(command().args(["ports", "--user", "x"])).status.code(), Some(2));
    assert_eq!(run(command().args(["ports", "--format", "xml"])).status.code(), Some(2));
}
