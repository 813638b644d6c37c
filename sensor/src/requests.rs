//! What a verb asks of a run that is at work: to keep a file that it holds. A socket in the folder of the run's state, for root
//! alone; a line there, a line back.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
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
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::geteuid,
};
use tokio::sync::Notify;

use crate::{
    background::begin,
    evidence::{Captured, Missing, folder::Folder, wanted::Wanted},
    record::Text,
};

/// How the names of sockets begin; the run's id follows.
const PREFIX: &str = "ask-";
/// Longest line, bytes.
const LINE_MOST: usize = 1024;
/// Most that wait to be looked at.
const WAITING_MOST: usize = 16;
/// Most sockets that are looked at, of which some may be of runs that were killed.
const RUNS_MOST: usize = 1024;
/// How long somebody who asks may take to say what.
const SLOW: Duration = Duration::from_secs(1);
/// How long it is waited for an answer, which comes when a file is written.
const PATIENCE: Duration = Duration::from_secs(20);
/// How an answer begins that says what was kept.
const KEPT: &str = "kept ";

/// Something that is asked for.
#[derive(Debug)]
pub struct Request {
    /// What is to be kept.
    pub wanted: Wanted,
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
    stream.set_read_timeout(Some(SLOW)).ok()?;
    stream.set_write_timeout(Some(SLOW)).ok()?;
    let line = line(&stream).ok()?;
    let request = |wanted| Request { wanted, from: stream };
    line.strip_prefix("keep ")?.parse().ok().map(request)
}

/// One line, of which there is a largest.
fn line(mut stream: &UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut piece = [0_u8; 256];
    while line.len() <= LINE_MOST {
        let count = stream.read(&mut piece)?;
        line.extend_from_slice(piece.get(..count).unwrap_or_default());
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return String::from_utf8(line).map_err(io::Error::other);
        }
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
    for path in sockets(folder) {
        let stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            // Of a run that was killed, or has just ended.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) =>
            {
                continue;
            }
            Err(error) => {
                said.push(format!("a sensor at work can't be asked: {error}"));
                continue;
            }
        };
        match asked(&stream, wanted) {
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

fn asked(mut stream: &UnixStream, wanted: &Wanted) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(SLOW))?;
    stream.write_all(format!("keep {wanted}\n").as_bytes())?;
    line(stream)
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
            let wanted = request.wanted.clone();
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
    fn nonsense_is_not_answered() {
        let folder = folder("nonsense");
        drop(UnixListener::bind(folder.join("ask-dead")).unwrap());
        let requests = Requests::listen(&folder, "2").unwrap();
        assert!(!folder.join("ask-dead").exists(), "nobody listens there");
        let mode = fs::metadata(&requests.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for bytes in
            [&b"keep \n"[..], b"keep 0\n", b"\n", b"drop 1\n", b"\xff\n", b"keep 1", &[b'x'; 2 * LINE_MOST]]
        {
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
