//! A broker of Kafka's protocol with one topic, that does with loads as it is told, and keeps what it was told of them. Kafka's
//! protocol guide has the messages.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The only topic.
pub const TOPIC: &str = "sensor";
/// How many partitions it has.
pub const PARTITIONS: i32 = 3;

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;
/// What it speaks: keys with the newest version of each.
const SPOKEN: [(i16, i16); 5] =
    [(PRODUCE, 3), (METADATA, 1), (SASL_HANDSHAKE, 1), (API_VERSIONS, 3), (SASL_AUTHENTICATE, 0)];

/// What it does with a load.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Takes it.
    Takes,
    /// Answers with an error of Kafka's, by its number.
    Fails(i16),
    /// Answers with these bytes, whatever they are.
    Bytes(Vec<u8>),
    /// Nothing, for ever.
    Silent,
}

/// A load: how many replicas are to have it, the partition, the batch.
#[derive(Clone, Debug)]
pub struct Load {
    /// -1: all.
    pub acks: i16,
    /// Its number.
    pub partition: i32,
    /// A batch of records.
    pub batch: Vec<u8>,
}

impl Load {
    /// How many records the batch says that it has.
    #[must_use]
    pub fn records(&self) -> i32 {
        self.batch[57..61].try_into().map(i32::from_be_bytes).expect("four bytes")
    }
}

/// The broker; it goes with the test.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// User and password that it wants, as SASL PLAIN has them.
    login: Option<(String, String)>,
    answers: Mutex<VecDeque<Answer>>,
    loads: Mutex<Vec<Load>>,
}

impl Broker {
    /// On a free port of this host, with these answers to loads; later ones are taken.
    pub fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::begin(None, None, answers)
    }

    /// The same over TLS.
    pub fn over_tls(config: Arc<ServerConfig>) -> Self {
        Self::begin(Some(config), None, [])
    }

    /// The same for one user alone.
    pub fn for_user(user: &str, password: &str) -> Self {
        Self::begin(None, Some((user.to_owned(), password.to_owned())), [])
    }

    fn begin(
        tls: Option<Arc<ServerConfig>>,
        login: Option<(String, String)>,
        answers: impl IntoIterator<Item = Answer>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let answers = Mutex::new(answers.into_iter().collect());
        let state = Arc::new(State { login, answers, ..State::default() });
        let of = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let (state, tls) = (Arc::clone(&of), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, address, &state),
                    Some(tls) => {
                        let connection =
                            ServerConnection::new(tls).expect("a configuration that was checked");
                        serve(StreamOwned::new(connection, stream), address, &state)
                    }
                });
            }
        });
        Self { address, state }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was brought so far, taken or not.
    #[must_use]
    pub fn loads(&self) -> Vec<Load> {
        self.state.loads.lock().expect("nobody panicked").clone()
    }
}

fn serve(mut stream: impl Read + Write, address: SocketAddr, state: &State) -> Option<()> {
    let mut known = state.login.is_none();
    loop {
        let mut size = [0; 4];
        stream.read_exact(&mut size).ok()?;
        let mut request = vec![0; usize::try_from(i32::from_be_bytes(size)).ok()?];
        stream.read_exact(&mut request).ok()?;
        let mut request = Reader(&request);
        let (key, _version, correlation) = (request.i16()?, request.i16()?, request.i32()?);
        request.text();
        let mut answer = Writer(correlation.to_be_bytes().to_vec());
        match key {
            API_VERSIONS => versions(&mut answer),
            SASL_HANDSHAKE => answer.i16(0).i32(1).text("PLAIN"),
            SASL_AUTHENTICATE => {
                let (user, password) = state.login.as_ref()?;
                known = request.bytes()? == format!("\0{user}\0{password}").as_bytes();
                // SASL_AUTHENTICATION_FAILED, a message, no bytes.
                answer.i16(if known { 0 } else { 58 }).text("\u{1b}[31mwho?").i32(0)
            }
            _ if !known => return None,
            METADATA => metadata(&mut answer, address),
            PRODUCE => {
                let load = load(&mut request)?;
                let what = state.answers.lock().ok()?.pop_front().unwrap_or(Answer::Takes);
                let partition = load.partition;
                state.loads.lock().ok()?.push(load);
                match what {
                    Answer::Takes => produced(&mut answer, partition, 0),
                    Answer::Fails(error) => produced(&mut answer, partition, error),
                    Answer::Bytes(bytes) => {
                        stream.write_all(&bytes).and_then(|()| stream.flush()).ok()?;
                        return None;
                    }
                    Answer::Silent => return stream.read_to_end(&mut Vec::new()).ok().map(drop),
                }
            }
            _ => return None,
        };
        let size = i32::try_from(answer.0.len()).ok()?.to_be_bytes();
        stream.write_all(&[&size, &*answer.0].concat()).and_then(|()| stream.flush()).ok()?;
    }
}

fn versions(answer: &mut Writer) -> &mut Writer {
    answer.i16(0);
    answer.0.push(u8::try_from(SPOKEN.len()).expect("few") + 1);
    for (key, newest) in SPOKEN {
        answer.i16(key).i16(0).i16(newest).0.push(0);
    }
    answer.i32(0).0.push(0);
    answer
}

fn metadata(answer: &mut Writer, address: SocketAddr) -> &mut Writer {
    // One broker, no rack; it is the controller.
    answer.i32(1).i32(0).text(&address.ip().to_string()).i32(address.port().into()).i16(-1).i32(0);
    answer.i32(1).i16(0).text(TOPIC).0.push(0);
    answer.i32(PARTITIONS);
    for number in 0..PARTITIONS {
        // Led by the one, which has the only replica.
        answer.i16(0).i32(number).i32(0).i32(1).i32(0).i32(1).i32(0);
    }
    answer
}

fn produced(answer: &mut Writer, partition: i32, error: i16) -> &mut Writer {
    answer.i32(1).text(TOPIC).i32(1).i32(partition).i16(error).i64(0).i64(-1).i32(0)
}

fn load(request: &mut Reader<'_>) -> Option<Load> {
    request.text();
    let (acks, _timeout) = (request.i16()?, request.i32()?);
    // One topic, one partition.
    request.i32()?;
    assert_eq!(request.text()?, TOPIC.as_bytes());
    request.i32()?;
    Some(Load { acks, partition: request.i32()?, batch: request.bytes()?.to_vec() })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (now, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(now)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    /// None also for one that is null.
    fn text(&mut self) -> Option<&'a [u8]> {
        let size = self.i16()?;
        self.take(usize::try_from(size).ok()?)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let size = self.i32()?;
        self.take(usize::try_from(size).ok()?)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn i16(&mut self, number: i16) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn i32(&mut self, number: i32) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn i64(&mut self, number: i64) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.i16(i16::try_from(text.len()).expect("short")).0.extend(text.as_bytes());
        self
    }
}
