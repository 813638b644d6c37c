//! Network bytes of sockets, by the real programs in the real kernel, against what was moved and what the
//! interface counted. Needs root.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that can't go on fails the test, there is nobody else to tell"
)]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use sensor::{
    config::Names,
    event::{Key, traffic::Traffic},
    kernel::{Kernel, Options, State},
    net::Amount,
};
use tests::{patience, program::mover, skip::skip};

/// Ends a test that hangs; measures nothing.
const DEADLINE: Duration = Duration::from_secs(30);
/// What the transport and IP put before the payload of a UDP datagram.
const UDP4: u64 = 28;
const UDP6: u64 = 48;
/// Headers of IP and of TCP with timestamps.
const TCP4: u64 = 52;
const TCP6: u64 = 72;
/// So much longer the header of an answer to a connect is.
const ANSWER_MORE: u64 = 8;

/// One at a time: what one moves, the others would read too.
static ALONE: Mutex<()> = Mutex::new(());

/// The programs at work, and what was read of them.
struct Accounts {
    kernel: Kernel,
    sockets: HashMap<u64, (Traffic, Amount)>,
    _runtime: tokio::runtime::Runtime,
    _alone: MutexGuard<'static, ()>,
}

impl Accounts {
    fn open() -> Option<Self> {
        if skip() {
            return None;
        }
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = Options {
            bulk_ring_bytes: 1024 * 1024,
            urgent_ring_bytes: 64 * 1024,
            names: Names::default(),
            hooks: None,
            log: false,
            executed: None,
            actions: None,
        };
        let kernel = {
            let _inside = runtime.enter();
            Kernel::start(&options).unwrap()
        };
        for row in kernel.coverage().iter().filter(|row| row.action == "usage") {
            assert_eq!(row.state, State::Seen, "{row:?}");
        }
        Some(Self { kernel, sockets: HashMap::new(), _runtime: runtime, _alone: alone })
    }

    fn read(&mut self) {
        let reading = self.kernel.traffic().unwrap();
        assert_eq!(reading.lost, []);
        assert_eq!((reading.rest.refused, reading.rest.full), (0, 0));
        for row in reading.sockets {
            let (last, sum) = self.sockets.entry(row.cookie).or_insert((row, Amount::default()));
            assert!(
                !last.ended || last.cookie != row.cookie || *sum == Amount::default(),
                "told after its end"
            );
            *sum = sum.plus(row.news());
            *last = row;
            assert_eq!(*sum, row.total, "what is new sums up to the total");
        }
    }

    /// Reads until these sockets have ended.
    fn until_ended(&mut self, cookies: &[u64]) {
        let deadline = Instant::now() + patience(DEADLINE);
        loop {
            self.read();
            let ended = |cookie| self.sockets.get(cookie).is_some_and(|(row, _)| row.ended);
            if cookies.iter().all(ended) {
                return;
            }
            assert!(Instant::now() < deadline, "not ended: {cookies:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn of(&self, cookie: u64) -> Traffic {
        self.sockets.get(&cookie).map(|(row, _)| *row).unwrap_or_else(|| panic!("no socket {cookie}"))
    }

    fn namespace(&self, netns: u32) -> Amount {
        let rows = self.sockets.values().filter(|(row, _)| row.netns == netns);
        rows.fold(Amount::default(), |sum, (row, _)| sum.plus(row.total))
    }
}

/// What the program said that it moved.
struct Moved {
    netns: u32,
    sender: u64,
    receiver: Option<u64>,
    /// Received and sent by the interface: bytes, packets.
    interface: [u64; 4],
}

fn moved(how: &str, count: u64) -> Moved {
    let output = Command::new(mover()).args([how, &count.to_string()]).output().unwrap();
    assert!(output.status.success(), "{how}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let find = |what: &str| {
        let numbers = text.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(' '))?;
        Some(numbers.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<u64>>())
    };
    Moved {
        netns: find("netns").unwrap()[0].try_into().unwrap(),
        sender: find("sender").unwrap()[0],
        receiver: find("receiver").map(|numbers| numbers[0]),
        interface: find("interface").unwrap().try_into().unwrap(),
    }
}

/// Within one in a hundred.
fn assert_near(counted: u64, expected: u64) {
    assert!(counted.abs_diff(expected) <= expected / 100, "{counted} is not {expected} within 1 %");
}

fn datagrams(how: &str, headers: u64) {
    const COUNT: u64 = 5000;
    let Some(mut accounts) = Accounts::open() else { return };
    let moved = moved(how, COUNT);
    let receiver = moved.receiver.unwrap();
    accounts.until_ended(&[moved.sender, receiver]);
    let bytes = COUNT * (100 + headers);
    let (sender, receiver) = (accounts.of(moved.sender), accounts.of(receiver));
    assert_eq!(sender.total, Amount { tx_bytes: bytes, tx_packets: COUNT, ..Amount::default() });
    assert_eq!(receiver.total, Amount { rx_bytes: bytes, rx_packets: COUNT, ..Amount::default() });
    assert_eq!((sender.protocol, sender.netns), (17, moved.netns));
    assert_eq!(sender.local.port(), 4001);
    assert_eq!(sender.remote.unwrap().port(), 4002);
    assert_eq!((receiver.local.port(), receiver.remote), (4002, None));
    assert!(sender.user.is_some() && receiver.user.is_none());
    let [rx_bytes, _, tx_bytes, _] = moved.interface;
    let all = accounts.namespace(moved.netns);
    assert_near(all.tx_bytes, tx_bytes);
    assert_near(all.rx_bytes, rx_bytes);
}

#[test]
fn udp_over_ipv4_is_exact() {
    datagrams("udp4", UDP4);
}

#[test]
fn udp_over_ipv6_is_exact() {
    datagrams("udp6", UDP6);
}

fn stream(how: &str) {
    const BYTES: u64 = 16_000_000;
    let Some(mut accounts) = Accounts::open() else { return };
    let moved = moved(how, BYTES);
    let receiver = moved.receiver.unwrap();
    accounts.until_ended(&[moved.sender, receiver]);
    let (sender, receiver) = (accounts.of(moved.sender), accounts.of(receiver));
    let headers = if how.ends_with('6') { TCP6 } else { TCP4 };
    // Some of it may have been sent twice, and the connection's first packets came before the receiver had a socket.
    assert!(sender.total.tx_bytes >= BYTES + sender.total.tx_packets * headers, "{how}: {sender:?}");
    assert!(
        receiver.total.rx_bytes >= BYTES + (receiver.total.rx_packets - 1) * headers,
        "{how}: {receiver:?}"
    );
    assert!(
        sender.total.tx_bytes <= moved.interface[2] && receiver.total.rx_bytes <= moved.interface[0],
        "{how}"
    );
    assert_eq!((sender.protocol, sender.netns, receiver.netns), (6, moved.netns, moved.netns));
    assert_eq!((sender.remote.unwrap().port(), receiver.local.port()), (4003, 4003));
    assert_eq!(sender.local, receiver.remote.unwrap());
    let all = accounts.namespace(moved.netns);
    let [rx_bytes, rx_packets, tx_bytes, tx_packets] = moved.interface;
    assert_near(all.tx_bytes, tx_bytes);
    assert_near(all.rx_bytes, rx_bytes);
    // The last acknowledgement is of a connection that has no socket any more.
    assert!(rx_packets - all.rx_packets <= 1 && rx_bytes - all.rx_bytes <= headers, "{how}: {all:?}");
    // What is cut into segments behind the counter has one header there. Over IPv6 older kernels count the listener's
    // answer to a connect nowhere.
    let segments = tx_packets - all.tx_packets;
    let untold = tx_bytes - all.tx_bytes;
    assert!(untold <= segments * headers + ANSWER_MORE, "{how}: {untold} in {segments}, {all:?}");
}

#[test]
fn a_stream_is_counted_over_both_families() {
    stream("write4");
    stream("write6");
}

#[test]
fn no_way_of_sending_is_missed() {
    for how in ["sendfile4", "splice4", "uring4", "sendfile6", "splice6", "uring6"] {
        stream(how);
    }
}

#[test]
fn a_socket_that_several_processes_share_is_one() {
    stream("shared4");
    stream("shared6");
}

#[test]
fn between_namespaces_it_is_what_the_interface_counts() {
    const BYTES: u64 = 16_000_000;
    /// `veth` counts the Ethernet header.
    const ETHERNET: u64 = 14;
    for how in ["veth4", "veth6"] {
        let Some(mut accounts) = Accounts::open() else { return };
        let moved = moved(how, BYTES);
        accounts.until_ended(&[moved.sender]);
        let sender = accounts.of(moved.sender);
        assert!(sender.total.tx_bytes > BYTES);
        let [rx_bytes, rx_packets, tx_bytes, tx_packets] = moved.interface;
        let all = accounts.namespace(moved.netns);
        assert_near(all.tx_bytes, tx_bytes - tx_packets * ETHERNET);
        // Few bytes come back; some of them are of ARP or of neighbour discovery.
        let back = rx_bytes - rx_packets * ETHERNET;
        assert!(all.rx_bytes <= back && back - all.rx_bytes < 1500, "{how}: {all:?} of {back}");
        assert_eq!(sender.remote.unwrap().port(), 4003);
    }
}

#[test]
fn a_reading_tells_what_is_new_and_who_sends() {
    let Some(mut accounts) = Accounts::open() else { return };
    let one = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    one.connect(other.local_addr().unwrap()).unwrap();
    let own = |accounts: &Accounts| {
        let mut rows = accounts.sockets.values().map(|(row, _)| *row);
        rows.find(|row| row.local == one.local_addr().unwrap())
    };
    for round in 1..=3_u64 {
        one.send(&[0; 72]).unwrap();
        other.recv(&mut [0; 72]).unwrap();
        accounts.read();
        let row = own(&accounts).unwrap();
        assert_eq!((row.total.tx_bytes, row.news().tx_bytes), (round * 100, 100));
        assert!(!row.ended);
        let Some(Key { pid, .. }) = row.user else { panic!("{row:?}") };
        assert_eq!(pid, std::process::id());
        assert_eq!(row.remote.unwrap().ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
    }
    accounts.sockets.clear();
    accounts.read();
    assert_eq!(own(&accounts), None, "nothing is new");
}

/// Many sockets, each of which has something new: the time of one reading, and what is left when they end.
#[test]
fn a_hundred_thousand_sockets_are_read_in_little_time() {
    const SOCKETS: u64 = 100_000;
    let Some(mut accounts) = Accounts::open() else { return };
    let mut child = Command::new(mover())
        .args(["many4", &SOCKETS.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = lines.map_while(Result::ok);
    let netns: u32 = said.next().unwrap().strip_prefix("netns ").unwrap().parse().unwrap();
    assert_eq!(said.next().as_deref(), Some("ready"));
    let before = cpu();
    let reading = accounts.kernel.traffic().unwrap();
    let took = cpu() - before;
    let one = Amount { tx_bytes: 100, tx_packets: 1, ..Amount::default() };
    let mine = reading.sockets.iter().filter(|row| row.netns == netns && row.news() == one);
    assert_eq!(mine.count() as u64, SOCKETS);
    let before = cpu();
    let idle = accounts.kernel.traffic().unwrap();
    eprintln!("{SOCKETS} sockets: {took:?} of CPU when all are new, {:?} when none is", cpu() - before);
    assert!(!idle.sockets.iter().any(|row| row.netns == netns));
    // Without optimisation the reader's own part is several times as slow.
    let most = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 });
    // It is the processor's time alone, and by that an emulated one is slower than by all the waiting that tests do.
    assert!(took < patience(patience(most)), "{took:?}");
    drop(child.stdin.take());
    let deadline = Instant::now() + patience(DEADLINE);
    let mut ended = 0;
    while ended < SOCKETS {
        let reading = accounts.kernel.traffic().unwrap();
        let rows = reading.sockets.iter().filter(|row| row.netns == netns && row.ended).count() as u64;
        let lost: u64 = reading.lost.iter().map(|(_, count)| count).sum();
        ended += rows + lost;
        // These had counters; of others that begin meanwhile, the kernel may refuse some, which is counted.
        assert_eq!(reading.rest.full, 0);
        assert!(Instant::now() < deadline, "{ended} ended");
    }
    assert!(child.wait().unwrap().success());
}

/// CPU time of this thread.
fn cpu() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
