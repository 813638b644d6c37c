//! How many events an output brings: those of a journal in memory, as fast as they go (`sensor/examples/outputs.rs`), to a file, to a
//! reader that only reads, and to rsyslog.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::Report;
use super::lab::Lab;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use crate::command::{self, start_error};
use crate::error::{Error, Result};
use crate::say;
use crate::workspace::Workspace;

/// Options of `bench outputs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many events each brings.
    #[arg(long, default_value_t = 600_000, value_parser = clap::value_parser!(u32).range(1..))]
    events: u32,
    /// Also this output: its keys, as they stand below `[[outputs]]`. May be given several times.
    #[arg(long, value_name = "KEYS")]
    also: Vec<String>,
}

const RSYSLOG: &str = "/usr/sbin/rsyslogd";
/// Events a second.
const FILE_LEAST: f64 = 150_000.0;
const SYSLOG_LEAST: f64 = 100_000.0;

/// Measures it.
pub(crate) fn run(
    workspace: &Workspace,
    lab: &Lab,
    args: &Args,
    quiet: &mut Quiet,
    report: &mut Report,
) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "-p", "sensor", "--example", "outputs"]);
    command::run(&mut cargo)?;
    let program = workspace.target().join("release/examples/outputs");
    let mut table = Table::new(format!(
        "outputs: {} events of 1.2 KB each; brought: events a second, acknowledged; refused: those that weren't taken.\n\
         With rsyslog it is the server that sets the pace, as the reader beside it shows",
        args.events
    ));
    let mut measure = |name: &str, keys: &str, least: Option<f64>| -> Result<()> {
        quiet.wait()?;
        say(name);
        let mut bench = Command::new(&program);
        bench.arg(args.events.to_string()).arg(keys);
        let (brought, refused) = told(&command::read(&mut bench)?)?;
        let figure = Figure::new(name)
            .value("brought", brought, 0)
            .value("refused", refused, 0)
            .at_most("refused", 0.0);
        table.figures.push(match least {
            Some(least) => figure.at_least("brought", least),
            None => figure,
        });
        Ok(())
    };
    let file = lab.empty("outputs")?.join("events");
    measure("file", &format!("type = \"file\"\npath = {file:?}\nkeep = 2"), Some(FILE_LEAST))?;
    let syslog =
        |port: u16| format!("type = \"syslog\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:{port}\"");
    measure("syslog, a reader", &syslog(reader()?), Some(SYSLOG_LEAST))?;
    if Path::new(RSYSLOG).exists() {
        for module in ["imptcp", "imtcp"] {
            let server = Rsyslog::start(lab, module)?;
            measure(&format!("syslog, rsyslog's {module}"), &syslog(server.port), None)?;
        }
    } else {
        say("there is no rsyslog: apt-get install rsyslog");
    }
    for keys in &args.also {
        measure(keys.lines().next().unwrap_or_default(), keys, None)?;
    }
    report.add(table);
    Ok(())
}

/// Events a second, and how many were refused.
fn told(said: &str) -> Result<(f64, f64)> {
    let mut numbers = said.split_ascii_whitespace().map_while(|word| word.parse::<f64>().ok());
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(events), Some(refused), Some(seconds)) if seconds > 0.0 => Ok((events / seconds, refused)),
        _ => Err(Error::Check(format!("the outputs' bench said: {said}"))),
    }
}

/// The port of one who takes whatever comes.
fn reader() -> Result<u16> {
    let failed = |error| Error::Check(format!("cannot listen: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    thread::spawn(move || {
        let mut room = vec![0; 1 << 20];
        for mut stream in listener.incoming().filter_map(std::io::Result::ok) {
            while matches!(stream.read(&mut room), Ok(1..)) {}
        }
    });
    Ok(port)
}

/// rsyslog, which throws away what it takes.
struct Rsyslog {
    child: Child,
    port: u16,
}

impl Rsyslog {
    fn start(lab: &Lab, module: &str) -> Result<Self> {
        let folder = lab.empty("rsyslog")?;
        // Free a moment ago: it tells no port that it chose itself.
        let port = reader_port()?;
        let config = folder.join("conf");
        let text = format!(
            "global(workDirectory={folder:?} maxMessageSize=\"256k\")\nmodule(load=\"{module}\")\n\
             input(type=\"{module}\" address=\"127.0.0.1\" port=\"{port}\")\naction(type=\"omfile\" file=\"/dev/null\")\n"
        );
        fs::write(&config, text).map_err(Error::file("write", &config))?;
        let mut command = Command::new(RSYSLOG);
        command.arg("-n").arg("-f").arg(&config).arg("-i").arg(folder.join("pid"));
        let child =
            command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().map_err(start_error(&command))?;
        let server = Self { child, port };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Error::Check("rsyslogd doesn't listen".to_owned()))
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        // It is gone already, then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader_port() -> Result<u16> {
    let failed = |error| Error::Check(format!("cannot find a port: {error}"));
    Ok(TcpListener::bind("127.0.0.1:0").map_err(failed)?.local_addr().map_err(failed)?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bench_says_is_read() {
        assert_eq!(told("600000 3 2.5\n").unwrap(), (240_000.0, 3.0));
        assert!(told("usage: outputs").is_err() && told("1 0 0").is_err());
    }
}
