//! A web server that answers as it is told, one answer after the other, and keeps what it was asked.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
}

/// The server; it goes with the test.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    questions: Arc<Mutex<Vec<Question>>>,
}

impl Server {
    /// On a free port of this host, with these answers. Who asks more often gets status 599.
    pub fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let replies = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
        let questions = Arc::<Mutex<Vec<Question>>>::default();
        let (from, to) = (Arc::clone(&replies), Arc::clone(&questions));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (from, to) = (Arc::clone(&from), Arc::clone(&to));
                std::thread::spawn(move || stream.map(|stream| serve(stream, &from, &to)));
            }
        });
        Self { address, replies, questions }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Another answer after the others.
    pub fn then(&self, reply: Reply) {
        self.replies.lock().expect("nobody panicked").push_back(reply);
    }

    /// What it was asked so far.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        self.questions.lock().expect("nobody panicked").clone()
    }
}

fn serve(
    stream: TcpStream,
    replies: &Mutex<VecDeque<Reply>>,
    questions: &Mutex<Vec<Question>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
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
        question.body = vec![0; length];
        reader.read_exact(&mut question.body).ok()?;
        questions.lock().ok()?.push(question);
        let reply = replies.lock().ok()?.pop_front().unwrap_or_else(|| Reply::json(599, ""));
        match reply {
            Reply::Says(status, lines, body) => {
                let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
                let length = body.len();
                let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n{lines}\r\n");
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok()?;
            }
            Reply::Bytes(bytes) => return stream.write_all(&bytes).ok(),
            Reply::Drips => {
                stream.write_all(b"HTTP/1.1 200 Said\r\ncontent-length: 100000\r\n\r\n").ok()?;
                while stream.write_all(b" ").is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                }
                return None;
            }
            // Until the other end has had enough.
            Reply::Silent => return reader.read_to_end(&mut Vec::new()).ok().map(drop),
        }
    }
}
