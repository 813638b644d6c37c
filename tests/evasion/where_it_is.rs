//! Images on places that no path leads to, or that answer nobody; and images that aren't what they seem.

use crate::lost::Lost;
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::find::Source;
use tests::place::{mount_bind, mount_overlay, mount_tmpfs, private_mounts};
use tests::program::{actor, actor_at, copy, done, join, trick};
use tests::skip::{because, not_here, skip};
use tests::{Event, Folder, Running, Sensor, words};

#[test]
fn on_a_mount_that_is_nowhere() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let payload = actor_at(folder.at("payload"));
    for (way, source) in [("tmpfs", actor()), ("tree", folder.path().to_owned())] {
        let steps = words!["say", "runs", "wait", "unlink", "/proc/self/fd/9/payload", "say", "done", "wait"];
        let mut running = Running::of(trick("detached"), join([words![way, source], steps]));
        running.until("runs");
        let pid = running.pid();
        let exec = sensor
            .find("exec")
            .pid(pid)
            .such("payload", |event| event.get("process.args").is_some_and(|args| args[0] == "payload"));
        let exec = exec.wait();
        assert_eq!(exec.str("process.name"), "payload");
        assert_eq!(exec.str("sensor.exe.state"), "unreachable");
        running.go();
        running.until("done");
        let alert = sensor.find("exe_deleted").pid(pid).wait();
        assert_eq!(alert.str("sensor.method"), "unlink", "{way}");
        assert!(alert.truth("sensor.self"));
        assert_eq!(alert.str("file.name"), "payload");
        assert_eq!(alert.str("file.inode"), exec.str("sensor.exe.inode"));
        assert_eq!(alert.num("event.severity"), 73);
        running.end();
        sensor.fence();
        sensor.find("exe_deleted").pid(pid).one();
    }
    assert!(!payload.exists());
    // At once, before the file system is known: the loss is told, and who did it may not be (docs/limits.md).
    let steps = words!["tmpfs", actor(), "unlink", "/proc/self/fd/9/payload", "say", "done", "wait"];
    let mut running = Running::of(trick("detached"), steps);
    running.until("done");
    let exec = sensor.find("exec").pid(running.pid()).with("process.name", "payload").wait();
    // The numbers of the file and its file system may be used again at once.
    let alerts = sensor.find("exe_deleted").with("file.inode", exec.str("sensor.exe.inode"));
    let pid = running.pid();
    let alert = alerts.such("with this runner", |alert| alert.list("sensor.runners")[0]["pid"] == pid).wait();
    assert_eq!(alert.num("event.severity"), 73);
    assert!(alert.text("process.pid").is_none_or(|told| told == pid.to_string()), "{alert:#}");
    running.end();
}

/// A file system that is mounted in another mount namespace is watched soon after the first exec there
/// (docs/limits.md): waits until it is, as who takes a name is known then.
fn watched(sensor: &Sensor, place: &Path) {
    let known = (0..50).any(|number| {
        let probe = actor_at(place.join(format!("probe-{number}")));
        let mut running = Running::of(&probe, words!["unlink", &probe, "say", "done", "wait"]);
        running.until("done");
        let alert = sensor.find("exe_deleted").file(&probe).wait();
        running.end();
        alert.has("process.pid")
    });
    assert!(known, "{} is not watched", place.display());
}

#[test]
fn on_a_mount_that_is_taken_away_or_covered() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    private_mounts(|| {
        for way in ["lazily", "covered"] {
            let place = folder.folder(way);
            mount_tmpfs(&place, "16m");
            watched(sensor, &place);
            let victim = actor_at(place.join("victim"));
            let file = fs::metadata(&victim).unwrap();
            let mut command = Command::new(&victim);
            command.args(words!["say", "runs", "wait", "unlink", "victim", "say", "done", "wait"]);
            let mut running = Running::start(command.current_dir(&place));
            running.until("runs");
            if way == "lazily" {
                umount2(&place, MntFlags::MNT_DETACH).unwrap();
            } else {
                mount_tmpfs(&place, "4k");
            }
            assert!(!victim.exists());
            running.go();
            running.until("done");
            let by = (running.pid(), victim.as_path());
            Lost {
                path: &victim,
                file: &file,
                method: "unlink",
                by,
                runners: vec![running.pid()],
                severity: 73,
            }
            .told(sensor);
            running.end();
            let exit = sensor.find("exit").pid(running.pid()).wait();
            assert_eq!(exit.str("process.executable"), victim.to_string_lossy());
        }
    });
}

#[test]
fn executed_after_its_mount_was_taken_away() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    private_mounts(|| {
        let place = folder.folder("place");
        mount_tmpfs(&place, "16m");
        watched(sensor, &place);
        actor_at(place.join("victim"));
        let mut command = Command::new("/bin/sh");
        let steps = "echo ready; read line; exec ./victim say runs wait unlink victim say done wait";
        let mut running = Running::start(command.args(words!["-c", steps]).current_dir(&place));
        running.until("ready");
        umount2(&place, MntFlags::MNT_DETACH).unwrap();
        running.go();
        running.until("runs");
        let exec = sensor.find("exec").pid(running.pid()).arg("./victim").wait();
        assert_eq!(exec.str("sensor.exe.state"), "unreachable");
        assert_eq!(exec.str("process.name"), "victim");
        running.go();
        running.until("done");
        let alert = sensor.find("exe_deleted").pid(running.pid()).wait();
        assert!(alert.truth("sensor.self"));
        assert_eq!(alert.str("sensor.method"), "unlink");
        running.end();
    });
}

#[test]
fn with_the_folder_above_it() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let victim = actor_at(folder.folder("a").join("victim"));
    let file = fs::metadata(&victim).unwrap();
    let mut running = Running::idle(&victim);
    let rm = fs::canonicalize("/bin/rm").unwrap();
    let mut doer = Running::of(&rm, words!["-r", folder.at("a")]);
    assert!(doer.end().success());
    let by = (doer.pid(), rm.as_path());
    Lost { path: &victim, file: &file, method: "unlink", by, runners: vec![running.pid()], severity: 73 }
        .told(sensor);
    running.end();
    let exit = sensor.find("exit").pid(running.pid()).wait();
    assert_eq!(exit.str("process.executable"), victim.to_string_lossy());
    assert_eq!(exit.str("sensor.exe.state"), "deleted");
}

#[test]
fn a_name_that_is_taken_and_given_again() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let (victim, link) = (actor_at(folder.at("victim")), folder.at("link"));
    let file = fs::metadata(&victim).unwrap();
    // At the end the path leads to the running file again, by another entry.
    let steps =
        words!["link", &victim, &link, "unlink", &victim, "rename", &link, &victim, "say", "done", "wait"];
    let mut running = Running::of(&victim, steps);
    running.until("done");
    let by = (running.pid(), victim.as_path());
    Lost { path: &victim, file: &file, method: "unlink", by, runners: vec![running.pid()], severity: 73 }
        .told(sensor);
    running.end();
}

#[test]
fn a_name_that_comes_back_at_once() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let (victim, away) = (actor_at(folder.at("victim")), folder.at("away"));
    let mut steps = words!["say", "runs", "wait"];
    for _ in 0..20 {
        steps.extend(words!["rename", &victim, &away, "rename", &away, &victim]);
    }
    steps.extend(words!["say", "done", "wait", "unlink", &victim, "say", "gone", "wait"]);
    let mut running = Running::of(&victim, steps);
    running.until("runs");
    running.go();
    running.until("done");
    running.go();
    running.until("gone");
    // What was back before anybody looked isn't told (docs/limits.md); the name that is gone for good is.
    let alerts = sensor.find("exe_deleted").file(&victim).with("sensor.method", "unlink");
    let alert = alerts.wait();
    assert_eq!(alert.num("process.pid"), u64::from(running.pid()));
    running.end();
    sensor.fence();
    alerts.one();
    for alert in sensor.find("exe_deleted").pid(running.pid()).with("sensor.method", "rename").all() {
        alert.whole();
        assert!(alert.truth("sensor.self"));
    }
}

#[test]
fn behind_the_back_of_an_overlay() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| folder.folder(name));
    actor_at(upper.join("victim"));
    private_mounts(|| {
        if let Err(why) = mount_overlay(&lower, &upper, &work, &merged) {
            let _ = because(&format!("no overlay can be mounted here: {why}"));
            return;
        }
        let victim = merged.join("victim");
        let mut running = Running::idle(&victim);
        done(&actor(), words!["unlink", upper.join("victim")]);
        sensor.fence();
        // The overlay itself doesn't notice (docs/limits.md), and nothing else is wrong.
        let exec = sensor.find("exec").pid(running.pid()).exe(&victim).one();
        assert_eq!(exec.str("sensor.exe.state"), "present");
        running.end();
        let exit = sensor.find("exit").pid(running.pid()).wait();
        assert_eq!(exit.str("process.executable"), victim.to_string_lossy());
        sensor.find("exe_deleted").file(&victim).none();
    });
}

/// The loader of dynamic programs, as it is called, where there is one.
fn loader() -> Option<PathBuf> {
    let path = PathBuf::from("/lib64/ld-linux-x86-64.so.2");
    path.exists().then_some(path)
}

#[test]
fn run_by_the_loader() {
    if skip() {
        return;
    }
    let Some(loader) = loader() else {
        let _ = because("there is no loader of dynamic programs");
        return;
    };
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let payload = folder.at("payload");
    copy(&fs::canonicalize("/bin/cat").unwrap(), &payload);
    let mut running = Running::of(&loader, words![&payload]);
    running.go();
    assert_eq!(running.line(), "", "it runs");
    let exec = sensor.find("exec").pid(running.pid()).arg(&payload).wait();
    assert_eq!(exec.str("process.executable"), fs::canonicalize(&loader).unwrap().to_string_lossy());
    assert_eq!(exec.texts("process.args"), [loader.to_str().unwrap(), payload.to_str().unwrap()]);
    // What is executed for the kernel is the loader; that the payload goes isn't told (docs/limits.md).
    fs::remove_file(&payload).unwrap();
    running.end();
    sensor.find("exit").pid(running.pid()).wait();
    sensor.fence();
    sensor.find("exe_deleted").file(&payload).none();
}

#[test]
fn a_script_that_deletes_itself() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let script = folder.at("script");
    let text = "#!/bin/sh\nrm -- \"$0\"\necho done\nread line\n";
    done(
        Path::new("/bin/sh"),
        words!["-c", "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", text, &script],
    );
    let mut running = Running::of(&script, words!["word"]);
    running.until("done");
    assert!(!script.exists());
    let shell = fs::canonicalize("/bin/sh").unwrap();
    let exec = sensor.find("exec").pid(running.pid()).exe(&shell).wait();
    assert_eq!(exec.str("sensor.script.path"), script.to_string_lossy());
    assert_eq!(exec.texts("process.args"), ["/bin/sh", script.to_str().unwrap(), "word"]);
    // Who takes it is told with its arguments; that it is gone is no alert (docs/limits.md).
    let rm = sensor.find("exec").with("process.parent.pid", running.pid()).arg(&script).wait();
    assert_eq!(rm.texts("process.args"), ["rm", "--", script.to_str().unwrap()]);
    running.end();
    sensor.find("exit").pid(running.pid()).wait();
    sensor.fence();
    sensor.find("exe_deleted").file(&script).none();
}

#[test]
fn called_another_file_by_the_kernel() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let (victim, innocent) = (folder.at("victim"), actor_at(folder.at("innocent")));
    copy(&trick("exefile"), &victim);
    let mut running = Running::of(&victim, words![&innocent]);
    running.until("done");
    assert_eq!(running.link("exe"), innocent.to_string_lossy(), "as ls and ps show it");
    assert!(!victim.exists());
    sensor.fence();
    // It goes by what was executed, in all that comes after; that the file is gone may not be told, as nothing of
    // it runs any more (docs/limits.md).
    let exec = sensor.find("exec").pid(running.pid()).wait();
    running.end();
    let exit = sensor.find("exit").pid(running.pid()).wait();
    for event in [&exec, &exit] {
        assert_eq!(event.str("process.executable"), victim.to_string_lossy());
        assert_eq!(event.str("process.entity_id"), exec.str("process.entity_id"));
    }
    sensor.fence();
    sensor.find("exec").pid(running.pid()).one();
    let about = |event: &Event| event.text("file.path").is_some_and(|path| path.ends_with("/innocent"));
    sensor.find("exe_deleted").such("the innocent file", about).none();
    // Some hooks know the file all the same, at the end of the function that took the name or by a look just then: once.
    let alerts = sensor.find("exe_deleted").file(&victim).all();
    assert!(alerts.len() <= 1, "{alerts:#?}");
    for alert in alerts {
        assert_eq!(alert.num("process.pid"), u64::from(running.pid()), "{alert:#}");
    }
}

fn without_fuse() -> bool {
    !Path::new("/dev/fuse").exists() && because("there is no /dev/fuse")
}

/// The sensor goes on: of another file, that of a disk, all is told.
fn another_is_told(sensor: &Sensor, folder: &Folder) {
    let victim = actor_at(folder.at("victim"));
    let file = fs::metadata(&victim).unwrap();
    let mut running = Running::of(&victim, words!["unlink", &victim, "say", "done", "wait"]);
    running.until("done");
    let by = (running.pid(), victim.as_path());
    Lost { path: &victim, file: &file, method: "unlink", by, runners: vec![running.pid()], severity: 73 }
        .told(sensor);
    running.end();
}

#[test]
fn on_layers_over_one_that_never_answers() {
    if skip() || without_fuse() {
        return;
    }
    let (sensor, folder) = (Sensor::with().live(), Folder::new());
    for name in ["below", "empty", "over"] {
        folder.folder(name);
    }
    let mut running =
        Running::of(trick("silentfuse"), words!["layers", folder.path(), actor(), "say", "runs", "hang"]);
    if running.line() == "refused" {
        let _ = not_here("users mount overlays from Linux 5.11 on");
        return;
    }
    let exec = sensor.find("exec").exe(folder.at("over/payload")).wait();
    assert_eq!(exec.str("sensor.exe.state"), "present");
    another_is_told(&sensor, &folder);
    running.end();
    sensor.find("exit").pid(u32::try_from(exec.num("process.pid")).unwrap()).wait();
    sensor.stop().clean();
}

#[test]
fn on_a_file_system_that_never_answers() {
    if skip() || without_fuse() {
        return;
    }
    let (sensor, folder) = (Sensor::with().live(), Folder::new());
    private_mounts(|| {
        let place = folder.folder("place");
        let steps = words![&place, actor(), "say", "runs", "hang"];
        let mut running = Running::of(trick("silentfuse"), steps);
        running.until("runs");
        let payload = place.join("payload");
        let exec = sensor.find("exec").exe(&payload).wait();
        assert_eq!(exec.str("process.name"), "payload");
        assert_eq!(exec.str("sensor.exe.state"), "present");
        // Another file, that of a disk, with a path that leads through it.
        let real = actor_at(folder.at("real"));
        let pid = u32::try_from(exec.num("process.pid")).unwrap();
        mount_bind(&real, &payload);
        let mut through = Running::idle(&payload);
        sensor.find("exec").pid(through.pid()).exe(&payload).wait();
        running.go();
        done(&actor(), words!["unlink", &real]);
        let alert = sensor.find("exe_deleted").file(&payload).wait();
        assert_eq!(alert.str("sensor.method"), "unlink");
        assert_eq!(alert.list("sensor.runners")[0]["pid"], through.pid());
        through.end();
        another_is_told(&sensor, &folder);
        running.end();
        sensor.find("exit").pid(pid).wait();
    });
    sensor.stop().clean();
}

/// The path by which it was executed leads there afterwards, by a link in place of a folder.
#[test]
fn by_a_link_to_where_nobody_answers() {
    if skip() || without_fuse() {
        return;
    }
    let (sensor, folder) = (Sensor::with().live(), Folder::new());
    private_mounts(|| {
        let (place, near) = (folder.folder("place"), folder.folder("near"));
        let mut silent = Running::of(trick("silentfuse"), words![&place, actor(), "say", "runs", "hang"]);
        silent.until("runs");
        let victim = actor_at(near.join("payload"));
        let mut running = Running::idle(&victim);
        sensor.find("exec").exe(&victim).wait();
        silent.go();
        let aside = folder.at("aside");
        fs::rename(&near, &aside).unwrap();
        std::os::unix::fs::symlink("place", &near).unwrap();
        done(&actor(), words!["unlink", aside.join("payload")]);
        let alert = sensor.find("exe_deleted").file(&victim).wait();
        assert_eq!(alert.str("sensor.method"), "unlink", "{alert:#}");
        assert_eq!(alert.list("sensor.runners")[0]["pid"], running.pid());
        another_is_told(&sensor, &folder);
        running.end();
        silent.end();
    });
    sensor.stop().clean();
}
