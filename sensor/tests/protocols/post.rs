//! Lines by POST.

use sensor::output::{Far, Fate, post::Post};
use tests::server::{Reply, Server};

use crate::{Events, refused, settings};

fn far(server: &Server, more: &str) -> Post {
    Post::new(&settings(&format!("url = \"{}/in\"\n{more}\n", server.url())))
}

#[test]
fn lines_go_as_they_are() {
    let server = Server::start([Reply::json(204, "")]);
    let events = Events::new(3);
    assert_eq!(
        far(&server, "").bring(&events.parcels()).unwrap(),
        [Fate::Arrived, Fate::Arrived, Fate::Arrived]
    );
    assert_eq!(server.questions()[0].text(), events.lines().join("\n") + "\n");
    let events = Events::new(2).with(0, "two\nlines");
    let fates = far(&Server::start([Reply::json(200, "")]), "").bring(&events.parcels()).unwrap();
    assert_eq!((refused(&fates[0]), &fates[1]), ("it has more than one line", &Fate::Arrived));
}

#[test]
fn one_bad_event_condemns_no_other() {
    // Of five the third is bad: 5, 2, 3, 1, 2.
    let no = || Reply::json(400, "bad \u{1b}[31mevent\n");
    let yes = || Reply::json(200, "");
    let server = Server::start([no(), yes(), no(), no(), yes()]);
    let fates = far(&server, "").bring(&Events::new(5).parcels()).unwrap();
    assert_eq!(refused(&fates[2]), "status 400: bad \u{1b}[31mevent");
    assert_eq!(fates.iter().filter(|fate| **fate == Fate::Arrived).count(), 4);
    let counts: Vec<_> = server.questions().iter().map(|question| question.text().lines().count()).collect();
    assert_eq!(counts, [5, 2, 3, 1, 2]);
}

#[test]
fn what_is_too_large_goes_in_smaller_loads_from_then_on() {
    let server = Server::start([Reply::json(413, ""), Reply::json(200, ""), Reply::json(200, "")]);
    let mut far = far(&server, "max_bytes = 1048576");
    let line = format!("{{\"x\":\"{}\"}}", "x".repeat(300_000));
    let events = Events::new(2).with(0, &line).with(1, &line);
    assert_eq!(far.most().bytes, 1_048_576);
    assert_eq!(far.bring(&events.parcels()).unwrap(), [Fate::Arrived, Fate::Arrived]);
    assert_eq!(far.most().bytes, 300_009);
    let server = Server::start([Reply::json(413, "too large")]);
    let fates = self::far(&server, "").bring(&Events::new(1).parcels()).unwrap();
    assert_eq!(refused(&fates[0]), "status 413: too large");
}

#[test]
fn what_was_known_before_an_outage_stays_known() {
    let server = Server::start([Reply::json(422, ""), Reply::json(200, ""), Reply::json(503, "")]);
    let fates = far(&server, "").bring(&Events::new(4).parcels()).unwrap();
    assert_eq!(fates, [Fate::Arrived, Fate::Arrived, Fate::Again, Fate::Again]);
}

#[test]
fn who_refuses_everything_isnt_asked_for_ever() {
    let server = Server::start([]);
    server.usually(Reply::json(400, "x".repeat(100_000)));
    let fates = far(&server, "").bring(&Events::new(1000).parcels()).unwrap();
    assert!(refused(&fates[0]).len() < 400 && fates[999] == Fate::Again);
    assert!(server.questions().len() <= 64);
}
