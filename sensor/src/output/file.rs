//! A file of lines that others ship: only whole lines, on the disk before they count as arrived, put aside by size and age.
//!
//! What shippers rely on: a line is appended and never changed, a file that is put aside keeps its inode and is written no
//! more, and its new name is `PATH.1`. See decision 28.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{Far, FarError, Fate, Fault, Load, Parcel};
use crate::config;

mod lines;
mod place;

/// Most that is written at once.
const MOST: Load = Load { events: 8192, bytes: 4 << 20 };

/// The file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    max_bytes: u64,
    /// Nanoseconds.
    max_age: i64,
    keep: u16,
    open: Option<Open>,
    buffer: Vec<u8>,
}

/// As it is open.
#[derive(Debug)]
struct Open {
    file: fs::File,
    /// Where its last whole line ends.
    bytes: u64,
    /// When its first event was; none while it is empty.
    begun: Option<i64>,
}

impl File {
    /// The one that is configured; it is opened with the first load.
    #[must_use]
    pub fn new(config: &config::File) -> Self {
        let seconds = config.max_age_s.get().map(|seconds| i64::from(seconds.get()));
        Self {
            path: config.path.get().to_owned(),
            max_bytes: config.max_bytes.get().map_or(u64::MAX, std::num::NonZero::get),
            max_age: seconds.map_or(i64::MAX, |seconds| seconds.saturating_mul(1_000_000_000)),
            keep: config.keep.get(),
            open: None,
            buffer: Vec::new(),
        }
    }

    /// The file as it is to be written: opened anew where somebody moved it, took it away, or wrote to it.
    fn current(&mut self) -> io::Result<&mut Open> {
        let same = |open: &Open| {
            let held = open.file.metadata()?;
            let named = fs::symlink_metadata(&self.path).ok();
            let named = named.is_some_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino()));
            Ok::<bool, io::Error>(named && held.len() == open.bytes)
        };
        let kept = match self.open.take() {
            Some(open) if same(&open)? => Some(open),
            _ => None,
        };
        let open = match kept {
            Some(open) => open,
            None => Open::at(&self.path)?,
        };
        Ok(self.open.insert(open))
    }

    /// Writes those of a load that still belong into the present file, and says how many.
    fn write(&mut self, load: &[Parcel<'_>]) -> Result<usize, FarError> {
        let (max_bytes, max_age, path) = (self.max_bytes, self.max_age, self.path.clone());
        let failed = |attempted, error| failed(attempted, &path, error);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut open = self.current().map_err(|error| failed("opening", error))?;
        if load.first().is_some_and(|first| open.is_over(first, 0, max_bytes, max_age)) {
            self.rotate().map_err(|error| failed("putting aside", error))?;
            open = self.current().map_err(|error| failed("opening", error))?;
        }
        let mut count = 0;
        for parcel in load {
            if count > 0 && open.is_over(parcel, buffer.len(), max_bytes, max_age) {
                break;
            }
            open.begun.get_or_insert(parcel.time);
            buffer.extend_from_slice(parcel.bytes);
            buffer.push(b'\n');
            count += 1;
        }
        let written = open.append(&buffer);
        self.buffer = buffer;
        if let Err(error) = written {
            // What is torn is cut off when it is opened again.
            self.open = None;
            return Err(failed("writing to", error));
        }
        Ok(count)
    }

    /// Puts the present file aside.
    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        place::put_aside(&self.path, self.keep)
    }
}

fn failed(attempted: &str, path: &Path, source: io::Error) -> FarError {
    let advice = match Fault::of(&source) {
        Fault::Full => "free some space there, or let fewer files be kept",
        Fault::Closed | Fault::Busy | Fault::Failed => "see to the file and its folder",
    };
    let attempted = format!("{attempted} {}", path.display());
    FarError { attempted, advice, not_before: None, source: source.into() }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = place::open(path)?;
        let facts = file.metadata()?;
        let bytes = lines::whole(&file, facts.len())?;
        if bytes != facts.len() {
            file.set_len(bytes)?;
        }
        let born = facts.created().or_else(|_| facts.modified())?;
        let born = born.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let begun = (bytes > 0).then(|| i64::try_from(born).unwrap_or(i64::MAX));
        Ok(Self { file, bytes, begun })
    }

    /// Whether a new file is begun before this event, after so many bytes that are still to be written.
    fn is_over(&self, parcel: &Parcel<'_>, waiting: usize, max_bytes: u64, max_age: i64) -> bool {
        let bytes = self.bytes + waiting as u64;
        let more = bytes.saturating_add(parcel.bytes.len() as u64 + 1);
        let old = self.begun.is_some_and(|begun| parcel.time.saturating_sub(begun) > max_age);
        bytes > 0 && (more > max_bytes || old)
    }

    /// Whole lines, on the disk when this returns; none of them when it fails.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // If that fails too, what is torn is cut off when the file is opened again.
            let _ = self.file.set_len(self.bytes);
        }
        written.map(|()| self.bytes += lines.len() as u64)
    }
}

impl Far for File {
    fn most(&self) -> Load {
        MOST
    }

    fn bring(&mut self, load: &[Parcel<'_>]) -> Result<Vec<Fate>, FarError> {
        let mut done = 0;
        while done < load.len() {
            match self.write(load.get(done..).unwrap_or_default()) {
                Ok(count) => done += count,
                Err(error) if done == 0 => return Err(error),
                // It is met again by the next load, which begins with what isn't written.
                Err(_) => break,
            }
        }
        let fate = |at| if at < done { Fate::Arrived } else { Fate::Again };
        Ok((0..load.len()).map(fate).collect())
    }

    fn reopen(&mut self) {
        self.open = None;
    }
}

#[cfg(test)]
mod tests;
