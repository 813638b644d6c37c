//! What an output is: its filter, its format, and where it brings events.

use super::{cursor::Entry, filter};
use crate::{
    config::{self, To},
    event::{ACTIONS, wanted::Wanted},
    format::{self, Format, ecs},
    host::Host,
    output::{Clock, Far, elasticsearch, file, hec, kafka, otlp, post, standard, syslog},
};

/// Why an output can't be made.
#[derive(Debug, thiserror::Error)]
#[error("the output `{name}`: {what}")]
pub struct OutletError {
    name: String,
    what: String,
}

/// An output that is ready to work.
pub struct Outlet {
    /// Its name in the configuration; also that of its cursor.
    pub name: String,
    /// What `coverage` names it.
    pub hook: &'static str,
    pub(super) wanted: Wanted,
    /// None: the line as it is.
    format: Option<&'static dyn Format>,
    pub(super) far: Box<dyn Far>,
    pub(super) host: String,
}

impl Outlet {
    /// One as it is configured. Nothing is opened or connected yet, but files of certificates are read.
    ///
    /// # Errors
    /// When the configuration names what isn't there.
    pub fn new(config: &config::Output, host: &Host) -> Result<Self, OutletError> {
        let failed = |what: String| OutletError { name: config.name.to_string(), what };
        if let Some(odd) =
            config.wanted.actions.iter().find(|name| ACTIONS.iter().all(|known| known.name != **name))
        {
            return Err(failed(format!("there is no action `{odd}`: see `sensor events`")));
        }
        let clock = clock(host);
        let (hook, far): (&str, Box<dyn Far>) = match &config.to {
            To::Stdout(_) => (
                "output/stdout",
                Box::new(
                    standard::Standard::open()
                        .map_err(|error| failed(format!("opening standard output: {error}")))?,
                ),
            ),
            To::File(to) => ("output/file", Box::new(file::File::new(to))),
            To::Syslog(to) => {
                let json = config.format != config::Format::Text;
                ("output/syslog", Box::new(syslog::Syslog::new(to, json, clock).map_err(failed)?))
            }
            To::Elasticsearch(to) => {
                ("output/elasticsearch", Box::new(elasticsearch::Elasticsearch::new(to)))
            }
            To::Hec(to) => ("output/hec", Box::new(hec::Hec::new(to))),
            To::Post(to) => ("output/post", Box::new(post::Post::new(to))),
            To::Otlp(to) => ("output/otlp", Box::new(otlp::Otlp::new(to))),
            To::Kafka(to) => ("output/kafka", Box::new(kafka::Kafka::new(to))),
        };
        far.check().map_err(failed)?;
        Ok(Self::bringing(config, hook, host.name.to_str_lossy().into_owned(), far))
    }

    /// One that brings it there.
    pub(super) fn bringing(
        config: &config::Output,
        hook: &'static str,
        host: String,
        far: Box<dyn Far>,
    ) -> Self {
        let format = match config.format {
            config::Format::Ecs => None,
            other => format::named(other.name()),
        };
        let wanted = filter::wanted(&config.wanted);
        Self { name: config.name.to_string(), hook, wanted, format, far, host }
    }

    /// The event in the output's format; none where that is the line itself, or it isn't wanted.
    ///
    /// # Errors
    /// When the line is no event, in words.
    pub(super) fn dress(&self, entry: &Entry, wanted: bool) -> Result<Option<Vec<u8>>, String> {
        if wanted && entry.line.is_empty() {
            return Err("what the journal holds of it is damaged".to_owned());
        }
        let Some(format) = self.format.filter(|_| wanted) else { return Ok(None) };
        let record = ecs::read(entry.line.as_bytes()).map_err(|error| error.to_string())?;
        let mut out = Vec::with_capacity(entry.line.len() * 2);
        format.write(&record, &mut out);
        out.pop_if(|last| *last == b'\n');
        Ok(Some(out))
    }
}

/// Time as outputs need it: how long something took.
pub(super) fn clock(host: &Host) -> Clock {
    let host = host.clone();
    std::sync::Arc::new(move || std::time::Duration::from_nanos(host.boot_now()))
}
