//! Every event in the Open Cybersecurity Schema Framework, as its published schema wants it.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::answer::run;
use tests::lock::alone;
use tests::netns;
use tests::program::{actor, actor_at, nest, storm, tiny};
use tests::sensor::command;
use tests::skip::{not_here, skip};
use tests::{DEADLINE, Folder, Running, patience, until, words};

/// A sensor that writes OCSF into a file.
struct Stream {
    child: Child,
    lines: std::path::PathBuf,
}

impl Stream {
    fn start(folder: &Folder) -> Self {
        let (lines, config) = (folder.at("lines"), folder.at("sensor.toml"));
        let [evidence, journal, state] = ["evidence", "journal", "state"].map(|name| folder.at(name));
        // Nobody finds it who does something to the host meanwhile, and would have it tell that.
        let text = format!(
            "[kernel]\nbulk_ring_bytes = 65536\n[usage]\ninterval_s = 1\n[evidence]\nfolder = {evidence:?}\n\
             [journal]\nfolder = {journal:?}\n[state]\nfolder = {state:?}\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = command();
        command.args(["run", "--format", "ocsf", "--config"]).arg(&config);
        let child = ready(command.stdout(File::create(&lines).unwrap()));
        Self { child, lines }
    }

    /// The same events from its journal, which keeps them in the names of ECS, as an output of the next run has them.
    fn read_back(&self, folder: &Folder) -> Vec<u8> {
        let (config, path, journal) = (folder.at("again.toml"), folder.at("again"), folder.at("journal"));
        let text = format!(
            "[evidence]\nfolder = \"\"\n[journal]\nfolder = {journal:?}\n[[outputs]]\nname = \"again\"\ntype = \"file\"\n\
             format = \"ocsf\"\npath = {path:?}\nmax_bytes = 0\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut next = ready(command().args(["run", "--config"]).arg(&config).stdout(Stdio::null()));
        let told = std::fs::metadata(&self.lines).unwrap().len();
        until("all is given back", || std::fs::metadata(&path).is_ok_and(|facts| facts.len() >= told));
        kill(Pid::from_raw(i32::try_from(next.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert!(next.wait().unwrap().success());
        let mut again = std::fs::read(&path).unwrap();
        again.truncate(usize::try_from(told).unwrap());
        again
    }

    fn actions(&self) -> BTreeSet<String> {
        let text = std::fs::read(&self.lines).unwrap();
        let whole = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        whole.map(|line| action(&serde_json::from_slice(line).unwrap())).collect()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

/// Starts a sensor and waits until it is ready.
fn ready(command: &mut Command) -> Child {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "sensor: ready"), "the sensor isn't ready");
    // It goes on to say how much it saw, to somebody who reads.
    std::thread::spawn(move || said.for_each(drop));
    child
}

fn action(line: &Value) -> String {
    line["metadata"]["event_code"].as_str().unwrap_or_default().to_owned()
}

/// Something of each kind, with names that are no text.
fn make_all(folder: &Folder, stream: &Stream) {
    let odd = std::ffi::OsString::from_vec(b"odd\xff\x1b".to_vec());
    let victim = actor_at(folder.at(&odd));
    Running::of(&victim, words!["unlink", &victim]).end();
    let memfd = format!("memfd hidden {}", actor().display());
    Running::of(actor(), nest(&memfd, words!["image", "ignore", &odd])).end();
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (client, server) = (TcpStream::connect(("127.0.0.1", port)).unwrap(), listener.accept().unwrap());
    drop((client, server, UdpSocket::bind("0.0.0.0:0").unwrap(), listener));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    // More than a small ring holds, while nobody reads.
    stream.signal(Signal::SIGSTOP);
    Running::of(storm(), words!["exec", "1500", tiny()]).end();
    stream.signal(Signal::SIGCONT);
}

#[test]
fn every_event_is_as_the_schema_wants_it() {
    if skip() {
        return;
    }
    let Some(packages) = std::env::var_os("SENSOR_OCSF") else {
        let _ = not_here("SENSOR_OCSF doesn't name the folder of the checker (cargo xtask test brings it)");
        return;
    };
    let (_alone, folder) = (alone(), Folder::new());
    let mut stream = Stream::start(&folder);
    make_all(&folder, &stream);
    let all: BTreeSet<String> = ["process_snapshot", "fork", "exec", "exit", "exe_deleted", "exe_memfd"]
        .into_iter()
        .chain(["socket_bind", "socket_listen", "socket_connect", "socket_accept", "socket_close"])
        .chain(["loss", "coverage", "usage"])
        .map(str::to_owned)
        .collect();
    let deadline = Instant::now() + patience(DEADLINE);
    while !stream.actions().is_superset(&all) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    stream.signal(Signal::SIGTERM);
    assert!(stream.child.wait().unwrap().success());
    assert_eq!(stream.actions(), all, "an action is missing, or the test doesn't know it");
    check(&packages, File::open(&stream.lines).unwrap());
    // What was checked is what the journal gives back, letter by letter.
    let (told, again) = (std::fs::read(&stream.lines).unwrap(), stream.read_back(&folder));
    let mut both = told.split(|byte| *byte == b'\n').zip(again.split(|byte| *byte == b'\n'));
    if let Some((told, again)) = both.find(|(told, again)| told != again) {
        panic!("{}\n{}", String::from_utf8_lossy(told), String::from_utf8_lossy(again));
    }
    assert_eq!(told.len(), again.len());
}

#[test]
fn every_row_is_as_the_schema_wants_it() {
    if skip() {
        return;
    }
    let Some(packages) = std::env::var_os("SENSOR_OCSF") else {
        let _ = not_here("SENSOR_OCSF doesn't name the folder of the checker (cargo xtask test brings it)");
        return;
    };
    let (folder, listener) = (Folder::new(), TcpListener::bind("[::]:0").unwrap());
    let pid = std::process::id().to_string();
    let verbs: [&[&str]; 8] = [
        &["ps"],
        &["who"],
        &["files", "--pid", &pid],
        &["ports"],
        &["inspect", &pid],
        &["hash", &pid],
        &["history"],
        &["top", "--once", "--interval", "0.2"],
    ];
    let rows = folder.at("rows");
    for verb in verbs {
        let output = run(command().args(verb).args(["--format", "ocsf"]));
        assert!(matches!(output.status.code(), Some(0 | 4)), "{verb:?}: {output:?}");
        std::fs::write(&rows, &output.stdout).unwrap();
        check(&packages, File::open(&rows).unwrap());
    }
    drop(listener);
}

#[test]
fn every_deed_is_as_the_schema_wants_it() {
    if skip() {
        return;
    }
    let Some(packages) = std::env::var_os("SENSOR_OCSF") else {
        let _ = not_here("SENSOR_OCSF doesn't name the folder of the checker (cargo xtask test brings it)");
        return;
    };
    let folder = Folder::new();
    // Of a file of its own: others that run the same would look as if it came again.
    let (told, victim) = (folder.at("told"), Running::idle(actor_at(folder.at("victim"))));
    let pid = victim.pid().to_string();
    let deed = |words: &str, class: u64| {
        let output = run(command().args(words.split_whitespace()).args(["--yes", "--format", "ocsf"]));
        let said = output.stderr.split_inclusive(|byte| *byte == b'\n');
        let lines: Vec<&[u8]> = said.filter(|line| line.starts_with(b"{")).collect();
        let event: Value = serde_json::from_slice(lines.first().expect("what was done is told")).unwrap();
        assert_eq!((&event["class_uid"], &event["status"]), (&class.into(), &"Success".into()), "{event}");
        std::fs::write(&told, lines.concat()).unwrap();
        check(&packages, File::open(&told).unwrap());
    };
    deed(&format!("kill --pid {pid} --freeze"), 7003);
    deed(&format!("kill --pid {pid} --verify 1"), 7003);
    if Command::new("nft").arg("--version").output().is_ok() {
        netns::world(|_| {
            deed("port close 7000/tcp", 7004);
            deed("port isolate --allow 192.0.2.2", 7004);
        });
    }
}

/// Has each line checked against the schema of its class.
fn check(packages: &OsStr, lines: File) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ocsf/validate.py");
    let checked = Command::new("/usr/bin/python3")
        .env("PYTHONPATH", packages)
        .arg(script)
        .stdin(lines)
        .output()
        .unwrap();
    let wrong = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{wrong}{}", String::from_utf8_lossy(&checked.stderr));
}
