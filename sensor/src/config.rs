//! The configuration file: closed to unknown keys, and parsed once into types that can't be wrong.

mod explain;
mod far;
mod journal;
mod lookup;
mod output;
mod redact;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use explain::explain;
pub use far::{
    Brokers, Elasticsearch, FarUrl, Hec, Index, Kafka, Login, Mechanism, Name, Otlp, OverHttp, Post, Sasl,
    Tls, Topic,
};
pub use journal::{JOURNAL, Journal, JournalBytes};
pub use lookup::{Lookup, Url};
pub use output::{
    Address, Facility, File, Format, Keep, MessageBytes, Output, OutputName, Outputs, RotateAge, RotateBytes,
    Stdout, Syslog, To, Transport, Wanted, WholePath,
};
pub use redact::{Pattern, Redact};

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The programs and their rings.
    pub kernel: Kernel,
    /// What is told of who uses what.
    pub usage: Usage,
    /// What is left for the next run.
    pub state: State,
    /// What is kept of executables.
    pub evidence: Evidence,
    /// Who is asked what is known of a file.
    pub lookup: Lookup,
    /// Which secrets are masked.
    pub redact: Redact,
    /// Where events go.
    pub outputs: Outputs,
    /// What is kept of events.
    pub journal: Journal,
}

/// `[evidence]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evidence {
    /// Where executables are kept that alerts are about; empty for nowhere, and then none is held or hashed.
    pub folder: Folder,
    /// Most bytes of all that is kept; the oldest go.
    pub max_bytes: u64,
    /// How long something is kept, seconds.
    pub max_age_s: u64,
    /// Largest file that is kept, bytes.
    pub max_file_bytes: u64,
    /// Largest file that is hashed when it is executed, bytes.
    pub max_hash_bytes: u64,
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            folder: Folder(PathBuf::from("/var/lib/sensor/evidence")),
            max_bytes: 1 << 30,
            max_age_s: 30 * 24 * 3600,
            max_file_bytes: 256 << 20,
            max_hash_bytes: 256 << 20,
        }
    }
}

/// `[state]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// Where it is noted how far a run came, so that the next tells of one that was killed; empty for nowhere.
    pub folder: Folder,
}

impl Default for State {
    fn default() -> Self {
        Self { folder: Folder(PathBuf::from("/run/sensor")) }
    }
}

/// A folder by its whole path, or none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PathBuf")]
pub struct Folder(PathBuf);

impl Folder {
    /// Its path.
    #[must_use]
    pub fn get(&self) -> Option<&Path> {
        (!self.0.as_os_str().is_empty()).then_some(&*self.0)
    }
}

impl TryFrom<PathBuf> for Folder {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, String> {
        match path.is_absolute() || path.as_os_str().is_empty() {
            true => Ok(Self(path)),
            false => {
                Err(format!("{} is no whole path: give one that begins with /, or nothing", path.display()))
            }
        }
    }
}

/// `[kernel]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kernel {
    /// Size of the ring for what need not wake the sensor, bytes.
    pub bulk_ring_bytes: RingBytes,
    /// Size of the ring for alerts, bytes.
    pub urgent_ring_bytes: RingBytes,
    /// How it is learnt who took the name of something running.
    pub names: Names,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            bulk_ring_bytes: RingBytes(8 * 1024 * 1024),
            urgent_ring_bytes: RingBytes(256 * 1024),
            names: Names::default(),
        }
    }
}

/// How it is learnt who took the name of something running: where the kernel refuses one way, by the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Names {
    /// By the ends of the kernel's own functions that take names, which many hardened kernels refuse.
    #[default]
    Fexit,
    /// By marks on file systems, which cost each unlink and rename a little; from Linux 5.17 on.
    Fanotify,
    /// By tracepoints of the calls, which cost every system call a little.
    Tracepoints,
}

/// `[usage]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// How often it is told what was used, seconds; 0 for never.
    pub interval_s: Interval,
}

/// From a second to an hour, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Interval(u64);

impl Interval {
    /// How long; none for never.
    #[must_use]
    pub fn get(self) -> Option<Duration> {
        (self.0 != 0).then(|| Duration::from_secs(self.0))
    }
}

impl Default for Interval {
    fn default() -> Self {
        Self(10)
    }
}

impl TryFrom<u64> for Interval {
    type Error = String;

    fn try_from(seconds: u64) -> Result<Self, String> {
        match seconds {
            0..=3600 => Ok(Self(seconds)),
            _ => Err(format!("{seconds} is no interval: give 1 to 3600 seconds, or 0 for never")),
        }
    }
}

/// A size that the kernel takes for a ring: a power of two, from a page to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct RingBytes(u32);

impl RingBytes {
    /// Bytes.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for RingBytes {
    type Error = String;

    fn try_from(bytes: u64) -> Result<Self, String> {
        match u32::try_from(bytes) {
            Ok(size) if size.is_power_of_two() && (4096..=1 << 30).contains(&size) => Ok(Self(size)),
            _ => Err(format!("{bytes} is no size of a ring: give a power of two from 4096 to 1073741824")),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("reading the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something that can't be.
    #[error("in the configuration file {}: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
}

/// Where it is unless another one is named.
pub const FILE: &str = "/etc/sensor/config.toml";
/// Largest file that is read, bytes.
const LARGEST: u64 = 1024 * 1024;

impl Config {
    /// Where a journal is kept; none for nowhere, which is so unless a folder is said, or there are outputs to read from it.
    #[must_use]
    pub fn journal_folder(&self) -> Option<&Path> {
        match &self.journal.folder {
            Some(folder) => folder.get(),
            None => (!self.outputs.get().is_empty()).then_some(Path::new(JOURNAL)),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, or says something that can't be.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let wrong = |message| ConfigError::Wrong { path: path.to_owned(), message };
        let size = fs::metadata(path).map_err(failed)?.len();
        if size > LARGEST {
            return Err(wrong(format!("it has {size} bytes, more than {LARGEST}: is it the right file?")));
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        toml::from_str(&text).map_err(|error| wrong(explain(&error, &text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        toml::from_str(text).map_err(|error| explain(&error, text))
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(parse(""), Ok(Config::default()));
        assert_eq!(parse("[kernel]\nbulk_ring_bytes = 4096").unwrap().kernel.bulk_ring_bytes.get(), 4096);
    }

    #[test]
    fn the_example_says_what_is_so_anyhow() {
        let text = include_str!("../../docs/sensor.toml");
        assert_eq!(parse(text), Ok(Config::default()));
        // What is commented out is right, too.
        let all: String = text
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned() + "\n"
            })
            .collect();
        let all = parse(&all).unwrap();
        assert_eq!(all.outputs.get().len(), 1);
        assert_eq!(all.journal_folder(), Some(Path::new(JOURNAL)));
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let message = parse("[kernel]\nbulk_ring_byte = 4096").unwrap_err();
        assert!(
            message.contains("line 2") && message.contains("did you mean `bulk_ring_bytes`?"),
            "{message}"
        );
        let message = parse("[kernal]").unwrap_err();
        assert!(message.contains("did you mean `kernel`?"), "{message}");
    }

    #[test]
    fn intervals_are_a_second_to_an_hour_or_never() {
        let interval =
            |text: &str| parse(&format!("[usage]\ninterval_s = {text}")).map(|c| c.usage.interval_s.get());
        assert_eq!(parse("").unwrap().usage.interval_s.get(), Some(Duration::from_secs(10)));
        assert_eq!(interval("1"), Ok(Some(Duration::from_secs(1))));
        assert_eq!(interval("3600"), Ok(Some(Duration::from_secs(3600))));
        assert_eq!(interval("0"), Ok(None));
        for wrong in ["3601", "-1", "1.5", "\"x\""] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
        assert!(parse("[usage]\nintervals = 1").unwrap_err().contains("did you mean `interval_s`?"));
    }

    #[test]
    fn a_key_goes_nowhere_in_the_clear() {
        let url = |text: &str| parse(&format!("[lookup]\nurl = \"{text}\"")).map(|c| c.lookup.url);
        for right in [
            "https://a",
            "https://a.b:1/c/",
            "http://127.0.0.1:8080/api",
            "http://[::1]:9",
            "http://127.9.9.9",
        ] {
            assert_eq!(url(right).unwrap().get(), Some(right));
        }
        assert_eq!(url("").unwrap().get(), None);
        let wrong = [
            "http://a",
            "http://localhost:1",
            "http://127.0.0.1@a/",
            "https://u:p@a",
            "https://",
            "ftp://a",
            "a",
            "https://a?b",
            "https://a b",
            "http://10.0.0.1",
        ];
        for wrong in wrong {
            assert!(url(wrong).is_err(), "{wrong}");
        }
        assert!(parse("[lookup]\nper_minute = 0").is_err() && parse("[lookup]\nengines = 0").is_err());
        assert!(parse("[lookup]\nkeyfile = \"x\"").unwrap_err().contains("did you mean `key_file`?"));
    }

    #[test]
    fn a_journal_is_of_a_size_that_it_can_keep_to() {
        let journal = |text: &str| parse(&format!("[journal]\n{text}")).map(|config| config.journal);
        assert_eq!(journal("").unwrap().folder, None);
        assert_eq!(journal("folder = \"\"").unwrap().folder.unwrap().get(), None);
        assert_eq!(journal("folder = \"/a\"").unwrap().folder.unwrap().get(), Some(Path::new("/a")));
        assert_eq!(journal("max_bytes = 8388608").unwrap().max_bytes.get(), 8 << 20);
        for wrong in ["max_bytes = 8388607", "max_bytes = -1", "folder = \"a\"", "max_age_s = -1"] {
            assert!(journal(wrong).is_err(), "{wrong}");
        }
        assert!(journal("max_byte = 1").unwrap_err().contains("did you mean `max_bytes`?"));
    }

    #[test]
    fn sizes_that_the_kernel_refuses_are_refused_here() {
        for size in ["0", "4095", "5000", "2147483648", "-1", "\"x\""] {
            assert!(parse(&format!("[kernel]\nurgent_ring_bytes = {size}")).is_err(), "{size}");
        }
    }
}
