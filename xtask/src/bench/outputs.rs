//! How many events an output brings: those of a journal in memory, as fast as they go (`sensor/examples/outputs.rs`), to a file, to
//! ones that only take, and to real servers.

mod server;

use std::path::Path;
use std::process::Command;

use super::Report;
use super::lab::Lab;
use super::quiet::Quiet;
use super::report::{Figure, Table};
use crate::command;
use crate::error::{Error, Result};
use crate::say;
use crate::setup::python;
use crate::workspace::Workspace;
use server::{Server, answering, reader};

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

/// Events a second.
const FILE_LEAST: f64 = 150_000.0;
const SYSLOG_LEAST: f64 = 100_000.0;
const BULK_LEAST: f64 = 50_000.0;
const KAFKA_LEAST: f64 = 100_000.0;
/// What the server of `_bulk` takes in some seconds.
const FEW: u32 = 20_000;

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
         Where the server sets the pace, the one beside it that only takes shows it",
        args.events
    ));
    let mut measure = |events: u32, name: &str, keys: &str, least: Option<f64>| -> Result<()> {
        quiet.wait()?;
        say(name);
        let mut bench = Command::new(&program);
        bench.arg(events.to_string()).arg(keys);
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
    let all = args.events;
    let file = lab.empty("outputs")?.join("events");
    measure(all, "file", &format!("type = \"file\"\npath = {file:?}\nkeep = 2"), Some(FILE_LEAST))?;
    let syslog =
        |port: u16| format!("type = \"syslog\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:{port}\"");
    measure(all, "syslog, a reader", &syslog(reader()?), Some(SYSLOG_LEAST))?;
    if Path::new(server::RSYSLOG).exists() {
        for module in ["imptcp", "imtcp"] {
            let server = Server::rsyslog(lab, module)?;
            measure(all, &format!("syslog, rsyslog's {module}"), &syslog(server.port), None)?;
        }
    } else {
        say("there is no rsyslog: apt-get install rsyslog");
    }
    // Each load has as many as the answer tells of.
    let loads = all.div_ceil(server::ANSWERED) * server::ANSWERED;
    let bulk = |port: u16| {
        let at = format!("type = \"elasticsearch\"\nurl = \"http://127.0.0.1:{port}\"\nindex = \"logs\"");
        format!("{at}\nmax_events = {}", server::ANSWERED)
    };
    measure(loads, "_bulk, a reader that says yes", &bulk(answering()?), Some(BULK_LEAST))?;
    match python::servers(workspace) {
        Ok(servers) => {
            let server = Server::opensearch(&servers)?;
            measure(all.min(FEW), "_bulk, osmem-server", &bulk(server.port), None)?;
            drop(server);
            let server = Server::kafka(&servers)?;
            let kafka = format!(
                "type = \"kafka\"\nbrokers = [\"127.0.0.1:{}\"]\ntopic = {:?}",
                server.port,
                server::TOPIC
            );
            measure(all, "Kafka, tansu, gzip", &kafka, Some(KAFKA_LEAST))?;
            drop(server);
            let server = Server::otlp(&servers)?;
            let otlp = format!("type = \"otlp\"\nurl = \"http://127.0.0.1:{}\"", server.port);
            measure(all, "OTLP, rotel", &otlp, None)?;
        }
        Err(error) => say(&format!("the servers of _bulk, Kafka and OTLP can't be had: {error}")),
    }
    for keys in &args.also {
        measure(all, keys.lines().next().unwrap_or_default(), keys, None)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bench_says_is_read() {
        assert_eq!(told("600000 3 2.5\n").unwrap(), (240_000.0, 3.0));
        assert!(told("usage: outputs").is_err() && told("1 0 0").is_err());
    }
}
