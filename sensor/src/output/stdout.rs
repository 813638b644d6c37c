//! Standard output: lines are gathered and given on with one write a flush. A line is never torn:
//! the tail of one that went out in part goes first when writes work again.

use super::{Counts, Fault, Output, OutputError, Taken};
use crate::record::Record;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;

/// Bytes that are gathered before they are given on without being asked.
const FILL: usize = 256 << 10;
/// Bytes that are kept while writes fail.
const ROOM: usize = 4 << 20;

/// What has no room.
const FULL: Taken = Taken::Refused { stage: "output", reason: "full" };
const ATTEMPTED: &str = "write to standard output";

/// Buffered standard output, or any other sink that takes its place.
#[derive(Debug)]
pub struct Stdout<W = File> {
    sink: W,
    /// Bytes not yet out, after `out` bytes that are.
    buffer: Vec<u8>,
    /// How many of the buffer's bytes are out.
    out: usize,
    /// Where in the buffer each line ends that is not out.
    ends: Vec<usize>,
    room: usize,
    /// Why the last write failed; while it is set, only a flush tries again.
    fault: Option<Fault>,
    /// Bytes of the first waiting line that are out.
    torn: u64,
    /// Takes the last bytes back out of the sink, where it can.
    take_back: Option<TakeBack<W>>,
    delivered: u64,
    refused: u64,
}

type TakeBack<W> = fn(&mut W, u64) -> io::Result<()>;

/// Takes the last bytes of a file away again, if they are still the last.
fn shorten(file: &mut File, bytes: u64) -> io::Result<()> {
    let (here, all) = (file.stream_position()?, file.metadata()?);
    if all.is_file() && all.len() == here {
        file.set_len(here.saturating_sub(bytes))?;
    }
    Ok(())
}

impl Stdout<File> {
    /// The process's standard output, without the buffer that std puts before it. One that was
    /// closed when the process started is `/dev/null` by now: std sees to that.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub fn open() -> io::Result<Self> {
        let fd = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Stdout { take_back: Some(shorten), ..Stdout::new(File::from(fd)) })
    }
}

impl<W: Write> Stdout<W> {
    /// An output that writes to this sink, each time with one `write`.
    pub fn new(sink: W) -> Self {
        Self::with_room(sink, ROOM)
    }

    /// As [`Stdout::new`], keeping at most so many bytes while the sink fails.
    pub fn with_room(sink: W, room: usize) -> Self {
        Stdout {
            sink,
            buffer: Vec::new(),
            out: 0,
            ends: Vec::new(),
            room,
            fault: None,
            torn: 0,
            take_back: None,
            delivered: 0,
            refused: 0,
        }
    }

    fn waits(&self) -> usize {
        self.buffer.len() - self.out
    }

    fn keep(&mut self, line: &[u8]) {
        self.buffer.extend_from_slice(line);
        self.ends.push(self.buffer.len());
    }

    /// Writes until nothing waits or the sink refuses.
    fn drain(&mut self) -> Result<(), io::Error> {
        while self.waits() > 0 {
            match self.sink.write(&self.buffer[self.out..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(wrote) => self.advance(wrote),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sink.flush()
    }

    /// Counts the lines that the last write brought out, and forgets them.
    fn advance(&mut self, wrote: usize) {
        self.out = self.buffer.len().min(self.out + wrote);
        let whole = self.ends.partition_point(|end| *end <= self.out);
        self.torn = match whole.checked_sub(1).and_then(|last| self.ends.get(last)) {
            Some(end) => (self.out - end) as u64,
            None => self.torn + wrote as u64,
        };
        self.ends.drain(..whole);
        self.delivered += whole as u64;
    }

    /// Moves what waits to the buffer's start.
    fn compact(&mut self) {
        self.buffer.drain(..self.out);
        self.ends.iter_mut().for_each(|end| *end -= self.out);
        self.out = 0;
    }

    fn error(&self, fault: Fault, source: io::Error) -> OutputError {
        OutputError { attempted: ATTEMPTED, undelivered: self.ends.len() as u64, fault, source }
    }
}

impl<W: Write + Send> Stdout<W> {
    fn take(&mut self, line: &[u8]) -> Result<Taken, OutputError> {
        if self.fault == Some(Fault::Closed) {
            self.refused += 1;
            return Err(self.error(Fault::Closed, io::ErrorKind::BrokenPipe.into()));
        }
        if self.fault.is_some() && self.waits() + line.len() > self.room {
            self.refused += 1;
            return Ok(FULL);
        }
        self.keep(line);
        if self.fault.is_none() && self.waits() >= FILL {
            match self.flush() {
                // The line is kept; the next flush tells what is wrong, if it still is.
                Err(error) if error.fault == Fault::Closed => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(Taken::Kept)
    }
}

impl<W: Write + Send> Output for Stdout<W> {
    fn write(&mut self, _: &Record, line: &[u8]) -> Result<Taken, OutputError> {
        self.take(line)
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        if self.fault == Some(Fault::Closed) {
            return Err(self.error(Fault::Closed, io::ErrorKind::BrokenPipe.into()));
        }
        let result = self.drain();
        self.compact();
        self.fault = result.as_ref().err().map(Fault::of);
        match (result, self.fault) {
            (Err(source), Some(fault)) => Err(self.error(fault, source)),
            _ => Ok(()),
        }
    }

    fn end(&mut self) {
        if let Some(take_back) = self.take_back.filter(|_| self.torn > 0) {
            // A sink that can't is a pipe: its reader sees a line without an end.
            let _ = take_back(&mut self.sink, self.torn);
        }
    }

    fn counts(&self) -> Counts {
        Counts { delivered: self.delivered, waiting: self.ends.len() as u64, refused: self.refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use std::collections::VecDeque;

    /// What one call of `write` does.
    enum Does {
        Takes(usize),
        Fails(Errno),
    }
    use Does::{Fails, Takes};

    /// A sink that does as it is told, then takes everything.
    #[derive(Default)]
    struct Fake {
        plan: VecDeque<Does>,
        got: Vec<u8>,
        calls: usize,
    }

    impl Write for Fake {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            let takes = match self.plan.pop_front() {
                Some(Fails(errno)) => return Err(errno.into()),
                Some(Takes(most)) => most.min(bytes.len()),
                None => bytes.len(),
            };
            self.got.extend_from_slice(&bytes[..takes]);
            Ok(takes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn planned(room: usize, plan: impl IntoIterator<Item = Does>) -> Stdout<Fake> {
        let fake = Fake { plan: plan.into_iter().collect(), ..Fake::default() };
        Stdout::with_room(fake, room)
    }

    fn give(output: &mut Stdout<Fake>, lines: &[&str]) -> Vec<Taken> {
        lines.iter().map(|line| output.take(line.as_bytes()).unwrap()).collect()
    }

    fn counts(delivered: u64, waiting: u64, refused: u64) -> Counts {
        Counts { delivered, waiting, refused }
    }

    #[test]
    fn one_write_a_flush() {
        let mut output = planned(ROOM, []);
        give(&mut output, &["one\n", "two\n"]);
        assert_eq!((output.sink.calls, output.counts()), (0, counts(0, 2, 0)));
        output.flush().unwrap();
        output.flush().unwrap();
        assert_eq!((output.sink.calls, output.counts()), (1, counts(2, 0, 0)));
        assert_eq!(output.sink.got, b"one\ntwo\n");
    }

    #[test]
    fn short_and_interrupted_writes_go_on() {
        let mut output = planned(ROOM, [Takes(1), Fails(Errno::EINTR), Takes(4)]);
        give(&mut output, &["one\n", "two\n"]);
        output.flush().unwrap();
        assert_eq!((output.sink.calls, output.counts()), (4, counts(2, 0, 0)));
        assert_eq!(output.sink.got, b"one\ntwo\n");
    }

    #[test]
    fn a_torn_line_is_taken_back_at_the_end() {
        let path = std::env::temp_dir().join(format!("sensor-stdout-{}", std::process::id()));
        let mut output = Stdout { take_back: Some(shorten), ..Stdout::new(File::create(&path).unwrap()) };
        output.sink.write_all(b"one\ntw").unwrap();
        output.torn = 2;
        output.end();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\n");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn how_much_of_a_line_is_out_is_known() {
        let mut output =
            planned(ROOM, [Takes(2), Takes(3), Fails(Errno::ENOSPC), Takes(1), Fails(Errno::ENOSPC)]);
        give(&mut output, &["one\n", "two\n"]);
        let _ = output.flush();
        assert_eq!(output.torn, 1);
        let _ = output.flush();
        assert_eq!(output.torn, 2);
        output.flush().unwrap();
        assert_eq!(output.torn, 0);
    }

    #[test]
    fn no_space_in_mid_line_and_then_space_again() {
        let plan = [Takes(6), Fails(Errno::ENOSPC), Fails(Errno::ENOSPC), Takes(1), Fails(Errno::ENOSPC)];
        let mut output = planned(10, plan);
        give(&mut output, &["one\n", "two\n", "six\n"]);
        let error = output.flush().unwrap_err();
        assert_eq!((error.fault, error.undelivered), (Fault::Full, 2));
        assert_eq!(output.counts(), counts(1, 2, 0));
        // Six bytes wait, four more may: the next line is dropped, and the sink is left alone.
        assert_eq!(give(&mut output, &["ten\n", "nil\n"]), [Taken::Kept, FULL]);
        assert_eq!((output.sink.calls, output.counts()), (2, counts(1, 3, 1)));
        assert_eq!(output.flush().unwrap_err().undelivered, 3);
        assert_eq!(output.flush().unwrap_err().undelivered, 3);
        output.flush().unwrap();
        assert_eq!(output.counts(), counts(4, 0, 1));
        assert_eq!(give(&mut output, &["end\n"]), [Taken::Kept]);
        output.flush().unwrap();
        assert_eq!(output.sink.got, b"one\ntwo\nsix\nten\nend\n");
    }

    #[test]
    fn a_busy_reader_is_waited_for() {
        let mut output = planned(0, [Fails(Errno::EAGAIN)]);
        give(&mut output, &["one\n"]);
        assert_eq!(output.flush().unwrap_err().fault, Fault::Busy);
        assert_eq!(give(&mut output, &["two\n"]), [FULL]);
        output.flush().unwrap();
        assert_eq!((output.sink.got.as_slice(), output.counts()), (&b"one\n"[..], counts(1, 0, 1)));
    }

    #[test]
    fn a_reader_that_has_gone_is_final() {
        let mut output = planned(ROOM, [Takes(5), Fails(Errno::EPIPE)]);
        give(&mut output, &["one\n", "two\n", "six\n"]);
        let error = output.flush().unwrap_err();
        assert_eq!((error.fault, error.undelivered), (Fault::Closed, 2));
        assert_eq!(output.take(b"ten\n").unwrap_err().fault, Fault::Closed);
        assert_eq!(output.flush().unwrap_err().fault, Fault::Closed);
        assert_eq!((output.sink.calls, output.counts()), (2, counts(1, 2, 1)));
    }

    #[test]
    fn a_sink_that_takes_nothing_does_not_hang() {
        let mut output = planned(ROOM, [Takes(0)]);
        give(&mut output, &["one\n"]);
        assert_eq!(output.flush().unwrap_err().fault, Fault::Failed);
        output.flush().unwrap();
        assert_eq!(output.counts(), counts(1, 0, 0));
    }

    #[test]
    fn a_full_buffer_is_given_on_unasked() {
        let mut output = planned(ROOM, [Fails(Errno::ENOSPC)]);
        let line = [b'x'; FILL];
        assert_eq!(output.take(&line).unwrap(), Taken::Kept);
        assert_eq!(output.take(&line).unwrap(), Taken::Kept);
        assert_eq!((output.sink.calls, output.counts()), (1, counts(0, 2, 0)));
        output.flush().unwrap();
        assert_eq!(output.take(&line).unwrap(), Taken::Kept);
        assert_eq!((output.sink.calls, output.counts()), (3, counts(3, 0, 0)));
    }

    #[test]
    fn random_faults_never_tear_a_line() {
        let mut state = 11_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..500 {
            let plan: Vec<_> = (0..random(30))
                .map(|_| match random(4) {
                    0 => Fails(Errno::ENOSPC),
                    1 => Fails(Errno::EINTR),
                    _ => Takes(random(9)),
                })
                .collect();
            let (mut output, mut kept) = (planned(20, plan), String::new());
            for n in 0..40_u64 {
                let line = format!("{}\n", "x".repeat(random(8)));
                if output.take(line.as_bytes()).unwrap() == Taken::Kept {
                    kept += &line;
                }
                if random(3) == 0 {
                    let _ = output.flush();
                }
                let Counts { delivered, waiting, refused } = output.counts();
                assert_eq!(delivered + waiting + refused, n + 1);
            }
            while output.flush().is_err() {}
            assert_eq!(output.sink.got, kept.as_bytes());
            assert_eq!(output.counts().delivered, kept.lines().count() as u64);
        }
    }
}
