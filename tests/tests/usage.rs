//! `usage`: what was used each interval, by process and by user; all of it, and nothing twice.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use tests::find::Source;
use tests::lock::{self, Lock};
use tests::program::{actor, join, nest, threads};
use tests::skip::{because, skip};
use tests::{Event, Folder, Running, Sensor, words};

/// Everything that `exit` tells the total of, with its name in `/proc/PID/io`.
const FIELDS: [(&str, &str); 8] = [
    ("sensor.usage.file.read_bytes", "rchar"),
    ("sensor.usage.file.write_bytes", "wchar"),
    ("sensor.usage.file.read_calls", "syscr"),
    ("sensor.usage.file.write_calls", "syscw"),
    ("sensor.usage.disk.read_bytes", "read_bytes"),
    ("sensor.usage.disk.write_bytes", "write_bytes"),
    ("sensor.usage.disk.cancelled_write_bytes", "cancelled_write_bytes"),
    ("sensor.usage.cpu_ns", ""),
];
const CALLS: &str = "sensor.usage.file.read_calls";
const WRITTEN: &str = "sensor.usage.file.write_bytes";
const TO_DISK: &str = "sensor.usage.disk.write_bytes";
const FROM_DISK: &str = "sensor.usage.disk.read_bytes";
const CPU: &str = "sensor.usage.cpu_ns";
/// What a file system writes beside the data, at most: inodes, bitmaps, the folder.
const BESIDE: u64 = 256 * 1024;
const MIB: u64 = 1024 * 1024;

fn each_second() -> (Lock, Sensor) {
    (lock::together(), Sensor::with().config("[usage]\ninterval_s = 1\n").live())
}

/// The events of a process.
fn of(source: &impl Source, pid: impl Into<serde_json::Value>) -> Vec<Event> {
    source.find("usage").with("process.pid", pid).with("sensor.usage.scope", "process").all()
}

fn sum(events: &[Event], field: &str) -> u64 {
    events.iter().map(|event| event.num(field)).sum()
}

/// Lets it go on at each line `did`, when what it did before was told; in the end compares what was told with
/// the total of its life, and that with what /proc says when only the end is left.
fn follow(sensor: &Sensor, mut running: Running, stages: usize) -> Event {
    let (pid, mut last) = (running.pid(), 0);
    for stage in 1..=stages {
        running.until("did");
        if stage < stages {
            let news = |event: &Event| event.num("event.sequence") > last;
            let event = sensor.find("usage").pid(pid).such("news", news).wait();
            last = event.num("event.sequence");
            running.go();
        }
    }
    let io = FIELDS.map(|(_, name)| if name.is_empty() { 0 } else { running.io(name) });
    running.end();
    let exit = sensor.find("exit").pid(pid).wait();
    for ((field, name), io) in FIELDS.into_iter().zip(io) {
        match field {
            CPU => {}
            // The read that waits for the test is counted when it returns.
            CALLS => assert!((io..=io + 1).contains(&exit.num(field)), "{field}: {io} in {exit:#}"),
            _ => assert_eq!(exit.num(field), io, "{field} is not {name}: {exit:#}"),
        }
    }
    whole_life(sensor, &exit);
    exit
}

/// What was told on the way is the total of the life.
fn whole_life(sensor: &Sensor, exit: &Event) {
    let events = of(sensor, exit.num("process.pid"));
    assert!(!events.is_empty(), "nothing was told before {exit:#}");
    for event in &events {
        event.whole();
        assert_eq!(event.str("event.kind"), "metric");
        assert_eq!(event.str("process.entity_id"), exit.str("process.entity_id"));
        assert_eq!(event.str("user.id"), exit.str("user.id"));
        assert!(event.num("event.sequence") < exit.num("event.sequence"), "told after its end: {event:#}");
        assert!(FIELDS.iter().any(|(field, _)| event.num(field) != 0), "nothing is told: {event:#}");
    }
    for (field, _) in FIELDS {
        assert_eq!(sum(&events, field), exit.num(field), "{field}: {events:#?}\n{exit:#}");
    }
}

/// A folder on a disk, if the machine's folder for temporary files is on one.
fn on_disk() -> Option<Folder> {
    let folder = Folder::new();
    let device = fs::metadata(folder.path()).map_or(0, |meta| meta.dev());
    // What is on no device, such as tmpfs, has major number 0.
    (nix::sys::stat::major(device) != 0).then_some(folder)
}

#[test]
fn each_way_of_writing_and_reading() {
    if skip() {
        return;
    }
    let Some(folder) = on_disk() else {
        let _ = because("the folder for temporary files is on no disk");
        return;
    };
    let (_lock, sensor) = each_second();
    let file = folder.at("file");
    let more = folder.at("more");
    let size = (3 * MIB).to_string();
    let ways = [
        ("direct", words!["direct", &file, &size], words!["direct", &more, &size], 3 * MIB),
        ("buffered", words!["write", &file, &size, "sync", &file], words!["write", &more, &size], 3 * MIB),
        ("mapped", words!["mapped", &file, &size], words!["mapped", &more, &size], 0),
    ];
    for (way, first, second, by_calls) in ways {
        let (say, wait) = (words!["say", "did"], words!["wait"]);
        let steps = join([first, say.clone(), wait.clone(), second, say, wait]);
        let exit = follow(&sensor, Running::of(actor(), steps), 2);
        let disk = exit.num(TO_DISK);
        assert!((6 * MIB..=6 * MIB + BESIDE).contains(&disk), "{way}: {disk} to the disk");
        let given = exit.num(WRITTEN);
        assert!((2 * by_calls..=2 * by_calls + 64).contains(&given), "{way}: {given} by calls");
        fs::remove_file(&file).unwrap();
        fs::remove_file(&more).unwrap();
    }
    let steps = words![
        "write", &file, &size, "sync", &file, "cool", &file, "say", "did", "wait", "read", &file, "say",
        "did", "wait"
    ];
    let exit = follow(&sensor, Running::of(actor(), steps), 2);
    let disk = exit.num(FROM_DISK);
    assert!((3 * MIB..=3 * MIB + BESIDE).contains(&disk), "{disk} from the disk");
    assert!(exit.num("sensor.usage.file.read_bytes") >= 3 * MIB);
}

#[test]
fn processor_time() {
    if skip() {
        return;
    }
    let (_lock, sensor) = each_second();
    let steps = words!["cpu", "300", "say", "did", "wait", "cpu", "500", "say", "did", "wait"];
    let exit = follow(&sensor, Running::of(actor(), steps), 2);
    let cpu = exit.num(CPU);
    assert!((500_000_000..1_000_000_000).contains(&cpu), "{cpu} ns");
}

#[test]
fn the_threads_of_a_process() {
    if skip() {
        return;
    }
    let ((_lock, sensor), folder) = (each_second(), Folder::new());
    let file = folder.at("file");
    let mut running = Running::of(threads(), words!["write", "7", "5000", &file]);
    running.until("did");
    sensor.find("usage").pid(running.pid()).wait();
    running.end();
    let exit = sensor.find("exit").pid(running.pid()).wait();
    assert_eq!(exit.num(WRITTEN), 2 * 7 * 5000 + 4);
    whole_life(&sensor, &exit);
}

/// A thread wakes who joins it before the kernel has added what it used to its process.
#[test]
fn threads_that_still_end_when_the_process_does() {
    if skip() {
        return;
    }
    let ((_lock, sensor), folder) = (each_second(), Folder::new());
    let file = folder.at("file");
    for round in 0..100 {
        let mut running = Running::of(threads(), words!["write", "5", "100", &file]);
        running.end();
        let exit = sensor.find("exit").pid(running.pid()).wait();
        assert_eq!(exit.num(WRITTEN), 2 * 5 * 100 + 4, "round {round}: {exit:#}");
    }
}

#[test]
fn a_user_is_the_sum_of_its_processes_also_of_the_short_ones() {
    if skip() {
        return;
    }
    const UID: u32 = 61_234;
    let ((_lock, sensor), folder) = (each_second(), Folder::new());
    let file = folder.at("file");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let short = nest("fork", words!["write", &file, "1000"]);
    let many = join(std::iter::repeat_n(short, 60));
    let steps = join([many.clone(), words!["say", "did", "wait"], many]);
    let mut running = Running::start(Command::new(actor()).args(steps).uid(UID).gid(UID));
    running.until("did");
    sensor.find("usage").pid(running.pid()).wait();
    running.end();
    sensor.find("exit").pid(running.pid()).wait();
    sensor.fence();
    let end = sensor.stop();
    end.clean();
    let exits = end.find("exit").with("process.user.id", UID.to_string()).all();
    assert_eq!(exits.len(), 121);
    for exit in &exits {
        let events = of(&end, exit.num("process.pid"));
        for (field, _) in FIELDS {
            let told = sum(&events, field);
            assert!(events.is_empty() || told == exit.num(field), "{field}: {told} of {exit:#}");
        }
    }
    let user = end.find("usage").with("sensor.usage.scope", "user").with("user.id", UID.to_string()).all();
    assert!(user.iter().all(|event| !event.has("process.pid")));
    for (field, _) in FIELDS.iter().filter(|(field, _)| *field != CPU) {
        assert_eq!(sum(&user, field), sum(&exits, field), "{field}: {user:#?}");
    }
    // Before it became this user the child of the test used some, and a reading may have come just then.
    let (told, used) = (sum(&user, CPU), sum(&exits, CPU));
    assert!(told <= used && told >= used / 10 * 9, "{told} of {used} ns");
    assert_eq!(sum(&exits, WRITTEN), 120 * 1000 + 4);
}

#[test]
fn a_login_user_stays_beside_the_effective_one() {
    if skip() {
        return;
    }
    const UID: u32 = 61_235;
    let ((_lock, sensor), folder) = (each_second(), Folder::new());
    let file = folder.at("file");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let steps =
        words!["loginuid", "61236", "become", UID.to_string(), "write", &file, "7000", "say", "did", "wait"];
    let mut running = Running::of(actor(), steps);
    running.until("did");
    let event =
        sensor.find("usage").with("sensor.usage.scope", "user").with("user.id", UID.to_string()).wait();
    assert_eq!(event.str("sensor.login.uid"), "61236");
    assert!((7000..7200).contains(&event.num(WRITTEN)), "{event:#}");
    let event = sensor.find("usage").pid(running.pid()).with("user.id", UID.to_string()).wait();
    assert_eq!(event.str("sensor.login.uid"), "61236");
    running.end();
}

#[test]
fn what_was_used_before_the_sensor_is_not_told() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let file = folder.at("file");
    let steps = words![
        "write", &file, "900000", "say", "before", "wait", "write", &file, "30000", "say", "did", "wait"
    ];
    let mut running = Running::of(actor(), steps);
    running.until("before");
    let before = running.io("wchar");
    let (_lock, sensor) = each_second();
    running.go();
    running.until("did");
    let used = running.io("wchar") - before;
    assert_eq!(used, 30_000 + 4);
    running.end();
    let exit = sensor.find("exit").pid(running.pid()).wait();
    assert_eq!(exit.num(WRITTEN), before + used);
    assert_eq!(sum(&of(&sensor, running.pid()), WRITTEN), used);
}

#[test]
fn who_does_nothing_is_not_told() {
    if skip() {
        return;
    }
    let (_lock, sensor) = each_second();
    let running = Running::idle(actor());
    let pid = running.pid();
    // Its beginning is something.
    let first = sensor.find("usage").pid(pid).wait();
    let after = first.num("event.sequence");
    let mut last = after;
    for _ in 0..3 {
        // The test itself does something for root each interval.
        let later = |event: &Event| event.num("event.sequence") > last;
        let users = sensor.find("usage").with("sensor.usage.scope", "user").with("user.id", "0");
        let event = users.such("a later reading", later).wait();
        let ms = event.num("sensor.interval_ms");
        assert!((500..10_000).contains(&ms), "{ms} ms");
        last = event.num("event.sequence");
    }
    let told: Vec<_> =
        of(&sensor, pid).into_iter().filter(|event| event.num("event.sequence") > after).collect();
    // It may have been on its way to doing nothing when it was told first.
    assert!(told.len() <= 1, "{told:#?}");
    drop(running);
}

#[test]
fn never_when_it_is_switched_off() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let sensor = Sensor::with().config("[usage]\ninterval_s = 0\n").live();
    sensor.fence();
    let end = sensor.stop();
    end.clean();
    end.find("usage").none();
    assert_eq!(end.account()["usage"].delivered, 0);
}

/// What was used since the last reading comes out at a clean stop too.
#[test]
fn a_stop_tells_the_rest() {
    if skip() {
        return;
    }
    let ((lock, folder), file) = ((lock::together(), Folder::new()), "file");
    let sensor = Sensor::with().config("[usage]\ninterval_s = 3600\n").live();
    let steps = words!["write", folder.at(file), "50000", "say", "did", "wait"];
    let mut running = Running::of(actor(), steps);
    running.until("did");
    sensor.find("exec").pid(running.pid()).wait();
    let end = sensor.stop();
    end.clean();
    let event = end.find("usage").pid(running.pid()).one();
    assert_eq!(event.num(WRITTEN), 50_004);
    let users = end.find("usage").with("sensor.usage.scope", "user").with("user.id", "0").all();
    assert!(sum(&users, WRITTEN) >= 50_004);
    let account = end.account()["usage"];
    assert_eq!((account.seen, account.lost), (account.delivered, 0));
    assert_eq!(account.delivered, end.counts()["usage"]);
    running.end();
    drop(lock);
}
