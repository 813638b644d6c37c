//! `exe_memfd`: an image that never had a name, or has none any more when it is executed.

use std::ffi::OsString;
use std::fs;
use tests::find::Source;
use tests::program::{actor, actor_at, done, join, nest};
use tests::skip::skip;
use tests::{Event, Folder, Running, Sensor, words};

/// Runs `actor` with steps that execute a nameless image; returns its `exec` and its alert.
fn nameless(sensor: &Sensor, mark: &str, step: &str) -> (Event, Event) {
    let image = nest(step, words!["image", "ignore", mark, "say", "here", "wait"]);
    let mut running = Running::of(actor(), image);
    running.until("here");
    let pid = running.pid();
    let alert = sensor.find("exe_memfd").pid(pid).wait();
    let image = |event: &Event| event.texts("process.args").first() == Some(&"image");
    let exec = sensor.find("exec").pid(pid).arg(mark).such("image first", image).wait();
    running.end();
    sensor.find("exit").pid(pid).wait();
    sensor.fence();
    sensor.find("exe_memfd").pid(pid).one();
    sensor.find("exe_deleted").pid(pid).none();
    (exec, alert)
}

fn check((exec, alert): &(Event, Event), state: &str) {
    for event in [exec, alert] {
        assert_eq!(event.str("sensor.exe.state"), state);
        assert_eq!(event.num("sensor.exe.nlink"), 0);
        assert!(event.has("sensor.exe.inode") && event.has("sensor.exe.device"));
    }
    assert_eq!(alert.num("event.severity"), 73);
    assert_eq!(alert.str("process.entity_id"), exec.str("process.entity_id"));
    assert_eq!(alert.texts("process.args"), exec.texts("process.args"));
    assert_eq!(exec.str("event.kind"), "event");
    assert_eq!(alert.texts("event.category"), ["process"]);
}

#[test]
fn from_a_memfd() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let source = actor().to_string_lossy().into_owned();
    for way in ["memfd", "memfd-proc"] {
        let both = nameless(sensor, &format!("mark-{way}"), &format!("{way} hidden-name {source}"));
        check(&both, "memfd");
        assert!(both.0.str("process.executable").contains("hidden-name"), "{:#}", both.0);
    }
}

#[test]
fn from_a_temporary_file_without_a_name() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let step = format!("tmpfile {} {}", folder.path().display(), actor().display());
    check(&nameless(sensor, "mark-tmpfile", &step), "deleted");
}

#[test]
fn from_a_file_unlinked_before() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    for way in ["unlinked", "unlinked-proc"] {
        let victim = actor_at(folder.at(way));
        let both = nameless(sensor, &format!("mark-{way}"), &format!("{way} {}", victim.display()));
        check(&both, "deleted");
        assert_eq!(both.0.str("process.executable"), victim.to_string_lossy(), "the name that it had");
        sensor.find("exe_deleted").file(&victim).none();
    }
}

#[test]
fn a_named_image_by_descriptor_is_no_alert() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let step = format!("exec-fd {}", program.display());
    done(&actor(), nest(&step, words!["image", "ignore", "by descriptor"]));
    let event = sensor.find("exec").exe(&program).wait();
    assert_eq!(event.str("sensor.exe.state"), "present");
    assert_eq!(event.texts("process.args"), ["image", "ignore", "by descriptor"]);
    sensor.fence();
    sensor.find("exe_memfd").pid(u32::try_from(event.num("process.pid")).unwrap()).none();
}

#[test]
fn nameless_images_unlink_others() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let (plain, victim) = (folder.at("plain"), actor_at(folder.at("victim")));
    fs::write(&plain, "").unwrap();
    let step = format!("memfd x {}", actor().display());
    let steps: Vec<OsString> =
        words!["image", "unlink", &plain, "say", "plain", "wait", "unlink", &victim, "say", "done", "wait"];
    let mut other = Running::idle(&victim);
    let mut running = Running::of(actor(), nest(&step, steps));
    let pid = running.pid();
    running.until("plain");
    sensor.fence();
    sensor.find("exe_deleted").pid(pid).none();
    running.go();
    running.until("done");
    let alert = sensor.find("exe_deleted").pid(pid).wait();
    assert_eq!(alert.str("file.path"), victim.to_string_lossy());
    assert!(!alert.truth("sensor.self"));
    running.end();
    other.end();
    sensor.fence();
    sensor.find("exe_deleted").pid(pid).one();
}

#[test]
fn children_of_a_nameless_image() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let step = format!("memfd x {}", actor().display());
    let child = nest("fork", words!["pid", "say", "born"]);
    let mut running = Running::of(actor(), nest(&step, join([words!["image"], child, words!["wait"]])));
    let child: u32 = running.until("born").last().unwrap().parse().unwrap();
    sensor.find("exe_memfd").pid(running.pid()).wait();
    let exit = sensor.find("exit").pid(child).wait();
    running.end();
    sensor.fence();
    sensor.find("exe_memfd").pid(child).none();
    assert_eq!(exit.num("process.parent.pid"), u64::from(running.pid()));
}
