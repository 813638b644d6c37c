//! Bad places and bad input: a clear word that says what to do, and the right exit status.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tests::find::Source;
use tests::place::{Cgroup, mount_tmpfs, private_mounts, unmount};
use tests::program::{self, actor, actor_at, done};
use tests::sensor::{binary, command};
use tests::skip::{because, not_here, skip};
use tests::{DEADLINE, Event, Folder, Running, Sensor, patience, words};

/// Runs it to its end, which must come by itself.
fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program::output(command, Duration::from_secs(20))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_and_wrong_usage() {
    for (args, status) in [
        (&["--help"][..], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
        (&["frobnicate"], 2),
        (&["run", "--frobnicate"], 2),
        (&["run", "--output", "nowhere"], 2),
        (&["run", "--config"], 2),
    ] {
        let output = run(Command::new(binary()).args(args));
        assert_eq!(output.status.code(), Some(status), "{args:?}: {}", said(&output));
        if status == 0 {
            assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
        } else {
            assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
        }
    }
    let output = run(Command::new(binary()).arg("\x1b[31mevil"));
    assert_eq!(output.status.code(), Some(2));
    assert!(!said(&output).contains('\x1b'), "{:?}", said(&output));
}

#[test]
fn not_root() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let sensor = folder.at("sensor");
    program::copy(&binary(), &sensor);
    let output = run(Command::new(&sensor).arg("run").uid(65534).gid(65534));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(output.stdout.is_empty());
    assert!(said(&output).contains("root"), "{}", said(&output));
}

#[test]
fn configurations_that_are_wrong() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    for (number, (text, words)) in [
        ("[kernel]\nbulk_ring_bites = 65536\n", &["bulk_ring_bites", "bulk_ring_bytes"][..]),
        ("[kernal]\nbulk_ring_bytes = 65536\n", &["kernal", "kernel"]),
        ("[kernel]\nbulk_ring_bytes = 5000\n", &["bulk_ring_bytes"]),
        ("[kernel]\nbulk_ring_bytes = -1\n", &["bulk_ring_bytes"]),
        ("[kernel]\nbulk_ring_bytes = \"many\"\n", &["bulk_ring_bytes"]),
        ("[kernel\n", &[]),
        ("\"\\u001b[31m\" = 1\n", &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let file = folder.at(format!("{number}.toml"));
        fs::write(&file, text).unwrap();
        let output = run(command().arg("run").arg("--config").arg(&file));
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{text:?}: {said}");
        assert!(output.stdout.is_empty());
        assert!(said.contains(&*file.to_string_lossy()), "{text:?}: which file? {said}");
        for word in words {
            assert!(said.contains(word), "{text:?}: no {word} in {said}");
        }
        assert!(!said.contains('\x1b'), "{said:?}");
    }
    let folder_as_file = folder.folder("folder");
    for file in [folder.at("absent.toml"), folder_as_file] {
        let output = run(command().arg("run").arg("--config").arg(&file));
        assert!(matches!(output.status.code(), Some(1 | 2)), "{}", said(&output));
        assert!(said(&output).contains(&*file.to_string_lossy()), "{}", said(&output));
    }
}

#[test]
fn nobody_reads_the_output() {
    if skip() {
        return;
    }
    let mut child = command().arg("run").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(Event::parse(line.trim_end().as_bytes()).is_ok(), "{line}");
    drop(out);
    done(&actor(), words![]);
    let status = program::wait(&mut child, Duration::from_secs(20));
    let _ = child.kill();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{status:?}: {said}");
    assert!(said.contains("output") || said.contains("stdout"), "{said}");
}

#[test]
fn a_full_disk() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    private_mounts(|| {
        mount_tmpfs(folder.path(), "128k");
        let (file, errors) = (folder.at("events"), Folder::new());
        let said = errors.at("said");
        let mut command = command();
        command.arg("run").stdout(File::create(&file).unwrap()).stderr(File::create(&said).unwrap());
        let mut child = command.spawn().unwrap();
        let until = Instant::now() + patience(2 * DEADLINE);
        let ready = || fs::read_to_string(&said).unwrap().contains("sensor: ready");
        while !ready() && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it isn't ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        Running::of(program::storm(), words!["fork", "2000"]).end();
        // It either gives up by itself, or goes on and counts: then it is asked to stop.
        let mut status = program::wait(&mut child, Duration::from_secs(3));
        if status.is_none() {
            kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
            status = program::wait(&mut child, Duration::from_secs(20));
        }
        let _ = child.kill();
        let said = fs::read_to_string(&said).unwrap();
        assert_eq!(status.and_then(|status| status.code()), Some(1), "{status:?}: {said}");
        let written = fs::read(&file).unwrap();
        assert!(
            written.ends_with(b"\n"),
            "a torn line at the end: {}",
            written[written.len().saturating_sub(80)..].escape_ascii()
        );
        let lines: Vec<Event> = written
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| Event::parse(line).unwrap())
            .collect();
        let lower = said.to_lowercase();
        assert!(lower.contains("space") || lower.contains("full"), "{said}");
        let forks = u64::try_from(lines.iter().filter(|event| event.action() == "fork").count()).unwrap();
        let account = tests::sensor::account_of(said.lines());
        let fork = account.get("fork").unwrap_or_else(|| panic!("no account in {said}"));
        assert_eq!((fork.seen, fork.delivered), (fork.delivered + fork.lost, forks), "{said}");
        assert!(fork.lost > 0, "{said}");
    });
}

#[test]
fn an_output_that_refuses_everything() {
    if skip() {
        return;
    }
    let mut command = command();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut child = command.arg("run").stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let complaint = lines.find(|line| line.as_ref().is_ok_and(|line| line.to_lowercase().contains("space")));
    assert!(complaint.is_some(), "no word on the full device");
    // Whether it gives up at once or waits for room: at the end something was not delivered.
    let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM);
    let status = program::wait(&mut child, Duration::from_secs(20));
    let _ = child.kill();
    assert_eq!(status.and_then(|status| status.code()), Some(1));
}

#[test]
fn no_btf() {
    if skip() {
        return;
    }
    private_mounts(|| {
        mount_tmpfs(Path::new("/sys/kernel/btf"), "4k");
        let output = run(command().arg("run"));
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert!(said(&output).contains("BTF"), "{}", said(&output));
        assert!(output.stdout.is_empty());
    });
}

#[test]
fn lockdown_is_named() {
    let locked = fs::read_to_string("/sys/kernel/security/lockdown");
    let locked = locked.is_ok_and(|text| text.contains("[confidentiality]"));
    if skip() || !locked && not_here("this kernel isn't locked down for confidentiality") {
        return;
    }
    let output = run(command().arg("run"));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    for word in ["lockdown", "confidentiality", "boot it with"] {
        assert!(said(&output).contains(word), "{word}: {}", said(&output));
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn another_pid_namespace() {
    if skip() {
        return;
    }
    let sensor = binary();
    let output =
        run(Command::new("unshare").args(["--pid", "--fork", "--mount-proc"]).arg(sensor).arg("run"));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("pid namespace"), "{}", said(&output));
}

/// Runs a sensor in the mounts of the caller: it works, or says what is missing.
fn works_or_tells(what: &str, options: Vec<OsString>) {
    let folder = Folder::new();
    let sensor = Sensor::start(options);
    let victim = actor_at(folder.at("victim"));
    done(&victim, words!["unlink", &victim]);
    sensor.find("exec").exe(&victim).wait();
    sensor.find("exit").exe(&victim).wait();
    if sensor.find("exe_deleted").file(&victim).look(DEADLINE).is_none() {
        let coverage = sensor.find("coverage").wait().to_string();
        let said = sensor.seen().stderr().join("\n");
        assert!(
            coverage.contains(what) || said.contains(what),
            "no alert, and no word on {what}: {coverage} {said}"
        );
    }
    sensor.stop().clean();
}

#[test]
fn no_tracefs() {
    if skip() {
        return;
    }
    private_mounts(|| {
        unmount("/sys/kernel/tracing");
        unmount("/sys/kernel/debug/tracing");
        unmount("/sys/kernel/debug");
        works_or_tells("tracefs", words![]);
        assert!(!Path::new("/sys/kernel/tracing/events").exists(), "mounted, and not needed");
        let (folder, config) = (Folder::new(), "kernel.names = \"tracepoints\"\n");
        fs::write(folder.at("sensor.toml"), config).unwrap();
        works_or_tells("tracefs", words!["--config", folder.at("sensor.toml")]);
    });
}

#[test]
fn no_cgroups() {
    if skip() {
        return;
    }
    private_mounts(|| {
        for line in fs::read_to_string("/proc/thread-self/mounts").unwrap().lines().rev() {
            let place = line.split(' ').nth(1).unwrap_or_default();
            if place.starts_with("/sys/fs/cgroup") {
                unmount(place);
            }
        }
        works_or_tells("cgroup", words![]);
    });
}

/// What the sensor attaches to the root of the cgroups is not of the root that its own namespace shows.
#[test]
fn another_cgroup_namespace() {
    if skip() {
        return;
    }
    let Some(group) = Cgroup::make(&format!("sensor-place-{}", std::process::id())) else {
        let _ = because("no cgroup of version 2 can be made");
        return;
    };
    // In a cgroup below the root, which is the root of the namespace.
    let script = "echo 0 > \"$1/cgroup.procs\" && exec timeout --preserve-status -s TERM 4 unshare --cgroup --mount \"$2\" run --config \"$3\"";
    let folder = Folder::new();
    let config = folder.at("sensor.toml");
    fs::write(&config, "[usage]\ninterval_s = 1\n").unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(group.path()).arg(binary()).arg(&config);
    // Outside of it.
    let steps =
        words!["udp", "a", "4", "bind", "a", "127.0.0.1", "0", "udp", "b", "4", "connect", "b", "127.0.0.1"];
    let outside = Running::of(program::net(), [steps, words!["@a", "drip", "b", "100"]].concat());
    let output = run(&mut command);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let first = output.stdout.split(|byte| *byte == b'\n').next().unwrap();
    let coverage = Event::parse(first).unwrap();
    let here = Sensor::shared().find("coverage").wait();
    let attached = |event: &Event| -> Vec<serde_json::Value> {
        let rows = event.value("sensor.coverage").as_array().unwrap().iter();
        rows.filter(|row| row["hook"].as_str().unwrap().starts_with("cgroup")).cloned().collect()
    };
    assert!(!attached(&coverage).is_empty());
    assert_eq!(attached(&coverage), attached(&here));
    let events = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| Event::parse(line).ok());
    let sent = events.filter(|event| event.action() == "usage" && event.get("process.pid").is_some());
    let mut sent = sent.filter(|event| event.num("process.pid") == u64::from(outside.pid()));
    assert!(sent.any(|event| event.get("sensor.usage.net.tx_bytes").is_some_and(|bytes| bytes != 0)));
}

#[test]
fn an_unreadable_configuration_is_named() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let (sensor, file) = (folder.at("sensor"), folder.at("secret.toml"));
    program::copy(&binary(), &sensor);
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let output = run(Command::new(&sensor).arg("run").arg("--config").arg(&file).uid(65534).gid(65534));
    assert!(matches!(output.status.code(), Some(1..=3)), "{}", said(&output));
    assert!(!output.stderr.is_empty());
}
