//! One intruder, and every verb that should find it: by ssh without a terminal, logged in as one user and root by now, it
//! removes its own file and listens for everybody.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use tests::answer::Answer;
use tests::find::Source;
use tests::program::{copy, net, sha256};
use tests::skip::skip;
use tests::sshd::{Group, Sshd};
use tests::{DEADLINE, Event, Folder, Sensor, lock, patience};

/// `nobody`: who logged in.
const LOGIN: &str = "65534";

/// It, with all that is needed to look for it.
struct Scene {
    folder: Folder,
    sensor: Sensor,
    config: PathBuf,
    file: PathBuf,
    hash: String,
    pid: u32,
    port: u64,
    session: Group,
    _sshd: Sshd,
}

impl Scene {
    fn new() -> Option<Self> {
        let sshd = Sshd::start()?;
        let folder = Folder::new();
        let text = format!("[evidence]\nfolder = {:?}\n", folder.at("evidence"));
        let (config, bad) = (folder.at("sensor.toml"), folder.at("bad"));
        fs::write(
            &config,
            format!("{text}[lookup]\nfolder = {:?}\nknown_bad = [{bad:?}]\n", folder.at("kept")),
        )
        .unwrap();
        let sensor = Sensor::with().config(&text).live();
        let file = folder.at("agent");
        copy(&net(), &file);
        // Another file than the tests' own, so that its hash is its own.
        fs::OpenOptions::new()
            .append(true)
            .open(&file)
            .unwrap()
            .write_all(folder.path().as_os_str().as_encoded_bytes())
            .unwrap();
        let hash = sha256(&file);
        fs::write(&bad, format!("{hash}  agent\n")).unwrap();
        let name = file.display();
        let session = sshd.login(&[
            "-T",
            "root@127.0.0.1",
            &format!(
                "echo {LOGIN} > /proc/self/loginuid; exec {name} unlink {name} tcp a 4 bind a 0.0.0.0 0 listen a wait"
            ),
        ]);
        let alert = sensor.find("exe_deleted").file(&file).wait();
        let pid = u32::try_from(alert.num("process.pid")).unwrap();
        let listen = sensor.find("socket_listen").pid(pid).wait();
        let port = listen.num("server.port");
        assert_eq!(alert.num("event.severity"), 73);
        assert_eq!((alert.str("sensor.login.uid"), alert.str("user.id")), (LOGIN, "0"));
        assert_eq!(alert.str("sensor.evidence.sha256"), hash);
        Some(Self { folder, sensor, config, file, hash, pid, port, session, _sshd: sshd })
    }

    /// What a verb answers, with this configuration where it takes one.
    fn ask(&self, words: &[&str]) -> Answer {
        Answer::to(&[words, &["--format", "json"]].concat())
    }

    fn configured(&self, words: &[&str]) -> Answer {
        self.ask(&[words, &["--config", self.config.to_str().unwrap()]].concat())
    }

    fn is_it(&self, row: &Event) -> bool {
        row.has("process.pid") && row.num("process.pid") == u64::from(self.pid)
    }
}

fn finds(row: &Event, what: &str) {
    let findings = row.texts("sensor.findings");
    assert!(findings.iter().any(|finding| finding.contains(what)), "nothing of {what}: {row:#}");
}

#[test]
fn every_verb_finds_it() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let Some(scene) = Scene::new() else { return };
    let pid = scene.pid.to_string();

    let answer = scene.ask(&["ps", "--deleted"]);
    let row = answer.rows.iter().find(|row| scene.is_it(row)).unwrap();
    assert_eq!(row.str("sensor.exe.verdict"), "deleted");
    finds(row, "deleted");

    let answer = scene.ask(&["who"]);
    let row = answer.rows.iter().find(|row| scene.is_it(row)).unwrap();
    finds(row, "deleted");
    assert_eq!(row.str("sensor.session.kind"), "ssh");
    assert!(!row.has("sensor.tty") && row.str("source.ip") == "127.0.0.1", "{row:#}");

    let answer = scene.ask(&["files", "--user", LOGIN]);
    let listens =
        |row: &&Event| scene.is_it(row) && row.has("server.port") && row.num("server.port") == scene.port;
    let row = answer.rows.iter().find(listens).unwrap();
    assert_eq!(row.texts("sensor.matches"), ["login"]);

    let answer = scene.ask(&["ports", "--exposed"]);
    let row = answer
        .rows
        .iter()
        .find(|row| row.has("server.port") && row.num("server.port") == scene.port)
        .unwrap();
    finds(row, "deleted");

    let answer = scene.configured(&["inspect", &pid]);
    let row = answer.rows.iter().find(|row| scene.is_it(row)).unwrap();
    finds(row, "deleted");
    assert_eq!(row.str("process.hash.sha256"), scene.hash);
    assert!(row.has("sensor.evidence.sha256"), "{row:#}");

    let answer = scene.ask(&["history", "--user", LOGIN]);
    let row = answer.rows.iter().find(|row| scene.is_it(row)).unwrap();
    finds(row, "deleted");
}

#[test]
fn its_file_is_known_and_comes_back() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let Some(mut scene) = Scene::new() else { return };
    let pid = scene.pid.to_string();
    assert!(!scene.file.exists());
    let answer = scene.ask(&["hash", &pid]);
    assert!(
        answer
            .rows
            .iter()
            .any(|row| row.has("file.hash.sha256") && row.str("file.hash.sha256") == scene.hash),
        "{:#?}",
        answer.rows
    );
    let answer = scene.configured(&["lookup", &pid]);
    assert_eq!(answer.status, Some(1), "known to be bad: {}", answer.said);

    let back = |scene: &Scene, what: &str| {
        let to = scene.folder.at("back");
        let answer = scene.configured(&["recover", what, "--force", "--to", to.to_str().unwrap()]);
        assert_eq!(answer.status, Some(0), "{what}: {}", answer.said);
        assert_eq!(sha256(&to), scene.hash);
    };
    back(&scene, &pid);
    scene.session.end();
    let end = Instant::now() + patience(DEADLINE);
    while fs::exists(format!("/proc/{pid}/exe")).unwrap() {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(scene.pid.cast_signed()),
            nix::sys::signal::Signal::SIGKILL,
        );
        assert!(Instant::now() < end, "it doesn't end");
    }
    scene.sensor.find("exit").pid(scene.pid).wait();
    back(&scene, &scene.hash.clone());
    back(&scene, &pid);
}
