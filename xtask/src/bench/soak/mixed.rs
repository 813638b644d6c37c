//! Work of several sorts, at a steady rate.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::wait::waitpid;

use super::super::failed;
use super::super::lab::{Lab, Program};
use crate::error::{Error, Result};

/// Of each in a beat.
const PROCESSES: u64 = 5;
const FILES: u64 = 10;
const CONNECTIONS: u64 = 2;
const DATAGRAMS: u64 = 100;
const BEAT: Duration = Duration::from_millis(100);
/// The same in words.
pub(super) const WORDS: &str =
    "50 processes, 100 files made and removed, 20 TCP connections and 1000 datagrams a second";

/// What was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) processes: u64,
    pub(super) connections: u64,
}

/// The work.
#[derive(Debug)]
pub(super) struct Mixed {
    program: Program,
    file: PathBuf,
    listener: TcpListener,
    from: UdpSocket,
    to: UdpSocket,
    made: Made,
    /// When the next beat is due.
    due: Option<Instant>,
}

impl Mixed {
    pub(super) fn new(lab: &Lab) -> Result<Self> {
        let program = lab.program("exit-at-once", &["-DEXIT"])?;
        let file = lab.empty("soak")?.join("file");
        let sockets = || -> io::Result<_> {
            let here = (Ipv4Addr::LOCALHOST, 0);
            let (listener, from, to) =
                (TcpListener::bind(here)?, UdpSocket::bind(here)?, UdpSocket::bind(here)?);
            from.connect(to.local_addr()?)?;
            Ok((listener, from, to))
        };
        let (listener, from, to) = sockets().map_err(|error| net(&error))?;
        Ok(Self { program, file, listener, from, to, made: Made::default(), due: None })
    }

    /// Works until then, beat by beat; what was late isn't made up for but by what follows.
    pub(super) fn until(&mut self, end: Instant) -> Result<()> {
        loop {
            let now = Instant::now();
            let due = *self.due.get_or_insert(now);
            if due >= end {
                return Ok(());
            }
            thread::sleep(due.saturating_duration_since(now));
            self.beat()?;
            self.due = Some(due + BEAT);
        }
    }

    pub(super) const fn made(&self) -> Made {
        self.made
    }

    fn beat(&mut self) -> Result<()> {
        for _ in 0..PROCESSES {
            waitpid(self.program.spawn()?, None).map_err(failed("wait for a program"))?;
        }
        for _ in 0..FILES {
            File::create(&self.file).map_err(Error::file("make", &self.file))?;
            fs::remove_file(&self.file).map_err(Error::file("remove", &self.file))?;
        }
        self.connect().and_then(|()| self.send()).map_err(|error| net(&error))?;
        self.made.processes += PROCESSES;
        self.made.connections += CONNECTIONS;
        Ok(())
    }

    fn connect(&self) -> io::Result<()> {
        for _ in 0..CONNECTIONS {
            let mut from = TcpStream::connect(self.listener.local_addr()?)?;
            let (mut to, _) = self.listener.accept()?;
            from.write_all(&[7; 512])?;
            to.read_exact(&mut [0; 512])?;
        }
        Ok(())
    }

    fn send(&self) -> io::Result<()> {
        let mut datagram = [7; 64];
        for _ in 0..DATAGRAMS {
            self.from.send(&datagram)?;
            self.to.recv(&mut datagram)?;
        }
        Ok(())
    }
}

fn net(error: &io::Error) -> Error {
    Error::Check(format!("cannot make traffic: {error}"))
}
