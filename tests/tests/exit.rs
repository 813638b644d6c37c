//! `exit`: once per process, however it ends, with what it used.

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use tests::find::Source;
use tests::program::{actor, actor_at, nest, threads, tiny};
use tests::skip::{because, skip};
use tests::{Folder, Running, Sensor, words};

#[test]
fn return_codes() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    for code in [0, 1, 7, 255] {
        let mut running = Running::of(actor(), words!["exit", code.to_string()]);
        assert_eq!(running.end().code(), Some(code));
        let event = sensor.find("exit").pid(running.pid()).wait();
        assert_eq!(event.num("process.exit_code"), u64::try_from(code).unwrap());
        assert!(!event.has("sensor.signal"));
        assert_eq!(event.texts("event.category"), ["process"]);
        assert_eq!(event.texts("event.type"), ["end"]);
        assert!(event.str("process.start") < event.str("process.end"));
    }
}

#[test]
fn signals() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let cases = [
        (9, words!["signal", "9"]),
        (15, words!["signal", "15"]),
        (11, words!["segv"]),
        (6, words!["signal", "6"]),
    ];
    for (signal, steps) in cases {
        let mut running = Running::of(actor(), steps);
        assert_eq!(running.end().signal(), Some(signal));
        let event = sensor.find("exit").pid(running.pid()).wait();
        assert_eq!(event.num("sensor.signal"), u64::try_from(signal).unwrap());
        assert!(!event.has("process.exit_code"), "{event:#}");
    }
}

/// The kernel gives its memory back between its last breath and, before Linux 6.16, where its exit is told. Meanwhile
/// the sensor looks at everything each millisecond, as a name went.
#[test]
fn one_that_takes_long_to_end_is_known_until_then() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("large"));
    let mut running = Running::of(&program, words!["hold", "512", "unlink", &program, "exit", "3"]);
    assert_eq!(running.wait().code(), Some(3));
    let event = sensor.find("exit").pid(running.pid()).wait();
    assert_eq!(event.str("process.executable"), program.to_str().unwrap());
    assert_eq!(event.texts("process.args").len(), 7);
    assert!(sensor.find("exe_deleted").pid(running.pid()).wait().truth("sensor.self"));
}

#[test]
fn exit_group_by_another_thread() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(threads(), words!["exit-group", "7"]);
    assert_eq!(running.end().code(), Some(7));
    sensor.find("exit").pid(running.pid()).wait();
    sensor.fence();
    let event = sensor.find("exit").pid(running.pid()).one();
    assert_eq!(event.num("process.exit_code"), 7);
}

#[test]
fn the_leader_ends_first() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(threads(), words!["leader-first", "8"]);
    running.until("alone");
    sensor.fence();
    sensor.find("exit").pid(running.pid()).none();
    running.go();
    assert_eq!(running.wait().code(), Some(8));
    sensor.find("exit").pid(running.pid()).wait();
    sensor.fence();
    let event = sensor.find("exit").pid(running.pid()).one();
    assert_eq!(event.num("process.exit_code"), 8, "{event:#}");
}

#[test]
fn threads_are_no_processes() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(threads(), words!["idle", "40"]);
    running.end();
    let pid = running.pid();
    sensor.find("exit").pid(pid).wait();
    sensor.fence();
    sensor.find("exit").pid(pid).one();
    sensor.find("fork").pid(pid).one();
    sensor.find("fork").with("process.parent.pid", pid).none();
}

/// Also of those at which the scheduler never looked while they ran.
#[test]
fn processor_time_of_the_shortest_lives() {
    if skip() {
        return;
    }
    const LIVES: usize = 50;
    let sensor = Sensor::shared();
    // What the scheduler has summed up of it when it has ended and isn't reaped yet.
    let live = |_| {
        let mut child = Command::new(tiny()).spawn().unwrap();
        let id = Id::Pid(Pid::from_raw(child.id().try_into().unwrap()));
        waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        let line = fs::read_to_string(format!("/proc/{}/schedstat", child.id())).unwrap();
        let sum: u64 = line.split(' ').next().unwrap().parse().unwrap();
        child.wait().unwrap();
        (child.id(), sum)
    };
    let lives: Vec<(u32, u64)> = (0..LIVES).map(live).collect();
    sensor.fence();
    let mut shares = Vec::new();
    for (pid, sum) in lives {
        let cpu = sensor.find("exit").pid(pid).wait().num("sensor.usage.cpu_ns");
        assert!(cpu > 0, "{pid}: {cpu} of {sum} ns");
        shares.push(100 * cpu / sum);
    }
    shares.sort_unstable();
    // The kernel goes on with it after the end that is told, and its creator was at work on it before.
    assert!((40..=120).contains(&shares[LIVES / 2]), "percent of the scheduler's sum: {shares:?}");
}

#[test]
fn processor_time_of_all_threads() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(threads(), words!["burn", "3", "30"]);
    running.end();
    let event = sensor.find("exit").pid(running.pid()).wait();
    let cpu = event.num("sensor.usage.cpu_ns");
    assert!((90_000_000..2_000_000_000).contains(&cpu), "{cpu} ns");

    let mut running = Running::of(actor(), words!["cpu", "60"]);
    running.end();
    let event = sensor.find("exit").pid(running.pid()).wait();
    let cpu = event.num("sensor.usage.cpu_ns");
    assert!((60_000_000..1_000_000_000).contains(&cpu), "{cpu} ns");
}

#[test]
fn the_most_memory_at_once() {
    if skip() {
        return;
    }
    let sensor = Sensor::shared();
    let mut running = Running::of(actor(), words!["touch", "40", "touch", "8"]);
    running.end();
    let event = sensor.find("exit").pid(running.pid()).wait();
    let most = event.num("sensor.usage.max_rss_bytes") >> 20;
    assert!((40..48).contains(&most), "{most} MiB");
}

/// Compares the totals with `/proc/PID/io`, read when the process has nothing to do any more but end.
fn compare(sensor: &Sensor, mut running: Running) -> tests::Event {
    running.until("did");
    let names = ["rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes"];
    let [rchar, wchar, syscr, syscw, read, write, cancelled] = names.map(|name| running.io(name));
    running.end();
    let event = sensor.find("exit").pid(running.pid()).wait();
    let usage = |name: &str| event.num(&format!("sensor.usage.{name}"));
    assert_eq!(usage("file.read_bytes"), rchar);
    assert_eq!(usage("file.write_bytes"), wchar);
    // The read that waits for the test is counted when it returns.
    assert!((syscr..=syscr + 1).contains(&usage("file.read_calls")));
    assert_eq!(usage("file.write_calls"), syscw);
    assert_eq!(usage("disk.read_bytes"), read);
    assert_eq!(usage("disk.write_bytes"), write);
    assert_eq!(usage("disk.cancelled_write_bytes"), cancelled);
    event
}

#[test]
fn bytes_read_and_written() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let file = folder.at("file");
    let steps = words!["write", &file, "300000", "read", &file, "say", "did", "wait"];
    let event = compare(sensor, Running::of(actor(), steps));
    assert!(event.num("sensor.usage.file.write_bytes") >= 300_000);
    assert!(event.num("sensor.usage.file.read_bytes") >= 300_000);
}

#[test]
fn bytes_that_never_reached_the_disk() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let file = folder.at("file");
    let steps = words!["write", &file, "1048576", "unlink", &file, "say", "did", "wait"];
    compare(sensor, Running::of(actor(), steps));
}

#[test]
fn direct_writes() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let file = folder.at("file");
    let mut running = Running::of(actor(), words!["try", "direct", &file, "1048576", "say", "did", "wait"]);
    if running.line() != "did" {
        let _ = because("the folder for temporary files lies on a file system without O_DIRECT");
        return;
    }
    if running.io("write_bytes") == 0 {
        let _ = because("the folder for temporary files lies on no disk");
        return;
    }
    running.end();
    let steps = words!["direct", &file, "1048576", "say", "did", "wait"];
    let event = compare(sensor, Running::of(actor(), steps));
    assert!(event.num("sensor.usage.disk.write_bytes") >= 1_048_576);
}

#[test]
fn a_process_that_never_executed_anything() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let mut running = Running::of(&program, nest("fork", words!["pid", "exit", "5"]));
    let child: u32 = running.line().parse().unwrap();
    running.end();
    let event = sensor.find("exit").pid(child).wait();
    assert_eq!(event.num("process.exit_code"), 5);
    assert_eq!(event.str("process.executable"), program.to_string_lossy(), "it runs its parent's image");
    assert_eq!(event.num("process.parent.pid"), u64::from(running.pid()));
    let fork = sensor.find("fork").pid(child).one();
    assert_eq!(fork.str("process.entity_id"), event.str("process.entity_id"));
}

#[test]
fn an_orphan() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let mut running = Running::of(&program, nest("leave", words!["pid", "wait", "exit", "4"]));
    let child: u32 = running.line().parse().unwrap();
    running.wait();
    sensor.find("exit").pid(running.pid()).wait();
    assert!(fs::exists(format!("/proc/{child}")).unwrap());
    running.close();
    let event = sensor.find("exit").pid(child).wait();
    assert_eq!(event.num("process.exit_code"), 4);
    assert!(event.has("process.parent.executable"), "{event:#}");
}
