//! `[[outputs]]`: places to which events go, each with what it wants of them.

use std::{collections::HashSet, fmt};

use serde::{Deserialize, Deserializer, de::Error};

use super::{Elasticsearch, Hec, Kafka, Otlp, Post};

mod file;
mod format;
mod syslog;

pub use file::{File, Keep, RotateAge, RotateBytes, WholePath};
pub use format::Format;
pub use syslog::{Address, Facility, MessageBytes, Syslog, Transport};

/// Most outputs.
const MOST: usize = 16;
/// What every output has, beside the keys of its type.
const COMMON: [&str; 5] = ["name", "format", "actions", "users", "severity_min"];

/// A place to which events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What it is called, here and where it is told of it; its place in the journal goes by this name.
    pub name: OutputName,
    /// How events are written.
    pub format: Format,
    /// Which events.
    pub wanted: Wanted,
    /// Where to.
    pub to: To,
}

/// Where to: the table of types. Each has the keys of its structure, and no others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum To {
    /// Standard output.
    Stdout(Stdout),
    /// A file.
    File(File),
    /// A syslog server.
    Syslog(Syslog),
    /// Elasticsearch or OpenSearch.
    Elasticsearch(Elasticsearch),
    /// Splunk's HTTP event collector.
    Hec(Hec),
    /// Whoever takes lines by HTTP.
    Post(Post),
    /// OpenTelemetry.
    Otlp(Otlp),
    /// Kafka.
    Kafka(Kafka),
}

impl To {
    /// The hosts that it goes to, by name or address, each with its port.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        let of_url = |url: &super::FarUrl| {
            let (scheme, rest) = url.get().split_once("://").unwrap_or(("https", url.get()));
            let authority = rest.split('/').next().unwrap_or(rest);
            let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
            let port = if scheme == "http" { 80 } else { 443 };
            vec![if has_port { authority.to_owned() } else { format!("{authority}:{port}") }]
        };
        match self {
            Self::Stdout(_) | Self::File(_) => Vec::new(),
            Self::Syslog(to) => vec![to.address.to_string()],
            Self::Elasticsearch(to) => of_url(&to.url),
            Self::Hec(to) => of_url(&to.url),
            Self::Post(to) => of_url(&to.url),
            Self::Otlp(to) => of_url(&to.url),
            Self::Kafka(to) => to.brokers.get().to_vec(),
        }
    }

    /// Whether what goes there must be JSON.
    fn wants_json(&self) -> bool {
        matches!(self, Self::Elasticsearch(_) | Self::Hec(_))
    }
}

/// `type = "stdout"`: it has no keys of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stdout {}

/// Which events an output wants; what isn't said lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of these actions only.
    pub actions: Vec<String>,
    /// Of these users only, by name or number: who logged in, who started the process, or as whom it acts.
    pub users: Vec<String>,
    /// With this `event.severity` at least; an event without one has 0.
    pub severity_min: u64,
}

/// What every output has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Common {
    name: OutputName,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    actions: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    severity_min: u64,
}

/// The keys that every output has are taken out first, so that each type can be closed to all that isn't its own.
impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut own = toml::Table::deserialize(deserializer)?;
        let common = COMMON.iter().filter_map(|key| own.remove_entry(*key)).collect::<toml::Table>();
        let place = match common.get("name") {
            Some(toml::Value::String(name)) => format!(" (in the output {name:?})"),
            _ => String::new(),
        };
        let wrong = |error: toml::de::Error| {
            let message = error.message();
            // All that could have been meant.
            let also = match message.starts_with("unknown field") {
                true => format!(", or of every output `{}`", COMMON.join("`, `")),
                false => String::new(),
            };
            D::Error::custom(format!("{message}{also}{place}"))
        };
        let common: Common = common.try_into().map_err(wrong)?;
        let to: To = own.try_into().map_err(wrong)?;
        let Common { name, format, actions, users, severity_min } = common;
        if format == Format::Text && to.wants_json() {
            return Err(D::Error::custom(format!("what this goes to takes JSON, and text is none{place}")));
        }
        Ok(Self { name, format, wanted: Wanted { actions, users, severity_min }, to })
    }
}

/// A name: letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct OutputName(String);

impl fmt::Display for OutputName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for OutputName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        match plain && (1..=32).contains(&name.len()) {
            true => Ok(Self(name)),
            false => Err(format!("{name:?} is no name: give 1 to 32 letters, digits, `-` or `_`")),
        }
    }
}

/// All outputs, no two of one name or to one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Output>")]
pub struct Outputs(Vec<Output>);

impl Outputs {
    /// They.
    #[must_use]
    pub fn get(&self) -> &[Output] {
        &self.0
    }
}

impl TryFrom<Vec<Output>> for Outputs {
    type Error = String;

    fn try_from(outputs: Vec<Output>) -> Result<Self, String> {
        let (mut names, mut places) = (HashSet::new(), HashSet::new());
        for output in &outputs {
            if !names.insert(&output.name) {
                return Err(format!("two outputs are called `{}`: give each a name of its own", output.name));
            }
            let place = match &output.to {
                To::Stdout(_) => Some("standard output".to_owned()),
                To::File(file) => Some(file.path.get().display().to_string()),
                // What goes to a server may go there twice, as in two formats.
                _ => None,
            };
            if let Some(place) = place.filter(|place| !places.insert(place.clone())) {
                return Err(format!("two outputs write to {place}: give each its own"));
            }
        }
        match outputs.len() <= MOST {
            true => Ok(Self(outputs)),
            false => Err(format!("there are {} outputs, more than {MOST}", outputs.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<Outputs, String> {
        toml::from_str::<Config>(text).map(|config| config.outputs).map_err(|error| error.to_string())
    }

    fn one(keys: &str) -> Result<Output, String> {
        parse(&format!("[[outputs]]\nname = \"a\"\n{keys}")).map(|outputs| outputs.get()[0].clone())
    }

    #[test]
    fn every_example_of_the_documentation_is_right() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let more =
            std::fs::read_dir(docs.join("outputs")).into_iter().flatten().map(|file| file.unwrap().path());
        let pages = more.chain([docs.join("outputs.md")]).map(|path| std::fs::read_to_string(path).unwrap());
        let page: String = pages.collect();
        let (mut types, mut examples) = (HashSet::new(), 0);
        for block in page.split("```toml\n").skip(1) {
            let example = block.split("```").next().unwrap();
            let outputs = parse(example).unwrap_or_else(|error| panic!("{error}\n{example}"));
            types.extend(outputs.get().iter().map(|output| std::mem::discriminant(&output.to)));
            examples += 1;
        }
        assert!(types.len() >= 3 && examples > 3, "{} types in {examples} examples", types.len());
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let output = one("type = \"file\"\npath = \"/var/log/sensor/events\"").unwrap();
        assert_eq!((output.format, output.wanted), (Format::Ecs, Wanted::default()));
        let To::File(file) = output.to else { panic!() };
        assert_eq!(
            (file.max_bytes.get().unwrap().get(), file.max_age_s.get(), file.keep.get()),
            (100 << 20, None, 10)
        );
        let output = one("type = \"syslog\"\ntransport = \"tls\"\naddress = \"[::1]:6514\"").unwrap();
        let To::Syslog(syslog) = output.to else { panic!() };
        assert_eq!(
            (syslog.transport, syslog.facility as u8),
            (Transport::Tls(super::super::Tls::default()), 16)
        );
        assert_eq!((syslog.address.host(), syslog.address.to_string().as_str()), ("::1", "[::1]:6514"));
    }

    #[test]
    fn each_type_is_closed_to_what_is_not_its_own() {
        for (keys, words) in [
            ("type = \"fil\"", &["unknown variant `fil`", "file"][..]),
            ("type = \"stdout\"\npath = \"/a\"", &["unknown field `path`", "severity_min"]),
            (
                "type = \"file\"\npath = \"/a\"\naddress = \"a:1\"",
                &["unknown field `address`", "`max_bytes`"],
            ),
            ("type = \"file\"", &["missing field `path`", "in the output \"a\""]),
            ("path = \"/a\"", &["missing field `type`"]),
            ("type = \"file\"\npath = \"a\"", &["no whole path"]),
            ("type = \"file\"\npath = \"/a/../b\"", &["no whole path"]),
            ("type = \"file\"\npath = \"/a/\"", &["no whole path"]),
            ("type = \"file\"\npath = \"/a\"\nmax_bytes = 1", &["65536 or more"]),
            ("type = \"file\"\npath = \"/a\"\nmax_age_s = 1", &["60 to"]),
            ("type = \"file\"\npath = \"/a\"\nkeep = 0", &["1 to 1000"]),
            ("type = \"syslog\"\naddress = \"a:1\"", &["missing field `transport`"]),
            ("type = \"syslog\"\ntransport = \"udp\"\naddress = \"a\"", &["HOST:PORT"]),
            ("type = \"syslog\"\ntransport = \"udp\"\naddress = \"a:0\"", &["HOST:PORT"]),
            ("type = \"syslog\"\ntransport = \"udp\"\naddress = \"a b:1\"", &["HOST:PORT"]),
            ("type = \"syslog\"\ntransport = \"udp\"\naddress = \"a:1\"\ntls = {}", &["`tls` is for"]),
            (
                "type = \"syslog\"\ntransport = \"tls\"\naddress = \"a:1\"\ntls = { cert_file = \"/a\" }",
                &["both or none"],
            ),
            (
                "type = \"syslog\"\ntransport = \"udp\"\naddress = \"a:1\"\nmax_message_bytes = 479",
                &["480 to"],
            ),
            (
                "type = \"syslog\"\ntransport = \"udp\"\naddress = \"a:1\"\nfacility = \"x\"",
                &["unknown variant `x`"],
            ),
            ("type = \"elasticsearch\"\nurl = \"https://a\"\nformat = \"text\"", &["takes JSON"]),
            ("type = \"stdout\"\nformat = \"xml\"", &["unknown variant `xml`"]),
        ] {
            let error = one(keys).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{keys}: {error}");
        }
    }

    #[test]
    fn no_two_outputs_are_in_each_others_way() {
        let output = |name: &str, keys: &str| format!("[[outputs]]\nname = {name:?}\n{keys}\n");
        let file = "type = \"file\"\npath = \"/a\"";
        let wrong = [
            (output("a", file) + &output("a", "type = \"stdout\""), "two outputs are called `a`"),
            (output("a", file) + &output("b", file), "two outputs write to /a"),
            (output("a", "type = \"stdout\"") + &output("b", "type = \"stdout\""), "standard output"),
            (output("a b", file), "no name"),
            (output("", file), "no name"),
            (output(&"x".repeat(33), file), "no name"),
        ];
        for (text, word) in wrong {
            assert!(parse(&text).unwrap_err().contains(word), "{text}");
        }
        let many: String = (0..17)
            .map(|n| output(&n.to_string(), "type = \"syslog\"\ntransport = \"udp\"\naddress = \"a:1\""))
            .collect();
        assert!(parse(&many).unwrap_err().contains("more than 16"));
    }
}
