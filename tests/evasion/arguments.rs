//! What a process hands to the kernel, and changes behind its back.

use crate::lost::Lost;
use std::fs;
use std::path::Path;
use tests::find::Source;
use tests::program::{actor, actor_at, done, join, trick, words_of};
use tests::skip::skip;
use tests::{Folder, Running, Sensor, words};

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn a_word_rewritten_while_the_kernel_copies_them() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let program = actor_at(folder.at("prog"));
    let mut running = Running::of(
        trick("phantom"),
        words!["exec", &program, "harmless", "evil words", "say", "runs", "wait"],
    );
    running.until("runs");
    let event = sensor.find("exec").pid(running.pid()).exe(&program).wait();
    let executed = [&text(&program), "ignore", "evil words", "say", "runs", "wait"];
    assert_eq!(event.texts("process.args"), executed);
    assert_eq!(event.num("process.args_count"), 6);
    assert_eq!(event.str("process.previous.executable"), text(&trick("phantom")));
    let shown = fs::read(format!("/proc/{}/cmdline", running.pid())).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&shown).trim_end_matches('\0').split('\0').collect::<Vec<_>>(),
        executed
    );
    running.end();
    sensor.fence();
    for event in sensor.find("exec").pid(running.pid()).all() {
        let args = event.texts("process.args");
        assert!(args[1] == "exec" || !args.contains(&"harmless"), "{event:#}");
    }
}

#[test]
fn a_path_that_changes_under_way_to_unlink() {
    if skip() {
        return;
    }
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    let victim = actor_at(folder.at("victim"));
    let file = fs::metadata(&victim).unwrap();
    let mut running = Running::idle(&victim);
    let phantom = trick("phantom");
    let mut doer = Running::of(&phantom, words!["unlink", &victim, folder.at("decoys")]);
    doer.until("done");
    let by = (doer.pid(), phantom.as_path());
    Lost { path: &victim, file: &file, method: "unlink", by, runners: vec![running.pid()], severity: 73 }
        .told(sensor);
    doer.end();
    running.end();
}

#[test]
fn an_address_that_changes_under_way_to_connect() {
    if skip() {
        return;
    }
    const COUNT: usize = 300;
    let sensor = Sensor::shared();
    let listener =
        |slot| words!["tcp", slot, "4", "bind", slot, "127.0.0.1", "0", "listen", slot, "port", slot];
    let mut server = Running::of(tests::program::net(), join([listener("a"), listener("b"), words!["wait"]]));
    let [a, b] = [server.line(), server.line()].map(|line| line.trim_start_matches("port ").to_owned());
    let mut running = Running::of(trick("phantom"), words!["connect", &a, &b, COUNT.to_string()]);
    let got: Vec<String> =
        running.until("done").iter().map(|line| line.trim_start_matches("port ").to_owned()).collect();
    assert!(got.len() >= COUNT && got.contains(&a) && got.contains(&b));
    running.end();
    sensor.find("exit").pid(running.pid()).wait();
    let mut told = sensor.find("socket_connect").pid(running.pid()).all();
    told.sort_by_key(|event| event.str("@timestamp").to_owned());
    let ports: Vec<String> = told.iter().filter_map(|event| event.text("destination.port")).collect();
    assert_eq!(ports, got, "what it was connected to, in order");
    for event in told {
        event.whole();
        assert_eq!(event.str("destination.ip"), "127.0.0.1");
        assert_eq!(event.str("event.outcome"), "success");
    }
    server.end();
}

#[test]
fn two_mebibytes_of_words() {
    if skip() {
        return;
    }
    const BYTES: usize = (2 << 20) - (64 << 10);
    let (sensor, folder) = (Sensor::shared(), Folder::new());
    for (name, each) in [("long", 60_000), ("many", 64)] {
        let program = actor_at(folder.at(name));
        // Each word has a pointer too, which the kernel counts.
        let bytes = if name == "many" { BYTES / 2 } else { BYTES };
        let words = words_of(&program, bytes, each);
        let mut expected = vec![text(&program)];
        expected.extend(words.iter().map(|word| word.to_string_lossy().into_owned()));
        done(&program, words);
        let event = sensor.find("exec").exe(&program).wait();
        assert!(event.truth("sensor.args_truncated"));
        assert_eq!(event.num("sensor.args_bytes"), bytes as u64);
        assert_eq!(event.num("process.args_count"), expected.len() as u64);
        let told = event.texts("process.args");
        assert!(told.iter().map(|word| word.len() + 1).sum::<usize>() >= 16 * 1024 - 1);
        let (last, whole) = told.split_last().unwrap();
        assert!(whole.iter().zip(&expected).all(|(told, word)| told == word));
        assert!(expected[whole.len()].starts_with(last));
        assert_eq!(sensor.find("exit").exe(&program).wait().num("process.exit_code"), 0);
    }
    // What follows it is as whole as ever.
    done(&actor(), words!["ignore", "after two mebibytes"]);
    let event = sensor.find("exec").arg("after two mebibytes").wait();
    assert!(!event.has("sensor.args_truncated"));
}
