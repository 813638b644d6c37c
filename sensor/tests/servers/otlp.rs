//! A collector of OpenTelemetry's, which gives on what it takes: to a server that keeps it.

use std::collections::BTreeMap;
use std::time::Instant;

use prost::Message;
use sensor::output::otlp::Otlp;
use tests::proxy::Proxy;
use tests::server::{Reply, Server as Keeper};

use crate::{EACH, FAULTS, Server, alone, at, bad_days, events, pace, parcels, settings};

/// `opentelemetry/proto`: only what is looked at.
mod proto {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub(super) resource_logs: Vec<ResourceLogs>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ResourceLogs {
        #[prost(message, repeated, tag = "2")]
        pub(super) scope_logs: Vec<ScopeLogs>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ScopeLogs {
        #[prost(message, repeated, tag = "2")]
        pub(super) log_records: Vec<LogRecord>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(super) struct LogRecord {
        #[prost(fixed64, tag = "1")]
        pub(super) time_unix_nano: u64,
        #[prost(message, optional, tag = "5")]
        pub(super) body: Option<AnyValue>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(super) struct AnyValue {
        #[prost(string, optional, tag = "1")]
        pub(super) text: Option<String>,
    }
}

fn start(to: &str) -> Server {
    let words = [
        "start",
        "--otlp-http-endpoint",
        "127.0.0.1:4318",
        "--otlp-grpc-endpoint",
        "127.0.0.1:4317",
        "--exporter",
        if to.is_empty() { "blackhole" } else { "otlp" },
    ];
    let mut words = words.to_vec();
    if !to.is_empty() {
        words.extend(["--otlp-exporter-endpoint", to, "--otlp-exporter-protocol", "http"]);
    }
    Server::start("rotel/rotel-agent", &words, at(4318))
}

fn far(at: std::net::SocketAddr) -> Otlp {
    Otlp::new(&settings(&format!("url = \"http://{at}\"\ntimeout_s = 2")))
}

/// How often each body was kept.
fn kept(keeper: &Keeper) -> BTreeMap<String, usize> {
    let mut bodies = BTreeMap::new();
    for question in keeper.questions() {
        let request = proto::Request::decode(&*question.bytes()).unwrap();
        let records = request
            .resource_logs
            .into_iter()
            .flat_map(|logs| logs.scope_logs)
            .flat_map(|scope| scope.log_records);
        for record in records {
            assert_eq!(record.time_unix_nano, 1_764_201_600_000_000_000);
            *bodies.entry(record.body.and_then(|body| body.text).unwrap()).or_insert(0) += 1;
        }
    }
    bodies
}

#[test]
#[ignore = "needs `cargo xtask servers`"]
fn every_event_is_there_whatever_the_network_does() {
    alone();
    let keeper = Keeper::start([]);
    keeper.usually(Reply::Says(200, vec!["content-type: application/x-protobuf".to_owned()], String::new()));
    let server = start(&keeper.url());
    let address = server.address;
    let proxy = Proxy::to(move || Some(address));
    let mut far = far(proxy.address());
    let all = events(EACH * FAULTS.len());
    let days = bad_days(&mut far, &proxy, &all);
    let end = Instant::now() + tests::patience(tests::DEADLINE);
    let mut bodies = kept(&keeper);
    while bodies.len() < all.len() {
        assert!(Instant::now() < end, "{} of {}", bodies.len(), all.len());
        std::thread::yield_now();
        bodies = kept(&keeper);
    }
    for ((part, (fault, _)), day) in all.chunks(EACH).zip(FAULTS).zip(days) {
        assert!(day.refused.is_empty(), "{day:?}");
        let times = |line: &Vec<u8>| bodies[std::str::from_utf8(line).unwrap()];
        day.row("otlp", fault, part.iter().map(|(_, line)| times(line) - 1).sum());
    }
}

#[test]
#[ignore = "needs `cargo xtask servers`"]
fn how_fast() {
    alone();
    let server = start("");
    pace("otlp", &mut far(server.address), &parcels(&events(50_000)));
}
