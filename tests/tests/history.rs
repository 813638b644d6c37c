//! `sensor history`: what real shells remember, what sudo's logs have, and what is done to hide it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that can't go on fails the test")]

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tests::answer::{self, Answer};
use tests::place::{mount_bind, mount_overlay, mount_tmpfs, private_mounts};
use tests::program::{actor, copy, join, nest};
use tests::sensor::{binary, command};
use tests::skip::{missing, skip};
use tests::{DEADLINE, Event, Folder, patience, words};

/// A user with a home, whom nobody else has: also not the other tests.
struct User {
    folder: Folder,
    home: PathBuf,
    uid: u32,
}

impl User {
    /// A file in the home.
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.write_at(&self.home.join(name), bytes);
    }

    fn write_at(&self, path: &Path, bytes: impl AsRef<[u8]>) {
        fs::write(path, bytes).unwrap();
        chown(path, Some(self.uid), None).unwrap();
    }
}

/// On a host that has the user, and no logs; nobody else sees it so.
fn with_user(what: impl FnOnce(&User) + Send) {
    static USERS: AtomicU32 = AtomicU32::new(64_001);
    let folder = Folder::new();
    let (home, uid) = (folder.folder("home"), USERS.fetch_add(1, Ordering::Relaxed));
    chown(&home, Some(uid), None).unwrap();
    let passwd = format!("root:x:0:0::/nowhere:/bin/sh\nalice:x:{uid}:{uid}::{}:/bin/bash\n", home.display());
    fs::write(folder.at("passwd"), passwd).unwrap();
    let user = User { folder, home, uid };
    private_mounts(|| {
        mount_bind(&user.folder.at("passwd"), Path::new("/etc/passwd"));
        mount_tmpfs(Path::new("/var/log"), "64m");
        what(&user);
    });
}

/// All that is told of the user.
fn told(more: &[&str]) -> Answer {
    let words: Vec<&str> = ["history", "--user", "alice"].iter().chain(more).copied().collect();
    Answer::of(command().args(words))
}

fn by<'a>(answer: &'a Answer, source: &str) -> Vec<&'a Event> {
    let is = |row: &&Event| row.str("sensor.history.source") == source && row.action() == "history_command";
    answer.rows.iter().filter(is).collect()
}

fn lines<'a>(rows: &[&'a Event]) -> Vec<&'a str> {
    rows.iter().map(|row| row.str("process.command_line")).collect()
}

fn file<'a>(answer: &'a Answer, end: &str) -> &'a Event {
    let is = |row: &&Event| {
        row.action() == "history_file" && row.text("file.path").is_some_and(|path| path.ends_with(end))
    };
    answer.rows.iter().find(is).unwrap_or_else(|| panic!("no {end}: {}\n{:#?}", answer.said, answer.rows))
}

fn findings(row: &Event) -> String {
    if row.has("sensor.findings") { row.texts("sensor.findings").join("; ") } else { String::new() }
}

/// A shell of the user's on a terminal.
struct Typed {
    child: Child,
    input: ChildStdin,
    output: Receiver<String>,
}

impl Typed {
    fn start(shell: &[&str], user: &User, variables: &[(&str, &str)]) -> Self {
        let home = &user.home;
        let run = join([
            words!["become", user.uid.to_string()],
            nest("exec", shell.iter().map(OsString::from).collect()),
        ]);
        let mut command = Command::new(actor());
        command.args(nest("pty", run)).env_clear().current_dir(home);
        command.envs([("HOME", home.to_str().unwrap()), ("TERM", "dumb"), ("PATH", "/usr/bin:/bin")]);
        command.envs(variables.iter().copied());
        let quiet = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = quiet.spawn().unwrap();
        let (input, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self { child, input, output }
    }

    /// Types a line until its answer comes: what is typed before a shell is ready may be thrown away.
    fn answers(&mut self, line: &str, answer: &str) {
        let end = Instant::now() + patience(DEADLINE);
        let mut seen = Vec::new();
        loop {
            let _ = self.input.write_all(format!("{line}\r").as_bytes());
            let wait = Instant::now() + Duration::from_secs(2);
            loop {
                match self.output.recv_timeout(wait.saturating_duration_since(Instant::now())) {
                    // Escape codes may stand around it.
                    Ok(text) if text.contains(answer) && !text.contains(line) => return,
                    Ok(text) => seen.push(text),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => panic!("it ended: {seen:?}"),
                }
            }
            assert!(Instant::now() < end, "no answer: {seen:?}");
        }
    }

    fn end(mut self) {
        let _ = self.input.write_all(b"exit\r");
        let _ = tests::program::wait(&mut self.child, DEADLINE);
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_real_shells_remember_is_told() {
    if skip() {
        return;
    }
    let shells: [(&str, &[&str], &str, bool); 6] = [
        ("bash", &["/bin/bash", "--norc", "-i"], ".bash_history", true),
        ("zsh", &["/usr/bin/zsh", "-i", "-o", "extendedhistory"], ".zsh_history", true),
        ("mksh", &["/usr/bin/mksh", "-i"], ".mksh_history", false),
        ("ksh", &["/usr/bin/ksh93", "-i"], ".sh_history", false),
        ("ash", &["/usr/bin/busybox", "ash", "-i"], ".ash_history", false),
        ("fish", &["/usr/bin/fish", "-i"], ".local/share/fish/fish_history", true),
    ];
    with_user(|user| {
        let home = &user.home;
        // It asks who has none.
        user.write(".zshrc", "");
        for (shell, words, place, timed) in shells {
            if !Path::new(words[0]).exists() {
                let _ = missing(&format!("there is no {shell}"));
                continue;
            }
            let path = home.join(place);
            let mut variables = vec![("HISTTIMEFORMAT", "%F "), ("HISTSIZE", "99"), ("SAVEHIST", "99")];
            if shell != "fish" {
                variables.push(("HISTFILE", path.to_str().unwrap()));
            }
            let mut typed = Typed::start(words, user, &variables);
            typed.answers("expr 40 + 2", "42");
            typed.end();
            if shell == "ash" && !path.exists() {
                // A build option of busybox.
                continue;
            }
            let answer = told(&[]);
            let rows = by(&answer, shell);
            assert!(lines(&rows).contains(&"expr 40 + 2"), "{shell}: {:?} {}", lines(&rows), answer.said);
            let row = rows.iter().find(|row| row.str("process.command_line") == "expr 40 + 2").unwrap();
            assert_eq!(row.str("user.name"), "alice");
            assert_eq!(row.str("file.path"), path.to_str().unwrap());
            assert!(row.has(if timed { "process.start" } else { "sensor.history.before" }), "{row:#}");
            fs::remove_file(path).unwrap();
        }
    });
}

#[test]
fn what_is_merged_stands_in_its_time() {
    if skip() {
        return;
    }
    with_user(|user| {
        user.write(".bash_history", "old\n#1764180000\nsecond\n#1764180600\nfourth\n");
        user.write(".zsh_history", ": 1764180300:7;third\n");
        let log = "2025-11-26T17:00:00.5Z host sudo:    alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/first x\n\
            2025-11-26T18:20:00Z host sudo: alice : TTY=/dev/pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/second\n\
            2025-11-26T18:20:01Z host sudo: bob : TTY=pts/9 ; PWD=/ ; USER=root ; COMMAND=/bin/other\n";
        fs::write("/var/log/auth.log", log).unwrap();
        let answer = told(&[]);
        assert_eq!(answer.status, Some(0), "{}", answer.said);
        let commands: Vec<&Event> =
            answer.rows.iter().filter(|row| row.action() == "history_command").collect();
        let expected = ["/bin/first x", "old", "second", "third", "fourth", "/bin/second"];
        assert_eq!(lines(&commands), expected);
        assert_eq!(commands[1].str("sensor.history.before"), "2025-11-26T18:00:00.000000000Z");
        assert_eq!(commands[3].str("process.end"), "2025-11-26T18:05:07.000000000Z");
        let sudo = by(&answer, "sudo")[0];
        assert_eq!((sudo.str("user.effective.name"), sudo.str("sensor.tty")), ("root", "pts/0"));
        assert_eq!(sudo.str("file.path"), "/var/log/auth.log");
        assert!(!sudo.truth("sensor.history.recorded") && sudo.num("event.severity") == 21, "{sudo:#}");
        let rs = by(&answer, "sudo-rs")[0];
        assert!(rs.truth("sensor.history.recorded") && !rs.has("event.severity"), "{rs:#}");

        let since = told(&["--since", "2025-11-26T18:04:00Z"]);
        let commands: Vec<&Event> =
            since.rows.iter().filter(|row| row.action() == "history_command").collect();
        assert_eq!(lines(&commands), ["third", "fourth", "/bin/second"]);
        let all = Answer::done(&["history"]);
        assert!(lines(&by(&all, "sudo")).contains(&"/bin/other"), "of everybody");
        let wrong = answer::run(command().args(["history", "--since", "some\x1bday"]));
        assert_eq!(wrong.status.code(), Some(2));

        fs::write("/var/log/auth.log.2.gz", "x").unwrap();
        let packed = told(&[]);
        assert_eq!(packed.status, Some(4));
        assert!(packed.said.contains("auth.log.2.gz: it can't be unpacked to its end"), "{}", packed.said);
        fs::write("/var/log/auth.log.2.gz", PACKED).unwrap();
        let packed = told(&[]);
        assert_eq!(packed.status, Some(0), "{}", packed.said);
        assert!(lines(&by(&packed, "sudo")).contains(&"/bin/packed"));
        fs::write("/var/log/secure-20251101.xz", "x").unwrap();
        let packed = told(&[]);
        assert_eq!(packed.status, Some(4));
        assert!(
            packed.said.contains("1 packed logs in /var/log, such as secure-20251101.xz"),
            "{}",
            packed.said
        );
    });
}

/// A line of sudo's, by `gzip -9n`: alice ran /bin/packed at 18:00:30.
const PACKED: &[u8] = b"\
    \x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x33\x32\x30\x32\xd5\x35\x34\xd4\x35\x32\x0b\x31\xb4\xb0\x32\x30\xb0\x32\x36\xd0\x06\x92\x06\x06\x0a\x19\xf9\xc5\x25\x0a\
    \xc5\xa5\x29\xf9\x56\x0a\x40\x90\x98\x93\x99\x9c\xaa\x60\xa5\x10\x12\x12\x69\x5b\x50\x52\xac\x6f\xa0\x60\xad\x10\x10\xee\x62\xab\x9f\x91\x9f\x9b\xaa\x0f\x91\xb5\
    \x56\x08\x0d\x76\x0d\xb2\x2d\xca\xcf\x2f\x01\xb2\x9d\xfd\x7d\x7d\x1d\xfd\x80\x2a\x92\x32\xf3\xf4\x0b\x12\x93\xb3\x53\x53\xb8\x00\x38\xc9\x59\x82\x6e\x00\x00\x00";
/// A syslog of the test's own, at `/dev/log` of the mounts it is called in: it writes `auth.log` as Debian's does without
/// a setting, with the time as it came and the host's name put in.
fn syslog(folder: &Folder) {
    use std::os::unix::net::UnixDatagram;
    let [dev, upper, work] = ["dev", "dev/upper", "dev/work"].map(|name| folder.at(name));
    fs::create_dir(&dev).unwrap();
    mount_tmpfs(&dev, "1m");
    [&upper, &work].into_iter().for_each(|path| fs::create_dir(path).unwrap());
    // Over the host's own, where nothing changes.
    mount_overlay(Path::new("/dev"), &upper, &work, Path::new("/dev")).unwrap();
    let _ = fs::remove_file("/dev/log");
    let socket = UnixDatagram::bind("/dev/log").unwrap();
    fs::set_permissions("/dev/log", Permissions::from_mode(0o666)).unwrap();
    let mut log = fs::File::create("/var/log/auth.log").unwrap();
    std::thread::spawn(move || {
        let mut bytes = vec![0; 8192];
        while let Ok(length) = socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let text = text.split_once('>').unwrap().1.trim_end_matches('\0');
            let (time, rest) = text.split_at(15);
            writeln!(log, "{time} host{rest}").unwrap();
        }
    });
}

#[test]
fn what_sudo_itself_logs_is_told() {
    if skip() || !Path::new("/usr/bin/sudo").exists() && missing("there is no sudo") {
        return;
    }
    with_user(|user| {
        syslog(&user.folder);
        let files = [
            ("/etc/sudoers", "root ALL=(ALL) ALL\nalice ALL=(ALL) NOPASSWD: ALL, !/bin/false\n"),
            ("/etc/shadow", "root:*:19000:0:99999:7:::\nalice:*:19000:0:99999:7:::\n"),
        ];
        for (path, text) in files {
            let ours = user.folder.at(Path::new(path).file_name().unwrap());
            fs::write(&ours, text).unwrap();
            fs::set_permissions(&ours, Permissions::from_mode(0o440)).unwrap();
            mount_bind(&ours, Path::new(path));
        }
        let sudo = |words: &[&str]| {
            let words = ["/usr/bin/sudo", "-n"].iter().chain(words).map(OsString::from).collect();
            let become_user = words!["become", user.uid.to_string()];
            let mut command = Command::new(actor());
            answer::run(command.args(join([become_user, nest("exec", words)])).current_dir("/usr"))
        };
        let (long, odd) = ("x".repeat(3000), "a b; COMMAND=/bin/none \u{1b}[2J");
        let ran = sudo(&["/bin/echo", odd, &long]);
        assert!(ran.status.success(), "{ran:?}");
        assert!(!sudo(&["/bin/false"]).status.success());
        let end = Instant::now() + patience(DEADLINE);
        while !fs::read_to_string("/var/log/auth.log").unwrap().contains("COMMAND=/bin/false") {
            assert!(Instant::now() < end, "sudo didn't log it");
            std::thread::yield_now();
        }
        let answer = told(&[]).status(0);
        let rows = by(&answer, "sudo");
        assert_eq!(rows.len(), 2, "{rows:#?}");
        let first = rows[0].str("process.command_line");
        assert!(first.starts_with("/bin/echo ") && first.matches('x').count() >= 3000, "{first}");
        assert_eq!(rows[1].str("process.command_line"), "/bin/false");
        for row in rows {
            let who =
                (row.str("user.name"), row.str("user.effective.name"), row.str("process.working_directory"));
            assert_eq!(who, ("alice", "root", "/usr"), "{row:#}");
            assert!(row.has("process.start") && row.str("file.path") == "/var/log/auth.log", "{row:#}");
        }
    });
}

/// Where Debian and others put it; it makes journals of text.
const MAKER: &str = "/lib/systemd/systemd-journal-remote";

#[test]
fn the_journal_of_the_system_is_asked() {
    if skip() {
        return;
    }
    if !Path::new(MAKER).exists() {
        let _ = missing("there is no systemd-journal-remote");
        return;
    }
    with_user(|user| {
        let machine = fs::read_to_string("/etc/machine-id").unwrap();
        let folder = Path::new("/var/log/journal").join(machine.trim());
        fs::create_dir_all(&folder).unwrap();
        let entry = |seconds: u64, comm: &str, message: &str| {
            let boot = "0123456789abcdef0123456789abcdef";
            format!(
                "__REALTIME_TIMESTAMP={seconds}000000\n__MONOTONIC_TIMESTAMP={seconds}\n_BOOT_ID={boot}\n_COMM={comm}\n\
                 SYSLOG_IDENTIFIER=sudo\nMESSAGE\n"
            )
            .into_bytes()
            .into_iter()
            .chain((message.len() as u64).to_le_bytes())
            .chain(format!("{message}\n\n").into_bytes())
            .collect::<Vec<u8>>()
        };
        let sudo = |command: &str| format!("alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND={command}");
        let text = [
            entry(1_764_180_000, "sudo", &sudo("/bin/one")),
            entry(1_764_180_001, "logger", &sudo("/bin/forged")),
            entry(1_764_180_002, "sudo-rs", &sudo("/bin/two \x1b[2J")),
            entry(1_764_180_003, "sudo-rs", "alice : (command continued) and more"),
        ];
        fs::write(user.folder.at("export"), text.concat()).unwrap();
        let mut maker = Command::new(MAKER);
        maker.arg("-o").arg(folder.join("system.journal")).arg(user.folder.at("export"));
        let made = answer::run(&mut maker);
        assert!(made.status.success(), "{made:?}");
        // The same line as text is the same command.
        let log = format!("2025-11-26T18:00:00Z host sudo: {}\n", sudo("/bin/one"));
        fs::write("/var/log/auth.log", log).unwrap();
        let answer = told(&[]).status(0);
        assert_eq!(lines(&by(&answer, "sudo")), ["/bin/one", "/bin/two \x1b[2J and more"]);
        assert_eq!(by(&answer, "sudo")[1].str("process.start"), "2025-11-26T18:00:02.000000000Z");
        let since = told(&["--since", "2025-11-26T18:00:02Z"]);
        assert_eq!(lines(&by(&since, "sudo")), ["/bin/two \x1b[2J and more"]);
    });
}

#[test]
fn what_is_hidden_is_told() {
    if skip() || !Path::new("/bin/bash").exists() && missing("there is no bash") {
        return;
    }
    with_user(|user| {
        let (folder, home) = (&user.folder, &user.home);
        fs::write(folder.at("secret"), "secret\n").unwrap();
        symlink("/dev/null", home.join(".bash_history")).unwrap();
        symlink(folder.at("secret"), home.join(".zsh_history")).unwrap();
        fs::create_dir(home.join(".ash_history")).unwrap();
        user.write(".mksh_history", "");
        user.write(".sh_history", "unset HISTFILE\nls\n");
        nix::unistd::mkfifo(&home.join(".history"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        symlink(folder.path(), home.join(".local")).unwrap();
        user.write(".bashrc", "HISTSIZE=1000\n# HISTSIZE=0\n  export HISTFILE=/dev/null\n");
        let answer = told(&[]);
        assert_eq!(answer.status, Some(0), "{}", answer.said);
        let expected = [
            (".bash_history", 47, "it is a link to /dev/null"),
            (".zsh_history", 21, "which isn't followed"),
            (".ash_history", 47, "it is a folder"),
            (".history", 47, "it is a pipe"),
            (".mksh_history", 21, "it is empty"),
            (".bashrc", 47, "line 3, at each start of a shell: export HISTFILE=/dev/null"),
        ];
        for (end, severity, sentence) in expected {
            let row = file(&answer, end);
            assert!(findings(row).contains(sentence) && row.num("event.severity") == severity, "{row:#}");
        }
        let severities: Vec<bool> = answer.rows.iter().map(|row| row.action() == "history_file").collect();
        assert!(severities.is_sorted_by(|a, b| a >= b), "files stand first");
        let rows = by(&answer, "ksh");
        assert_eq!(lines(&rows), ["unset HISTFILE", "ls"], "in the order of the file");
        assert_eq!(rows[0].num("event.severity"), 47);
        assert!(!rows[1].has("event.severity"));
        assert!(answer.rows.iter().all(|row| !row.to_string().contains("secret\\n")), "no link was followed");

        // The emptied one is odder when its user has a shell on a terminal, which here remembers nothing either.
        let mut typed = Typed::start(&["/bin/bash", "--norc", "-i"], user, &[("HISTFILE", "/dev/null")]);
        typed.answers("expr 40 + 2", "42");
        let answer = told(&[]);
        assert_eq!(file(&answer, ".mksh_history").num("event.severity"), 47);
        let odd: Vec<&Event> =
            answer.rows.iter().filter(|row| findings(row).contains("HISTFILE is /dev/null")).collect();
        assert_eq!(odd.len(), 1, "{:#?}", answer.rows);
        assert_eq!((odd[0].num("event.severity"), odd[0].str("user.name")), (47, "alice"));
        assert!(by(&answer, "live").iter().any(|row| row.num("process.pid") == odd[0].num("process.pid")));
        typed.end();
    });
}

#[test]
fn a_history_that_a_shell_names_is_read_and_what_runs_is_judged() {
    if skip() || !Path::new("/bin/bash").exists() && missing("there is no bash") {
        return;
    }
    with_user(|user| {
        let folder = &user.folder;
        let elsewhere = folder.at("elsewhere");
        user.write_at(&elsewhere, "id\n");
        let variables = [("HISTFILE", elsewhere.to_str().unwrap())];
        let mut typed = Typed::start(&["/bin/bash", "--norc", "-i"], user, &variables);
        typed.answers("sleep 328 & expr 40 + 2", "42");
        typed.answers("history -a; tail -n 2 $HISTFILE", "sleep 328");
        let answer = told(&[]);
        assert!(lines(&by(&answer, "bash")).iter().any(|line| line.starts_with("sleep 328")));
        let sleeps = |answer: &Answer| -> Event {
            let rows = by(answer, "live");
            let is = |row: &&&Event| {
                row.text("process.name").as_deref() == Some("sleep") && row.truth("process.interactive")
            };
            (*rows.iter().find(is).unwrap_or_else(|| panic!("{:#?}", answer.rows))).clone()
        };
        assert!(sleeps(&answer).truth("sensor.history.recorded"));
        user.write_at(&elsewhere, "id\n");
        let row = sleeps(&told(&[]).status(0));
        assert!(
            !row.truth("sensor.history.recorded") && findings(&row).contains("was written since"),
            "{row:#}"
        );
        typed.answers("kill $!; expr 20 + 3", "23");
        typed.end();
    });
}

#[test]
fn nothing_misleads_and_everything_is_bounded() {
    if skip() {
        return;
    }
    with_user(|user| {
        user.write(".bash_history", b"evil\x1b[2J\xff\r\n#99999999999999999999\n#-5\n#1\n\x00\x01\n");
        user.write(".zsh_history", [&b"\xab\xcd\xff\0\0"[..], &[0x83; 99]].concat());
        // Longer than is read, and all but its last line without an end.
        let mut long = vec![b'x'; 17 * 1024 * 1024];
        long.extend(b"\nlast\n");
        user.write(".ash_history", long);
        let answer = told(&[]);
        assert_eq!(answer.status, Some(4));
        assert!(answer.said.contains("only the last"), "{}", answer.said);
        assert_eq!(lines(&by(&answer, "ash")), ["last"]);
        assert!(lines(&by(&answer, "bash")).iter().any(|line| line.starts_with("evil")));
        let text = answer::run(command().args(["history", "--user", "alice", "--format", "text"]));
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
        assert!(text.contains("evil\\u{1b}[2J"), "{text}");
        assert!(text.lines().last().unwrap().contains("`sensor query` tells them"), "{text}");
    });
}

#[test]
fn without_root_it_does_what_it_can() {
    if skip() {
        return;
    }
    with_user(|user| {
        let (folder, home) = (&user.folder, &user.home);
        copy(&binary(), &folder.at("sensor"));
        user.write(".bash_history", "mine\n");
        fs::set_permissions(home.join(".bash_history"), Permissions::from_mode(0o600)).unwrap();
        let exec = nest("exec", words![folder.at("sensor"), "history", "--format", "json"]);
        let run = |uid: u32| {
            Answer::of(Command::new(actor()).args(join([words!["become", uid.to_string()], exec.clone()])))
        };
        let own = run(user.uid);
        assert_eq!(own.status, Some(4), "{}", own.said);
        assert_eq!(lines(&by(&own, "bash")), ["mine"]);
        let other = run(65_534);
        assert_eq!(other.status, Some(4), "{}", other.said);
        assert!(by(&other, "bash").is_empty() && other.said.contains(".bash_history"), "{}", other.said);
    });
}
