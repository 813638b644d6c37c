//! `type = "syslog"`.

use std::{fmt, num::NonZero};

use serde::Deserialize;

use super::super::Tls;

/// A syslog server (RFC 5424).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Syslog {
    /// Where it is.
    pub address: Address,
    /// How it is reached.
    pub transport: Transport,
    /// What part of the system speaks.
    pub facility: Facility,
    /// Longest message that it takes whole, bytes.
    pub max_message_bytes: MessageBytes,
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    address: Address,
    transport: TransportName,
    #[serde(default)]
    facility: Facility,
    #[serde(default)]
    max_message_bytes: MessageBytes,
    tls: Option<Tls>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TransportName {
    Udp,
    Tcp,
    Tls,
}

impl TryFrom<Keys> for Syslog {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let transport = match (keys.transport, keys.tls) {
            (TransportName::Udp, None) => Transport::Udp,
            (TransportName::Tcp, None) => Transport::Tcp,
            (TransportName::Tls, tls) => Transport::Tls(tls.unwrap_or_default()),
            (_, Some(_)) => return Err("`tls` is for transport = \"tls\"".to_owned()),
        };
        let Keys { address, facility, max_message_bytes, .. } = keys;
        Ok(Self { address, transport, facility, max_message_bytes })
    }
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// RFC 5426: nobody learns whether anything arrived.
    Udp,
    /// RFC 6587, with octet counting.
    Tcp,
    /// RFC 5425.
    Tls(Tls),
}

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address {
    host: String,
    port: NonZero<u16>,
}

impl Address {
    /// The host, an address of IPv6 without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.get()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parse = || {
            let (host, port) = text.rsplit_once(':')?;
            let port = port.parse().ok()?;
            if let Some(inner) = host.strip_prefix('[') {
                let v6: std::net::Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
                return Some(Self { host: v6.to_string(), port });
            }
            let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
            (plain && (1..=253).contains(&host.len())).then(|| Self { host: host.to_owned(), port })
        };
        parse().ok_or_else(|| {
            format!("{text:?} is no address: give HOST:PORT, such as \"siem.example:6514\" or \"[::1]:514\"")
        })
    }
}

/// What part of the system speaks (RFC 5424, table 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are those of syslog(3)")]
pub enum Facility {
    User = 1,
    Daemon = 3,
    Auth = 4,
    AuthPriv = 10,
    #[default]
    Local0 = 16,
    Local1 = 17,
    Local2 = 18,
    Local3 = 19,
    Local4 = 20,
    Local5 = 21,
    Local6 = 22,
    Local7 = 23,
}

/// Longest message that a server takes whole, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct MessageBytes(usize);

impl MessageBytes {
    /// How many.
    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

impl Default for MessageBytes {
    fn default() -> Self {
        Self(1 << 20)
    }
}

impl TryFrom<u64> for MessageBytes {
    type Error = String;

    fn try_from(bytes: u64) -> Result<Self, String> {
        match usize::try_from(bytes) {
            // What every server takes (RFC 5424, section 6.1).
            Ok(bytes @ 480..=16_777_216) => Ok(Self(bytes)),
            _ => Err(format!("{bytes} is no size of a message: give 480 to 16777216 bytes")),
        }
    }
}
