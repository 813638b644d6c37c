//! `sensor top`: a screen on a real pseudo-terminal, and reports for scripts.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test: what isn't there fails it")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::place::Cgroup;
use tests::program::{self, actor_at, net, steps};
use tests::sensor::{Sensor, binary, command};
use tests::skip::{because, kernel, skip};
use tests::terminal::Terminal;
use tests::{Folder, Running, words};

const USUAL: (u16, u16) = (80, 24);

fn top(args: Vec<OsString>, env: &[(&str, &str)]) -> Terminal {
    Terminal::start(&binary(), program_args(args), env, USUAL)
}

fn program_args(args: Vec<OsString>) -> Vec<OsString> {
    program::join([words!["top", "--interval", "0.5"], args])
}

/// An actor by that name that keeps a processor busy.
fn busy(folder: &Folder, name: &str) -> Running {
    let running = Running::of(actor_at(folder.at(name)), words!["say", "runs", "cpu", "600000"]);
    running.until("runs");
    running
}

fn row<'a>(lines: &'a [String], name: &str) -> Option<&'a String> {
    lines.iter().skip(3).take(lines.len() - 4).find(|line| line.trim_end().ends_with(name))
}

/// The word under a head of the table.
fn under<'a>(lines: &'a [String], line: &'a str, head: &str) -> &'a str {
    let at = lines[2].find(head).map(|at| at + head.len());
    at.and_then(|at| line.get(..at)?.rsplit(' ').next()).unwrap_or("")
}

fn once(args: Vec<OsString>) -> Output {
    let mut command = command();
    command.args(words!["top", "--once", "--interval", "0.5"]).args(args);
    program::output(command.stdout(Stdio::piped()).stderr(Stdio::piped()), Duration::from_secs(20))
}

/// Done, or in part where even root may not read all, or the kernel can't be asked for all.
fn told(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => assert!(said.is_empty(), "{said}"),
        code => {
            let mut known =
                ["not readable", "network bytes, before it ends, of a socket that no process has open"]
                    .into_iter()
                    .chain(kernel::refusals());
            assert!(code == Some(4) && known.any(|why| said.contains(why)), "{code:?} {said}");
        }
    }
}

fn rows(output: &Output) -> Vec<Value> {
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap_or_default()).collect()
}

#[test]
fn a_usual_terminal_shows_head_rows_and_rest() {
    let (folder, terminal) = (Folder::new(), top(words![], &[]));
    let bee = busy(&folder, "topbee");
    terminal.press("/topbee\r");
    let lines = terminal.until("a busy process", |lines| {
        let percent = |line: &String| under(lines, line, "CPU%").parse::<f64>().unwrap_or(0.0);
        row(lines, "topbee").is_some_and(|line| percent(line) > 5.0)
    });
    assert!(lines[0].starts_with("sensor top  by process  order CPU%"), "{lines:#?}");
    for head in ["PID", "USER", "CPU%", "RSS", "DISK-R", "DISK-W", "NET-RX", "NET-TX", "CONN", "NAME"] {
        assert!(lines[2].contains(head), "{head}: {lines:#?}");
    }
    let line = row(&lines, "topbee").unwrap();
    assert_eq!(under(&lines, line, "PID"), bee.pid().to_string());
    let percent: f64 = under(&lines, line, "CPU%").parse().unwrap();
    assert!((5.0..=115.0).contains(&percent), "{line}");
    let unknown = if nix::unistd::geteuid().is_root() { "0" } else { "-" };
    assert_eq!((under(&lines, line, "NET-RX"), under(&lines, line, "CONN")), (unknown, "0"), "{line}");
    assert!(lines[22].trim_end().ends_with("(rest)"), "{lines:#?}");
    assert!(lines[23].starts_with("filter: topbee"), "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.contains(|sign| ('▁'..='█').contains(&sign))),
        "no past: {lines:#?}"
    );
    assert_eq!(terminal.modes(), (true, true));
}

#[test]
fn rows_are_in_order() {
    let (folder, terminal) = (Folder::new(), top(words![], &[]));
    let _idle = Running::idle(actor_at(folder.at("orderidle")));
    let _busy = busy(&folder, "orderbusy");
    terminal.press("/order\r");
    let place = |lines: &[String], name: &str| lines.iter().position(|line| line.trim_end().ends_with(name));
    let before = |lines: &[String], a: &str, b: &str| match (place(lines, a), place(lines, b)) {
        (Some(a), Some(b)) => a < b,
        _ => false,
    };
    terminal.until("the busy one first", |lines| before(lines, "orderbusy", "orderidle"));
    terminal.press("r");
    let reversed =
        |lines: &[String]| before(lines, "orderidle", "orderbusy") && lines[0].contains("reversed");
    terminal.until("the idle one first", reversed);
    terminal.press("r<");
    terminal
        .until("by name", |lines| lines[0].contains("order NAME") && before(lines, "orderbusy", "orderidle"));
    terminal.press("r");
    terminal.until("by name, reversed", |lines| before(lines, "orderidle", "orderbusy"));
}

#[test]
fn a_new_size_is_filled() {
    let terminal = top(words![], &[]);
    terminal.until("rows", |lines| row(lines, "(rest)").is_some() || lines[22].contains("(rest)"));
    terminal.resize(140, 40);
    let lines = terminal.until("more columns", |lines| {
        lines[2].contains("FILE-W") && lines[2].contains("LAST MINUTE") && lines[38].contains("(rest)")
    });
    assert!(lines[39].starts_with("q quit"), "{lines:#?}");
    terminal.resize(30, 8);
    terminal.until("fewer columns", |lines| {
        lines[2].contains("PID") && !lines[2].contains("DISK-R") && lines[6].contains("(rest)")
    });
    terminal.resize(3, 1);
    terminal.until("hardly anything", |lines| lines[0].starts_with("se"));
    terminal.resize(80, 24);
    terminal.until("the usual again", |lines| lines[22].contains("(rest)") && lines[2].contains("NET-TX"));
}

/// Whether any colour but the terminal's own was asked for.
fn coloured(raw: &[u8]) -> bool {
    let text = String::from_utf8_lossy(raw);
    text.split("\x1b[").skip(1).any(|part| {
        let Some((codes, _)) = part.split_once('m') else { return false };
        let codes = codes.split(';').map(|code| code.parse::<u32>().unwrap_or(0));
        codes.into_iter().any(|code| matches!(code, 30..=38 | 40..=48 | 90..=107))
    })
}

#[test]
fn colours_only_where_they_are_wanted() {
    let folder = Folder::new();
    let _bee = busy(&folder, "colourbee");
    for (env, wanted) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let mut terminal = top(words![], env);
        terminal.press("/colourbee\r");
        terminal.until("a busy process", |lines| {
            row(lines, "colourbee").is_some_and(|line| {
                under(lines, line, "CPU%").parse::<f64>().is_ok_and(|percent| percent > 21.0)
            })
        });
        terminal.press("q");
        assert_eq!(terminal.wait().code(), Some(0));
        assert_eq!(coloured(&terminal.raw()), wanted, "{env:?}");
    }
}

#[test]
fn a_terminal_that_can_only_write_lines_gets_lines() {
    let mut terminal = top(words![], &[("TERM", "dumb")]);
    terminal.until("a second table", |lines| {
        lines.iter().any(|line| line.trim_end().ends_with("(rest)")) || lines[0].contains("PID")
    });
    assert!(!terminal.raw().contains(&0x1b), "{}", String::from_utf8_lossy(&terminal.raw()));
    terminal.press("\x03");
    assert_eq!(terminal.wait().code(), Some(0));
}

#[test]
fn without_utf8_pasts_are_ascii() {
    let folder = Folder::new();
    let _bee = busy(&folder, "asciibee");
    let terminal = top(words![], &[("LANG", "C")]);
    terminal.press("/asciibee\r");
    let shown = |lines: &[String]| row(lines, "asciibee").is_some_and(|_| lines[1].contains(['@', '#', '*']));
    terminal.until("a past", shown);
    assert!(terminal.raw().is_ascii());
}

#[test]
fn whoever_ended_is_kept_and_marked() {
    let (folder, terminal) = (Folder::new(), top(words![], &[]));
    let bee = busy(&folder, "endedbee");
    terminal.press("/endedbee\r");
    terminal.until("a busy process", |lines| {
        row(lines, "endedbee")
            .is_some_and(|line| under(lines, line, "CPU%").starts_with(|c| ('1'..='9').contains(&c)))
    });
    drop(bee);
    let lines =
        terminal.until("the mark", |lines| row(lines, "endedbee").is_some_and(|line| line.contains(" E ")));
    let line = row(&lines, "endedbee").unwrap();
    assert!(under(&lines, line, "CPU%").parse::<f64>().unwrap() > 1.0, "{line}");
}

#[test]
fn pause_holds_the_screen() {
    let (folder, terminal) = (Folder::new(), top(words![], &[]));
    terminal.press("/pausebee\r");
    terminal.until("the filter", |lines| lines[23].contains("pausebee"));
    terminal.press("p");
    terminal.until("paused", |lines| lines[0].contains("[paused]"));
    let _bee = busy(&folder, "pausebee");
    // Another terminal shows when an interval has passed.
    let other = top(words![], &[]);
    other.press("/pausebee\r");
    other.until("the process", |lines| row(lines, "pausebee").is_some());
    assert!(
        terminal.until("a look", |_| true).iter().skip(3).take(19).all(|line| !line.contains("pausebee"))
    );
    terminal.press(" ");
    terminal.until("the process", |lines| row(lines, "pausebee").is_some());
}

#[test]
fn hostile_names_are_shown_and_not_obeyed() {
    let folder = Folder::new();
    let name = "\x1b[2J\x1b]0;evil";
    let running =
        Running::of(actor_at(folder.at("hostile")), words!["rename-self", name, "say", "runs", "hang"]);
    running.until("runs");
    let terminal = top(words![], &[]);
    terminal.press(&format!("/{}\r", running.pid()));
    terminal.until("the name", |lines| lines.iter().any(|line| line.contains("$'\\x1b[")));
    let raw = terminal.raw();
    assert!(!raw.windows(4).any(|bytes| bytes == b"\x1b]0;"), "{}", String::from_utf8_lossy(&raw));
    let output = once(words!["--format", "text"]);
    assert!(!output.stdout.contains(&0x1b));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.ends_with("$'\\x1b[2J\\x1b]0;evil'")), "{text}");
}

#[test]
fn groups_and_help() {
    let terminal = top(words!["--by", "container"], &[]);
    terminal.until("containers", |lines| {
        lines[0].contains("by container") && row(lines, "(host)").is_some() && lines[2].contains("PROCS")
    });
    terminal.press("b");
    terminal.until("remotes", |lines| lines[0].contains("by remote") && lines[2].contains("REMOTE"));
    terminal.press("bb");
    terminal.until("users", |lines| lines[0].contains("by user") && row(lines, "root").is_some());
    terminal.press("?");
    terminal.until("help", |lines| lines.iter().any(|line| line.contains("the other way round")));
    terminal.press("x");
    terminal.until("users again", |lines| lines[0].contains("by user"));
}

#[test]
fn the_terminal_is_given_back() {
    for end in ["q", "\x03", "SIGTERM"] {
        let mut terminal = top(words![], &[]);
        terminal.until("rows", |lines| lines[22].contains("(rest)"));
        assert!(terminal.modes() == (true, true) && !terminal.cooked());
        if end == "SIGTERM" {
            let pid = nix::unistd::Pid::from_raw(terminal.pid().try_into().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        } else {
            terminal.press(end);
        }
        assert_eq!(terminal.wait().code(), Some(0), "{end}");
        terminal.until("nothing of it", |lines| lines.iter().all(|line| !line.contains("(rest)")));
        assert_eq!(terminal.modes(), (false, false), "{end}");
        assert!(terminal.cooked(), "{end}");
    }
}

#[test]
fn a_terminal_that_vanishes_ends_it() {
    let mut terminal = top(words![], &[]);
    terminal.until("rows", |lines| lines[22].contains("(rest)"));
    terminal.vanish();
    assert_eq!(terminal.wait().code(), Some(0));
}

#[test]
fn once_is_one_table() {
    let folder = Folder::new();
    let bee = busy(&folder, "oncebee");
    let output = once(words!["--format", "text"]);
    told(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("CPU%") && lines[0].ends_with("NAME"), "{text}");
    assert!(lines.last().unwrap().ends_with("(rest)"), "{text}");
    let line = lines.iter().find(|line| line.ends_with(" oncebee")).expect("the busy one");
    assert_eq!(line.split_whitespace().next(), Some(bee.pid().to_string().as_str()));
}

#[test]
fn once_as_json() {
    let folder = Folder::new();
    let bee = busy(&folder, "jsonbee");
    let output = once(words![]);
    told(&output);
    let rows = rows(&output);
    let row = rows.iter().find(|row| row["process"]["pid"] == bee.pid()).expect("the busy one");
    assert_eq!(row["process"]["name"], "jsonbee");
    assert_eq!(row["process"]["executable"], folder.at("jsonbee").to_str().unwrap());
    assert_eq!(row["user"]["name"], "root");
    let number =
        |path: &str| row.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}: {row}"));
    let length = number("/sensor/interval_ms");
    assert!(length >= 500, "{row}");
    let cpu = number("/sensor/usage/cpu_ns");
    // The process has one thread.
    assert!(cpu > 0 && cpu <= (length + 40) * 1_000_000, "{row}");
    assert!(number("/sensor/usage/rss_bytes") > 0);
    assert_eq!(number("/sensor/usage/connections"), 0);
    if nix::unistd::geteuid().is_root() {
        assert_eq!(number("/sensor/usage/net/rx_bytes") + number("/sensor/usage/net/tx_packets"), 0);
        assert_eq!(row["process"]["entity_id"].as_str().map(str::len), Some(32), "{row}");
    }
    let rest: Vec<_> = rows.iter().filter(|row| row["sensor"]["unaccounted"] == true).collect();
    assert!(rest.len() == 1 && rest[0]["sensor"]["usage"]["cpu_ns"].is_u64(), "{rest:?}");
}

/// Reads reports that follow each other, until one row is as wanted; returns the sums of two numbers of
/// that process until then.
fn sums(out: &mut BufReader<ChildStdout>, pid: u32, done: impl Fn(u64, u64) -> bool) -> (u64, u64) {
    let (mut cpu, mut written) = (0, 0);
    for line in out.lines() {
        let row: Value = serde_json::from_str(&line.unwrap_or_default()).unwrap_or_default();
        if row["process"]["pid"] == pid && row["sensor"].get("ended").is_none() {
            cpu += row["sensor"]["usage"]["cpu_ns"].as_u64().unwrap_or(0);
            written += row["sensor"]["usage"]["file"]["write_bytes"].as_u64().unwrap_or(0);
            if done(cpu, written) {
                break;
            }
        }
    }
    (cpu, written)
}

#[test]
fn intervals_add_up_to_what_was_done() {
    let folder = Folder::new();
    let mut sensor = command();
    sensor.args(words!["top", "--interval", "0.2", "--format", "json"]);
    let mut sensor = sensor.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(sensor.stdout.take().unwrap());
    let words = words!["wait", "cpu", "400", "write", folder.at("file"), "10485760", "wait"];
    let mut running = Running::of(actor_at(folder.at("worker")), words);
    sums(&mut out, running.pid(), |_, _| true);
    running.go();
    let (cpu, written) = sums(&mut out, running.pid(), |_, written| written >= 10_485_760);
    assert_eq!(written, 10_485_760);
    // What it took to start and to write comes on top.
    assert!((380_000_000..=700_000_000).contains(&cpu), "{cpu}");
    let used = std::fs::read_to_string(format!("/proc/{}/stat", running.pid())).unwrap();
    let ticks: Vec<u64> = used.split(' ').filter_map(|word| word.parse().ok()).collect();
    // The negative one and the two that are no numbers are left out.
    // The kernel cuts each of the two to steps of 10 ms.
    assert!(cpu <= (ticks[10] + ticks[11] + 2) * 10_000_000, "{cpu} {used}");
    running.end();
    drop(out);
    let status = program::wait(&mut sensor, Duration::from_secs(20));
    let _ = sensor.kill();
    assert_eq!(status.and_then(|status| status.code()), Some(0), "a reader that goes away is no failure");
}

#[test]
fn what_a_child_wrote_is_told_once() {
    let folder = Folder::new();
    let mut sensor = command();
    sensor.args(words!["top", "--interval", "0.2", "--format", "json"]);
    let mut sensor = sensor.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(sensor.stdout.take().unwrap());
    let child = words![
        actor_at(folder.at("child")),
        "pid",
        "write",
        folder.at("file"),
        "1048576",
        "say",
        "done",
        "wait"
    ];
    let parent = words!["wait"];
    let mut running = Running::of(
        actor_at(folder.at("parent")),
        program::join([parent, program::nest("run", child), words!["say", "reaped", "wait"]]),
    );
    let parent = running.pid();
    sums(&mut out, parent, |_, _| true);
    running.go();
    let child: u32 = running.line().parse().unwrap();
    running.until("done");
    let (_, written) = sums(&mut out, child, |_, written| written >= 1_048_576);
    assert!(written < 1_048_576 + 100, "{written}");
    running.go();
    running.until("reaped");
    // Its end and what follows are in one of the next two reports.
    let mut reports = 0;
    let mut of_parent = 0;
    while reports < 3 {
        let (_, written) = sums(&mut out, parent, |_, _| true);
        of_parent += written;
        reports += 1;
    }
    assert!(of_parent < 100_000, "{of_parent}");
    running.end();
    let _ = sensor.kill();
    let _ = sensor.wait();
}

#[test]
fn containers_and_users_add_up() {
    let id = "c0ffee00".repeat(8);
    let Some(cgroup) = Cgroup::make(&format!("docker-{id}.scope")) else {
        let _ = because("no cgroup of version 2 can be made");
        return;
    };
    let folder = Folder::new();
    let start = |name: &str| {
        let words = words!["loginuid", "4242", "become", "65534", "say", "runs", "cpu", "600000"];
        let running = Running::of(actor_at(folder.at(name)), words);
        running.until("runs");
        cgroup.add(running.pid());
        running
    };
    let _all = (start("groupone"), start("grouptwo"));
    let of = |by: &str| rows(&once(words!["--by", by]));
    let containers = of("container");
    let row = containers.iter().find(|row| row["container"]["id"] == id).expect("the container");
    assert_eq!(row["sensor"]["processes"], 2, "{row}");
    assert!(row["sensor"]["usage"]["cpu_ns"].as_u64().unwrap() > 0, "{row}");
    let users = of("user");
    let login = |row: &&Value| row["sensor"]["login"]["uid"] == "4242" && row["user"]["id"] == "65534";
    let row = users.iter().find(login).unwrap_or_else(|| panic!("{users:?}"));
    assert_eq!((&row["user"]["name"], &row["sensor"]["processes"]), (&"nobody".into(), &2.into()), "{row}");
    let processes = of("process");
    let one = processes.iter().find(|row| row["process"]["name"] == "groupone").expect("one of the two");
    assert_eq!(one["container"]["id"], id, "{one}");
}

#[test]
fn connections_have_remotes() {
    let listener = TcpListener::bind("127.0.0.3:0").unwrap();
    let _one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _other = listener.accept().unwrap();
    let rows = rows(&once(words!["--by", "remote"]));
    let row = rows.iter().find(|row| row["sensor"]["remote"]["ip"] == "127.0.0.3").expect("the address");
    assert_eq!(row["sensor"]["usage"]["connections"], 1, "{row}");
}

#[test]
fn others_than_root_see_their_own() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let sensor = folder.at("sensor");
    program::copy(&binary(), &sensor);
    let mut command = Command::new(&sensor);
    command.args(["top", "--once", "--interval", "0.2"]).uid(65534).gid(65534);
    let output =
        program::output(command.stdout(Stdio::piped()).stderr(Stdio::piped()), Duration::from_secs(20));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("needs root") && said.contains("network bytes not known"), "{said}");
    let rows = rows(&output);
    let of = |pid: u64| rows.iter().find(|row| row["process"]["pid"] == pid);
    let first = of(1).expect("the first process");
    assert!(first["sensor"]["usage"].get("file").is_none(), "unknown is not zero: {first}");
    assert!(rows.iter().all(|row| row["sensor"]["usage"].get("net").is_none()), "unknown is not zero");
    assert!(first["sensor"]["usage"]["rss_bytes"].is_u64());
}

/// Reports that follow each other.
struct Reports {
    sensor: Child,
    out: BufReader<ChildStdout>,
}

/// What rows told of the network: received and sent, bytes and packets.
type Moved = [u64; 4];

impl Reports {
    /// From now on, with rows of this.
    fn by(by: &str) -> Self {
        let mut command = command();
        command.args(words!["top", "--interval", "0.3", "--format", "json", "--by", by]);
        let mut sensor = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(sensor.stdout.take().unwrap());
        let mut reports = Self { sensor, out };
        reports.row();
        reports
    }

    fn row(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Adds up what some rows tell, each sort by itself, until it is as wanted.
    fn sum<const N: usize>(
        &mut self,
        are: [&dyn Fn(&Value) -> bool; N],
        done: impl Fn(&[Moved; N]) -> bool,
    ) -> [Moved; N] {
        let (mut sums, deadline) = ([[0; 4]; N], Instant::now() + tests::patience(tests::DEADLINE));
        while !done(&sums) {
            assert!(Instant::now() < deadline, "only {sums:?}");
            let row = self.row();
            for (sum, _) in sums.iter_mut().zip(are).filter(|(_, is)| is(&row)) {
                let number = |name: &str| row["sensor"]["usage"]["net"][name].as_u64().unwrap_or(0);
                let names = ["rx_bytes", "tx_bytes", "rx_packets", "tx_packets"];
                sum.iter_mut().zip(names).for_each(|(sum, name)| *sum += number(name));
            }
        }
        sums
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        let _ = self.sensor.kill();
        let _ = self.sensor.wait();
    }
}

fn pid(pid: u32) -> impl Fn(&Value) -> bool {
    move |row| row["process"]["pid"] == pid
}

/// A receiver of root, a sender of somebody else: both processes, the sender's user and the address that it
/// is connected to have what was moved. `header`: of each packet, of IP and what is in it.
fn moves(kind: &str, family: &str, address: &str, uid: &str, header: u64) {
    let (size, count) = (400, 100);
    let payload = size * count;
    let mut there = words![kind, "a", family, "bind", "a", address, "0"];
    there.extend(if kind == "tcp" {
        words!["listen", "a", "port", "a", "accept", "a", "b"]
    } else {
        words!["port", "a"]
    });
    let slot = if kind == "tcp" { "b" } else { "a" };
    there.extend(words!["wait", "take", slot, payload.to_string(), "say", "got", "wait"]);
    let mut receiver = Running::of(net(), there);
    let port = receiver.line().replace("port ", "");
    let here =
        words!["user", uid, kind, "a", family, "connect", "a", address, port, "say", "connected", "wait"];
    let put = words!["put", "a", size.to_string(), count.to_string(), "say", "put", "wait"];
    let mut sender = Running::of(net(), program::join([here, put]));
    sender.until("connected");
    let [mut processes, mut users, mut remotes] = ["process", "user", "remote"].map(Reports::by);
    receiver.go();
    sender.go();
    sender.until("put");
    receiver.until("got");
    let packets = if kind == "tcp" { 1 } else { count };
    let least = payload + packets * header;
    let [sent, received] = processes
        .sum([&pid(sender.pid()), &pid(receiver.pid())], |[one, other]| one[1] >= least && other[0] >= least);
    let [of_user] = users.sum([&|row| row["user"]["id"] == uid], |[sum]| sum[1] >= least);
    let [of_remote] = remotes.sum([&|row| row["sensor"]["remote"]["ip"] == address], |[sum]| sum[1] >= least);
    let what = format!("{kind} {family}: {sent:?} {received:?} {of_user:?} {of_remote:?}");
    if kind == "udp" {
        assert_eq!((sent, received), ([0, least, 0, count], [least, 0, count, 0]), "{what}");
        assert_eq!((of_user, of_remote), (sent, sent), "{what}");
    } else {
        // How many segments it took is the kernel's choice; what comes back are acknowledgements.
        assert_eq!(sent[1], payload + sent[3] * header, "{what}");
        assert!(sent[3] <= count && received[0] == sent[1] && received[2] == sent[3], "{what}");
        assert_eq!((received[1], received[3]), (sent[0], sent[2]), "{what}");
        // Another sensor read it, a moment later: what was sent is the same, and an acknowledgement more may have come.
        assert_eq!((of_user[1], of_user[3]), (sent[1], sent[3]), "{what}");
        let late = of_user[2].checked_sub(sent[2]).unwrap();
        assert_eq!(of_user[0] - sent[0], late * header, "{what}");
    }
}

#[test]
fn bytes_are_in_the_rows_of_those_who_moved_them() {
    if skip() {
        return;
    }
    moves("udp", "4", "127.0.0.9", "54321", 28);
    moves("udp", "6", "::1", "54322", 48);
    moves("tcp", "4", "127.0.0.9", "54323", 52);
    moves("tcp", "6", "::1", "54324", 72);
}

#[test]
fn rows_are_what_the_interface_counts() {
    if skip() {
        return;
    }
    let steps = steps(
        "netns tcp a 4 bind a 127.0.0.1 0 listen a tcp b 4 connect b 127.0.0.1 @a accept a c \
             udp d 6 bind d ::1 0 udp e 6 connect e ::1 @d say ready wait move b c 20000 500 move \
             e d 1000 5000 say moved wait",
    );
    let mut running = Running::of(net(), steps);
    running.until("ready");
    let counters = format!("/proc/{}/net/dev", running.pid());
    let interface = |at: usize| -> u64 {
        let text = std::fs::read_to_string(&counters).unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:")).unwrap().to_owned();
        line.split_ascii_whitespace().nth(at).unwrap().parse().unwrap()
    };
    let before = [interface(0), interface(8)];
    let mut reports = Reports::by("process");
    running.go();
    running.until("moved");
    let counted = [interface(0) - before[0], interface(8) - before[1]];
    assert!(counted[0] > 15_000_000, "{counted:?}");
    let least = counted.map(|bytes| bytes - bytes / 100);
    let [sum] = reports.sum([&pid(running.pid())], |[sum]| sum[0] >= least[0] && sum[1] >= least[1]);
    assert!(sum[0] <= counted[0] && sum[1] <= counted[1], "{sum:?} of {counted:?}");
}

#[test]
fn short_lives_have_rows() {
    if skip() {
        return;
    }
    // Beside another sensor.
    let _other = Sensor::shared();
    let (folder, uid) = (Folder::new(), "54325");
    let name = "shortbee";
    program::copy(&net(), &folder.at(name));
    let udp = UdpSocket::bind("127.0.0.11:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.11:0").unwrap();
    let port = |address: std::net::SocketAddr| address.port().to_string();
    let ports = (port(udp.local_addr().unwrap()), port(tcp.local_addr().unwrap()));
    let mut reports = Reports::by("process");
    let mut users = Reports::by("user");
    for round in 0..5 {
        let ip = "127.0.0.11";
        let steps = words![
            "user", uid, "udp", "a", "4", "connect", "a", ip, ports.0, "put", "a", "72", "10", "tcp", "b",
            "4", "connect", "b", ip, ports.1, "put", "b", "5000", "1"
        ];
        let mut running = Running::of(folder.at(name), steps);
        let mut taken = tcp.accept().unwrap().0;
        assert!(running.wait().success());
        std::io::Read::read_to_end(&mut taken, &mut Vec::new()).unwrap();
        let last = std::cell::RefCell::new(Value::Null);
        let one = |row: &Value| {
            let is = row["process"]["pid"] == running.pid();
            if is {
                last.replace(row.clone());
            }
            is
        };
        let [sum] = reports.sum([&one], |[sum]| sum[1] >= 1000 + 5000 + 52);
        // The last acknowledgements may come after its end, and the connection's first packets are sent before.
        assert!(sum[1] <= 1000 + 5000 + 10 * 60, "{round}: {sum:?}");
        let row = last.take();
        assert_eq!(row["user"]["id"], uid, "{row}");
        assert_eq!(row["process"]["name"], name, "{row}");
        assert_eq!(row["process"]["executable"], folder.at(name).to_str().unwrap(), "{row}");
        if row["sensor"]["ended"] == true {
            assert!(row["sensor"]["usage"]["cpu_ns"].as_u64().is_some_and(|ns| ns > 0), "{row}");
            assert!(
                row["sensor"]["usage"]["file"]["write_bytes"].as_u64().is_some_and(|bytes| bytes > 5000),
                "{row}"
            );
            assert!(row["process"]["entity_id"].is_string(), "{row}");
        }
    }
    users.sum([&|row| row["user"]["id"] == uid], |[sum]| sum[1] >= 5 * (1000 + 5000 + 52));
}

#[test]
fn a_shared_socket_is_its_oldest_holders() {
    if skip() {
        return;
    }
    let receiver = UdpSocket::bind("127.0.0.13:0").unwrap();
    let port = receiver.local_addr().unwrap().port().to_string();
    let child = words!["wait", "put", "a", "72", "20", "say", "put", "wait"];
    let steps = words!["udp", "a", "4", "connect", "a", "127.0.0.13", port];
    let mut parent = Running::of(net(), program::join([steps, program::nest("fork", child)]));
    let child: u32 = parent.line().replace("pid ", "").parse().unwrap();
    let mut reports = Reports::by("process");
    parent.go();
    parent.until("put");
    let [all, of_child] = reports.sum([&pid(parent.pid()), &pid(child)], |[all, _]| all[1] >= 2000);
    assert_eq!((all, of_child), ([0, 2000, 0, 20], [0; 4]));
}

#[test]
fn what_those_that_ended_used_is_exact() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let mut sensor = Reports::by("process");
    let words = words!["write", folder.at("file"), "1000000", "cpu", "100"];
    let mut running = Running::of(actor_at(folder.at("exactbee")), words);
    assert!(running.wait().success());
    let (mut written, mut cpu, deadline) = (0, 0, Instant::now() + tests::patience(tests::DEADLINE));
    loop {
        assert!(Instant::now() < deadline, "its end is not told");
        let row = sensor.row();
        if row["process"]["pid"] == running.pid() {
            written += row["sensor"]["usage"]["file"]["write_bytes"].as_u64().unwrap_or(0);
            cpu += row["sensor"]["usage"]["cpu_ns"].as_u64().unwrap_or(0);
            if row["sensor"]["ended"] == true {
                break;
            }
        }
    }
    assert_eq!(written, 1_000_000);
    assert!((100_000_000..=300_000_000).contains(&cpu), "{cpu}");
}

#[test]
fn the_screen_shows_bytes_of_the_network() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    program::copy(&net(), &folder.at("dripbee"));
    let receiver = UdpSocket::bind("127.0.0.12:0").unwrap();
    let port = receiver.local_addr().unwrap().port().to_string();
    let steps =
        words!["udp", "a", "4", "connect", "a", "127.0.0.12", port, "say", "runs", "drip", "a", "1000"];
    let running = Running::of(folder.at("dripbee"), steps);
    running.until("runs");
    let terminal = top(words![], &[("NO_COLOR", "1")]);
    terminal.press("/dripbee\r");
    for _ in 0..7 {
        terminal.press("s");
    }
    let lines = terminal.until("what it sends", |lines| {
        lines[0].contains("order NET-TX")
            && row(lines, "dripbee").is_some_and(|line| under(lines, line, "NET-TX").ends_with('K'))
    });
    let line = row(&lines, "dripbee").unwrap();
    assert_eq!(under(&lines, line, "NET-RX"), "0", "{lines:#?}");
    assert!(lines[1].contains("net RX") && lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
    terminal.press("\x1bbbb");
    let address = |lines: &[String]| {
        row(lines, "127.0.0.12").is_some_and(|line| under(lines, line, "NET-TX").ends_with('K'))
    };
    terminal.until("the address", |lines| lines[0].contains("by remote") && address(lines));
    assert!(!coloured(&terminal.raw()));
}

#[test]
fn wrong_usage() {
    for args in [words!["--by", "nobody"], words!["--interval", "0"], words!["--format", "xml"]] {
        let mut command = command();
        command.arg("top").args(&args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = program::output(&mut command, Duration::from_secs(20));
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    assert!(Path::new("/dev/full").exists());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = command();
    command.args(["top", "--once", "--interval", "0.1"]).stdout(full).stderr(Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}
