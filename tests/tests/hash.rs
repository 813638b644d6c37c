//! `sensor hash`: the SHA-256 of what is really running.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use tests::answer::run;
use tests::place::{mount_bind, private_mounts};
use tests::program::{actor, actor_at, copy, join, nest, sha256, tiny, trick};
use tests::sensor::{binary, command};
use tests::skip::skip;
use tests::{Answer, Event, Folder, Running, words};

fn hash(what: impl AsRef<std::ffi::OsStr>) -> Answer {
    Answer::of(command().args(words!["hash", what]))
}

fn executable(answer: &Answer) -> &Event {
    answer.row("sensor.file.role", "executable")
}

#[test]
fn what_runs_is_hashed_and_not_what_has_its_name() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let wanted = sha256(&actor());
    let [deleted, replaced] = ["deleted", "replaced"].map(|name| Running::idle(actor_at(folder.at(name))));
    fs::remove_file(folder.at("deleted")).unwrap();
    copy(&tiny(), &folder.at("new"));
    fs::rename(folder.at("new"), folder.at("replaced")).unwrap();
    let itself = actor_at(folder.at("itself"));
    let itself = Running::of(&itself, words!["unlink", itself, "say", "runs", "hang"]);
    let memfd = Running::of(
        actor(),
        nest(&format!("memfd evil {}", actor().display()), words!["image", "say", "runs", "hang"]),
    );
    [&itself, &memfd].into_iter().for_each(|running| drop(running.until("runs")));
    let cases = [
        (&deleted, "deleted", 73),
        (&replaced, "replaced", 47),
        (&itself, "deleted", 73),
        (&memfd, "memfd", 73),
    ];
    for (running, state, severity) in cases {
        let answer = hash(running.pid().to_string()).status(0);
        let row = executable(&answer);
        assert_eq!(row.str("file.hash.sha256"), wanted, "{row:#}");
        assert_eq!(row.str("sensor.file.state"), state, "{row:#}");
        assert_eq!(row.num("event.severity"), severity, "{row:#}");
        assert_eq!(row.num("process.pid"), u64::from(running.pid()));
        assert!(!row.has("sensor.file.changed"));
    }
    let answer = hash(replaced.pid().to_string());
    assert_eq!(executable(&answer).str("file.path"), folder.at("replaced").to_str().unwrap());
    assert_eq!(sha256(&folder.at("replaced")), sha256(&tiny()), "its name has another file");
}

#[test]
fn what_else_is_mapped_to_be_executed_is_hashed() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let [there, gone, replaced] = ["there", "gone", "re placed\n"].map(|name| folder.at(name));
    for (at, path) in [&there, &gone, &replaced].into_iter().enumerate() {
        fs::write(path, vec![at as u8; 5000 + at]).unwrap();
    }
    let hashes = [&there, &gone, &replaced].map(|path| sha256(path));
    let steps = words!["code", there, "code", gone, "code", replaced, "code-memory", "65536"];
    let running = Running::of(actor(), join([steps, words!["say", "runs", "hang"]]));
    running.until("runs");
    fs::remove_file(&gone).unwrap();
    fs::write(folder.at("new"), "").unwrap();
    fs::rename(folder.at("new"), &replaced).unwrap();
    let answer = hash(running.pid().to_string()).status(0);
    let paths = [&there, &gone, &replaced].map(|path| path.to_str().unwrap());
    let states = [("present", None), ("deleted", Some("47")), ("replaced", Some("21"))];
    for ((path, sha256), (state, severity)) in paths.into_iter().zip(&hashes).zip(states) {
        let row = answer.row("file.path", path);
        assert_eq!((row.str("sensor.file.role"), row.str("sensor.file.state")), ("mapping", state));
        assert_eq!(row.str("file.hash.sha256"), sha256);
        assert_eq!(row.text("event.severity").as_deref(), severity, "{row:#}");
    }
    let row = executable(&answer);
    assert_eq!(row.str("file.hash.sha256"), sha256(&actor()));
    assert!(row.texts("sensor.findings")[0].starts_with("65536 bytes of memory can be executed"), "{row:#}");
    let plain = Running::idle(actor());
    let answer = hash(plain.pid().to_string()).status(0);
    assert_eq!(answer.rows.len(), 1, "a static program has but its executable: {:#?}", answer.rows);
    assert!(!answer.rows[0].has("sensor.findings"));

    let text = run(command().args(["hash", &running.pid().to_string(), "--format", "text"]));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.lines().next().unwrap().starts_with("SHA256"), "{text}");
    let line = text.lines().find(|line| line.contains("re placed\\x0a")).unwrap();
    assert!(line.starts_with(&hashes[2]), "{text}");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_told() {
    let folder = Folder::new();
    let path = folder.at("file");
    // Longer to read than a processor may be taken from who writes, and than a tick of the file's times.
    fs::write(&path, vec![0; 64 << 20]).unwrap();
    let (file, end) = (File::options().write(true).open(&path).unwrap(), AtomicBool::new(false));
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = 0_u8;
            while !end.load(Ordering::Relaxed) {
                byte = byte.wrapping_add(1);
                file.write_all_at(&[byte], u64::from(byte)).unwrap();
            }
        });
        let answer = hash(&path);
        end.store(true, Ordering::Relaxed);
        answer
    });
    let row = &answer.status(4).rows[0];
    assert!(row.truth("sensor.file.changed"), "{row:#}");
    let quiet = hash(&path).status(0);
    assert_eq!(quiet.rows[0].str("file.hash.sha256"), sha256(&path));
    assert!(!quiet.rows[0].has("sensor.file.changed"));
    let small = Answer::of(command().args(words!["hash", "--max-bytes", "1000", path])).status(1);
    assert!(small.rows.is_empty() && small.said.contains("more than 1000 bytes"), "{}", small.said);
}

#[test]
fn another_mount_namespace_has_its_own_files() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let (inside, outside) = (actor_at(folder.at("inside")), folder.at("outside"));
    copy(&tiny(), &outside);
    private_mounts(|| {
        mount_bind(&inside, &outside);
        let running = Running::idle(&outside);
        // From where this path leads to another file.
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--mount=/proc/{}/ns/mnt", std::process::id()));
        let answer = Answer::of(nsenter.arg(binary()).args(["hash", &running.pid().to_string()])).status(0);
        assert_eq!(executable(&answer).str("file.hash.sha256"), sha256(&inside));
    });
    assert_eq!(sha256(&outside), sha256(&tiny()));
}

#[test]
fn what_is_no_file_is_refused() {
    let cases = [
        ("/dev/zero", 1, "no regular file"),
        ("/no/\x1bsuch", 1, "$'/no/\\x1bsuch'"),
        ("/", 1, "no regular file"),
        ("4294967296", 2, "no pid"),
        ("0", 2, "no pid"),
        ("4194304", 1, "no process 4194304"),
        ("", 2, "a pid or a path"),
    ];
    for (what, status, said) in cases {
        let answer = hash(what).status(status);
        assert!(answer.said.contains(said) && answer.rows.is_empty(), "{what:?}: {}", answer.said);
    }
    let folder = Folder::new();
    nix::unistd::mkfifo(&folder.at("17"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut here = command();
    here.current_dir(folder.path()).args(["hash", "./17"]);
    assert!(Answer::of(&mut here).status(1).said.contains("no regular file"));
}

#[test]
fn without_root_it_does_what_it_can() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    copy(&binary(), &folder.at("sensor"));
    let as_nobody = |pid: u32| {
        let exec = nest("exec", words![folder.at("sensor"), "hash", pid.to_string()]);
        Answer::of(Command::new(actor()).args(join([words!["become", "65534"], exec])))
    };
    let other = Running::idle(actor());
    let answer = as_nobody(other.pid()).status(3);
    assert!(answer.said.contains("only root"), "{}", answer.said);
    // What became nobody may not be asked by nobody; what nobody executed may.
    let ready = nest("exec", words![actor(), "code", "/bin/sh", "say", "runs", "hang"]);
    let own = Running::of(actor(), join([words!["become", "65534"], ready]));
    own.until("runs");
    let answer = as_nobody(own.pid());
    assert_eq!(executable(&answer).str("file.hash.sha256"), sha256(&actor()));
    let shell = fs::canonicalize("/bin/sh").unwrap();
    let row = answer.row("file.path", shell.to_str().unwrap());
    assert_eq!(row.str("file.hash.sha256"), sha256(&shell));
    assert_eq!(answer.status, Some(0), "{}", answer.said);
}

#[test]
fn who_may_never_answer_is_not_asked() {
    if skip() || !Path::new("/dev/fuse").exists() {
        return;
    }
    let folder = Folder::new();
    let place = folder.folder("place");
    let mut running = Running::of(trick("silentfuse"), words![place, actor(), "say", "runs", "pid", "hang"]);
    running.until("runs");
    let pid = running.line();
    let asked = Answer::of(command().args(words!["hash", "--ask-all", pid])).status(0);
    assert_eq!(executable(&asked).str("file.hash.sha256"), sha256(&actor()));
    running.go();
    let answer = hash(&pid).status(1);
    assert!(answer.said.contains("may never do so: --ask-all"), "{}", answer.said);
    // Nor when no list of mounts shows where it lies.
    nix::mount::umount2(&place, nix::mount::MntFlags::MNT_DETACH).unwrap();
    let answer = hash(&pid).status(1);
    assert!(answer.said.contains("may never do so"), "{}", answer.said);
    running.end();
}
