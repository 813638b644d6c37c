//! Syslog: rsyslog by every way, and servers that are none.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::mpsc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sensor::delivery::PATIENCE;
use tests::{
    Folder,
    certificate::{Authority, Identity, can_be_made},
    rsyslog::{self, Rsyslog, Told, Way},
    skip::missing,
};

use crate::{
    begin,
    memory::{Memory, id},
    trouble, until,
};

fn keys(transport: &str, address: &str) -> String {
    format!("type = \"syslog\"\ntransport = \"{transport}\"\naddress = \"{address}\"\n")
}

fn tls(address: &str, authority: &Authority, own: Option<&Identity>) -> String {
    let own = own.map_or_else(String::new, |own| {
        format!(", cert_file = {:?}, key_file = {:?}", own.certificate, own.key)
    });
    format!("{}tls = {{ ca_file = {:?}{own} }}\n", keys("tls", address), authority.pem())
}

/// The ids of what it was told, once there are so many of them.
fn ids(server: &Rsyslog, count: usize) -> Vec<String> {
    let of = |told: &Told| {
        let json: serde_json::Value = serde_json::from_str(&told.message).unwrap();
        json["event"]["id"].as_str().unwrap().to_owned()
    };
    let all = |told: &Vec<Told>| told.iter().map(of).collect::<BTreeSet<_>>().len() >= count;
    until("all is there", || Some(server.told()).filter(all)).iter().map(of).collect()
}

fn wanted(count: u64) -> Vec<String> {
    (1..=count).map(id).collect()
}

fn not_here() -> bool {
    !rsyslog::is_here() && missing("there is no rsyslog-gnutls")
}

#[test]
fn messages_arrive_as_they_are_by_udp() {
    if not_here() {
        return;
    }
    let server = Rsyslog::start(Way::Udp);
    let journal = Memory::with(20, 300);
    journal.push(&format!(r#"{{"event":{{"id":"{}"}},"message":"{}"}}"#, id(21), "x".repeat(70_000)));
    let delivery = begin(&keys("udp", &server.address()), &journal);
    journal.until(|state| state.acknowledged == 21);
    assert_eq!(ids(&server, 20), wanted(20));
    let told = server.told().remove(0);
    assert_eq!(told.priority, 16 * 8 + 6);
    assert_eq!(told.head[0], "2024-02-29T12:34:56.123456Z");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!((told.head[1].as_str(), told.head[2].as_str()), (host.trim(), "sensor"));
    assert_eq!((told.head[4].as_str(), told.head[5].as_str()), ("exec", "-"));
    assert!(told.message.starts_with(r#"{"event":"#) && told.message.contains(r"\u00e9"), "{told:?}");
    let dead = journal.state().dead.clone();
    assert!(dead.len() == 1 && dead[0].0 == id(21) && dead[0].1.contains("65507 are the most"), "{dead:?}");
    assert!(delivery.stop(PATIENCE).is_empty());
}

#[test]
fn a_server_that_comes_back_is_told_what_it_missed() {
    if not_here() {
        return;
    }
    let mut server = Rsyslog::start(Way::Tcp);
    let journal = Memory::with(500, 1000);
    let delivery = begin(&keys("tcp", &server.address()), &journal);
    assert_eq!(ids(&server, 500), wanted(500));
    server.end();
    journal.add(501..=600, 1000);
    let said = trouble(&delivery);
    assert!(said.contains("127.0.0.1"), "{said}");
    server.begin();
    let all = ids(&server, 600);
    assert_eq!(all, wanted(600), "once each, and in order");
    journal.until(|state| state.acknowledged == 600);
    assert!(delivery.stop(PATIENCE).is_empty());
}

#[test]
fn a_server_that_does_not_read_is_waited_for_and_holds_up_no_stop() {
    if not_here() {
        return;
    }
    let server = Rsyslog::start(Way::Tcp);
    let pid = Pid::from_raw(server.pid().cast_signed());
    kill(pid, Signal::SIGSTOP).unwrap();
    // More than there is room for on the way.
    let journal = Memory::with(20_000, 1000);
    let delivery = begin(&keys("tcp", &server.address()), &journal);
    let stuck = delivery.stop(Duration::from_millis(300)).len();
    let before = journal.state().acknowledged;
    kill(pid, Signal::SIGCONT).unwrap();
    assert!(stuck == 1 && before < 20_000, "{before}");
    // The next run begins where it was acknowledged.
    let mut next = journal.clone();
    sensor::delivery::Cursor::rewind(&mut next);
    let delivery = begin(&keys("tcp", &server.address()), &journal);
    journal.until(|state| state.acknowledged == 20_000);
    let all: BTreeSet<_> = ids(&server, 20_000).into_iter().collect();
    assert_eq!(all, wanted(20_000).into_iter().collect(), "none is missing");
    delivery.stop(PATIENCE);
}

#[test]
fn by_tls_both_sides_show_who_they_are() {
    if not_here() {
        return;
    }
    let authority = Authority::new();
    let server = authority.issue("server", "IP:127.0.0.1");
    let client = authority.issue("client", "DNS:sensor");
    let server = Rsyslog::start(Way::Tls(&server, Some(&authority)));
    let journal = Memory::with(300, 1000);
    let delivery = begin(&tls(&server.address(), &authority, Some(&client)), &journal);
    journal.until(|state| state.acknowledged == 300);
    assert_eq!(ids(&server, 300), wanted(300));
    delivery.stop(PATIENCE);
    // Without a certificate of ours, and with one that another made.
    let other = Authority::new();
    let stranger = other.issue("client", "DNS:sensor");
    for own in [None, Some(&stranger)] {
        let refused = Memory::with(3, 1000);
        let delivery = begin(&tls(&server.address(), &authority, own), &refused);
        let said = trouble(&delivery);
        assert!(said.contains("127.0.0.1"), "{said}");
        delivery.stop(Duration::ZERO);
        assert_eq!(refused.state().acknowledged, 0, "{own:?}: {said}");
    }
    assert_eq!(server.told().len(), 300);
}

#[test]
fn only_who_proves_who_he_is_gets_anything() {
    if not_here() {
        return;
    }
    let (authority, other) = (Authority::new(), Authority::new());
    let right = authority.issue("right", "IP:127.0.0.1");
    let expired = authority.expired(&right);
    let elsewhere = authority.issue("elsewhere", "IP:127.0.0.2");
    for (identity, believed, word) in [
        (&right, &other, "UnknownIssuer"),
        (&expired, &authority, "Expired"),
        (&elsewhere, &authority, "not valid for name"),
    ] {
        let server = Rsyslog::start(Way::Tls(identity, None));
        let journal = Memory::with(3, 1000);
        let delivery = begin(&tls(&server.address(), believed, None), &journal);
        let said = trouble(&delivery);
        assert!(said.contains(word) && said.contains("certificates"), "no {word}: {said}");
        delivery.stop(Duration::ZERO);
        assert_eq!((journal.state().acknowledged, server.bytes()), (0, 0));
    }
}

/// A server that does this with each connection.
fn listener(mut what: impl FnMut(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().filter_map(Result::ok).for_each(&mut what));
    address
}

/// Takes messages apart: the ids of those that came whole.
fn parse(bytes: &[u8]) -> Vec<String> {
    let (mut ids, mut rest) = (Vec::new(), bytes);
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
        let Some(message) = rest.get(space + 1..space + 1 + length) else { break };
        let message = std::str::from_utf8(message).unwrap();
        let json: serde_json::Value = serde_json::from_str(message.split_once(" - ").unwrap().1).unwrap();
        ids.push(json["event"]["id"].as_str().unwrap().to_owned());
        rest = &rest[space + 1 + length..];
    }
    ids
}

#[test]
fn a_connection_cut_in_the_middle_costs_nothing() {
    let (tell, told) = mpsc::channel();
    let mut count = 0;
    let address = listener(move |mut stream| {
        count += 1;
        let mut got = Vec::new();
        if count <= 3 {
            // A part of it, which is read, and then no more.
            let mut room = vec![0; 50_000 * count];
            stream.read_exact(&mut room).unwrap();
            nix::sys::socket::setsockopt(
                &stream.as_fd(),
                nix::sys::socket::sockopt::Linger,
                &nix::libc::linger { l_onoff: 1, l_linger: 0 },
            )
            .unwrap();
            got = room;
        } else {
            let _ = stream.read_to_end(&mut got);
        }
        tell.send(parse(&got)).unwrap();
    });
    let journal = Memory::with(2000, 1000);
    let delivery = begin(&keys("tcp", &address), &journal);
    journal.until(|state| state.acknowledged == 2000);
    delivery.stop(PATIENCE);
    drop(delivery);
    let cut: Vec<Vec<String>> = (0..4).map(|_| told.recv_timeout(tests::DEADLINE).unwrap()).collect();
    assert!(cut[..3].iter().all(|ids| !ids.is_empty() && wanted(2000).starts_with(ids)));
    let all: BTreeSet<String> = cut.into_iter().flatten().collect();
    assert_eq!(all, wanted(2000).into_iter().collect());
}

#[test]
fn what_speaks_no_tls_or_nothing_is_given_up() {
    if !can_be_made() && missing("there is no openssl") {
        return;
    }
    let authority = Authority::new();
    let noise = listener(|mut stream| drop(stream.write_all(&b"\x16\x03\x03\xff\xff\x1b[2J".repeat(4096))));
    let closes = listener(drop);
    for address in [noise, closes] {
        let journal = Memory::with(1, 100);
        let delivery = begin(&tls(&address, &authority, None), &journal);
        let said = trouble(&delivery);
        assert!(said.contains("agreeing on TLS with") && !said.contains('\u{1b}'), "{said}");
        delivery.stop(Duration::ZERO);
    }
    // Nobody at all, and a name that is none.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (address, word) in [(nobody.as_str(), "connecting to"), ("no.such.name.invalid:1", "looking up")] {
        let journal = Memory::with(1, 100);
        let delivery = begin(&keys("tcp", address), &journal);
        assert!(trouble(&delivery).contains(word));
        delivery.stop(Duration::ZERO);
    }
}

#[test]
#[ignore = "takes a minute: cargo test -p sensor --test delivery -- --ignored"]
fn a_handshake_that_never_comes_and_a_reader_that_never_reads_are_given_up() {
    let authority = Authority::new();
    let silent = listener(std::mem::forget);
    let drips = listener(|mut stream| {
        for byte in [22, 3, 3, 64, 0, 2].into_iter().chain(std::iter::repeat(0)) {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    for address in [silent, drips] {
        let journal = Memory::with(1, 100);
        let delivery = begin(&tls(&address, &authority, None), &journal);
        let said = trouble(&delivery);
        assert!(said.contains("timed out"), "{said}");
        delivery.stop(Duration::ZERO);
    }
    let deaf = listener(std::mem::forget);
    let journal = Memory::with(50_000, 1000);
    let delivery = begin(&keys("tcp", &deaf), &journal);
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while delivery.tidings().0.remove(0).1.trouble.is_none() {
        assert!(std::time::Instant::now() < end);
        std::thread::yield_now();
    }
}

#[test]
fn where_nobody_listens_for_datagrams_the_host_says_so() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let journal = Memory::with(100, 100);
    let delivery = begin(&keys("udp", &closed), &journal);
    assert!(trouble(&delivery).contains("sending datagrams to"));
    delivery.stop(Duration::ZERO);
}

#[test]
fn certificates_that_can_not_be_used_are_told_at_the_start() {
    let folder = Folder::new();
    let wrong = folder.at("ca.pem");
    std::fs::write(&wrong, "no certificate").unwrap();
    let keys = format!("name = \"far\"\n{}tls = {{ ca_file = {wrong:?} }}\n", keys("tls", "127.0.0.1:1"));
    let config: sensor::config::Output = toml::from_str(&keys).unwrap();
    let host = sensor::host::Host::real().unwrap();
    let error = sensor::delivery::Outlet::new(&config, &host).err().unwrap().to_string();
    assert!(error.contains("`far`") && error.contains("ca.pem"), "{error}");
}
