//! `exec`: who runs what, from where, with which words and rights.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use tests::find::Source;
use tests::place::{Cgroup, mount_bind, mount_tmpfs, private_mounts};
use tests::program::{self, actor, actor_at, copy, done, join, nest, script, threads, words_of};
use tests::skip::{because, skip};
use tests::{Event, Folder, Running, Sensor, base64, words};

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn an_exec_in_full() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let (program, cwd) = (actor_at(folder.at("prog")), folder.folder("cwd"));
    let mut command = Command::new(&program);
    let mut running = Running::start(command.args(words!["ignore", "one", "wait"]).current_dir(&cwd));
    let event = sensor.find("exec").exe(&program).wait();
    let pid = running.pid();

    assert_eq!(event.str("event.kind"), "event");
    assert_eq!(event.texts("event.category"), ["process"]);
    assert_eq!(event.texts("event.type"), ["start"]);
    assert_eq!(event.num("process.pid"), u64::from(pid));
    assert_eq!(event.num("process.thread.id"), u64::from(pid));
    assert_eq!(event.str("process.name"), "prog");
    assert_eq!(event.texts("process.args"), [&text(&program), "ignore", "one", "wait"]);
    assert_eq!(event.num("process.args_count"), 4);
    assert_eq!(event.str("process.working_directory"), text(&cwd));
    for field in ["process.user", "process.real_user", "user"] {
        assert_eq!(event.str(&format!("{field}.id")), "0");
        assert_eq!(event.str(&format!("{field}.name")), "root");
    }
    assert_eq!(event.str("process.group.id"), "0");
    assert!(!event.has("sensor.args_truncated") || !event.truth("sensor.args_truncated"));

    let own = std::env::current_exe().unwrap().canonicalize().unwrap();
    let own_args: Vec<String> = std::env::args().collect();
    assert_eq!(event.num("process.parent.pid"), u64::from(std::process::id()));
    assert_eq!(event.str("process.parent.executable"), text(&own));
    assert_eq!(event.texts("process.parent.args"), own_args);
    assert_ne!(event.str("process.parent.entity_id"), event.str("process.entity_id"));
    // What an init starts without `setsid` is in session 0, which has no leader.
    match nix::unistd::getsid(None).unwrap().as_raw() {
        0 => assert!(!event.has("process.session_leader.pid")),
        leader => assert_eq!(event.num("process.session_leader.pid"), u64::try_from(leader).unwrap()),
    }

    let file = fs::metadata(&program).unwrap();
    assert_eq!(event.str("sensor.exe.inode"), file.ino().to_string());
    assert_eq!(event.str("sensor.exe.device"), file.dev().to_string());
    assert_eq!(event.num("sensor.exe.nlink"), 1);
    assert_eq!(event.str("sensor.exe.state"), "present");

    assert!(event.str("process.start") <= event.str("@timestamp"));
    assert!(running.end().success());
    let exit = sensor.find("exit").pid(pid).wait();
    let fork = sensor.find("fork").pid(pid).wait();
    for other in [&exit, &fork] {
        assert_eq!(other.str("process.entity_id"), event.str("process.entity_id"));
        assert_eq!(other.str("process.start"), event.str("process.start"));
    }
    assert!(fork.str("@timestamp") <= event.str("@timestamp"));
    assert!(event.str("@timestamp") <= exit.str("@timestamp"));
    assert!(fork.num("event.sequence") < event.num("event.sequence"));
    assert!(event.num("event.sequence") < exit.num("event.sequence"));
}

#[test]
fn a_session_of_its_own() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    done(Path::new("setsid"), words!["--wait", &program]);
    let event = sensor.find("exec").exe(&program).wait();
    assert_eq!(event.num("process.session_leader.pid"), event.num("process.pid"));
}

#[test]
fn times_are_those_of_the_clock() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    // `date` tells UTC in the format of an event, with the kernel's own clock.
    let now = || done(Path::new("/bin/date"), words!["-u", "+%Y-%m-%dT%H:%M:%S.%NZ"]).trim().to_owned();
    let before = now();
    done(&program, words![]);
    let after = now();
    let event = sensor.find("exec").exe(&program).wait();
    let time = event.str("@timestamp");
    assert!(before.as_str() < time && time < after.as_str(), "{before} {time} {after}");
    let start = event.str("process.start");
    assert!(before.as_str() < start && start <= time, "{before} {start} {time}");
}

#[test]
fn arguments_of_all_sorts() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let odd = [
        "",
        " ",
        "a b",
        "line\nline",
        "tab\there",
        "\x1b[31mred\x1b[0m",
        "\"'\\",
        "ünï→🦀",
        "\u{1}",
        "-",
        "",
    ];
    let mut words = words![];
    for word in odd {
        words.extend(words!["ignore", word]);
    }
    done(&program, words);
    let event = sensor.find("exec").exe(&program).wait();
    let mut expected = vec![text(&program)];
    expected.extend(odd.iter().flat_map(|word| ["ignore".to_owned(), (*word).to_owned()]));
    assert_eq!(event.texts("process.args"), expected);
    assert!(!event.to_string().contains("\"raw\""), "{event:#}");
}

/// All texts under `sensor.raw`, decoded.
fn raw(event: &Event) -> Vec<Vec<u8>> {
    let under = |name: &str| name.starts_with("sensor.raw.");
    let leaves = event.leaves().into_iter().filter(|(name, _)| under(name));
    let texts = leaves.flat_map(|(_, value)| match value.as_array() {
        Some(items) => items.iter().collect::<Vec<_>>(),
        None => vec![value],
    });
    texts.filter_map(|value| base64::decode(value.as_str()?)).collect()
}

#[test]
fn arguments_that_are_not_utf8() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let word = OsString::from_vec(b"bad\xff\xfe\x80end".to_vec());
    done(&program, words!["ignore", word]);
    let event = sensor.find("exec").exe(&program).wait();
    let args = event.texts("process.args");
    assert!(args[2].starts_with("bad\u{fffd}") && args[2].ends_with("end"), "{args:?}");
    let exact = raw(&event);
    let holds = |bytes: &Vec<u8>| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(exact.iter().any(holds), "{exact:?} in {event:#}");
}

#[test]
fn arguments_up_to_16_kib_are_whole() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    for (name, each) in [("many", 9), ("few", 9000)] {
        let program = actor_at(folder.at(name));
        let words = words_of(&program, 16 * 1024, each);
        let mut expected = vec![text(&program)];
        expected.extend(words.iter().map(|word| word.to_string_lossy().into_owned()));
        assert_eq!(expected.iter().map(|word| word.len() + 1).sum::<usize>(), 16 * 1024);
        done(&program, words);
        let event = sensor.find("exec").exe(&program).wait();
        assert_eq!(event.texts("process.args"), expected);
        assert_eq!(event.num("process.args_count"), u64::try_from(expected.len()).unwrap());
        assert!(!event.has("sensor.args_truncated") || !event.truth("sensor.args_truncated"), "{name}");
    }
}

#[test]
fn more_arguments_are_cut_and_marked() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    for (name, each) in [("many", 50), ("few", 40_000)] {
        let program = actor_at(folder.at(name));
        let words = words_of(&program, 100 * 1024, each);
        let count = u64::try_from(words.len() + 1).unwrap();
        let first: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        done(&program, words);
        let event = sensor.find("exec").exe(&program).wait();
        assert!(event.truth("sensor.args_truncated"), "{name}");
        assert_eq!(event.num("sensor.args_bytes"), 100 * 1024);
        assert_eq!(event.num("process.args_count"), count, "{name}: all of them are counted");
        let args = event.texts("process.args");
        assert!(
            args.iter().map(|arg| arg.len() + 1).sum::<usize>() >= 16 * 1024 - 1,
            "at least 16 KiB arrive"
        );
        for (had, got) in first.iter().zip(&args[1..]) {
            assert!(had.starts_with(got), "what arrives is a beginning of what was there");
        }
    }
}

#[test]
fn executables_on_other_mounts() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let (real, bind, memory) = (folder.folder("real"), folder.folder("bind"), folder.folder("memory"));
    private_mounts(|| {
        actor_at(real.join("prog"));
        mount_bind(&real, &bind);
        mount_tmpfs(&memory, "8m");
        fs::create_dir_all(memory.join("a/b")).unwrap();
        let inner = memory.join("a/b");
        mount_tmpfs(&inner, "8m");
        fs::create_dir(inner.join("c")).unwrap();
        let programs = [bind.join("prog"), actor_at(memory.join("prog")), actor_at(inner.join("c/prog"))];
        for program in programs {
            done(&program, words![]);
            let event = sensor.find("exec").exe(&program).wait();
            let file = fs::metadata(&program).unwrap();
            assert_eq!(event.str("sensor.exe.inode"), file.ino().to_string());
            assert_eq!(event.str("sensor.exe.device"), file.dev().to_string());
        }
    });
}

#[test]
fn links_lead_to_the_real_file() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let (program, link) = (actor_at(folder.at("prog")), folder.at("link"));
    std::os::unix::fs::symlink(&program, &link).unwrap();
    done(&link, words![]);
    let event = sensor.find("exec").exe(&program).wait();
    assert_eq!(event.texts("process.args"), [text(&link)]);
}

#[test]
fn scripts_and_their_interpreters() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let interpreter = actor_at(folder.at("interpreter"));
    let (absolute, relative, outer) = (folder.at("absolute"), folder.at("relative"), folder.at("outer"));
    script(&absolute, &format!("{} ignore", interpreter.display()));
    script(&relative, &format!("{} ignore", interpreter.display()));
    script(&outer, &format!("{} ignore", absolute.display()));

    done(&absolute, words!["ignore", "x"]);
    let event = sensor.find("exec").exe(&interpreter).arg(&absolute).wait();
    assert_eq!(event.str("sensor.script.path"), text(&absolute));
    assert_eq!(event.texts("process.args"), [&text(&interpreter), "ignore", &text(&absolute), "ignore", "x"]);
    let file = fs::metadata(&interpreter).unwrap();
    assert_eq!(event.str("sensor.exe.inode"), file.ino().to_string(), "the image is the interpreter");

    let status = Command::new("./relative").current_dir(&folder).status().unwrap();
    assert!(status.success());
    let event = sensor.find("exec").exe(&interpreter).arg("./relative").wait();
    assert_eq!(event.str("sensor.script.path"), text(&relative));

    // The kernel runs `interpreter ignore absolute ignore outer`.
    done(&outer, words![]);
    let event = sensor.find("exec").exe(&interpreter).arg(&outer).wait();
    assert_eq!(
        event.str("sensor.script.path"),
        text(&outer),
        "the script that was executed, not the one in between"
    );

    done(&interpreter, words!["ignore", "no script"]);
    let event = sensor.find("exec").exe(&interpreter).arg("no script").wait();
    assert!(!event.has("sensor.script.path"));
}

#[test]
fn a_chain_of_images_is_one_process() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let [a, b, c] = ["a", "b", "c"].map(|name| actor_at(folder.at(name)));
    let last = nest("exec", words![&c, "ignore", "c"]);
    let mut running = Running::of(&a, nest("exec", join([words![&b], last])));
    running.end();
    let pid = running.pid();
    let exit = sensor.find("exit").pid(pid).wait();
    let [first, second, third] = [&a, &b, &c].map(|path| sensor.find("exec").pid(pid).exe(path).one());
    assert_eq!(second.str("process.previous.executable"), text(&a));
    assert_eq!(third.str("process.previous.executable"), text(&b));
    for event in [&first, &second, &third, &sensor.find("fork").pid(pid).one()] {
        assert_eq!(event.str("process.entity_id"), exit.str("process.entity_id"));
    }
    assert_eq!(exit.str("process.executable"), text(&c));
}

#[test]
fn a_failed_exec_is_none() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let plain = folder.at("plain");
    fs::write(&plain, "no image").unwrap();
    let absent = folder.at("absent");
    let tries = [&plain, &absent].map(|path| join([words!["try"], nest("exec", words![path])]));
    let output = done(&actor(), join(tries));
    assert_eq!(output.lines().count(), 2, "{output}");
    sensor.fence();
    sensor.find("exec").exe(&plain).none();
    sensor.find("exec").exe(&absent).none();
}

#[test]
fn a_setuid_program_run_by_nobody() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let run = nest("run", words![&program, "ignore", "raised"]);
    done(&actor(), join([words!["become", "65534"], run]));
    let event = sensor.find("exec").exe(&program).arg("raised").wait();
    assert_eq!(event.str("process.user.id"), "0");
    assert_eq!(event.str("user.id"), "0");
    assert_eq!(event.str("process.real_user.id"), "65534");
    assert_eq!(event.str("process.real_user.name"), "nobody");
    let gained = event.texts("sensor.capabilities.gained");
    assert!(gained.contains(&"CAP_SYS_ADMIN") && gained.contains(&"CAP_CHOWN"), "{gained:?}");

    // no_new_privs takes the rights away, and is told.
    let run = nest("run", words![&program, "ignore", "held"]);
    done(&actor(), join([words!["become", "65534", "no-new-privs"], run]));
    let event = sensor.find("exec").exe(&program).arg("held").wait();
    assert!(event.truth("sensor.no_new_privs"));
    assert_eq!(event.str("process.user.id"), "65534");
    assert!(!event.has("sensor.capabilities.gained"), "{event:#}");
}

#[test]
fn nothing_is_gained_by_a_plain_exec() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    done(&program, words!["ignore", "root"]);
    done(&actor(), join([words!["become", "65534"], nest("run", words![&program, "ignore", "nobody"])]));
    for (word, user) in [("root", "0"), ("nobody", "65534")] {
        let event = sensor.find("exec").exe(&program).arg(word).wait();
        assert!(!event.has("sensor.capabilities.gained"), "{event:#}");
        assert!(!event.has("sensor.no_new_privs") || !event.truth("sensor.no_new_privs"));
        assert_eq!(event.str("process.user.id"), user);
        assert_eq!(event.str("process.group.id"), user);
    }
}

#[test]
fn the_login_user_stays() {
    if skip() {
        return;
    }
    if fs::read_to_string("/proc/self/loginuid").is_ok_and(|uid| uid.trim() != "4294967295") {
        let _ = because("this session has a login uid already, and the kernel may refuse another");
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    done(&program, words!["ignore", "unset"]);
    let event = sensor.find("exec").exe(&program).arg("unset").wait();
    assert!(!event.has("sensor.login"), "absent when unset: {event:#}");

    let run = nest("run", words![&program, "ignore", "set"]);
    done(&actor(), join([words!["loginuid", "1", "become", "65534"], run]));
    let event = sensor.find("exec").exe(&program).arg("set").wait();
    assert_eq!(event.str("sensor.login.uid"), "1");
    assert_eq!(event.str("sensor.login.name"), "daemon");
    assert!(event.text("sensor.login.session").is_some_and(|session| session.parse::<u32>().is_ok()));
    assert_eq!(event.str("process.user.id"), "65534");
}

#[test]
fn terminals() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let inner =
        join([nest("run", words!["/usr/bin/tty"]), nest("run", words![&program, "ignore", "terminal"])]);
    let output = done(&actor(), nest("pty", inner));
    let tty = output.lines().find(|line| line.starts_with("/dev/pts/")).unwrap();
    let event = sensor.find("exec").exe(&program).arg("terminal").wait();
    assert!(event.truth("process.interactive"));
    let number: u64 = tty.strip_prefix("/dev/pts/").unwrap().parse().unwrap();
    assert_eq!(event.num("process.tty.char_device.major"), 136 + number / 256);
    assert_eq!(event.num("process.tty.char_device.minor"), number % 256);

    done(
        &actor(),
        join([nest("fork", join([words!["new-session"], nest("exec", words![&program, "ignore", "none"])]))]),
    );
    let event = sensor.find("exec").exe(&program).arg("none").wait();
    assert!(!event.truth("process.interactive"));
    assert!(!event.has("process.tty"));
    assert_eq!(event.num("process.session_leader.pid"), event.num("process.pid"));
}

#[test]
fn namespaces_and_cgroup() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let exec = nest("exec", words![&program, "say", "here", "wait"]);
    let mut running = Running::of(actor(), join([words!["new-spaces"], exec]));
    running.until("here");
    let event = sensor.find("exec").pid(running.pid()).exe(&program).wait();
    for space in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let link = running.link(&format!("ns/{space}"));
        let number = link.split(['[', ']']).nth(1).unwrap();
        assert_eq!(event.str(&format!("sensor.namespace.{space}")), number, "{space}");
    }
    let own = fs::read_link("/proc/self/ns/uts").unwrap();
    assert!(!own.to_string_lossy().contains(event.str("sensor.namespace.uts")), "it had spaces of its own");
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", running.pid())).unwrap();
    if let Some(path) = cgroups.lines().find_map(|line| line.strip_prefix("0::")) {
        assert_eq!(event.str("sensor.cgroup.path"), path);
    }
    running.end();
}

#[test]
fn an_exec_by_another_thread_keeps_the_process() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let first = folder.at("threads");
    copy(&threads(), &first);
    let mut running = Running::of(&first, words!["exec", &program, "pid"]);
    running.close();
    let pid = running.pid();
    assert_eq!(running.line(), pid.to_string());
    running.wait();
    let exit = sensor.find("exit").pid(pid).wait();
    let event = sensor.find("exec").pid(pid).exe(&program).one();
    assert_eq!(event.num("process.thread.id"), u64::from(pid));
    assert_eq!(event.str("process.previous.executable"), text(&first));
    assert_eq!(event.str("process.entity_id"), exit.str("process.entity_id"));
    assert_eq!(sensor.find("exit").pid(pid).one().str("process.executable"), text(&program));
}

#[test]
fn a_32_bit_program() {
    if skip() {
        return;
    }
    let Some(tiny32) = program::tiny32() else {
        let _ = because("cc -m32 makes no program here");
        return;
    };
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = folder.at("prog32");
    copy(&tiny32, &program);
    let absent = folder.at("absent");
    let mut running = Running::of(&program, words![&absent, "two words"]);
    running.go();
    assert_eq!(running.line(), "fail");
    running.end();
    let event = sensor.find("exec").exe(&program).wait();
    assert_eq!(event.texts("process.args"), [&text(&program), &text(&absent), "two words"]);
}

#[test]
fn the_zeroth_argument_may_lie() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let mut words = words!["exec-as", &program, "2"];
    words.extend(words!["[kworker/0:1]", "pid"]);
    done(&actor(), words);
    let event = sensor.find("exec").exe(&program).wait();
    assert_eq!(event.texts("process.args"), ["[kworker/0:1]", "pid"]);
    assert_eq!(event.str("process.name"), "prog");
    assert_eq!(OsStr::new(event.str("process.executable")), program.as_os_str());
}

/// The cgroup of a container, by the name that Docker gives it, and its id.
fn container(number: u64) -> Option<(String, Cgroup)> {
    let id = format!("{:064x}", u64::from(std::process::id()) << 8 | number);
    let cgroup = Cgroup::make(&format!("docker-{id}.scope"));
    if cgroup.is_none() {
        let _ = because("there are no cgroups of version 2");
    }
    Some((id, cgroup?))
}

/// Folders, a name and arguments as long as they may be: there is room for the cgroup all the same.
#[test]
fn a_long_script_is_told_in_its_container() {
    if skip() {
        return;
    }
    let Some((id, cgroup)) = container(7) else { return };
    let (sensor, folder) = (Sensor::start(words![]), Folder::new());
    let deep = "cd \"$1\"; d=$(printf '%0255d' 0); for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do mkdir $d; cd -P $d; done; \
                cp \"$2\" i; echo '#!./i' > s; chmod +x s; echo $$ > \"$3\"; exec \"$(printf './%.0s' $(seq 2046))s\" $(printf '%016384d' 0)";
    let procs = cgroup.path().join("cgroup.procs");
    let shell = words!["-c", deep, "sh", folder.path(), actor(), &procs];
    let mut script = Running::of(Path::new("/bin/sh"), shell);
    // It knows no such step.
    let _ended = script.wait();
    let exec = sensor
        .find("exec")
        .pid(script.pid())
        .such("in its container", |event| event.has("container.id"))
        .wait();
    assert_eq!(exec.str("container.id"), id);
    let exit = sensor.find("exit").pid(script.pid()).wait();
    assert!(exit.num("process.args_count") >= 3 && exit.str("container.id") == id, "{exit:#}");
    sensor.stop().clean();
}

/// Who moves to another cgroup is told there, and so is its child that executes nothing.
#[test]
fn a_child_is_told_in_the_cgroup_it_is_born_in() {
    if skip() {
        return;
    }
    let Some((id, cgroup)) = container(9) else { return };
    let sensor = Sensor::start(words![]);
    let mut parent =
        Running::of(actor(), join([words!["say", "runs", "wait"], nest("fork", words!["wait"])]));
    parent.until("runs");
    cgroup.add(parent.pid());
    parent.go();
    let fork = sensor.find("fork").with("process.parent.pid", u64::from(parent.pid())).wait();
    assert_eq!(fork.str("container.id"), id, "{fork:#}");
    parent.end();
    sensor.stop().clean();
}
