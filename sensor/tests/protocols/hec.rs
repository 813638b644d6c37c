//! Splunk's HTTP event collector, as its documentation has it.

use sensor::output::{Far, Fate, hec::Hec};
use tests::Folder;
use tests::server::{Reply, Server};

use crate::{Events, arrives, fault, refused, secret, settings};

fn far(server: &Server, folder: &Folder, more: &str) -> Hec {
    let token = secret(folder, "B5A79AAD-D822-46CC-80D1-819F80D7BFB0\n");
    Hec::new(&settings(&format!("url = {:?}\ntoken_file = {token:?}\n{more}\n", server.url())))
}

fn code(status: u16, code: i64, text: &str) -> Reply {
    Reply::json(status, format!("{{\"text\":{text:?},\"code\":{code}}}"))
}

fn success() -> Reply {
    code(200, 0, "Success")
}

#[test]
fn events_in_a_batch() {
    let folder = Folder::new();
    let server = Server::start([success(), success()]);
    let events = Events::new(2).with(1, "exec \"x\"");
    let fates = far(&server, &folder, "index = \"edr\"").bring(&events.parcels()).unwrap();
    assert_eq!(fates, [Fate::Arrived, Fate::Arrived]);
    let question = &server.questions()[0];
    assert_eq!(question.head[0], "POST /services/collector/event HTTP/1.1");
    assert_eq!(question.header("authorization"), Some("Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0"));
    assert_eq!(question.header("x-splunk-request-channel"), None);
    let text = question.text();
    let lines: Vec<&str> = text.lines().collect();
    let common = "{\"time\":1764201600.123456,\"host\":\"web-1\",\"source\":\"sensor\",\"sourcetype\":\"_json\",\"index\":\"edr\",\"event\":";
    assert_eq!(lines[0], format!("{common}{}}}", events.lines()[0]));
    assert_eq!(lines[1], format!("{common}\"exec \\\"x\\\"\"}}"), "a text is a text");
}

#[test]
fn one_event_is_bad_and_those_before_it_are_in() {
    let folder = Folder::new();
    let bad = |n| {
        Reply::json(
            400,
            format!("{{\"text\":\"Invalid data format\",\"code\":6,\"invalid-event-number\":{n}}}"),
        )
    };
    let server = Server::start([bad(2), bad(0), success()]);
    let fates = far(&server, &folder, "").bring(&Events::new(5).parcels()).unwrap();
    for n in [2, 3] {
        assert_eq!(refused(&fates[n]), "code 6: Invalid data format");
    }
    assert_eq!(fates.iter().filter(|fate| **fate == Fate::Arrived).count(), 3);
    let counts: Vec<_> = server.questions().iter().map(|question| question.text().lines().count()).collect();
    assert_eq!(counts, [5, 2, 1], "nothing twice");
    // A number beyond the load, or none.
    for reply in [bad(9), code(400, 6, "Invalid data format")] {
        let server = Server::start([reply, success(), code(400, 12, "Event field is required")]);
        let fates = far(&server, &folder, "").bring(&Events::new(2).parcels()).unwrap();
        assert_eq!((&fates[0], refused(&fates[1])), (&Fate::Arrived, "code 12: Event field is required"));
    }
}

#[test]
fn codes_that_say_nothing_of_events() {
    let folder = Folder::new();
    for (reply, wanted) in [
        (code(403, 1, "Token disabled"), "the token is enabled"),
        (code(401, 2, "Token is required"), "check token_file"),
        (code(401, 3, "Invalid authorization"), "check token_file"),
        (code(403, 4, "Invalid token"), "check token_file"),
        (code(400, 7, "Incorrect index"), "check index"),
        (code(500, 8, "Internal server error"), "it is tried again"),
        (code(503, 9, "Server is busy").with("retry-after: 3"), "it is tried again"),
        (code(400, 10, "Data channel is missing"), "useACK"),
        (code(400, 11, "Invalid data channel"), "useACK"),
        (code(503, 18, "HEC is unhealthy, queues are full"), "it is tried again"),
        (code(429, 26, "HEC queue at capacity"), "it is tried again"),
        (code(400, 99, "new"), "it is tried again"),
        (Reply::json(404, "not here"), "check url"),
        (code(200, 6, "?"), "isn't understood"),
        (Reply::json(200, "<html>"), "isn't understood"),
        (Reply::json(200, "{}"), "isn't understood"),
    ] {
        let server = Server::start([reply.clone(), success()]);
        let mut far = far(&server, &folder, "");
        let (error, said) = fault(&mut far, 3);
        assert!(said.contains(wanted), "{reply:?}: no {wanted}: {said}");
        assert_eq!(error.not_before.is_some(), said.contains("busy\""), "{said}");
        assert!(!said.contains("B5A79AAD"));
        arrives(&mut far, 3);
    }
}

#[test]
fn an_event_arrives_when_an_indexer_says_so() {
    let folder = Folder::new();
    let took = |id| Reply::json(200, format!("{{\"text\":\"Success\",\"code\":0,\"ackId\":{id}}}"));
    let acks = |id, is| Reply::json(200, format!("{{\"acks\":{{\"{id}\":{is}}}}}"));
    let server =
        Server::start([took(7), acks(7, false), Reply::json(503, ""), acks(7, true), took(8), acks(8, true)]);
    let mut far = far(&server, &folder, "acknowledge = true");
    arrives(&mut far, 2);
    arrives(&mut far, 2);
    let questions = server.questions();
    let channels: Vec<_> = questions.iter().map(|q| q.header("x-splunk-request-channel").unwrap()).collect();
    assert!(channels.iter().all(|channel| *channel == channels[0]), "{channels:?}");
    let parts: Vec<_> = channels[0].split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert_eq!(questions[1].head[0], "POST /services/collector/ack HTTP/1.1");
    assert_eq!(questions[1].text(), "{\"acks\":[7]}");
}

#[test]
fn what_nobody_acknowledges_is_sent_again() {
    let folder = Folder::new();
    let server = Server::start([success()]);
    let mut far = far(&server, &folder, "acknowledge = true\ntimeout_s = 1");
    assert!(fault(&mut far, 2).1.contains("it acknowledges nothing"));
    server.then(Reply::json(200, "{\"text\":\"Success\",\"code\":0,\"ackId\":1}"));
    server.usually(Reply::json(200, "{\"acks\":{\"1\":false,\"2\":true}}"));
    let (_, said) = fault(&mut far, 2);
    assert!(said.contains("no indexer acknowledged them in time"), "{said}");
    // Those before a bad one are in, but not known to be indexed.
    let server = Server::start([
        Reply::json(400, "{\"text\":\"Invalid data format\",\"code\":6,\"invalid-event-number\":1}"),
        Reply::json(200, "{\"text\":\"Success\",\"code\":0,\"ackId\":0}"),
        Reply::json(200, "{\"acks\":{\"0\":true}}"),
        Reply::json(400, "{\"text\":\"Invalid data format\",\"code\":6,\"invalid-event-number\":0}"),
    ]);
    let fates = self::far(&server, &folder, "acknowledge = true").bring(&Events::new(2).parcels()).unwrap();
    assert_eq!((&fates[0], refused(&fates[1])), (&Fate::Arrived, "code 6: Invalid data format"));
}
