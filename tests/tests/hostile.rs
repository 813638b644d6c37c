//! Names and words made to confuse whoever reads them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Stdio};
use tests::find::Source;
use tests::program::{actor, actor_at, done, join, nest};
use tests::sensor::binary;
use tests::skip::skip;
use tests::{Folder, Running, Sensor, base64, words};

#[test]
fn odd_names() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let long = "n".repeat(255);
    let names = [
        "with space",
        "new\nline",
        "\x1b[2J\x1b]0;title\x07",
        "x (deleted)",
        "(deleted)",
        "\"quoted\\\"",
        "\u{202e}gnp.exe",
        "\t",
        "-rf",
        "ünï→🦀",
        "{\"event\":{\"action\":\"fake\"}}",
        &long,
    ];
    for name in names {
        let victim = actor_at(folder.at(name));
        let mut running = Running::of(&victim, words!["unlink", &victim, "say", "done", "wait"]);
        running.until("done");
        let event = sensor.find("exec").pid(running.pid()).exe(&victim).wait();
        assert_eq!(event.str("sensor.exe.state"), "present", "{name:?}");
        let alert = sensor.find("exe_deleted").file(&victim).wait();
        assert_eq!(alert.str("file.name"), name);
        assert_eq!(alert.str("process.executable"), victim.to_string_lossy());
        running.end();
        let exit = sensor.find("exit").pid(running.pid()).wait();
        assert_eq!(
            exit.str("process.executable"),
            victim.to_string_lossy(),
            "without what the kernel adds to the name"
        );
    }
    sensor.fence();
    let fake = sensor.find("fake").all();
    assert!(fake.is_empty());
}

#[test]
fn names_that_are_not_utf8() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let name = OsString::from_vec(b"bad\xff\xfename\xe2\x82".to_vec());
    let victim = actor_at(folder.at(&name));
    let mut running = Running::of(&victim, words!["unlink", &victim]);
    running.end();
    let pid = running.pid();
    let exec = sensor.find("exec").pid(pid).exe(&victim).wait();
    let alert = sensor.find("exe_deleted").pid(pid).wait();
    for (event, field, exact) in [
        (&exec, "process.executable", victim.as_os_str()),
        (&alert, "process.executable", victim.as_os_str()),
        (&alert, "file.path", victim.as_os_str()),
        (&alert, "file.name", name.as_os_str()),
    ] {
        assert_eq!(event.str(field), exact.to_string_lossy(), "{field}");
        let raw = base64::decode(event.str(&format!("sensor.raw.{field}")));
        assert_eq!(raw.as_deref(), Some(exact.as_bytes()), "{field}");
    }
}

#[test]
fn the_8_bit_control_characters() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    // U+009B begins an escape sequence for some terminals, U+007F is no letter either: JSON permits both raw.
    let program = actor_at(folder.at("c1\u{9b}31m\u{7f}"));
    done(&program, words![]);
    let event = sensor.find("exec").exe(&program).wait();
    assert_eq!(event.str("process.executable"), program.to_string_lossy());
    let lines = sensor.lines_with("c1");
    assert!(!lines.is_empty());
    for line in lines {
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn a_path_longer_than_any_buffer() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let name = "d".repeat(200);
    let steps = join([
        words!["chdir", folder.path(), "deep", &name, "25", "copy", actor(), "prog"],
        nest("run", words!["./prog", "ignore", "deep down", "unlink", "prog"]),
    ]);
    done(&actor(), steps);
    let first = |event: &tests::Event| event.texts("process.args")[0] == "./prog";
    let event = sensor.find("exec").arg("deep down").such("./prog first", first).wait();
    let path = event.str("process.executable");
    assert!(path.ends_with("/prog"), "the end of a path says most: {path}");
    assert!(path.contains(&format!("/{name}/{name}/")), "{path}");
    let pid = u32::try_from(event.num("process.pid")).unwrap();
    let alert = sensor.find("exe_deleted").pid(pid).wait();
    assert_eq!(alert.str("file.name"), "prog");
    let exit = sensor.find("exit").pid(pid).wait();
    assert_eq!(exit.num("process.exit_code"), 0);
}

#[test]
fn no_arguments_at_all() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    for way in ["exec-null", "exec-empty"] {
        let program = actor_at(folder.at(way));
        let mut running = Running::of(actor(), words![way, &program]);
        running.end();
        let event = sensor.find("exec").pid(running.pid()).exe(&program).wait();
        // Since 5.18 the kernel puts one empty word where there is none.
        let args = event.get("process.args").map_or(0, |args| args.as_array().unwrap().len());
        assert!(args <= 1, "{event:#}");
        if args == 1 {
            assert_eq!(event.texts("process.args"), [""]);
        }
    }
}

#[test]
fn arguments_rewritten_after_exec() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let text = "\x1b[31m[kworker/u8:0]\n";
    let words = words!["scribble", text, "rename-self", "[\x1b[2Jevil]", "say", "done", "wait"];
    let mut running = Running::of(&program, words.clone());
    running.until("done");
    let event = sensor.find("exec").pid(running.pid()).exe(&program).wait();
    let mut expected = vec![program.to_string_lossy().into_owned()];
    expected.extend(words.iter().map(|word| word.to_string_lossy().into_owned()));
    assert_eq!(event.texts("process.args"), expected, "what was executed, not what it says since");
    assert_eq!(event.str("process.name"), "prog");

    // A later sensor reads what the process shows now.
    let later = Sensor::start(words![]);
    let snapshot = later.find("process_snapshot").pid(running.pid()).wait();
    assert_eq!(snapshot.str("process.executable"), program.to_string_lossy());
    assert!(snapshot.has("process.args"));
    running.end();
    later.stop().clean();
}

#[test]
fn words_that_break_terminals_and_lines() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let all: Vec<u8> = (1..=255).collect();
    done(
        &program,
        words!["ignore", OsStr::from_bytes(&all), "ignore", "\r\n\r\n", "ignore", "\u{2028}\u{feff}"],
    );
    let event = sensor.find("exec").exe(&program).wait();
    let args = event.texts("process.args");
    assert_eq!(args.len(), 7);
    assert_eq!(args[2], String::from_utf8_lossy(&all));
    assert_eq!((args[4], args[6]), ("\r\n\r\n", "\u{2028}\u{feff}"));
}

#[test]
fn a_working_directory_that_is_gone() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let gone = folder.folder("gone");
    let mut command = Command::new("/bin/sh");
    let steps = "rmdir \"$2\" && exec \"$1\" ignore homeless";
    command.args(words!["-c", steps, "sh", &program, &gone]).current_dir(&gone);
    assert!(Running::start(&mut command).end().success());
    let event = sensor.find("exec").exe(&program).wait();
    assert_eq!(event.str("process.working_directory"), gone.to_string_lossy());
}

#[test]
fn where_no_thread_is_left_a_verb_says_what_it_lacks() {
    if skip() {
        return;
    }
    for words in [
        &["ps"][..],
        &["files", "--user", "root"],
        &["ports"],
        &["who"],
        &["history"],
        &["inspect", "1"],
        &["hash", "/bin/sh"],
        &["lookup", "--offline", "/bin/sh"],
    ] {
        // Somebody who may have no more processes; root may have any number.
        let shell = "ulimit -u 0 2>/dev/null || ulimit -p 0 || exit 99; exec \"$@\"";
        let mut command = Command::new(actor());
        let shell =
            [words!["/bin/sh", "-c", shell, "sh", binary()], words.iter().map(OsString::from).collect()];
        command.args(join([words!["become", "64123"], nest("exec", join(shell))]));
        let output = tests::program::output(
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()),
            tests::patience(tests::DEADLINE),
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{words:?}: {said}");
        assert!(matches!(output.status.code(), Some(0 | 1 | 3 | 4)), "{words:?}: {output:?}");
        if words[0] == "hash" {
            assert!(said.contains("starting a thread"), "{said}");
        }
    }
}
