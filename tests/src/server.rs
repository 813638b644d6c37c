//! A web server that answers as it is told, one answer after the other, and keeps what it was asked.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::GzDecoder;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What it does with a question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status, lines of its head, a body.
    Says(u16, Vec<String>, String),
    /// These bytes, whatever they are.
    Bytes(Vec<u8>),
    /// A byte now and then, and never the end.
    Drips,
    /// Nothing, for ever.
    Silent,
    /// It reads so many bytes of the question, and hangs up.
    HangsUp(usize),
}

impl Reply {
    /// A status with a body of JSON.
    #[must_use]
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        Self::Says(status, vec!["content-type: application/json".to_owned()], body.into())
    }

    /// With another line in its head.
    #[must_use]
    pub fn with(self, line: &str) -> Self {
        match self {
            Self::Says(status, mut lines, body) => {
                lines.push(line.to_owned());
                Self::Says(status, lines, body)
            }
            other => other,
        }
    }
}

/// A question: its head, in lines, and what came as a body.
#[derive(Clone, Debug)]
pub struct Question {
    /// Method, path and version, then the headers.
    pub head: Vec<String>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Question {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// What it brings, unpacked.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.header("content-encoding") {
            Some("gzip") => drop(GzDecoder::new(&*self.body).read_to_end(&mut bytes).expect("gzip")),
            other => {
                assert_eq!(other, None);
                bytes.clone_from(&self.body);
            }
        }
        bytes
    }

    /// The same as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.bytes()).expect("UTF-8")
    }
}

/// The server; it goes with the test.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    state: Arc<State>,
}

#[derive(Clone)]
struct Usual(Arc<dyn Fn(&Question) -> Reply + Send + Sync>);

impl std::fmt::Debug for Usual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Usual(…)")
    }
}

#[derive(Debug, Default)]
struct State {
    replies: Mutex<VecDeque<Reply>>,
    /// What it says when it hasn't been told more.
    usual: Mutex<Option<Usual>>,
    questions: Mutex<Vec<Question>>,
    connections: AtomicUsize,
}

impl Server {
    /// On a free port of this host, with these answers. Who asks more often gets status 599.
    pub fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::begin(None, replies)
    }

    /// The same over TLS.
    pub fn over_tls(config: Arc<ServerConfig>, replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::begin(Some(config), replies)
    }

    fn begin(tls: Option<Arc<ServerConfig>>, replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let state =
            Arc::new(State { replies: Mutex::new(replies.into_iter().collect()), ..State::default() });
        let (of, config) = (Arc::clone(&state), tls.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let (state, config) = (Arc::clone(&of), config.clone());
                state.connections.fetch_add(1, Ordering::Relaxed);
                // An answer is written in two pieces, and the second shall not wait for a word on the first.
                stream.set_nodelay(true).expect("a connection");
                std::thread::spawn(move || match config {
                    None => serve(stream, &state),
                    Some(config) => {
                        let connection =
                            ServerConnection::new(config).expect("a configuration that was checked");
                        serve(StreamOwned::new(connection, stream), &state)
                    }
                });
            }
        });
        Self { address, tls, state }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Another answer after the others.
    pub fn then(&self, reply: Reply) {
        self.state.replies.lock().expect("nobody panicked").push_back(reply);
    }

    /// What it was asked so far.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        self.state.questions.lock().expect("nobody panicked").clone()
    }

    /// What it says from now on when it hasn't been told more.
    pub fn usually(&self, reply: Reply) {
        self.thinks(move |_| reply.clone());
    }

    /// How it comes to what it says from now on when it hasn't been told more.
    pub fn thinks(&self, says: impl Fn(&Question) -> Reply + Send + Sync + 'static) {
        *self.state.usual.lock().expect("nobody panicked") = Some(Usual(Arc::new(says)));
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made to it so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

fn serve(stream: impl Read + Write, state: &State) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let question = ask(&mut stream, state)?;
        let told = state.replies.lock().ok()?.pop_front();
        let usual = state.usual.lock().ok()?.clone();
        let reply = told.or_else(|| usual.map(|usual| (usual.0)(&question)));
        let reply = reply.unwrap_or_else(|| Reply::json(599, ""));
        state.questions.lock().ok()?.push(question);
        let to = stream.get_mut();
        match reply {
            Reply::Says(status, lines, body) => {
                let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
                let length = body.len();
                let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n{lines}\r\n");
                to.write_all(head.as_bytes()).and_then(|()| to.write_all(body.as_bytes())).ok()?;
                to.flush().ok()?;
            }
            Reply::Bytes(bytes) => return to.write_all(&bytes).and_then(|()| to.flush()).ok(),
            Reply::Drips => {
                to.write_all(b"HTTP/1.1 200 Said\r\ncontent-length: 100000\r\n\r\n").ok()?;
                while to.write_all(b" ").and_then(|()| to.flush()).is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                }
                return None;
            }
            // Until the other end has had enough.
            Reply::Silent => return stream.read_to_end(&mut Vec::new()).ok().map(drop),
            Reply::HangsUp(_) => return None,
        }
    }
}

fn ask(stream: &mut impl BufRead, state: &State) -> Option<Question> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let mut question = Question { head, body: Vec::new() };
    let length = question.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let cut = match state.replies.lock().ok()?.front() {
        Some(Reply::HangsUp(bytes)) => length.min(*bytes),
        _ => length,
    };
    question.body = vec![0; cut];
    stream.read_exact(&mut question.body).ok()?;
    Some(question)
}
