//! `sensor files`: what a process, or all processes of a user, have open, and with whom they share it.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Failure, Format, Status, awaiting, gone, host, list, lister, partly, table, user_id};
use crate::{
    event::Action,
    field::Field,
    format::table::Line,
    host::Host,
    look::{Look, described::Describer, open::Open, sockets::Sockets},
    process::Process,
    procfs::{
        descriptors::{Closed, Descriptor},
        opened::{Mounts, Opened},
    },
    record::Record,
    sockdiag::Scope,
};

mod ends;
mod entry;
mod report;

/// What every row says of itself.
const ROW: Action = Action {
    name: "file_snapshot",
    kind: "state",
    category: &["file"],
    types: &["info"],
    sentence: "",
    hooks: "",
    fields: &[],
    process: true,
};

/// What a row says of its process; the rest of it is in `sensor ps`.
const OF_PROCESS: [Field; 21] = [
    Field::Timestamp,
    Field::ProcessPid,
    Field::ProcessEntityId,
    Field::ProcessStart,
    Field::ProcessExecutable,
    Field::ProcessName,
    Field::ProcessUserId,
    Field::ProcessUserName,
    Field::ProcessRealUserId,
    Field::ProcessRealUserName,
    Field::ProcessParentPid,
    Field::ProcessParentEntityId,
    Field::UserId,
    Field::UserName,
    Field::ContainerId,
    Field::SensorLoginUid,
    Field::SensorLoginName,
    Field::SensorExeVerdict,
    Field::SensorNamespaceMnt,
    Field::SensorNamespaceNet,
    Field::SensorNamespacePid,
];

/// `sensor files`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").required(true).args(["user", "pid"])))]
pub struct Files {
    /// Of all processes of this user, by whichever of its ids: of the login, real, effective, saved or of the file system.
    #[arg(long, value_name = "NAME or UID")]
    pub user: Option<String>,
    /// Of this process.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Text, or JSON an object a line; text on a terminal, else JSON.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// One line.
struct Row {
    record: Record,
    severity: u64,
    pid: u32,
    number: u32,
}

/// Lists them.
///
/// # Errors
/// When no such user or process is known, /proc can't be read, or not all could be seen; the parts are named.
pub fn act(args: &Files) -> Result<(), Failure> {
    let host = host()?;
    let user = args.user.as_deref().map(|user| user_id(user, &host)).transpose()?;
    let mut look = awaiting(async { Look::at(&host, lister(&host)) })?.map_err(|error| {
        Failure::new(Status::Failed, format!("listing processes in {}: {error}", host.proc().display()))
    })?;
    let wanted = wanted(&look, user, args.pid);
    if let (Some(pid), true) = (args.pid, wanted.is_empty()) {
        return Err(gone(&look.reader, pid));
    }
    let open = Open::at(&look);
    let sockets = Sockets::at(&look, &open, Scope::All);
    let held = held(&mut look, &wanted);
    let (mut rows, unsure) = rows(&look, &host, &open, &sockets, user, &held);
    rows.sort_by_key(|row| (Reverse(row.severity), row.pid, row.number));
    let lines = || -> Vec<Line> { rows.iter().map(report::line).collect() };
    let mut parts = [look.parts.as_slice(), sockets.parts.as_slice(), held.parts.as_slice()].concat();
    parts.extend(unsure);
    list(args.format, rows.iter().map(|row| &row.record), || {
        table(&report::heads(), &lines()) + &report::sum(&rows, held.processes.len())
    })?;
    partly(&parts)
}

/// The processes that were asked for, the oldest first.
fn wanted(look: &Look, user: Option<u32>, pid: Option<u32>) -> Vec<u32> {
    let all = look.all();
    let fits = |process: &&&Process| match user {
        Some(user) => !process.ids_of(user).is_empty(),
        None => pid == Some(process.key.pid),
    };
    all.iter().filter(fits).map(|process| process.key.pid).collect()
}

/// What a process has open.
struct Has {
    pid: u32,
    descriptors: Vec<Descriptor>,
    opened: HashMap<u32, Opened>,
}

/// What all of them have open.
struct Held {
    processes: Vec<Has>,
    mounts: Arc<Mounts>,
    parts: Vec<String>,
}

fn held(look: &mut Look, wanted: &[u32]) -> Held {
    let mut held = Held { processes: Vec::new(), mounts: Arc::new(mounts(look)), parts: Vec::new() };
    let (mut forbidden, mut many) = (Vec::new(), Vec::new());
    for pid in wanted {
        let descriptors = match look.reader.descriptors(*pid) {
            Ok(descriptors) => descriptors,
            Err(Closed::Gone) => continue,
            Err(Closed::Forbidden) => {
                forbidden.push(*pid);
                continue;
            }
            Err(Closed::TooMany) => {
                many.push(*pid);
                continue;
            }
        };
        let opened = look.reader.opened(*pid, &descriptors, &held.mounts).unwrap_or_else(|| {
            held.parts.push(format!("how process {pid} has its files open: it wasn't told in time"));
            HashMap::new()
        });
        held.processes.push(Has { pid: *pid, descriptors, opened });
    }
    for (pids, why) in [(forbidden, "may not be read; run it as root"), (many, "is too much to be read")] {
        if !pids.is_empty() {
            held.parts.push(format!("what {} has open, which {why}", processes(&pids)));
        }
    }
    held
}

/// A few of them by number.
fn processes(pids: &[u32]) -> String {
    let named: Vec<String> = pids.iter().take(8).map(ToString::to_string).collect();
    let more = if pids.len() > 8 { format!(" and {} more", pids.len() - 8) } else { String::new() };
    format!("process {}{more}", named.join(", "))
}

/// The mounts of each mount namespace, as its oldest process sees them, and ours.
fn mounts(look: &Look) -> Mounts {
    let mut mounts = Mounts::default();
    let mut seen = HashSet::new();
    for process in look.all() {
        let space = process.actor.mount_namespace();
        if space != 0 && seen.insert(space) {
            mounts.learn(&look.reader, process.key.pid, space);
        }
    }
    mounts.learn(&look.reader, std::process::id(), look.reader.own_mount_namespace().unwrap_or(0));
    mounts
}

fn rows(
    look: &Look,
    host: &Host,
    open: &Open,
    sockets: &Sockets,
    user: Option<u32>,
    held: &Held,
) -> (Vec<Row>, Vec<String>) {
    let processes: Vec<&Process> = held.processes.iter().filter_map(|has| look.table.at(has.pid)).collect();
    let mut describer = Describer::new(look, host, &processes);
    let ends = ends::Ends::new(look, open, sockets);
    let mut entries = entry::Entries::new(look, ends, &held.mounts);
    let mut rows = Vec::new();
    let common = host.common();
    for has in &held.processes {
        let Some(process) = look.table.at(has.pid) else { continue };
        let described = describer.describe(process).record;
        let mut record = ROW.record();
        record.extend_from(&common);
        for field in OF_PROCESS {
            if let Some(value) = described.get(field) {
                record.set(field, value.clone());
            }
        }
        if let Some(user) = user {
            record.set(Field::SensorMatches, process.ids_of(user));
        }
        for descriptor in &has.descriptors {
            let opened = has.opened.get(&descriptor.number).copied().unwrap_or_default();
            let mut record = record.clone();
            let severity = entries.set(process, descriptor, &opened, &mut record);
            rows.push(Row { record, severity, pid: has.pid, number: descriptor.number });
        }
    }
    (rows, entries.parts())
}
