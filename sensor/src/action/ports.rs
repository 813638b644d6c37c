//! `sensor ports`: everything that listens, in every network namespace, whose it is, and who can reach it.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use super::{Failure, Format, Give, Status, awaiting, host, list, lister, partly, table};
use crate::{
    event::{
        Action,
        socket::{Side, set_reach},
    },
    field::Field,
    format::table::Line,
    host::Host,
    look::{
        Look,
        described::{Described, Describer, find},
        open::{Holder, Open},
        sockets::{
            Network, Sockets,
            told::{self, event_socket},
        },
    },
    net::{
        Exposure,
        found::{self, Found, Inet, Kind, State},
        live::Reach,
    },
    netfilter::{Arrival, Verdict},
    process::Process,
    record::Record,
    sockdiag::{
        Family, Scope,
        held::{Filter, Held},
    },
};

mod judge;
mod report;

/// Most owners that are told of one socket.
const OWNERS_MOST: usize = 32;
const TCP: u16 = 6;
/// `IPPROTO_RAW`: such a socket sends, and hears nothing.
const SEND_ONLY: u16 = 255;
/// The loopback is the first interface of each network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// What every row says of itself.
const ROW: Action = Action {
    name: "port_snapshot",
    kind: "state",
    category: &["network"],
    types: &["info"],
    sentence: "",
    hooks: "",
    fields: &[],
    process: true,
};

/// `sensor ports`.
#[derive(Debug, clap::Args)]
pub struct Ports {
    /// Only what others than this host can reach.
    #[arg(long)]
    pub exposed: bool,
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// A socket that hears, with all that is known of it.
struct Port<'a> {
    found: &'a Found,
    network: Option<&'a Network>,
    /// Who holds it, the oldest first.
    owners: Vec<(&'a Process, u32)>,
    reach: Option<Reach>,
    filter: Filter,
    firewall: Verdict,
    /// How many sockets have its address and port.
    sharing: usize,
}

/// One line.
struct Row {
    record: Record,
    severity: u64,
    reach: Option<Exposure>,
    exposed: bool,
    closed: bool,
    not_judged: bool,
    /// It is of another network namespace than ours.
    elsewhere: bool,
}

/// Lists them.
///
/// # Errors
/// When /proc can't be read, or not all could be seen; the parts are named.
pub fn act(args: &Ports) -> Result<(), Failure> {
    let host = host()?;
    let look = awaiting(async { Look::at(&host, lister(&host)) })?.map_err(|error| {
        Failure::new(Status::Failed, format!("listing processes in {}: {error}", host.proc().display()))
    })?;
    let open = Open::at(&look);
    let sockets = Sockets::at(&look, &open, Scope::Hearing);
    let ports = ports(&look, &open, &sockets);
    let mut rows = rows(&look, &host, &ports);
    let closed = rows.iter().filter(|row| row.closed).count();
    if args.exposed {
        rows.retain(|row| row.exposed && !row.closed);
    }
    rows.sort_by_key(|row| (Reverse(row.severity), Reverse(row.reach), row.elsewhere));
    let lines = || -> Vec<Line> { rows.iter().map(report::line).collect() };
    let parts = parts(&look, &open, &sockets, &ports);
    list(args.format, rows.iter().map(|row| &row.record), || {
        table(&report::heads(), &lines()) + &report::sum(&rows, args.exposed.then_some(closed))
    })?;
    partly(&parts)
}

/// Tells what listens.
pub(super) fn tell(look: &Look, host: &Host, give: &mut Give<'_>) -> Vec<String> {
    let open = Open::at(look);
    let sockets = Sockets::at(look, &open, Scope::Hearing);
    let ports = ports(look, &open, &sockets);
    let _: Option<Row> = rows(look, host, &ports).into_iter().find(|row| give(&row.record).is_break());
    parts(look, &open, &sockets, &ports)
}

/// Tells every socket, with the first of its owners.
pub(super) fn tell_all(look: &Look, host: &Host, give: &mut Give<'_>) -> Vec<String> {
    let open = Open::at(look);
    let sockets = Sockets::at(look, &open, Scope::All);
    let ports: Vec<Port<'_>> = sockets.found.iter().map(|found| held(look, &open, found)).collect();
    let described = described(look, host, &ports);
    let common = common(host);
    let _: Option<&Port<'_>> = ports.iter().find(|port| {
        let mut record = begun(port, &described, &common);
        told::set(port.found, Side::Here, &mut record);
        set_owners(port, &described, &mut record);
        give(&record).is_break()
    });
    sockets.parts
}

/// What couldn't be seen.
fn parts(look: &Look, open: &Open, sockets: &Sockets, ports: &[Port<'_>]) -> Vec<String> {
    let mut parts = [look.parts.as_slice(), sockets.parts.as_slice()].concat();
    let unowned = ports.iter().filter(|port| port.owners.is_empty()).count();
    if !open.unread.is_empty() && unowned != 0 {
        parts.push(format!("who holds {unowned} of the sockets: {}", open.unread.told().join(", and ")));
    }
    if !open.unread.is_empty() && sockets.has_no_table(Family::Vsock) && report::has_vsock(look) {
        parts.push(
            "sockets of vsock of processes that can't be read: the kernel has no table of them".to_owned(),
        );
    }
    parts
}

/// Whether a socket is of interest: it hears others, and not only the kernel.
fn hears(found: &Found) -> bool {
    match (&found.kind, found.state) {
        (Kind::Inet(inet), State::Listens | State::Bound | State::Connected) if inet.raw => {
            inet.protocol != SEND_ONLY
        }
        (Kind::Inet(inet), State::Listens | State::Bound) => inet.local.1 != 0,
        (Kind::Packet { .. }, State::Bound) | (Kind::Vsock { .. }, State::Listens | State::Bound) => true,
        (Kind::Unix { name, .. }, State::Listens | State::Bound) => name.first() == Some(&0),
        // Those by which packets or others' doings can be learnt without a port.
        (Kind::Netlink { protocol, groups, .. }, State::Bound) => {
            matches!(found::netlink(*protocol), Some("usersock")) || {
                let told = matches!(found::netlink(*protocol), Some("audit" | "connector" | "nflog"));
                told && *groups || found::netlink(*protocol) == Some("netfilter") && !groups
            }
        }
        _ => false,
    }
}

fn ports<'a>(look: &'a Look, open: &Open, sockets: &'a Sockets) -> Vec<Port<'a>> {
    let mut ports: Vec<Port<'a>> = sockets
        .found
        .iter()
        .filter(|found| hears(found))
        .map(|found| port(look, open, sockets, found))
        .collect();
    let mut places: HashMap<_, usize> = HashMap::new();
    for port in &ports {
        if let Some(place) = judge::place(port.found) {
            *places.entry(place).or_default() += 1;
        }
    }
    for port in &mut ports {
        port.sharing = judge::place(port.found).and_then(|place| places.get(&place).copied()).unwrap_or(1);
    }
    ports
}

fn port<'a>(look: &'a Look, open: &Open, sockets: &'a Sockets, found: &'a Found) -> Port<'a> {
    let network = sockets.networks.get(&found.netns);
    let socket = inet(found).map(|inet| event_socket(found, inet));
    let reach = socket.and_then(|socket| socket.reach(network?.live.as_ref()?));
    Port {
        network,
        filter: filter(found, network, holders(open, found)),
        firewall: firewall(found, network),
        reach: reach.map(|reach| (*reach).clone()),
        ..held(look, open, found)
    }
}

/// The descriptors that lead to a socket.
fn holders<'o>(open: &'o Open, found: &Found) -> &'o [Holder] {
    open.sockets.get(&found.inode).filter(|_| found.inode != 0).map(Vec::as_slice).unwrap_or_default()
}

/// A socket with those who hold it.
fn held<'a>(look: &'a Look, open: &Open, found: &'a Found) -> Port<'a> {
    let mut seen = HashSet::new();
    let mut owners: Vec<(&Process, u32)> = holders(open, found)
        .iter()
        .filter(|holder| seen.insert(holder.pid))
        .filter_map(|holder| Some((look.table.at(holder.pid)?, holder.descriptor)))
        .collect();
    owners.sort_by_key(|(process, _)| (process.key.start, process.key.pid));
    let (filter, firewall) = (Filter::None, Verdict::None);
    Port { found, network: None, owners, reach: None, filter, firewall, sharing: 1 }
}

fn inet(found: &Found) -> Option<&Inet> {
    match &found.kind {
        Kind::Inet(inet) => Some(inet),
        _ => None,
    }
}

/// What filters a socket of packets or a raw one: as it says itself, else as the kernel's table does.
fn filter(found: &Found, network: Option<&Network>, holders: &[Holder]) -> Filter {
    let packets = matches!(found.kind, Kind::Packet { .. }) || inet(found).is_some_and(|inet| inet.raw);
    if !packets {
        return Filter::None;
    }
    let said = holders
        .iter()
        .take(4)
        .find_map(|holder| Held::borrow(holder.pid, holder.descriptor, found.inode).ok()?.filter().ok());
    let told = || network.and_then(|network| network.filters.get(&found.inode)).copied();
    said.unwrap_or_else(|| told().map_or(Filter::None, Filter::Classic))
}

/// What the firewall does with it, of all families that it takes.
fn firewall(found: &Found, network: Option<&Network>) -> Verdict {
    let Some((firewall, inet)) = network.and_then(|network| network.firewall.as_ref()).zip(inet(found))
    else {
        return Verdict::None;
    };
    let Ok(protocol) = u8::try_from(told::transport(inet)) else { return Verdict::NotJudged };
    let local = inet.local.0;
    let v4 = local.is_ipv4() || local.is_unspecified() && !inet.raw && inet.v6only != Some(true);
    let verdicts = [(false, v4), (true, local.is_ipv6())].into_iter().filter(|(_, takes)| *takes);
    let judged = verdicts.map(|(v6, _)| firewall.judge(&Arrival { v6, protocol, port: inet.local.1 }));
    let all: Vec<Verdict> = judged.collect();
    match () {
        () if all.iter().all(|verdict| *verdict == Verdict::Closed) => Verdict::Closed,
        () if all.iter().any(|verdict| matches!(verdict, Verdict::Open)) => Verdict::Open,
        () if all.contains(&Verdict::NotJudged) => Verdict::NotJudged,
        // One family is kept out, the other meets no firewall.
        () if all.contains(&Verdict::Closed) => Verdict::Open,
        () => Verdict::None,
    }
}

fn rows(look: &Look, host: &Host, ports: &[Port<'_>]) -> Vec<Row> {
    let described = described(look, host, ports);
    let own = look.reader.network_namespace(None).map_or(0, |(inode, _)| inode);
    let judge = judge::Judge::new(ports, &described);
    let common = common(host);
    ports.iter().map(|port| row(port, &judge, &described, &common, own)).collect()
}

/// What is known of those who hold them.
fn described(look: &Look, host: &Host, ports: &[Port<'_>]) -> HashMap<u32, Described> {
    let mut owners: Vec<&Process> =
        ports.iter().flat_map(|port| port.owners.iter().map(|(process, _)| *process)).collect();
    owners.sort_by_key(|process| process.key);
    owners.dedup_by_key(|process| process.key);
    let mut describer = Describer::new(look, host, &owners);
    owners.iter().map(|process| (process.key.pid, describer.describe(process))).collect()
}

/// What all rows say.
fn common(host: &Host) -> Record {
    let mut common = host.common();
    common.set(Field::Timestamp, host.now());
    common
}

/// A row with what is known of the first who holds it.
fn begun(port: &Port<'_>, described: &HashMap<u32, Described>, common: &Record) -> Record {
    let first = port.owners.first().and_then(|(process, _)| described.get(&process.key.pid));
    let mut record = first.map_or_else(|| common.clone(), |first| first.record.clone());
    record.extend(ROW.record());
    record
}

fn row(
    port: &Port<'_>,
    judge: &judge::Judge<'_, '_>,
    described: &HashMap<u32, Described>,
    common: &Record,
    own: u32,
) -> Row {
    let mut record = begun(port, described, common);
    set_socket(port, &mut record);
    set_owners(port, described, &mut record);
    let severity = find(&mut record, judge.findings(port));
    let exposed = judge::exposed(port);
    Row {
        severity,
        reach: port.reach.as_ref().and_then(|reach| reach.widest),
        exposed,
        closed: exposed && port.firewall == Verdict::Closed,
        not_judged: port.firewall == Verdict::NotJudged,
        elsewhere: port.found.netns != own,
        record,
    }
}

fn set_socket(port: &Port<'_>, record: &mut Record) {
    told::set(port.found, Side::Here, record);
    if let Some(reach) = &port.reach {
        set_reach(reach, record);
    }
    if let Some(word) = port.filter.word() {
        record.set(Field::SensorSocketFilter, word);
    }
    if let Some(word) = port.firewall.word() {
        record.set(Field::SensorFirewall, word);
    }
    if port.sharing > 1 {
        record.set(Field::SensorSocketSharing, port.sharing as u64);
    }
}

fn set_owners(port: &Port<'_>, described: &HashMap<u32, Described>, record: &mut Record) {
    let Some((oldest, _)) = port.owners.first() else { return };
    record.set(Field::SensorHeldSince, oldest.started);
    let owners = port.owners.iter().take(OWNERS_MOST).map(|(process, descriptor)| {
        let mut owner = Record::new();
        owner.set(Field::OwnerPid, process.key.pid);
        owner.set(Field::OwnerDescriptor, *descriptor);
        let Some(known) = described.get(&process.key.pid) else { return owner };
        for (to, from) in [
            (Field::OwnerEntityId, Field::ProcessEntityId),
            (Field::OwnerExecutable, Field::ProcessExecutable),
            (Field::OwnerName, Field::ProcessName),
        ] {
            if let Some(text) = known.record.text(from) {
                owner.set(to, text.clone());
            }
        }
        owner.set(Field::OwnerVerdict, known.verdict.word());
        owner
    });
    record.set(Field::SensorOwners, owners.collect::<Vec<_>>());
}
