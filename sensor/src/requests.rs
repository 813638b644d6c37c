//! What a verb asks of a run that is at work: to keep a file that it holds, or to tell what the verb did. A socket in the folder of
//! the run's state, for root alone; a line there, a line back.

use std::{
    fs,
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use nix::{
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket,
            sockopt::{PeerCredentials, SendTimeout},
        },
        time::{TimeVal, TimeValLike},
    },
    unistd::geteuid,
};
use tokio::sync::Notify;

use crate::{
    background::begin,
    evidence::{Captured, Missing, folder::Folder, wanted::Wanted},
    host::since_boot,
    record::{Text, Time},
};

/// How the names of sockets begin; the run's id follows.
const PREFIX: &str = "ask-";
/// Longest line, bytes: an event of as many processes as one names.
const LINE_MOST: usize = 1024 * 1024;
/// Most that wait to be looked at.
const WAITING_MOST: usize = 16;
/// Most sockets that are looked at, of which some may be of runs that were killed.
const RUNS_MOST: usize = 1024;
/// How long somebody who asks may take to say what.
const SLOW: Duration = Duration::from_secs(1);
/// How long it is waited for an answer, which comes when a file is written.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it is waited until a run has told something, of all runs together.
const TELLING: Duration = Duration::from_secs(3);
/// How an answer begins that says what was kept.
const KEPT: &str = "kept ";
/// How one begins that says as what it was told.
const TOLD: &str = "told ";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// To keep a file.
    Keep(Wanted),
    /// To tell what the asking verb did: the event as a line of ECS, of which nothing is believed yet.
    Tell(String),
}

impl What {
    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ')? {
            ("keep", wanted) => wanted.parse().ok().map(Self::Keep),
            ("tell", event) => Some(Self::Tell(event.to_owned())),
            _ => None,
        }
    }
}

/// Which event of a run it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The run's id.
    pub run: String,
    /// `event.sequence`.
    pub sequence: u64,
    /// `@timestamp`.
    pub time: Time,
}

impl Told {
    /// Of an answer, which is anybody's who listens there.
    fn parse(answer: &str) -> Option<Self> {
        let mut words = answer.strip_prefix(TOLD)?.split(' ');
        let run = words.next()?;
        let told = Self {
            run: run.to_owned(),
            sequence: words.next()?.parse().ok()?,
            time: Time(words.next()?.parse().ok()?),
        };
        let plain =
            !run.is_empty() && run.len() <= 64 && run.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (plain && words.next().is_none()).then_some(told)
    }
}

/// Something that is asked for.
#[derive(Debug)]
pub struct Request {
    /// What.
    pub what: What,
    /// The process that asks, as the kernel says; 0 when it is in a pid namespace that isn't below ours.
    pub pid: u32,
    from: UnixStream,
}

impl Request {
    /// Answers it.
    pub fn answer(mut self, result: Result<&Captured, &Missing>) {
        let line = match result {
            Ok(kept) => format!("{KEPT}{}\n", kept.sha256.to_str_lossy()),
            Err(why) => format!("{why}\n"),
        };
        // Who doesn't wait any more needs no answer; a line has room in the socket.
        let _ = self.from.write_all(line.as_bytes());
    }

    /// Says as what it was told.
    pub fn told(mut self, Told { run, sequence, time }: &Told) {
        let _ = self.from.write_all(format!("{TOLD}{run} {sequence} {}\n", time.0).as_bytes());
    }

    /// Says why there will be none.
    pub fn refuse(mut self, why: &str) {
        let _ = self.from.write_all(format!("{why}\n").as_bytes());
    }
}

/// Where a run is asked.
#[derive(Debug)]
pub struct Requests {
    path: PathBuf,
    waiting: Receiver<Request>,
    wake: Arc<Notify>,
}

impl Requests {
    /// Listens in this folder, which is root's, for the run of this id.
    ///
    /// # Errors
    /// When the socket can't be made.
    pub fn listen(folder: &Path, run: &str) -> io::Result<Self> {
        // Where others may write, they could ask in our place, or take requests.
        Folder::open(folder).map_err(io::Error::other)?;
        clear(folder);
        let path = folder.join(format!("{PREFIX}{run}"));
        // Under another name until it listens: another run takes away those at which nobody does.
        let new = folder.join(format!("new-{PREFIX}{run}"));
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        fs::rename(&new, &path)?;
        let (take, waiting) = sync_channel(WAITING_MOST);
        let wake = Arc::new(Notify::new());
        let waker = Arc::clone(&wake);
        begin("requests", move || serve(&listener, &take, &waker))?;
        Ok(Self { path, waiting, wake })
    }

    /// Waits until somebody asks.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What was asked since.
    pub fn take(&self) -> impl Iterator<Item = Request> {
        self.waiting.try_iter()
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        // One that stays answers nobody, and the next run takes it away.
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes what is asked, one after the other.
fn serve(listener: &UnixListener, take: &SyncSender<Request>, wake: &Notify) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // As when there are no descriptors left: not at once again.
            thread::sleep(SLOW);
            continue;
        };
        if let Some(request) = heard(stream)
            && let Err(full) = take.try_send(request)
        {
            let (std::sync::mpsc::TrySendError::Full(request)
            | std::sync::mpsc::TrySendError::Disconnected(request)) = full;
            request.refuse("too much else is asked of the sensor at this moment: ask again");
        }
        wake.notify_one();
    }
}

/// What somebody asks, if he may and says it in time.
fn heard(stream: UnixStream) -> Option<Request> {
    let peer = getsockopt(&stream, PeerCredentials).ok()?;
    if peer.uid() != 0 && peer.uid() != geteuid().as_raw() {
        return None;
    }
    stream.set_write_timeout(Some(SLOW)).ok()?;
    let line = line(&stream, SLOW).ok()?;
    let pid = u32::try_from(peer.pid()).unwrap_or(0);
    What::parse(&line).map(|what| Request { what, pid, from: stream })
}

/// One line, of which there is a largest, and a time for all of it.
fn line(mut stream: &UnixStream, within: Duration) -> io::Result<String> {
    let end = since_boot() + within;
    let mut line = Vec::new();
    let mut piece = [0_u8; 4096];
    while line.len() <= LINE_MOST {
        let left = end.saturating_sub(since_boot());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut piece)?;
        let piece = piece.get(..count).unwrap_or_default();
        if let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            line.extend_from_slice(piece.get(..end).unwrap_or_default());
            return String::from_utf8(line).map_err(io::Error::other);
        }
        line.extend_from_slice(piece);
        if count == 0 {
            break;
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Asks those runs that are at work in this folder to keep something: gives its hash, else what each said. `is_there`: whether it
/// was kept where it is looked for, since another run may keep things elsewhere.
///
/// # Errors
/// When no run has it, or none is at work.
pub fn keep(folder: &Path, wanted: &Wanted, is_there: impl Fn(&Text) -> bool) -> Result<Text, Vec<String>> {
    let mut said = Vec::new();
    let asked = |stream: &UnixStream| asked(stream, &format!("keep {wanted}\n"), PATIENCE);
    for answer in sockets(folder).iter().filter_map(|path| reach(path).transpose()) {
        match answer.and_then(|stream| asked(&stream)) {
            Ok(answer) => match answer.strip_prefix(KEPT).map(str::parse) {
                Some(Ok(Wanted::Sha256(sha256))) if is_there(&sha256) => return Ok(sha256),
                Some(Ok(_)) => said.push(format!("another sensor at work {answer}, in a folder of its own")),
                _ => said.push(answer),
            },
            Err(error) => said.push(format!("a sensor at work gave no answer: {error}")),
        }
    }
    Err(said)
}

/// Has those runs that are at work in this folder tell an event, a line of ECS without its end: gives as what the first did, and
/// what came in the way with others.
#[must_use]
pub fn tell(folder: &Path, event: &str) -> (Option<Told>, Vec<String>) {
    let (mut first, mut said) = (None, Vec::new());
    if event.len() + "tell ".len() > LINE_MOST {
        return (None, vec!["the event is too long to be handed over".to_owned()]);
    }
    let end = since_boot() + TELLING;
    for answer in sockets(folder).iter().filter_map(|path| reach(path).transpose()) {
        let left = end.saturating_sub(since_boot()).max(Duration::from_millis(1));
        match answer.and_then(|stream| asked(&stream, &format!("tell {event}\n"), left)) {
            Ok(answer) => match Told::parse(&answer) {
                Some(told) => first = first.or(Some(told)),
                None => said.push(answer),
            },
            Err(error) => said.push(format!("it gave no answer: {error}")),
        }
    }
    (first, said)
}

/// Connects to a run; nothing when it was killed, or has just ended.
fn reach(path: &Path) -> io::Result<Option<UnixStream>> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // One that is stopped takes no connection when many wait already.
    setsockopt(&socket, SendTimeout, &TimeVal::seconds(1))?;
    match connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) => Ok(Some(UnixStream::from(socket))),
        Err(nix::Error::ECONNREFUSED | nix::Error::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn asked(mut stream: &UnixStream, question: &str, patience: Duration) -> io::Result<String> {
    stream.set_write_timeout(Some(SLOW.min(patience)))?;
    stream.write_all(question.as_bytes())?;
    line(stream, patience)
}

fn sockets(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let ours = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
    };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(ours).take(RUNS_MOST).collect()
}

/// Takes away sockets at which nobody listens any more.
fn clear(folder: &Path) {
    for path in sockets(folder) {
        if let Err(error) = UnixStream::connect(&path)
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            // If it stays, it is in nobody's way.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sensor-requests-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        folder
    }

    /// Answers the first request.
    fn answering(requests: Requests, result: Result<Captured, Missing>) -> thread::JoinHandle<Wanted> {
        thread::spawn(move || {
            let request = requests.waiting.recv().unwrap();
            let What::Keep(wanted) = request.what.clone() else { panic!("{request:?}") };
            request.answer(result.as_ref());
            wanted
        })
    }

    #[test]
    fn what_is_asked_is_answered() {
        let folder = folder("answered");
        let sha256 = Text::from("a".repeat(64));
        let captured = Captured { sha256: sha256.clone(), size: 1, path: PathBuf::from("/x") };
        let run = answering(Requests::listen(&folder, "1").unwrap(), Ok(captured));
        assert_eq!(keep(&folder, &Wanted::Pid(7), |_| true), Ok(sha256));
        assert_eq!(run.join().unwrap(), Wanted::Pid(7));
        let run = answering(Requests::listen(&folder, "1").unwrap(), Err(Missing::TooLarge { size: 9 }));
        let said = keep(&folder, &Wanted::Entity(Text::from("b".repeat(32))), |_| true).unwrap_err();
        assert!(said[0].contains('9'), "{said:?}");
        run.join().unwrap();
        assert_eq!(keep(&folder, &Wanted::Pid(7), |_| true), Err(Vec::new()), "nobody is at work");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn each_run_tells_and_the_first_says_as_what() {
        let folder = folder("told");
        let told = |sequence| Told { run: "ab12".to_owned(), sequence, time: Time(-7) };
        let runs: Vec<_> = [Some(told(8)), None]
            .into_iter()
            .enumerate()
            .map(|(at, answer)| {
                let requests = Requests::listen(&folder, &at.to_string()).unwrap();
                thread::spawn(move || {
                    let request = requests.waiting.recv().unwrap();
                    assert_eq!(request.what, What::Tell("{\"a\": 1}".to_owned()));
                    assert_eq!(request.pid, std::process::id());
                    match answer {
                        Some(told) => request.told(&told),
                        None => request.refuse("no"),
                    }
                })
            })
            .collect();
        assert_eq!(tell(&folder, "{\"a\": 1}"), (Some(told(8)), vec!["no".to_owned()]));
        runs.into_iter().for_each(|run| run.join().unwrap());
        assert_eq!(tell(&folder, "{}"), (None, Vec::new()), "nobody is at work");
        let (nobody, said) = tell(&folder, &"x".repeat(LINE_MOST));
        assert!(nobody.is_none() && said[0].contains("too long"), "{said:?}");
        for wrong in
            ["", "told", "told a", "told a 1", "told a 1 x", "told a 1 2 3", "told a\u{1b} 1 2", "told  1 2"]
        {
            assert_eq!(Told::parse(wrong), None, "{wrong}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn who_says_nothing_is_not_waited_for() {
        let folder = folder("silent");
        let _silent = UnixListener::bind(folder.join("ask-silent")).unwrap();
        let (nobody, said) = tell(&folder, "{}");
        assert!(nobody.is_none() && said[0].contains("no answer"), "{said:?}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn nonsense_is_not_answered() {
        let folder = folder("nonsense");
        drop(UnixListener::bind(folder.join("ask-dead")).unwrap());
        let requests = Requests::listen(&folder, "2").unwrap();
        assert!(!folder.join("ask-dead").exists(), "nobody listens there");
        let mode = fs::metadata(&requests.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for bytes in [
            &b"keep \n"[..],
            b"keep 0\n",
            b"\n",
            b"drop 1\n",
            b"tell",
            b"tell \xff\n",
            b"\xff\n",
            b"keep 1",
            &vec![b'x'; 2 * LINE_MOST],
        ] {
            let mut stream = UnixStream::connect(&requests.path).unwrap();
            // It may be closed before all is written.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert_eq!(answer, b"", "{bytes:?}");
        }
        assert_eq!(requests.take().count(), 0);
        drop(requests);
        assert!(!folder.join("ask-2").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
