//! OpenTelemetry's logs, in protobuf over HTTP (OTLP 1.x). The body of a record is the event as it is, one text: every receiver
//! stores a text and can parse it, while a tree of attributes would be cut or renamed on the way, and 64-bit ids with it.

mod message;

use prost::Message;

use super::{ByHttp, Courier, FarError, Fate, Parcel, Said, Sent, Sort, Who, short};
use crate::{config, format};
use message::{
    Any, Export, Exported, KeyValue, LogRecord, Resource, ResourceLogs, Scope, ScopeLogs, Status, Value,
};

/// The output.
#[derive(Debug)]
pub struct Otlp {
    courier: Courier,
}

impl Otlp {
    /// With these settings.
    #[must_use]
    pub fn new(settings: &config::Otlp) -> Self {
        let who = Who::Login(settings.login.clone());
        Self { courier: Courier::new(settings.over_http(), who, "application/x-protobuf") }
    }
}

impl ByHttp for Otlp {
    fn courier(&self) -> &Courier {
        &self.courier
    }

    fn courier_mut(&mut self) -> &mut Courier {
        &mut self.courier
    }

    fn send(&mut self, part: &[Parcel<'_>]) -> Result<Sent, FarError> {
        let body = export(part).encode_to_vec();
        let bytes = body.len();
        let said = self.courier.bring("/v1/logs", &[], body, part.len())?;
        match said.sort() {
            Sort::Taken => match Exported::decode(&*said.body) {
                Ok(exported) => Ok(taken(exported, part.len())),
                Err(_) => Err(self.courier.garbled(part.len())),
            },
            Sort::Refused => Ok(Sent::Halve(reason(&said))),
            Sort::TooLarge => Ok(self.courier.too_large(part.len(), bytes, &said)),
            sort @ (Sort::Later | Sort::Settings(_)) => Err(self.courier.unsent(part.len(), &said, sort)),
        }
    }
}

/// What is said of those that were refused: how many, never which. So that it is known, halves go by themselves, and what was taken
/// comes twice; its id tells.
fn taken(exported: Exported, events: usize) -> Sent {
    let partial = exported.partial_success.unwrap_or_default();
    let why = || short(&format!("rejected: {}", partial.error_message));
    match usize::try_from(partial.rejected_log_records).unwrap_or(0) {
        0 => Sent::Known(vec![Fate::Arrived; events]),
        rejected if rejected >= events => Sent::Known(vec![Fate::Refused(why()); events]),
        _ => Sent::Halve(why()),
    }
}

fn reason(said: &Said) -> String {
    match Status::decode(&*said.body) {
        Ok(Status { message, .. }) if !message.is_empty() => {
            short(&format!("status {}: {message}", said.status))
        }
        _ => said.reason(),
    }
}

/// A resource for each host: most often one.
fn export(part: &[Parcel<'_>]) -> Export {
    let runs = part.chunk_by(|one, next| one.host == next.host);
    let resource_logs = runs.map(|run| {
        let host = run.first().map_or("", |parcel| parcel.host);
        let attributes = vec![
            attribute("service.name", "sensor"),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
            attribute("host.name", host),
        ];
        let scope = Scope { name: "sensor".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let log_records = run.iter().map(record).collect();
        let logs = ScopeLogs { scope: Some(scope), log_records };
        ResourceLogs { resource: Some(Resource { attributes }), scope_logs: vec![logs] }
    });
    Export { resource_logs: resource_logs.collect() }
}

fn record(parcel: &Parcel<'_>) -> LogRecord {
    let time = u64::try_from(parcel.time).unwrap_or(0);
    let (severity_number, severity_text) = severity(parcel.severity);
    LogRecord {
        time_unix_nano: time,
        // The sensor sees an event as it happens.
        observed_time_unix_nano: time,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(text(&String::from_utf8_lossy(parcel.bytes))),
        attributes: vec![attribute("event.name", parcel.action), attribute("event.id", parcel.id)],
        event_name: parcel.action.to_owned(),
    }
}

/// By OpenTelemetry's numbers: 9 is information, 13 a warning, 17 an error, 21 fatal.
fn severity(severity: u64) -> (i32, &'static str) {
    let number = match severity {
        0..21 => 9,
        21..47 => 10,
        47..73 => 13,
        73..99 => 17,
        _ => 21,
    };
    (number, if severity == 0 { "INFO" } else { format::severity(severity).0 })
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(text(value)) }
}

fn text(text: &str) -> Any {
    Any { value: Some(Value::Text(text.to_owned())) }
}
