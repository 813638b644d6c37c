//! `exe_deleted`: each way in which a running executable can lose its name, by whomever, wherever; and what is no loss.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tests::find::Source;
use tests::place::{make_folder, mount_bind, mount_overlay, mount_tmpfs, private_mounts};
use tests::program::{self, actor, actor_at, copy, join, nest, threads};
use tests::skip::{because, skip};
use tests::{DEADLINE, Event, Folder, Running, Sensor, words};

/// How a name is lost: the step of `actor`, the name the step takes as second word, and `sensor.method`.
#[derive(Clone, Copy, Debug)]
struct Way {
    step: &'static str,
    /// `None`: the step has one word. A second word `new` is there before the step, `away` is not.
    second: Option<&'static str>,
    /// Whether the running file is the target: something is renamed over it.
    target: bool,
    method: &'static str,
}

const fn unlink(step: &'static str) -> Way {
    Way { step, second: None, target: false, method: "unlink" }
}
const fn rename(step: &'static str) -> Way {
    Way { step, second: Some("away"), target: false, method: "rename" }
}
const fn replace(step: &'static str) -> Way {
    Way { step, second: Some("new"), target: true, method: "replace" }
}
const fn exchange(step: &'static str) -> Way {
    Way { step, second: Some("new"), target: false, method: "rename" }
}

const WAYS: &[Way] = &[
    unlink("unlink"),
    unlink("unlinkat"),
    rename("rename"),
    rename("renameat"),
    rename("renameat2"),
    replace("rename"),
    replace("renameat"),
    replace("renameat2"),
    exchange("exchange"),
    unlink("ring-unlink"),
    rename("ring-rename"),
    replace("ring-rename"),
    exchange("ring-exchange"),
    unlink("unlink32"),
    unlink("unlinkat32"),
    rename("rename32"),
    replace("rename32"),
    rename("renameat32"),
    exchange("exchange32"),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Itself,
    Child,
    Parent,
    Stranger,
}
use Who::{Child, Itself, Parent, Stranger};

/// One way tried: what must come out.
struct Case {
    name: String,
    way: Way,
    who: Who,
    victim: PathBuf,
    inode: u64,
    device: u64,
    runner: u32,
    deleter: u32,
    severities: &'static [u64],
}

/// Words that make the victim lose its name.
fn steps(way: Way, folder: &Path, victim: &Path) -> Vec<OsString> {
    match way.second {
        None => words![way.step, victim],
        Some(name) if way.target => words![way.step, folder.join(name), victim],
        Some(name) => words![way.step, victim, folder.join(name)],
    }
}

/// Runs a victim in that folder and takes its name away; all processes have ended at the return.
fn lose(folder: &Path, way: Way, who: Who, name: &str) -> Result<Case, String> {
    let (victim, other) = (folder.join(VICTIM), folder.join("other"));
    let file = fs::metadata(&victim).map_err(|why| format!("{name}: {why}"))?;
    let steps = steps(way, folder, &victim);
    let say = |word: &str| words!["pid", "say", word];
    let mut printed = Vec::new();
    let (mut first, runner, mut deleter) = match who {
        Itself => {
            let first = Running::of(&victim, join([steps.clone(), say("done"), words!["wait"]]));
            let pid = first.pid();
            (first, Some(pid), Some(pid))
        }
        Child => {
            let inner = nest("run", join([words![&other], steps.clone(), words!["pid"]]));
            let first = Running::of(&victim, join([inner, words!["say", "done", "wait"]]));
            let pid = first.pid();
            (first, Some(pid), None)
        }
        Parent => {
            let inner = nest("spawn", words![&victim, "pid", "say", "runs", "hang"]);
            let after = words!["say", "done", "hang"];
            let mut first = Running::of(&other, join([inner, words!["wait"], steps.clone(), after]));
            let pid = first.pid();
            printed = first.until("runs");
            first.go();
            (first, None, Some(pid))
        }
        Stranger => {
            let first = Running::of(&victim, join([words!["pid", "say", "done", "wait"]]));
            let pid = first.pid();
            (first, Some(pid), None)
        }
    };
    printed.extend(first.until("done"));
    if who == Stranger {
        let mut stranger = Running::of(&other, steps);
        deleter = Some(stranger.pid());
        let status = stranger.end();
        if !status.success() {
            return Err(format!("{name}: the stranger fails: {status}"));
        }
    }
    let child = printed.iter().find_map(|line| line.parse::<u32>().ok());
    let status = first.end();
    if !status.success() {
        return Err(format!("{name}: {status}"));
    }
    let pid = |known: Option<u32>| known.or(child).ok_or_else(|| format!("{name}: no pid in {printed:?}"));
    Ok(Case {
        name: name.to_owned(),
        way,
        who,
        inode: file.ino(),
        device: file.dev(),
        runner: pid(runner)?,
        deleter: pid(deleter)?,
        victim,
        severities: &[73],
    })
}

/// The name of every file of the matrix, and of no other test's: two deeds on one name in one moment can be mixed up while
/// neither file is marked yet (docs/limits.md).
const VICTIM: &str = "victim-of-all";

/// Held by the file system whose turn it is, until its files are gone: taken before they are made.
fn turn() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What is wrong with the alerts of a case.
fn judge(sensor: &Sensor, case: &Case) -> Vec<String> {
    let alerts = sensor.find("exe_deleted").file(&case.victim).all();
    let [alert] = alerts.as_slice() else {
        let methods: Vec<_> =
            alerts.iter().map(|alert| alert.text("sensor.method").unwrap_or_default()).collect();
        return vec![format!("{}: {} alerts, methods {methods:?}", case.name, alerts.len())];
    };
    let mut faults = alert.faults();
    let mut same = |field: &str, expected: &str| {
        let got = alert.text(field);
        if got.as_deref() != Some(expected) {
            faults.push(format!("{field} is {got:?}, not {expected:?}"));
        }
    };
    let deleter = if case.who == Itself { case.victim.clone() } else { case.victim.with_file_name("other") };
    same("event.kind", "alert");
    same("event.category", r#"["file"]"#);
    same("event.type", if case.way.method == "rename" { r#"["change"]"# } else { r#"["deletion"]"# });
    same("process.pid", &case.deleter.to_string());
    same("process.executable", &deleter.to_string_lossy());
    same("file.name", VICTIM);
    same("file.inode", &case.inode.to_string());
    same("file.device", &case.device.to_string());
    same("sensor.method", case.way.method);
    same("sensor.self", &(case.who == Itself).to_string());
    let severity = alert.text("event.severity").unwrap_or_default();
    if !case.severities.iter().any(|allowed| severity == allowed.to_string()) {
        faults.push(format!("event.severity is {severity}, not one of {:?}", case.severities));
    }
    let runners: Vec<_> = runners(alert);
    let expected = vec![(case.runner.to_string(), case.victim.to_string_lossy().into_owned())];
    if runners != expected {
        faults.push(format!("sensor.runners are {runners:?}, not {expected:?}"));
    }
    faults.into_iter().map(|fault| format!("{}: {fault}", case.name)).collect()
}

fn runners(alert: &Event) -> Vec<(String, String)> {
    let rows = alert.get("sensor.runners").and_then(|rows| rows.as_array());
    let member = |row: &serde_json::Value, name| row.get(name).map(tests::event::as_text).unwrap_or_default();
    rows.into_iter().flatten().map(|row| (member(row, "pid"), member(row, "executable"))).collect()
}

/// Tries every way and everyone on a file system, with one sensor; `prepare` makes the files of a case in its new folder.
fn matrix(sensor: &Sensor, place: &str, root: &Path, prepare: impl Fn(&str, &Path)) {
    matrix_of(sensor, place, root, prepare, |_| true);
}

fn matrix_of(
    sensor: &Sensor,
    place: &str,
    root: &Path,
    prepare: impl Fn(&str, &Path),
    wanted: impl Fn(&Way) -> bool,
) {
    let (mut cases, mut faults) = (Vec::new(), Vec::new());
    // A file system that is mounted in another mount namespace is watched from the first exec on it (docs/limits.md).
    let first = actor_at(root.join("first"));
    let mut running = Running::idle(&first);
    sensor.find("exec").exe(&first).wait();
    running.end();
    for (number, way) in WAYS.iter().enumerate().filter(|(_, way)| wanted(way)) {
        for who in [Itself, Child, Parent, Stranger] {
            let folder = root.join(format!("{number}-{who:?}"));
            let name = format!("{place}, {} ({}), {who:?}", way.step, way.method);
            prepare(way.second.unwrap_or_default(), &folder);
            match lose(&folder, *way, who, &name) {
                Ok(case) => cases.push(case),
                Err(fault) => faults.push(fault),
            }
        }
    }
    sensor.fence();
    for case in &cases {
        // All alerts are there, or are late: then say which.
        if sensor.find("exe_deleted").file(&case.victim).look(DEADLINE).is_none() {
            faults.push(format!("{}: no alert", case.name));
            if faults.len() > 3 {
                break;
            }
        }
    }
    sensor.fence();
    faults.extend(cases.iter().flat_map(|case| judge(sensor, case)));
    let (count, all) = (faults.len(), cases.len());
    assert!(faults.is_empty(), "{count} faults in {all} cases:\n{}", faults.join("\n"));
}

fn plain(second: &str, folder: &Path) {
    make_folder(folder);
    actor_at(folder.join(VICTIM));
    actor_at(folder.join("other"));
    if second == "new" {
        actor_at(folder.join("new"));
    }
}

#[test]
fn every_way_on_disk() {
    if skip() {
        return;
    }
    let _turn = turn();
    let folder = Folder::new();
    matrix(Sensor::shared(), "disk", folder.path(), plain);
}

#[test]
fn every_way_by_tracepoints() {
    if skip() {
        return;
    }
    let _turn = turn();
    // What serves kernels without marks on file systems; 32-bit calls have no tracepoints (docs/limits.md).
    let folder = Folder::new();
    let config = folder.at("sensor.toml");
    fs::write(&config, "kernel.names = \"tracepoints\"\n").unwrap();
    let sensor = Sensor::start(words!["--config", config]);
    matrix_of(&sensor, "tracepoints", folder.path(), plain, |way| !way.step.ends_with("32"));
    sensor.stop().clean();
}

#[test]
fn every_way_on_tmpfs() {
    if skip() {
        return;
    }
    let _turn = turn();
    let folder = Folder::new();
    private_mounts(|| {
        mount_tmpfs(folder.path(), "512m");
        matrix(Sensor::shared(), "tmpfs", folder.path(), plain);
    });
}

#[test]
fn every_way_through_a_bind_mount() {
    if skip() {
        return;
    }
    let _turn = turn();
    let folder = Folder::new();
    let (real, bind) = (folder.folder("real"), folder.folder("bind"));
    private_mounts(|| {
        mount_bind(&real, &bind);
        matrix(Sensor::shared(), "bind", &bind, plain);
    });
}

#[test]
fn every_way_on_an_overlay() {
    if skip() {
        return;
    }
    let _turn = turn();
    let folder = Folder::new();
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| folder.folder(name));
    // Half of the files lie in the lower layer, half in the upper one.
    let below: Vec<String> = (0..WAYS.len()).step_by(2).map(|number| format!("{number}-")).collect();
    for (number, way) in WAYS.iter().enumerate().step_by(2) {
        for who in [Itself, Child, Parent, Stranger] {
            plain(way.second.unwrap_or_default(), &lower.join(format!("{number}-{who:?}")));
        }
    }
    private_mounts(|| {
        if let Err(why) = mount_overlay(&lower, &upper, &work, &merged) {
            let _ = because(&format!("no overlay can be mounted here: {why}"));
            return;
        }
        matrix(Sensor::shared(), "overlay", &merged, |second, case| {
            let name = case.file_name().unwrap_or_default().to_string_lossy();
            if !below.iter().any(|prefix| name.starts_with(prefix.as_str())) {
                plain(second, case);
            }
        });
    });
}

#[test]
fn by_another_name_of_the_folder() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let (real, bind) = (folder.folder("real"), folder.folder("bind"));
    private_mounts(|| {
        mount_bind(&real, &bind);
        let victim = actor_at(real.join("victim"));
        let mut running = Running::idle(&victim);
        program::done(&actor(), words!["unlink", bind.join("victim")]);
        let alert = sensor
            .find("exe_deleted")
            .with("file.name", "victim")
            .with("sensor.self", false)
            .such("with this runner", |alert| {
                runners(alert).iter().any(|(pid, _)| *pid == running.pid().to_string())
            })
            .wait();
        assert_eq!(alert.str("file.path"), victim.to_string_lossy(), "the name that the executable had");
        running.end();
    });
}

#[test]
fn by_lying_paths() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    // The path in the system call says little about the file: links in it, dots, another process's root.
    let link = folder.at("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    let name = |way: &str, victim: &str| match way {
        "link" => link.join(victim),
        "dots" => folder.at(format!("../{}/.//{victim}", folder.path().file_name().unwrap().display())),
        "root" => Path::new("/proc/self/root").join(folder.at(victim).strip_prefix("/").unwrap()),
        _ => PathBuf::from(victim),
    };
    for way in ["link", "dots", "root", "relative"] {
        let victim = actor_at(folder.at(format!("victim-{way}")));
        let mut running = Running::idle(&victim);
        let mut stranger = Command::new(actor());
        let path = name(way, &format!("victim-{way}"));
        Running::start(stranger.current_dir(&folder).args(words!["unlink", path])).end();
        let alert = sensor.find("exe_deleted").file(&victim).wait();
        assert_eq!(alert.str("sensor.method"), "unlink", "{way}");
        running.end();
    }
}

#[test]
fn all_runners_are_named() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let victim = actor_at(folder.at("victim"));
    let mut running: Vec<Running> = (0..3)
        .map(|number| Running::of(&victim, words!["ignore", number.to_string(), "say", "runs", "hang"]))
        .collect();
    for one in &running {
        one.until("runs");
    }
    // One more that has never executed anything: it was forked.
    let mut forked = Running::of(&victim, nest("fork", words!["pid", "wait"]));
    let child: u32 = forked.line().parse().unwrap();
    sensor.find("fork").pid(child).wait();
    let mut stranger = Running::of(actor(), words!["unlink", &victim]);
    stranger.end();
    let alert = sensor.find("exe_deleted").file(&victim).wait();
    let mut expected: Vec<u32> = running.iter().map(Running::pid).collect();
    expected.extend([forked.pid(), child]);
    expected.sort_unstable();
    let mut got: Vec<u32> = runners(&alert).iter().filter_map(|(pid, _)| pid.parse().ok()).collect();
    got.sort_unstable();
    assert_eq!(got, expected);
    for row in alert.list("sensor.runners") {
        let pid = row["pid"].as_u64().unwrap();
        assert_eq!(row["executable"], victim.to_string_lossy().as_ref());
        assert_eq!(row["args"][0], victim.to_string_lossy().as_ref());
        let fork = sensor.find("fork").with("process.pid", pid).one();
        assert_eq!(row["entity_id"], fork.str("process.entity_id"));
    }
    for one in running.iter_mut().chain([&mut forked]) {
        one.end();
    }
    sensor.fence();
    sensor.find("exe_deleted").file(&victim).one();
}

#[test]
fn started_before_the_sensor() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let [own, others, moved] = ["own", "others", "moved"].map(|name| actor_at(folder.at(name)));
    let mut deleter = Running::of(&own, words!["say", "runs", "wait", "unlink", &own, "say", "done", "wait"]);
    let mut victims = [&others, &moved].map(|path| Running::of(path, words!["say", "runs", "wait"]));
    deleter.until("runs");
    for victim in &victims {
        victim.until("runs");
    }
    let sensor = Sensor::start(words![]);
    deleter.go();
    deleter.until("done");
    program::done(&actor(), words!["unlink", &others, "rename", &moved, folder.at("away")]);

    let alert = sensor.find("exe_deleted").file(&own).wait();
    assert!(alert.truth("sensor.self"));
    assert_eq!(alert.num("event.severity"), 73, "an image that unlinks itself is high, old or not");
    assert_eq!(alert.num("process.pid"), u64::from(deleter.pid()));
    for (path, method, victim) in [(&others, "unlink", &victims[0]), (&moved, "rename", &victims[1])] {
        let alert = sensor.find("exe_deleted").file(path).wait();
        assert_eq!(alert.str("sensor.method"), method);
        assert_eq!(runners(&alert), [(victim.pid().to_string(), path.to_string_lossy().into_owned())]);
    }
    for one in victims.iter_mut().chain([&mut deleter]) {
        one.end();
    }
    sensor.fence();
    for path in [&own, &others, &moved] {
        sensor.find("exe_deleted").file(path).one();
    }
    sensor.stop().clean();
}

#[test]
fn lost_before_the_sensor_started() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let victim = actor_at(folder.at("victim"));
    let mut running = Running::of(&victim, words!["unlink", &victim, "say", "done", "wait"]);
    running.until("done");
    let sensor = Sensor::start(words![]);
    let snapshot = sensor.find("process_snapshot").pid(running.pid()).wait();
    assert_eq!(snapshot.str("sensor.exe.state"), "deleted");
    assert_eq!(
        snapshot.str("process.executable"),
        victim.to_string_lossy(),
        "without what the kernel adds to the name"
    );
    assert_eq!(snapshot.num("sensor.exe.nlink"), 0);
    running.end();
    sensor.stop().clean();
}

#[test]
fn by_one_that_ends_at_once() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    // Kernels before 6.16 show no image any more when a process ends, and no look at what runs is soon enough.
    for number in 0..8 {
        for (way, method) in [("unlink", "unlink"), ("rename", "rename"), ("over", "replace")] {
            let victim = actor_at(folder.at(format!("victim-{way}-{number}")));
            let other = folder.at(format!("other-{way}-{number}"));
            let steps = match way {
                "unlink" => words!["unlink", &victim],
                "rename" => words!["rename", &victim, &other],
                _ => {
                    fs::write(&other, "").unwrap();
                    words!["rename", &other, &victim]
                }
            };
            let mut running = Running::of(&victim, steps);
            assert!(running.end().success());
            let alert = sensor.find("exe_deleted").pid(running.pid()).wait();
            assert_eq!(alert.str("file.path"), victim.to_string_lossy());
            assert_eq!(alert.str("sensor.method"), method, "{alert:#}");
            assert!(alert.truth("sensor.self"), "{alert:#}");
            assert_eq!(runners(&alert), [(running.pid().to_string(), victim.to_string_lossy().into_owned())]);
        }
    }
}

#[test]
fn what_went_after_the_end_or_before_the_beginning_is_no_loss() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    // As builds do: a program is made, moved to its place, run, and removed, in no time.
    for number in 0..20 {
        let (draft, program) = (folder.at("draft"), folder.at("program"));
        copy(&actor(), &draft);
        fs::rename(&draft, &program).unwrap();
        program::done(&program, words!["ignore", number.to_string()]);
        fs::remove_file(&program).unwrap();
    }
    // A process that moves a program to its place, and becomes it.
    let (draft, program) = (actor_at(folder.at("draft")), folder.at("became"));
    program::done(&actor(), join([words!["rename", &draft, &program], nest("exec", words![&program])]));
    sensor.fence();
    let about = folder.path().to_string_lossy().into_owned();
    let alert = sensor.watch(Duration::from_millis(1500), |event| {
        event.action() == "exe_deleted"
            && event.text("file.path").is_some_and(|path| path.starts_with(&about))
    });
    assert!(alert.is_none(), "{:#}", alert.unwrap());
}

#[test]
fn by_another_thread() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    for wait in [false, true] {
        let victim = folder.at(format!("victim-{wait}"));
        copy(&threads(), &victim);
        let later = if wait { words!["wait"] } else { words![] };
        let mut running = Running::of(&victim, join([words!["unlink", &victim], later]));
        if wait {
            sensor.find("exec").exe(&victim).wait();
            running.go();
        }
        let thread = running.line();
        let alert = sensor.find("exe_deleted").file(&victim).wait();
        assert!(alert.truth("sensor.self"));
        assert_eq!(alert.num("process.pid"), u64::from(running.pid()));
        // Which thread it was is told by the file's own mark, which an act in the first moment comes before.
        match alert.text("process.thread.id") {
            None => assert!(!wait, "{alert:#}"),
            Some(told) => assert_eq!(told, thread),
        }
        running.end();
    }
}

#[test]
fn by_its_own_forked_child() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let victim = actor_at(folder.at("victim"));
    let mut running = Running::of(&victim, nest("fork", words!["pid", "unlink", &victim]));
    let child: u32 = running.line().parse().unwrap();
    running.end();
    let alert = sensor.find("exe_deleted").file(&victim).wait();
    assert_eq!(alert.num("process.pid"), u64::from(child));
    assert!(alert.truth("sensor.self"), "the child runs the image too");
    assert_eq!(runners(&alert).len(), 2);
    assert_eq!(alert.num("event.severity"), 73);
}

#[test]
fn by_a_ring_that_the_kernel_polls() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let victim = actor_at(folder.at("victim"));
    let mut running = Running::of(&victim, words!["sqpoll", "ring-unlink", &victim, "say", "done", "wait"]);
    running.until("done");
    let alert = sensor.find("exe_deleted").file(&victim).wait();
    assert_eq!(alert.num("process.pid"), u64::from(running.pid()));
    assert_eq!(alert.str("sensor.method"), "unlink");
    running.end();
}

#[test]
fn by_a_32_bit_program_itself() {
    if skip() {
        return;
    }
    let Some(tiny32) = program::tiny32() else {
        let _ = because("cc -m32 makes no program here");
        return;
    };
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let victim = folder.at("victim");
    copy(&tiny32, &victim);
    let mut running = Running::of(&victim, words![&victim]);
    sensor.find("exec").exe(&victim).wait();
    running.go();
    running.until("done");
    let alert = sensor.find("exe_deleted").file(&victim).wait();
    assert!(alert.truth("sensor.self"));
    assert_eq!(alert.num("process.pid"), u64::from(running.pid()));
    running.end();
}

#[test]
fn another_hard_link_is_left() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let (victim, link) = (actor_at(folder.at("victim")), folder.at("link"));
    fs::hard_link(&victim, &link).unwrap();
    let mut running =
        Running::of(&victim, words!["say", "runs", "wait", "unlink", &victim, "say", "done", "wait"]);
    running.until("runs");
    running.go();
    running.until("done");
    let alert = sensor.find("exe_deleted").file(&victim).wait();
    assert!(alert.num("sensor.exe.nlink") >= 1, "{alert:#}");
    assert_eq!(alert.str("sensor.method"), "unlink");
    // The other link now goes too: its name was not the one that was executed.
    program::done(&actor(), words!["unlink", &link]);
    running.end();
    sensor.fence();
    sensor.find("exe_deleted").file(&victim).one();
}

#[test]
fn several_transitions_are_several_alerts() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let (victim, away) = (actor_at(folder.at("victim")), folder.at("away"));
    let steps =
        words!["rename", &victim, &away, "say", "moved", "wait", "unlink", &away, "say", "done", "wait"];
    let mut running = Running::of(&victim, steps);
    running.until("moved");
    let alert = sensor.find("exe_deleted").file(&victim).wait();
    assert_eq!(alert.str("sensor.method"), "rename");
    assert_eq!(alert.num("sensor.exe.nlink"), 1);
    running.go();
    running.until("done");
    let alert = sensor.find("exe_deleted").pid(running.pid()).with("sensor.method", "unlink").wait();
    assert_eq!(alert.num("sensor.exe.nlink"), 0);
    running.end();
    sensor.fence();
    assert_eq!(sensor.find("exe_deleted").pid(running.pid()).all().len(), 2);
}

#[test]
fn what_is_no_loss() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::start(words![]), Folder::new());
    let inner = folder.folder("inner");
    let victim = actor_at(inner.join("victim"));
    let idle = actor_at(inner.join("idle"));
    let twin = folder.folder("twin").join("victim");
    copy(&victim, &twin);
    let link = inner.join("link");
    fs::hard_link(&victim, &link).unwrap();
    let mut running = Running::idle(&victim);

    let run = |words| program::done(&actor(), words);
    // A file nobody executes, also one with the same name, also by the running program's own image.
    run(words!["unlink", &idle, "unlink", &twin]);
    program::done(&victim, words!["copy", actor(), &idle, "unlink", &idle]);
    // A failed one: not permitted, not there, a folder.
    assert_eq!(run(words!["become", "65534", "try", "unlink", &victim]), "errno 13\n");
    assert_eq!(run(words!["try", "unlink", inner.join("absent")]), "errno 2\n");
    assert_eq!(run(words!["try", "rename", &victim, folder.at("twin")]), "errno 21\n");
    assert_eq!(run(words!["try", "ring-unlink", inner.join("absent")]), "errno 2\n");
    // Another link of the running file; a rename to itself; a rename over its own link, which does nothing.
    run(words!["unlink", &link]);
    run(words![
        "link", &victim, &link, "rename", &victim, &victim, "rename", &victim, &link, "unlink", &link
    ]);
    // A folder above.
    run(words!["rename", &inner, folder.at("moved"), "rename", folder.at("moved"), &inner]);

    running.end();
    sensor.fence();
    let about = folder.path().to_string_lossy().into_owned();
    // The check at the end and the sweep come later than the hooks.
    let alert = sensor.watch(Duration::from_millis(1500), |event| {
        event.action() == "exe_deleted"
            && event.text("file.path").is_some_and(|path| path.starts_with(&about))
    });
    assert!(alert.is_none(), "{:#}", alert.unwrap());
    sensor.stop().clean();
}

#[test]
fn severity_tells_old_images_from_new_ones() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    // A stranger takes the name away: high just after the first exec, medium when the image is older. How much older is the
    // sensor's choice: each second another image is tried. To make them all takes long where the machine is busy, so the
    // one that is new is made after them.
    let mut running: Vec<(PathBuf, Running)> = (0..60)
        .map(|number| {
            let path = actor_at(folder.at(format!("victim-{number}")));
            let running = Running::idle(&path);
            (path, running)
        })
        .collect();
    let severity = |path: &Path, one: &mut Running| {
        program::done(&actor(), words!["unlink", path]);
        let alert = sensor.find("exe_deleted").file(path).wait();
        one.end();
        alert.num("event.severity")
    };
    let new = actor_at(folder.at("new"));
    assert_eq!(severity(&new, &mut Running::idle(&new)), 73);
    let start = Instant::now();
    let mut told = Vec::new();
    for (path, one) in &mut running {
        told.push((start.elapsed().as_secs(), severity(path, one)));
        if told.last().is_some_and(|(_, severity)| *severity != 73) {
            break;
        }
        // Another sensor event than those awaited: this only paces the tries.
        let _ = sensor.watch(Duration::from_secs(1), |_| false);
    }
    assert_eq!(told.last().map(|(_, severity)| *severity), Some(47), "{told:?}");
}

#[test]
fn a_package_upgrade_is_low() {
    if skip() {
        return;
    }
    if !Path::new("/usr/bin/dpkg-deb").exists() {
        let _ = because("there is no dpkg");
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    // A package with the program, installed twice into a root of its own: the second time over the running file.
    let root = folder.folder("root");
    for name in ["var", "var/lib", "var/lib/dpkg", "var/lib/dpkg/updates", "var/lib/dpkg/info"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let install = |version: &str| {
        let tree = folder.folder(format!("tree-{version}"));
        fs::create_dir(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: prog\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example.invalid>\nDescription: x\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        actor_at(tree.join("prog"));
        let package = folder.at(format!("prog-{version}.deb"));
        program::done(Path::new("/usr/bin/dpkg-deb"), words!["--build", "-Znone", &tree, &package]);
        let root = format!("--root={}", root.display());
        let words =
            words![root, "--force-not-root", "--force-script-chrootless", "--log=/dev/null", "-i", &package];
        program::done(Path::new("/usr/bin/dpkg"), words);
    };
    install("1");
    let mut running = Running::idle(root.join("prog"));
    install("2");
    running.end();
    sensor.fence();
    let alerts: Vec<Event> = sensor.find("exe_deleted").all();
    let inside = root.to_string_lossy().into_owned();
    let alerts: Vec<&Event> =
        alerts.iter().filter(|alert| alert.str("file.path").starts_with(&inside)).collect();
    assert!(!alerts.is_empty(), "no alert for the upgrade");
    for alert in alerts {
        assert_eq!(alert.num("event.severity"), 21, "{alert:#}");
        assert_eq!(alert.str("process.executable"), "/usr/bin/dpkg");
    }
}

#[test]
fn another_file_under_a_package_managers_name_is_none() {
    if skip() {
        return;
    }
    let known = Path::new("/usr/bin/dpkg");
    if !known.exists() {
        let _ = because("there is no dpkg");
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let (other, new, victim) =
        (actor_at(folder.at("other")), folder.at("new"), actor_at(folder.at("victim")));
    fs::write(&new, "new").unwrap();
    let mut running = Running::idle(&victim);
    private_mounts(|| {
        mount_bind(&other, known);
        program::done(known, words!["rename", &new, &victim]);
    });
    let alert = sensor.find("exe_deleted").file(&victim).wait();
    assert_eq!(alert.str("process.executable"), "/usr/bin/dpkg", "{alert:#}");
    assert_eq!((alert.str("sensor.method"), alert.num("event.severity")), ("replace", 73), "{alert:#}");
    running.end();
}
