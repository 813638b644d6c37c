//! What a verb asks of the run: to keep a file that is held, though no alert is about it, or to tell what the verb did.

use std::{collections::HashMap, error::Error, path::Path};

use super::{Pipeline, PipelineError};
use crate::{
    event::{
        Running, contain,
        coverage::{Coverage, Gap},
        exe_deleted,
    },
    evidence::{Captured, Missing, folder::Folder, wanted::Wanted},
    field::Field,
    format::ecs::read,
    process::Process,
    record::{Record, Text},
    requests::{Request, Requests, Told, What},
};

/// What `coverage` names it.
const HOOK: &str = "evidence/requests";

/// Who asks, and waits.
#[derive(Default)]
pub(super) struct Requested {
    requests: Option<Requests>,
    /// By the ticket of what is kept for them.
    waiting: HashMap<u64, Request>,
    row: Option<Coverage>,
}

impl Requested {
    /// Waits until somebody asks.
    pub(super) async fn woken(&self) {
        match &self.requests {
            Some(requests) => requests.woken().await,
            None => std::future::pending().await,
        }
    }

    /// That nobody can ask, where that is so.
    pub(super) fn coverage(&self) -> impl Iterator<Item = Coverage> {
        self.row.iter().cloned()
    }

    fn fault(&mut self, folder: &Path, error: &dyn Error) {
        let row = Coverage::unseen(exe_deleted::ACTION.name, HOOK, unasked(folder, error));
        self.row = Some(row);
    }

    /// Tells who asked what became of it.
    pub(super) fn answer(&mut self, ticket: u64, result: Result<&Captured, &Missing>) {
        if let Some(request) = self.waiting.remove(&ticket) {
            request.answer(result);
        }
    }
}

impl Pipeline<'_> {
    /// Does from now on also what is asked for by a socket in this folder.
    pub fn answer_requests(&mut self, folder: &Path) {
        match Requests::listen(folder, &self.run) {
            Ok(requests) => self.requested.requests = Some(requests),
            Err(error) => self.requested.fault(folder, &error),
        }
    }

    /// Only looks whether it could be asked there.
    pub fn examine_requests(&mut self, folder: &Path) {
        if let Err(error) = Folder::usable(folder) {
            self.requested.fault(folder, &error);
        }
    }

    /// What was asked since this was last looked at.
    pub(super) fn take_requests(&mut self) -> Result<(), PipelineError> {
        let Some(requests) = &self.requested.requests else { return Ok(()) };
        let asked: Vec<Request> = requests.take().collect();
        for request in asked {
            match request.what.clone() {
                What::Keep(wanted) => self.take_wanted(&wanted, request),
                What::Tell(line) => self.take_contained(&line, request)?,
            }
        }
        Ok(())
    }

    fn take_wanted(&mut self, wanted: &Wanted, request: Request) {
        let Some((running, runner)) = self.wanted(wanted) else {
            return request.refuse("the sensor at work doesn't know it, or any more");
        };
        match self.keep(&running, runner) {
            Ok(ticket) => drop(self.requested.waiting.insert(ticket, request)),
            Err(why) => request.refuse(why),
        }
    }

    /// Tells what a verb did. Who did it is whom the kernel says that the line came from.
    fn take_contained(&mut self, line: &str, request: Request) -> Result<(), PipelineError> {
        let given = read(line.as_bytes()).map_err(|error| error.to_string());
        match given.and_then(|given| contain::checked(&given).map_err(|error| error.to_string())) {
            Ok(mut record) => {
                self.set_actor(request.pid, &mut record);
                let now = self.host.boot_now();
                self.deliver(contain::ACTION.name, now, record)?;
                let (run, sequence) = (self.run.clone(), self.sequence);
                request.told(&Told { run, sequence, time: self.enricher.boot.at(now) });
            }
            Err(why) => request.refuse(&format!("the sensor at work doesn't tell it: {why}")),
        }
        Ok(())
    }

    fn set_actor(&mut self, pid: u32, record: &mut Record) {
        match self.table.at(pid).cloned() {
            Some(process) => self.enricher.set(&process, record),
            // One whose exec was lost, or of another pid namespace.
            None if pid != 0 => record.set(Field::ProcessPid, pid),
            None => {}
        }
    }

    /// The file that is meant, and who ran it.
    fn wanted(&self, wanted: &Wanted) -> Option<(Running, (Text, u32))> {
        let fits = |process: &&Process| match wanted {
            Wanted::Pid(pid) => process.key.pid == *pid,
            Wanted::Entity(entity) => process.entity == *entity,
            Wanted::Sha256(sha256) => process.image.sha256.get() == Some(sha256),
        };
        let ended = self.table.ended_lately().filter(fits).last();
        let process = self.table.iter().find(fits).or(ended)?;
        Some((process.image.running, (process.entity.clone(), process.key.pid)))
    }
}

fn unasked(folder: &Path, error: &dyn Error) -> Gap {
    Gap {
        reason: format!("listening in {}: {error}", folder.display()),
        missing: "state.folder".to_owned(),
        effect: "`sensor recover` has no copy of what ended without an alert a moment ago, and what `sensor kill` and \
                 `sensor port` do is told by them alone, on standard error"
            .to_owned(),
        remedy: "make the folder root's own and give it room, or set state.folder to another".to_owned(),
    }
}
