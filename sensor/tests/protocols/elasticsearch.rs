//! `_bulk`, as Elasticsearch and OpenSearch document it.

use sensor::output::{Far, Fate, elasticsearch::Elasticsearch};
use tests::server::{Reply, Server};

use crate::{Events, arrives, fault, refused, settings};

fn far(server: &Server) -> Elasticsearch {
    Elasticsearch::new(&settings(&format!("url = \"{}/es\"\nindex = \"logs-a.b-c\"", server.url())))
}

/// A whole item, with more than is used.
fn item(status: u16) -> String {
    let error = match status {
        200..=299 => String::new(),
        _ => format!(
            ",\"error\":{{\"type\":\"kind_{status}\",\"reason\":\"why \\u001b[2J\",\"caused_by\":{{\"type\":\"x\"}}}}"
        ),
    };
    format!("{{\"create\":{{\"_index\":\"i\",\"_id\":\"1\",\"_version\":1,\"status\":{status}{error}}}}}")
}

fn items(statuses: &[u16]) -> Reply {
    let items: Vec<_> = statuses.iter().map(|status| item(*status)).collect();
    Reply::json(200, format!("{{\"took\":3,\"errors\":true,\"items\":[{}]}}", items.join(",")))
}

#[test]
fn an_event_is_created_under_its_id() {
    let server = Server::start([items(&[201, 201])]);
    let events = Events::new(2);
    assert_eq!(far(&server).bring(&events.parcels()).unwrap(), [Fate::Arrived, Fate::Arrived]);
    let question = &server.questions()[0];
    assert!(question.head[0].starts_with("POST /es/logs-a.b-c/_bulk?filter_path="), "{}", question.head[0]);
    assert_eq!(question.header("content-type"), Some("application/x-ndjson"));
    let lines = events.lines();
    let wanted = format!(
        "{{\"create\":{{\"_id\":\"e4057c27660c0d4b-0\"}}}}\n{}\n{{\"create\":{{\"_id\":\"e4057c27660c0d4b-1\"}}}}\n{}\n",
        lines[0], lines[1]
    );
    assert_eq!(question.text(), wanted);
}

#[test]
fn each_event_has_its_own_fate() {
    let server = Server::start([items(&[201, 409, 429, 400, 503, 200])]);
    let fates = far(&server).bring(&Events::new(6).parcels()).unwrap();
    use Fate::{Again, Arrived};
    assert_eq!((&fates[..3], &fates[4..]), (&[Arrived, Arrived, Again][..], &[Again, Arrived][..]));
    assert_eq!(refused(&fates[3]), "status 400: kind_400: why \u{1b}[2J");
}

#[test]
fn an_index_that_takes_nothing_condemns_no_event() {
    for status in [401, 403, 404] {
        let server = Server::start([items(&[status, status]), items(&[201, status])]);
        let mut far = far(&server);
        let (_, said) = fault(&mut far, 2);
        assert!(said.contains("check index") && said.contains(&format!("kind_{status}")), "{said}");
        let fates = far.bring(&Events::new(2).parcels()).unwrap();
        assert_eq!(fates, [Fate::Arrived, Fate::Again]);
    }
}

#[test]
fn what_isnt_the_answer_to_the_question_says_nothing() {
    let many = format!("{{\"items\":[{}]}}", vec!["{\"create\":{\"status\":201}}"; 100_000].join(","));
    let server = Server::start([
        items(&[201]),
        items(&[201, 201, 201]),
        Reply::json(200, "{}"),
        Reply::json(200, "<html>"),
        Reply::json(200, ""),
        Reply::json(200, "{\"items\":[{\"index\":{\"status\":201}},{\"index\":{\"status\":201}}]}"),
        Reply::json(200, "{\"items\":[{\"create\":{\"status\":-1}},{\"create\":{\"status\":201}}]}"),
        Reply::json(200, "[".repeat(100_000)),
        Reply::json(200, many),
        items(&[201, 201]),
    ]);
    let mut far = far(&server);
    for _ in 0..9 {
        let (_, said) = fault(&mut far, 2);
        assert!(said.contains("isn't understood"), "{said}");
    }
    arrives(&mut far, 2);
}

#[test]
fn a_load_that_is_too_large_is_halved() {
    let server = Server::start([Reply::json(413, ""), items(&[201]), items(&[201, 201])]);
    let fates = far(&server).bring(&Events::new(3).parcels()).unwrap();
    assert_eq!(fates, [Fate::Arrived, Fate::Arrived, Fate::Arrived]);
}

#[test]
fn what_is_no_object_in_a_line_isnt_sent() {
    for line in ["text", "{\"a\":\n1}", "{\"create\":{}}\n{}", "", "[]"] {
        let server = Server::start([items(&[201])]);
        let events = Events::new(2).with(0, line);
        let fates = far(&server).bring(&events.parcels()).unwrap();
        assert!(refused(&fates[0]).contains("no JSON object in a line") && fates[1] == Fate::Arrived);
        assert!(!server.questions()[0].text().contains("-0\""));
    }
}
