//! Open files as lines for a person.

use super::listing::Row;
use crate::{
    field::Field,
    format::{
        table::{Head, Line, fit, size},
        text::cell::{container, findings, named, shown as text, words},
    },
    record::{Record, Value},
};

/// What a name, and the list of who has the other end, may take at most, characters.
const NAME_MOST: usize = 1024;
const PEERS_SHOWN: usize = 4;

/// The columns.
pub(super) fn heads() -> [Head; 10] {
    let columns = [
        ("PID", true),
        ("USER", false),
        ("AS", false),
        ("PROCESS", false),
        ("FD", true),
        ("MODE", false),
        ("KIND", false),
        ("SIZE", true),
        ("MARKS", false),
        ("NAME", false),
    ];
    columns.map(|(title, right)| Head { title, right })
}

/// A descriptor.
pub(super) fn line(row: &Row) -> Line {
    let record = &row.record;
    let shown = |field| text(record, field);
    let words = |field| words(record, field).join(",").replace('_', " ");
    let mode = match shown(Field::SensorDescriptorMode).as_str() {
        "read" => "r",
        "write" => "w",
        "read_write" => "rw",
        "path" => "path",
        _ => "",
    };
    let file = matches!(shown(Field::SensorDescriptorKind).as_str(), "file" | "memfd");
    let cells = vec![
        row.pid.to_string(),
        named(record, Field::UserName, Field::UserId),
        words(Field::SensorMatches),
        shown(Field::ProcessName),
        row.number.to_string(),
        mode.to_owned(),
        shown(Field::SensorDescriptorKind).replace('_', " "),
        record.number(Field::FileSize).filter(|_| file).map(size).unwrap_or_default(),
        words(Field::SensorDescriptorMarks),
        fit(&what(record), NAME_MOST),
    ];
    Line { cells, severity: row.severity, notes: findings(record) }
}

/// How many there are, and how many are odd.
pub(super) fn sum(rows: &[Line], processes: usize) -> String {
    let odd = rows.iter().filter(|row| row.severity != 0).count();
    format!("\n{} open files of {processes} processes, {odd} of them odd\n", rows.len())
}

/// The container, what it is, who has the other end.
fn what(record: &Record) -> String {
    let mut what = container(record);
    what.push_str(&name(record));
    let Some(Value::Records(peers)) = record.get(Field::SensorPeers) else { return what };
    let shown: Vec<String> = peers
        .iter()
        .take(PEERS_SHOWN)
        .map(|peer| format!("{} {}", text(peer, Field::PeerPid), text(peer, Field::PeerName)))
        .collect();
    let more = if peers.len() > PEERS_SHOWN { ", …" } else { "" };
    what + &format!(" <-> {}{more}", shown.join(", "))
}

fn name(record: &Record) -> String {
    let shown = |field| text(record, field);
    match shown(Field::SensorDescriptorKind).as_str() {
        "socket" if !record.has(Field::FilePath) => socket(record),
        "pipe" => format!("pipe:[{}]", shown(Field::FileInode)),
        "namespace" => format!("{}:[{}]", shown(Field::FileName), shown(Field::FileInode)),
        "anonymous" => shown(Field::FileName),
        _ => shown(Field::FilePath),
    }
}

/// The transport, the addresses as they stand from here, the state.
fn socket(record: &Record) -> String {
    let shown = |field| text(record, field);
    let transport = match shown(Field::NetworkTransport) {
        empty if empty.is_empty() => format!("socket:[{}]", shown(Field::FileInode)),
        transport => transport,
    };
    let end = |ip, port| match (shown(ip), shown(port)) {
        (ip, port) if ip.is_empty() && port.is_empty() => String::new(),
        (ip, port) if ip.contains(':') => format!("[{ip}]:{port}"),
        (ip, port) => format!("{ip}:{port}"),
    };
    let server = end(Field::ServerIp, Field::ServerPort);
    let (source, destination) =
        (end(Field::SourceIp, Field::SourcePort), end(Field::DestinationIp, Field::DestinationPort));
    let ends = match shown(Field::NetworkDirection).as_str() {
        "ingress" => format!(" {destination} <- {source}"),
        "egress" => format!(" {source} -> {destination}"),
        _ if !server.is_empty() => format!(" {server}"),
        _ => match shown(Field::SensorSocketName) {
            empty if empty.is_empty() => String::new(),
            name => format!(" {name}"),
        },
    };
    let state = shown(Field::SensorSocketState);
    match state.as_str() {
        "" | "other" => transport + &ends,
        state => format!("{transport}{ends} ({state})"),
    }
}
