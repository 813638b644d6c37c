//! `type = "kafka"`.

use std::{num::NonZero, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{Bytes, Events, Timeout, Tls, Topic};

/// `type = "kafka"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "KafkaKeys")]
pub struct Kafka {
    /// Whom to ask for the others first.
    pub brokers: Brokers,
    /// The topic.
    pub topic: Topic,
    /// Who is believed; none: no TLS, on this host itself only.
    pub tls: Option<Tls>,
    /// Who the sensor is.
    pub sasl: Option<Sasl>,
    /// Whether what is sent is packed.
    pub gzip: bool,
    /// How long a load may take.
    pub timeout: Duration,
    /// Most events at once.
    pub events: usize,
    /// Most bytes at once.
    pub bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KafkaKeys {
    brokers: Brokers,
    topic: Topic,
    tls: Option<Tls>,
    sasl: Option<Sasl>,
    #[serde(default = "super::yes")]
    gzip: bool,
    #[serde(default)]
    timeout_s: Timeout,
    #[serde(default)]
    max_events: Events,
    max_bytes: Option<Bytes>,
}

impl TryFrom<KafkaKeys> for Kafka {
    type Error = &'static str;

    fn try_from(keys: KafkaKeys) -> Result<Self, &'static str> {
        let KafkaKeys { brokers, topic, tls, sasl, gzip, timeout_s, max_events, max_bytes } = keys;
        if tls.is_none() && !brokers.are_here() {
            return Err(
                "what is sent would go over the network for all to read: give `tls = {}` with what it needs",
            );
        }
        // A broker takes a mebibyte at once, unless it is told to take more (`message.max.bytes`).
        let bytes = max_bytes.map_or(900 * 1024, Bytes::get);
        let (timeout, events) = (timeout_s.get(), max_events.get());
        Ok(Self { brokers, topic, tls, sasl, gzip, timeout, events, bytes })
    }
}

/// Names of hosts with ports; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Brokers(Vec<String>);

impl Brokers {
    /// They.
    #[must_use]
    pub fn get(&self) -> &[String] {
        &self.0
    }

    /// Whether they are all on this host itself.
    fn are_here(&self) -> bool {
        let here =
            |broker: &String| broker.parse().is_ok_and(|at: std::net::SocketAddr| at.ip().is_loopback());
        self.0.iter().all(here)
    }
}

impl TryFrom<Vec<String>> for Brokers {
    type Error = String;

    fn try_from(brokers: Vec<String>) -> Result<Self, String> {
        let right = |broker: &String| {
            let plain = broker.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
            let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            plain && port.is_some_and(|(_, port)| port.parse::<NonZero<u16>>().is_ok())
        };
        match brokers.iter().find(|broker| !right(broker)) {
            Some(broker) => Err(format!("{broker:?} is no broker: HOST:PORT")),
            None if brokers.is_empty() => Err("there is no broker: [\"HOST:PORT\"]".to_owned()),
            None => Ok(Self(brokers)),
        }
    }
}

/// Who the sensor is for Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How it proves that.
    pub mechanism: Mechanism,
    /// Its name.
    pub user: String,
    /// The file with its password.
    pub password_file: PathBuf,
}

/// How a password is shown to Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// As it is.
    Plain,
    /// That it is known, by SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// That it is known, by SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}
