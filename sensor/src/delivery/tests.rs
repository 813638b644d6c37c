//! Outputs that do as they are told, and a journal in memory.

use std::{
    collections::VecDeque,
    error::Error,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use super::*;
use crate::{
    config,
    output::{Far, FarError, Fate, Load, Parcel},
};

/// A journal in memory, and what became of its events.
#[derive(Clone, Default)]
struct Journal(Arc<(Mutex<Inner>, Condvar)>);

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    read: usize,
    acknowledged: u64,
    dead: Vec<(String, String)>,
    dropped: u64,
    /// How often it fails from now on.
    broken: u32,
}

impl Journal {
    fn with(count: u64) -> Self {
        let journal = Self::default();
        (1..=count)
            .for_each(|number| journal.add(number, "exec", &format!(r#"{{"event":{{"id":"e-{number}"}}}}"#)));
        journal
    }

    fn inner<T>(&self, with: impl FnOnce(&mut Inner) -> T) -> T {
        let with = with(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        with
    }

    fn add(&self, position: u64, action: &str, line: &str) {
        let entry = Entry {
            position,
            id: format!("e-{position}"),
            time: 0,
            action: action.to_owned(),
            severity: 0,
            user: None,
            line: line.to_owned(),
        };
        self.inner(|inner| inner.entries.push(entry));
    }

    fn acknowledged(&self) -> u64 {
        self.inner(|inner| inner.acknowledged)
    }

    fn until(&self, state: impl Fn(&Inner) -> bool) {
        let guard = self.0.0.lock().unwrap();
        let wait = Duration::from_secs(20);
        let waited = self.0.1.wait_timeout_while(guard, wait, |inner| !state(inner)).unwrap();
        assert!(!waited.1.timed_out(), "it never came to that");
    }
}

impl Cursor for Journal {
    fn read(&mut self, most: Load) -> Result<Vec<Entry>, CursorError> {
        self.inner(|inner| {
            if inner.broken > 0 {
                inner.broken -= 1;
                return Err("the disk is away".into());
            }
            let found: Vec<_> = inner.entries.iter().skip(inner.read).take(most.events).cloned().collect();
            inner.read += found.len();
            Ok(found)
        })
    }

    fn acknowledge(&mut self, position: u64) -> Result<(), CursorError> {
        self.inner(|inner| {
            assert!(position > inner.acknowledged, "it goes back");
            inner.acknowledged = position;
        });
        Ok(())
    }

    fn refuse(&mut self, entry: &Entry, reason: &str) -> Result<(), CursorError> {
        self.inner(|inner| inner.dead.push((entry.id.clone(), reason.to_owned())));
        Ok(())
    }

    fn rewind(&mut self) {
        self.inner(|inner| inner.read = inner.acknowledged as usize);
    }

    fn dropped(&mut self) -> u64 {
        self.inner(|inner| std::mem::take(&mut inner.dropped))
    }

    fn wait(&self, at_most: Duration) {
        let guard = self.0.0.lock().unwrap();
        let nothing = |inner: &mut Inner| inner.read >= inner.entries.len();
        drop(self.0.1.wait_timeout_while(guard, at_most, nothing).unwrap());
    }
}

/// What the far side does with a load.
type Does = Box<dyn FnMut(&[Parcel<'_>]) -> Result<Vec<Fate>, FarError> + Send>;

struct Fake {
    does: Does,
    most: usize,
}

impl Far for Fake {
    fn most(&self) -> Load {
        Load { events: self.most, bytes: 1 << 20 }
    }

    fn bring(&mut self, load: &[Parcel<'_>]) -> Result<Vec<Fate>, FarError> {
        (self.does)(load)
    }
}

type Log = Arc<Mutex<Vec<Vec<String>>>>;

fn away(source: impl Into<Box<dyn Error + Send + Sync>>) -> FarError {
    FarError { attempted: "sending".to_owned(), advice: "mend it", not_before: None, source: source.into() }
}

fn host() -> Host {
    Host::real().unwrap()
}

fn outlet(keys: &str, most: usize, does: Does) -> Outlet {
    let config: config::Output = toml::from_str(&format!("name = \"a\"\ntype = \"stdout\"\n{keys}")).unwrap();
    Outlet::bringing(&config, "output/stdout", "h".to_owned(), Box::new(Fake { does, most }))
}

/// Begins with one output that answers each load in turn as it is told, and then takes everything; and what it was brought.
fn begin(
    journal: &Journal,
    keys: &str,
    most: usize,
    answers: Vec<Result<Vec<Fate>, FarError>>,
) -> (Delivery, Log) {
    let (mut answers, log) = (VecDeque::from(answers), Log::default());
    let heard = Arc::clone(&log);
    let does = move |load: &[Parcel<'_>]| {
        heard.lock().unwrap().push(load.iter().map(|parcel| parcel.id.to_owned()).collect());
        answers.pop_front().unwrap_or_else(|| Ok(vec![Fate::Arrived; load.len()]))
    };
    let outlet = outlet(keys, most, Box::new(does));
    let delivery = Delivery::begin(&host(), vec![(outlet, Box::new(journal.clone()))]).unwrap();
    (delivery, log)
}

fn told(delivery: &Delivery) -> Tidings {
    let (mut all, _) = delivery.tidings();
    all.remove(0).1
}

fn brought(log: &Log) -> Vec<String> {
    log.lock().unwrap().iter().map(|load| load.join(" ")).collect()
}

#[test]
fn all_goes_in_order_and_is_acknowledged() {
    let journal = Journal::with(5);
    let (delivery, log) = begin(&journal, "", 2, vec![]);
    journal.until(|inner| inner.acknowledged == 5);
    assert_eq!(brought(&log), ["e-1 e-2", "e-3 e-4", "e-5"]);
    journal.add(6, "exit", "{}");
    journal.until(|inner| inner.acknowledged == 6);
    assert_eq!(delivery.stop(PATIENCE), Vec::<&str>::new());
    assert_eq!(told(&delivery).delivered, ByAction::from([("exec", 5), ("exit", 1)]));
}

#[test]
fn what_is_wanted_later_is_given_again_alone_and_the_place_waits_for_it() {
    let journal = Journal::with(4);
    let answer = vec![Fate::Arrived, Fate::Again, Fate::Arrived, Fate::Again];
    let (seen, look) = (Arc::new(Mutex::new(Vec::new())), journal.clone());
    let (mut answers, log, heard) = (VecDeque::from([answer]), Log::default(), Arc::clone(&seen));
    let brought_log = Arc::clone(&log);
    let does = move |load: &[Parcel<'_>]| {
        heard.lock().unwrap().push(look.acknowledged());
        brought_log.lock().unwrap().push(load.iter().map(|parcel| parcel.id.to_owned()).collect());
        Ok(answers.pop_front().unwrap_or_else(|| vec![Fate::Arrived; load.len()]))
    };
    let cursor: Box<dyn Cursor> = Box::new(journal.clone());
    let delivery = Delivery::begin(&host(), vec![(outlet("", 4, Box::new(does)), cursor)]).unwrap();
    journal.until(|inner| inner.acknowledged == 4);
    assert_eq!(brought(&log), ["e-1 e-2 e-3 e-4", "e-2 e-4"]);
    assert_eq!(*seen.lock().unwrap(), [0, 1], "acknowledged up to the first that is missing");
    delivery.stop(PATIENCE);
}

#[test]
fn what_is_refused_is_kept_with_the_reason() {
    let journal = Journal::with(3);
    let why = format!("\u{1b}[31m{}", "no ".repeat(2000));
    let answer = vec![Fate::Arrived, Fate::Refused(why), Fate::Arrived];
    let (delivery, log) = begin(&journal, "", 3, vec![Ok(answer)]);
    journal.until(|inner| inner.acknowledged == 3);
    assert_eq!(brought(&log), ["e-1 e-2 e-3"]);
    let dead = journal.inner(|inner| inner.dead.clone());
    assert_eq!((dead.len(), dead[0].0.as_str()), (1, "e-2"));
    assert!(dead[0].1.len() <= 1024 && !dead[0].1.chars().any(char::is_control), "{dead:?}");
    delivery.stop(PATIENCE);
    assert_eq!(told(&delivery).refused, ByAction::from([("exec", 1)]));
}

#[test]
fn an_outage_is_told_while_it_lasts_and_all_is_given_again() {
    let journal = Journal::with(2);
    journal.inner(|inner| (inner.dropped, inner.broken) = (7, 1));
    let held = Arc::new((Mutex::new(true), Condvar::new()));
    let hold = Arc::clone(&held);
    let log = Log::default();
    let heard = Arc::clone(&log);
    let does = move |load: &[Parcel<'_>]| {
        heard.lock().unwrap().push(load.iter().map(|parcel| parcel.id.to_owned()).collect());
        match *hold.0.lock().unwrap() {
            true => Err(away("\u{1b}it is away")),
            false => Ok(vec![Fate::Arrived; load.len()]),
        }
    };
    let cursor: Box<dyn Cursor> = Box::new(journal.clone());
    let delivery = Delivery::begin(&host(), vec![(outlet("", 9, Box::new(does)), cursor)]).unwrap();
    let (mut rows, mut dropped) = (None, 0);
    while rows.is_none() || log.lock().unwrap().len() < 2 {
        let (all, changed) = delivery.tidings();
        dropped += all[0].1.dropped;
        rows = changed.filter(|rows: &Vec<Coverage>| !rows.is_empty()).or(rows);
        std::thread::yield_now();
    }
    let row = rows.unwrap().remove(0);
    assert_eq!((row.hook, row.state, dropped), ("output/stdout", State::Unseen, 7));
    assert!(row.gap.reason.starts_with("a: "), "{}", row.gap.reason);
    let trouble = told(&delivery).trouble.unwrap();
    assert!(trouble.contains("it is away: mend it") && !trouble.contains('\u{1b}'), "{trouble}");
    *held.0.lock().unwrap() = false;
    journal.until(|inner| inner.acknowledged == 2);
    assert!(brought(&log).iter().all(|load| load == "e-1 e-2"));
    delivery.stop(PATIENCE);
    assert_eq!(told(&delivery).trouble, None);
}

#[test]
fn one_that_is_held_up_holds_up_no_others_when_they_are_configured_anew() {
    let held = Arc::new((Mutex::new(true), Condvar::new()));
    let (stuck, well) = (Journal::with(1), Journal::with(1));
    let hold = Arc::clone(&held);
    let waits = move |load: &[Parcel<'_>]| {
        drop(hold.1.wait_while(hold.0.lock().unwrap(), |held| *held).unwrap());
        Ok(vec![Fate::Arrived; load.len()])
    };
    let named = |name: &str, does: Does| {
        let mut outlet = outlet("", 9, does);
        outlet.name = name.to_owned();
        outlet
    };
    let takes = || -> Does { Box::new(|load: &[Parcel<'_>]| Ok(vec![Fate::Arrived; load.len()])) };
    let placed = |outlet, journal: &Journal| -> Placed { (outlet, Box::new(journal.clone())) };
    let first = vec![placed(named("stuck", Box::new(waits)), &stuck), placed(named("well", takes()), &well)];
    let mut delivery = Delivery::begin(&host(), first).unwrap();
    well.until(|inner| inner.acknowledged == 1);
    stuck.until(|inner| inner.read == 1);
    delivery
        .replace(vec![placed(named("stuck", takes()), &stuck), placed(named("well", takes()), &well)])
        .unwrap();
    let began = std::time::Instant::now();
    let mut rows = Vec::new();
    well.add(2, "exec", "{}");
    while rows.is_empty() {
        let _: Vec<Tidings> = delivery.tend().unwrap();
        rows = delivery.tidings().1.unwrap_or_default();
        assert!(began.elapsed() < Duration::from_secs(20), "it is told");
        std::thread::sleep(Duration::from_millis(10));
    }
    well.until(|inner| inner.acknowledged == 2);
    assert!(rows.len() == 1 && rows[0].gap.reason.starts_with("stuck: "), "{rows:?}");
    assert_eq!(stuck.acknowledged(), 0);
    *held.0.lock().unwrap() = false;
    held.1.notify_all();
    stuck.until(|inner| inner.acknowledged == 1);
    while !rows.is_empty() {
        let _: Vec<Tidings> = delivery.tend().unwrap();
        rows = delivery.tidings().1.unwrap_or(rows);
    }
    stuck.add(2, "exec", "{}");
    stuck.until(|inner| inner.acknowledged == 2);
    assert_eq!(delivery.stop(PATIENCE), Vec::<&str>::new());
}

#[test]
fn what_is_not_wanted_is_passed_over() {
    let journal = Journal::with(2);
    journal.add(3, "exit", "{}");
    journal.add(4, "exec", "{}");
    let (delivery, log) = begin(&journal, "actions = [\"exit\"]", 2, vec![]);
    journal.until(|inner| inner.acknowledged == 4);
    assert_eq!(brought(&log), ["e-3"]);
    delivery.stop(PATIENCE);
}

#[test]
fn other_formats_are_written_from_the_line() {
    let journal = Journal::default();
    journal.add(
        1,
        "exec",
        r#"{"@timestamp":"2026-01-02T03:04:05.678Z","event":{"action":"exec","id":"e-1"}}"#,
    );
    journal.add(2, "exec", "no event");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lines);
    let does = move |load: &[Parcel<'_>]| {
        heard
            .lock()
            .unwrap()
            .extend(load.iter().map(|parcel| String::from_utf8_lossy(parcel.bytes).into_owned()));
        Ok(vec![Fate::Arrived; load.len()])
    };
    let cursor: Box<dyn Cursor> = Box::new(journal.clone());
    let outlet = outlet("format = \"text\"", 9, Box::new(does));
    let delivery = Delivery::begin(&host(), vec![(outlet, cursor)]).unwrap();
    journal.until(|inner| inner.acknowledged == 2);
    delivery.stop(PATIENCE);
    assert_eq!(lines.lock().unwrap().len(), 1);
    assert!(lines.lock().unwrap()[0].starts_with("03:04:05.678 exec"), "{lines:?}");
    let dead = journal.inner(|inner| inner.dead.clone());
    assert_eq!(dead, [("e-2".to_owned(), "the line is no object of JSON".to_owned())]);
}

#[test]
fn what_the_journal_lost_the_line_of_is_refused_and_others_go() {
    let journal = Journal::with(1);
    journal.add(2, "exit", "");
    journal.add(3, "exec", "{}");
    let (delivery, log) = begin(&journal, "", 9, vec![]);
    journal.until(|inner| inner.acknowledged == 3);
    delivery.stop(PATIENCE);
    assert_eq!(brought(&log), ["e-1 e-3"]);
    let dead = journal.inner(|inner| inner.dead.clone());
    assert_eq!(dead, [("e-2".to_owned(), "what the journal holds of it is damaged".to_owned())]);
    assert_eq!(told(&delivery).refused, ByAction::from([("exit", 1)]));
}

#[test]
fn one_that_hangs_holds_up_no_other_and_no_stop() {
    let (stuck, going) = (Journal::with(1), Journal::with(100));
    let (release, held) = mpsc::channel::<()>();
    let hangs = move |load: &[Parcel<'_>]| {
        let _ = held.recv();
        Ok(vec![Fate::Arrived; load.len()])
    };
    let goes = |load: &[Parcel<'_>]| Ok(vec![Fate::Arrived; load.len()]);
    let outlets: Vec<(_, Box<dyn Cursor>)> = vec![
        (outlet("", 9, Box::new(hangs)), Box::new(stuck.clone())),
        (outlet("", 9, Box::new(goes)), Box::new(going.clone())),
    ];
    let delivery = Delivery::begin(&host(), outlets).unwrap();
    going.until(|inner| inner.acknowledged == 100);
    assert_eq!(delivery.stop(Duration::from_millis(600)), ["a"], "one of the two");
    assert_eq!(stuck.acknowledged(), 0, "it stays for the next run");
    drop(release);
}

#[test]
fn a_stop_tries_what_waits_and_leaves_what_does_not_go() {
    let journal = Journal::with(3);
    let (delivery, log) = begin(&journal, "", 9, vec![Err(away("x")), Err(away("x"))]);
    assert_eq!(delivery.stop(PATIENCE), Vec::<&str>::new());
    assert_eq!((journal.acknowledged(), log.lock().unwrap().len()), (3, 3));
    let journal = Journal::with(3);
    let (delivery, _) = begin(&journal, "", 9, (0..1000).map(|_| Err(away("x"))).collect());
    assert_eq!(delivery.stop(Duration::from_millis(200)), ["a"]);
    assert_eq!(journal.acknowledged(), 0);
}

#[test]
fn whatever_the_far_side_does_each_event_is_there_once_and_in_order_of_first_tries() {
    for seed in 1..6_u64 {
        let journal = Journal::with(400);
        let (mut state, arrived) = (seed, Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&arrived);
        let does = move |load: &[Parcel<'_>]| {
            let mut random = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            if random(20) == 0 {
                return Err(away("x"));
            }
            // It says nothing of some at the end.
            let said = load.len() - random(load.len() as u64 / 8 + 1) as usize;
            let fates = load.iter().take(said).map(|parcel| match random(60) {
                0 => Fate::Again,
                1 => Fate::Refused("no".to_owned()),
                _ => {
                    heard.lock().unwrap().push(parcel.id.to_owned());
                    Fate::Arrived
                }
            });
            Ok(fates.collect())
        };
        let cursor: Box<dyn Cursor> = Box::new(journal.clone());
        let delivery = Delivery::begin(&host(), vec![(outlet("", 32, Box::new(does)), cursor)]).unwrap();
        journal.until(|inner| inner.acknowledged == 400);
        delivery.stop(PATIENCE);
        let dead = journal.inner(|inner| inner.dead.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>());
        let mut all = [arrived.lock().unwrap().clone(), dead].concat();
        assert_eq!(all.len(), 400, "once each");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 400);
    }
}

#[test]
fn a_long_pause_ends_with_a_stop_and_when_all_is_to_be_opened_anew() {
    let wake: [fn(&Delivery); 2] = [|_| {}, Delivery::reopen];
    for wake in wake {
        let journal = Journal::with(3);
        let long = FarError { not_before: Some(Duration::from_secs(600)), ..away("come later") };
        let (delivery, _) = begin(&journal, "", 9, vec![Err(long)]);
        while told(&delivery).trouble.is_none() {
            std::thread::yield_now();
        }
        wake(&delivery);
        assert_eq!(delivery.stop(PATIENCE), Vec::<&str>::new());
        assert_eq!(journal.acknowledged(), 3);
    }
}
