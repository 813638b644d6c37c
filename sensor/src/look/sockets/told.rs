//! A socket that was found, as a record tells it.

use crate::{
    event::socket::{KEPT, Side, Socket, kept},
    field::Field,
    net::found::{self, Found, Inet, Kind, State},
    record::{Record, Text, Value},
};

const TCP: u16 = 6;
const UDP: u16 = 17;
const UDPLITE: u16 = 136;
const MPTCP: u16 = 262;
/// `ETH_P_ALL`, in the host's order.
const ALL_PACKETS: u16 = 3;
/// `VMADDR_CID_ANY`.
const ANY_CID: u32 = u32::MAX;

/// As events have it.
#[must_use]
pub fn event_socket(found: &Found, inet: &Inet) -> Socket {
    Socket {
        cookie: found.cookie,
        local: inet.local,
        remote: inet.remote,
        netns: found.netns,
        // Of one of which it isn't known whether it takes IPv4 nothing is said.
        v6: inet.v6 && inet.v6only.is_some(),
        internet: true,
        v6only: inet.v6only.unwrap_or(false),
        datagram: matches!(inet.protocol, UDP | UDPLITE),
        ported: !inet.raw,
        mptcp: inet.protocol == MPTCP,
        device: inet.device,
        protocol: transport(inet),
        ..kept([0; KEPT])
    }
}

/// Its transport protocol: that of MPTCP is TCP.
#[must_use]
pub fn transport(inet: &Inet) -> u16 {
    if inet.protocol == MPTCP { TCP } else { inet.protocol }
}

/// Sets what it is, what it does, and where; `began`: who began its connection, if it has one.
pub fn set(found: &Found, began: Side, record: &mut Record) {
    record.set(Field::SensorSocketState, found.state.word());
    if found.inode != 0 {
        record.set(Field::FileInode, Value::Id(found.inode));
    }
    match &found.kind {
        Kind::Inet(inet) => set_inet(found, inet, began, record),
        Kind::Packet { protocol, device } => {
            let name = match *protocol {
                ALL_PACKETS => "all".to_owned(),
                protocol => format!("{protocol:#06x}"),
            };
            set_named("packet", Text::from(name), record);
            set_interface(*device, record);
        }
        Kind::Unix { name, .. } => set_named("unix", unix_name(name), record),
        Kind::Netlink { protocol, .. } => {
            let name = found::netlink(*protocol).map_or_else(|| protocol.to_string(), str::to_owned);
            set_named("netlink", Text::from(name), record);
        }
        Kind::Vsock { local: (cid, port), .. } => {
            let cid = if *cid == ANY_CID { "any".to_owned() } else { cid.to_string() };
            set_named("vsock", Text::from(format!("{cid}:{port}")), record);
            record.set(Field::ServerPort, *port);
        }
    }
    if found.cookie != 0 {
        record.set(Field::SensorSocketCookie, Value::Id(found.cookie));
    }
    record.set(Field::SensorSocketNetns, Value::Id(u64::from(found.netns)));
}

fn set_inet(found: &Found, inet: &Inet, began: Side, record: &mut Record) {
    let socket = event_socket(found, inet);
    let mut told = Record::new();
    match found.state {
        State::Connected => socket.set_peers(&mut told, began),
        State::Listens | State::Bound | State::Other => socket.set_server(&mut told),
    }
    // Where only /proc tells of it its cookie isn't known.
    let known = |field| field != Field::SensorSocketCookie;
    told.iter()
        .filter(|(field, _)| known(*field))
        .for_each(|(field, value)| record.set(field, value.clone()));
    if inet.raw {
        record.set(Field::SensorSocketName, "raw");
    }
    set_interface(inet.device, record);
}

fn set_named(transport: &'static str, name: Text, record: &mut Record) {
    record.set(Field::NetworkTransport, transport);
    if !name.is_empty() {
        record.set(Field::SensorSocketName, name);
    }
}

fn set_interface(device: u32, record: &mut Record) {
    if device != 0 {
        record.set(Field::SensorSocketInterface, device);
    }
}

/// A name as it is shown: an `@` in place of the zero of an abstract one; a path without the zero that ends it.
fn unix_name(name: &[u8]) -> Text {
    match name.split_first() {
        Some((0, rest)) => Text::from([b"@", rest].concat()),
        _ => Text::copy_from(name.strip_suffix(&[0]).unwrap_or(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_usual() {
        assert_eq!(unix_name(b"\0a\0b").as_bytes(), b"@a\0b", "zeros are part of an abstract name");
        assert_eq!(unix_name(b"/run/x\0").as_bytes(), b"/run/x");
        assert!(unix_name(b"").is_empty());
    }
}
