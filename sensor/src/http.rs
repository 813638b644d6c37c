//! Questions over HTTP to whom the configuration names. Certificates are always checked, redirects never followed, since keys would go
//! along; every question has a time, and every answer a bound: whoever answers may be anyone.

use std::{
    io::{self, ErrorKind, Read},
    time::Duration,
};

use jiff::{SignedDuration, fmt::rfc2822};
use serde::de::DeserializeOwned;
use ureq::{
    Agent, Body,
    http::{HeaderMap, Response},
    tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig},
};

use crate::tls::Tls;

mod list;

pub use list::List;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest time that somebody is left alone because he says so.
const ALONE: Duration = Duration::from_secs(3600);

/// Who asks, and keeps connections for the next question.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
}

/// Why there is no answer, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Time ran out.
    #[error("it didn't answer in time")]
    Late,
    /// It isn't who it is to be.
    #[error("its certificate is refused ({0})")]
    Certificate(String),
    /// It couldn't be reached, or answers what isn't HTTP.
    #[error("it can't be reached: {0}")]
    Unreached(String),
    /// The end of its answer is missing.
    #[error("its answer breaks off: {0}")]
    Broken(io::Error),
    /// Its answer has more than these bytes.
    #[error("its answer has more than {0} bytes")]
    TooMuch(u64),
    /// Its answer isn't what it is to be.
    #[error("its answer isn't understood")]
    Garbled,
}

/// An answer whose body hasn't been read.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// How long whoever answers wants to be left alone.
    pub retry_after: Option<Duration>,
    body: Body,
}

impl Client {
    /// For questions to this URL and others of its host, each of which may take so long, answer included.
    #[must_use]
    pub fn new(url: &str, tls: Option<&Tls>, timeout: Duration) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT.min(timeout)))
            .timeout_global(Some(timeout))
            .output_buffer_size(64 * 1024)
            .user_agent(concat!("sensor/", env!("CARGO_PKG_VERSION")));
        if let Some(tls) = tls {
            config = config.tls_config(settings(tls));
        }
        if !url.starts_with("https://") {
            // On this host itself: no proxy is to see the key.
            config = config.proxy(None);
        }
        Self { agent: config.build().new_agent() }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, Trouble> {
        let request = self.agent.get(url);
        answer(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).call())
    }

    /// Brings something.
    ///
    /// # Errors
    /// When there is no answer: it may be there all the same.
    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, Trouble> {
        let request = self.agent.post(url);
        answer(
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send(body),
        )
    }
}

impl Answer {
    /// Reads its body, so many bytes at most.
    ///
    /// # Errors
    /// When it has more, or breaks off.
    pub fn read(&mut self, most: u64) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        match self.body.as_reader().take(most + 1).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > most => Err(Trouble::TooMuch(most)),
            Ok(_) => Ok(bytes),
            Err(error) => match ureq::Error::from(error) {
                error if is_late(&error) => Err(Trouble::Late),
                error => Err(Trouble::Broken(error.into_io())),
            },
        }
    }

    /// The same, as JSON.
    ///
    /// # Errors
    /// When it isn't so.
    pub fn json<T: DeserializeOwned>(&mut self, most: u64) -> Result<T, Trouble> {
        parse(&self.read(most)?)
    }
}

/// What a body of JSON says.
///
/// # Errors
/// When it says something else.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(bytes).map_err(|_| Trouble::Garbled)
}

fn settings(tls: &Tls) -> TlsConfig {
    let mut config = TlsConfig::builder();
    if let Some(authorities) = tls.authorities() {
        let own = authorities.iter().map(|authority| Certificate::from_der(authority).to_owned());
        config = config.root_certs(RootCerts::from(own));
    }
    if let Some(identity) = tls.identity() {
        let chain: Vec<_> =
            identity.chain.iter().map(|link| Certificate::from_der(link).to_owned()).collect();
        // It was read before, with the same eyes.
        let key = PrivateKey::from_pem(&identity.key).ok();
        config = config.client_cert(key.map(|key| ClientCert::new_with_certs(&chain, key)));
    }
    config.build()
}

fn answer(response: Result<Response<Body>, ureq::Error>) -> Result<Answer, Trouble> {
    let response = response.map_err(|error| trouble(&error))?;
    let retry_after = retry_after(response.headers());
    Ok(Answer { status: response.status().as_u16(), retry_after, body: response.into_body() })
}

/// Seconds, or a moment, which the answer's own clock makes a time from now.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim());
    let after = text("retry-after")?;
    let moment = |text: &str| Some(rfc2822::parse(text).ok()?.timestamp());
    let seconds = after.parse().ok().map(Duration::from_secs);
    let left = || -> Option<Duration> {
        let left: SignedDuration = moment(after)?.duration_since(moment(text("date")?)?);
        Some(Duration::try_from(left).unwrap_or_default())
    };
    seconds.or_else(left).map(|after| after.min(ALONE))
}

fn is_late(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) => true,
        ureq::Error::Io(error) => error.kind() == ErrorKind::TimedOut,
        _ => false,
    }
}

fn trouble(error: &ureq::Error) -> Trouble {
    match error {
        error if is_late(error) => Trouble::Late,
        error if let Some(why) = certificate(error) => Trouble::Certificate(why.to_string()),
        error => Trouble::Unreached(error.to_string()),
    }
}

/// What is wrong with who answers, if that is it.
fn certificate(error: &ureq::Error) -> Option<&rustls::CertificateError> {
    let error = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    };
    match error? {
        rustls::Error::InvalidCertificate(why) => Some(why),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_somebody_wants_to_be_left_alone() {
        let after = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.insert(*name, value.parse().unwrap());
            }
            retry_after(&headers)
        };
        assert_eq!(after(&[("retry-after", " 7 ")]), Some(Duration::from_secs(7)));
        assert_eq!(after(&[("retry-after", "99999999999")]), Some(ALONE));
        let date = ("date", "Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(
            after(&[("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT"), date]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(after(&[("retry-after", "Wed, 21 Oct 2020 07:28:30 GMT"), date]), Some(Duration::ZERO));
        for nothing in [&[("retry-after", "soon")][..], &[("retry-after", "-1")], &[date], &[]] {
            assert_eq!(after(nothing), None, "{nothing:?}");
        }
        assert_eq!(after(&[("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT")]), None, "whose clock?");
    }
}
