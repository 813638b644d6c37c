//! `sensor inspect`: all that is known of one process, also of one that doesn't like it.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::answer::run;
use tests::place::{mount_bind, private_mounts};
use tests::program::{actor, actor_at, copy, join, mute, nest, sha256};
use tests::sensor::{binary, command};
use tests::skip::{because, skip};
use tests::{Answer, Event, Folder, Running, words};

fn inspect(pid: u32, options: &[&str]) -> Answer {
    Answer::of(command().arg("inspect").arg(pid.to_string()).args(options))
}

fn page(pid: u32) -> String {
    let output = run(command().args(["inspect", &pid.to_string(), "--format", "text"]));
    String::from_utf8(output.stdout).unwrap()
}

fn findings(row: &Event) -> Vec<&str> {
    if row.has("sensor.findings") { row.texts("sensor.findings") } else { Vec::new() }
}

fn finds(row: &Event, wanted: &str) -> bool {
    findings(row).iter().any(|finding| finding.contains(wanted))
}

#[test]
fn a_program_that_hides_is_told_as_it_is() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let path = actor_at(folder.at("agent"));
    fs::write(folder.at("open\x1b[2Jfile"), "").unwrap();
    let library = folder.at("library");
    fs::write(&library, vec![7; 9000]).unwrap();
    let library_hash = sha256(&library);
    let mut start = Command::new(&path);
    start.env_clear().env("DB_PASSWORD", "hunter2").env("PLAIN", "value").env("LD_PRELOAD", "/x.so");
    start.args(words!["ignore", "--token=hunter2", "code", library, "unlink", path, "unlink", library]);
    start.args(words!["say", "runs", "hang"]);
    // What it has open comes from its parent.
    let open = fs::File::open(folder.at("open\x1b[2Jfile")).unwrap();
    let running = Running::start(start.stderr(Stdio::from(open)));
    running.until("runs");

    let answer = inspect(running.pid(), &[]).status(0);
    let row = &answer.rows[0];
    assert_eq!(answer.rows.len(), 1);
    assert_eq!(row.num("process.pid"), u64::from(running.pid()));
    assert_eq!(row.str("process.hash.sha256"), sha256(&actor()));
    assert_eq!(row.str("sensor.exe.verdict"), "deleted");
    assert_eq!(row.texts("process.env_vars"), ["DB_PASSWORD=***", "LD_PRELOAD=/x.so", "PLAIN=value"]);
    assert_eq!(row.texts("process.args")[2], "--token=***");
    assert_eq!(row.num("event.severity"), 73);
    for wanted in [
        "was deleted while it runs",
        "LD_PRELOAD is /x.so",
        "everybody may write",
        "mapped from a file that was deleted",
    ] {
        assert!(finds(row, wanted), "{wanted}: {row:#}");
    }
    let mapping = &row.list("sensor.mappings")[0];
    assert_eq!(
        (mapping["sha256"].as_str(), mapping["state"].as_str()),
        (Some(&*library_hash), Some("deleted"))
    );
    let ancestors = row.list("sensor.ancestors");
    assert_eq!(ancestors[0]["pid"], std::process::id());
    assert_eq!(ancestors.last().unwrap()["pid"], 1, "up to the first");
    let open = row.list("sensor.open_files");
    let name = folder.at("open\x1b[2Jfile").display().to_string();
    assert!(open.iter().any(|one| one["descriptor"] == 2 && one["target"] == *name), "{row:#}");
    assert_eq!(row.str("sensor.seccomp.mode"), "disabled");
    assert!(row.texts("sensor.capabilities.bounding").contains(&"CAP_CHOWN"));
    assert!(row.has("sensor.namespace.net") && row.has("process.entity_id"));

    let open = inspect(running.pid(), &["--secrets"]).status(0);
    assert_eq!(open.rows[0].texts("process.env_vars")[0], "DB_PASSWORD=hunter2");
    assert_eq!(open.rows[0].texts("process.args")[2], "--token=hunter2");

    let text = page(running.pid());
    assert!(!text.chars().any(|c| c.is_control() && c != '\n') && !text.contains("hunter2"), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("process") && lines[1].trim_start().starts_with("! "), "{text}");
    for wanted in ["executable", "parents", "capabilities", "mapped", "open", "environment", "kept before"] {
        assert!(lines.iter().any(|line| line.starts_with(wanted)), "{wanted}: {text}");
    }
    assert!(text.contains("open\\x1b[2Jfile"), "{text}");
}

#[test]
fn what_has_no_name_and_what_is_the_kernels() {
    if skip() {
        return;
    }
    let steps = words!["image", "code-memory", "8192", "say", "runs", "hang"];
    let memfd = Running::of(actor(), nest(&format!("memfd evil {}", actor().display()), steps));
    memfd.until("runs");
    let answer = inspect(memfd.pid(), &[]).status(0);
    let row = &answer.rows[0];
    assert_eq!(
        (row.str("sensor.exe.verdict"), row.str("process.hash.sha256")),
        ("memfd", &*sha256(&actor()))
    );
    assert!(finds(row, "8192 bytes of memory can be executed"), "{row:#}");
    let kernel = inspect(2, &[]).status(0);
    assert_eq!(kernel.rows[0].str("sensor.exe.verdict"), "kernel_thread");
    assert!(findings(&kernel.rows[0]).is_empty() && !kernel.rows[0].has("process.hash.sha256"));
    assert!(page(2).contains("kthreadd"));
    let plain = Running::start(Command::new("sleep").arg("infinity").env_clear());
    let answer = inspect(plain.pid(), &[]).status(0);
    assert!(findings(&answer.rows[0]).is_empty(), "{:#}", answer.rows[0]);
}

#[test]
fn who_keeps_readers_waiting_is_told_all_the_same() {
    if skip() || !Path::new("/dev/fuse").exists() && because("there is no FUSE") {
        return;
    }
    let folder = Folder::new();
    let mut running = Running::of(mute(), words![folder.folder("place")]);
    running.until("runs");
    let start = Instant::now();
    let answer = inspect(running.pid(), &[]);
    let took = start.elapsed();
    let hash = Answer::to(&["hash", &running.pid().to_string()]);
    // Before anything is checked: it can only be killed once its server has ended.
    running.end();
    let row = &answer.status(4).rows[0];
    assert!(finds(row, "kept waiting") && row.num("event.severity") == 73, "{row:#}");
    assert_eq!(row.str("process.hash.sha256"), sha256(&mute()));
    assert!(!row.has("process.env_vars"), "{row:#}");
    assert_eq!(hash.rows[0].str("file.hash.sha256"), sha256(&mute()));
    assert!(took < tests::patience(Duration::from_secs(15)), "{took:?}");
}

#[test]
fn connections_have_their_traffic() {
    if skip() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    near.write_all(&[1; 5000]).unwrap();
    far.read_exact(&mut [0; 5000]).unwrap();
    far.write_all(&[2; 70]).unwrap();
    near.read_exact(&mut [0; 70]).unwrap();
    let answer = inspect(std::process::id(), &[]);
    let open = answer.rows[0].list("sensor.open_files");
    let ends = |from: &TcpStream| {
        format!("tcp {} -> {} connected", from.local_addr().unwrap(), from.peer_addr().unwrap())
    };
    let find = |target: &str| open.iter().find(|one| one["target"] == *target).unwrap();
    assert_eq!((&find(&ends(&near))["rx_bytes"], &find(&ends(&far))["rx_bytes"]), (&70.into(), &5000.into()));
    // The kernel counts the end of the handshake as a byte.
    let sent = find(&ends(&near))["tx_bytes"].as_u64().unwrap();
    assert!((5000..=5001).contains(&sent), "{sent}");
    find(&format!("tcp {} listening", listener.local_addr().unwrap()));
    let text = page(std::process::id());
    assert!(text.contains(&format!("{}, 70 received, ", ends(&near))), "{text}");

    let shell = Command::new("/bin/sh").stdin(OwnedFd::from(near)).stdout(Stdio::null()).spawn();
    let mut shell = shell.unwrap();
    let answer = inspect(shell.id(), &[]).status(0);
    let row = &answer.rows[0];
    assert!(finds(row, "reads what it does from a connection to 127.0.0.1"), "{row:#}");
    assert_eq!(row.num("event.severity"), 99);
    drop(far);
    shell.kill().unwrap();
    shell.wait().unwrap();
    // It has ended: nothing of it is made up.
    let answer = inspect(shell.id(), &[]).status(1);
    assert!(answer.rows.is_empty() && answer.said.contains("there is no process"), "{}", answer.said);
}

#[test]
fn packages_lists_and_evidence_are_asked() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let kept = folder.folder("evidence");
    let hash = sha256(&actor());
    fs::write(folder.at("bad"), &hash).unwrap();
    let bad = folder.at("bad");
    let config = format!("[lookup]\nknown_bad = [{bad:?}]\n[evidence]\nfolder = {kept:?}\n");
    fs::write(folder.at("config"), config).unwrap();
    let config = folder.at("config");
    let options = ["--config", config.to_str().unwrap()];
    let running = Running::idle(actor());
    let answer = inspect(running.pid(), &options).status(0);
    assert!(finds(&answer.rows[0], "is on the list of bad files"), "{:#}", answer.rows[0]);
    assert_eq!(answer.rows[0].num("event.severity"), 99);
    assert!(!answer.rows[0].has("sensor.evidence.path"));
    copy(&actor(), &kept.join(&hash));
    let answer = inspect(running.pid(), &options).status(0);
    assert_eq!(answer.rows[0].str("sensor.evidence.path"), kept.join(&hash).to_str().unwrap());
    assert_eq!(answer.rows[0].str("sensor.evidence.sha256"), hash);
    if Path::new("/var/lib/dpkg/info/coreutils.md5sums").exists() {
        private_mounts(|| {
            mount_bind(&actor(), Path::new("/bin/true"));
            let changed = Running::idle("/bin/true");
            let row = inspect(changed.pid(), &[]).rows.remove(0);
            assert!(finds(&row, "isn't the file that the package coreutils brought"), "{row:#}");
        });
    }
}

#[test]
fn without_root_it_does_what_it_can() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    copy(&binary(), &folder.at("sensor"));
    let as_nobody = |pid: u32| {
        let exec = nest("exec", words![folder.at("sensor"), "inspect", pid.to_string(), "--format", "json"]);
        Answer::of(Command::new(actor()).args(join([words!["become", "65534"], exec])))
    };
    let other = Running::idle(actor());
    let answer = as_nobody(other.pid()).status(4);
    let row = &answer.rows[0];
    assert_eq!((row.str("sensor.exe.verdict"), row.num("process.pid")), ("unread", u64::from(other.pid())));
    for wanted in ["only root", "its environment: ", "what it has open: "] {
        assert!(answer.said.contains(wanted), "{wanted}: {}", answer.said);
    }
    assert!(findings(row).is_empty(), "nobody is odd for being unknown: {row:#}");
    for (word, status) in [("x", 2), ("-1", 2), ("4194304", 1), ("0", 1)] {
        assert_eq!(run(command().args(["inspect", word])).status.code(), Some(status), "{word}");
    }
}
