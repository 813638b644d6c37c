//! Stands between two that speak over TCP, and does what networks do: refuses, cuts, loses answers, is slow.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with new connections; those that stand go on as they began, unless they are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Lets all through.
    Passes,
    /// Hangs up on whoever comes.
    Refuses,
    /// Cuts after so many bytes of what is asked.
    CutsQuestions(usize),
    /// Lets all questions through, and cuts after so many bytes of what is answered: who asks can't know what became of it.
    CutsAnswers(usize),
    /// Lets all through until so many bytes are asked on a connection, which is a load, and then no answer: it is there, and who asks
    /// can't know.
    LosesAnswers(usize),
    /// Takes what is asked and lets nothing through, for ever.
    Swallows,
    /// Lets little through at a time, with a pause after it.
    Slow(usize, Duration),
}

/// The proxy; it goes with the test.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<(Mood, Vec<TcpStream>)>>,
    tries: Arc<AtomicUsize>,
}

impl Proxy {
    /// On a free port of this host, to this one, which may be known later.
    pub fn to(there: impl Fn() -> Option<SocketAddr> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(Mutex::new((Mood::Passes, Vec::new())));
        let of = Arc::clone(&state);
        let tries = Arc::<AtomicUsize>::default();
        let tried = Arc::clone(&tries);
        std::thread::spawn(move || {
            for here in listener.incoming().filter_map(Result::ok) {
                tried.fetch_add(1, Ordering::SeqCst);
                let mut state = of.lock().expect("nobody panicked");
                let there = there().filter(|_| state.0 != Mood::Refuses).map(TcpStream::connect);
                if let Some(Ok(there)) = there {
                    state.1.extend([&here, &there].map(|end| end.try_clone().expect("a descriptor")));
                    between(here, there, state.0);
                }
            }
        });
        Self { address, state, tries }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often somebody connected, also when that led nowhere.
    #[must_use]
    pub fn tries(&self) -> usize {
        self.tries.load(Ordering::SeqCst)
    }

    /// What it does from now on; with a new mood all connections are cut.
    pub fn is(&self, mood: Mood) {
        let mut state = self.state.lock().expect("nobody panicked");
        if state.0 != mood {
            state.0 = mood;
            for end in state.1.drain(..) {
                // It may have been cut before.
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }
}

fn between(here: TcpStream, there: TcpStream, mood: Mood) {
    let clone = |end: &TcpStream| end.try_clone().expect("a descriptor");
    let (asked, answered) = ((clone(&here), clone(&there)), (there, here));
    let asked_bytes = Arc::new(AtomicUsize::new(0));
    for ((from, to), is_question) in [(asked, true), (answered, false)] {
        let asked_bytes = Arc::clone(&asked_bytes);
        std::thread::spawn(move || {
            let most = match (mood, is_question) {
                (Mood::CutsQuestions(most), true) | (Mood::CutsAnswers(most), false) => most,
                (Mood::Swallows, true) => 0,
                _ => usize::MAX,
            };
            let (piece, pause) = match mood {
                Mood::Slow(piece, pause) => (piece, pause),
                _ => (64 * 1024, Duration::ZERO),
            };
            let goes_on = |bytes: usize| match (mood, is_question) {
                (Mood::LosesAnswers(load), false) => asked_bytes.load(Ordering::SeqCst) < load,
                (_, true) => asked_bytes.fetch_add(bytes, Ordering::SeqCst) < usize::MAX,
                _ => true,
            };
            carry(from, to, most, (piece, pause), mood == Mood::Swallows, goes_on);
        });
    }
}

fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    most: usize,
    (piece, pause): (usize, Duration),
    swallows: bool,
    goes_on: impl Fn(usize) -> bool,
) {
    let mut left = most;
    let mut bytes = vec![0; piece];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if !goes_on(read) {
            break;
        }
        let now = read.min(left);
        left -= now;
        if to.write_all(&bytes[..now]).is_err() || (now < read && !swallows) {
            break;
        }
        std::thread::sleep(pause);
    }
    // Whichever has ended before has no more to end.
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}
