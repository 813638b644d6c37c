//! Traffic over loopback, as fast as it goes, and how much goes in a second.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::pin;
use crate::error::{Error, Result};

/// Bytes of a small datagram.
const SMALL: [u8; 64] = [0x5a; 64];
/// How many datagrams wait at most: less than any receive buffer takes.
const BATCH: u32 = 32;
/// Datagrams of a slice: some milliseconds.
const SLICE: u32 = 4096;
/// How much of a stream is written or read at once, bytes.
const BLOCK: usize = 128 * 1024;

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Check(format!("cannot {what}: {error}"))
}

/// Two UDP sockets that are connected with each other.
fn pair() -> io::Result<(UdpSocket, UdpSocket)> {
    let one = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    one.connect(other.local_addr()?)?;
    other.connect(one.local_addr()?)?;
    Ok((one, other))
}

/// Does a bit of the work; how much of it a second.
pub(crate) type Slice<'a> = dyn Fn() -> Result<f64> + 'a;

/// Times a slice of datagrams: millions a second.
fn timed(slice: impl FnOnce() -> io::Result<()>, what: &'static str) -> Result<f64> {
    let began = Instant::now();
    slice().map_err(failed(what))?;
    Ok(f64::from(SLICE) / began.elapsed().as_secs_f64() / 1e6)
}

/// Datagrams that one thread sends and receives in turns: none waits long, none is lost.
#[derive(Debug)]
pub(crate) struct Datagrams {
    sockets: (UdpSocket, UdpSocket),
}

impl Datagrams {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { sockets: pair().map_err(failed("make UDP sockets"))? })
    }

    /// Slices of it on one CPU.
    pub(crate) fn slices<T>(&self, work: impl FnOnce(&Slice<'_>) -> Result<T>) -> Result<T> {
        pin::on(pin::allowed()?.first().copied(), || {
            work(&|| timed(|| self.turns(), "send and receive datagrams"))
        })
    }

    fn turns(&self) -> io::Result<()> {
        let (from, to) = &self.sockets;
        let mut buffer = SMALL;
        for _ in 0..SLICE / BATCH {
            for _ in 0..BATCH {
                from.send(&SMALL)?;
            }
            for _ in 0..BATCH {
                to.recv(&mut buffer)?;
            }
        }
        Ok(())
    }
}

/// Datagrams that one thread sends and another receives: what is too many is lost, as ever.
#[derive(Debug)]
pub(crate) struct Flood {
    sockets: (UdpSocket, UdpSocket),
}

impl Flood {
    pub(crate) fn new() -> Result<Self> {
        let sockets = pair().map_err(failed("make UDP sockets"))?;
        sockets.1.set_read_timeout(Some(Duration::from_millis(100))).map_err(failed("set a timeout"))?;
        Ok(Self { sockets })
    }

    /// Slices of it, each thread on a CPU of its own.
    pub(crate) fn slices<T>(&self, work: impl FnOnce(&Slice<'_>) -> Result<T>) -> Result<T> {
        let (from, to) = &self.sockets;
        let cpus = pin::allowed()?;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                pin::on(cpus.get(1).copied(), || {
                    let mut buffer = SMALL;
                    // The timeout only lets it look whether it is done.
                    while !done.load(Ordering::Relaxed) {
                        let _ = to.recv(&mut buffer);
                    }
                    Ok(())
                })
            });
            let result = pin::on(cpus.first().copied(), || {
                let send = || (0..SLICE).try_for_each(|_| from.send(&SMALL).map(|_| ()));
                work(&|| timed(send, "send a datagram"))
            });
            done.store(true, Ordering::Relaxed);
            result
        })
    }
}

/// Connections that each carry one block after the other.
#[derive(Debug)]
pub(crate) struct Streams {
    listener: TcpListener,
    count: u32,
    blocks: u32,
}

impl Streams {
    pub(crate) fn new(count: u32, mebibytes: u32) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("listen"))?;
        let blocks = (mebibytes * 1024 * 1024 / BLOCK as u32).div_ceil(count);
        Ok(Self { listener, count, blocks })
    }

    /// Does it once; GiB a second, all together.
    pub(crate) fn run(&self) -> Result<f64> {
        let mut ends = Vec::new();
        for _ in 0..self.count {
            ends.push(self.connect().map_err(failed("connect"))?);
        }
        let began = Instant::now();
        let done: io::Result<()> = thread::scope(|scope| {
            let work = |(from, to): (TcpStream, TcpStream)| {
                [scope.spawn(move || self.send(from)), scope.spawn(move || receive(to))]
            };
            let threads: Vec<_> = ends.into_iter().flat_map(work).collect();
            let ended = |thread: thread::ScopedJoinHandle<'_, io::Result<()>>| {
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
            };
            threads.into_iter().try_for_each(ended)
        });
        done.map_err(failed("send or receive"))?;
        let bytes = f64::from(self.count) * f64::from(self.blocks) * BLOCK as f64;
        Ok(bytes / began.elapsed().as_secs_f64() / f64::from(1 << 30))
    }

    fn connect(&self) -> io::Result<(TcpStream, TcpStream)> {
        let from = TcpStream::connect(self.listener.local_addr()?)?;
        let (to, _) = self.listener.accept()?;
        Ok((from, to))
    }

    fn send(&self, mut to: TcpStream) -> io::Result<()> {
        let block = vec![0x5a; BLOCK];
        (0..self.blocks).try_for_each(|_| to.write_all(&block))
    }
}

/// Reads until the other side has closed.
fn receive(mut from: TcpStream) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    while from.read(&mut block)? != 0 {}
    Ok(())
}
