//! Kafka: each event a record under the name of its host, so that those of a host are in one partition and in order there. It has
//! arrived when all replicas have it.

mod nagle;
mod partition;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::DateTime;
use rskafka::{
    BackoffConfig,
    client::{
        Client, ClientBuilder, Credentials, SaslConfig,
        error::{Error, ProtocolError},
        partition::{Compression, PartitionClient, UnknownTopicHandling},
    },
    record::Record,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::{Far, FarError, Fate, Load, Parcel, Sent, bring};
use crate::{
    config::{self, Mechanism, Sasl},
    format::text::escape,
    tls::Tls,
    trusted::Key,
};

/// Largest answer of a broker, bytes: it tells of all its topics at once.
const ANSWER: usize = 16 * 1024 * 1024;

/// The output.
#[derive(Debug)]
pub struct Kafka {
    settings: config::Kafka,
    /// None before the first load, and after trouble.
    open: Option<Open>,
}

/// Connections, and what drives them.
#[derive(Debug)]
struct Open {
    driver: Driver,
    client: Arc<Client>,
    partitions: usize,
    /// Those that were written to.
    used: BTreeMap<usize, Arc<PartitionClient>>,
}

/// Why nothing is known.
type Failure = (&'static str, Box<dyn std::error::Error + Send + Sync>);

impl Kafka {
    /// With these settings.
    #[must_use]
    pub fn new(settings: &config::Kafka) -> Self {
        Self { settings: settings.clone(), open: None }
    }

    fn send(&mut self, part: &[Parcel<'_>]) -> Result<Sent, FarError> {
        // Those of one host: most often all.
        let host = part.first().map_or("", |parcel| parcel.host);
        let run = part.iter().take_while(|parcel| parcel.host == host).count();
        if run < part.len() {
            return Ok(Sent::Before(run));
        }
        match self.produce(host, part) {
            Ok(sent) => Ok(sent),
            Err((advice, source)) => {
                self.open = None;
                let (events, topic) = (part.len(), self.settings.topic.get());
                let brokers = self.settings.brokers.get().join(", ");
                let attempted = format!("sending {events} events to topic {topic} of {brokers}");
                Err(FarError { attempted, advice, not_before: None, source })
            }
        }
    }

    fn produce(&mut self, host: &str, part: &[Parcel<'_>]) -> Result<Sent, Failure> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.settings)?,
        };
        let open = self.open.insert(open);
        let partition = open.partition(host, &self.settings)?;
        let records = part.iter().map(record).collect();
        let packing = if self.settings.gzip { Compression::Gzip } else { Compression::NoCompression };
        let produced =
            open.driver.run(self.settings.timeout, async move { partition.produce(records, packing).await });
        match produced? {
            Ok(offsets) if offsets.len() == part.len() => Ok(Sent::Known(vec![Fate::Arrived; part.len()])),
            Ok(_) => Err((
                "it is tried again; check that there is a Kafka at brokers",
                "it took another number of records".into(),
            )),
            Err(error) => match refusal(&error) {
                Some(why) => Ok(Sent::Halve(why)),
                None => Err(failure(&error)),
            },
        }
    }
}

impl Far for Kafka {
    fn most(&self) -> Load {
        Load { events: self.settings.events, bytes: self.settings.bytes }
    }

    fn bring(&mut self, load: &[Parcel<'_>]) -> Result<Vec<Fate>, FarError> {
        bring(load, |part| self.send(part))
    }

    fn check(&self) -> Result<(), String> {
        let files = self.settings.tls.as_ref().map(Tls::read).transpose();
        files.map_err(|error| format!("{error}: check the files of tls"))?;
        let known = self.settings.sasl.as_ref().map(credentials).transpose();
        known.map(drop).map_err(|(advice, source)| format!("{source}: {advice}"))
    }

    fn reopen(&mut self) {
        self.open = None;
    }
}

impl Open {
    fn new(settings: &config::Kafka) -> Result<Self, Failure> {
        let driver = Driver::new()?;
        // It would try again by itself, and each try that came through without an answer doubles a load: who gives the load does
        // that, more slowly each time.
        let backoff = BackoffConfig { deadline: Some(Duration::ZERO), ..BackoffConfig::default() };
        let mut builder = ClientBuilder::new(settings.brokers.get().to_vec())
            .client_id("sensor")
            .max_message_size(ANSWER)
            .backoff_config(backoff);
        if let Some(files) = &settings.tls {
            let tls = Tls::read(files).map_err(|error| ("check the files of tls", error.into()))?;
            builder = builder.tls_config(tls.config());
        }
        if let Some(sasl) = &settings.sasl {
            builder = builder.sasl_config(credentials(sasl)?);
        }
        let connected = driver.run(settings.timeout, async move {
            let client = builder.build().await?;
            client.list_topics().await.map(|topics| (client, topics))
        });
        let (client, topics) = connected?.map_err(|error| failure(&error))?;
        let topic = topics.into_iter().find(|topic| topic.name == settings.topic.get());
        match topic.map_or(0, |topic| topic.partitions.len()) {
            0 => Err((
                "create the topic, or check what the sensor may see of it",
                "there is no such topic".into(),
            )),
            partitions => Ok(Self { driver, client: Arc::new(client), partitions, used: BTreeMap::new() }),
        }
    }

    /// That of a host.
    fn partition(&mut self, host: &str, settings: &config::Kafka) -> Result<Arc<PartitionClient>, Failure> {
        let number = partition::of(host.as_bytes(), self.partitions).unwrap_or(0);
        if let Some(known) = self.used.get(&number) {
            return Ok(Arc::clone(known));
        }
        let (client, topic) = (Arc::clone(&self.client), settings.topic.get().to_owned());
        let id = i32::try_from(number).unwrap_or(0);
        let found = self.driver.run(settings.timeout, async move {
            client.partition_client(topic, id, UnknownTopicHandling::Error).await
        });
        let found = Arc::new(found?.map_err(|error| failure(&error))?);
        // The connection to its leader is made.
        nagle::never_wait();
        self.used.insert(number, Arc::clone(&found));
        Ok(found)
    }
}

/// What the client runs in: this thread, while it waits.
#[derive(Debug)]
struct Driver(Option<Runtime>);

impl Driver {
    fn new() -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        runtime
            .map(|runtime| Self(Some(runtime)))
            .map_err(|error| ("it is tried again; the host has no descriptors left", error.into()))
    }

    /// Runs something to its end, but for so long. What goes wrong in the client, on whatever a broker said, is its failure alone.
    fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        what: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        let Some(runtime) = &self.0 else {
            return Err(("it is tried again", "its runtime has ended".into()));
        };
        runtime.block_on(async {
            let task = tokio::spawn(what);
            let abort = task.abort_handle();
            match timeout(patience, task).await {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(broken)) => Err(("it is tried again; report what the broker is", broken.into())),
                Err(late) => {
                    abort.abort();
                    Err((
                        "it is tried again; see what keeps the brokers busy, or raise timeout_s",
                        late.into(),
                    ))
                }
            }
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Not waiting for a name that is still looked up.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn credentials(sasl: &Sasl) -> Result<SaslConfig, Failure> {
    let path = escape(sasl.password_file.as_os_str().as_encoded_bytes());
    let password = Key::read_password(&sasl.password_file);
    let password = password.map_err(|why| ("check the file", format!("{path}: {why}").into()))?;
    let known = Credentials::new(sasl.user.clone(), password.get().to_owned());
    Ok(match sasl.mechanism {
        Mechanism::Plain => SaslConfig::Plain(known),
        Mechanism::ScramSha256 => SaslConfig::ScramSha256(known),
        Mechanism::ScramSha512 => SaslConfig::ScramSha512(known),
    })
}

fn record(parcel: &Parcel<'_>) -> Record {
    let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    Record {
        key: Some(parcel.host.as_bytes().to_vec()),
        value: Some(parcel.bytes.to_vec()),
        headers: [header("event.id", parcel.id), header("event.action", parcel.action)].into(),
        timestamp: DateTime::from_timestamp_nanos(parcel.time),
    }
}

/// Why the broker will never take a load, if it won't.
fn refusal(error: &Error) -> Option<String> {
    use ProtocolError::{InvalidRecord, MessageTooLarge, PolicyViolation, RecordListTooLarge};
    match error {
        Error::ServerError {
            protocol_error: what @ (InvalidRecord | MessageTooLarge | PolicyViolation | RecordListTooLarge),
            ..
        } => Some(format!("the broker says {what:?}")),
        _ => None,
    }
}

/// What to do about an error, and it: what it says is of the broker.
fn failure(error: &Error) -> Failure {
    use ProtocolError as P;
    let advice = match error {
        Error::ServerError { protocol_error: what, .. } => match what {
            P::UnknownTopicOrPartition => "create the topic, or check what the sensor may see of it",
            P::TopicAuthorizationFailed | P::ClusterAuthorizationFailed => {
                "let the sensor's user write to the topic"
            }
            P::NotEnoughReplicas | P::NotEnoughReplicasAfterAppend => {
                "it is tried again; too few replicas are there (min.insync.replicas)"
            }
            _ => "it is tried again; see what the brokers say",
        },
        Error::InvalidResponse(_) => "it is tried again; check that there is a Kafka at brokers",
        _ => "it is tried again; check brokers, tls, sasl, and the way there",
    };
    let said: String = error.to_string().chars().take(600).collect();
    (advice, escape(said.as_bytes()).into())
}
