//! `sensor kill`: against processes that fight back, and never by accident.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that can't go on fails the test")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use tests::adversary::{Adversary, living, new_uid, seconds};
use tests::answer::Answer;
use tests::place::{Cgroup, mount_tmpfs, private_mounts};
use tests::program::{self, adversary, copy, sha256};
use tests::sensor::{binary, command};
use tests::skip::skip;
use tests::terminal::Terminal;
use tests::{Event, Folder, Running, lock, words};

/// How long each run looks for more, seconds.
const VERIFY: &str = "0.1";

/// A place for what is kept.
struct Place {
    folder: Folder,
    config: String,
}

impl Place {
    fn new() -> Self {
        let folder = Folder::new();
        let config = folder.at("sensor.toml");
        let text = format!(
            "[evidence]\nfolder = {:?}\n[state]\nfolder = {:?}\n",
            folder.at("evidence"),
            folder.at("state")
        );
        fs::write(&config, text).unwrap();
        Self { config: config.display().to_string(), folder }
    }

    /// What `kill` answers, and the event that it told.
    fn kill(&self, words: &[&str]) -> (Answer, Option<Event>) {
        let fixed = ["--config", &self.config, "--verify", VERIFY, "--format", "json"];
        let answer = Answer::to(&[&["kill"], words, &fixed].concat());
        let told = answer.said.lines().find(|line| line.starts_with('{'));
        let event = told.map(|line| Event::parse(line.as_bytes()).unwrap());
        (answer, event)
    }

    /// What `kill --yes` answers about all of a user.
    fn kill_all(&self, uid: u32, means: &str) -> Answer {
        self.kill(&["--user", &uid.to_string(), "--yes", "--means", means]).0
    }
}

/// The result of each process, in the order of the answer.
fn results(answer: &Answer) -> Vec<String> {
    answer.rows.iter().map(|row| row.str("sensor.contain.result").to_owned()).collect()
}

fn row(answer: &Answer, pid: u32) -> &Event {
    let found = answer.rows.iter().find(|row| row.num("process.pid") == u64::from(pid));
    found.unwrap_or_else(|| panic!("no row of {pid}: {:#?} {}", answer.rows, answer.said))
}

/// Each adversary that has a user of its own: its name, its words.
const ADVERSARIES: [(&str, &[&str]); 8] = [
    ("16 respawning chains", &["chains", "16"]),
    ("a fork bomb under a process limit", &["bomb", "60"]),
    ("double-forked daemons", &["daemons", "8"]),
    ("one that ignores every signal", &["deaf"]),
    ("one stopped by its tracer", &["traced"]),
    ("another pid namespace with chains in it", &["inside"]),
    ("a thread of another user", &["thread"]),
    ("the same without its main thread", &["headless"]),
];

/// Fights one of them so many times each way; gives how many runs left somebody alive.
fn fight(words: &[&str], times: usize, means: &[&str]) -> usize {
    let place = Place::new();
    let mut lost = 0;
    for means in means.iter().cycle().take(times) {
        let adversary = Adversary::of(words);
        let answer = place.kill_all(adversary.uid, means);
        let survivors = adversary.survivors();
        if !survivors.is_empty() || answer.status != Some(0) {
            eprintln!("{words:?} by {means}: {survivors:?}, status {:?}: {}", answer.status, answer.said);
            lost += 1;
        }
        assert!(!answer.rows.is_empty(), "{words:?} by {means}, status {:?}: {}", answer.status, answer.said);
    }
    lost
}

#[test]
fn none_survives() {
    if skip() {
        return;
    }
    let _alone = lock::alone();
    for (name, words) in ADVERSARIES {
        assert_eq!(fight(words, 2, &["cgroup", "signals"]), 0, "{name}");
    }
    assert_eq!(fight(&["chains", "16"], 2, &["user"]), 0, "by one signal to all of the user");
}

/// `cargo xtask test -- -p tests --test kill -- --ignored fifty --nocapture`
#[test]
#[ignore = "takes minutes: 50 runs of each adversary"]
fn fifty_times() {
    if skip() {
        return;
    }
    let _alone = lock::alone();
    let mut lost = 0;
    for (name, words) in ADVERSARIES {
        let runs = fight(words, 50, &["cgroup", "signals", "user"]);
        println!("{name}: {runs} of 50 runs left somebody alive");
        lost += runs;
    }
    let place = Place::new();
    let means = ["cgroup", "signals"].into_iter().cycle().take(50);
    let ended = |answer: &Answer| {
        let all = results(answer).iter().all(|result| result == "ended");
        answer.status == Some(0) && !answer.rows.is_empty() && all
    };
    let moved =
        means.clone().filter_map(|means| end_mover(&place, means)).filter(|answer| !ended(answer)).count();
    println!("one that moves between cgroups: {moved} of 50 runs left somebody alive");
    let rights =
        means.map(|means| end_setuid(&place, means)).filter(|(answer, left)| !ended(answer) || *left != 0);
    let rights = rights.count();
    println!("one with root's rights by its file: {rights} of 50 runs left somebody alive");
    assert_eq!(lost + moved + rights, 0);
}

#[test]
fn what_is_killed_is_kept_and_told() {
    if skip() {
        return;
    }
    let place = Place::new();
    let mut adversary = Adversary::of(&["daemons", "2"]);
    // Who began them has ended.
    adversary.running.wait();
    let uid = adversary.uid.to_string();
    let pids = adversary.living();
    let (answer, event) = place.kill(&["--user", &uid, "--yes", "--reason", "a\u{1b}[31m drill"]);
    assert_eq!(answer.status, Some(0), "{}", answer.said);
    assert_eq!(answer.rows.len(), 2);
    let hash = sha256(&program::adversary());
    for pid in pids {
        let row = row(&answer, pid);
        assert_eq!(row.str("sensor.contain.result"), "ended");
        assert_eq!(row.str("sensor.contain.means"), "cgroup");
        assert_eq!(row.texts("sensor.matches"), ["real", "effective"]);
        assert_eq!(row.str("process.hash.sha256"), hash);
        let kept = row.str("sensor.evidence.path");
        assert_eq!(sha256(Path::new(kept)), hash);
        let note = format!("{kept}.{}.{pid}", row.str("process.entity_id"));
        assert!(Path::new(&note).exists(), "{note}");
    }
    let event = event.unwrap();
    assert!(event.faults().is_empty(), "{:#?}", event.faults());
    assert_eq!(event.str("event.action"), "contain");
    assert_eq!(event.str("event.outcome"), "success");
    assert_eq!(event.str("event.reason"), "a\u{1b}[31m drill");
    assert_eq!(event.str("sensor.contain.method"), "kill");
    assert_eq!(event.str("sensor.contain.target"), format!("user {uid}"));
    assert_eq!(event.num("sensor.contain.count"), 2);
    assert!(!answer.said.contains('\u{1b}'), "{}", answer.said);
}

#[test]
fn a_plan_does_nothing_and_nothing_is_done_unasked() {
    if skip() {
        return;
    }
    let place = Place::new();
    let mut adversary = Adversary::of(&["daemons", "3"]);
    adversary.running.wait();
    let (uid, before) = (adversary.uid.to_string(), adversary.living());
    let (plan, event) = place.kill(&["--user", &uid, "--dry-run"]);
    assert_eq!(plan.status, Some(0), "{}", plan.said);
    assert_eq!(results(&plan), ["planned"; 3]);
    assert!(event.is_none(), "a plan is no act: {event:?}");
    let (unasked, event) = place.kill(&["--user", &uid]);
    assert_eq!(unasked.status, Some(2), "{}", unasked.said);
    assert!(event.is_none() && unasked.rows.is_empty() && unasked.said.contains("--yes"), "{}", unasked.said);
    assert_eq!(adversary.living(), before);
    assert!(!place.folder.at("evidence").exists());

    let words = words!["kill", "--user", uid, "--config", place.config, "--verify", "0"];
    let mut terminal = Terminal::start(&binary(), words, &[], (160, 40));
    terminal.until("a question", |screen| screen.iter().any(|line| line.contains("[y/N]")));
    terminal.press("n\r");
    assert_eq!(terminal.wait().code(), Some(1));
    assert_eq!(adversary.living(), before);
    let words = words!["kill", "--user", uid, "--config", place.config, "--verify", "0"];
    let mut terminal = Terminal::start(&binary(), words, &[], (160, 40));
    terminal.until("a question", |screen| screen.iter().any(|line| line.contains("[y/N]")));
    terminal.press("y\r");
    assert_eq!(terminal.wait().code(), Some(0));
    assert!(adversary.survivors().is_empty());
}

#[test]
fn who_holds_the_host_and_the_person_is_spared() {
    if skip() {
        return;
    }
    let place = Place::new();
    let own = std::process::id().to_string();
    // This test is a parent of the command.
    for (words, why) in [
        (vec!["--pid", &own], "this command was started by way of it"),
        (vec!["--pid", "1", "--force"], "it is the first process"),
        (vec!["--pid", "2", "--force"], "it is a thread of the kernel"),
        (vec!["--user", "daemon"], "its user is a system account"),
    ] {
        if words[1] == "daemon" && living(1).is_empty() {
            continue;
        }
        let (answer, event) = place.kill(&[&words[..], &["--yes"]].concat());
        assert_eq!(answer.status, Some(3), "{words:?} {}", answer.said);
        assert!(results(&answer).iter().all(|result| result == "refused"), "{:#?}", answer.rows);
        assert!(answer.rows[0].str("sensor.reason").contains(why), "{:#?}", answer.rows);
        assert_eq!(event.unwrap().str("event.outcome"), "failure");
    }
    // All of root's in the plan, and each of them spared.
    let (plan, _) = place.kill(&["--user", "root", "--dry-run"]);
    assert!(
        plan.rows.len() > 2 && results(&plan).iter().all(|result| result == "refused"),
        "{:#?}",
        plan.rows
    );
    // Of a tree that holds the person the rest is ended. The shell is the parent of both.
    let words = "sh=$$; sleep 60 & echo sleeper $!; \"$0\" kill --tree $sh --yes --verify 0 --no-evidence --format json > \"$1\" 2>\"$2\"; echo status $?; exit 0";
    let (out, err) = (place.folder.at("out"), place.folder.at("err"));
    let mut running =
        Running::start(Command::new("/bin/sh").args(["-c", words]).arg(binary()).arg(&out).arg(&err));
    let sleeper: u64 = running.line().strip_prefix("sleeper ").unwrap().parse().unwrap();
    assert_eq!(running.line(), "status 4", "{}", fs::read_to_string(&err).unwrap());
    let rows = fs::read_to_string(&out).unwrap();
    let rows: Vec<Event> = rows.lines().map(|line| Event::parse(line.as_bytes()).unwrap()).collect();
    let result = |pid: u64| {
        let row = rows.iter().find(|row| row.num("process.pid") == pid);
        row.map(|row| row.str("sensor.contain.result").to_owned())
    };
    assert_eq!(result(sleeper).as_deref(), Some("ended"));
    assert_eq!(result(u64::from(running.pid())).as_deref(), Some("refused"));
    assert!(running.end().success());
}

#[test]
fn by_pid_tree_and_hash() {
    if skip() {
        return;
    }
    let place = Place::new();
    // Another's is left.
    let (one, other) = (Adversary::of(&["stay"]), Adversary::of(&["stay"]));
    let pid = one.running.pid().to_string();
    let (answer, _) = place.kill(&["--pid", &pid, "--yes"]);
    assert_eq!((answer.status, answer.rows.len()), (Some(0), 1), "{}", answer.said);
    assert!(one.survivors().is_empty() && !other.living().is_empty());
    let (gone, _) = place.kill(&["--pid", &pid, "--yes"]);
    assert_eq!(gone.status, Some(1), "{}", gone.said);
    assert!(gone.said.contains(&format!("no process {pid}")), "{}", gone.said);

    // Below one, whoever their user is, also those that only share its session.
    let file = place.folder.at("agent");
    copy(&adversary(), &file);
    // A shell of its own: those of other tests do as it does.
    let own_shell = place.folder.at("sh");
    copy(Path::new("/bin/sh"), &own_shell);
    let mut tree = Command::new("setsid");
    let shell = "(\"$0\" 60 - stay &) ; \"$0\" 60 - stay & wait";
    tree.arg(&own_shell).args(["-c", shell]).arg(&file);
    let tree = Running::start(&mut tree);
    tree.until("ready");
    tree.until("ready");
    fs::remove_file(&file).unwrap();
    let (answer, _) = place.kill(&["--tree", &tree.pid().to_string(), "--yes"]);
    assert_eq!(answer.status, Some(0), "{}", answer.said);
    assert_eq!(results(&answer), ["ended"; 3]);
    let matches: Vec<_> = answer.rows.iter().map(|row| row.texts("sensor.matches")).collect();
    assert!(matches.iter().any(|why| why[0] == "session"), "{matches:?}");

    // By what runs, also when it was deleted.
    let file = place.folder.at("other");
    copy(&adversary(), &file);
    fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"x"))
        .unwrap();
    let hash = sha256(&file);
    let uid = new_uid();
    let planted = Running::of(&file, words![seconds(), uid.to_string(), "stay"]);
    planted.until("ready");
    fs::remove_file(&file).unwrap();
    let (answer, _) = place.kill(&["--sha256", &hash, "--yes"]);
    assert_eq!((answer.status, answer.rows.len()), (Some(0), 1), "{}", answer.said);
    assert_eq!(row(&answer, planted.pid()).str("sensor.evidence.sha256"), hash);
    assert!(living(uid).is_empty() && !other.living().is_empty());
    let (nobody, _) = place.kill(&["--sha256", &hash, "--yes"]);
    assert_eq!((nobody.status, nobody.rows.len()), (Some(0), 0), "{}", nobody.said);
}

#[test]
fn frozen_ones_wait_and_go_on_or_end() {
    if skip() {
        return;
    }
    for means in ["cgroup", "signals"] {
        let place = Place::new();
        let adversary = Adversary::of(&["chains", "2"]);
        let uid = adversary.uid.to_string();
        let (answer, event) = place.kill(&["--user", &uid, "--yes", "--freeze", "--means", means]);
        assert_eq!(answer.status, Some(0), "{}", answer.said);
        let event = event.unwrap();
        assert_eq!(event.str("sensor.contain.method"), "freeze");
        let held = adversary.living();
        assert!(!held.is_empty());
        // Links of the chain may have ended before they were held.
        for row in &answer.rows {
            let lives = held.contains(&u32::try_from(row.num("process.pid")).unwrap());
            assert_eq!(row.str("sensor.contain.result"), if lives { "frozen" } else { "ended" }, "{row:#}");
        }
        assert!((0..20).all(|_| adversary.living() == held), "a chain goes on");
        let id = answer.rows[0].str("sensor.contain.id").to_owned();
        let (thawed, event) = place.kill(&["--thaw", &id]);
        assert_eq!(thawed.status, Some(0), "{}", thawed.said);
        assert_eq!(event.unwrap().str("sensor.contain.method"), "thaw");
        let mut looks = 0;
        while adversary.living() == held {
            looks += 1;
            assert!(looks < 10_000, "they don't go on");
        }
        let (again, _) = place.kill(&["--thaw", &id]);
        assert_eq!(again.status, Some(1), "{}", again.said);
        // Frozen ones die like others.
        let (frozen, _) = place.kill(&["--user", &uid, "--yes", "--freeze", "--means", means]);
        assert_eq!(frozen.status, Some(0), "{}", frozen.said);
        let ended = place.kill_all(adversary.uid, means);
        assert_eq!(ended.status, Some(0), "{}", ended.said);
        assert!(adversary.survivors().is_empty());
    }
}

#[test]
fn who_comes_again_is_told_with_who_starts_it() {
    if skip() {
        return;
    }
    let place = Place::new();
    let uid = new_uid().to_string();
    let file = adversary().display().to_string();
    let keeper = Adversary::of_root(&["keeper", &file, &seconds(), &uid, "stay"]);
    // The first that it starts.
    keeper.running.until("ready");
    let (answer, event) = place.kill(&["--user", &uid, "--yes"]);
    assert_eq!(answer.status, Some(4), "{}", answer.said);
    let again = answer.rows.iter().find(|row| row.str("sensor.contain.result") == "respawned");
    let again = again.unwrap_or_else(|| panic!("nobody came again: {:#?}", answer.rows));
    let starter = format!("its parent, process {}", keeper.running.pid());
    assert!(again.texts("sensor.contain.starters").iter().any(|text| text.contains(&starter)), "{again:#}");
    assert!(answer.said.contains(&starter), "{}", answer.said);
    assert_eq!(event.unwrap().str("event.outcome"), "failure");
    // One process alone: who is started in its place isn't it, and is told.
    let pid = living(uid.parse().unwrap()).into_iter().next();
    if let Some(pid) = pid {
        let (answer, _) = place.kill(&["--pid", &pid.to_string(), "--yes"]);
        assert_eq!(answer.status, Some(4), "{}", answer.said);
        assert!(results(&answer).iter().any(|result| result == "spared"), "{:#?}", answer.rows);
    }
}

#[test]
fn one_that_the_kernel_holds_is_told() {
    if skip() {
        return;
    }
    let place = Place::new();
    let folder = place.folder.folder("mute");
    let uid = new_uid();
    let mut server = Running::of(adversary(), words![seconds(), uid.to_string(), "mute", folder]);
    if server.line() != "ready" {
        return;
    }
    let answer = place.kill_all(uid, "cgroup");
    assert_eq!(answer.status, Some(4), "{}", answer.said);
    assert_eq!(results(&answer), ["alive"]);
    assert!(answer.rows[0].str("sensor.reason").contains("can't be interrupted"), "{:#?}", answer.rows);
    // Who answers for the file system ends, and so does it.
    server.close();
    server.wait();
    let mut looks = 0;
    while !living(uid).is_empty() {
        looks += 1;
        assert!(looks < 10_000, "it isn't killed");
    }
}

/// Ends one of root's that moves itself and its child between cgroups all the time; none where there are no such cgroups.
fn end_mover(place: &Place, means: &str) -> Option<Answer> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("mover-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let (a, b) = (Cgroup::make(&format!("{name}-a"))?, Cgroup::make(&format!("{name}-b"))?);
    // Of root, who may move whom it likes: also its child, out of wherever that was put.
    let folders = [a.path().display().to_string(), b.path().display().to_string()];
    // A program of its own: those of other tests do as it does.
    let file = place.folder.at(&name);
    copy(&adversary(), &file);
    let mover = Running::of(&file, words![seconds(), "-", "mover", folders[0], folders[1]]);
    mover.until("ready");
    Some(place.kill(&["--tree", &mover.pid().to_string(), "--yes", "--means", means]).0)
}

/// Ends one that a user started and that has root's rights by its file.
fn end_setuid(place: &Place, means: &str) -> (Answer, usize) {
    let file = place.folder.at("setuid");
    copy(&adversary(), &file);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
    // In a folder of its own user's it would be refused by mounts without such rights.
    let adversary = Adversary::of(&["exec", &file.display().to_string(), &seconds(), "-", "stay"]);
    let words = ["--user", &adversary.uid.to_string(), "--yes", "--as", "real", "--means", means];
    let answer = place.kill(&words).0;
    let left = adversary.survivors().len();
    drop(adversary);
    fs::remove_file(file).unwrap();
    (answer, left)
}

#[test]
fn one_that_moves_between_cgroups_is_held() {
    if skip() {
        return;
    }
    let place = Place::new();
    for means in ["cgroup", "signals"] {
        let Some(answer) = end_mover(&place, means) else { return };
        assert_eq!(answer.status, Some(0), "{}", answer.said);
        assert_eq!(results(&answer), ["ended"; 2]);
    }
}

#[test]
fn a_program_with_anothers_rights_is_the_users() {
    if skip() {
        return;
    }
    let (answer, left) = end_setuid(&Place::new(), "cgroup");
    assert_eq!((answer.status, answer.rows.len(), left), (Some(0), 1, 0), "{}", answer.said);
    assert_eq!(answer.rows[0].texts("sensor.matches"), ["real"]);
}

#[test]
fn without_cgroups_signals_do_it() {
    if skip() {
        return;
    }
    let place = Place::new();
    let adversary = Adversary::of(&["chains", "4"]);
    let answer = private_mounts(|| {
        if let Some(cgroups) = tests::place::cgroups() {
            tests::place::unmount(cgroups.to_str().unwrap());
            mount_tmpfs(&cgroups, "1m");
        }
        let fixed = ["--config", &place.config, "--verify", VERIFY, "--format", "json"];
        let uid = adversary.uid.to_string();
        Answer::of(command().args(["kill", "--user", &uid, "--yes"]).args(fixed))
    });
    assert_eq!(answer.status, Some(0), "{}", answer.said);
    assert!(answer.rows.iter().all(|row| row.str("sensor.contain.means") == "signals"), "{:#?}", answer.rows);
    assert!(answer.said.contains("no cgroup could be made"), "{}", answer.said);
    assert!(adversary.survivors().is_empty());
}

#[test]
fn another_user_may_end_only_its_own() {
    if skip() {
        return;
    }
    let place = Place::new();
    let adversary = Adversary::of(&["stay"]);
    let kill = |uid: u32| {
        let pid = adversary.running.pid().to_string();
        let words = ["kill", "--pid", &pid, "--yes", "--no-evidence", "--verify", "0", "--format", "json"];
        Answer::of(command().args(words).uid(uid))
    };
    let answer = kill(new_uid());
    assert_eq!((answer.status, results(&answer)), (Some(3), vec!["alive".to_owned()]), "{}", answer.said);
    let answer = kill(adversary.uid);
    assert_eq!((answer.status, results(&answer)), (Some(0), vec!["ended".to_owned()]), "{}", answer.said);
    drop(place);
}

#[test]
fn wrong_usage_is_refused() {
    let wrong: [&[&str]; 7] = [
        &["kill"],
        &["kill", "--pid", "0"],
        &["kill", "--pid", "1", "--user", "root"],
        &["kill", "--sha256", "x"],
        &["kill", "--user", "no-such-user-at-all", "--yes"],
        &["kill", "--pid", "5", "--as", "real"],
        &["kill", "--thaw", "xyz"],
    ];
    for words in wrong {
        assert_eq!(Answer::to(words).status, Some(2), "{words:?}");
    }
}

#[test]
fn who_listens_on_a_port_is_ended_and_nobody_else() {
    if skip() {
        return;
    }
    let line = "netns tcp a 4 bind a 0.0.0.0 8080 listen a udp b 4 bind b 0.0.0.0 8080 say runs wait";
    let mut listener = Running::of(program::net(), program::steps(line));
    listener.until("runs");
    let space = format!("--net=/proc/{}/ns/net", listener.pid());
    // It keeps the namespace, and has another port.
    let other = "tcp a 4 bind a 0.0.0.0 8081 listen a say runs wait";
    let mut other =
        Running::start(Command::new("nsenter").arg(&space).arg(program::net()).args(program::steps(other)));
    other.until("runs");
    let sensor = |words: &[&str]| {
        let mut command = Command::new("nsenter");
        command.arg(&space).arg(binary()).args(words).args(["--format", "json"]);
        Answer::of(&mut command)
    };
    let planned = sensor(&["port", "close", "8080/tcp", "--stop", "--dry-run"]).status(0);
    assert_eq!(results(&planned), ["planned"]);
    assert_eq!(planned.rows[0].num("process.pid"), u64::from(listener.pid()));
    let none = sensor(&["port", "close", "9", "--stop", "--yes"]).status(0);
    assert!(none.rows.is_empty());
    let both = sensor(&["port", "close", "8081", "--stop", "--allow", "10.0.0.0/8"]).status(2);
    assert!(both.said.contains("--stop"), "{}", both.said);
    let unasked = sensor(&["port", "close", "8080", "--stop"]).status(2);
    assert!(unasked.said.contains("nothing was done"), "{}", unasked.said);
    let ended = sensor(&["kill", "--port", "8080", "--yes", "--no-evidence", "--verify", VERIFY]).status(0);
    assert_eq!(results(&ended), ["ended"]);
    listener.wait();
    let lives = Path::new("/proc").join(other.pid().to_string()).join("exe").read_link();
    assert!(lives.is_ok(), "who has another port lives");
    other.end();
}

/// While this lasts, somebody lets a process go on again and again.
fn while_let_go_on<T>(pid: u32, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            let pid = Pid::from_raw(pid.cast_signed());
            while !over.load(Ordering::Relaxed) && kill(pid, Signal::SIGCONT).is_ok() {
                thread::yield_now();
            }
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn who_is_let_go_on_is_not_called_frozen() {
    if skip() {
        return;
    }
    let place = Place::new();
    let adversary = Adversary::of(&["stay"]);
    let uid = adversary.uid.to_string();
    let words = ["--user", &uid, "--yes", "--freeze", "--no-evidence", "--means", "signals"];
    let (answer, event) = while_let_go_on(adversary.running.pid(), || place.kill(&words));
    assert_eq!(answer.status, Some(4), "{}", answer.said);
    assert_eq!(results(&answer), ["alive"]);
    assert!(answer.rows[0].str("sensor.reason").contains("SIGCONT"), "{:#?}", answer.rows);
    assert_eq!(event.unwrap().str("event.outcome"), "failure");
}

#[test]
fn a_port_whose_holder_only_root_sees_is_not_taken_for_free() {
    if skip() {
        return;
    }
    // This test is root's, and holds it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("{}/tcp", listener.local_addr().unwrap().port());
    let ask = |words: &[&str]| {
        let mut command = command();
        Answer::of(command.args(words).args(["--yes", "--format", "json"]).uid(new_uid()))
    };
    for words in [&["kill", "--port", &port][..], &["port", "close", &port, "--stop"]] {
        let answer = ask(words);
        assert_eq!(answer.status, Some(3), "{words:?} {}", answer.said);
        assert!(answer.rows.is_empty() && answer.said.contains("only root sees"), "{}", answer.said);
    }
    drop(listener);
    let nobody = ask(&["kill", "--port", &port]);
    assert_eq!((nobody.status, nobody.rows.len()), (Some(0), 0), "{}", nobody.said);
}

#[test]
fn a_listener_that_is_another_process_every_moment_is_ended() {
    if skip() {
        return;
    }
    let place = Place::new();
    for means in ["cgroup", "signals"] {
        let free = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let adversary = Adversary::of(&["heirs", &port]);
        let port = format!("{port}/tcp");
        let (answer, event) = place.kill(&["--port", &port, "--yes", "--no-evidence", "--means", means]);
        assert_eq!(answer.status, Some(0), "{}", answer.said);
        assert!(!answer.rows.is_empty(), "{}", answer.said);
        assert_eq!(event.unwrap().str("event.outcome"), "success");
        assert!(adversary.survivors().is_empty());
    }
}
