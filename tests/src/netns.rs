//! A small world of network namespaces, that goes with the thread it was made in: a host, an outsider, one whom the host
//! allows, and a box behind the host, to which a port of it leads as to a container.

use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::answer::run;
use crate::place::{mount_tmpfs, private_mounts};
use crate::program::{Running, echo};
use crate::{DEADLINE, patience, words};

/// How long somebody is waited for who must not answer. Who is slower is taken for silent, so only the other checks of a
/// test say that the network works at all.
const SILENCE: Duration = Duration::from_millis(400);

/// The host's addresses, as the outsider and the allowed one see them.
pub const OUTSIDE: [&str; 2] = ["192.0.2.1", "2001:db8:1::1"];
/// See `OUTSIDE`.
pub const INSIDE: [&str; 2] = ["198.51.100.1", "2001:db8:2::1"];
/// Those of the outsider, of the allowed one, and of the box.
pub const OUTSIDER: [&str; 2] = ["192.0.2.2", "2001:db8:1::2"];
/// See `OUTSIDER`.
pub const ALLOWED: [&str; 2] = ["198.51.100.2", "2001:db8:2::2"];
/// See `OUTSIDER`.
pub const BOXED: [&str; 2] = ["172.30.0.2", "2001:db8:3::2"];

/// Another namespace than the host's.
#[derive(Debug)]
pub struct Town(File, String);

/// The others.
#[derive(Debug)]
pub struct World {
    /// Nobody knows them.
    pub outsider: Town,
    /// They are let in.
    pub allowed: Town,
    /// It is behind the host.
    pub boxed: Town,
}

/// Runs `what` in a thread that is in the host of a new world, with folders `/run` and `/var/lib` of its own.
pub fn world<T: Send>(what: impl FnOnce(&World) -> T + Send) -> T {
    private_mounts(|| {
        for folder in ["/run", "/var/lib"] {
            mount_tmpfs(Path::new(folder), "16m");
        }
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of our own");
        // What the kernel shows of a network belongs to the namespace that mounted it, and the switches are there.
        ip("link set lo up");
        for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(Path::new("/proc/sys/net").join(switch), "1").expect("forward packets");
        }
        let ends = [
            ("out", OUTSIDE, OUTSIDER),
            ("ok", INSIDE, ALLOWED),
            ("box", ["172.30.0.1", "2001:db8:3::1"], BOXED),
        ];
        let [outsider, allowed, boxed] = ends.map(|(name, here, there)| town(name, here, there));
        what(&World { outsider, allowed, boxed })
    })
}

fn town(name: &str, here: [&str; 2], there: [&str; 2]) -> Town {
    ip(&format!("netns add {name}"));
    ip(&format!("link add h-{name} type veth peer name eth0 netns {name}"));
    let within = format!("-n {name}");
    for (side, device, [four, six]) in [("", format!("h-{name}"), here), (&within, "eth0".to_owned(), there)]
    {
        ip(&format!("{side} addr add {four}/24 dev {device}"));
        ip(&format!("{side} addr add {six}/64 dev {device} nodad"));
        ip(&format!("{side} link set {device} up"));
    }
    ip(&format!("{within} link set lo up"));
    for (family, gateway) in [("-4", here[0]), ("-6", here[1])] {
        ip(&format!("{within} {family} route add default via {gateway}"));
    }
    Town(File::open(Path::new("/run/netns").join(name)).expect("its namespace"), name.to_owned())
}

/// Runs `ip`.
pub fn ip(words: &str) {
    let output = run(Command::new("ip").args(words.split_whitespace()));
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Starts an echo on a port of this namespace.
#[must_use]
pub fn echo_here(port: u16) -> Running {
    let running = Running::of(echo(), words![port.to_string()]);
    running.until("ready");
    running
}

/// Where something is.
#[must_use]
pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), port)
}

/// Connects, within this time.
#[must_use]
pub fn connect(to: SocketAddr, within: Duration) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, within).ok()?;
    stream.set_read_timeout(Some(patience(DEADLINE))).expect("a deadline");
    Some(stream)
}

/// Whether what is sent comes back.
#[must_use]
pub fn answers(stream: &mut TcpStream) -> bool {
    let mut back = [0; 4];
    stream.write_all(b"ping").and_then(|()| stream.read_exact(&mut back)).is_ok() && back == *b"ping"
}

/// Waits until a connection is cut.
#[must_use]
pub fn is_cut(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 4]), Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset)
}

/// Whether TCP gets through, for sure.
#[must_use]
pub fn reaches(to: SocketAddr) -> bool {
    connect(to, patience(DEADLINE)).is_some_and(|mut stream| answers(&mut stream))
}

/// Whether TCP is met by silence, or by a refusal.
#[must_use]
pub fn silent(to: SocketAddr) -> bool {
    connect(to, SILENCE).is_none()
}

/// Whether UDP gets through, for sure; datagrams may be lost on their way.
#[must_use]
pub fn udp_reaches(to: SocketAddr) -> bool {
    let end = Instant::now() + patience(DEADLINE);
    while Instant::now() < end {
        if !udp_silent(to) {
            return true;
        }
    }
    false
}

/// Whether UDP is met by silence.
#[must_use]
pub fn udp_silent(to: SocketAddr) -> bool {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.set_read_timeout(Some(SILENCE)).expect("a deadline");
    let sent = socket.connect(to).and_then(|()| socket.send(b"ping"));
    sent.and_then(|_| socket.recv(&mut [0; 4])).is_err()
}

impl Town {
    /// Does something there.
    pub fn there<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("enter it");
                what()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// What makes a command run there.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.1)).arg("--").arg(program);
        command
    }

    /// Starts an echo there.
    #[must_use]
    pub fn echo(&self, port: u16) -> Running {
        let running = Running::start(self.command(echo()).arg(port.to_string()));
        running.until("ready");
        running
    }
}
