//! A server that speaks as OpenSearch 3 does.

use std::collections::BTreeSet;
use std::time::Duration;

use sensor::http::Client;
use sensor::output::{Far, Fate, elasticsearch::Elasticsearch};
use serde_json::Value;
use tests::proxy::Proxy;
use tests::server::{Reply, Server as Taker};

use crate::{EACH, FAULTS, Server, alone, at, bad_days, events, pace, parcels, settings};

fn start() -> Server {
    Server::start("osmem_server/bin/osmem-server", &["-addr", "127.0.0.1:9200"], at(9200))
}

fn far(server: std::net::SocketAddr, timeout_s: u64) -> Elasticsearch {
    Elasticsearch::new(&settings(&format!(
        "url = \"http://{server}\"\nindex = \"logs-sensor\"\ntimeout_s = {timeout_s}"
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
    let found = ask(server, "_search", "{\"size\":10000,\"_source\":false}");
    let hits = found["hits"]["hits"].as_array().unwrap();
    let ids: BTreeSet<String> = hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), hits.len());
    ids
}

#[test]
#[ignore = "needs `cargo xtask servers`"]
fn each_event_is_there_once_whatever_the_network_does() {
    alone();
    let server = start();
    let address = server.address;
    let proxy = Proxy::to(move || Some(address));
    let mut far = far(proxy.address(), 4);
    let mut all = events(EACH * FAULTS.len());
    // The first decides what is a number; one under each fault is none.
    all[0].1 = br#"{"event":{"sequence":1}}"#.to_vec();
    let mut wanted: BTreeSet<String> = all.iter().map(|(id, _)| id.clone()).collect();
    for part in all.chunks_mut(EACH) {
        let wrong = &mut part[EACH / 2];
        wrong.1 = br#"{"event":{"sequence":{"no":"number"}}}"#.to_vec();
        wanted.remove(&wrong.0);
    }
    let days = bad_days(&mut far, &proxy, &all);
    for ((part, (fault, _)), day) in all.chunks(EACH).zip(FAULTS).zip(days) {
        assert_eq!(day.refused.len(), 1, "{:?}", day.refused);
        assert_eq!(day.refused[0].0, part[EACH / 2].0);
        assert!(day.refused[0].1.starts_with("status 400: "), "{:?}", day.refused);
        // By its id it can't be there twice.
        day.row("elasticsearch", fault, 0);
    }
    assert_eq!(ids(&server), wanted);
    // All of it once more: it was there.
    let again = far.bring(&parcels(&all[..100])).unwrap();
    assert_eq!(again, vec![Fate::Arrived; 100]);
    assert_eq!(ids(&server), wanted);
}

#[test]
#[ignore = "needs `cargo xtask servers`"]
fn how_fast() {
    alone();
    let server = start();
    pace("_bulk, a server in memory", &mut far(server.address, 60), &parcels(&events(4000)));
    // What the output itself can, to one that takes everything at once.
    let taken = vec!["{\"create\":{\"status\":201}}"; 2000].join(",");
    let taker = Taker::start([Reply::json(200, "{\"items\":[{\"create\":{\"status\":201}}]}")]);
    taker.usually(Reply::json(200, format!("{{\"items\":[{taken}]}}")));
    pace("_bulk, one that looks at nothing", &mut far(taker.address(), 60), &parcels(&events(50_000)));
}
