//! Outputs to other hosts, with the real sensor and servers of which each has a bad day: at the end each has what the journal has.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use tests::broker::{Answer, Broker};
use tests::find::Source;
use tests::program::{actor_at, storm};
use tests::proxy::{Mood, Proxy};
use tests::server::{Question, Reply, Server};
use tests::skip::skip;
use tests::{Event, Folder, Running, Sensor, journal, lock, words};

/// Ids as they came.
type Ids = Arc<Mutex<Vec<String>>>;

/// A server behind a network.
struct Far {
    _server: Server,
    proxy: Proxy,
    came: Ids,
}

impl Far {
    fn new(takes: impl Fn(&Question, &Ids) -> Reply + Send + Sync + 'static) -> Self {
        let (server, came) = (Server::start([]), Ids::default());
        let (address, ids) = (server.address(), Arc::clone(&came));
        server.thinks(move |question| takes(question, &ids));
        Self { proxy: Proxy::to(move || Some(address)), _server: server, came }
    }

    fn url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    fn came(&self) -> Vec<String> {
        self.came.lock().unwrap().clone()
    }
}

fn id(line: &str) -> String {
    Event::parse(line.as_bytes()).unwrap().str("event.id").to_owned()
}

/// Each once, in the order of their first coming.
fn firsts(came: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    came.iter().filter(|id| seen.insert((*id).clone())).cloned().collect()
}

/// As `_bulk` does: one that is there is a conflict.
fn elasticsearch() -> Far {
    Far::new(|question, ids| {
        let (text, mut ids) = (question.text(), ids.lock().unwrap());
        let lines: Vec<&str> = text.lines().collect();
        let mut items = Vec::new();
        for pair in lines.chunks(2) {
            let id = id(pair[1]);
            assert_eq!(pair[0], format!("{{\"create\":{{\"_id\":\"{id}\"}}}}"));
            let status = if ids.contains(&id) { 409 } else { 201 };
            if status == 201 {
                ids.push(id);
            }
            items.push(format!("{{\"create\":{{\"status\":{status}}}}}"));
        }
        Reply::json(200, format!("{{\"items\":[{}]}}", items.join(",")))
    })
}

/// As Splunk's collector does.
fn hec() -> Far {
    Far::new(|question, ids| {
        assert_eq!(question.header("authorization"), Some("Splunk 0123-4567"));
        for line in question.text().lines() {
            let whole: serde_json::Value = serde_json::from_str(line).unwrap();
            ids.lock().unwrap().push(id(&whole["event"].to_string()));
        }
        Reply::json(200, "{\"text\":\"Success\",\"code\":0}")
    })
}

fn post() -> Far {
    Far::new(|question, ids| {
        ids.lock().unwrap().extend(question.text().lines().map(id));
        Reply::json(200, "")
    })
}

fn config(folder: &Folder, fars: [&Far; 3], broker: &Broker) -> String {
    let token = folder.at("token");
    fs::write(&token, "0123-4567\n").unwrap();
    fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
    let [elasticsearch, hec, post] = fars.map(Far::url);
    format!(
        "[usage]\ninterval_s = 0\n[journal]\nfolder = {:?}\n\
         [[outputs]]\nname = \"out\"\ntype = \"stdout\"\n\
         [[outputs]]\nname = \"elastic\"\ntype = \"elasticsearch\"\nurl = {elasticsearch:?}\ntimeout_s = 2\nmax_events = 100\n\
         [[outputs]]\nname = \"splunk\"\ntype = \"hec\"\nurl = {hec:?}\ntoken_file = {token:?}\ntimeout_s = 2\nmax_events = 100\n\
         [[outputs]]\nname = \"post\"\ntype = \"post\"\nurl = {post:?}\ntimeout_s = 2\nmax_events = 100\n\
         [[outputs]]\nname = \"fleet\"\ntype = \"kafka\"\nbrokers = [{:?}]\ntopic = \"sensor\"\ntimeout_s = 2\nmax_events = 100\ngzip = false\n",
        folder.at("journal"),
        broker.address().to_string(),
    )
}

/// Something to tell, some of it alarming.
fn happens(folder: &Folder, sensor: &Sensor, name: &str) {
    let victim = actor_at(folder.at(name));
    let mut running = Running::of(&victim, words!["unlink", &victim, "say", "done", "wait"]);
    running.until("done");
    sensor.find("exe_deleted").file(&victim).wait();
    running.end();
}

#[test]
fn after_a_bad_day_and_a_kill_each_has_what_the_journal_has() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let fars = [elasticsearch(), hec(), post()];
    // NOT_ENOUGH_REPLICAS, nonsense, nothing: what was brought then comes again.
    let broker =
        Broker::start([Answer::Fails(19), Answer::Takes, Answer::Bytes(vec![0xff; 64]), Answer::Silent]);
    let config = config(&folder, fars.each_ref(), &broker);
    let sensor = Sensor::with().config(&config).live();
    let mut storm = Running::of(storm(), words!["births"]);
    let moods = [
        Mood::Refuses,
        Mood::LosesAnswers(500),
        Mood::CutsQuestions(700),
        Mood::CutsAnswers(10),
        Mood::Passes,
        Mood::Swallows,
    ];
    for (n, mood) in moods.iter().enumerate() {
        fars.iter().for_each(|far| far.proxy.is(*mood));
        happens(&folder, &sensor, &format!("victim-{n}"));
        if n == 1 {
            storm.close();
        }
    }
    sensor.signal(Signal::SIGKILL);
    sensor.ended();
    fars.iter().for_each(|far| far.proxy.is(Mood::Passes));
    let sensor = Sensor::with().config(&config).live();
    happens(&folder, &sensor, "last");
    let end = sensor.stop();
    assert!(end.status.success(), "{:#?}", end.stderr);
    // What was left by then goes with the next run.
    let stored: Vec<String> =
        journal::events(&folder.at("journal")).iter().map(|event| id(&event.line)).collect();
    let wanted = firsts(&stored);
    let has_all = |far: &Far| firsts(&far.came()).len() >= wanted.len();
    let taken = |broker: &Broker| -> Vec<String> {
        let loads = broker.loads();
        // Those that were answered by an error aren't there.
        loads.iter().skip(1).flat_map(|load| ids_in(&load.batch)).collect()
    };
    if !fars.iter().all(has_all) || firsts(&taken(&broker)).len() < wanted.len() {
        let sensor = Sensor::with().config(&config).live();
        tests::until("all is there", || {
            fars.iter().all(has_all) && firsts(&taken(&broker)).len() >= wanted.len()
        });
        sensor.stop();
    }
    for (name, came) in [
        ("elastic", fars[0].came()),
        ("splunk", fars[1].came()),
        ("post", fars[2].came()),
        ("fleet", taken(&broker)),
    ] {
        let firsts = firsts(&came);
        assert_eq!(firsts[..wanted.len()], wanted, "{name}: none is missing, in order");
        println!(
            "{name}: stored {}, came {}, doubled {}, lost 0",
            wanted.len(),
            came.len(),
            came.len() - firsts.len()
        );
    }
    assert_eq!(firsts(&fars[0].came()).len(), fars[0].came().len(), "created once each");
    // Cut, refused and swallowed: it began anew.
    assert!(fars.iter().all(|far| far.proxy.tries() > 1));
}

/// The values of the headers `event.id` of a batch that isn't packed.
fn ids_in(batch: &[u8]) -> Vec<String> {
    const NAME: &[u8] = b"event.id";
    let at = |from: usize| batch[from..].windows(NAME.len()).position(|bytes| bytes == NAME);
    let (mut ids, mut from) = (Vec::new(), 0);
    while let Some(found) = at(from) {
        from += found + NAME.len();
        // A varint, zigzag: of a short text it is one byte.
        let size = usize::from(batch[from]) / 2;
        ids.push(String::from_utf8(batch[from + 1..from + 1 + size].to_vec()).unwrap());
    }
    ids
}
