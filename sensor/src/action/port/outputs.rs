//! Where the sensor's own outputs go: an isolated host still tells what happens on it.

use std::{
    net::{IpAddr, ToSocketAddrs},
    sync::mpsc,
    time::Duration,
};

use crate::{background, config::Config, firewall::rule::Cidr, format::text::escape};

/// How long is waited for the addresses of a name.
const PATIENCE: Duration = Duration::from_secs(5);

/// The hosts of all outputs, each said; `parts` gets those that can't be found.
pub(super) fn allowed(config: &Config, parts: &mut Vec<String>) -> Vec<Cidr> {
    let mut all = Vec::new();
    for output in config.outputs.get() {
        for place in output.to.places() {
            let shown = escape(place.as_bytes());
            match addresses(&place) {
                Ok(addresses) => {
                    let others: Vec<IpAddr> = addresses.into_iter().filter(|ip| !ip.is_loopback()).collect();
                    for address in &others {
                        say!("let through for the output {}: {address} ({shown})", output.name);
                    }
                    all.extend(others.into_iter().map(Cidr::host));
                }
                Err(why) => {
                    parts.push(format!("the output {}: no address of {shown} is known: {why}", output.name));
                }
            }
        }
    }
    all
}

/// The addresses of a host; who answers for names may never answer.
fn addresses(place: &str) -> Result<Vec<IpAddr>, String> {
    let (answer, answers) = mpsc::channel();
    let asked = place.to_owned();
    let ask = move || {
        let found = asked.to_socket_addrs().map(|all| all.map(|to| to.ip().to_canonical()).collect());
        // Nobody waits any more when it comes too late.
        drop(answer.send(found));
    };
    background::begin("names", ask).map_err(|error| error.to_string())?;
    let found: std::io::Result<Vec<IpAddr>> =
        answers.recv_timeout(PATIENCE).map_err(|_| "nobody answered in time".to_owned())?;
    found.map_err(|error| error.to_string())
}
