//! Lines that follow each other, packed together: each looks much like the one before.

use super::JournalError;

/// Most events of a block, and bytes of it before the last line.
const EVENTS_MOST: u32 = 256;
const BYTES_MOST: usize = 256 * 1024;
/// A block that says it has more was not written by us.
const UNPACKED_MOST: usize = 64 * 1024 * 1024;

/// The block that events are added to.
#[derive(Debug)]
pub(super) struct Open {
    /// Position of its first event.
    pub first: u64,
    pub events: u32,
    /// The latest time of one.
    pub until: i64,
    pub lines: Vec<u8>,
}

impl Open {
    /// One without events yet.
    pub fn new(first: u64) -> Self {
        Self { first, events: 0, until: i64::MIN, lines: Vec::new() }
    }

    /// Adds a line.
    pub fn push(&mut self, line: &[u8], time: i64) {
        self.events += 1;
        self.until = self.until.max(time);
        self.lines.extend_from_slice(line);
    }

    /// Whether the next line is another's.
    pub fn is_full(&self) -> bool {
        self.events >= EVENTS_MOST || self.lines.len() >= BYTES_MOST
    }

    /// The bytes to be stored.
    pub fn packed(&self) -> Vec<u8> {
        lz4_flex::block::compress(&self.lines)
    }
}

/// A block that was read.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where each line ends, its end apart.
    ends: Vec<usize>,
}

impl Lines {
    /// Unpacks it.
    ///
    /// # Errors
    /// When it isn't what was written.
    pub fn unpack(packed: &[u8], size: usize) -> Result<Self, JournalError> {
        let damaged = || JournalError::Damaged { what: "a block of lines can't be unpacked".to_owned() };
        if size > UNPACKED_MOST {
            return Err(damaged());
        }
        let bytes = lz4_flex::block::decompress(packed, size).map_err(|_| damaged())?;
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
        match bytes.len() == size && bytes.last().is_none_or(|last| *last == b'\n') {
            true => Ok(Self { bytes, ends }),
            false => Err(damaged()),
        }
    }

    /// The line at this place, without its end.
    pub fn get(&self, place: usize) -> Option<&[u8]> {
        let start = place.checked_sub(1).map_or(Some(0), |before| Some(self.ends.get(before)? + 1))?;
        self.bytes.get(start..*self.ends.get(place)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_by_their_places() {
        let mut block = Open::new(7);
        for (line, time) in [(&b"one\n"[..], 5), (b"\n", 9), (b"three\n", 3)] {
            block.push(line, time);
        }
        assert_eq!((block.events, block.until, block.is_full()), (3, 9, false));
        let lines = Lines::unpack(&block.packed(), block.lines.len()).unwrap();
        let all: Vec<_> = (0..4).map(|place| lines.get(place)).collect();
        assert_eq!(all, [Some(&b"one"[..]), Some(b""), Some(b"three"), None]);
    }

    #[test]
    fn blocks_have_an_end() {
        let (mut many, mut long) = (Open::new(1), Open::new(1));
        (0..EVENTS_MOST).for_each(|_| many.push(b"x\n", 0));
        long.push(&vec![b'x'; BYTES_MOST], 0);
        assert!(many.is_full() && long.is_full());
    }

    #[test]
    fn what_was_not_written_so_is_no_block() {
        let mut block = Open::new(1);
        (0..100).for_each(|at| block.push(format!("{{\"line\":{at}}}\n").as_bytes(), 0));
        let (packed, size) = (block.packed(), block.lines.len());
        for end in 0..packed.len() {
            assert!(Lines::unpack(&packed[..end], size).is_err(), "{end}");
        }
        for wrong in [0, size - 1, size + 1, usize::MAX] {
            assert!(Lines::unpack(&packed, wrong).is_err(), "{wrong}");
        }
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x55;
            // Whatever comes of it, nothing panics.
            let _ = Lines::unpack(&damaged, size).map(|lines| lines.get(99).map(<[u8]>::len));
        }
    }
}
