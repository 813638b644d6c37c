//! The configuration is read again at SIGHUP, and no event is lost by it.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::program::{actor, done};
use tests::sensor::command;
use tests::skip::skip;
use tests::{DEADLINE, Folder, patience, words};

/// A run with a configuration, and what it says.
struct Run {
    child: Child,
    said: Receiver<String>,
}

impl Run {
    fn start(config: &Path) -> Self {
        let mut child =
            command().arg("run").arg("--config").arg(config).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, said) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let run = Self { child, said };
        run.says("sensor: ready");
        run
    }

    fn says(&self, wanted: &str) {
        let said = std::iter::from_fn(|| self.said.recv_timeout(patience(DEADLINE)).ok());
        assert!(said.into_iter().any(|line| line.contains(wanted)), "{wanted} wasn't said");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }
}

/// The events of a file; one that is just written isn't whole.
fn events(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn until(what: &str, is: impl Fn() -> bool) {
    let end = Instant::now() + patience(DEADLINE);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        done(&actor(), words!["pid"]);
    }
}

#[test]
fn outputs_and_patterns_change_and_nothing_is_lost() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let config = folder.at("sensor.toml");
    let (first, second) = (folder.at("first"), folder.at("second"));
    let write = |path: &Path, more: &str| {
        let text = format!(
            "{more}\n[evidence]\nfolder = \"\"\n[journal]\nfolder = {:?}\n[[outputs]]\nname = \"siem\"\ntype = \"file\"\npath = {path:?}\n",
            folder.at("journal")
        );
        fs::write(&config, text).unwrap();
    };
    write(&first, "");
    let mut run = Run::start(&config);
    done(&actor(), words!["pid", "ignore", "KD-ABC"]);
    until("the first output begins", || {
        events(&first).iter().any(|event| event.to_string().contains("KD-ABC"))
    });
    // One that can't be is not used.
    fs::write(&config, "[outpost]\n").unwrap();
    run.signal(Signal::SIGHUP);
    run.says("stays in use");
    let before = events(&first).len();
    until("the first output goes on", || events(&first).len() > before);
    write(&second, "[redact]\npatterns = [\"KD-[A-Z]+\"]\n[kernel]\nbulk_ring_bytes = 65536");
    run.signal(Signal::SIGHUP);
    run.says("what it says of kernel is used from the next start on");
    until("the second output begins", || !events(&second).is_empty());
    done(&actor(), words!["pid", "ignore", "KD-DEF"]);
    until("arguments are masked", || {
        events(&second).iter().any(|event| event.to_string().contains("\"***\""))
    });
    run.signal(Signal::SIGTERM);
    assert!(run.child.wait().unwrap().success());
    // Each once, one after the other, over both.
    let all: Vec<Value> = events(&first).into_iter().chain(events(&second)).collect();
    let numbers: Vec<u64> = all.iter().map(|event| event["event"]["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=all.len() as u64).collect::<Vec<_>>());
    assert!(!all.iter().any(|event| event.to_string().contains("KD-DEF")));
}
