//! Outputs of the configuration, with the real sensor: they have what the journal has, whatever happens to them and to it.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tests::find::Source;
use tests::program::storm;
use tests::rsyslog::{self, Rsyslog, Way};
use tests::skip::{missing, skip};
use tests::{DEADLINE, Event, Folder, Running, Sensor, journal, lock, patience, words};

/// Where everything of a test is.
struct Place {
    folder: Folder,
}

impl Place {
    fn new() -> Self {
        Self { folder: Folder::new() }
    }

    fn journal(&self) -> PathBuf {
        self.folder.at("journal")
    }

    fn file(&self) -> PathBuf {
        self.folder.at("out/events.ndjson")
    }

    /// A configuration with a journal, standard output, a file, and more.
    fn config(&self, more: &str) -> String {
        format!(
            "[usage]\ninterval_s = 0\n[journal]\nfolder = {:?}\n\
             [[outputs]]\nname = \"out\"\ntype = \"stdout\"\n\
             [[outputs]]\nname = \"file\"\ntype = \"file\"\npath = {:?}\n{more}\n",
            self.journal(),
            self.file()
        )
    }

    /// The lines of the journal.
    fn stored(&self) -> Vec<String> {
        journal::events(&self.journal()).iter().map(|event| event.line.clone()).collect()
    }
}

fn syslog(server: &Rsyslog) -> String {
    format!(
        "[[outputs]]\nname = \"siem\"\ntype = \"syslog\"\ntransport = \"tcp\"\naddress = \"{}\"\n",
        server.address()
    )
}

/// One that takes nothing as long as an event.
fn small(server: &Rsyslog, wanted: &str) -> String {
    format!(
        "[[outputs]]\nname = \"small\"\ntype = \"syslog\"\ntransport = \"udp\"\naddress = \"{}\"\n{wanted}\nmax_message_bytes = 480\n",
        server.address()
    )
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

/// Each line's `event.id`, in the order of their first coming.
fn ids<'a>(lines: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let id = |line: &String| Event::parse(line.as_bytes()).unwrap().str("event.id").to_owned();
    let mut seen = BTreeSet::new();
    lines.into_iter().map(id).filter(|id| seen.insert(id.clone())).collect()
}

fn messages(server: &Rsyslog) -> Vec<String> {
    server.told().into_iter().map(|told| told.message).collect()
}

/// The row of an output in a `coverage` event.
fn row<'a>(event: &'a Event, hook: &str) -> Option<&'a serde_json::Value> {
    event.list("sensor.coverage").iter().find(|row| row["hook"] == hook)
}

fn not_here() -> bool {
    skip() || (!rsyslog::is_here() && missing("there is no rsyslog-gnutls"))
}

#[test]
fn every_output_has_what_the_journal_has() {
    if not_here() {
        return;
    }
    let _together = lock::together();
    let (place, server) = (Place::new(), Rsyslog::start(Way::Tcp));
    let ocsf = place.folder.at("alerts");
    let alerts = format!(
        "[[outputs]]\nname = \"alerts\"\ntype = \"file\"\npath = {ocsf:?}\nformat = \"ocsf\"\nactions = [\"exe_deleted\"]\nseverity_min = 21\n"
    );
    let sensor = Sensor::with().config(&place.config(&(syslog(&server) + &alerts))).live();
    let told = sensor.alert(&place.folder, "victim");
    sensor.fence();
    let end = sensor.stop();
    end.clean();
    let stored = place.stored();
    assert!(stored.len() > 3);
    assert_eq!(end.lines(), stored);
    assert_eq!(lines(&place.file()), stored);
    tests::until("all is there", || server.told().len() >= stored.len());
    assert_eq!(ids(&messages(&server)), ids(&stored));
    assert_eq!(server.told().len(), stored.len(), "once each");
    let alerts = lines(&ocsf);
    let uids: Vec<String> = alerts
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["metadata"]["uid"].as_str().unwrap().to_owned())
        .collect();
    // Others on this host may have done the same.
    let is_wanted = |line: &&String| {
        let event = Event::parse(line.as_bytes()).unwrap();
        event.action() == "exe_deleted" && event.num("event.severity") >= 21
    };
    assert_eq!(uids, ids(stored.iter().filter(is_wanted)));
    assert!(uids.iter().any(|uid| uid == told.str("event.id")));
    for (action, account) in end.account() {
        assert_eq!(account.seen, account.delivered + account.lost, "{action}");
    }
}

/// Kills it as something happens, again and again: at the end each event that was stored is everywhere, in its order.
fn killed(rounds: u32) {
    let (place, server) = (Place::new(), Rsyslog::start(Way::Tcp));
    for round in 0..rounds {
        let sensor = Sensor::with().config(&place.config(&syslog(&server))).live();
        let mut storm = Running::of(storm(), words!["births"]);
        let alert = sensor.alert(&place.folder, &format!("victim-{round}"));
        let id = alert.str("event.id").to_owned();
        tests::until("it is written", || lines(&place.file()).iter().any(|line| line.contains(&id)));
        sensor.count("fork", u64::from(round * 41 % 97), patience(DEADLINE));
        sensor.signal(Signal::SIGKILL);
        sensor.ended();
        storm.close();
    }
    // Its standard output begins with what the last one left.
    let end = Sensor::with().config(&place.config(&syslog(&server))).live().stop();
    assert!(end.status.success(), "{:#?}", end.stderr);
    let stored = ids(&place.stored());
    let file = lines(&place.file());
    assert_eq!(ids(&file), stored, "none is missing, in order");
    tests::until("all is there", || ids(&messages(&server)).len() >= stored.len());
    assert_eq!(ids(&messages(&server)), stored);
    println!(
        "{rounds} kills: stored {}, in the file {} lines, by syslog {} messages; lost 0",
        stored.len(),
        file.len(),
        server.told().len()
    );
}

#[test]
fn a_run_goes_on_where_the_last_was_killed() {
    if not_here() {
        return;
    }
    let _together = lock::together();
    killed(2);
}

#[test]
#[ignore = "takes minutes: cargo test -p tests --test outputs -- --ignored"]
fn a_run_goes_on_where_the_last_was_killed_many_times() {
    if not_here() {
        return;
    }
    let _together = lock::together();
    killed(25);
}

#[test]
fn a_server_that_was_down_gets_all_and_no_other_waits_for_it() {
    if not_here() {
        return;
    }
    let _together = lock::together();
    let (place, mut server) = (Place::new(), Rsyslog::start(Way::Tcp));
    server.end();
    // Alerts of this test alone: of what is on its way when a server of syslog ends, some is lost (docs/limits.md).
    let config = place.config(&(syslog(&server) + "actions = [\"exe_deleted\"]\n"));
    let own = |lines: Vec<String>| {
        let folder = place.folder.path().to_str().unwrap();
        ids(&lines
            .into_iter()
            .filter(|line| line.contains("exe_deleted") && line.contains(folder))
            .collect::<Vec<_>>())
    };
    let sensor = Sensor::with().config(&config).live();
    let first = sensor.alert(&place.folder, "one");
    let away = sensor
        .find("coverage")
        .such("the server is away", |event| row(event, "output/syslog").is_some())
        .wait();
    let why = row(&away, "output/syslog").unwrap();
    assert_eq!(why["state"], "unseen");
    assert!(why["reason"].as_str().unwrap().starts_with("siem: connecting to 127.0.0.1"), "{why}");
    server.begin();
    // It may have come to pause for long: with this it tries at once.
    sensor.signal(Signal::SIGHUP);
    tests::until("the first is there", || own(messages(&server)) == [first.str("event.id")]);
    sensor
        .find("coverage")
        .such("it is back", |event| {
            event.num("event.sequence") > away.num("event.sequence") && row(event, "output/syslog").is_none()
        })
        .wait();
    server.end();
    // Nobody hears this one before the sensor ends.
    let last = sensor.alert(&place.folder, "two");
    let end = sensor.stop();
    assert_eq!(lines(&place.file()), place.stored(), "the file waited for nobody");
    let said = end.stderr.join("\n");
    assert!(
        said.contains("output siem: events go again") && said.contains("output siem: not all has arrived"),
        "{said}"
    );
    server.begin();
    let end = Sensor::with().config(&config).live().stop();
    assert!(end.status.success(), "{:#?}", end.stderr);
    let both = [first.str("event.id"), last.str("event.id")];
    tests::until("the second is there", || own(messages(&server)).len() >= 2);
    assert_eq!(
        (own(messages(&server)), own(place.stored())),
        (both.map(str::to_owned).to_vec(), both.map(str::to_owned).to_vec())
    );
}

#[test]
fn a_file_that_was_moved_is_begun_anew_at_sighup() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let place = Place::new();
    let sensor = Sensor::with().config(&place.config("")).live();
    let first = sensor.alert(&place.folder, "one");
    tests::until("it is written", || {
        lines(&place.file()).iter().any(|line| line.contains(first.str("event.id")))
    });
    let moved = place.folder.at("moved");
    fs::rename(place.file(), &moved).unwrap();
    sensor.signal(Signal::SIGHUP);
    sensor.alert(&place.folder, "two");
    sensor.stop().clean();
    let all = [lines(&moved), lines(&place.file())].concat();
    assert_eq!(all, place.stored());
    assert!(!lines(&place.file()).is_empty());
}

#[test]
fn what_is_refused_for_good_is_told_and_kept() {
    if not_here() {
        return;
    }
    let _together = lock::together();
    let (place, server) = (Place::new(), Rsyslog::start(Way::Udp));
    let small = small(&server, "actions = [\"exe_deleted\"]");
    let sensor = Sensor::with().config(&place.config(&small)).live();
    sensor.alert(&place.folder, "victim");
    let refused = |event: &Event| {
        event.list("sensor.lost").iter().any(|row| {
            row["stage"] == "output"
                && row["action"] == "exe_deleted"
                && row["reason"] == "refused"
                && row["count"].as_u64() >= Some(1)
        })
    };
    sensor.find("loss").such("the refused alert", refused).wait();
    let end = sensor.stop();
    end.clean();
    for (action, account) in end.account() {
        assert_eq!(account.seen, account.delivered + account.lost, "{action}");
    }
    assert!(server.told().is_empty());
}

#[test]
fn what_is_refused_after_the_last_event_is_counted_too() {
    if not_here() {
        return;
    }
    let _together = lock::together();
    let (place, server) = (Place::new(), Rsyslog::start(Way::Udp));
    let sensor = Sensor::with().config(&place.config(&small(&server, ""))).live();
    sensor.alert(&place.folder, "victim");
    let end = sensor.stop();
    end.clean();
    let events = end.events();
    let losses = events.iter().filter(|event| event.action() == "loss");
    let told: u64 = losses.flat_map(|event| event.list("sensor.lost")).map(refused).sum();
    let line = |line: &String| {
        let count = line.strip_prefix("sensor: output small: lost ")?.split_once(": ")?.1;
        count.strip_suffix(" at output (refused), after the last loss event")?.parse::<u64>().ok()
    };
    let said: u64 = end.stderr.iter().filter_map(line).sum();
    let all = place.stored().len() as u64;
    assert!(said > 0 && all > 10, "{:#?}", end.stderr);
    assert_eq!(told + said + server.told().len() as u64, all, "each came or is counted: {:#?}", end.stderr);
}

/// How many events a row of a `loss` says that an output refused.
fn refused(row: &serde_json::Value) -> u64 {
    match row["stage"] == "output" && row["reason"] == "refused" {
        true => row["count"].as_u64().unwrap(),
        false => 0,
    }
}

#[test]
fn outputs_that_can_not_be_are_told_before_anything_is_loaded() {
    let place = Place::new();
    for (more, words) in [
        ("actions = [\"exek\"]\n", &["the output `file`", "`exek`", "sensor events"][..]),
        ("pth = \"/a\"\n", &["unknown field `pth`", "did you mean `path`?"]),
    ] {
        let path = place.folder.at("config");
        fs::write(&path, place.config(more)).unwrap();
        let mut command = tests::sensor::command();
        let output = command.args(["run", "--config"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}

#[test]
#[ignore = "floods the journal: cargo test -p tests --test outputs -- --ignored"]
fn what_the_journal_drops_before_an_output_has_it_is_told() {
    if skip() {
        return;
    }
    let _alone = lock::alone();
    let place = Place::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = format!(
        "[[outputs]]\nname = \"siem\"\ntype = \"syslog\"\ntransport = \"tcp\"\naddress = \"{nobody}\"\n"
    );
    let config = place.config(&away).replacen("[journal]\n", "[journal]\nmax_bytes = 8388608\n", 1);
    let expired = |event: &Event| {
        let rows = event.list("sensor.lost");
        rows.iter().any(|row| row["stage"] == "journal" && row["reason"] == "expired")
    };
    let few = |line: &[u8]| {
        [&b"\"action\":\"loss\""[..], b"\"action\":\"coverage\""]
            .iter()
            .any(|key| line.windows(key.len()).any(|part| part == *key))
    };
    let sensor = Sensor::with().config(&config).keep(few).live();
    let mut storm = Running::of(storm(), words!["births"]);
    sensor.find("loss").such("what the journal dropped", expired).within(patience(DEADLINE) * 20).wait();
    storm.close();
    let end = sensor.stop();
    assert!(end.stderr.iter().any(|line| line.contains("output siem: the journal had no room")));
    for (action, account) in end.account() {
        assert_eq!(account.seen, account.delivered + account.lost, "{action}");
    }
}
