//! What each verb answers about one host, letter by letter: a host that is only files, so that it is the same everywhere.
//! `BLESS=1` writes the answers anew.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::answer::run;
use tests::place::{make_folder, mount_bind, private_mounts};
use tests::sensor::binary;
use tests::skip::skip;
use tests::{Folder, tree};

/// The verbs, each with the file of its answer.
const ASKED: [(&str, &[&str]); 12] = [
    ("ps", &["ps"]),
    ("ps-tree", &["ps", "--tree", "--kernel"]),
    ("ps-user", &["ps", "--user", "alice"]),
    ("ps-json", &["ps", "--deleted", "--format", "json"]),
    ("who", &["who"]),
    ("who-json", &["who", "--format", "json"]),
    ("files-user", &["files", "--user", "alice"]),
    ("files-pid", &["files", "--pid", "2300"]),
    ("ports", &["ports"]),
    ("ports-json", &["ports", "--format", "json"]),
    ("inspect", &["inspect", "2300"]),
    ("history", &["history"]),
];

/// Runs a verb where that host is all there is: its files at the root, another network, another age.
fn ask(root: &Path, words: &[&str]) -> String {
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--net", "--time", "--boottime", &tree::UP.to_string(), "--root"]).arg(root);
    command.arg("/sensor").args(words).env("TZ", "UTC");
    if !words.contains(&"--format") {
        command.args(["--format", "text"]);
    }
    let output = run(&mut command);
    let out = String::from_utf8(output.stdout).unwrap();
    let out = if out.starts_with('{') { out.lines().map(steady).collect() } else { without_now(&out) };
    let said = String::from_utf8_lossy(&output.stderr);
    let status = output.status.code().unwrap_or(-1);
    format!("$ sensor {}\n{out}\n(status {status})\n{said}", words.join(" "))
}

/// A text without times of this year: what still runs began at a time by this machine's clock.
fn without_now(text: &str) -> String {
    const FORM: &str = "2025-11-24T16:00:00Z";
    let is_time = |word: &str| {
        word.len() == FORM.len()
            && word
                .bytes()
                .zip(FORM.bytes())
                .all(|(byte, form)| byte == form || byte.is_ascii_digit() == form.is_ascii_digit())
            && !word.starts_with("2025-11-24")
    };
    let words = text.split_inclusive([' ', '\n']);
    words
        .map(|word| match is_time(word.trim_end()) {
            true => word.replace(|c: char| c.is_ascii_digit(), "#"),
            false => word.to_owned(),
        })
        .collect()
}

/// A row without what is of the moment, or of the disk that the folder happens to be on.
fn steady(line: &str) -> String {
    fn clear(value: &mut Value) {
        let Value::Object(members) = value else { return };
        for (name, member) in members.iter_mut() {
            match name.as_str() {
                "@timestamp" | "start" | "since" | "held_since" | "inode" | "device" | "nlink"
                | "version"
                    if !member.is_object() =>
                {
                    *member = Value::from("…");
                }
                _ => clear(member),
            }
        }
    }
    let mut row: Value = serde_json::from_str(line).unwrap();
    clear(&mut row);
    format!("{row:#}\n")
}

#[test]
fn each_verb_says_what_it_said() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let root = tree::lay_out(&folder);
    let answers = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let bless = std::env::var_os("BLESS").is_some();
    let wrong: Vec<String> = private_mounts(|| {
        bring_in(&root);
        ASKED
            .iter()
            .filter_map(|(name, words)| differs(&answers, bless, name, || ask(&root, words)))
            .collect()
    });
    assert!(
        wrong.is_empty(),
        "{}\nIf that is right: BLESS=1 cargo test -p tests --test golden",
        wrong.join("\n")
    );
}

/// The sensor and the libraries that it is linked with, under that root.
fn bring_in(root: &Path) {
    let sensor = root.join("sensor");
    fs::write(&sensor, b"").unwrap();
    mount_bind(&binary(), &sensor);
    for library in ["/lib", "/lib64"] {
        let from = PathBuf::from(library);
        if from.exists() {
            let on = root.join(library.trim_start_matches('/'));
            make_folder(&on);
            mount_bind(&from, &on);
        }
    }
}

/// Answers that are compared: on a busy machine something may not be told in time, which is then said.
const TRIES: usize = 3;

/// What is to be said of an answer that isn't the one that is kept.
fn differs(answers: &Path, bless: bool, name: &str, ask: impl Fn() -> String) -> Option<String> {
    let file = answers.join(format!("{name}.txt"));
    if bless {
        fs::write(&file, ask()).unwrap();
        return None;
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let mut now = String::new();
    for _ in 0..TRIES {
        now = ask();
        if now == kept {
            return None;
        }
    }
    Some(format!("{}:\n--- kept\n{kept}--- now\n{now}", file.display()))
}
