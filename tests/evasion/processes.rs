//! Who did it: processes that are hard to tell from others.

use crate::lost::Lost;
use std::fs;
use std::path::Path;
use tests::find::Source;
use tests::program::{actor, actor_at, copy, join, nest, trick};
use tests::skip::skip;
use tests::{Folder, Running, Sensor, words};

/// Flags of `clone(2)`, with `SIGCHLD` (17) but for the one that tells nobody of its end.
const CLONES: [(&str, u32); 8] = [
    ("CLONE_VM", 0x100 | 17),
    ("CLONE_VM CLONE_SIGHAND CLONE_FS CLONE_FILES", 0x100 | 0x800 | 0x200 | 0x400 | 17),
    ("CLONE_FILES CLONE_FS CLONE_IO", 0x400 | 0x200 | 0x8000_0000 | 17),
    ("CLONE_PARENT", 0x8000 | 17),
    ("CLONE_UNTRACED", 0x80_0000 | 17),
    ("CLONE_VM CLONE_VFORK", 0x100 | 0x4000 | 17),
    ("CLONE_NEWPID CLONE_NEWNS CLONE_NEWUSER", 0x2000_0000 | 0x2_0000 | 0x1000_0000 | 17),
    ("no signal", 0),
];

#[test]
fn children_of_every_sort_delete_themselves() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    for (number, (name, flags)) in CLONES.into_iter().enumerate() {
        let victim = folder.at(format!("victim-{number}"));
        copy(&trick("clones"), &victim);
        let file = fs::metadata(&victim).unwrap();
        let mut running = Running::of(&victim, words![flags.to_string(), &victim]);
        let child: u32 = running.line().parse().unwrap();
        let fork = sensor.find("fork").pid(child).wait();
        let parent = if name == "CLONE_PARENT" { std::process::id() } else { running.pid() };
        assert_eq!(fork.num("process.parent.pid"), u64::from(parent), "{name}");
        assert_eq!(fork.str("process.executable"), victim.to_string_lossy(), "{name}");
        let by = (child, victim.as_path());
        let runners = vec![running.pid(), child];
        let alert =
            Lost { path: &victim, file: &file, method: "unlink", by, runners, severity: 73 }.told(sensor);
        assert_eq!(alert.str("process.entity_id"), fork.str("process.entity_id"), "{name}");
        let exit = sensor.find("exit").pid(child).wait();
        assert_eq!(exit.num("process.exit_code"), 0, "{name}");
        running.end();
    }
}

#[test]
fn an_innocent_process_with_the_pid_of_who_did_it() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let innocent = actor_at(folder.at("innocent"));
    let pidreuse = trick("pidreuse");
    for round in 0..5 {
        let victim = actor_at(folder.at(format!("victim-{round}")));
        let mut running = Running::idle(&victim);
        let mut doer = Running::of(&pidreuse, words![&victim, &innocent, "hang"]);
        let pid: u32 = doer.line().parse().unwrap();
        sensor.find("exec").pid(pid).exe(&innocent).wait();
        let alert = sensor.find("exe_deleted").file(&victim).wait();
        // Of the three of that pid the second.
        let forks = sensor.find("fork").pid(pid).all();
        let [_, guilty, _] = forks.as_slice() else { panic!("{forks:?}") };
        match alert.text("process.entity_id") {
            Some(told) => {
                assert_eq!(told, guilty.str("process.entity_id"), "{alert:#}");
                assert_eq!(alert.str("process.executable"), pidreuse.to_string_lossy(), "{alert:#}");
                assert_eq!(alert.str("sensor.method"), "unlink");
            }
            // Both had the pid between two looks (docs/limits.md).
            None => assert_eq!(alert.str("sensor.method"), "sweep", "{alert:#}"),
        }
        assert_eq!(alert.num("event.severity"), 73);
        assert_eq!(alert.list("sensor.runners").len(), 1);
        assert_eq!(alert.list("sensor.runners")[0]["pid"], running.pid());
        doer.end();
        running.end();
    }
}

#[test]
fn in_namespaces_of_its_own() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let victim = folder.at("victim");
    copy(&actor(), &victim);
    let file = fs::metadata(&victim).unwrap();
    let words = words![
        "--user",
        "--pid",
        "--fork",
        "--mount",
        "--net",
        "--map-root-user",
        "--mount-proc",
        &victim,
        "pid",
        "unlink",
        &victim,
        "say",
        "done",
        "wait"
    ];
    let mut running = Running::of("/usr/bin/unshare", words);
    let inside = running.until("done");
    assert_eq!(inside, ["1"], "its pid in its own eyes");
    let exec = sensor.find("exec").exe(&victim).wait();
    let pid = u32::try_from(exec.num("process.pid")).unwrap();
    assert_ne!(pid, 1);
    for space in ["user", "pid", "mnt", "net"] {
        let link = fs::read_link(format!("/proc/{pid}/ns/{space}")).unwrap().to_string_lossy().into_owned();
        assert_eq!(exec.str(&format!("sensor.namespace.{space}")), link.split(['[', ']']).nth(1).unwrap());
    }
    let by = (pid, victim.as_path());
    Lost { path: &victim, file: &file, method: "unlink", by, runners: vec![pid], severity: 73 }.told(sensor);
    running.end();
    sensor.find("exit").pid(pid).wait();
}

#[test]
fn named_like_a_kernel_thread() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let victim = actor_at(folder.at("victim"));
    let file = fs::metadata(&victim).unwrap();
    let steps =
        words!["[kworker/0:1]", "rename-self", "kworker/0:1", "unlink", &victim, "say", "done", "wait"];
    let mut running = Running::of(actor(), nest(&format!("exec-as {}", victim.display()), steps));
    running.until("done");
    let comm = fs::read_to_string(format!("/proc/{}/comm", running.pid())).unwrap();
    assert_eq!(comm.trim(), "kworker/0:1", "as ps shows it");
    let by = (running.pid(), victim.as_path());
    let alert =
        Lost { path: &victim, file: &file, method: "unlink", by, runners: vec![running.pid()], severity: 73 }
            .told(sensor);
    assert_eq!(alert.str("process.name"), "victim");
    assert_eq!(alert.texts("process.args")[0], "[kworker/0:1]");
    assert_eq!(alert.num("process.parent.pid"), u64::from(std::process::id()), "no child of kthreadd");
    running.end();
    let exit = sensor.find("exit").pid(running.pid()).wait();
    assert_eq!(
        (exit.str("process.name"), exit.str("process.executable")),
        ("victim", &*victim.to_string_lossy())
    );
}

#[test]
fn twice_in_a_row_and_by_a_child_that_shares_its_memory() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    // The image that deletes the first is the third; the second one's child by vfork deletes it.
    let [first, second, third] = ["first", "second", "third"].map(|name| actor_at(folder.at(name)));
    let file = fs::metadata(&second).unwrap();
    let last = words![&third, "unlink", &second, "pid"];
    let steps = join([words![&second], nest("vfork", last), words!["say", "done", "wait"]]);
    let mut running = Running::of(&first, nest("exec", steps));
    let child: u32 = running.until("done")[0].parse().unwrap();
    let by: (u32, &Path) = (child, &third);
    Lost { path: &second, file: &file, method: "unlink", by, runners: vec![running.pid()], severity: 73 }
        .told(sensor);
    running.end();
}
