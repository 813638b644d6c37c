//! One output at work: reads, filters, writes in its format, brings, and acknowledges only what is there, in order.

use std::{collections::VecDeque, error::Error, sync::Arc, time::Duration};

use super::{
    cursor::{Cursor, CursorError, Entry},
    outlet::Outlet,
    pace::Pace,
    shared::Shared,
};
use crate::{
    format::text::cell::plain,
    output::{Clock, FarError, Fate, Parcel},
};

/// How long it is waited for something new before it is asked whether to stop.
const IDLE: Duration = Duration::from_millis(250);
/// Longest reason that is kept of what a far side said, bytes.
const REASON_MOST: usize = 1024;

/// An output, and where it is in the journal.
pub(super) struct Courier {
    outlet: Outlet,
    cursor: Box<dyn Cursor>,
    shared: Arc<Shared>,
    clock: Clock,
    pace: Pace,
    /// What was read and isn't acknowledged, in order.
    waiting: VecDeque<Waiting>,
    /// What couldn't be acknowledged, to be tried again.
    owed: Option<u64>,
    /// Since when nothing goes.
    troubled: Option<Duration>,
    /// That the journal dropped some is told.
    dropping: bool,
}

/// An event that was read.
struct Waiting {
    entry: Entry,
    /// In the output's format, where that isn't the line itself.
    dressed: Option<Vec<u8>>,
    /// It is there, refused, or not wanted.
    done: bool,
}

/// What to do next.
enum Next {
    /// There may be more.
    Go,
    /// There is nothing.
    Idle,
    /// It didn't go.
    Pause(Duration),
}

impl Courier {
    pub(super) fn new(outlet: Outlet, cursor: Box<dyn Cursor>, shared: Arc<Shared>, clock: Clock) -> Self {
        let (pace, waiting) = (Pace::default(), VecDeque::new());
        Self { outlet, cursor, shared, clock, pace, waiting, owed: None, troubled: None, dropping: false }
    }

    /// Until it is told to stop, and then as long as something goes and time is left. Whether all was brought.
    pub(super) fn work(mut self) -> bool {
        loop {
            let left = self.shared.left((self.clock)());
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            if self.shared.take_reopen() {
                self.outlet.far.reopen();
            }
            match self.step() {
                Next::Go => {}
                Next::Idle if left.is_some() => return true,
                Next::Idle => self.cursor.wait(IDLE),
                Next::Pause(pause) => {
                    self.shared.sleep(left.map_or(pause, |left| left.min(pause)), left.is_some());
                }
            }
        }
    }

    fn step(&mut self) -> Next {
        if self.waiting.is_empty()
            && let Err(error) = self.read()
        {
            return self.failed("reading the journal", &*error);
        }
        self.count_dropped();
        if self.waiting.is_empty() {
            return if self.settle() { Next::Idle } else { Next::Pause(self.pace.failed(None)) };
        }
        self.bring()
    }

    fn count_dropped(&mut self) {
        let count = self.cursor.dropped();
        if count > 0 && !std::mem::replace(&mut self.dropping, true) {
            let name = &self.outlet.name;
            say!(
                "output {name}: the journal had no room to keep all that it hasn't read: {count} events, and more are counted in loss events"
            );
        }
        self.shared.dropped(count);
    }

    /// Reads the next load; what couldn't be taken in to its end is read again.
    fn read(&mut self) -> Result<(), CursorError> {
        let read = self.take_in();
        if read.is_err() {
            self.waiting.clear();
            self.cursor.rewind();
        }
        read
    }

    /// Takes the next load in, and marks what isn't wanted or can't be written as done.
    fn take_in(&mut self) -> Result<(), CursorError> {
        for entry in self.cursor.read(self.outlet.far.most())? {
            let wanted = self.outlet.wanted.wants(&entry);
            let (dressed, done) = match self.outlet.dress(&entry, wanted) {
                Ok(dressed) => (dressed, !wanted),
                Err(why) => {
                    self.refuse(&entry, &why)?;
                    (None, true)
                }
            };
            self.waiting.push_back(Waiting { entry, dressed, done });
        }
        Ok(())
    }

    fn refuse(&mut self, entry: &Entry, why: &str) -> Result<(), CursorError> {
        let why = plain(why.as_bytes());
        self.cursor.refuse(entry, why.get(..why.floor_char_boundary(REASON_MOST)).unwrap_or_default())?;
        self.shared.refused(&entry.action);
        Ok(())
    }

    /// Brings what isn't done.
    fn bring(&mut self) -> Next {
        let open: Vec<usize> = (0..self.waiting.len()).filter(|at| !self.waiting[*at].done).collect();
        let parcels: Vec<_> = open.iter().map(|at| parcel(&self.waiting[*at], &self.outlet.host)).collect();
        let fates = match parcels.is_empty() {
            true => Ok(Vec::new()),
            false => self.outlet.far.bring(&parcels),
        };
        self.shared.doubts(self.outlet.far.doubt());
        match fates {
            Ok(fates) => self.sort_out(&open, fates),
            Err(error) => {
                let FarError { attempted, advice, not_before, source } = error;
                self.not_before(&format!("{attempted}: {}: {advice}", chain(&*source)), not_before)
            }
        }
    }

    /// What became of each.
    fn sort_out(&mut self, open: &[usize], fates: Vec<Fate>) -> Next {
        let (mut again, mut arrived) = (open.len().saturating_sub(fates.len()), 0);
        for (at, fate) in open.iter().zip(fates) {
            match fate {
                Fate::Again => again += 1,
                Fate::Arrived => {
                    self.waiting[*at].done = true;
                    self.shared.delivered(&self.waiting[*at].entry.action);
                    arrived += 1;
                }
                Fate::Refused(why) => {
                    let entry = self.waiting[*at].entry.clone();
                    if let Err(error) = self.refuse(&entry, &why) {
                        return self.failed("keeping what the far side refuses", &*error);
                    }
                    self.waiting[*at].done = true;
                }
            }
        }
        if arrived > 0 {
            self.pace.succeeded();
        }
        if !self.settle() {
            return Next::Pause(self.pace.failed(None));
        }
        if again == 0 {
            self.recovered();
            return Next::Go;
        }
        self.not_before(&format!("the far side wants {again} of {} events later", open.len()), None)
    }

    /// Acknowledges what is done, up to the first that isn't.
    fn settle(&mut self) -> bool {
        while self.waiting.front().is_some_and(|first| first.done) {
            self.owed = self.waiting.pop_front().map(|first| first.entry.position).or(self.owed);
        }
        let Some(position) = self.owed else { return true };
        match self.cursor.acknowledge(position) {
            Ok(()) => {
                self.owed = None;
                true
            }
            Err(error) => {
                self.tell(&format!("noting in the journal what arrived: {}", chain(&*error)));
                false
            }
        }
    }

    fn failed(&mut self, what: &str, error: &(dyn Error + 'static)) -> Next {
        self.not_before(&format!("{what}: {}", chain(error)), None)
    }

    fn not_before(&mut self, what: &str, asked: Option<Duration>) -> Next {
        self.tell(what);
        Next::Pause(self.pace.failed(asked))
    }

    /// Says that nothing goes: on standard error when that begins, and in `coverage` as long as it lasts.
    fn tell(&mut self, what: &str) {
        let what = plain(what.as_bytes());
        if self.troubled.is_none() {
            self.troubled = Some((self.clock)());
            say!("output {}: {what}; it is tried until it works", self.outlet.name);
        }
        self.shared.trouble(Some(what));
    }

    fn recovered(&mut self) {
        if let Some(since) = self.troubled.take() {
            let seconds = (self.clock)().saturating_sub(since).as_secs();
            say!("output {}: events go again, after {seconds} s", self.outlet.name);
            self.shared.trouble(None);
            self.dropping = false;
        }
    }
}

fn parcel<'a>(waiting: &'a Waiting, host: &'a str) -> Parcel<'a> {
    let entry = &waiting.entry;
    Parcel {
        id: &entry.id,
        time: entry.time,
        action: &entry.action,
        severity: entry.severity,
        host,
        bytes: waiting.dressed.as_deref().unwrap_or(entry.line.as_bytes()),
    }
}

/// An error and its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_said = cause.to_string();
        if !said.ends_with(&cause_said) {
            said.push_str(": ");
            said.push_str(&cause_said);
        }
        next = cause.source();
    }
    said
}
