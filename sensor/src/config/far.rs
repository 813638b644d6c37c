//! The settings of outputs to other hosts: over HTTP, and Kafka.

mod kafka;

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::Url;
pub use kafka::{Brokers, Kafka, Mechanism, Sasl};

/// Where something is sent: over HTTPS, or on this host itself; never nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FarUrl(String);

impl FarUrl {
    /// It, without an end that is a slash.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.trim_end_matches('/')
    }
}

impl TryFrom<String> for FarUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Url::try_from(text)?.get().map(|url| Self(url.to_owned())).ok_or_else(|| "it is empty".to_owned())
    }
}

/// Who is believed over TLS, and as whom the sensor shows itself: files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "TlsKeys")]
pub struct Tls {
    /// The only authorities that are believed; none for Mozilla's list.
    pub ca_file: Option<PathBuf>,
    /// The certificate and its key, where the other side wants one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsKeys {
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

impl TryFrom<TlsKeys> for Tls {
    type Error = &'static str;

    fn try_from(keys: TlsKeys) -> Result<Self, &'static str> {
        let TlsKeys { ca_file, cert_file, key_file } = keys;
        match (cert_file, key_file) {
            (None, None) => Ok(Self { ca_file, identity: None }),
            (Some(certificate), Some(key)) => Ok(Self { ca_file, identity: Some((certificate, key)) }),
            _ => Err("cert_file and key_file belong together: give both or none"),
        }
    }
}

/// Who the sensor says that it is: by files that only their owner may read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "LoginKeys")]
pub enum Login {
    /// Nobody.
    #[default]
    Nobody,
    /// A user with a password (`Basic`).
    User(String, PathBuf),
    /// A key of Elasticsearch's (`ApiKey`), as it gives it encoded.
    ApiKey(PathBuf),
    /// A token (`Bearer`).
    Token(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginKeys {
    user: Option<String>,
    password_file: Option<PathBuf>,
    api_key_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

impl TryFrom<LoginKeys> for Login {
    type Error = &'static str;

    fn try_from(keys: LoginKeys) -> Result<Self, &'static str> {
        let LoginKeys { user, password_file, api_key_file, token_file } = keys;
        match (user, password_file, api_key_file, token_file) {
            (Some(user), Some(password), None, None) if plain(&user) && !user.contains(':') => {
                Ok(Self::User(user, password))
            }
            (Some(_), Some(_), None, None) => Err("no user has a colon or a control character in its name"),
            (None, None, Some(key), None) => Ok(Self::ApiKey(key)),
            (None, None, None, Some(token)) => Ok(Self::Token(token)),
            _ => Err("give user and password_file, or api_key_file, or token_file"),
        }
    }
}

/// No text that isn't one line.
fn plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control)
}

/// How an output reaches what is on the other side of HTTP: what all of them have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverHttp {
    /// Where it is.
    pub url: FarUrl,
    /// Who is believed there.
    pub tls: Tls,
    /// Whether what is sent is packed.
    pub gzip: bool,
    /// How long a question may take, answer included.
    pub timeout: Duration,
    /// Most events at once.
    pub events: usize,
    /// Most bytes at once, before they are packed.
    pub bytes: usize,
}

/// Settings over HTTP have these keys and their own.
macro_rules! over_http {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $key:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// Where it is.
            pub url: FarUrl,
            /// Who is believed there.
            #[serde(default)]
            pub tls: Tls,
            /// Whether what is sent is packed.
            #[serde(default = "yes")]
            pub gzip: bool,
            /// How long a question may take, answer included, seconds.
            #[serde(default)]
            pub timeout_s: Timeout,
            /// Most events at once.
            #[serde(default)]
            pub max_events: Events,
            /// Most bytes at once, before they are packed.
            #[serde(default)]
            pub max_bytes: Bytes,
            $($(#[$of])* pub $key: $type,)*
        }

        impl $name {
            /// With all defaults, to this place.
            #[must_use]
            pub fn to(url: FarUrl) -> Self {
                Self {
                    url,
                    tls: Tls::default(),
                    gzip: true,
                    timeout_s: Timeout::default(),
                    max_events: Events::default(),
                    max_bytes: Bytes::default(),
                    $($key: $default,)*
                }
            }

            /// What all of them have.
            #[must_use]
            pub fn over_http(&self) -> OverHttp {
                OverHttp {
                    url: self.url.clone(),
                    tls: self.tls.clone(),
                    gzip: self.gzip,
                    timeout: self.timeout_s.get(),
                    events: self.max_events.get(),
                    bytes: self.max_bytes.get(),
                }
            }
        }
    };
}

over_http! {
    /// `type = "elasticsearch"`: Elasticsearch's or OpenSearch's `_bulk`.
    Elasticsearch {
        /// Who the sensor is there.
        #[serde(default)]
        login: Login = Login::default(),
        /// The index or data stream.
        #[serde(default)]
        index: Index = Index::default(),
    }
}

over_http! {
    /// `type = "hec"`: Splunk's HTTP event collector.
    Hec {
        /// The file with the token of the collector.
        token_file: PathBuf = PathBuf::from("/etc/sensor/hec.token"),
        /// The index; none for that of the token.
        #[serde(default)]
        index: Option<Name> = None,
        /// What Splunk takes it for.
        #[serde(default = "sensor")]
        source: Name = sensor(),
        /// How Splunk reads it.
        #[serde(default = "json")]
        sourcetype: Name = json(),
        /// Whether an event has only arrived once it is indexed (`useACK` of the token).
        #[serde(default)]
        acknowledge: bool = false,
    }
}

over_http! {
    /// `type = "post"`: lines of JSON to whoever takes them.
    Post {
        /// Who the sensor is there.
        #[serde(default)]
        login: Login = Login::default(),
    }
}

over_http! {
    /// `type = "otlp"`: logs of OpenTelemetry, protobuf over HTTP.
    Otlp {
        /// Who the sensor is there.
        #[serde(default)]
        login: Login = Login::default(),
    }
}

/// A name that a service takes as the name of something.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $is:literal, $longest:literal, $right:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// It.
            #[must_use]
            pub fn get(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let right: fn(&str) -> bool = $right;
                match !text.is_empty() && text.len() <= $longest && right(&text) {
                    true => Ok(Self(text)),
                    false => Err(format!(concat!("{:?} is no ", $is), text)),
                }
            }
        }
    };
}

fn made_of(text: &str, more: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
}

name! {
    /// A topic of Kafka's.
    Topic, "topic: letters, digits, . _ -", 249, |text| made_of(text, b"._-") && text != "." && text != ".."
}
name! {
    /// An index, alias or data stream.
    Index, "index: small letters, digits, . _ -, and none of the signs first", 255,
    |text| made_of(text, b"._-") && !text.bytes().any(|byte| byte.is_ascii_uppercase()) && !text.starts_with(['.', '_', '-'])
}
name! {
    /// A name that Splunk gives its data.
    Name, "name: letters, digits, . _ : / -", 255, |text| made_of(text, b"._:/-")
}

impl Default for Index {
    fn default() -> Self {
        Self("logs-sensor-default".to_owned())
    }
}

/// A number from here to there.
macro_rules! between {
    ($(#[$doc:meta])* $name:ident, $what:literal, $range:expr, $default:expr, $get:ty, $make:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "u64")]
        pub struct $name(u64);

        impl $name {
            /// It.
            #[must_use]
            pub fn get(self) -> $get {
                let make: fn(u64) -> $get = $make;
                make(self.0)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = String;

            fn try_from(number: u64) -> Result<Self, String> {
                let range = $range;
                match range.contains(&number) {
                    true => Ok(Self(number)),
                    false => Err(format!(concat!("{} ", $what, ": give {} to {}"), number, range.start(), range.end())),
                }
            }
        }
    };
}

between! {
    /// How long a question may take.
    Timeout, "seconds are no time to wait", 1..=600_u64, 30, Duration, Duration::from_secs
}
between! {
    /// How many events go at once.
    Events, "is no number of events", 1..=10_000_u64, 2000, usize, |number| usize::try_from(number).unwrap_or(usize::MAX)
}
between! {
    /// How many bytes go at once.
    Bytes, "is no number of bytes", 1024..=64 * 1024 * 1024_u64, 4 * 1024 * 1024, usize, |number| usize::try_from(number).unwrap_or(usize::MAX)
}

fn yes() -> bool {
    true
}

fn sensor() -> Name {
    Name("sensor".to_owned())
}

fn json() -> Name {
    Name("_json".to_owned())
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_isnt_set_has_a_default() {
        let bare: Elasticsearch = parse("url = \"https://a:9200/\"").unwrap();
        assert_eq!(bare, Elasticsearch::to(bare.url.clone()));
        assert_eq!((bare.url.get(), bare.index.get()), ("https://a:9200", "logs-sensor-default"));
        let hec: Hec = parse("url = \"https://a\"\ntoken_file = \"/t\"").unwrap();
        assert_eq!((hec.source.get(), hec.sourcetype.get(), hec.acknowledge), ("sensor", "_json", false));
        assert!(parse::<Hec>("url = \"https://a\"").unwrap_err().contains("token_file"));
        let post: Post =
            parse("url = \"http://127.0.0.1:1\"\ntimeout_s = 5\nmax_events = 10\ngzip = false").unwrap();
        assert_eq!(
            (post.over_http().timeout, post.over_http().events, post.over_http().gzip),
            (Duration::from_secs(5), 10, false)
        );
        let kafka: Kafka = parse("brokers = [\"[::1]:9092\"]\ntopic = \"sensor\"").unwrap();
        assert_eq!((kafka.bytes, kafka.gzip, kafka.tls), (900 * 1024, true, None));
    }

    #[test]
    fn what_cant_be_is_refused() {
        for wrong in [
            "",
            "url = \"\"",
            "url = \"http://a\"",
            "url = \"https://a\"\nurls = 1",
            "url = \"https://a\"\nindex = \"A\"",
            "url = \"https://a\"\nindex = \"_a\"",
            "url = \"https://a\"\nindex = \"a/b\"",
            "url = \"https://a\"\ntimeout_s = 0",
            "url = \"https://a\"\nmax_events = 10001",
            "url = \"https://a\"\nmax_bytes = 1",
            "url = \"https://a\"\ntls = { cert_file = \"/c\" }",
            "url = \"https://a\"\ntls = { insecure = true }",
            "url = \"https://a\"\nlogin = {}",
            "url = \"https://a\"\nlogin = { user = \"u\" }",
            "url = \"https://a\"\nlogin = { user = \"u:v\", password_file = \"/p\" }",
            "url = \"https://a\"\nlogin = { token_file = \"/t\", api_key_file = \"/k\" }",
            "url = \"https://a\"\nlogin = { password = \"p\" }",
        ] {
            assert!(parse::<Elasticsearch>(wrong).is_err(), "{wrong}");
        }
        let right = "brokers = [\"k1:9093\", \"k2:9093\"]\ntopic = \"a.b_c-d\"\n";
        assert!(parse::<Kafka>(&format!("{right}tls = {{}}")).is_ok());
        assert!(parse::<Kafka>(right).unwrap_err().contains("for all to read"));
        for wrong in ["[]", "[\"k\"]", "[\"k:0\"]", "[\":1\"]", "[\"k:1/x\"]", "[\"k 2:1\"]"] {
            let text = format!("brokers = {wrong}\ntopic = \"t\"\ntls = {{}}");
            assert!(parse::<Kafka>(&text).is_err(), "{wrong}");
        }
        for wrong in ["", "..", "a b", "a/b"] {
            let text = format!("brokers = [\"127.0.0.1:1\"]\ntopic = {wrong:?}");
            assert!(parse::<Kafka>(&text).is_err(), "{wrong}");
        }
        let sasl = |mechanism| {
            format!(
                "{right}tls = {{}}\nsasl = {{ mechanism = {mechanism:?}, user = \"u\", password_file = \"/p\" }}"
            )
        };
        for known in ["plain", "scram-sha-256", "scram-sha-512"] {
            assert!(parse::<Kafka>(&sasl(known)).is_ok(), "{known}");
        }
        assert!(parse::<Kafka>(&sasl("gssapi")).is_err());
    }

    #[test]
    fn who_the_sensor_is() {
        let login = |text: &str| {
            parse::<Post>(&format!("url = \"https://a\"\nlogin = {{ {text} }}")).map(|post| post.login)
        };
        assert_eq!(
            login("user = \"u\", password_file = \"/p\""),
            Ok(Login::User("u".to_owned(), "/p".into()))
        );
        assert_eq!(login("api_key_file = \"/k\""), Ok(Login::ApiKey("/k".into())));
        assert_eq!(login("token_file = \"/t\""), Ok(Login::Token("/t".into())));
    }
}
