//! `sensor lookup`: what is known of a file by its hash, asked of a server that answers as VirusTotal's documented API does.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tests::answer::run;
use tests::place::private_mounts;
use tests::program::{actor, actor_at, copy, join, nest, sha256};
use tests::sensor::{binary, command};
use tests::server::{Reply, Server};
use tests::skip::{missing, skip};
use tests::{Answer, DEADLINE, Event, Folder, Running, patience, words};

const KEY: &str = "0123456789abcdef";
const HASH: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

/// An object of a file, as the API documents it, with more in it than is used.
fn known(sha256: &str, malicious: u32, suspicious: u32, undetected: u32) -> Reply {
    Reply::json(
        200,
        format!(
            r#"{{"data": {{"id": "{sha256}", "type": "file", "links": {{"self": "x"}}, "attributes": {{
            "last_analysis_date": 1700000000, "reputation": -3, "names": ["a", "b"],
            "last_analysis_stats": {{"malicious": {malicious}, "suspicious": {suspicious}, "undetected": {undetected},
                "harmless": 0, "timeout": 1, "confirmed-timeout": 0, "failure": 2, "type-unsupported": 5}},
            "popular_threat_classification": {{"suggested_threat_label": "trojan.mirai/\u001blinux"}}}}}}}}"#
        ),
    )
}

fn fault(status: u16, code: &str) -> Reply {
    Reply::json(status, format!(r#"{{"error": {{"code": "{code}", "message": "what it says"}}}}"#))
}

/// A configuration, with a server and a key.
struct Scene {
    folder: Folder,
    server: Server,
    more: String,
}

impl Scene {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let scene = Self { folder: Folder::new(), server: Server::start(replies), more: String::new() };
        scene.key(KEY, 0o600);
        scene
    }

    /// With more lines of configuration.
    fn with(self, more: &str) -> Self {
        Self { more: self.more + more + "\n", ..self }
    }

    fn key(&self, key: &str, mode: u32) {
        fs::write(self.folder.at("key"), key).unwrap();
        fs::set_permissions(self.folder.at("key"), Permissions::from_mode(mode)).unwrap();
    }

    fn list(&self, name: &str, lines: &str) -> PathBuf {
        fs::write(self.folder.at(name), lines).unwrap();
        self.folder.at(name)
    }

    fn config(&self) -> PathBuf {
        let at = |name| self.folder.at(name).display().to_string();
        let mut text = format!("[lookup]\nkey_file = {:?}\nfolder = {:?}\n", at("key"), at("kept"));
        if !self.more.contains("url = ") {
            text += &format!("url = {:?}\n", self.server.url());
        }
        if !self.more.contains("per_minute = ") {
            text += "per_minute = 1000\n";
        }
        self.list("config.toml", &(text + &self.more))
    }

    fn look(&self, what: impl AsRef<std::ffi::OsStr>, options: &[&str]) -> Answer {
        let mut command = command();
        command.arg("lookup").arg("--config").arg(self.config()).args(options).arg(what.as_ref());
        Answer::of(&mut command)
    }

    fn asked(&self) -> usize {
        self.server.questions().len()
    }
}

fn verdict(answer: &Answer) -> &str {
    answer.rows[0].str("sensor.reputation.verdict")
}

/// The answer of one source.
fn of<'a>(row: &'a Event, source: &str) -> &'a serde_json::Value {
    row.list("sensor.reputation.answers").iter().find(|answer| answer["source"] == source).unwrap()
}

#[test]
fn only_a_hash_is_asked_for_and_more_than_one_engine_is_a_verdict() {
    let scene = Scene::new([known(HASH, 12, 1, 57)]);
    let answer = scene.look(HASH.to_uppercase(), &[]).status(1);
    assert!(answer.said.starts_with("sensor: malicious: "), "{}", answer.said);
    let row = &answer.rows[0];
    assert_eq!(row.str("file.hash.sha256"), HASH);
    assert_eq!((verdict(&answer), row.num("event.severity")), ("malicious", 99));
    let said = of(row, "virustotal");
    assert_eq!((&said["malicious"], &said["engines"]), (&12.into(), &70.into()));
    assert!(said.get("age_s").is_none());
    assert!(row.str("sensor.reason").contains("12 of 70 engines"), "{row:#}");
    assert!(row.str("sensor.reason").contains("trojan.mirai/linux"), "no control character: {row:#}");
    let questions = scene.server.questions();
    assert_eq!(questions.len(), 1);
    assert_eq!(questions[0].head[0], format!("GET /files/{HASH} HTTP/1.1"));
    assert_eq!(questions[0].header("x-apikey"), Some(KEY));
    assert!(questions[0].body.is_empty());

    let counts = [((1, 0), 2, "suspicious", 4), ((0, 3), 2, "suspicious", 4), ((0, 0), 2, "undetected", 0)];
    let more = [((2, 0), 2, "malicious", 1), ((2, 0), 3, "suspicious", 4), ((1, 0), 1, "malicious", 1)];
    for ((malicious, suspicious), engines, wanted, status) in counts.into_iter().chain(more) {
        let scene =
            Scene::new([known(HASH, malicious, suspicious, 60)]).with(&format!("engines = {engines}"));
        let answer = scene.look(HASH, &[]).status(status);
        assert_eq!(verdict(&answer), wanted);
    }
}

#[test]
fn unknown_is_not_clean() {
    let scene = Scene::new([fault(404, "NotFoundError"), known(HASH, 0, 0, 0)]);
    for _ in 0..2 {
        let answer = scene.look(HASH, &["--fresh"]).status(4);
        assert_eq!(verdict(&answer), "unknown");
        assert!(answer.said.contains("doesn't make it clean"), "{}", answer.said);
    }
    assert_eq!(scene.asked(), 2);
    scene.look(HASH, &["--offline"]).status(4);
    assert_eq!(scene.asked(), 2);
}

#[test]
fn what_isnt_an_answer_is_said_and_the_local_answer_stands() {
    let other = Server::start([]);
    let large = format!("{{\"data\": \"{}\"}}", "x".repeat(9 << 20));
    let elsewhere = format!("location: {}/files/{HASH}", other.url());
    let cases = [
        (fault(401, "WrongCredentialsError"), "refuses the key (WrongCredentialsError)"),
        (fault(403, "ForbiddenError"), "refuses the key (ForbiddenError)"),
        (fault(400, "BadRequestError"), "status 400, BadRequestError"),
        (fault(400, "\\u001b[2Jevil"), "status 400"),
        (Reply::json(404, "<html>"), "doesn't answer as VirusTotal's API does"),
        (Reply::json(200, "{\"data\": [1, 2"), "isn't one of VirusTotal's API"),
        (Reply::json(200, ""), "isn't one of VirusTotal's API"),
        (Reply::json(200, known_with_negative()), "isn't one of VirusTotal's API"),
        (known(&"b".repeat(64), 70, 0, 0), "is of another file"),
        (Reply::json(200, large), "more than 8388608 bytes"),
        (Reply::json(302, "").with(&elsewhere), "sends us elsewhere (302)"),
        (Reply::Bytes(b"\x00\xff\x1b garbage\r\n\r\n".to_vec()), "can't be reached"),
        (Reply::Bytes(Vec::new()), "can't be reached"),
    ];
    for (reply, wanted) in cases {
        let scene = Scene::new([reply]);
        let answer = scene.look(HASH, &[]).status(4);
        assert!(answer.said.contains(wanted), "{wanted}: {}", answer.said);
        assert!(!answer.said.chars().any(|c| c.is_control() && c != '\n'), "{:?}", answer.said);
        assert_eq!((verdict(&answer), scene.asked()), ("unknown", 1), "{wanted}");
        assert!(!answer.said.contains(KEY));
        assert!(!scene.folder.at("kept/answers").exists(), "nothing of it is kept");
    }
    assert!(other.questions().is_empty(), "the key goes nowhere else");
}

fn known_with_negative() -> String {
    let stats = r#"{"malicious": -1, "suspicious": 0, "undetected": 1, "harmless": 0}"#;
    format!(r#"{{"data": {{"id": "{HASH}", "attributes": {{"last_analysis_stats": {stats}}}}}}}"#)
}

#[test]
fn a_slow_server_is_given_up() {
    for reply in [Reply::Silent, Reply::Drips] {
        let scene = Scene::new([reply.clone()]).with("timeout_s = 1");
        let start = Instant::now();
        let answer = scene.look(HASH, &[]).status(4);
        assert!(answer.said.contains("didn't answer in time"), "{reply:?}: {}", answer.said);
        assert!(start.elapsed() < patience(Duration::from_secs(10)));
    }
}

#[test]
fn trouble_and_too_many_questions_pass() {
    let again = |replies: Vec<Reply>| Scene::new(replies).with("patience_s = 20");
    let scene = again(vec![
        fault(503, "TransientError"),
        fault(429, "TooManyRequestsError").with("retry-after: 1"),
        known(HASH, 0, 0, 9),
    ]);
    let answer = scene.look(HASH, &[]).status(0);
    assert_eq!((verdict(&answer), scene.asked()), ("undetected", 3));
    assert!(answer.said.contains("waiting 1 s"), "{}", answer.said);

    let scene = again(vec![
        fault(500, "x"),
        fault(502, "x"),
        fault(504, "DeadlineExceededError"),
        known(HASH, 0, 0, 9),
    ]);
    let answer = scene.look(HASH, &[]).status(4);
    assert!(answer.said.contains("trouble itself (504), asked 3 times"), "{}", answer.said);
    assert_eq!(scene.asked(), 3);

    let quotas = [
        ("retry-after: 3600", "not before 3600 s"),
        ("x: y", "not before 15 s"),
        ("retry-after: soon", "not before 15 s"),
    ];
    for (line, wanted) in quotas {
        let scene = Scene::new([fault(429, "QuotaExceededError").with(line)]).with("patience_s = 2");
        let start = Instant::now();
        let answer = scene.look(HASH, &[]).status(4);
        assert!(answer.said.contains(wanted) && answer.said.contains("patience_s"), "{}", answer.said);
        assert!(start.elapsed() < patience(Duration::from_secs(2)), "it doesn't wait for nothing");
        // The next run leaves it alone too.
        scene.look(HASH, &[]).status(4);
        assert_eq!(scene.asked(), 1);
    }
}

#[test]
fn so_many_questions_a_minute_also_over_several_runs() {
    let (one, two, three) = ("1".repeat(64), "2".repeat(64), "3".repeat(64));
    let scene =
        Scene::new([known(&one, 0, 0, 9), known(&two, 0, 0, 9)]).with("per_minute = 2\npatience_s = 1");
    scene.look(&one, &[]).status(0);
    scene.look(&two, &[]).status(0);
    let answer = scene.look(&three, &[]).status(4);
    assert!(answer.said.contains("may not be asked more often: not before "), "{}", answer.said);
    assert_eq!(scene.asked(), 2);
    assert_eq!(verdict(&scene.look(&one, &[]).status(0)), "undetected", "what is kept is no question");
    // What is broken there is no reason to ask nobody.
    fs::write(scene.folder.at("kept/asked"), "broken").unwrap();
    scene.server.then(known(&three, 0, 0, 9));
    scene.look(&three, &[]).status(0);
}

#[test]
fn answers_are_kept_with_their_age() {
    let scene =
        Scene::new([known(HASH, 5, 0, 60), known(HASH, 0, 0, 60), fault(401, "WrongCredentialsError")]);
    scene.look(HASH, &[]).status(1);
    let kept = fs::metadata(scene.folder.at("kept")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o7777, 0o700);
    scene.key("", 0o600);
    let answer = scene.look(HASH, &[]).status(1);
    assert_eq!(scene.asked(), 1);
    assert!(of(&answer.rows[0], "virustotal")["age_s"].as_u64().is_some_and(|age| age < 60));
    let text =
        run(command().arg("lookup").arg("--config").arg(scene.config()).args([HASH, "--format", "text"]));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("malicious: ") && text.contains("(asked ") && text.contains(HASH), "{text}");

    scene.key(KEY, 0o600);
    let answer = scene.look(HASH, &["--fresh"]).status(0);
    assert!(of(&answer.rows[0], "virustotal").get("age_s").is_none());
    scene.look(HASH, &[]).status(0);
    assert_eq!(scene.asked(), 2);
    // Too old, or of another threshold.
    let scene = scene.with("max_age_s = 0");
    let end = Instant::now() + patience(DEADLINE);
    let mut answer = scene.look(HASH, &[]);
    while answer.status != Some(4) && Instant::now() < end {
        answer = scene.look(HASH, &[]);
    }
    assert!(answer.status(4).said.contains("refuses the key"));

    let answers = scene.folder.at("kept/answers");
    let whole = fs::read_to_string(&answers).unwrap();
    fs::write(&answers, &whole[..whole.len() - 3]).unwrap();
    scene.server.then(known(HASH, 9, 0, 60));
    let answer = scene.look(HASH, &[]).status(1);
    assert!(
        answer.said.contains("put aside as") && scene.folder.at("kept/answers.broken").exists(),
        "{}",
        answer.said
    );
    assert!(fs::read_to_string(&answers).unwrap().contains(HASH));
}

#[test]
fn lists_of_this_host_come_first() {
    let good = "c".repeat(64);
    let scene = Scene::new([known(HASH, 0, 0, 60), known(&good, 30, 0, 60)]);
    let bad_list = scene.list("bad", &format!("# bad ones\n{}  evil\n", HASH.to_uppercase()));
    let good_list = scene.list("good", &format!("{good}\n{HASH}\n"));
    let scene = scene.with(&format!("known_bad = [{bad_list:?}]\nknown_good = [{good_list:?}]"));
    let answer = scene.look(HASH, &[]).status(1);
    assert_eq!(verdict(&answer), "malicious");
    assert_eq!(answer.rows[0].list("sensor.reputation.answers").len(), 2);
    assert_eq!(of(&answer.rows[0], bad_list.to_str().unwrap())["verdict"], "malicious");
    assert_eq!(verdict(&scene.look(&good, &[]).status(0)), "known_good");
    assert_eq!(scene.asked(), 0, "nobody else was asked");
    assert_eq!(verdict(&scene.look(HASH, &["--always"]).status(1)), "malicious");
    assert_eq!(verdict(&scene.look(&good, &["--always"]).status(1)), "malicious", "engines against the list");
    assert_eq!(scene.asked(), 2);

    fs::set_permissions(&good_list, Permissions::from_mode(0o666)).unwrap();
    let answer = scene.look(&good, &["--offline"]).status(4);
    assert!(answer.said.contains("others may write to it: chmod 644"), "{}", answer.said);
    fs::remove_file(&good_list).unwrap();
    scene.list("bad", "d41d8cd98f00b204e9800998ecf8427e\n");
    let answer = scene.look(&good, &["--offline"]).status(4);
    assert!(
        answer.said.contains("1 lines of the list") && answer.said.contains("No such file"),
        "{}",
        answer.said
    );
}

#[test]
fn packages_are_known_good_ones() {
    let scene = Scene::new([]);
    if !Path::new("/var/lib/dpkg/info/coreutils.md5sums").exists() && missing("there is no dpkg") {
        return;
    }
    let answer = scene.look("/bin/true", &[]).status(0);
    assert_eq!(verdict(&answer), "known_good");
    let said = of(&answer.rows[0], "deb")["detail"].as_str().unwrap().to_owned();
    assert!(said.contains("coreutils") && said.contains("MD5"), "{said}");
    // By its bytes, wherever it lies.
    copy(Path::new("/bin/true"), &scene.folder.at("hidden"));
    assert_eq!(verdict(&scene.look(scene.folder.at("hidden"), &[]).status(0)), "known_good");
    if skip() {
        return;
    }
    let sleep = Running::start(Command::new("sleep").arg("infinity"));
    let answer = scene.look(sleep.pid().to_string(), &["--mappings"]).status(0);
    assert!(answer.rows.len() > 1);
    assert!(
        answer.rows.iter().all(|row| row.str("sensor.reputation.verdict") == "known_good"),
        "{:#?}",
        answer.rows
    );
    assert_eq!(scene.asked(), 0);
    private_mounts(|| {
        tests::place::mount_bind(&actor(), Path::new("/bin/true"));
        let answer = scene.look("/bin/true", &["--offline"]).status(4);
        assert_eq!(verdict(&answer), "suspicious");
        assert!(answer.said.contains("it was changed since"), "{}", answer.said);
    });
}

#[test]
fn what_runs_is_asked_for_and_not_what_has_its_name() {
    if skip() {
        return;
    }
    let scene = Scene::new([]);
    let path = actor_at(scene.folder.at("agent"));
    let wanted = sha256(&path);
    scene.server.then(known(&wanted, 40, 0, 30));
    let running = Running::of(&path, words!["unlink", path, "say", "runs", "hang"]);
    running.until("runs");
    fs::write(&path, "harmless").unwrap();
    let answer = scene.look(running.pid().to_string(), &[]).status(1);
    let row = &answer.rows[0];
    assert_eq!(row.str("file.hash.sha256"), wanted);
    assert_eq!(row.texts("sensor.findings").len(), 2, "replaced, and malicious: {row:#}");
    assert!(scene.server.questions()[0].head[0].contains(&wanted));
    let pid = running.pid().to_string();
    drop(running);
    // It is gone: that is no verdict.
    assert!(scene.look(pid, &[]).status(4).said.contains("there is no process"));
}

#[test]
fn without_key_or_network_the_local_answer_stands() {
    let scene = Scene::new([]);
    for (key, mode, wanted) in
        [("x", 0o644, "others may read it: chmod 600"), ("a\nb", 0o600, "holds no key")]
    {
        scene.key(key, mode);
        let answer = scene.look(HASH, &[]).status(4);
        assert!(answer.said.contains("it has no key: ") && answer.said.contains(wanted), "{}", answer.said);
        assert_eq!(verdict(&answer), "unknown");
    }
    fs::remove_file(scene.folder.at("key")).unwrap();
    assert!(scene.look(HASH, &[]).status(4).said.contains("No such file"));
    assert_eq!(scene.asked(), 0);
    scene.key(KEY, 0o600);
    let scene = scene.with("url = \"http://127.0.0.1:1\"");
    let answer = scene.look(HASH, &[]).status(4);
    assert!(
        answer.said.contains("it can't be reached") && answer.said.contains("refused"),
        "{}",
        answer.said
    );
    let list = scene.list("bad", HASH);
    let scene = scene.with(&format!("known_bad = [{list:?}]"));
    let answer = scene.look(HASH, &["--always"]).status(1);
    assert!(answer.said.contains("malicious: ") && answer.said.contains("refused"), "{}", answer.said);
    for (line, wanted) in
        [("url = \"http://example.org\"", "use https://"), ("enginess = 1", "did you mean `engines`?")]
    {
        let scene = Scene::new([]).with(line);
        assert!(scene.look(HASH, &[]).status(2).said.contains(wanted));
    }
}

#[test]
fn without_root_nothing_is_kept_and_that_is_said() {
    if skip() {
        return;
    }
    let scene = Scene::new([known(HASH, 0, 0, 60), known(HASH, 0, 0, 60)]);
    copy(&binary(), &scene.folder.at("sensor"));
    let as_nobody = || {
        let config = scene.config();
        let exec = nest("exec", words![scene.folder.at("sensor"), "lookup", "--config", config, HASH]);
        Answer::of(Command::new(actor()).args(join([words!["become", "65534"], exec])))
    };
    let answer = as_nobody().status(4);
    assert!(answer.said.contains("it has no key: ") && answer.said.contains("denied"), "{}", answer.said);
    std::os::unix::fs::chown(scene.folder.at("key"), Some(65534), None).unwrap();
    let answer = as_nobody().status(0);
    assert!(answer.said.contains("answers aren't kept"), "{}", answer.said);
    assert_eq!(verdict(&answer), "undetected");
}

#[test]
fn wrong_words_and_files_are_no_verdict() {
    let scene = Scene::new([]);
    for (what, status) in [("/no/such", 4), ("0", 2), ("/dev/null", 4), ("", 2)] {
        let answer = scene.look(what, &[]).status(status);
        assert!(answer.rows.is_empty() && !answer.said.is_empty(), "{what}");
    }
    let output = run(command().args(["lookup", HASH, "--no-such"]));
    assert_eq!(output.status.code(), Some(2));
}
