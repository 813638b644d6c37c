//! A syslog server: messages of RFC 5424 by UDP, TCP and TLS.

use super::{Clock, Far, FarError, Fate, Load, Parcel};
use crate::config::{self, Transport};
use message::Writer;
use stream::Stream;
use udp::Udp;

mod acked;
mod message;
mod name;
mod pipe;
mod stream;
mod udp;

/// Most that is written at once.
const MOST: Load = Load { events: 8192, bytes: 1 << 20 };

/// The server.
pub struct Syslog {
    writer: Writer,
    way: Way,
    /// Longest message.
    most: usize,
    at: String,
}

enum Way {
    Udp(Udp),
    Stream(Box<Stream>),
}

/// What went wrong on the way.
#[derive(Debug)]
struct Trouble {
    attempted: &'static str,
    advice: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn trouble<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    attempted: &'static str,
    advice: &'static str,
) -> impl FnOnce(E) -> Trouble {
    move |source| Trouble { attempted, advice, source: source.into() }
}

impl Syslog {
    /// The one that is configured; it is connected to with the first load. Files of certificates are read, so that what is wrong
    /// with them is told at the start. `json`: what is brought are lines of JSON.
    ///
    /// # Errors
    /// When certificates or keys can't be used, in words.
    pub fn new(config: &config::Syslog, json: bool, clock: Clock) -> Result<Self, String> {
        let (way, most) = match &config.transport {
            Transport::Udp => (Way::Udp(Udp::new(&config.address)), udp::MOST),
            Transport::Tcp => (Way::Stream(Box::new(Stream::new(&config.address, None, clock)?)), usize::MAX),
            Transport::Tls(tls) => {
                (Way::Stream(Box::new(Stream::new(&config.address, Some(tls), clock)?)), usize::MAX)
            }
        };
        let most = most.min(config.max_message_bytes.get());
        let writer = Writer::new(config.facility, json);
        Ok(Self { writer, way, most, at: config.address.to_string() })
    }

    /// Those messages of a load that aren't too long, one after the other, with where each begins; and what becomes of the others.
    fn messages(&self, load: &[Parcel<'_>]) -> (Vec<Vec<u8>>, Vec<Option<Fate>>) {
        let mut messages = Vec::with_capacity(load.len());
        let fates = load.iter().map(|parcel| {
            let mut message = Vec::with_capacity(parcel.bytes.len() + 128);
            self.writer.write(parcel, &mut message);
            if message.len() > self.most {
                let (len, most) = (message.len(), self.most);
                return Some(Fate::Refused(format!("a message of {len} bytes, and {most} are the most")));
            }
            messages.push(message);
            None
        });
        let fates = fates.collect();
        (messages, fates)
    }
}

impl Far for Syslog {
    fn most(&self) -> Load {
        MOST
    }

    fn bring(&mut self, load: &[Parcel<'_>]) -> Result<Vec<Fate>, FarError> {
        let (messages, mut fates) = self.messages(load);
        let sent = match &mut self.way {
            _ if messages.is_empty() => Ok(()),
            Way::Udp(udp) => udp.send(&messages),
            Way::Stream(stream) => stream.send(&messages),
        };
        let failed = |Trouble { attempted, advice, source }| FarError {
            attempted: format!("{attempted} {}", self.at),
            advice,
            not_before: None,
            source,
        };
        sent.map_err(failed)?;
        Ok(fates.drain(..).map(|fate| fate.unwrap_or(Fate::Arrived)).collect())
    }

    fn reopen(&mut self) {
        match &mut self.way {
            Way::Udp(udp) => udp.close(),
            Way::Stream(stream) => stream.close(),
        }
    }

    fn doubt(&self) -> Option<&str> {
        match &self.way {
            Way::Udp(_) => None,
            Way::Stream(stream) => stream.doubt(),
        }
    }
}
