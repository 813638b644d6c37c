//! The two rings: what is in them, in the order of kernel time.

use std::{io, os::fd::AsRawFd};

use aya::maps::{MapData, RingBuf};
use tokio::io::{Interest, unix::AsyncFd};

/// Most bytes taken at once, so that a flood can't keep the rest of the sensor waiting.
const MOST: usize = 4 * 1024 * 1024;

/// Records copied out of the rings.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// (time, start, end) of each.
    index: Vec<(u64, usize, usize)>,
}

impl Batch {
    /// Empties it; its memory is kept, but not that of a flood.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.index.clear();
        self.bytes.shrink_to(MOST / 4);
    }

    /// Adds the bytes of one record, whatever they are.
    pub fn push(&mut self, record: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record);
        // Every record begins with its time; one that is too short is told as malformed later.
        let time = record.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        self.index.push((time, start, self.bytes.len()));
    }

    /// Restores the order of kernel time, across the rings and across CPUs.
    pub fn sort(&mut self) {
        self.index.sort_by_key(|(time, ..)| *time);
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.index.iter().filter_map(|(_, start, end)| self.bytes.get(*start..*end))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether more may be waiting in the rings.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= MOST
    }
}

/// Something with a file descriptor of its own, such that it can be waited for.
pub(super) fn awaited<T: AsRawFd>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: what is given here (a ring, a fanotify group, a file) owns its descriptor and lives inside
    // the AsyncFd, so the descriptor stays open and the same for as long as it is registered.
    unsafe { AsyncFd::register_with_interest(owner, interest) }.map_err(io::Error::from)
}

/// A ring that can be waited for.
pub(super) struct Ring(AsyncFd<RingBuf<MapData>>);

impl Ring {
    pub(super) fn new(map: RingBuf<MapData>) -> io::Result<Self> {
        Ok(Self(awaited(map, Interest::READABLE)?))
    }

    /// Waits until the kernel wakes the reader of this ring.
    pub(super) async fn woken(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }

    /// Moves what is there into a batch, up to its limit.
    pub(super) fn drain(&mut self, batch: &mut Batch) {
        let ring = self.0.get_mut();
        while !batch.is_full()
            && let Some(item) = ring.next()
        {
            batch.push(&item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restores_the_order_of_time() {
        let mut batch = Batch::default();
        for time in [3_u64, 1, 2] {
            batch.push(&time.to_le_bytes());
        }
        batch.push(&[7]);
        batch.sort();
        let firsts: Vec<u8> = batch.iter().map(|record| record[0]).collect();
        assert_eq!(firsts, [7, 1, 2, 3]);
        batch.clear();
        assert!(batch.is_empty());
    }
}
