//! `[lookup]`: who is asked what is known of a file.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZero,
    path::PathBuf,
};

use serde::Deserialize;

use super::Folder;

/// `[lookup]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lookup {
    /// Lists of SHA-256 of files that are bad.
    pub known_bad: Vec<PathBuf>,
    /// Lists of SHA-256 of files that are good.
    pub known_good: Vec<PathBuf>,
    /// Where VirusTotal's API is; empty: it is never asked.
    pub url: Url,
    /// The file that holds the key for it.
    pub key_file: PathBuf,
    /// How often it may be asked, times a minute.
    pub per_minute: NonZero<u32>,
    /// How many of its engines make a file malicious.
    pub engines: NonZero<u32>,
    /// How long its answers are of use, seconds.
    pub max_age_s: u64,
    /// How long one question may take, seconds.
    pub timeout_s: NonZero<u64>,
    /// How long is waited for its answer on a file, also for one's turn, seconds.
    pub patience_s: u64,
    /// Where its answers are kept, and how often it was asked; empty for nowhere.
    pub folder: Folder,
}

impl Default for Lookup {
    fn default() -> Self {
        let number = |number| NonZero::new(number).unwrap_or(NonZero::<u32>::MIN);
        Self {
            known_bad: Vec::new(),
            known_good: Vec::new(),
            url: Url("https://www.virustotal.com/api/v3".to_owned()),
            key_file: PathBuf::from("/etc/sensor/virustotal.key"),
            per_minute: number(4),
            engines: number(2),
            max_age_s: 24 * 3600,
            timeout_s: number(10).into(),
            patience_s: 120,
            folder: Folder(PathBuf::from("/var/lib/sensor/lookup")),
        }
    }
}

/// The address of a service that is given a key: over HTTPS, or on this host itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Url(String);

impl Url {
    /// It; none for nowhere.
    #[must_use]
    pub fn get(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&*self.0)
    }
}

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\\".contains(&byte));
        let (https, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ if text.is_empty() => return Ok(Self(text)),
            _ => return Err(format!("{text:?} is no address: give one that begins with https://")),
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let own =
            || authority.parse().map_or_else(|_| authority.parse().ok(), |at: SocketAddr| Some(at.ip()));
        match plain && !authority.is_empty() {
            true if https || own().is_some_and(|ip: IpAddr| ip.is_loopback()) => Ok(Self(text)),
            true => {
                Err(format!("{text}: what is sent would go over the network for all to read: use https://"))
            }
            false => Err(format!("{text:?} is no plain address: https://HOST[:PORT][/PATH]")),
        }
    }
}
