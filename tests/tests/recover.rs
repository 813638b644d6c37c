//! `sensor recover` by a hash, of what runs and wasn't kept: found within bounds, and who wasn't looked at is named.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tests::answer::run;
use tests::program::{actor, copy, join, nest, sha256, trick};
use tests::sensor::binary;
use tests::skip::skip;
use tests::{Folder, Running, words};

/// Nothing is kept, and nobody is asked to keep anything.
const NOTHING: &str = "[state]\nfolder = \"\"\n[evidence]\nfolder = \"\"\n";

/// A configuration of nothing that is kept, and this beside it.
fn configured(more: &str) -> Folder {
    let folder = Folder::new();
    fs::write(folder.at("sensor.toml"), format!("{NOTHING}{more}\n")).unwrap();
    folder
}

/// Recovers by a hash into the folder.
fn recover(folder: &Folder, hash: &str) -> Output {
    let mut command = Command::new(binary());
    command.args(words!["recover", hash, "--config", folder.at("sensor.toml"), "--to", folder.at("to")]);
    run(&mut command)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_runs_is_found_by_its_hash_within_the_bound() {
    if skip() {
        return;
    }
    let (folder, small) = (configured(""), configured("max_hash_bytes = 64"));
    let running = Running::idle(actor());
    let hash = sha256(&actor());
    let found = recover(&folder, &hash);
    assert!(found.status.success(), "{}", said(&found));
    assert_eq!(sha256(&folder.at("to")), hash);
    let large = recover(&small, &hash);
    assert_eq!(large.status.code(), Some(1), "{}", said(&large));
    assert!(
        said(&large).contains("it has more than 64 bytes") && !small.at("to").exists(),
        "{}",
        said(&large)
    );
    drop(running);
}

#[test]
fn whose_is_anothers_is_not_permitted() {
    if skip() {
        return;
    }
    let folder = configured("");
    copy(&binary(), &folder.at("sensor"));
    let sensor = words![
        folder.at("sensor"),
        "recover",
        "0".repeat(64),
        "--config",
        folder.at("sensor.toml"),
        "--to",
        "/tmp/to"
    ];
    let output = run(Command::new(actor()).args(join([words!["become", "65534"], nest("exec", sensor)])));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("run it with sudo"), "{}", said(&output));
}

#[test]
fn who_may_never_answer_is_not_asked() {
    if skip() || !Path::new("/dev/fuse").exists() {
        return;
    }
    let folder = configured("");
    let place = folder.folder("place");
    let mut running = Running::of(trick("silentfuse"), words![place, actor(), "say", "runs", "pid", "hang"]);
    running.until("runs");
    let _pid = running.line();
    // From here on it answers nothing.
    running.go();
    let output = recover(&folder, &"0".repeat(64));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("may never do so"), "{}", said(&output));
    nix::mount::umount2(&place, nix::mount::MntFlags::MNT_DETACH).unwrap();
    running.end();
}
