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
    /// So many of them, in order, come before all that was left in the rings.
    ready: usize,
}

impl Batch {
    /// Drops what it gave; its memory is kept, but not that of a flood.
    pub fn clear(&mut self) {
        let waits = self.index.iter().skip(self.ready);
        let waits: Vec<Vec<u8>> =
            waits.filter_map(|(_, start, end)| self.bytes.get(*start..*end)).map(<[u8]>::to_vec).collect();
        self.bytes.clear();
        self.index.clear();
        self.ready = 0;
        self.bytes.shrink_to(MOST / 4);
        waits.iter().for_each(|record| self.push(record));
    }

    /// Adds the bytes of one record, whatever they are.
    pub fn push(&mut self, record: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record);
        self.index.push((time(record), start, self.bytes.len()));
    }

    /// Restores the order of kernel time, across the rings and across CPUs. What is newer waits for older records that
    /// are still in a ring: an alert for the execution of who is behind it.
    pub fn order(&mut self, until: Option<u64>) {
        self.index.sort_by_key(|(time, ..)| *time);
        self.ready = match until {
            Some(until) => self.index.partition_point(|(time, ..)| *time <= until),
            None => self.index.len(),
        };
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.index.iter().take(self.ready).filter_map(|(_, start, end)| self.bytes.get(*start..*end))
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

/// Every record begins with its time; one that is too short is told as malformed later.
fn time(record: &[u8]) -> u64 {
    record.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
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

    /// Moves what is there into a batch, up to its limit; then gives the newest time among it, as what is left is newer.
    pub(super) fn drain(&mut self, batch: &mut Batch) -> Option<u64> {
        let ring = self.0.get_mut();
        let mut newest = None;
        while !batch.is_full() {
            let item = ring.next()?;
            newest = newest.max(Some(time(&item)));
            batch.push(&item);
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firsts(batch: &Batch) -> Vec<u8> {
        batch.iter().map(|record| record[0]).collect()
    }

    fn batch(times: &[u64]) -> Batch {
        let mut batch = Batch::default();
        times.iter().for_each(|time| batch.push(&time.to_le_bytes()));
        batch
    }

    #[test]
    fn restores_the_order_of_time() {
        let mut batch = batch(&[3, 1, 2]);
        batch.push(&[7]);
        batch.order(None);
        assert_eq!(firsts(&batch), [7, 1, 2, 3]);
        batch.clear();
        assert!(batch.is_empty());
    }

    #[test]
    fn what_is_newer_than_what_was_left_waits_for_it() {
        let mut batch = batch(&[5, 9, 1, 2]);
        batch.order(Some(5));
        assert_eq!(firsts(&batch), [1, 2, 5]);
        batch.clear();
        assert!(!batch.is_empty());
        batch.push(&8_u64.to_le_bytes());
        batch.order(None);
        assert_eq!(firsts(&batch), [8, 9]);
    }
}
