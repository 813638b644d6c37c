//! The counters of all sockets: those that changed when asked, those that ended as they come.

use std::{
    borrow::Borrow,
    collections::HashMap,
    error::Error,
    io::{self, ErrorKind, Read},
    os::fd::AsFd,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap as BpfMap, Map, MapData, RingBuf},
    programs::Iter,
};

use sensor_common::ask::DOUBTED_MOST;

use super::{KernelError, call};
use crate::{
    event::traffic::{Rest, SIZE, Traffic, decode, decode_rest},
    net::Amount,
};

/// The rings' sizes as the object has them, and what one row takes of them.
const RING: usize = 1024 * 1024;
const SPILL: usize = 16 * 1024 * 1024;
const ROW: usize = SIZE + 8;
/// Most times that the map is gone through for one reading; what is left is for the next.
const PASSES: u32 = 64;
/// Most sockets that ended and wait for a reading.
const MOST: usize = 65_536;
/// So many that there is a reading before its time: the rest of the room is for more than one round takes out of the ring.
const MANY: usize = MOST / 2;

/// What sockets sent and received since the last reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Each socket with something new, and each that ended.
    pub sockets: Vec<Traffic>,
    /// All since the sensor began that belongs to none of them.
    pub rest: Rest,
    /// What was lost since the last reading, beside what `rest` counts: reason and how many rows.
    pub lost: Vec<(&'static str, u64)>,
}

/// The reader.
pub(super) struct Sockets {
    ring: RingBuf<MapData>,
    /// The ring was full, so there may be rows in the one for those that find no room.
    spilled: bool,
    rows: Rows,
}

impl Sockets {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let failed = |source: Box<dyn Error + Send + Sync>| KernelError::Load { what: "TRAFFIC", source };
        let map = ebpf.take_map("TRAFFIC").ok_or_else(|| failed("the object has no such ring".into()))?;
        let ring = RingBuf::try_from(map).map_err(|error| failed(error.into()))?;
        Ok(Self { ring, spilled: false, rows: Rows::default() })
    }

    /// Takes out what is in the ring.
    pub(super) fn drain(&mut self) {
        let rows = drain(&mut self.ring, &mut self.rows);
        // With room left for two more none was refused.
        self.spilled |= (rows + 2) * ROW > RING;
    }

    /// Whether so many rows wait for a reading that it is better not put off. How many found no room in the ring shows only then.
    pub(super) fn waits(&self) -> bool {
        self.spilled || self.rows.waiting.len() >= MANY
    }

    /// Takes out what found no room in the ring; false when it didn't find room here either.
    fn drain_spilled(&mut self, ebpf: &mut Ebpf) -> Result<bool, Box<dyn Error + Send + Sync>> {
        self.drain();
        if !std::mem::take(&mut self.spilled) {
            return Ok(true);
        }
        let map = ebpf.map_mut("SPILL").ok_or("the object has no ring SPILL")?;
        let rows = drain(&mut RingBuf::try_from(map)?, &mut self.rows);
        Ok((rows + 2) * ROW <= SPILL)
    }

    pub(super) fn read(&mut self, ebpf: &mut Ebpf) -> Result<Reading, Box<dyn Error + Send + Sync>> {
        self.drain_spilled(ebpf)?;
        self.rows.reading = true;
        let walked = self.walk(ebpf);
        self.rows.reading = false;
        walked?;
        let map = ebpf.map("UNACCOUNTED").ok_or("the object has no map UNACCOUNTED")?;
        let words = Array::<_, [u64; 6]>::try_from(map)?.get(&0, 0)?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Ok(self.rows.reading(decode_rest(&bytes)?))
    }

    /// Goes through all sockets until every row found room in the ring.
    fn walk(&mut self, ebpf: &mut Ebpf) -> Result<(), Box<dyn Error + Send + Sync>> {
        for _ in 0..PASSES {
            // Nobody took rows out meanwhile.
            if !(walk(ebpf, "bytes_read")? || look(ebpf)?) || self.drain_spilled(ebpf)? {
                break;
            }
        }
        Ok(())
    }
}

/// Has a program look at all sockets that have counters; false when it was refused, as `coverage` says.
fn walk(ebpf: &Ebpf, name: &str) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let program: &Iter =
        ebpf.program(name).ok_or_else(|| format!("the object has no program {name}"))?.try_into()?;
    let Ok(program) = program.fd() else {
        return Ok(false);
    };
    let Some(Map::SkStorage(map)) = ebpf.map("SOCKETS") else {
        return Err("the object has no map SOCKETS".into());
    };
    go(call::walk(program.as_fd(), map.fd().as_fd())?)?;
    Ok(true)
}

/// Which of these sockets have no counters, or none any more; none of those beyond what can be asked at once.
pub(super) fn gone(ebpf: &mut Ebpf, cookies: &[u64]) -> Result<Vec<u64>, Box<dyn Error + Send + Sync>> {
    let mut asked = Vec::new();
    let mut map = doubted(ebpf)?;
    for cookie in cookies.iter().take(DOUBTED_MOST as usize) {
        map.insert(cookie, 0, 0)?;
        asked.push(*cookie);
    }
    let walked = walk(ebpf, "socket_there");
    let mut map = doubted(ebpf)?;
    let mut gone = Vec::new();
    for cookie in asked {
        if map.get(&cookie, 0)? == 0 {
            gone.push(cookie);
        }
        map.remove(&cookie)?;
    }
    Ok(if walked? { gone } else { Vec::new() })
}

fn doubted(ebpf: &mut Ebpf) -> Result<BpfMap<&mut MapData, u64, u32>, Box<dyn Error + Send + Sync>> {
    Ok(ebpf.map_mut("DOUBTED").ok_or("the object has no map DOUBTED")?.try_into()?)
}

/// Has a program look at the open sockets in its place; false when there is none.
fn look(ebpf: &mut Ebpf) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let program: &mut Iter =
        ebpf.program_mut("bytes_read_open").ok_or("the object has no program bytes_read_open")?.try_into()?;
    if program.fd().is_err() {
        return Ok(false);
    }
    let link = program.attach()?;
    go(program.take_link(link)?.into_file()?)?;
    Ok(true)
}

/// Takes out what is in a ring: how many rows.
fn drain<T: Borrow<MapData>>(ring: &mut RingBuf<T>, into: &mut Rows) -> usize {
    let mut rows = 0;
    while let Some(row) = ring.next() {
        into.take(&row);
        rows += 1;
    }
    rows
}

/// Reads to the end; the kernel gives way after each million sockets.
fn go(mut file: impl Read) -> io::Result<()> {
    loop {
        match file.read(&mut [0; 8]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Rows that wait for a reading.
#[derive(Default)]
struct Rows {
    waiting: Vec<Traffic>,
    /// Where each socket's row is among them.
    places: HashMap<u64, usize>,
    /// What the last reading told of sockets that live: one that ended at that very moment may not know.
    told: HashMap<u64, Amount>,
    /// Rows of a reading are not too many: there is one a socket.
    reading: bool,
    /// What belonged to rows for which there was no room.
    dropped: Amount,
    lost: HashMap<&'static str, u64>,
}

impl Rows {
    fn take(&mut self, row: &[u8]) {
        let mut row = match decode(row) {
            Ok(row) => row,
            Err(error) => {
                *self.lost.entry(error.word()).or_default() += 1;
                return;
            }
        };
        if let Some(told) = self.told.get(&row.cookie) {
            row.told = row.told.most(*told);
        }
        let place = self.places.get(&row.cookie).copied();
        if let Some(waiting) = place.and_then(|place| self.waiting.get_mut(place)) {
            *waiting = waiting.joined(row);
        } else if self.reading || self.waiting.len() < MOST {
            self.places.insert(row.cookie, self.waiting.len());
            self.waiting.push(row);
        } else {
            self.dropped = self.dropped.plus(row.news());
            *self.lost.entry("table_full").or_default() += 1;
        }
    }

    fn reading(&mut self, rest: Rest) -> Reading {
        let sockets = std::mem::take(&mut self.waiting);
        // Its memory is kept for as many again, but not that of a flood.
        self.places.clear();
        self.places.shrink_to(sockets.len());
        self.told.clear();
        self.told.shrink_to(sockets.len());
        self.told.extend(sockets.iter().filter(|row| !row.ended).map(|row| (row.cookie, row.total)));
        Reading {
            sockets,
            rest: Rest { amount: rest.amount.plus(self.dropped), ..rest },
            lost: self.lost.drain().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use sensor_common::wire::traffic;
    use zerocopy::IntoBytes;

    use super::*;

    fn row(cookie: u64, tx_bytes: u64, told: u64, flags: u32) -> traffic::Traffic {
        traffic::Traffic { cookie, tx_bytes, told: [told, 0, 0, 0], flags, ..traffic::Traffic::default() }
    }

    fn news(reading: &Reading) -> u64 {
        reading.sockets.iter().map(|row| row.news().tx_bytes).sum()
    }

    #[test]
    fn nothing_is_told_twice_when_a_socket_ends_while_it_is_read() {
        let mut rows = Rows::default();
        rows.take(row(1, 500, 0, 0).as_bytes());
        let first = rows.reading(Rest::default());
        // Made before the reading's row was noted in the kernel, and it came after.
        rows.take(row(1, 700, 0, traffic::Traffic::ENDED).as_bytes());
        let second = rows.reading(Rest::default());
        assert_eq!((news(&first), news(&second)), (500, 200));
        assert!(second.sockets[0].ended);
        assert_eq!(rows.reading(Rest::default()), Reading::default());
    }

    #[test]
    fn what_has_no_room_is_counted_with_nobody() {
        let mut rows = Rows::default();
        for cookie in 0..=MOST as u64 {
            rows.take(row(cookie, 10, 4, traffic::Traffic::ENDED).as_bytes());
        }
        rows.take(&[0]);
        let reading = rows.reading(Rest::default());
        assert_eq!((reading.sockets.len(), reading.rest.amount.tx_bytes), (MOST, 6));
        let mut lost = reading.lost;
        lost.sort_unstable();
        assert_eq!(lost, [("malformed", 1), ("table_full", 1)]);
        // A reading takes as many as there are.
        rows.reading = true;
        for cookie in 0..=MOST as u64 {
            rows.take(row(cookie, 10, 4, 0).as_bytes());
        }
        assert_eq!(rows.reading(Rest::default()).sockets.len(), MOST + 1);
    }
}
