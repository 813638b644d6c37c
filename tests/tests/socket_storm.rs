//! Many short connections: each that is made and taken is told, and none is lost.

use tests::find::Source;
use tests::program::net;
use tests::skip::skip;
use tests::{Running, Sensor, lock, words};

#[test]
fn no_connection_of_a_storm_is_lost() {
    if skip() {
        return;
    }
    const EACH: usize = 5000;
    let lock = lock::alone();
    let sensor = Sensor::start(vec![]);
    let count = EACH.to_string();
    let steps = words![
        "tcp",
        "a",
        "4",
        "bind",
        "a",
        "127.0.0.1",
        "0",
        "listen",
        "a",
        "port",
        "a",
        "serve",
        "a",
        &count,
        "wait"
    ];
    let mut server = Running::of(net(), steps);
    let port = server.line().trim_start_matches("port ").to_owned();
    let mut client = Running::of(net(), words!["many", &port, &count]);
    client.end();
    server.end();
    sensor.fence();
    let told = |action, pid| sensor.find(action).pid(pid).with("destination.port", port.clone()).all().len();
    assert_eq!(told("socket_connect", client.pid()), EACH);
    assert_eq!(told("socket_accept", server.pid()), EACH);
    assert_eq!(told("socket_close", server.pid()), EACH);
    // A client's end comes in an interrupt, which may be one while another change is being told.
    let closes = told("socket_close", client.pid());
    let lost: u64 = sensor.find("loss").all().iter().map(lost_sockets).sum();
    assert!(closes <= EACH && EACH - closes <= usize::try_from(lost).unwrap(), "{closes} told, {lost} lost");
    assert_eq!(lost, 0, "what one program can't see, the other does");
    let account = sensor.stop().account();
    for action in ["socket_connect", "socket_accept", "socket_close"] {
        let of = &account[action];
        assert_eq!((of.seen, of.lost), (of.delivered, 0), "{action}");
    }
    drop(lock);
}
