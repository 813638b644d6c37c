//! OpenTelemetry's logs, read with a second copy of its messages, made from its definition.

use prost::Message;
use sensor::output::{Far, Fate, otlp::Otlp};
use tests::server::{Reply, Server};

use crate::{Events, arrives, fault, refused, settings};

/// `opentelemetry/proto`: only what is looked at.
pub mod proto {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct Request {
        #[prost(message, repeated, tag = "1")]
        pub resource_logs: Vec<ResourceLogs>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct ResourceLogs {
        #[prost(message, optional, tag = "1")]
        pub resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub scope_logs: Vec<ScopeLogs>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub attributes: Vec<KeyValue>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct ScopeLogs {
        #[prost(message, repeated, tag = "2")]
        pub log_records: Vec<LogRecord>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct LogRecord {
        #[prost(fixed64, tag = "1")]
        pub time_unix_nano: u64,
        #[prost(fixed64, tag = "11")]
        pub observed_time_unix_nano: u64,
        #[prost(int32, tag = "2")]
        pub severity_number: i32,
        #[prost(string, tag = "3")]
        pub severity_text: String,
        #[prost(message, optional, tag = "5")]
        pub body: Option<AnyValue>,
        #[prost(message, repeated, tag = "6")]
        pub attributes: Vec<KeyValue>,
        #[prost(string, tag = "12")]
        pub event_name: String,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct KeyValue {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<AnyValue>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct AnyValue {
        #[prost(string, optional, tag = "1")]
        pub string_value: Option<String>,
    }

    impl AnyValue {
        pub fn text(value: Option<&Self>) -> &str {
            value.and_then(|value| value.string_value.as_deref()).unwrap_or_default()
        }
    }

    /// The records of a request's body, with their bodies.
    pub fn bodies(bytes: &[u8]) -> Vec<String> {
        let request = Request::decode(bytes).unwrap();
        let scopes = request.resource_logs.iter().flat_map(|logs| &logs.scope_logs);
        let records = scopes.flat_map(|scope| &scope.log_records);
        records.map(|record| AnyValue::text(record.body.as_ref()).to_owned()).collect()
    }
}

fn far(server: &Server) -> Otlp {
    Otlp::new(&settings(&format!("url = {:?}", server.url())))
}

/// An answer with these bytes, which are text.
fn protobuf(status: u16, bytes: &[u8]) -> Reply {
    let line = "content-type: application/x-protobuf".to_owned();
    Reply::Says(status, vec![line], String::from_utf8(bytes.to_vec()).unwrap())
}

/// `partial_success { rejected_log_records: n, error_message: "no" }`.
fn partial(rejected: u8) -> Reply {
    protobuf(200, &[0x0a, 6, 0x08, rejected, 0x12, 2, b'n', b'o'])
}

#[test]
fn records_with_the_event_as_their_body() {
    let server = Server::start([protobuf(200, b"")]);
    let events = Events::new(2);
    assert_eq!(far(&server).bring(&events.parcels()).unwrap(), [Fate::Arrived, Fate::Arrived]);
    let question = &server.questions()[0];
    assert_eq!(question.head[0], "POST /v1/logs HTTP/1.1");
    assert_eq!(question.header("content-type"), Some("application/x-protobuf"));
    let request = proto::Request::decode(&*question.bytes()).unwrap();
    assert_eq!(request.resource_logs.len(), 1);
    let logs = &request.resource_logs[0];
    let named = |attributes: &[proto::KeyValue], key: &str| {
        let found = attributes.iter().find(|attribute| attribute.key == key).unwrap();
        proto::AnyValue::text(found.value.as_ref()).to_owned()
    };
    let resource = &logs.resource.as_ref().unwrap().attributes;
    assert_eq!(
        (named(resource, "service.name"), named(resource, "host.name")),
        ("sensor".into(), "web-1".into())
    );
    let records = &logs.scope_logs[0].log_records;
    assert_eq!(records.len(), 2);
    let first = &records[0];
    assert_eq!(
        (first.time_unix_nano, first.observed_time_unix_nano),
        (1_764_201_600_123_456_789, 1_764_201_600_123_456_789)
    );
    assert_eq!((first.severity_number, &*first.severity_text, &*first.event_name), (17, "high", "exec"));
    assert_eq!(named(&first.attributes, "event.id"), "e4057c27660c0d4b-0");
    assert_eq!(named(&first.attributes, "event.name"), "exec");
    assert_eq!(proto::bodies(&question.bytes()), events.lines());
}

#[test]
fn which_were_rejected_is_found_by_halves() {
    let server = Server::start([partial(1), partial(0), partial(1)]);
    let fates = far(&server).bring(&Events::new(2).parcels()).unwrap();
    assert_eq!((&fates[0], refused(&fates[1])), (&Fate::Arrived, "rejected: no"));
    let server = Server::start([partial(3)]);
    let fates = far(&server).bring(&Events::new(3).parcels()).unwrap();
    assert!(fates.iter().all(|fate| refused(fate) == "rejected: no"));
    assert_eq!(server.questions().len(), 1);
}

#[test]
fn what_it_says_of_a_bad_load() {
    // google.rpc.Status { code: 3, message: "bad" }
    let server = Server::start([protobuf(400, &[0x08, 3, 0x12, 3, b'b', b'a', b'd'])]);
    let fates = far(&server).bring(&Events::new(1).parcels()).unwrap();
    assert_eq!(refused(&fates[0]), "status 400: bad");
    let server = Server::start([protobuf(200, b"<html>"), protobuf(200, &[0x0a, 0x7f]), protobuf(200, b"")]);
    let mut far = far(&server);
    for _ in 0..2 {
        assert!(fault(&mut far, 2).1.contains("isn't understood"));
    }
    arrives(&mut far, 2);
}
