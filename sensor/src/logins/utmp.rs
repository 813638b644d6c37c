//! utmp: records of one size, written by whoever lets somebody in (`utmp(5)`). Debian 13 and others have none.

use std::{net::IpAddr, path::Path};

use super::{Login, Logins, Source, filled};
use crate::record::{Text, Time};

/// Where it is; `/var/run` is but a link nearly everywhere.
const FILES: [&str; 2] = ["run/utmp", "var/run/utmp"];
/// More than any host has.
const MOST_BYTES: u64 = 4 * 1024 * 1024;
/// `USER_PROCESS`.
const USER: u16 = 7;

/// Where the parts of a record are: glibc keeps the times of some 64-bit machines in 32 bits, for their 32-bit programs
/// (`__WORDSIZE_TIME64_COMPAT32`), and of the others in 64.
const WIDE: bool = cfg!(not(any(target_arch = "x86_64", target_arch = "powerpc64", target_arch = "s390x")));
const SIZE: usize = if WIDE { 400 } else { 384 };
const SECONDS: usize = if WIDE { 344 } else { 340 };
const ADDRESS: usize = if WIDE { 360 } else { 348 };

pub(super) fn read(root: &Path, logins: &mut Logins) {
    let linked = root.join("var/run").is_symlink();
    let files = if linked { &FILES[..1] } else { &FILES };
    let Some(bytes) = files.iter().find_map(|file| logins.bytes(root, file, MOST_BYTES)) else { return };
    let records = || bytes.chunks_exact(SIZE);
    logins.utmp = records().any(|record| number::<2>(record, 0) != Some(0));
    logins.all.extend(records().filter_map(login));
    if bytes.len() % SIZE != 0 {
        logins.parts.push(format!("utmp: its last {} bytes are no record", bytes.len() % SIZE));
    }
}

fn login(record: &[u8]) -> Option<Login> {
    if number::<2>(record, 0) != Some(u64::from(USER)) {
        return None;
    }
    let seconds = match WIDE {
        true => number::<8>(record, SECONDS)?.cast_signed(),
        // Until 2106: what is written there are the lower bits.
        false => i64::try_from(number::<4>(record, SECONDS)?).ok()?,
    };
    let user = text(record, 44, 32)?;
    Some(Login {
        user: Some(user),
        tty: text(record, 8, 32),
        from: text(record, 76, 256).or_else(|| address(record)),
        leader: number::<4>(record, 4).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
        since: seconds.checked_mul(1_000_000_000).filter(|since| *since != 0).map(Time),
        ..Login::of(Source::Utmp)
    })
}

/// A number in the host's order.
fn number<const BYTES: usize>(record: &[u8], at: usize) -> Option<u64> {
    let bytes: [u8; BYTES] = record.get(at..at + BYTES)?.try_into().ok()?;
    let mut wide = [0; 8];
    match cfg!(target_endian = "little") {
        true => wide.get_mut(..BYTES)?.copy_from_slice(&bytes),
        false => wide.get_mut(8 - BYTES..)?.copy_from_slice(&bytes),
    }
    Some(u64::from_ne_bytes(wide))
}

/// A text that ends at the first zero, or fills its place.
fn text(record: &[u8], at: usize, most: usize) -> Option<Text> {
    let bytes = record.get(at..at + most)?;
    filled(bytes.split(|byte| *byte == 0).next()?)
}

/// The address, in the network's order; IPv4 where the last three words are zero.
fn address(record: &[u8]) -> Option<Text> {
    let bytes: [u8; 16] = record.get(ADDRESS..ADDRESS + 16)?.try_into().ok()?;
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    let address = match rest.iter().all(|byte| *byte == 0) {
        true if *first == [0; 4] => return None,
        true => IpAddr::from(*first),
        false => IpAddr::from(bytes).to_canonical(),
    };
    Some(Text::from(address.to_string()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record, as a program that lets somebody in writes it.
    pub(crate) fn record(kind: u16, pid: u32, line: &str, user: &str, host: &str, seconds: u32) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &kind.to_ne_bytes());
        put(4, &pid.to_ne_bytes());
        put(8, line.as_bytes());
        put(44, user.as_bytes());
        put(76, host.as_bytes());
        put(SECONDS, &seconds.to_ne_bytes());
        put(ADDRESS, &[192, 0, 2, 9]);
        bytes
    }

    #[test]
    fn records_of_users_are_read() {
        let all = login(&record(7, 812, "pts/0", "alice", "client.example", 1_764_180_000)).unwrap();
        assert_eq!((all.leader, all.tty), (Some(812), Some(Text::from("pts/0"))));
        assert_eq!((all.user, all.from), (Some(Text::from("alice")), Some(Text::from("client.example"))));
        assert_eq!(all.since, Some(Time(1_764_180_000_000_000_000)));
        let by_address = login(&record(7, 812, &"x".repeat(32), "alice", "", 1)).unwrap();
        assert_eq!(by_address.from, Some(Text::from("192.0.2.9")));
        assert_eq!(by_address.tty.unwrap().len(), 32, "a text that fills its place has no zero");
        assert_eq!(login(&record(8, 812, "pts/0", "alice", "", 1)), None, "it has ended");
        assert_eq!(login(&record(7, 812, "pts/0", "", "", 1)), None);
    }

    #[test]
    fn any_length_is_read_safely() {
        let whole = record(7, 1, "tty1", "root", "", 5);
        assert!((0..whole.len()).all(|length| login(&whole[..length]).is_none() || length >= SECONDS + 4));
    }
}
