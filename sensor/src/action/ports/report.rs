//! Sockets that hear as lines for a person.

use super::Row;
use crate::{
    field::Field,
    format::{
        table::{Head, Line, fit, span},
        text::{
            cell::{container, findings, named, shown as text},
            command,
        },
    },
    look::Look,
    record::{Record, Value},
};

/// What a command, and a name of a socket, may take at most, characters.
const COMMAND_MOST: usize = 1024;
const NAME_MOST: usize = 48;

/// The columns.
pub(super) fn heads() -> [Head; 12] {
    let columns = [
        ("PROTO", false),
        ("ADDRESS", false),
        ("TAKES", false),
        ("REACH", false),
        ("FIREWALL", false),
        ("NETNS", true),
        ("PID", true),
        ("USER", false),
        ("HELD", true),
        ("EXECUTABLE", false),
        ("PACKAGE", false),
        ("COMMAND", false),
    ];
    columns.map(|(title, right)| Head { title, right })
}

/// A socket.
pub(super) fn line(row: &Row) -> Line {
    let record = &row.record;
    let shown = |field| text(record, field);
    let cells = vec![
        protocol(record),
        address(record),
        takes(record).to_owned(),
        shown(Field::SensorReach).replace('_', " "),
        shown(Field::SensorFirewall).replace('_', " "),
        if row.elsewhere { shown(Field::SensorSocketNetns) } else { String::new() },
        owners(record),
        named(record, Field::UserName, Field::UserId),
        held(record),
        shown(Field::SensorExeVerdict).replace('_', " "),
        shown(Field::PackageName),
        what(record),
    ];
    Line { cells, severity: row.severity, notes: findings(record) }
}

/// How many there are, how many are odd, and what is to be known of the firewall; `closed`: so many aren't shown.
pub(super) fn sum(rows: &[Row], closed: Option<usize>) -> String {
    let odd = rows.iter().filter(|row| row.severity != 0).count();
    let exposed = rows.iter().filter(|row| row.exposed && !row.closed).count();
    let mut sum = format!("\n{} sockets, {odd} of them odd, {exposed} that others can reach", rows.len());
    if let Some(closed @ 1..) = closed {
        sum.push_str(&format!("; {closed} more that a firewall closes are not shown"));
    }
    if rows.iter().any(|row| row.not_judged) {
        sum.push_str("; a firewall has rules for input; not judged");
    }
    sum + "\n"
}

/// Whether the kernel knows sockets between a machine and its guests at all.
pub(super) fn has_vsock(look: &Look) -> bool {
    look.reader.has_protocol(b"AF_VSOCK")
}

fn protocol(record: &Record) -> String {
    let transport = match text(record, Field::NetworkTransport) {
        empty if empty.is_empty() => text(record, Field::NetworkIanaNumber),
        transport => transport,
    };
    let raw = record.get(Field::SensorSocketName) == Some(&Value::Word("raw"));
    match () {
        () if raw => format!("raw/{transport}"),
        () if record.has(Field::SensorSocketMptcp) => "mptcp".to_owned(),
        () => transport,
    }
}

fn address(record: &Record) -> String {
    let (ip, port) = (text(record, Field::ServerIp), text(record, Field::ServerPort));
    let interface = match record.number(Field::SensorSocketInterface) {
        Some(index) => format!("%{index}"),
        None => String::new(),
    };
    let bound = if record.get(Field::SensorSocketState) == Some(&Value::Word("bound"))
        && record.get(Field::NetworkTransport) == Some(&Value::Word("tcp"))
    {
        " (bound only)"
    } else {
        ""
    };
    match (ip.is_empty(), port.is_empty()) {
        (true, _) => fit(&text(record, Field::SensorSocketName), NAME_MOST) + &interface,
        (false, true) => ip + &interface,
        (false, false) if ip.contains(':') => format!("[{ip}]{interface}:{port}{bound}"),
        (false, false) => format!("{ip}{interface}:{port}{bound}"),
    }
}

/// Which families it takes: told of those bound to all of IPv6, where the address doesn't say it.
fn takes(record: &Record) -> &'static str {
    match (record.get(Field::SensorWildcardAlsoIpv4), record.get(Field::NetworkType)) {
        (Some(Value::Bool(true)), _) => "v4+v6",
        (Some(Value::Bool(false)), _) => "v6 only",
        (_, Some(Value::Word("ipv4"))) => "v4",
        (_, Some(Value::Word("ipv6"))) => "v6",
        _ => "",
    }
}

/// The oldest, and how many more.
fn owners(record: &Record) -> String {
    let all = match record.get(Field::SensorOwners) {
        Some(Value::Records(owners)) => owners.len(),
        _ => 0,
    };
    let pid = text(record, Field::ProcessPid);
    if all > 1 { format!("{pid}+{}", all - 1) } else { pid }
}

/// For how long at most.
fn held(record: &Record) -> String {
    let (Some(Value::Time(since)), Some(Value::Time(now))) =
        (record.get(Field::SensorHeldSince), record.get(Field::Timestamp))
    else {
        return String::new();
    };
    let seconds = u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0) / 1_000_000_000;
    format!("<{}", span(seconds + 1))
}

/// The container and the command.
fn what(record: &Record) -> String {
    let mut what = container(record);
    match record.has(Field::ProcessExecutable) {
        true => what.push_str(&fit(&command(record), COMMAND_MOST)),
        false => what.push_str(&text(record, Field::ProcessName)),
    }
    what
}
