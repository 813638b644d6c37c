//! The test programs: compiled once from `programs/*.c` and `evasion/*.c`, copied to where a test wants them, run step by step.

use crate::{DEADLINE, patience};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A program: its name, the compiler's options, and libraries.
type Source<'a> = (&'a str, &'static [&'static str], &'static [&'static str]);

const STATIC: &[&str] = &["-O1", "-static", "-s"];
const FLAGS_32: &[&str] =
    &["-m32", "-O1", "-static", "-nostdlib", "-fno-pie", "-no-pie", "-fno-stack-protector", "-s"];

const ACTOR: Source<'static> = ("actor", STATIC, &["-lutil"]);
const THREADS: Source<'static> = ("threads", STATIC, &["-lpthread"]);
const NET: Source<'static> = ("net", STATIC, &["-lpthread"]);
const ECHO: Source<'static> = ("echo", STATIC, &["-lpthread"]);
const MOVER: Source<'static> = ("mover", STATIC, &[]);
const ATTACKER: Source<'static> = ("attacker", STATIC, &[]);
const STORM: Source<'static> = ("storm", STATIC, &[]);
const ADVERSARY: Source<'static> = ("adversary", STATIC, &["-lpthread"]);
const MUTE: Source<'static> = ("mute", STATIC, &["-lpthread"]);
const TINY: Source<'static> = ("tiny", &["-O1", "-static", "-nostdlib", "-s"], &[]);
const TINY32: Source<'static> = ("tiny32", FLAGS_32, &[]);

/// All but the 32-bit one, which not every compiler can make.
const ALL: [Source<'static>; 10] = [ACTOR, ADVERSARY, THREADS, NET, ECHO, MOVER, ATTACKER, STORM, MUTE, TINY];

/// `actor`: does what its words say, step by step.
#[must_use]
pub fn actor() -> PathBuf {
    program(&ACTOR)
}

/// `threads`: what threads do to their process.
#[must_use]
pub fn threads() -> PathBuf {
    program(&THREADS)
}

/// `net`: what a program can do with sockets.
#[must_use]
pub fn net() -> PathBuf {
    program(&NET)
}

/// `echo`: gives back what it is sent over the network.
#[must_use]
pub fn echo() -> PathBuf {
    program(&ECHO)
}

/// `mover`: moves a known number of bytes in a network namespace of its own.
#[must_use]
pub fn mover() -> PathBuf {
    program(&MOVER)
}

/// `attacker`: what somebody with root does to a sensor.
#[must_use]
pub fn attacker() -> PathBuf {
    program(&ATTACKER)
}

/// `storm`: many short processes.
#[must_use]
pub fn storm() -> PathBuf {
    program(&STORM)
}

/// `mute`: whoever reads its arguments or environment waits for ever.
#[must_use]
pub fn mute() -> PathBuf {
    program(&MUTE)
}

/// `adversary`: processes that fight against their end.
#[must_use]
pub fn adversary() -> PathBuf {
    program(&ADVERSARY)
}

/// `tiny`: exits at once.
#[must_use]
pub fn tiny() -> PathBuf {
    program(&TINY)
}

/// `tiny32`: a true 32-bit program, where the compiler can make one.
#[must_use]
pub fn tiny32() -> Option<PathBuf> {
    found(&TINY32).ok()
}

/// The program of one trick: `evasion/NAME.c`.
#[must_use]
pub fn trick(name: &str) -> PathBuf {
    program(&source_of(name))
}

const fn source_of(trick: &str) -> Source<'_> {
    (trick, STATIC, &["-lpthread"])
}

/// Compiles all of them into a folder, for machines that have no compiler and find them by `SENSOR_PROGRAMS`.
pub fn compile_all(folder: &Path) {
    let tricks =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("evasion")).expect("list the tricks");
    let tricks = tricks.map(|entry| entry.expect("list the tricks").path());
    let tricks = tricks.filter(|path| path.extension().is_some_and(|end| end == "c"));
    let tricks: Vec<_> = tricks.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    let tricks = tricks.iter().map(|name| source_of(name));
    for source in ALL.into_iter().chain([TINY32]).chain(tricks) {
        match compiled(&source) {
            Ok(path) => drop(fs::copy(path, folder.join(source.0)).expect("copy a program")),
            Err(why) => assert!(source.0 == TINY32.0, "{why}"),
        }
    }
}

fn program(source: &Source<'_>) -> PathBuf {
    found(source).unwrap_or_else(|why| panic!("{why}"))
}

/// In the folder of programs that were compiled before, or compiled here.
fn found(source: &Source<'_>) -> Result<PathBuf, String> {
    let Some(folder) = std::env::var_os("SENSOR_PROGRAMS") else { return compiled(source) };
    let path = Path::new(&folder).join(source.0);
    path.canonicalize().map_err(|why| format!("{}: {why}", path.display()))
}

/// Compiles a program unless this very source was compiled before; they lie beside the test's own executable.
fn compiled(&(name, flags, libraries): &Source<'_>) -> Result<PathBuf, String> {
    static DONE: OnceLock<Mutex<HashMap<String, PathBuf>>> = OnceLock::new();
    let mut done = DONE.get_or_init(Mutex::default).lock().unwrap();
    if let Some(path) = done.get(name) {
        return Ok(path.clone());
    }
    let sources = ["programs", "evasion"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    let source =
        sources.map(|folder| folder.join(format!("{name}.c"))).into_iter().find(|path| path.exists());
    let source = source.ok_or_else(|| format!("there is no {name}.c"))?;
    let mut hash = DefaultHasher::new();
    (fs::read(&source).map_err(|why| format!("{}: {why}", source.display()))?, flags).hash(&mut hash);
    let folder = std::env::current_exe().unwrap().parent().unwrap().join("programs");
    fs::create_dir_all(&folder).unwrap();
    let folder = folder.canonicalize().unwrap();
    let path = folder.join(format!("{name}-{:016x}", hash.finish()));
    if !path.exists() {
        let half = folder.join(format!("{name}-{}", std::process::id()));
        let out = Command::new("cc").args(flags).arg("-o").arg(&half).arg(&source).args(libraries).output();
        let out = out.map_err(|why| {
            format!("cc, the C compiler of the test programs (apt-get install gcc libc6-dev): {why}")
        })?;
        if !out.status.success() {
            return Err(format!("{}: {}", source.display(), String::from_utf8_lossy(&out.stderr)));
        }
        fs::rename(&half, &path).unwrap();
    }
    done.insert(name.to_owned(), path.clone());
    Ok(path)
}

/// Copies a file. Another process does it: a descriptor open for writing here would reach the programs that other threads
/// start just then, and "text file busy" would be the answer to an exec of the copy.
pub fn copy(from: &Path, to: &Path) {
    done(&actor(), crate::words!["copy", from, to]);
}

/// A copy of `actor` under that path.
pub fn actor_at(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    copy(&actor(), path);
    path.to_owned()
}

/// Makes a script with that first line; another process writes it, for the reason told at [`copy`].
pub fn script(path: &Path, first_line: &str) {
    let shell = "printf '%s\\n' \"#!$1\" > \"$2\" && chmod 755 \"$2\"";
    done(Path::new("/bin/sh"), crate::words!["-c", shell, "sh", first_line, path]);
}

/// The SHA-256 of a file, as another program tells it.
#[must_use]
pub fn sha256(path: &Path) -> String {
    let said = done(Path::new("/usr/bin/sha256sum"), crate::words![path]);
    // A name with odd characters has a backslash before the line.
    said.trim_start_matches('\\').split(' ').next().unwrap().to_owned()
}

/// Words that sum up to that many bytes, each with its closing zero, together with the name of the program.
#[must_use]
pub fn words_of(program: &Path, bytes: usize, each: usize) -> Vec<OsString> {
    let mut left = bytes - program.as_os_str().len() - 1;
    let mut words = crate::words![];
    while left > 0 {
        let take = if left < 2 * each { left - 7 } else { each };
        words.extend(crate::words!["ignore", "x".repeat(take - 1)]);
        left -= take + 7;
        if left > 0 && left < 9 {
            let last = words.pop().unwrap();
            words.push(format!("{}{}", last.display(), "y".repeat(left)).into());
            left = 0;
        }
    }
    words
}

/// A step with words of its own: `nest("fork", words![...])`.
#[must_use]
pub fn nest(step: &str, inner: Vec<OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = step.split(' ').map(OsString::from).collect();
    all.push(inner.len().to_string().into());
    all.extend(inner);
    all
}

/// Steps without spaces in their words, as one line.
pub fn steps(line: &str) -> Vec<OsString> {
    line.split_ascii_whitespace().map(OsString::from).collect()
}

/// Several runs of words as one.
#[must_use]
pub fn join(parts: impl IntoIterator<Item = Vec<OsString>>) -> Vec<OsString> {
    parts.into_iter().flatten().collect()
}

/// Runs a program to its end, which must be a good one; returns what it wrote.
pub fn done(program: &Path, words: Vec<OsString>) -> String {
    let mut running = Running::start(Command::new(program).args(words));
    running.close();
    let status = running.wait();
    assert!(status.success(), "{}: {status}: {}", program.display(), running.rest());
    running.rest()
}

/// A program that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    /// Starts a command with pipes to both ends.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"));
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { break };
                if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    break;
                }
            }
        });
        Self { child, input, lines }
    }

    /// Starts a program with these words.
    pub fn of(program: impl AsRef<OsStr>, words: Vec<OsString>) -> Self {
        Self::start(Command::new(program).args(words))
    }

    /// Starts `actor`, or a copy of it, and lets it wait for the end of its input. At the return it runs its own code: an
    /// exec that only returned to the caller may not be complete yet, and what happens then happens to another image.
    pub fn idle(program: impl AsRef<OsStr>) -> Self {
        let running = Self::of(program, crate::words!["say", "runs", "hang"]);
        running.until("runs");
        running
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it writes.
    pub fn line(&self) -> String {
        self.lines
            .recv_timeout(patience(DEADLINE))
            .unwrap_or_else(|why| panic!("no line from pid {}: {why}", self.child.id()))
    }

    /// Waits until it wrote this line; returns the lines before.
    pub fn until(&self, wanted: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let line = self.line();
            if line == wanted {
                return before;
            }
            before.push(line);
        }
    }

    /// What it wrote and nobody read yet; call it when it has ended.
    pub fn rest(&mut self) -> String {
        let mut text = String::new();
        while let Ok(line) = self.lines.recv_timeout(patience(DEADLINE)) {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// Sends it a line: its step `wait` goes on.
    pub fn go(&mut self) {
        self.input.as_mut().expect("its input is open").write_all(b"\n").expect("write a line to it");
    }

    /// Closes its standard input: every `wait` goes on.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child, DEADLINE).unwrap_or_else(|| panic!("pid {} doesn't end", self.child.id()))
    }

    /// As [`Self::wait`], with a deadline of its own.
    pub fn wait_for(&mut self, deadline: Duration) -> ExitStatus {
        wait(&mut self.child, deadline).unwrap_or_else(|| panic!("pid {} doesn't end", self.child.id()))
    }

    /// Closes its input and waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        self.close();
        self.wait()
    }

    /// One number of its `/proc/PID/io`, once it waits: a line that it wrote can be read before it is counted.
    #[must_use]
    pub fn io(&self, name: &str) -> u64 {
        let end = Instant::now() + patience(DEADLINE);
        while self.state() != "S" {
            assert!(Instant::now() < end, "pid {} doesn't come to wait", self.pid());
            std::thread::sleep(Duration::from_millis(1));
        }
        let text = fs::read_to_string(format!("/proc/{}/io", self.pid())).expect("its io");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// The letter of what it does, as in `/proc/PID/stat`.
    fn state(&self) -> String {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("its stat");
        let (_, rest) = stat.rsplit_once(") ").unwrap_or_else(|| panic!("no name in {stat}"));
        rest.chars().take(1).collect()
    }

    /// A link of its `/proc/PID`, as text.
    #[must_use]
    pub fn link(&self, name: &str) -> String {
        let path = fs::read_link(format!("/proc/{}/{name}", self.pid())).expect("a link of its");
        path.to_string_lossy().into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a child.
pub fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + patience(deadline);
    loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            return Some(status);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a command to its end, which must come before the deadline.
pub fn output(command: &mut Command, deadline: Duration) -> Output {
    let mut child = command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let read = |from: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.map(|mut from| from.read_to_end(&mut bytes));
            bytes
        })
    };
    let out = read(child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>));
    let err = read(child.stderr.take().map(|err| Box::new(err) as Box<dyn Read + Send>));
    let status = wait(&mut child, deadline);
    let _ = child.kill();
    let (stdout, stderr) = (out.join().unwrap(), err.join().unwrap());
    let status = status
        .unwrap_or_else(|| panic!("{command:?} doesn't end; it said {}", String::from_utf8_lossy(&stderr)));
    Output { status, stdout, stderr }
}
