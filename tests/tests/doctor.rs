//! `sensor doctor`: what this host allows, and what is missing where something really is.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that can't go on fails the test")]

use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tests::find::Source;
use tests::place::{mount_tmpfs, private_mounts, unmount};
use tests::program::{self, actor, nest};
use tests::sensor::{binary, command, hooks};
use tests::skip::{self, kernel, skip};
use tests::terminal::Terminal;
use tests::{Event, Folder, Sensor, fields, lock, walk_falls, words};

/// Numbers of system calls on x86-64, and of commands of `bpf(2)`.
const SOCKET: u32 = 41;
const FANOTIFY_INIT: u32 = 300;
const BPF: u32 = 321;
const FSOPEN: u32 = 430;
const MAP_CREATE: &str = "0";
const PROG_LOAD: &str = "5";
const LINK_CREATE: &str = "28";

/// What is said of fanotify's marks is asked for where better hooks don't make them needless.
const BASE: [&str; 2] = ["--hooks", "base"];

/// Every event that the kernel tells.
const TOLD: [&str; 12] = [
    "process_snapshot",
    "fork",
    "exec",
    "exit",
    "exe_deleted",
    "exe_memfd",
    "socket_bind",
    "socket_listen",
    "socket_connect",
    "socket_accept",
    "socket_close",
    "usage",
];

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program::output(command, Duration::from_secs(30))
}

/// The row of a kernel that hides process 1 from programs.
const HIDDEN: &str = "self/first_process";

/// The rows of a kernel that falls when it goes through what lies beside sockets.
const WALKS: [&str; 2] = ["iter/bpf_sk_storage_map", "iter/bpf_sk_storage_map close"];

/// Whether it is of what this kernel hasn't got.
fn is_lacked(row: &Value) -> bool {
    kernel::may_lack(row["hook"].as_str().unwrap(), row["reason"].as_str().unwrap_or_default())
}

/// What `doctor` answers: its status, its report, what it says on standard error.
struct Answer {
    status: Option<i32>,
    event: Value,
    said: String,
}

impl Answer {
    fn of(output: &Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = output.stdout.strip_suffix(b"\n").unwrap_or_else(|| panic!("no line: {said}"));
        let event: Value = serde_json::from_slice(line).unwrap_or_else(|why| panic!("{why}: {said}"));
        let answer = Self { status: output.status.code(), event, said };
        answer.is_whole();
        answer
    }

    /// With what is in its way: steps of `actor` before it becomes the sensor.
    fn after(steps: Vec<OsString>, args: &[&str]) -> Self {
        let mut doctor = words![binary(), "doctor", "--format", "json"];
        doctor.extend(args.iter().map(OsString::from));
        let mut words = steps;
        words.extend(nest("exec", doctor));
        Self::of(&run(Command::new(actor()).args(words)))
    }

    fn plain(args: &[&str]) -> Self {
        Self::after(words![], args)
    }

    fn rows(&self) -> &[Value] {
        self.event["sensor"]["coverage"].as_array().unwrap()
    }

    /// What isn't seen, or not by the hook that is for it.
    fn missed(&self) -> impl Iterator<Item = &Value> {
        self.rows().iter().filter(|row| row["state"] == "unseen" || row["state"] == "replaced")
    }

    /// Nothing is missed but what this kernel hides from all programs, lacks, or can't be asked.
    fn misses_nothing(&self) {
        let missed: Vec<_> = self.missed().filter(|row| row["hook"] != HIDDEN && !is_lacked(row)).collect();
        let (walks, others): (Vec<_>, Vec<_>) =
            missed.into_iter().partition(|row| WALKS.iter().any(|walk| row["hook"] == *walk));
        assert!(others.is_empty(), "{others:?}");
        let falls = walk_falls();
        assert!(
            walks.iter().all(|row| falls && row["reason"].as_str().unwrap().contains("falls")),
            "{walks:?}"
        );
        assert_eq!(self.row("socket_close", WALKS[1])["state"], if falls { "unseen" } else { "seen" });
    }

    fn row(&self, action: &str, hook: &str) -> &Value {
        let found = self.rows().iter().find(|row| row["action"] == action && row["hook"] == hook);
        found.unwrap_or_else(|| panic!("no {action} by {hook}: {:#}", self.event))
    }

    /// The rows have the names and words of the dictionary, every event has one, the worst stand first, and
    /// what isn't seen is explained and named.
    fn is_whole(&self) {
        let words = ["unseen", "replaced", "fallback", "off", "absent", "seen"];
        let rank = |row: &Value| words.iter().position(|word| row["state"] == **word);
        let ranks: Vec<_> = self.rows().iter().map(rank).collect();
        assert!(ranks.iter().all(Option::is_some) && ranks.is_sorted(), "{:#}", self.event);
        for action in TOLD {
            assert!(self.rows().iter().any(|row| row["action"] == action), "no {action}: {:#}", self.event);
        }
        for row in self.rows() {
            for (name, value) in row.as_object().unwrap() {
                assert_eq!(fields::wrong(&format!("sensor.coverage[].{name}"), value), None);
            }
            assert_eq!(row.get("reason").is_some(), row["state"] != "seen", "{row}");
            if row["state"] == "unseen" || row["state"] == "replaced" {
                assert!(row.get("effect").is_some(), "{row}");
                if self.status == Some(4) {
                    let named =
                        format!("{} ({})", row["action"].as_str().unwrap(), row["hook"].as_str().unwrap());
                    assert!(self.said.contains(&named), "{named} in {}", self.said);
                }
            }
        }
        let lacks = self.rows().iter().any(|row| row["state"] == "unseen" || row["state"] == "replaced");
        assert_eq!(self.status != Some(0), lacks, "{:?}: {}", self.status, self.said);
        assert_eq!(self.said.is_empty(), !lacks, "{}", self.said);
        assert_eq!(self.event["event"]["action"], "coverage");
        assert!(self.event["event"].get("sequence").is_none(), "it is of no run");
    }

    /// This is the state of that hook, by what is missing.
    fn lacks(&self, action: &str, hook: &str, state: &str, missing: &str, reason: &str) {
        let row = self.row(action, hook);
        assert_eq!((row["state"].as_str(), row["missing"].as_str()), (Some(state), Some(missing)), "{row}");
        assert!(row["reason"].as_str().unwrap().contains(reason), "{row}");
        assert!(!row["remedy"].as_str().unwrap().is_empty(), "{row}");
    }

    /// Nothing is seen, for this reason.
    fn is_blind(&self, missing: &str, reason: &str) {
        assert_eq!(self.status, Some(3), "{}", self.said);
        assert!(self.rows().iter().all(|row| row["state"] == "unseen"), "{:#}", self.event);
        assert!(self.said.contains(missing) && self.said.contains(reason), "{}", self.said);
        for row in self.rows() {
            assert_eq!(row["missing"], missing, "{row}");
            assert!(row["reason"].as_str().unwrap().contains(reason), "{row}");
        }
    }
}

fn refuse(call: u32, first: &str, errno: i32) -> Vec<OsString> {
    words!["refuse", call.to_string(), first, errno.to_string()]
}

/// The numbers of the programs in the kernel that somebody holds: by them, what goes meanwhile is told from what stays.
fn programs() -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let infos =
        processes.flat_map(|pid| fs::read_dir(pid.path().join("fdinfo")).into_iter().flatten().flatten());
    let texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
    texts
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok()))
        .collect()
}

#[test]
fn all_is_seen_also_beside_a_sensor_and_nothing_stays() {
    if skip() {
        return;
    }
    let _alone = lock::alone();
    let before = programs();
    // As the sensor beside it is started.
    let hooks: Vec<_> = hooks().into_iter().map(|word| word.into_string().unwrap()).collect();
    let hooks: Vec<&str> = hooks.iter().map(String::as_str).collect();
    let answer = Answer::plain(&hooks);
    answer.misses_nothing();
    // What was refused, and is seen as well by another hook, is no gap.
    let here = |row: &Value| row["hook"] == HIDDEN;
    let walks = |row: &Value| WALKS.iter().any(|walk| row["hook"] == *walk);
    let told = |row: &Value| row["state"] == "seen" || row["state"] == "fallback";
    let seen = |row: &Value| told(row) || here(row) || walks(row) || is_lacked(row);
    assert!(answer.rows().iter().all(seen), "{:#}", answer.event);
    // It is hidden where the kernel doesn't list it, and nowhere else.
    let listed = String::from_utf8(run(command().args(["ps", "--format", "json"])).stdout).unwrap();
    let mut listed = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let first = listed.any(|process| process["process"]["pid"] == 1);
    assert_eq!(answer.rows().iter().any(here), !first);
    // The sensor of an earlier test may be on its way out.
    assert_eq!(programs().difference(&before).collect::<Vec<_>>(), Vec::<&u32>::new());
    // The same rows as the event's.
    let sensor = Sensor::start(words![]);
    let coverage = sensor.find("coverage").wait();
    let mut rows = coverage.list("sensor.coverage").to_vec();
    // Runs of other tests that were killed are of no host.
    rows.retain(|row| row["hook"] != "self/last_run");
    // In another order: the report has the worst first.
    let mut reported = Answer::plain(&hooks).rows().to_vec();
    rows.sort_by_key(Value::to_string);
    reported.sort_by_key(Value::to_string);
    assert_eq!(rows, reported);
    // And the sensor goes on as before.
    sensor.fence();
    sensor.stop().clean();
}

#[test]
fn the_text_has_columns_and_no_colour_but_on_a_terminal() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let answer = Answer::plain(&[]);
    answer.misses_nothing();
    let partly: BTreeSet<&str> = answer.missed().map(|row| row["action"].as_str().unwrap()).collect();
    let output = run(command().args(["doctor", "--format", "text"]));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let first = match partly.len() {
        0 => "All 12 sorts of events are seen here.".to_owned(),
        some => format!("Of 12 sorts of events 0 can't be seen here, and {some} only in part."),
    };
    assert_eq!(lines[..3], [&*first, "", "STATE   EVENT            SEEN BY"], "{text}");
    for action in TOLD.into_iter().filter(|action| !partly.contains(*action)) {
        let line = lines.iter().find(|line| line.get(8..).is_some_and(|rest| rest.starts_with(action)));
        let line = line.unwrap_or_else(|| panic!("no {action}: {text}"));
        assert!(line.starts_with("seen    ") && line[24..].starts_with(' ') && line.len() > 25, "{line}");
    }
    assert!(text.contains("`sensor run` without a configuration:") && !text.contains('\x1b'), "{text}");

    let mut doctor = Command::new(actor());
    let mut steps = refuse(FSOPEN, "-", 19);
    steps.extend(nest("exec", words![binary(), "doctor", "--format", "text"]));
    let output = run(doctor.args(steps));
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[3], "UNSEEN  socket_bind      -", "the worst first: {text}");
    // Where states of TCP can't be seen either, nothing tells of a connect.
    let state = if partly.contains("socket_connect") { "UNSEEN  " } else { "part    " };
    let connect = lines.iter().position(|line| line.starts_with(&format!("{state}socket_connect"))).unwrap();
    assert!(connect < lines.iter().position(|line| line.starts_with("seen    exec ")).unwrap(), "{text}");
    let missing = lines.iter().position(|line| *line == "missing   cgroup2").unwrap();
    assert!(lines[missing - 1].starts_with("unseen    there is no root of cgroups"), "{text}");
    assert!(lines[missing + 1].starts_with("do        "), "{text}");
    assert!(text.contains("\n  cgroup/post_bind             addresses that are bound\n"), "{text}");
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn a_terminal_gets_text_and_colour() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let plain = Answer::plain(&[]);
    let shown = |env: &[(&str, &str)]| {
        let mut terminal = Terminal::start(&binary(), words!["doctor"], env, (140, 200));
        terminal.until("the report", |lines| lines.iter().any(|line| line.starts_with("seen    exec ")));
        assert_eq!(terminal.wait().code(), plain.status);
        String::from_utf8(terminal.raw()).unwrap()
    };
    assert!(shown(&[]).contains("\x1b[32mseen\x1b[0m    exec "));
    assert!(!shown(&[("NO_COLOR", "1")]).contains('\x1b'));
}

#[test]
fn it_says_what_the_configuration_does() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let file = folder.at("sensor.toml");
    fs::write(&file, "kernel.names = \"tracepoints\"\nusage.interval_s = 0\n").unwrap();
    let path = file.to_str().unwrap();
    let answer = Answer::plain(&["--config", path]);
    // Who chose it misses nothing that could be had otherwise.
    answer.misses_nothing();
    assert_eq!(answer.row("exe_deleted", "fanotify/filesystem")["state"], "off");
    assert_eq!(answer.row("exe_deleted", "tracepoint/syscalls/unlinkat")["state"], "seen");
    assert!(answer.rows().iter().filter(|row| row["action"] == "usage").all(|row| row["state"] == "off"));
    let output = run(command().args(["doctor", "--format", "text", "--config", path]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(path) && text.contains("usage   never"), "{text}");

    fs::write(&file, "kernel.name = 1\n").unwrap();
    let output = run(command().args(["doctor", "--config", path]));
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty() && String::from_utf8_lossy(&output.stderr).contains("names"));
    fs::remove_file(&file).unwrap();
    assert_eq!(run(command().args(["doctor", "--config", path])).status.code(), Some(1));
    assert_eq!(run(command().args(["doctor", "--frobnicate"])).status.code(), Some(2));
}

#[test]
fn not_root_and_no_type_information() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let sensor = folder.at("sensor");
    program::copy(&binary(), &sensor);
    let mut nobody = Command::new(&sensor);
    nobody.args(["doctor", "--format", "json"]).uid(65534).gid(65534);
    Answer::of(&run(&mut nobody)).is_blind("root", "needs root");
    private_mounts(|| {
        mount_tmpfs(Path::new("/sys/kernel/btf"), "4k");
        Answer::plain(&[]).is_blind("BTF", "ENOENT");
    });
    let mut inside = Command::new("unshare");
    inside.args(["--pid", "--fork", "--mount-proc"]).arg(binary()).args(["doctor", "--format", "json"]);
    Answer::of(&run(&mut inside)).is_blind("the host's pid namespace", "pid namespace");
}

#[test]
fn capabilities_that_were_taken_away() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let without = |caps: &[u32], args: &[&str]| {
        let steps = caps.iter().flat_map(|cap| words!["drop-cap", cap.to_string()]).collect();
        Answer::after(steps, args)
    };
    // The older one holds the younger ones.
    without(&[39], &[]).misses_nothing();
    without(&[39, 21], &[]).is_blind("CAP_BPF", "BPF_MAP_CREATE: EPERM (Operation not permitted)");
    without(&[38, 21], &[]).is_blind("CAP_PERFMON", "EPERM");
    let answer = without(&[21], &BASE);
    assert_eq!(answer.status, Some(4));
    answer.lacks("socket_bind", "cgroup/post_bind", "unseen", "CAP_SYS_ADMIN", "EPERM");
    answer.lacks("exe_deleted", "fanotify/inode", "unseen", "CAP_SYS_ADMIN", "EPERM");
    answer.lacks("exe_deleted", "fanotify/filesystem", "replaced", "CAP_SYS_ADMIN", "EPERM");
    assert_eq!(answer.row("exec", "tp_btf/sched_process_exec")["state"], "seen");
    private_mounts(|| {
        for place in ["/sys/kernel/tracing", "/sys/kernel/debug/tracing", "/sys/kernel/debug"] {
            unmount(place);
        }
        let answer = without(&[21], &BASE);
        assert_eq!(answer.status, Some(4));
        answer.lacks("exe_deleted", "tracepoint/syscalls/unlink", "unseen", "tracefs", "EPERM");
    });
}

#[test]
fn calls_that_a_filter_refuses() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let refused = |call, first: &str, errno| Answer::after(refuse(call, first, errno), &BASE);
    refused(BPF, MAP_CREATE, 1).is_blind("seccomp", "BPF_MAP_CREATE: EPERM");
    refused(BPF, PROG_LOAD, 1).is_blind("seccomp", "EPERM");
    refused(BPF, LINK_CREATE, 1).is_blind("seccomp", "EPERM");
    let answer = refused(FSOPEN, "-", 38);
    assert_eq!(answer.status, Some(4));
    answer.lacks("usage", "cgroup_skb", "unseen", "seccomp", "ENOSYS");
    let answer = refused(FANOTIFY_INIT, "-", 1);
    answer.lacks("exe_deleted", "fanotify/inode", "unseen", "seccomp", "EPERM");
    answer.lacks("exe_deleted", "fanotify/filesystem", "replaced", "seccomp", "EPERM");
    assert_eq!(answer.row("exe_deleted", "tracepoint/syscalls/renameat2")["state"], "seen");
    // AF_NETLINK.
    let answer = refused(SOCKET, "16", 97);
    assert_eq!(answer.status, Some(4));
    answer.lacks("socket_listen", "rtnetlink", "unseen", "AF_NETLINK", "EAFNOSUPPORT");
}

#[test]
fn limits_that_are_too_low() {
    if skip() {
        return;
    }
    let _alone = lock::alone();
    let limited = |limits: &str| {
        let shell = format!("ulimit {limits} && exec \"$0\" doctor --format json");
        Answer::of(&run(Command::new("sh").arg("-c").arg(shell).arg(binary())))
    };
    limited("-n 20").is_blind("RLIMIT_NOFILE", "EMFILE (Too many open files)");
    // From Linux 5.11 on nobody counts it, and before, the loader raises it.
    limited("-l 0").misses_nothing();
    // A setting of the whole machine: nobody else starts meanwhile.
    let setting = "/proc/sys/fs/fanotify/max_user_groups";
    let Ok(usual) = fs::read_to_string(setting) else {
        let _ = skip::because("the kernel has no limit of fanotify's groups");
        return;
    };
    fs::write(setting, "0").unwrap();
    let answer = std::panic::catch_unwind(|| Answer::plain(&BASE));
    fs::write(setting, usual).unwrap();
    let answer = answer.unwrap();
    assert_eq!(answer.status, Some(4));
    answer.lacks("exe_deleted", "fanotify/inode", "unseen", "fs.fanotify.max_user_groups", "EMFILE");
    answer.lacks("exe_deleted", "fanotify/filesystem", "replaced", "fs.fanotify.max_user_groups", "EMFILE");
}

#[test]
fn what_is_missing_is_in_the_first_event_too() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let mut steps = refuse(FANOTIFY_INIT, "-", 1);
    steps.extend(nest("exec", words![binary(), "run", "--hooks", "base"]));
    let mut sensor = tests::Running::of(actor(), steps);
    let event = Event::parse(sensor.line().as_bytes()).unwrap();
    event.whole();
    assert_eq!(event.action(), "coverage");
    let rows = event.list("sensor.coverage");
    let row = rows.iter().find(|row| row["hook"] == "fanotify/filesystem").unwrap();
    assert_eq!(
        (row["state"].as_str(), row["missing"].as_str()),
        (Some("replaced"), Some("seccomp")),
        "{row}"
    );
    let pid = nix::unistd::Pid::from_raw(i32::try_from(sensor.pid()).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    assert!(sensor.wait().success());
}
