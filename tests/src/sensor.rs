//! The real sensor: started, read, stopped.

use crate::find::Source;
use crate::lock::{self, Lock};
use crate::program::{self, Running, actor};
use crate::{DEADLINE, Event, Folder, patience};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The binary under test: `SENSOR_BIN`, else what `cargo xtask build` leaves in the workspace.
#[must_use]
pub fn binary() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/sensor");
    let path = std::env::var_os("SENSOR_BIN").map_or_else(usual, PathBuf::from);
    path.canonicalize()
        .unwrap_or_else(|why| panic!("{}: {why}: run `cargo xtask build` first", path.display()))
}

/// A command that runs the sensor; it dies with the thread that starts it.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new(binary());
    command.stdin(Stdio::null());
    // SAFETY: the closure makes one system call, nothing between fork and exec needs more than that.
    unsafe {
        command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
    }
    command
}

/// `--hooks` for a sensor, where `SENSOR_TEST_HOOKS` says which are to be tried (`base`, `best`).
#[must_use]
pub fn hooks() -> Vec<OsString> {
    let wanted = std::env::var_os("SENSOR_TEST_HOOKS").filter(|wanted| !wanted.is_empty());
    wanted.map(|wanted| vec![OsString::from("--hooks"), wanted]).unwrap_or_default()
}

/// The events of a run, shared with the thread that reads them.
#[derive(Debug, Default)]
pub struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    lines: Vec<String>,
    counts: BTreeMap<String, u64>,
    faults: Vec<String>,
    stderr: Vec<String>,
    ended: bool,
}

impl Seen {
    /// All events until now.
    #[must_use]
    pub fn so_far(&self) -> Vec<Event> {
        self.state.lock().unwrap().events.clone()
    }

    /// How many lines of each action came.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.state.lock().unwrap().counts.clone()
    }

    /// The lines on standard error until now.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.state.lock().unwrap().stderr.clone()
    }

    /// The first event for which this holds; nothing when the deadline passed or the sensor ended.
    pub(crate) fn wait(&self, deadline: Instant, fits: impl Fn(&Event) -> bool) -> Option<Event> {
        let mut next = 0;
        self.until(deadline, |state| {
            let found = state.events[next..].iter().find(|event| fits(event)).cloned();
            next = state.events.len();
            found
        })
    }

    fn until<T>(&self, deadline: Instant, mut look: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn change(&self, what: impl FnOnce(&mut State)) {
        what(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }
}

/// Whether a line is worth keeping as an event; all are counted.
type Keep = fn(&[u8]) -> bool;

/// How to start a sensor.
#[derive(Debug)]
pub struct Start {
    args: Vec<OsString>,
    config: Option<String>,
    keep: Keep,
}

impl Start {
    /// More arguments after `run`.
    #[must_use]
    pub fn args(mut self, args: Vec<OsString>) -> Self {
        self.args.extend(args);
        self
    }

    /// With this configuration file.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// Keeps only some lines as events: a flood would fill the test's memory.
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Whether the test itself says which hooks it is about.
    fn chooses_hooks(&self) -> bool {
        let config = self.args.iter().position(|arg| arg == "--config").and_then(|at| self.args.get(at + 1));
        let text = config.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let says = |text: &String| text.contains("kernel.names");
        self.args.iter().any(|arg| arg == "--hooks") || self.config.iter().chain(&text).any(says)
    }

    /// Starts it and waits until it is live.
    #[must_use]
    pub fn live(self) -> Sensor {
        let sensor = self.now();
        let ready = sensor.seen.until(Instant::now() + patience(2 * DEADLINE), |state| {
            let said = state.stderr.iter().any(|line| line == "sensor: ready");
            (said && state.counts.contains_key("coverage")).then_some(())
        });
        let state = sensor.seen.state.lock().unwrap();
        assert!(
            ready.is_some(),
            "the sensor isn't ready: events {:?}, standard error {:#?}",
            state.counts,
            state.stderr
        );
        drop(state);
        sensor
    }

    /// Starts it without waiting.
    #[must_use]
    pub fn now(self) -> Sensor {
        let mut command = command();
        // Only where it is needed: a shared sensor is never dropped, its folder would stay.
        let folder = self.config.as_ref().map(|_| Folder::new());
        command.arg("run").args(&self.args);
        if !self.chooses_hooks() {
            command.args(hooks());
        }
        if let (Some(text), Some(folder)) = (&self.config, &folder) {
            let file = folder.at("sensor.toml");
            std::fs::write(&file, text).unwrap();
            command.arg("--config").arg(&file);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let seen = Arc::new(Seen::default());
        let (for_reader, keep) = (Arc::clone(&seen), self.keep);
        let (sender, receiver) = channel();
        let (let_go, hold) = channel::<()>();
        // This thread outlives the sensor, which dies with the thread that started it.
        let reader = std::thread::spawn(move || {
            let mut child = command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"));
            let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
            sender.send(child).unwrap();
            let for_errors = Arc::clone(&for_reader);
            let errors = std::thread::spawn(move || read_errors(err, &for_errors));
            read_events(out, &for_reader, keep);
            let _ = errors.join();
            for_reader.change(|state| state.ended = true);
            let _ = hold.recv();
        });
        let child = receiver.recv().expect("the sensor starts");
        Sensor { child, seen, reader: Some(reader), _let_go: let_go, _folder: folder }
    }
}

fn read_errors(err: impl Read, seen: &Seen) {
    for line in BufReader::new(err).split(b'\n') {
        let Ok(line) = line else { break };
        let text = String::from_utf8_lossy(&line).into_owned();
        seen.change(|state| {
            if line.iter().any(|byte| *byte < 0x20 && *byte != b'\t') {
                state.faults.push(format!("a raw control byte on standard error: {}", line.escape_ascii()));
            }
            state.stderr.push(text);
        });
    }
}

/// Reads the stream and checks what holds for all of it: whole lines, an unbroken sequence, unique ids.
fn read_events(out: impl Read, seen: &Seen, keep: Keep) {
    let (mut out, mut line) = (BufReader::with_capacity(1 << 20, out), Vec::new());
    let (mut before, mut ids) = (None::<u64>, HashSet::new());
    loop {
        line.clear();
        if !matches!(out.read_until(b'\n', &mut line), Ok(1..)) {
            break;
        }
        let torn = line.pop() != Some(b'\n');
        if !torn && !keep(&line) {
            let action = action_of(&line);
            seen.change(|state| *state.counts.entry(action).or_default() += 1);
            before = None;
            continue;
        }
        let event =
            if torn { Err(format!("a torn line: {}", line.escape_ascii())) } else { Event::parse(&line) };
        seen.change(|state| match event {
            Err(fault) => state.faults.push(fault),
            Ok(event) => {
                let sequence = event.get("event.sequence").and_then(serde_json::Value::as_u64);
                if let (Some(before), Some(sequence)) = (before, sequence)
                    && sequence != before + 1
                {
                    state.faults.push(format!("event.sequence {sequence} follows {before}"));
                }
                before = sequence;
                if !ids.insert(event.text("event.id")) {
                    state.faults.push(format!("event.id {:?} came twice", event.text("event.id")));
                }
                *state.counts.entry(event.action().to_owned()).or_default() += 1;
                state.lines.push(String::from_utf8_lossy(&line).into_owned());
                state.events.push(event);
            }
        });
    }
}

/// The action of a line that nobody parses.
fn action_of(line: &[u8]) -> String {
    const NAME: &[u8] = b"\"action\":\"";
    let start = line.windows(NAME.len()).position(|window| window == NAME);
    let rest = start.map_or(&b"?"[..], |at| &line[at + NAME.len()..]);
    let name = rest.split(|byte| *byte == b'"').next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// A sensor that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct Sensor {
    child: Child,
    seen: Arc<Seen>,
    reader: Option<JoinHandle<()>>,
    _let_go: std::sync::mpsc::Sender<()>,
    _folder: Option<Folder>,
}

impl Source for Sensor {
    fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl Sensor {
    /// How to start one.
    #[must_use]
    pub fn with() -> Start {
        Start { args: Vec::new(), config: None, keep: |_| true }
    }

    /// Starts one with these arguments after `run`, and waits until it is live.
    #[must_use]
    pub fn start(args: Vec<OsString>) -> Self {
        Self::with().args(args).live()
    }

    /// One for all tests of a test program, started by the first that asks.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<(Lock, Sensor)> = OnceLock::new();
        &SHARED.get_or_init(|| (lock::together(), Self::start(Vec::new()))).1
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).expect("signal the sensor");
    }

    /// Waits until all that happened before this call has come out: runs a program and waits for its exit event. Whatever the
    /// kernel saw earlier stands before it in the stream.
    pub fn fence(&self) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("fence-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut running = Running::of(actor(), crate::words!["ignore", mark, "wait"]);
        let pid = running.pid();
        self.find("exec").pid(pid).arg(&mark).wait();
        running.end();
        self.find("exit").pid(pid).wait();
    }

    /// An alert: of a program of this name that runs and removes its own file.
    pub fn alert(&self, folder: &Folder, name: &str) -> Event {
        let victim = program::actor_at(folder.at(name));
        let mut running = Running::of(&victim, crate::words!["unlink", &victim, "say", "done", "wait"]);
        running.until("done");
        let alert = self.find("exe_deleted").file(&victim).wait();
        running.end();
        alert
    }

    /// Watches for some time, and returns the first event that should not come, if it does.
    #[must_use]
    pub fn watch(&self, time: Duration, unwanted: impl Fn(&Event) -> bool) -> Option<Event> {
        self.seen.wait(Instant::now() + time, unwanted)
    }

    /// Waits for the events of a kind to be that many or more, as long as for one (`Find::wait`); tells how many came.
    pub fn count(&self, action: &str, at_least: u64, deadline: Duration) -> u64 {
        let enough = |state: &State| {
            let count = state.counts.get(action).copied().unwrap_or_default();
            (count >= at_least).then_some(count)
        };
        self.seen.until(Instant::now() + patience(4 * deadline), enough);
        self.seen.counts().get(action).copied().unwrap_or_default()
    }

    /// The lines, as they came, that hold this text.
    #[must_use]
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let state = self.seen.state.lock().unwrap();
        state.lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// As [`Self::fence`], when a filter keeps exits from becoming events: waits until that many were counted, or told lost.
    pub fn settled(&self, exits: u64) {
        let enough = |state: &State| {
            let lost = state.events.iter().filter(|event| event.action() == "loss");
            let rows = lost.flat_map(|event| event.list("sensor.lost").to_vec());
            let lost: u64 =
                rows.filter(|row| row["action"] == "exit").filter_map(|row| row["count"].as_u64()).sum();
            (state.counts.get("exit").copied().unwrap_or_default() + lost >= exits).then_some(())
        };
        let settled = self.seen.until(Instant::now() + patience(4 * DEADLINE), enough);
        assert!(settled.is_some(), "{exits} processes ended, yet: {:?}", self.seen.counts());
    }

    /// Resident memory, in KiB.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the sensor's status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
    }

    /// Asks it to stop, and waits for its end.
    pub fn stop(self) -> End {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Waits for its end, whatever brings it.
    pub fn ended(mut self) -> End {
        let status = program::wait(&mut self.child, 2 * DEADLINE);
        let status = status.unwrap_or_else(|| panic!("the sensor doesn't end: {:#?}", self.seen.stderr()));
        assert!(
            self.seen.until(Instant::now() + patience(DEADLINE), |state| state.ended.then_some(())).is_some(),
            "somebody holds the sensor's output open"
        );
        let state = self.seen.state.lock().unwrap();
        let (stderr, faults) = (state.stderr.clone(), state.faults.clone());
        drop(state);
        End { seen: Arc::clone(&self.seen), status, stderr, faults }
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its thread waits for `_let_go`, which is dropped after this.
        drop(self.reader.take());
    }
}

/// What a sensor left behind.
#[derive(Debug)]
pub struct End {
    pub(crate) seen: Arc<Seen>,
    /// Its exit status.
    pub status: ExitStatus,
    /// What it said on standard error.
    pub stderr: Vec<String>,
    faults: Vec<String>,
}

/// A line of the final account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// What the kernel programs saw.
    pub seen: u64,
    /// What was written.
    pub delivered: u64,
    /// What was not.
    pub lost: u64,
}

impl End {
    /// All events.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.seen.so_far()
    }

    /// All lines, as they came.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.seen.state.lock().unwrap().lines.clone()
    }

    /// How many lines of each action came.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.seen.counts()
    }

    /// Checks a clean end: status 0, the stream in order, every event whole.
    pub fn clean(&self) {
        assert!(self.status.success(), "{}: {:#?}", self.status, self.stderr);
        assert!(self.faults.is_empty(), "{:#?}", self.faults);
        for event in self.events() {
            event.whole();
        }
    }

    /// The final account on standard error, `sensor: ACTION: seen S, delivered D, lost L`, by action.
    #[must_use]
    pub fn account(&self) -> BTreeMap<String, Account> {
        account_of(self.stderr.iter().map(String::as_str))
    }
}

/// The final account in lines of standard error.
#[must_use]
pub fn account_of<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, Account> {
    lines.filter_map(account).collect()
}

fn account(line: &str) -> Option<(String, Account)> {
    let (action, numbers) = line.strip_prefix("sensor: ")?.split_once(": seen ")?;
    let (seen, rest) = numbers.split_once(", delivered ")?;
    let (delivered, lost) = rest.split_once(", lost ")?;
    let number = |text: &str| text.trim().parse().ok();
    Some((
        action.to_owned(),
        Account { seen: number(seen)?, delivered: number(delivered)?, lost: number(lost)? },
    ))
}

#[cfg(test)]
mod tests {
    use super::{Account, account, action_of};

    #[test]
    fn accounts_are_read() {
        let read = account("sensor: exec: seen 12, delivered 10, lost 2");
        assert_eq!(read, Some(("exec".to_owned(), Account { seen: 12, delivered: 10, lost: 2 })));
        assert_eq!(account("sensor: ready"), None);
    }

    #[test]
    fn actions_are_read_without_parsing() {
        assert_eq!(action_of(br#"{"event":{"action":"fork"}}"#), "fork");
        assert_eq!(action_of(b"{}"), "?");
    }
}
