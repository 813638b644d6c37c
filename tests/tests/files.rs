//! `sensor files`: what the test itself, and programs that it starts, have open.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tests::answer::run;
use tests::place::{mount_tmpfs, private_mounts, unmount};
use tests::program::{actor, copy, join, nest, storm, wait};
use tests::sensor::{binary, command};
use tests::skip::{because, skip};
use tests::{Answer, Event, Folder, Running, words};

/// What `files` answers. On some machines nobody may look at the first process: then nobody knows what it shares.
fn files(arguments: &[&str]) -> Answer {
    let words: Vec<OsString> = ["files"].iter().chain(arguments).map(OsString::from).collect();
    let answer = Answer::to(&words);
    assert!(is_well(answer.status, &answer.said), "{:?} {}", answer.status, answer.said);
    answer
}

fn is_well(status: Option<i32>, said: &str) -> bool {
    let said = said.trim();
    let known = said.starts_with("sensor: not seen: who has the other end of ")
        && said.ends_with("what process 1 has open, which may not be read");
    status == Some(0) && said.is_empty() || status == Some(4) && known
}

fn own() -> Answer {
    files(&["--pid", &std::process::id().to_string()])
}

fn row(answer: &Answer, descriptor: impl AsFd) -> Event {
    numbered(answer, descriptor.as_fd().as_raw_fd())
}

fn numbered(answer: &Answer, number: i32) -> Event {
    answer.row("sensor.descriptor.number", &number.to_string()).clone()
}

fn kind(row: &Event) -> String {
    format!("{} {}", row.str("sensor.descriptor.kind"), row.str("sensor.descriptor.mode"))
}

fn marks(row: &Event) -> String {
    if row.has("sensor.descriptor.marks") {
        row.texts("sensor.descriptor.marks").join(",")
    } else {
        String::new()
    }
}

fn peers(row: &Event) -> Vec<u64> {
    let peers = row.get("sensor.peers").and_then(|peers| peers.as_array().cloned()).unwrap_or_default();
    peers.iter().map(|peer| peer["pid"].as_u64().unwrap()).collect()
}

fn pid() -> u64 {
    std::process::id().into()
}

#[test]
fn names_that_are_gone_are_told_from_those_that_are_there() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let make = |name: &str| {
        fs::write(folder.at(name), "12345").unwrap();
        File::open(folder.at(name)).unwrap()
    };
    let (gone, linked, called, there) = (make("gone"), make("linked"), make("x (deleted)"), make("there"));
    fs::remove_file(folder.at("gone")).unwrap();
    fs::hard_link(folder.at("linked"), folder.at("other")).unwrap();
    fs::remove_file(folder.at("linked")).unwrap();
    let directory = File::open(folder.path()).unwrap();
    let null = File::options().write(true).open("/dev/null").unwrap();
    let memory: OwnedFd = memfd_create(c"ev\x1bil", MFdFlags::empty()).unwrap();
    let only = File::from(
        nix::fcntl::open(&folder.at("there"), nix::fcntl::OFlag::O_PATH, nix::sys::stat::Mode::empty())
            .unwrap(),
    );
    let namespace = File::open("/proc/self/ns/net").unwrap();
    let answer = own();
    let path = |name: &str| folder.at(name).to_str().unwrap().to_owned();
    for (file, name, mark) in [
        (&gone, "gone", "unlinked"),
        (&linked, "linked", "hard_link_left"),
        (&called, "x (deleted)", ""),
        (&there, "there", ""),
    ] {
        let row = row(&answer, file);
        assert_eq!((row.str("file.path"), row.str("file.name")), (path(name).as_str(), name));
        assert_eq!((marks(&row).as_str(), kind(&row).as_str(), row.num("file.size")), (mark, "file read", 5));
        assert_eq!(row.has("sensor.findings"), name == "gone", "{row:#}");
    }
    assert_eq!(kind(&row(&answer, &directory)), "directory read");
    assert_eq!(kind(&row(&answer, &null)), "character_device write");
    assert_eq!(kind(&row(&answer, &only)), "file path");
    let row_of_memory = row(&answer, &memory);
    assert_eq!(
        (kind(&row_of_memory).as_str(), marks(&row_of_memory).as_str()),
        ("memfd read_write", "memfd")
    );
    assert_eq!(row_of_memory.str("file.path"), "memfd:ev\x1bil");
    assert_eq!(row_of_memory.num("event.severity"), 21);
    let space = row(&answer, &namespace);
    assert_eq!(
        (kind(&space).as_str(), space.str("file.name"), marks(&space).as_str()),
        ("namespace read", "net", "")
    );
    // Who has it: with the identity that other verbs tell.
    assert_eq!(space.num("process.pid"), pid());
    assert!(space.has("process.entity_id") && space.has("process.executable") && space.has("user.id"));
}

#[test]
fn the_other_end_is_named() {
    if skip() {
        return;
    }
    let mut child = Command::new("/bin/sleep").arg("600").stdin(Stdio::piped()).spawn().unwrap();
    let (end, number) = (child.stdin.take().unwrap(), u64::from(child.id()));
    let (reads, writes) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, from) = listener.accept().unwrap();
    let folder = Folder::new();
    let named = UnixListener::bind(folder.at("socket")).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let answer = own();
    let row = |file: i32| numbered(&answer, file);
    let to_child = row(end.as_raw_fd());
    assert_eq!((kind(&to_child).as_str(), peers(&to_child)), ("pipe write", vec![number]));
    assert_eq!(to_child.list("sensor.peers")[0]["descriptor"], 0);
    assert!(to_child.list("sensor.peers")[0]["executable"].as_str().unwrap().ends_with("/sleep"));
    for (fd, wanted) in [(reads.as_raw_fd(), "pipe read"), (writes.as_raw_fd(), "pipe write")] {
        assert_eq!((kind(&row(fd)).as_str(), peers(&row(fd))), (wanted, vec![pid()]));
    }
    for socket in [&one, &other] {
        let row = row(socket.as_raw_fd());
        assert_eq!((row.str("network.transport"), peers(&row)), ("unix", vec![pid()]));
    }
    let port = u64::from(listener.local_addr().unwrap().port());
    for (socket, direction) in [(&near, "egress"), (&far, "ingress")] {
        let row = row(socket.as_raw_fd());
        assert_eq!((row.str("source.ip"), row.num("source.port")), ("127.0.0.1", u64::from(from.port())));
        assert_eq!((row.str("destination.ip"), row.num("destination.port")), ("127.0.0.1", port));
        assert_eq!((row.str("network.direction"), peers(&row)), (direction, vec![pid()]));
        assert_eq!(row.str("sensor.socket.state"), "connected");
    }
    let listening = row(listener.as_raw_fd());
    assert_eq!((listening.num("server.port"), listening.str("sensor.socket.state")), (port, "listening"));
    let bound = row(udp.as_raw_fd());
    assert_eq!((bound.str("network.transport"), bound.str("sensor.socket.state")), ("udp", "bound"));
    assert_eq!(row(named.as_raw_fd()).str("sensor.socket.name"), folder.at("socket").to_str().unwrap());
    let text =
        run(command().args(["files", "--format", "text", "--pid", &std::process::id().to_string()])).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(&format!("<-> {number} sleep")), "{text}");
    assert!(
        text.contains(&format!("tcp 127.0.0.1:{port} <- 127.0.0.1:{} (connected)", from.port())),
        "{text}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_the_parent_has_too_is_inherited() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    fs::write(folder.at("same"), "").unwrap();
    let (given, apart) = (File::open(folder.at("same")).unwrap(), File::open(folder.at("same")).unwrap());
    let mut child = Command::new("/bin/sleep").arg("600").stdin(given.try_clone().unwrap()).spawn().unwrap();
    let answer = files(&["--pid", &child.id().to_string()]);
    assert_eq!(marks(&numbered(&answer, 0)), "inherited");
    child.kill().unwrap();
    child.wait().unwrap();
    // The same file, opened once more, is another.
    let path = folder.at("same");
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg("exec 0<\"$1\"; exec sleep 60").arg("sh").arg(&path);
    let mut other = shell.spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while fs::read_link(format!("/proc/{}/exe", other.id())).is_ok_and(|exe| !exe.ends_with("sleep")) {
        assert!(Instant::now() < end, "the shell doesn't become sleep");
        std::thread::yield_now();
    }
    let answer = files(&["--pid", &other.id().to_string()]);
    let opened = numbered(&answer, 0);
    assert_eq!((opened.str("file.path"), marks(&opened).as_str()), (path.to_str().unwrap(), ""));
    other.kill().unwrap();
    other.wait().unwrap();
    drop((given, apart));
}

#[test]
fn what_lies_in_another_namespace_is_marked() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let (place, second) = (folder.folder("place"), folder.folder("second"));
    let (directory, file, gone, socket, space) = private_mounts(|| {
        mount_tmpfs(&place, "1m");
        mount_tmpfs(&second, "1m");
        fs::write(place.join("file"), "").unwrap();
        fs::write(second.join("file"), "").unwrap();
        let gone = File::open(second.join("file")).unwrap();
        unmount(second.to_str().unwrap());
        let space = File::open("/proc/thread-self/ns/mnt").unwrap();
        let opened = (File::open(&place).unwrap(), File::open(place.join("file")).unwrap());
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        (opened.0, opened.1, gone, UdpSocket::bind("0.0.0.0:0").unwrap(), space)
    });
    // Somebody lives there, so that it is known which mounts it has.
    let mut nsenter = Command::new("nsenter");
    nsenter.arg(format!("--mount=/proc/{}/fd/{}", std::process::id(), space.as_raw_fd()));
    let _lives = Running::start(nsenter.arg(actor()).args(words!["say", "runs", "hang"]));
    _lives.until("runs");
    let answer = own();
    let told = row(&answer, &directory);
    assert_eq!((marks(&told).as_str(), told.num("event.severity")), ("other_namespace", 73));
    assert!(told.texts("sensor.findings")[0].contains("a directory of another mount namespace"), "{told:#}");
    assert_eq!(marks(&row(&answer, &file)), "other_namespace");
    assert_eq!(marks(&row(&answer, &socket)), "other_namespace");
    assert_eq!(marks(&row(&answer, &space)), "other_namespace");
    assert_eq!(marks(&row(&answer, &gone)), "detached");
    assert_eq!(row(&answer, &gone).str("sensor.descriptor.kind"), "unasked");
}

#[test]
fn the_memory_of_another_process_is_odd() {
    if skip() {
        return;
    }
    let child = Running::idle(actor());
    let memory = File::open(format!("/proc/{}/mem", child.pid())).unwrap();
    let told = row(&own(), &memory);
    assert_eq!(told.num("event.severity"), 73, "{told:#}");
    assert!(told.texts("sensor.findings")[0].contains("memory of another process"), "{told:#}");
}

#[test]
fn users_are_found_by_whichever_id() {
    if skip() {
        return;
    }
    let ready = words!["say", "runs", "hang"];
    let nobody = Running::of(actor(), join([words!["become", "65534"], ready.clone()]));
    let login = Running::of(actor(), join([words!["loginuid", "65534"], ready.clone()]));
    let other = Running::of(actor(), ready);
    [&nobody, &login, &other].into_iter().for_each(|running| drop(running.until("runs")));
    let answer = files(&["--user", "nobody"]);
    let of = |running: &Running| {
        let pid = running.pid().to_string();
        answer
            .rows
            .iter()
            .filter(|row| row.text("process.pid").as_deref() == Some(&pid))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&nobody)[0].texts("sensor.matches"), ["real", "effective", "saved", "file_system"]);
    assert_eq!(of(&login)[0].texts("sensor.matches"), ["login"]);
    assert!(of(&other).is_empty());
    let input = of(&nobody).into_iter().find(|row| row.num("sensor.descriptor.number") == 0).unwrap();
    assert_eq!(peers(&input), [pid()]);
    assert_eq!(run(command().args(["files", "--user", "no\x1bbody"])).status.code(), Some(2));
}

/// A file system in this process, which answers until it is told to be silent.
struct Fuse {
    device: Arc<File>,
    silent: Arc<AtomicBool>,
}

impl Fuse {
    /// Mounted there; none where there are no such file systems.
    fn mount(on: &Path) -> Option<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        mount(Some("deaf"), on, Some("fuse"), MsFlags::empty(), Some(options.as_str())).ok()?;
        let fuse = Self { device: Arc::new(device), silent: Arc::default() };
        let (device, silent) = (Arc::clone(&fuse.device), Arc::clone(&fuse.silent));
        std::thread::spawn(move || {
            let mut question = vec![0; 1 << 18];
            while let Ok(len) = (&*device).read(&mut question) {
                // The question is never answered.
                if silent.load(Ordering::SeqCst) {
                    return;
                }
                if let Some(answer) = answer(&question[..len]) {
                    let _ = (&*device).write_all(&answer);
                }
            }
        });
        Some(fuse)
    }

    fn be_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }
}

/// `FUSE_LOOKUP`, `FUSE_GETATTR`, `FUSE_OPEN`, `FUSE_INIT`, and those without an answer (`include/uapi/linux/fuse.h`).
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| u32::from_ne_bytes(question[at..at + 4].try_into().unwrap());
    let node = u64::from_ne_bytes(question[16..24].try_into().unwrap());
    // Inode, size, blocks, three times, their nanoseconds; type, links, owner, device, block size, flags.
    let attributes = |node: u64| {
        let (mode, links) = if node == 1 { (0o40_755, 2) } else { (0o100_644, 1) };
        let mut bytes = [node, 3, 8, 0, 0, 0].map(u64::to_ne_bytes).concat();
        bytes.extend([0, 0, 0, mode, links, 0, 0, 0, 4096, 0].map(u32::to_ne_bytes).concat());
        bytes
    };
    let body = match word(4) {
        1 => Ok([[2_u64, 0, 0, 0, 0].map(u64::to_ne_bytes).concat(), attributes(2)].concat()),
        3 => Ok([[0_u64, 0].map(u64::to_ne_bytes).concat(), attributes(node)].concat()),
        14 => Ok([1_u64, 0].map(u64::to_ne_bytes).concat()),
        26 => {
            let mut bytes = [7_u32, 31, 0, 0, 0, 1 << 16, 1].map(u32::to_ne_bytes).concat();
            bytes.resize(64, 0);
            Ok(bytes)
        }
        2 | 36 | 42 => return None,
        _ => Err(-38_i32),
    };
    let (error, body) = body.map_or_else(|error| (error, Vec::new()), |body| (0, body));
    let mut bytes = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(error.to_ne_bytes());
    bytes.extend(&question[8..16]);
    bytes.extend(body);
    Some(bytes)
}

#[test]
fn a_file_system_that_never_answers_holds_nobody_up() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let place = folder.folder("deaf");
    private_mounts(|| {
        let Some(fuse) = Fuse::mount(&place) else {
            let _ = because("there are no file systems of programs (FUSE) here");
            return;
        };
        // It is held by a process that lives where it is mounted.
        let file = File::open(place.join("file")).unwrap();
        let mut child =
            Command::new("/bin/sleep").arg("600").stdin(file.try_clone().unwrap()).spawn().unwrap();
        let named = format!("/proc/{}/fd/0", child.id());
        assert_eq!(fs::metadata(&named).unwrap().len(), 3, "it answers");
        fuse.be_silent();
        let mut stat = Command::new("stat");
        stat.args(["-L", &named]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut waits = stat.spawn().unwrap();
        let begun = Instant::now();
        let answer = files(&["--pid", &child.id().to_string()]);
        let took = begun.elapsed();
        let told = numbered(&answer, 0);
        assert_eq!(told.str("file.path"), place.join("file").to_str().unwrap());
        assert_eq!(
            (told.str("sensor.descriptor.kind"), told.str("sensor.descriptor.mode")),
            ("unasked", "read")
        );
        assert!(!told.has("file.size"), "nobody asked for it: {told:#}");
        assert!(numbered(&answer, 2).has("sensor.descriptor.mode"), "the others are told");
        assert!(
            wait(&mut waits, Duration::from_millis(1)).is_none(),
            "it was silent, and `stat` waits for it"
        );
        assert!(took < tests::patience(Duration::from_secs(20)), "{took:?}");
        child.kill().unwrap();
        drop(file);
        unmount(place.to_str().unwrap());
        // With its last descriptor the file system ends, and whoever waits gets an error.
        drop(fuse);
        child.wait().unwrap();
        waits.wait().unwrap();
    });
}

#[test]
fn odd_names_do_no_harm() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let path = folder.at(OsStr::from_bytes(b"evil\x1b[2J\n\xff"));
    let file = File::create(&path).unwrap();
    let told = row(&own(), &file);
    assert!(told.str("file.name").starts_with("evil\x1b[2J\n"), "{told:#}");
    let raw = tests::base64::decode(told.str("sensor.raw.file.name"));
    assert_eq!(raw.as_deref(), Some(&b"evil\x1b[2J\n\xff"[..]));
    let text =
        run(command().args(["files", "--format", "text", "--pid", &std::process::id().to_string()])).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
    assert!(text.contains("evil\\x1b[2J\\x0a"), "{text}");
}

#[test]
fn processes_that_end_meanwhile_are_no_fault() {
    if skip() {
        return;
    }
    let _storm = Running::of(storm(), words!["fork", "100000000"]);
    for _ in 0..3 {
        let answer = files(&["--user", "root"]);
        assert!(answer.rows.iter().any(|row| row.num("process.pid") == pid()));
    }
}

#[test]
fn without_root_it_shows_what_it_may() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    copy(&binary(), &folder.at("sensor"));
    let other = Running::idle(actor());
    let exec = |words: Vec<OsString>| {
        let words = join([
            words!["become", "65534"],
            nest("exec", join([words![folder.at("sensor"), "files"], words])),
        ]);
        Answer::of(Command::new(actor()).args(words))
    };
    let refused = exec(words!["--format", "json", "--pid", other.pid().to_string()]);
    assert_eq!((refused.status, refused.rows.len()), (Some(4), 0), "{}", refused.said);
    assert!(refused.said.contains(&format!("what process {} has open, which may not be read", other.pid())));
    let own = exec(words!["--format", "json", "--user", "65534"]);
    assert_eq!(own.status, Some(4), "{}", own.said);
    let sensor = own.rows.iter().find(|row| row.text("process.name").as_deref() == Some("sensor"));
    let sensor = sensor.unwrap_or_else(|| panic!("not even its own: {}", own.said));
    assert_eq!(sensor.str("user.name"), "nobody");
}

#[test]
fn who_reads_no_more_is_no_fault_and_a_full_disk_is_one() {
    if skip() {
        return;
    }
    // So many that they don't wait together to be written.
    let held: Vec<File> = (0..400).map(|_| File::open("/dev/null").unwrap()).collect();
    let pid = std::process::id().to_string();
    let to = |out: Stdio| {
        let mut files = command();
        files.args(["files", "--format", "json", "--pid", &pid]).stdout(out).stderr(Stdio::piped());
        let output = files.spawn().unwrap().wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (read, write) = nix::unistd::pipe().unwrap();
    drop(read);
    let (status, said) = to(write.into());
    assert!(is_well(status, &said), "{status:?} {said}");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (status, said) = to(full.into());
    assert_eq!((status, said.matches("No space left").count()), (Some(1), 1), "{said}");
    drop(held);
}

#[test]
fn wrong_usage_is_refused() {
    if skip() {
        return;
    }
    let status = |words: &[&str]| run(command().arg("files").args(words)).status.code();
    assert_eq!(status(&[]), Some(2));
    assert_eq!(status(&["--user", "root", "--pid", "1"]), Some(2));
    assert_eq!(status(&["--pid", "x"]), Some(2));
    assert_eq!(status(&["--pid", "4194305"]), Some(1), "there is none");
}
