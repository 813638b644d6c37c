//! `fork`: one for each process, none for threads, with the right parent.

use tests::find::Source;
use tests::program::{actor_at, join, nest, storm};
use tests::skip::skip;
use tests::{Folder, Running, Sensor, words};

#[test]
fn each_way_to_be_born() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    for way in ["fork", "clone", "clone3", "vfork", "run"] {
        let inner = if way == "vfork" || way == "run" { words![&program, "pid"] } else { words!["pid"] };
        let mut running = Running::of(&program, nest(way, inner));
        let (parent, child) = (running.pid(), running.line().parse::<u32>().unwrap());
        running.end();
        sensor.find("exit").pid(parent).wait();
        let event = sensor.find("fork").pid(child).one();
        assert_eq!(event.texts("event.category"), ["process"], "{way}");
        assert_eq!(event.texts("event.type"), ["start"], "{way}");
        assert_eq!(event.num("process.parent.pid"), u64::from(parent), "{way}");
        assert_eq!(event.str("process.parent.executable"), program.to_string_lossy(), "{way}");
        assert_eq!(event.str("process.executable"), program.to_string_lossy(), "{way}");
        let parents = sensor.find("fork").pid(parent).one();
        assert_eq!(event.str("process.parent.entity_id"), parents.str("process.entity_id"), "{way}");
        assert_eq!(sensor.find("fork").with("process.parent.pid", parent).all().len(), 1, "{way}");
    }
}

#[test]
fn a_child_given_to_the_parent() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let [outer, inner] = ["outer", "inner"].map(|name| actor_at(folder.at(name)));
    // `inner`, a child of `outer`, makes a process which is a child of `outer` too.
    let steps = join([words![&inner], nest("clone-parent", words!["pid", "say", "born"])]);
    let mut running = Running::of(&outer, join([nest("run", steps), words!["wait"]]));
    let child: u32 = running.until("born").last().unwrap().parse().unwrap();
    let event = sensor.find("fork").pid(child).wait();
    assert_eq!(event.num("process.parent.pid"), u64::from(running.pid()));
    assert_eq!(event.str("process.parent.executable"), outer.to_string_lossy());
    assert_eq!(event.str("process.executable"), inner.to_string_lossy(), "it runs the image of who made it");
    running.end();
}

#[test]
fn a_pid_used_again_is_another_process() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let mut running = Running::of(&program, nest("fork", words!["pid"]));
    let child = running.line();
    running.end();
    let pid: u32 = child.parse().unwrap();
    sensor.find("exit").pid(pid).wait();
    let mut again = Running::of(&program, nest(&format!("clone-at {child}"), words!["pid"]));
    assert_eq!(again.line(), child);
    again.end();
    sensor.find("exit").pid(again.pid()).wait();
    let forks = sensor.find("fork").pid(pid).all();
    let exits = sensor.find("exit").pid(pid).all();
    assert_eq!((forks.len(), exits.len()), (2, 2));
    assert_ne!(forks[0].str("process.entity_id"), forks[1].str("process.entity_id"));
    for (fork, exit) in forks.iter().zip(&exits) {
        assert_eq!(fork.str("process.entity_id"), exit.str("process.entity_id"));
    }
}

#[test]
fn a_thousand_births() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    for way in ["fork", "vfork"] {
        let mut running = Running::of(storm(), words![way, "1000"]);
        running.end();
        sensor.find("exit").pid(running.pid()).wait();
        let parent = running.pid();
        assert_eq!(sensor.find("fork").with("process.parent.pid", parent).all().len(), 1000, "{way}");
        assert_eq!(sensor.find("exit").with("process.parent.pid", parent).all().len(), 1000, "{way}");
    }
}
