//! What all of them do with whoever is at the other end.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use sensor::output::{Far, post::Post};
use tests::Folder;
use tests::certificate::{Authority, can_be_made, server};
use tests::server::{Reply, Server};
use tests::skip::missing;

use crate::{arrives, fault, secret, settings};

fn post(url: &str, more: &str) -> Post {
    Post::new(&settings(&format!("url = {url:?}\n{more}\n")))
}

fn taken() -> Reply {
    Reply::json(200, "{}")
}

#[test]
fn connections_are_kept_and_bodies_packed() {
    let far_side = Server::start([]);
    far_side.usually(taken());
    let mut far = post(&format!("{}/in/", far_side.url()), "");
    for _ in 0..3 {
        arrives(&mut far, 5);
    }
    let questions = far_side.questions();
    assert_eq!((questions.len(), far_side.connections()), (3, 1));
    let first = &questions[0];
    assert_eq!(first.head[0], "POST /in HTTP/1.1");
    assert_eq!(first.header("user-agent"), Some(concat!("sensor/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(first.header("content-type"), Some("application/x-ndjson"));
    assert!(first.body.starts_with(&[0x1f, 0x8b]) && first.header("authorization").is_none());
    far.reopen();
    arrives(&mut far, 1);
    assert_eq!(far_side.connections(), 2);
    arrives(&mut post(&far_side.url(), "gzip = false"), 1);
    assert!(far_side.questions().last().unwrap().body.starts_with(b"{"));
}

#[test]
fn who_the_sensor_is_stands_in_files() {
    let far_side = Server::start([]);
    far_side.usually(taken());
    let folder = Folder::new();
    let path = secret(&folder, "p\u{e4}ss word\n");
    let mut user =
        post(&far_side.url(), &format!("login = {{ user = \"sensor\", password_file = {path:?} }}"));
    arrives(&mut user, 1);
    secret(&folder, "QWxhZGRpbg==\n");
    arrives(&mut post(&far_side.url(), &format!("login = {{ api_key_file = {path:?} }}")), 1);
    let mut token = post(&far_side.url(), &format!("login = {{ token_file = {path:?} }}"));
    arrives(&mut token, 1);
    // Renewed, and read again when that is said.
    secret(&folder, "other");
    arrives(&mut token, 1);
    token.reopen();
    arrives(&mut token, 1);
    secret(&folder, "renewed");
    far_side.then(Reply::json(401, ""));
    fault(&mut token, 1);
    arrives(&mut token, 1);
    let told: Vec<_> =
        far_side.questions().iter().map(|q| q.header("authorization").unwrap().to_owned()).collect();
    let wanted = [
        "Basic c2Vuc29yOnDDpHNzIHdvcmQ=",
        "ApiKey QWxhZGRpbg==",
        "Bearer QWxhZGRpbg==",
        "Bearer QWxhZGRpbg==",
        "Bearer other",
        "Bearer other",
        "Bearer renewed",
    ];
    assert_eq!(told, wanted);

    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    token.reopen();
    let (_, said) = fault(&mut token, 1);
    assert!(said.contains("others may read it: chmod 600") && !said.contains("other\n"), "{said}");
    fs::remove_file(&path).unwrap();
    assert!(fault(&mut token, 1).1.contains("No such file"));
    assert_eq!(far_side.questions().len(), 7, "nothing goes without it");
}

#[test]
fn only_who_proves_who_he_is_gets_anything() {
    if !can_be_made() && missing("there is no openssl") {
        return;
    }
    let (authority, other) = (Authority::new(), Authority::new());
    let right = authority.issue("right", "IP:127.0.0.1");
    let elsewhere = authority.issue("elsewhere", "DNS:siem.example");
    let expired = authority.expired(&right);
    let ca = |authority: &Authority| format!("tls = {{ ca_file = {:?} }}", authority.pem());
    for (identity, tls, wanted) in [
        (&right, ca(&authority), None),
        (&right, ca(&other), Some("UnknownIssuer")),
        (&right, String::new(), Some("UnknownIssuer")),
        (&elsewhere, ca(&authority), Some("certificate not valid for name")),
        (&expired, ca(&authority), Some("Expired")),
    ] {
        let far_side = Server::over_tls(server(identity, None), [taken()]);
        let mut far = post(&far_side.url(), &tls);
        let Some(wanted) = wanted else {
            arrives(&mut far, 3);
            continue;
        };
        let (_, said) = fault(&mut far, 3);
        assert!(said.contains("its certificate is refused") && said.contains(wanted), "{said}");
        assert!(said.contains("check tls.ca_file"), "{said}");
        assert!(far_side.questions().is_empty());
    }
}

#[test]
fn the_sensor_shows_a_certificate_where_one_is_wanted() {
    if !can_be_made() && missing("there is no openssl") {
        return;
    }
    let authority = Authority::new();
    let far_side = Server::over_tls(server(&authority.issue("server", "IP:127.0.0.1"), Some(&authority)), []);
    far_side.usually(taken());
    let own = authority.issue("sensor", "DNS:web-1");
    let strange = Authority::new().issue("strange", "DNS:web-1");
    let tls = |certificate: &Path, key: &Path| {
        format!(
            "tls = {{ ca_file = {:?}, cert_file = {certificate:?}, key_file = {key:?} }}",
            authority.pem()
        )
    };
    let mut far = post(&far_side.url(), &tls(&own.certificate, &own.key));
    arrives(&mut far, 2);
    assert_eq!(far_side.questions().len(), 1);
    fault(&mut post(&far_side.url(), &format!("tls = {{ ca_file = {:?} }}", authority.pem())), 2);
    let mut another = post(&far_side.url(), &tls(&own.certificate, &authority.issue("another", "DNS:x").key));
    let (_, said) = fault(&mut another, 2);
    assert!(said.contains("the key doesn't fit the certificate"), "{said}");
    let (_, said) = fault(&mut post(&far_side.url(), &tls(&own.certificate, &own.certificate)), 2);
    assert!(said.contains("others may read it"), "{said}");
    let (_, said) = fault(&mut post(&far_side.url(), &tls(&own.key, &own.key)), 2);
    assert!(said.contains("it holds no certificate"), "{said}");
    // Its folder went with its authority.
    let (_, said) = fault(&mut post(&far_side.url(), &tls(&strange.certificate, &strange.key)), 2);
    assert!(said.contains("No such file"), "{said}");
    assert_eq!(far_side.questions().len(), 1);
}

#[test]
fn who_never_answers_is_given_up() {
    let far_side = Server::start([Reply::Silent, Reply::Drips, taken()]);
    let mut far = post(&far_side.url(), "timeout_s = 1");
    for _ in 0..2 {
        let (_, said) = fault(&mut far, 3);
        assert!(said.contains("it didn't answer in time") && said.contains("raise timeout_s"), "{said}");
    }
    arrives(&mut far, 3);
    assert_eq!(far_side.connections(), 3, "each time a new one");
}

#[test]
fn what_isnt_an_answer_is_an_error_and_the_next_load_begins_anew() {
    let far_side = Server::start([
        Reply::Bytes(b"\x16\x03\x03\xff\xff\x1b[2J\x00".repeat(4096)),
        Reply::Bytes(Vec::new()),
        Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}".to_vec()),
        Reply::Bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec()),
        Reply::Bytes([b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(50_000)].concat()),
        Reply::Says(200, Vec::new(), " ".repeat(9 << 20)),
        Reply::HangsUp(5),
        taken(),
    ]);
    let mut far = post(&far_side.url(), "timeout_s = 5");
    for n in 0..8 {
        let (error, said) = fault(&mut far, 100);
        assert!(error.not_before.is_none(), "{said}");
        assert!(said.starts_with("sending 100 events to http://127.0.0.1:"), "{n}: {said}");
    }
    arrives(&mut far, 100);
}

#[test]
fn nobody_at_home_is_an_error() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let (_, said) = fault(&mut post(&gone, ""), 1);
    assert!(said.contains("Connection refused") && said.contains("check url"), "{said}");
    let (_, said) = fault(&mut post("https://sensor.invalid", "timeout_s = 5"), 1);
    assert!(said.contains("it can't be reached"), "{said}");
}

#[test]
fn statuses_that_say_nothing_of_events() {
    let other = Server::start([]);
    let moved = Reply::json(307, "").with(&format!("location: {}", other.url()));
    for (reply, not_before, wanted) in [
        (Reply::json(429, "").with("retry-after: 7"), Some(7), "it is tried again"),
        (Reply::json(503, "x\u{1b}[2Jy\n").with("retry-after: 100000"), Some(3600), "$'x\\x1b[2Jy'"),
        (Reply::json(503, ""), None, "status 503"),
        (Reply::json(500, ""), None, "status 500"),
        (Reply::json(401, "who?"), None, "who the sensor is there"),
        (Reply::json(403, ""), None, "what that one may do"),
        (Reply::json(404, ""), None, "check url"),
        (Reply::json(405, ""), None, "check url"),
        (moved, None, "it sends us elsewhere"),
        (Reply::json(101, ""), None, ""),
    ] {
        let far_side = Server::start([reply.clone()]);
        let (error, said) = fault(&mut post(&far_side.url(), "timeout_s = 2"), 3);
        assert_eq!(error.not_before, not_before.map(Duration::from_secs), "{said}");
        assert!(said.contains(wanted), "no {wanted}: {said}");
    }
    assert!(other.questions().is_empty());
}
