//! Standard output as a place that events are brought to: whoever reads it may be slow.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
};

use super::{Far, FarError, Fate, Load, Parcel};

/// Most that is written at once.
const MOST: Load = Load { events: 4096, bytes: 1 << 20 };

/// Standard output.
#[derive(Debug)]
pub struct Standard<W = File> {
    sink: W,
    /// The event of which a part is out, and the rest of its line.
    torn: Option<(String, Vec<u8>)>,
}

impl Standard {
    /// The process's own.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub fn open() -> io::Result<Self> {
        Ok(Self::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }
}

impl<W: Write> Standard<W> {
    fn new(sink: W) -> Self {
        Self { sink, torn: None }
    }

    /// Writes all of it, else says how much.
    fn write(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut out = 0;
        while out < bytes.len() {
            match self.sink.write(bytes.get(out..).unwrap_or_default()) {
                Ok(0) => return Err((out, io::ErrorKind::WriteZero.into())),
                Ok(count) => out += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((out, error)),
            }
        }
        Ok(())
    }
}

fn failed(source: io::Error) -> FarError {
    FarError {
        attempted: "writing to standard output".to_owned(),
        advice: "start the sensor again with a reader that stays",
        not_before: None,
        source: source.into(),
    }
}

impl<W: Write + Send> Far for Standard<W> {
    fn most(&self) -> Load {
        MOST
    }

    fn bring(&mut self, load: &[Parcel<'_>]) -> Result<Vec<Fate>, FarError> {
        let mut begun = None;
        if let Some((id, rest)) = self.torn.take() {
            if let Err((out, error)) = self.write(&rest) {
                self.torn = Some((id, rest.get(out..).unwrap_or_default().to_vec()));
                return Err(failed(error));
            }
            begun = Some(id);
        }
        // It comes first again, as it hadn't arrived.
        let skip = usize::from(load.first().is_some_and(|first| begun.as_deref() == Some(first.id)));
        let (mut lines, mut ends) = (Vec::new(), vec![0; skip]);
        for parcel in load.iter().skip(skip) {
            lines.extend_from_slice(parcel.bytes);
            lines.push(b'\n');
            ends.push(lines.len());
        }
        let Err((out, error)) = self.write(&lines) else { return Ok(vec![Fate::Arrived; load.len()]) };
        let whole = ends.partition_point(|end| *end <= out);
        let start = whole.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0);
        if let (Some(parcel), Some(end)) = (load.get(whole), ends.get(whole))
            && out > start
        {
            self.torn = Some((parcel.id.to_owned(), lines.get(out..*end).unwrap_or_default().to_vec()));
        }
        match whole {
            0 => Err(failed(error)),
            _ => Ok((0..load.len()).map(|at| if at < whole { Fate::Arrived } else { Fate::Again }).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and then fails once.
    struct Narrow {
        got: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                self.room = 5;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let takes = bytes.len().min(self.room);
            self.room -= takes;
            self.got.extend_from_slice(&bytes[..takes]);
            Ok(takes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_is_out_in_part_is_finished_and_not_begun_again() {
        for room in 0..14 {
            let mut output = Standard::new(Narrow { got: Vec::new(), room });
            let lines = ["one", "two", "three"];
            let all: Vec<_> = lines
                .iter()
                .map(|line| Parcel {
                    id: line,
                    time: 0,
                    action: "",
                    severity: 0,
                    host: "",
                    bytes: line.as_bytes(),
                })
                .collect();
            let mut left = &all[..];
            for _ in 0..20 {
                if let Ok(fates) = output.bring(left) {
                    left = &left[fates.iter().filter(|fate| **fate == Fate::Arrived).count()..];
                }
                if left.is_empty() {
                    break;
                }
            }
            assert_eq!(output.sink.got, b"one\ntwo\nthree\n", "{room}");
        }
    }
}
