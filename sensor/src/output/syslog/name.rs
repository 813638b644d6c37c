//! A server's addresses by its name. Whoever answers for names may not answer for long.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::mpsc,
    time::Duration,
};

use crate::{background, config::Address};

/// How long is waited for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most addresses that are tried.
const MOST: usize = 8;

/// Its addresses.
///
/// # Errors
/// When there are none, or nobody says in time.
pub(super) fn addresses(address: &Address) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = address.host().parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, address.port())]);
    }
    let asked = (address.host().to_owned(), address.port());
    let (answer, answers) = mpsc::channel();
    background::begin("name", move || {
        let found = asked.to_socket_addrs().map(|found| found.take(MOST).collect::<Vec<_>>());
        // Nobody waits any more when that is too late.
        drop(answer.send(found));
    })?;
    let found = answers.recv_timeout(PATIENCE).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    match found.is_empty() {
        true => Err(io::ErrorKind::NotFound.into()),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_nobody_and_names_are_asked_for() {
        let of = |text: &str| addresses(&Address::try_from(text.to_owned()).unwrap());
        assert_eq!(of("[::1]:514").unwrap(), ["[::1]:514".parse().unwrap()]);
        assert!(of("localhost:514").unwrap().iter().all(|found| found.ip().is_loopback()));
        assert!(of("no.such.name.invalid:514").is_err());
    }
}
