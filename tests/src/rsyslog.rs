//! rsyslog on this host, with what it was told.

use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::certificate::{Authority, Identity};
use crate::{DEADLINE, Folder, patience};

const RSYSLOG: &str = "/usr/sbin/rsyslogd";
/// That which speaks TLS lies in a folder of the machine's kind.
const GTLS: &str = "/usr/share/doc/rsyslog-gnutls";

/// Whether it is here, with what it speaks TLS by.
#[must_use]
pub fn is_here() -> bool {
    Path::new(RSYSLOG).exists() && Path::new(GTLS).exists()
}

/// How it is reached.
#[derive(Clone, Copy, Debug)]
pub enum Way<'a> {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A secured stream: who it is, and whose clients it takes; none: everybody.
    Tls(&'a Identity, Option<&'a Authority>),
}

/// One line of what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Facility and severity.
    pub priority: u32,
    /// Time, host, program, its pid, the message's id, structured data.
    pub head: Vec<String>,
    /// The message.
    pub message: String,
}

/// The server; it goes with the test.
#[derive(Debug)]
pub struct Rsyslog {
    child: Option<Child>,
    folder: Folder,
    port: u16,
    udp: bool,
}

impl Rsyslog {
    /// On a free port of loopback.
    #[must_use]
    pub fn start(way: Way<'_>) -> Self {
        let folder = Folder::new();
        let udp = matches!(way, Way::Udp);
        // Free a moment ago: it tells no port that it chose itself.
        let port = match udp {
            true => UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()),
            false => TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()),
        };
        let port = port.expect("a port").port();
        fs::write(folder.at("conf"), config(&folder, way, port)).expect("write its configuration");
        let mut server = Self { child: None, folder, port, udp };
        server.begin();
        server
    }

    /// Runs it, again after [`Rsyslog::end`].
    pub fn begin(&mut self) {
        let mut command = Command::new(RSYSLOG);
        command.arg("-n").arg("-f").arg(self.folder.at("conf")).arg("-i").arg(self.folder.at("pid"));
        let log = fs::File::create(self.folder.at("said")).expect("a file for its complaints");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("start rsyslogd"));
        let end = Instant::now() + patience(DEADLINE);
        while !self.listens() {
            let said = fs::read_to_string(self.folder.at("said")).unwrap_or_default();
            assert!(Instant::now() < end, "rsyslogd doesn't listen on {}: {said}", self.port);
            std::thread::yield_now();
        }
    }

    fn listens(&self) -> bool {
        match self.udp {
            // Asking by a bind would take the port away from it.
            true => fs::read_to_string("/proc/net/udp")
                .is_ok_and(|table| table.contains(&format!(" 0100007F:{:04X} ", self.port))),
            false => TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
        }
    }

    /// Ends it as an administrator does: again until it does, since what comes while it still begins is lost.
    pub fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = Pid::from_raw(child.id().cast_signed());
        let end = Instant::now() + patience(DEADLINE);
        while child.try_wait().is_ok_and(|status| status.is_none()) {
            let late = Instant::now() > end;
            let _ = kill(pid, if late { Signal::SIGKILL } else { Signal::SIGTERM });
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// All that it was told so far, in its order.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        let text = fs::read(self.folder.at("got")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| told(line.trim_end_matches('\n'))).collect()
    }

    /// How many bytes it has written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        fs::metadata(self.folder.at("got")).map_or(0, |facts| facts.len())
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.end();
    }
}

fn told(line: &str) -> Told {
    let mut parts = line.splitn(8, '|').map(str::to_owned);
    let priority = parts.next().and_then(|priority| priority.parse().ok()).expect("a priority");
    let head = parts.by_ref().take(6).collect();
    Told { priority, head, message: parts.next().unwrap_or_default() }
}

fn config(folder: &Folder, way: Way<'_>, port: u16) -> String {
    let work = folder.folder("work");
    let tls = match way {
        Way::Tls(own, clients) => {
            let ca = clients.map_or_else(String::new, |authority| {
                format!("DefaultNetstreamDriverCAFile={:?}", authority.pem())
            });
            format!(
                "DefaultNetstreamDriver=\"gtls\" {ca} DefaultNetstreamDriverCertFile={:?} DefaultNetstreamDriverKeyFile={:?}",
                own.certificate, own.key
            )
        }
        Way::Udp | Way::Tcp => String::new(),
    };
    let input = match way {
        Way::Udp => "module(load=\"imudp\")\ninput(type=\"imudp\"".to_owned(),
        Way::Tcp => "module(load=\"imtcp\")\ninput(type=\"imtcp\"".to_owned(),
        Way::Tls(_, clients) => {
            let mode = if clients.is_some() { "x509/certvalid" } else { "anon" };
            format!(
                "module(load=\"imtcp\" StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" \
                 StreamDriver.AuthMode=\"{mode}\")\ninput(type=\"imtcp\""
            )
        }
    };
    let got = folder.at("got");
    format!(
        "global(workDirectory={work:?} maxMessageSize=\"256k\" parser.escapeControlCharactersOnReceive=\"off\" {tls})\n\
         {input} address=\"127.0.0.1\" port=\"{port}\")\n\
         template(name=\"line\" type=\"string\" string=\"%pri%|%timestamp:::date-rfc3339%|%hostname%|%app-name%|%procid%|%msgid%|%structured-data%|%msg%\\n\")\n\
         action(type=\"omfile\" file={got:?} template=\"line\" flushInterval=\"1\" asyncWriting=\"off\" \
         queue.type=\"LinkedList\" queue.size=\"1000000\" queue.workerThreads=\"1\")\n"
    )
}
