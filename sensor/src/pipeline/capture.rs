//! Evidence: what runs is held and hashed, and an alert waits a moment for its copy of it.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStringExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Pipeline, PipelineError};
use crate::{
    config,
    event::{
        Key, Running,
        coverage::{Coverage, Gap},
        exe_deleted,
    },
    evidence::{Captured, Evidence, Missing, Skipped, Source, State, Told, folder::Folder},
    field::Field,
    host::Host,
    kernel::executed::{self, Executed},
    process::Process,
    procfs::{self, mapped::path_of},
    record::{Record, Text},
    verdict::Left,
};

/// How long an alert waits for its evidence to be written, nanoseconds.
const WAIT: u64 = 2_000_000_000;
/// And for its file to be held.
const WAIT_HELD: u64 = 100_000_000;
/// How often it is looked at the end whether a file is held by now.
const STEP: Duration = Duration::from_millis(5);
/// Most alerts that wait.
const WAITING_MOST: usize = 1024;
/// At how many of those who run a file it is tried to open it.
const TRIES: usize = 4;
/// Why something isn't kept that could have been.
const BUSY: &str = "too many others were being written at that moment";
/// What `coverage` names it.
const HOOK: &str = "evidence/folder";
const HASHES: &str = "evidence/hash";

/// What is known of it.
#[derive(Default)]
pub(super) struct Capture {
    evidence: Option<Evidence>,
    /// Alerts that wait, by the ticket of what they wait for.
    waiting: BTreeMap<u64, Waiting>,
    /// Alerts about files that aren't held yet.
    asking: Vec<Asking>,
    /// Devices on which something ended that has its name still, but for the root's.
    ended: HashSet<u32>,
    /// The root's device.
    root: u32,
    /// Whether what is asked for is kept, where it is to be.
    row: Option<Coverage>,
    /// What wasn't held or hashed in the last second.
    late: Option<Coverage>,
    /// How much that was until then.
    skipped: Skipped,
}

/// An alert that waits.
struct Waiting {
    action: &'static str,
    time: u64,
    record: Record,
    until: u64,
}

/// An alert about a file that is to be kept, with who ran it.
struct Asking {
    alert: Waiting,
    file: Running,
    runners: Vec<(Text, u32)>,
}

/// What is executed, as it comes from the kernel.
struct Files {
    executed: Executed,
    proc: PathBuf,
    root: Option<u64>,
}

/// The same file by a mount of the sensor's own, so that the one by which it was executed can be unmounted meanwhile. The root's never
/// is. Mounts of other namespaces can't be copied: whoever takes those away does so with all that is open.
fn apart(file: File, proc: &Path, root: Option<u64>) -> File {
    if file.metadata().is_ok_and(|facts| Some(facts.dev()) == root) {
        return file;
    }
    let own = executed::own_mount(file.as_fd()).and_then(|own| procfs::reopen(proc, own.as_fd()));
    own.unwrap_or(file)
}

impl Source for Files {
    fn held(&self) {
        self.executed.held();
    }

    fn next(&self) -> io::Result<(Vec<OwnedFd>, u64)> {
        let (files, missed) = self.executed.next()?;
        let apart = |file: OwnedFd| apart(file.into(), &self.proc, self.root).into();
        Ok((files.into_iter().map(apart).collect(), missed))
    }

    fn leave_out(&self, file: BorrowedFd<'_>) {
        self.executed.leave_out(file);
    }

    fn take_in(&self, file: BorrowedFd<'_>) {
        self.executed.take_in(file);
    }
}

impl Capture {
    /// What is left of what a process ran, if it is held.
    pub(super) fn left(&self, process: &Process, host: &Host) -> Option<Left> {
        let file = self.evidence.as_ref()?.held(&process.now)?;
        let ctime = i64::try_from(State::of(&file).ok().flatten()?.ctime).ok()?;
        let path = path_of(&host.proc(), &file)?;
        Some(Left {
            changed: u64::try_from(ctime.saturating_sub(host.boot().0)).unwrap_or(0),
            rounded: host.tick(),
            names: file.metadata().ok()?.nlink(),
            path: path.into_os_string().into_vec(),
        })
    }

    /// Whether what is asked for is kept.
    pub(super) fn coverage(&self) -> impl Iterator<Item = Coverage> {
        self.row.iter().chain(&self.late).cloned()
    }

    /// Whether alerts wait.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether some wait for a file that isn't held yet.
    pub(super) fn asks(&self) -> bool {
        !self.asking.is_empty()
    }

    /// Waits until something that was asked for is there.
    pub(super) async fn woken(&self) {
        match &self.evidence {
            Some(evidence) => evidence.woken().await,
            None => std::future::pending().await,
        }
    }

    /// Notes whether keeping works; true when that is news.
    fn note(&mut self, fault: Option<&str>) -> bool {
        let before = self.row.as_ref().map(|row| row.state);
        let row = match fault {
            None => Coverage::seen(exe_deleted::ACTION.name, HOOK),
            Some(fault) => Coverage::unseen(exe_deleted::ACTION.name, HOOK, unkept(fault)),
        };
        let news = before.is_some_and(|before| before != row.state);
        self.row = Some(row);
        news
    }
}

fn unkept(fault: &str) -> Gap {
    Gap {
        reason: fault.to_owned(),
        missing: "evidence.folder".to_owned(),
        effect: "a copy of the executable that an alert is about; the alert itself is told".to_owned(),
        remedy:
            "make the folder root's own and give it room, or set evidence.folder to another, or to nothing"
                .to_owned(),
    }
}

fn unhashed(Skipped { unopened, unhashed, large }: Skipped) -> Gap {
    Gap {
        reason: format!(
            "of files that were executed {unopened} or more could not be opened or found no room in the kernel's queue, \
             {unhashed} found no room among those that wait to be hashed, and {large} were too large to be hashed"
        ),
        missing: if large != 0 { "evidence.max_hash_bytes" } else { "time" }.to_owned(),
        effect: "hashes of those files, and of those that could not be opened a copy, when they lose their name and end at once"
            .to_owned(),
        remedy: if large != 0 { "raise evidence.max_hash_bytes, or take it so" } else { "" }.to_owned(),
    }
}

impl Pipeline<'_> {
    /// Holds what runs from now on, and keeps in this folder what alerts are about.
    pub fn keep_evidence(&mut self, folder: &Path, limits: &config::Evidence) {
        let root = self.host.root_device();
        let files = |executed| Files { executed, proc: self.host.proc(), root };
        let source = self.kernel.executed().map(|executed| Box::new(files(executed)) as Box<dyn Source>);
        match Evidence::begin(folder, limits, source, self.seconds()) {
            Ok(evidence) => {
                self.capture.evidence = Some(evidence);
                self.capture.root = root.map_or(0, exe_deleted::inner);
                self.capture.note(None);
            }
            Err(error) => {
                // Nobody would read of it.
                self.kernel.leave_executed();
                self.capture.note(Some(&error.to_string()));
            }
        }
    }

    /// Only looks whether a copy could be kept there.
    pub fn examine_evidence(&mut self, folder: &Path) {
        let fault = Folder::usable(folder).err().map(|error| error.to_string());
        self.capture.note(fault.as_deref());
    }

    /// A process runs this: holds the file, and says what its hash is when that is known.
    pub(super) fn hold(&mut self, key: Key, running: &Running) {
        let Some(evidence) = &self.capture.evidence else { return };
        if running.inode == 0 || running.foreign() {
            return;
        }
        let (held, sha256) = evidence.known(running);
        if !held && let Ok(file) = self.reader.open_executable(key.pid, running.device) {
            evidence.hold(apart(file, &self.host.proc(), self.host.root_device()));
        }
        if let (Some(sha256), Some(process)) = (sha256, self.table.get(key)) {
            // All who share the image know it from now on.
            let _: Result<(), Text> = process.image.sha256.set(sha256);
        }
    }

    /// A process ended whose image has its name still: once nobody runs it, the file system is to be let go of.
    pub(super) fn ended(&mut self, running: &Running) {
        if running.inode != 0 && !running.nameless() && running.device != self.capture.root {
            self.capture.ended.insert(running.device);
        }
    }

    /// Tells an alert about a file, with the copy that is kept of it, once there is one.
    pub(super) fn deliver_with_evidence(
        &mut self,
        action: &'static str,
        time: u64,
        mut record: Record,
        file: &Running,
        runners: &[Process],
    ) -> Result<(), PipelineError> {
        if self.capture.evidence.is_none() {
            return self.deliver(action, time, record);
        }
        if file.foreign() {
            record.set(
                Field::SensorEvidenceMissing,
                "it lies on a file system for which others answer, which is asked for nothing",
            );
            return self.deliver(action, time, record);
        }
        let now = self.host.boot_now();
        let until = now.saturating_add(WAIT_HELD);
        let runners = runners.iter().map(|runner| (runner.entity.clone(), runner.key.pid)).collect();
        let alert = Waiting { action, time, record, until };
        self.ask_to_keep(Asking { alert, file: *file, runners }, now)
    }

    /// Asks for a copy. A file that is executed is held a moment after the kernel gives it: until then it is asked again.
    fn ask_to_keep(&mut self, asking: Asking, now: u64) -> Result<(), PipelineError> {
        let seconds = self.seconds();
        let Some(evidence) = self.capture.evidence.as_mut() else { return Ok(()) };
        let Asking { mut alert, file, runners } = asking;
        for (_, pid) in runners.iter().take(TRIES) {
            if evidence.holds(&file) {
                break;
            }
            if let Ok(open) = self.reader.open_executable(*pid, file.device) {
                evidence.hold(open);
            }
        }
        let full = self.capture.waiting.len() >= WAITING_MOST;
        let why = match evidence.holds(&file) {
            false if alert.until > now && self.capture.asking.len() < WAITING_MOST => {
                self.capture.asking.push(Asking { alert, file, runners });
                return Ok(());
            }
            false => "it had ended before it could be opened",
            true if full => BUSY,
            true => match evidence.keep(&file, runners, seconds) {
                Some(ticket) => {
                    alert.until = now.saturating_add(WAIT);
                    self.capture.waiting.insert(ticket, alert);
                    return Ok(());
                }
                None => BUSY,
            },
        };
        alert.record.set(Field::SensorEvidenceMissing, why);
        self.deliver(alert.action, alert.time, alert.record)
    }

    /// Asks for a copy that no alert waits for. Gives the ticket that comes with the answer, else why there will be none.
    pub(super) fn keep(&mut self, file: &Running, runner: (Text, u32)) -> Result<u64, &'static str> {
        let seconds = self.seconds();
        let evidence =
            self.capture.evidence.as_mut().ok_or("the sensor at work keeps nothing (evidence.folder)")?;
        // Who answers for such a file may never do so, and all would wait for it here.
        if file.foreign() && !evidence.holds(file) {
            return Err(
                "others answer for its file system (FUSE, NFS), which the sensor at work asks for nothing",
            );
        }
        if !evidence.holds(file)
            && let Ok(open) = self.reader.open_executable(runner.1, file.device)
        {
            evidence.hold(open);
        }
        match evidence.holds(file) {
            true => evidence.keep(file, vec![runner], seconds).ok_or(BUSY),
            false => Err("it has ended, and the sensor at work doesn't hold it any more"),
        }
    }

    /// What was hashed and kept since this was last asked. An alert that waited for it waits for nothing else.
    pub(super) fn take_answers(&mut self) -> Result<(), PipelineError> {
        let Some(evidence) = &self.capture.evidence else { return Ok(()) };
        let waited = self.capture.waiting.len();
        let told: Vec<_> = evidence.told().collect();
        told.into_iter().try_for_each(|told| self.take_told(told))?;
        if self.capture.waiting.len() < waited { self.flush() } else { Ok(()) }
    }

    /// What was hashed and kept, and who waited long enough.
    pub(super) fn captured(&mut self, now: u64) -> Result<(), PipelineError> {
        self.take_answers()?;
        for asking in std::mem::take(&mut self.capture.asking) {
            self.ask_to_keep(asking, now)?;
        }
        let late = self.capture.waiting.extract_if(.., |_, waiting| waiting.until <= now);
        let late: Vec<_> = late.map(|(_, waiting)| waiting).collect();
        for Waiting { action, time, mut record, .. } in late {
            record.set(Field::SensorEvidenceMissing, "it was still being written when this was told");
            self.deliver(action, time, record)?;
        }
        self.let_go();
        Ok(())
    }

    fn take_told(&mut self, told: Told) -> Result<(), PipelineError> {
        let (ticket, result) = match told {
            Told::Hashed(state, sha256) => {
                for process in self.table.iter().filter(|process| state.is_of(&process.image.running)) {
                    let _: Result<(), Text> = process.image.sha256.set(sha256.clone());
                }
                return Ok(());
            }
            Told::Kept(ticket, result) => (ticket, result),
        };
        self.requested.answer(ticket, result.as_ref());
        let news = match &result {
            Ok(_) => self.capture.note(None),
            Err(why @ Missing::Failed(_)) => self.capture.note(Some(&why.to_string())),
            // It says nothing of the folder.
            Err(Missing::TooLarge { .. }) => false,
        };
        if let Some(Waiting { action, time, mut record, .. }) = self.capture.waiting.remove(&ticket) {
            set(result, &mut record);
            self.deliver(action, time, record)?;
        }
        match news {
            true => self.tell_coverage(self.host.boot_now()),
            false => Ok(()),
        }
    }

    /// Lets go of what ended on other file systems than the root's, which somebody may want to unmount.
    fn let_go(&mut self) {
        if self.capture.ended.is_empty() || self.verdicts.open() {
            return;
        }
        let devices = std::mem::take(&mut self.capture.ended);
        if let Some(evidence) = &self.capture.evidence {
            evidence.release(&devices, self.table.iter().map(|process| &process.now));
        }
    }

    /// Each second: lets go of what nobody runs.
    pub(super) fn beat(&mut self, now: u64) -> Result<(), PipelineError> {
        let Some(evidence) = &self.capture.evidence else { return Ok(()) };
        evidence.beat(self.table.iter().map(|process| &process.now));
        let skipped = evidence.skipped();
        let before = std::mem::replace(&mut self.capture.skipped, skipped);
        let row = (skipped != before).then(|| {
            let gap = unhashed(skipped.since(before));
            Coverage::unseen(exe_deleted::ACTION.name, HASHES, gap)
        });
        // What was, and is told, is over.
        match std::mem::replace(&mut self.capture.late, row).is_some() || self.capture.late.is_some() {
            true => self.tell_coverage(now),
            false => Ok(()),
        }
    }

    /// The last alerts, with what evidence there will be.
    pub(super) fn end_evidence(&mut self) -> Result<(), PipelineError> {
        let until = self.host.boot_now().saturating_add(WAIT);
        while self.capture.waits() || self.capture.asks() {
            let now = self.host.boot_now();
            let left = Duration::from_nanos(until.saturating_sub(now)).min(STEP);
            let told = self.capture.evidence.as_ref().and_then(|evidence| evidence.wait(left));
            if let Some(told) = told {
                self.take_told(told)?;
            }
            self.captured(if now < until { now } else { u64::MAX })?;
        }
        Ok(())
    }
}

/// What became of it, as fields.
fn set(result: Result<Captured, Missing>, record: &mut Record) {
    match result {
        Ok(Captured { sha256, size, path }) => {
            record.set(Field::SensorEvidenceSha256, sha256);
            record.set(Field::SensorEvidenceSize, size);
            record.set(Field::SensorEvidencePath, Text::copy_from(path.as_os_str().as_encoded_bytes()));
        }
        Err(why) => record.set(Field::SensorEvidenceMissing, Text::from(why.to_string())),
    }
}
