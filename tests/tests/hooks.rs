//! Hooks that can stand for each other: which are taken, what is said of those that aren't, and that either tells who
//! took a name. That both tell the same in all else is shown by all tests, with `SENSOR_TEST_HOOKS`.
#![expect(clippy::expect_used, reason = "a helper that can't go on fails the test")]

use serde_json::Value;
use std::fs;
use std::process::{Output, Stdio};
use std::time::Duration;
use tests::find::Source;
use tests::program::{self, actor, actor_at};
use tests::sensor::command;
use tests::skip::{not_here, skip};
use tests::{Folder, Running, Sensor, lock, words};

/// Those that are tried first.
const BEST: [&str; 2] = ["fexit/vfs_unlink", "fexit/vfs_rename"];
/// One of those that serve in their place.
const MARKS: &str = "fanotify/filesystem";

fn doctor(args: &[&str]) -> Output {
    let mut doctor = command();
    doctor.arg("doctor").args(["--format", "json"]).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    program::output(&mut doctor, Duration::from_secs(30))
}

/// The rows of `exe_deleted` in a report, by their hooks.
fn rows(output: &Output) -> Vec<(String, Value)> {
    let event: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let rows = event["sensor"]["coverage"].as_array().expect("rows").iter();
    let own = rows.filter(|row| row["action"] == "exe_deleted");
    own.map(|row| (row["hook"].as_str().unwrap_or_default().to_owned(), row.clone())).collect()
}

fn state<'r>(rows: &'r [(String, Value)], hook: &str) -> Option<&'r str> {
    rows.iter().find(|(name, _)| name == hook).and_then(|(_, row)| row["state"].as_str())
}

#[test]
fn the_best_that_loads_serves_and_what_was_refused_is_told() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let (usual, best) = (doctor(&[]), doctor(&["--hooks", "best"]));
    let said = String::from_utf8_lossy(&best.stderr).into_owned();
    let found = rows(&usual);
    if best.status.code() == Some(3) {
        // Refused: which, by the kernel's own words, the same where it is demanded and where it isn't.
        let [first, _] = BEST;
        let row = &found.iter().find(|(hook, _)| hook == first).expect("a row of what was refused").1;
        let reason = row["reason"].as_str().expect("a reason");
        assert!(said.contains(first) && said.contains(reason) && said.contains("--hooks best"), "{said}");
        assert_eq!(state(&found, first), Some("fallback"));
        assert!(matches!(state(&found, MARKS), Some("seen" | "replaced")), "{found:#?}");
        return;
    }
    for found in [&found, &rows(&best)] {
        assert!(BEST.iter().all(|hook| state(found, hook) == Some("seen")), "{found:#?}");
        let others = |hook: &str| hook == MARKS || hook.starts_with("tracepoint/");
        assert!(!found.iter().any(|(hook, _)| others(hook)), "nothing serves beside them: {found:#?}");
    }
}

#[test]
fn base_tries_none_of_the_better_ones() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let base = doctor(&["--hooks", "base"]);
    let found = rows(&base);
    for hook in BEST {
        assert_eq!(state(&found, hook), Some("off"), "{found:#?}");
    }
    assert!(matches!(state(&found, MARKS), Some("seen" | "replaced")), "{found:#?}");
    let refused = state(&found, MARKS) == Some("replaced");
    assert_eq!(state(&found, "tracepoint/syscalls/unlink").is_some(), refused, "{found:#?}");
}

#[test]
fn a_run_ends_where_what_it_demands_is_refused_or_chosen_away() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let file = folder.at("sensor.toml");
    fs::write(&file, "kernel.names = \"fanotify\"\n").expect("a configuration");
    let run = |args: &[&str]| {
        let mut run = command();
        run.arg("run").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        run
    };
    let path = file.to_str().expect("a path");
    let wrong = program::output(&mut run(&["--hooks", "best", "--config", path]), Duration::from_secs(30));
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
    assert!(wrong.stdout.is_empty() && String::from_utf8_lossy(&wrong.stderr).contains("kernel.names"));
    if doctor(&["--hooks", "best"]).status.code() != Some(3) {
        let _ = not_here("this kernel takes the better hooks: none is refused");
        return;
    }
    let refused = program::output(&mut run(&["--hooks", "best"]), Duration::from_secs(30));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(refused.stdout.is_empty() && said.contains("fexit/vfs_unlink"), "{said}");
}

#[test]
fn where_functions_tell_no_file_system_is_marked() {
    if skip() {
        return;
    }
    let _together = lock::together();
    if doctor(&["--hooks", "best"]).status.code() == Some(3) {
        let _ = not_here("this kernel refuses the better hooks");
        return;
    }
    let (sensor, folder) = (Sensor::start(words!["--hooks", "best"]), Folder::new());
    let victim = actor_at(folder.at("victim"));
    let mut running = Running::idle(&victim);
    sensor.find("exec").exe(&victim).wait();
    let marks = |pid: u32| -> Vec<String> {
        let folder = format!("/proc/{pid}/fdinfo");
        let infos = fs::read_dir(folder).expect("descriptors").flatten().map(|entry| entry.path());
        infos.filter_map(|path| fs::read_to_string(path).ok()).collect()
    };
    let marked = marks(sensor.pid());
    assert!(!marked.iter().any(|info| info.contains("fanotify sdev")), "{marked:#?}");
    // Who took the name, and by which thread, though nothing was asked for but the function.
    let mut stranger = Running::of(actor(), words!["unlink", &victim]);
    let pid = stranger.pid();
    assert!(stranger.end().success());
    let alert = sensor.find("exe_deleted").file(&victim).wait();
    assert_eq!(alert.str("sensor.method"), "unlink");
    assert_eq!(alert.text("process.pid"), Some(pid.to_string()));
    assert_eq!(alert.text("process.thread.id"), Some(pid.to_string()));
    running.end();
    sensor.stop().clean();
}
