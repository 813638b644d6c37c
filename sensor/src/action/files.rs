//! `sensor files`: what a process, or all processes of a user, have open, and with whom they share it.

use std::{
    collections::HashSet,
    ops::{ControlFlow, RangeInclusive},
    sync::Arc,
};

use super::{Failure, Format, Give, Status, awaiting, gone, host, lister, partly, user_id};
use crate::{
    event::Action,
    field::Field,
    host::Host,
    look::{
        Look,
        described::Describer,
        open::{Open, Unread},
        sockets::Sockets,
    },
    process::Process,
    procfs::opened::Mounts,
    record::{Record, Stretch},
    sockdiag::{Family, Scope},
};

mod ends;
mod entry;
mod listing;
mod report;

use listing::Listing;

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

/// Lists them.
///
/// # Errors
/// When no such user or process is known, /proc can't be read, or not all could be seen; the parts are named.
pub fn act(args: &Files) -> Result<(), Failure> {
    let host = host()?;
    let user = args.user.as_deref().map(|user| user_id(user, &host)).transpose()?;
    let look = awaiting(async { Look::at(&host, lister(&host)) })?.map_err(|error| {
        Failure::new(Status::Failed, format!("listing processes in {}: {error}", host.proc().display()))
    })?;
    let wanted = wanted(&look, user, args.pid);
    if let (Some(pid), true) = (args.pid, wanted.is_empty()) {
        return Err(gone(&look.reader, pid));
    }
    let open = Open::at(&look);
    let sockets = Sockets::at(&look, &open, Scope::All);
    let mut parts = [look.parts.clone(), unseen(&sockets)].concat();
    let mut listing = Listing::new(args.format);
    let around = Around { look: &look, host: &host, open: &open, sockets: &sockets, user };
    parts.extend(tell_of(&around, wanted, &mut listing));
    listing.end()?;
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

/// What was looked at, and for whom.
struct Around<'a> {
    look: &'a Look,
    host: &'a Host,
    open: &'a Open,
    sockets: &'a Sockets,
    user: Option<u32>,
}

/// Who takes rows as they are found.
trait Takes {
    /// Whether it is of use to go on: what isn't wanted any more isn't asked.
    fn is_wanted(&self) -> bool;

    /// The rows of a process begin.
    fn begin(&mut self);

    /// A row, how odd it is, and its process and number.
    fn take(&mut self, record: Record, severity: u64, at: (u32, u32));
}

/// Gives rows on, as long as more are wanted.
struct Giving<'g, 'r>(Option<&'g mut Give<'r>>);

impl Takes for Giving<'_, '_> {
    fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    fn begin(&mut self) {}

    fn take(&mut self, record: Record, _: u64, _: (u32, u32)) {
        if self.0.as_mut().is_some_and(|give| give(&record).is_break()) {
            self.0 = None;
        }
    }
}

/// Tells what all processes have open.
pub(super) fn tell(look: &Look, host: &Host, give: &mut Give<'_>) -> Vec<String> {
    let open = Open::at(look);
    let sockets = Sockets::at(look, &open, Scope::All);
    let wanted = look.all().iter().map(|process| process.key.pid).collect();
    let around = Around { look, host, open: &open, sockets: &sockets, user: None };
    let mut parts = unseen(&sockets);
    parts.extend(tell_of(&around, wanted, &mut Giving(Some(give))));
    parts
}

/// What the tables of sockets don't tell.
fn unseen(sockets: &Sockets) -> Vec<String> {
    let mut parts = sockets.parts.clone();
    if sockets.has_no_table(Family::Unix) {
        parts.push(
            "the other ends of unix sockets, which the kernel doesn't tell: it has no unix_diag".to_owned(),
        );
    }
    parts
}

/// Tells what all of them have open, one process after the other; gives what couldn't be told.
fn tell_of(around: &Around<'_>, wanted: Vec<u32>, listing: &mut impl Takes) -> Vec<String> {
    let Around { look, host, open, sockets, user } = *around;
    let mounts = Arc::new(mounts(look));
    let processes: Vec<&Process> = wanted.iter().filter_map(|pid| look.table.at(*pid)).collect();
    let mut describer = Describer::new(look, host, &processes);
    let mut entries = entry::Entries::new(look, ends::Ends::new(look, open, sockets), &mounts);
    let common = host.common();
    let (mut parts, mut unread) = (Vec::new(), Unread::default());
    let counted = |pid: u32| (pid, open.counts.get(&pid).copied().unwrap_or(0));
    let asked = wanted.into_iter().map(counted).collect();
    look.reader.another().opened_of(asked, &mounts, |pid, held| {
        let Some(process) = look.table.at(pid) else { return ControlFlow::Continue(()) };
        match held {
            Ok(held) => {
                if held.unsure {
                    parts.push(format!("how process {pid} has its files open: it wasn't told in time"));
                }
                let row = Same::of(process, &describer.describe(process).record, &common, user);
                listing.begin();
                for (descriptor, opened) in &held.descriptors {
                    if !listing.is_wanted() {
                        break;
                    }
                    let mut record = row.record();
                    let severity = entries.set(process, descriptor, opened, &mut record);
                    listing.take(record, severity, (pid, descriptor.number));
                }
            }
            Err(closed) => unread.add(pid, closed),
        }
        if listing.is_wanted() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    parts.extend(unread.told());
    parts.extend(entries.parts());
    parts
}

/// What all rows of a process say: shared, so that it is made and written once.
struct Same {
    shared: Vec<Arc<Stretch>>,
    own: Record,
}

/// The fields between which a row of files has none of its own.
const SHARED: [RangeInclusive<Field>; 2] =
    [Field::Timestamp..=Field::EventAction, Field::HostName..=Field::ContainerId];

impl Same {
    fn of(process: &Process, described: &Record, common: &Record, user: Option<u32>) -> Self {
        let mut record = ROW.record();
        record.extend_from(common);
        for field in OF_PROCESS {
            if let Some(value) = described.get(field) {
                record.set(field, value.clone());
            }
        }
        if let Some(user) = user {
            record.set(Field::SensorMatches, process.ids_of(user));
        }
        let shared: Vec<Arc<Stretch>> =
            SHARED.into_iter().filter_map(|range| Stretch::of(&record, range)).map(Arc::new).collect();
        let mut own = Record::new();
        for (field, value) in record.iter() {
            if !SHARED.iter().any(|range| range.contains(&field)) {
                own.set(field, value.clone());
            }
        }
        Self { shared, own }
    }

    fn record(&self) -> Record {
        let mut record = self.own.clone();
        self.shared.iter().for_each(|stretch| record.share(stretch));
        record
    }
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
