//! Hooks that can stand for each other: which are taken, what is said of those that aren't, and that either tells who
//! took a name. That both tell the same in all else is shown by all tests, with `SENSOR_TEST_HOOKS`.
#![expect(clippy::expect_used, reason = "a helper that can't go on fails the test")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tests::find::{ACCEPTED, Source};
use tests::program::{self, actor, actor_at};
use tests::sensor::command;
use tests::skip::{not_here, skip};
use tests::{Folder, Running, Sensor, lock, words};

/// Those that are tried first.
const BEST: [&str; 2] = ["fexit/vfs_unlink", "fexit/vfs_rename"];
/// One of those that serve in their place.
const MARKS: &str = "fanotify/filesystem";

/// `FAN_MOVED_FROM`, `FAN_MOVED_TO`, `FAN_DELETE` and `FAN_RENAME`: other marks are of what is executed.
const OF_NAMES: u64 = 0x40 | 0x80 | 0x200 | 0x1000_0000;

fn doctor(args: &[&str]) -> Output {
    let mut doctor = command();
    doctor.arg("doctor").args(["--format", "json"]).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    program::output(&mut doctor, Duration::from_secs(30))
}

/// The rows of `exe_deleted` in a report, by their hooks.
fn rows(output: &Output) -> Vec<(String, Value)> {
    rows_of("exe_deleted", output)
}

fn rows_of(action: &str, output: &Output) -> Vec<(String, Value)> {
    let event: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let rows = event["sensor"]["coverage"].as_array().expect("rows").iter();
    let own = rows.filter(|row| row["action"] == action);
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
        assert_eq!(state(&rows_of("socket_accept", &usual), ACCEPTED), Some("fallback"));
        assert!(matches!(state(&found, MARKS), Some("seen" | "replaced")), "{found:#?}");
        return;
    }
    for output in [&usual, &best] {
        assert_eq!(state(&rows_of("socket_accept", output), ACCEPTED), Some("seen"));
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
    assert_eq!(state(&rows_of("socket_accept", &base), ACCEPTED), Some("off"));
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
    let of_names = |line: &&str| {
        let mask = line.split(' ').find_map(|word| u64::from_str_radix(word.strip_prefix("mask:")?, 16).ok());
        line.starts_with("fanotify sdev:") && mask.is_none_or(|mask| mask & OF_NAMES != 0)
    };
    let marked: Vec<_> = marked.iter().flat_map(|info| info.lines()).filter(of_names).collect();
    assert!(marked.is_empty(), "{marked:#?}");
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

/// Names in a storm, and storms; of these the shortest counts, as others may have been at work.
const NAMES: u32 = 4000;
const STORMS: usize = 4;
/// The part of a removal that its program may take at most.
const PART: u64 = 20;
/// Has the kernel measure each run of a program.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Nanoseconds that a removal of a file takes that nobody runs.
fn storm(folder: &Folder) -> u64 {
    let names: Vec<_> = (0..NAMES).map(|at| folder.at(format!("name-{at}"))).collect();
    names.iter().for_each(|name| drop(fs::File::create(name).expect("a file")));
    let began = Instant::now();
    names.iter().for_each(|name| fs::remove_file(name).expect("remove a file"));
    u64::try_from(began.elapsed().as_nanos()).expect("not centuries") / u64::from(NAMES)
}

/// What all threads of the sensor worked so far, nanoseconds.
fn worked(sensor: &Sensor) -> u64 {
    let threads = fs::read_dir(format!("/proc/{}/task", sensor.pid())).expect("its threads").flatten();
    let first = |text: String| text.split(' ').next().and_then(|number| number.parse::<u64>().ok());
    threads.filter_map(|thread| first(fs::read_to_string(thread.path().join("schedstat")).ok()?)).sum()
}

/// The shortest storm, and the least that the sensor worked for a name until it had told what came after it.
fn storms(sensor: Option<&Sensor>, folder: &Folder) -> (u64, u64) {
    let working = |what: &dyn Fn() -> u64| {
        let before = sensor.map_or(0, worked);
        let took = what();
        sensor.inspect(|sensor| sensor.fence());
        (took, sensor.map_or(0, worked) - before)
    };
    let least = |what: &dyn Fn() -> u64| {
        let all: Vec<_> = (0..STORMS).map(|_| working(what)).collect();
        let min = |of: fn(&(u64, u64)) -> u64| all.iter().map(of).min().expect("some");
        (min(|one| one.0), min(|one| one.1))
    };
    let ((_, nothing), (took, work)) = (least(&|| 0), least(&|| storm(folder)));
    (took, work.saturating_sub(nothing) / u64::from(NAMES))
}

/// How often each program of a sensor was run and how long it took in all, by its number.
fn runs(sensor: &Sensor) -> Vec<(u64, u64, u64)> {
    let files = fs::read_dir(format!("/proc/{}/fdinfo", sensor.pid())).expect("descriptors").flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let number = |text: &str, name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let row = |text: String| {
        Some((number(&text, "prog_id:")?, number(&text, "run_cnt:")?, number(&text, "run_time_ns:")?))
    };
    texts.filter_map(row).collect()
}

/// Nanoseconds of the program that a storm runs, once for each name.
fn of_the_program(sensor: &Sensor, folder: &Folder) -> u64 {
    fs::write(STATISTICS, "1").expect("statistics of programs");
    let before = runs(sensor);
    storm(folder);
    let after = runs(sensor);
    fs::write(STATISTICS, "0").expect("statistics of programs");
    let more = after.iter().filter_map(|(id, count, time)| {
        let (_, old_count, old_time) = before.iter().find(|(old, ..)| old == id)?;
        Some((count - old_count, time - old_time))
    });
    let (count, time) =
        more.filter(|(count, _)| *count >= u64::from(NAMES)).min().expect("a program of names");
    time / count
}

/// `docs/decisions/0018-better-hooks.md` has what is printed here, of a machine that did nothing else.
#[test]
fn a_program_takes_little_of_a_removal() {
    if skip() {
        return;
    }
    let _alone = lock::alone();
    if doctor(&["--hooks", "best"]).status.code() == Some(3) {
        let _ = not_here("this kernel refuses the better hooks");
        return;
    }
    // Where a removal is dear, and where it is cheap.
    let places = [("disk", Folder::new()), ("tmpfs", Folder::inside(Path::new("/dev/shm")))];
    let bare = places.each_ref().map(|(_, folder)| storms(None, folder).0);
    println!("names: a removal takes without a sensor: disk {} ns, tmpfs {} ns", bare[0], bare[1]);
    for hooks in ["base", "best"] {
        let sensor = Sensor::start(words!["--hooks", hooks]);
        for (place, folder) in &places {
            let (took, work) = storms(Some(&sensor), folder);
            println!(
                "names: {hooks}, {place}: a removal takes {took} ns, and the sensor works {work} ns for it"
            );
        }
        if hooks == "best" {
            let program = of_the_program(&sensor, &places[0].1);
            println!("names: the program takes {program} ns of it");
            assert!(program < bare[0] / PART, "{program} of {} ns", bare[0]);
        }
        sensor.stop().clean();
    }
}
