//! Kafka, against a broker that does what it is told.

use std::net::{SocketAddr, TcpListener};

use sensor::output::{Far, Fate, kafka::Kafka};
use tests::Folder;
use tests::broker::{Answer, Broker, TOPIC};
use tests::certificate::{Authority, can_be_made, server};
use tests::skip::missing;

use crate::{Events, arrives, fault, refused, secret, settings};

fn far(at: SocketAddr, more: &str) -> Kafka {
    Kafka::new(&settings(&format!("brokers = [\"{at}\"]\ntopic = {TOPIC:?}\ntimeout_s = 3\n{more}\n")))
}

#[test]
fn all_replicas_are_to_have_it_and_a_host_has_one_partition() {
    let broker = Broker::start([]);
    let mut kafka = far(broker.address(), "gzip = false");
    let events = Events::new(3);
    for _ in 0..2 {
        assert_eq!(kafka.bring(&events.parcels()).unwrap(), vec![Fate::Arrived; 3]);
    }
    let loads = broker.loads();
    assert_eq!(loads.len(), 2);
    for load in &loads {
        assert_eq!((load.acks, load.records(), load.partition), (-1, 3, loads[0].partition));
        let has = |wanted: &[u8]| load.batch.windows(wanted.len()).any(|bytes| bytes == wanted);
        for wanted in ["web-1", "event.id", "e4057c27660c0d4b-2", "event.action", "exec", &events.lines()[1]]
        {
            assert!(has(wanted.as_bytes()), "no {wanted}");
        }
    }
    let packed = Broker::start([]);
    arrives(&mut far(packed.address(), ""), 100);
    // The lowest bits of its attributes: 1 is gzip.
    assert_eq!((packed.loads()[0].batch[22] & 7, packed.loads()[0].records()), (1, 100));
}

#[test]
fn events_of_several_hosts_go_each_to_its_own() {
    let broker = Broker::start([]);
    let events = Events::new(4);
    let mut parcels = events.parcels();
    parcels[0].host = "a";
    parcels[3].host = "b";
    let fates = far(broker.address(), "").bring(&parcels).unwrap();
    assert_eq!(fates, vec![Fate::Arrived; 4]);
    let counts: Vec<_> = broker.loads().iter().map(tests::broker::Load::records).collect();
    assert_eq!(counts, [1, 2, 1]);
}

#[test]
fn what_is_too_large_goes_in_halves_and_one_that_is_alone_is_refused() {
    // MESSAGE_TOO_LARGE; INVALID_RECORD.
    let broker = Broker::start([Answer::Fails(10), Answer::Takes, Answer::Fails(87)]);
    let fates = far(broker.address(), "").bring(&Events::new(2).parcels()).unwrap();
    assert_eq!((&fates[0], refused(&fates[1])), (&Fate::Arrived, "the broker says InvalidRecord"));
}

#[test]
fn errors_that_say_nothing_of_events() {
    for (error, wanted) in [
        (29, "let the sensor's user write to the topic"),
        (19, "min.insync.replicas"),
        (-1, "see what the brokers say"),
        (12345, "see what the brokers say"),
    ] {
        let broker = Broker::start([Answer::Fails(error)]);
        let mut kafka = far(broker.address(), "");
        let (_, said) = fault(&mut kafka, 2);
        assert!(said.contains(wanted), "{error}: {said}");
        assert!(said.starts_with("sending 2 events to topic sensor of 127.0.0.1:"), "{said}");
        arrives(&mut kafka, 2);
    }
}

#[test]
fn who_answers_nonsense_or_never_is_given_up() {
    let nonsense = [
        Vec::new(),
        vec![0xff; 64],
        vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1],
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        [&[0, 0, 0, 8][..], &[0; 8]].concat(),
    ];
    for bytes in nonsense {
        let broker = Broker::start([Answer::Bytes(bytes.clone())]);
        let (_, said) = fault(&mut far(broker.address(), ""), 2);
        assert!(said.contains("it is tried again"), "{bytes:?}: {said}");
    }
    let broker = Broker::start([Answer::Silent]);
    let mut kafka = Kafka::new(&settings(&format!(
        "brokers = [\"{}\"]\ntopic = {TOPIC:?}\ntimeout_s = 1",
        broker.address()
    )));
    let (_, said) = fault(&mut kafka, 2);
    assert!(said.contains("raise timeout_s"), "{said}");
    arrives(&mut kafka, 2);
    // One that takes connections and says nothing at all.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut kafka = Kafka::new(&settings(&format!(
        "brokers = [\"{}\"]\ntopic = {TOPIC:?}\ntimeout_s = 1",
        mute.local_addr().unwrap()
    )));
    fault(&mut kafka, 2);
    let gone = mute.local_addr().unwrap();
    drop(mute);
    let (_, said) = fault(&mut far(gone, ""), 2);
    assert!(said.contains("check brokers"), "{said}");
}

#[test]
fn only_to_who_proves_who_he_is() {
    if !can_be_made() && missing("there is no openssl") {
        return;
    }
    let (authority, other) = (Authority::new(), Authority::new());
    let right = authority.issue("right", "IP:127.0.0.1");
    let elsewhere = authority.issue("elsewhere", "DNS:broker.example");
    let expired = authority.expired(&right);
    for (identity, believed, wanted) in [
        (&right, &authority, None),
        (&right, &other, Some("UnknownIssuer")),
        (&elsewhere, &authority, Some("not valid for name")),
        (&expired, &authority, Some("xpired")),
    ] {
        let broker = Broker::over_tls(server(identity, None));
        let mut kafka = far(broker.address(), &format!("tls = {{ ca_file = {:?} }}", believed.pem()));
        let Some(wanted) = wanted else {
            arrives(&mut kafka, 2);
            continue;
        };
        let (_, said) = fault(&mut kafka, 2);
        assert!(said.contains(wanted) && said.contains("check brokers, tls"), "{said}");
        assert!(broker.loads().is_empty());
    }
    // One that wants to know who the sensor is.
    let broker = Broker::over_tls(server(&right, Some(&authority)));
    let own = authority.issue("sensor", "DNS:web-1");
    let ca = authority.pem();
    let tls =
        format!("tls = {{ ca_file = {ca:?}, cert_file = {:?}, key_file = {:?} }}", own.certificate, own.key);
    arrives(&mut far(broker.address(), &tls), 2);
    fault(&mut far(broker.address(), &format!("tls = {{ ca_file = {ca:?} }}")), 2);
    assert_eq!(broker.loads().len(), 1);
}

#[test]
fn who_the_sensor_is() {
    let folder = Folder::new();
    let path = secret(&folder, "secret\n");
    let sasl = |mechanism| {
        format!("sasl = {{ mechanism = {mechanism:?}, user = \"edr\", password_file = {path:?} }}")
    };
    let broker = Broker::for_user("edr", "secret");
    arrives(&mut far(broker.address(), &sasl("plain")), 2);
    let (_, said) = fault(&mut far(broker.address(), &sasl("scram-sha-512")), 2);
    assert!(said.contains("sasl") && !said.contains("secret"), "{said}");
    let other = Broker::for_user("edr", "other");
    let (_, said) = fault(&mut far(other.address(), &sasl("plain")), 2);
    assert!(said.contains("check brokers, tls, sasl"), "{said}");
    assert!((broker.loads().len(), other.loads().len()) == (1, 0));
}
