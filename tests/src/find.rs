//! Looking for events: by action and fields, with a deadline, and with a useful answer when they don't come.

use crate::event::as_text;
use crate::sensor::{End, Seen};
use crate::{DEADLINE, Event, patience};
use serde_json::Value;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

type Check<'a> = Box<dyn Fn(&Event) -> bool + 'a>;

/// What to look for, and where.
pub struct Find<'a> {
    seen: &'a Seen,
    action: String,
    fields: Vec<(&'static str, String)>,
    checks: Vec<(&'static str, Check<'a>)>,
    deadline: Duration,
}

impl<'a> Find<'a> {
    pub(crate) fn new(seen: &'a Seen, action: &str) -> Self {
        Self { seen, action: action.to_owned(), fields: Vec::new(), checks: Vec::new(), deadline: DEADLINE }
    }

    /// Events with that value in that field, whatever its type.
    #[must_use]
    pub fn with(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((field, as_text(&value.into())));
        self
    }

    /// Events of that process.
    #[must_use]
    pub fn pid(self, pid: u32) -> Self {
        self.with("process.pid", pid)
    }

    /// Events of a process that runs this file.
    #[must_use]
    pub fn exe(self, path: impl AsRef<Path>) -> Self {
        self.with("process.executable", path.as_ref().to_string_lossy())
    }

    /// Events about this file.
    #[must_use]
    pub fn file(self, path: impl AsRef<Path>) -> Self {
        self.with("file.path", path.as_ref().to_string_lossy())
    }

    /// Events for which this holds too; `what` is said when none comes.
    #[must_use]
    pub fn such(mut self, what: &'static str, check: impl Fn(&Event) -> bool + 'a) -> Self {
        self.checks.push((what, Box::new(check)));
        self
    }

    /// Events with this among the arguments.
    #[must_use]
    pub fn arg(self, word: impl AsRef<OsStr>) -> Self {
        let word = word.as_ref().to_string_lossy().into_owned();
        self.such("an argument", move |event| {
            event
                .get("process.args")
                .and_then(|args| args.as_array())
                .is_some_and(|args| args.iter().any(|arg| *arg == word))
        })
    }

    /// Waits longer, or shorter, than usual.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Waits for the first, which must be whole. Four times the deadline, as it only ends early when it is there: a sensor
    /// that works off a flood, unoptimised and beside builds, is late and not wrong.
    pub fn wait(&self) -> Event {
        self.look(4 * self.deadline).unwrap_or_else(|| panic!("{}", self.story("it doesn't come")))
    }

    /// The first, if it comes before the deadline.
    pub fn look(&self, deadline: Duration) -> Option<Event> {
        let found = self.seen.wait(Instant::now() + patience(deadline), |event| self.fits(event))?;
        found.whole();
        Some(found)
    }

    /// All that came so far.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.seen.so_far().into_iter().filter(|event| self.fits(event)).collect()
    }

    /// Checks that none came so far.
    pub fn none(&self) {
        assert!(self.all().is_empty(), "{}", self.story("yet it came"));
    }

    /// The only one so far, which must be whole.
    pub fn one(&self) -> Event {
        let mut all = self.all();
        assert!(all.len() == 1, "{}", self.story(&format!("{} of them instead of one", all.len())));
        let event = all.remove(0);
        event.whole();
        event
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn fits(&self, event: &Event) -> bool {
        event.action() == self.action
            && self.fields.iter().all(|(field, value)| event.text(field).as_ref() == Some(value))
            && self.checks.iter().all(|(_, check)| check(event))
    }

    /// What was looked for, and what came instead: first the events that have most of it.
    fn story(&self, what: &str) -> String {
        let mut story = format!("looked for {}", self.action);
        for (field, value) in &self.fields {
            let _ = write!(story, ", {field} = {value:?}");
        }
        for (check, _) in &self.checks {
            let _ = write!(story, ", {check}");
        }
        let all = self.seen.so_far();
        // Of a path there are fewer than of a method or a user.
        let weight = |value: &String| 2 + usize::from(value.len() > 6);
        let score = |event: &Event| {
            let near = |(field, value): &&(&'static str, String)| {
                event.text(field).as_ref() == Some(value)
                    || !value.is_empty() && value.len() > 6 && event.to_string().contains(value.as_str())
            };
            let near = self.fields.iter().filter(near).map(|(_, value)| weight(value));
            near.sum::<usize>() + usize::from(event.action() == self.action)
        };
        let mut near: Vec<(usize, &Event)> =
            all.iter().map(|event| (score(event), event)).filter(|(score, _)| *score > 1).collect();
        near.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        let _ = write!(story, ": {what}; {} events in all, {} related:", all.len(), near.len());
        for (_, event) in near.iter().take(8) {
            let _ = write!(story, "\n  {event}");
        }
        for line in self.seen.stderr().iter().rev().take(8).rev() {
            let _ = write!(story, "\n  the sensor said: {line}");
        }
        story
    }
}

/// The hook that tells at once who accepts in silence, where the kernel takes it.
pub const ACCEPTED: &str = "fexit/inet_csk_accept";

/// Where events can be looked for.
pub trait Source {
    /// The events.
    fn seen(&self) -> &Seen;

    /// Looks for events of that action.
    fn find(&self, action: &str) -> Find<'_> {
        Find::new(self.seen(), action)
    }

    /// Whether a hook serves, as the first `coverage` says.
    fn is_served_by(&self, hook: &str) -> bool {
        self.covers(hook, "seen")
    }

    /// Whether something isn't seen, as the first `coverage` says.
    fn lacks(&self, hook: &str) -> bool {
        self.covers(hook, "unseen")
    }

    /// Whether that is the state of a hook, as the first `coverage` says.
    fn covers(&self, hook: &str, state: &str) -> bool {
        let coverage = self.find("coverage").wait();
        coverage.list("sensor.coverage").iter().any(|row| row["hook"] == hook && row["state"] == state)
    }
}

impl Source for End {
    fn seen(&self) -> &Seen {
        &self.seen
    }
}
