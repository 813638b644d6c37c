//! A server that speaks as OpenSearch 3 does.

use std::collections::BTreeSet;
use std::time::Duration;

use sensor::http::Client;
use sensor::output::{Far, Fate, elasticsearch::Elasticsearch};
use serde_json::Value;
use tests::proxy::Proxy;

use crate::{Server, alone, at, bad_day, events, pace, parcels, settings};

fn start() -> Server {
    Server::start("osmem_server/bin/osmem-server", &["-addr", "127.0.0.1:9200"], &[], at(9200))
}

fn far(server: std::net::SocketAddr) -> Elasticsearch {
    Elasticsearch::new(&settings(&format!(
        "url = \"http://{server}\"\nindex = \"logs-sensor\"\ntimeout_s = 5"
    )))
}

fn ask(server: &Server, what: &str, body: &str) -> Value {
    let url = format!("http://{}/logs-sensor/{what}", server.address);
    let client = Client::new(&url, None, Duration::from_secs(20));
    client
        .post(&url, &[("content-type", "application/json")], body.as_bytes())
        .unwrap()
        .json(1 << 28)
        .unwrap()
}

/// The ids of all that is there, each once.
fn ids(server: &Server) -> BTreeSet<String> {
    let found = ask(server, "_search", "{\"size\":100000,\"_source\":false}");
    let hits = found["hits"]["hits"].as_array().unwrap();
    let ids: BTreeSet<String> = hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), hits.len());
    ids
}

#[test]
#[ignore = "needs `cargo xtask servers`"]
fn each_event_is_there_once_after_a_bad_day() {
    alone();
    let server = start();
    let address = server.address;
    let proxy = Proxy::to(move || Some(address));
    let mut all = events(5000);
    // The first decides what is a number; this is none.
    all[0].1 = br#"{"event":{"sequence":1}}"#.to_vec();
    all[2500].1 = br#"{"event":{"sequence":{"no":"number"}}}"#.to_vec();
    let day = bad_day(&mut far(proxy.address()), &proxy, &parcels(&all), 100);
    let mut wanted: BTreeSet<String> = all.iter().map(|(id, _)| id.clone()).collect();
    wanted.remove(&all[2500].0);
    assert_eq!(ids(&server), wanted);
    assert_eq!(day.refused.len(), 1, "{:?}", day.refused);
    assert_eq!(day.refused[0].0, all[2500].0);
    assert!(day.refused[0].1.starts_with("status 400: "), "{:?}", day.refused);
    println!(
        "_bulk: 5000 events, {} loads, {} of them failed, 0 lost, 0 doubled, 1 refused: {}",
        day.loads, day.errors, day.refused[0].1
    );
    // All of it once more: it was there.
    let again = far(address).bring(&parcels(&all[..100])).unwrap();
    assert_eq!(again, vec![Fate::Arrived; 100]);
    assert_eq!(ids(&server).len(), 4999);
}

#[test]
#[ignore = "needs `cargo xtask servers`"]
fn how_fast() {
    alone();
    let server = start();
    pace("_bulk", &mut far(server.address), &parcels(&events(50_000)));
}
