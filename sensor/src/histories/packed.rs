//! Logs that were packed with gzip, which anybody who could write them may have made a trap: what is small when packed can
//! be endless.

use std::io::Read;

use flate2::read::MultiGzDecoder;

/// Most bytes that are unpacked of one file.
const MOST_UNPACKED: u64 = 64 * 1024 * 1024;

/// What was unpacked, and why that isn't all.
pub(super) struct Unpacked {
    /// Its lines, as far as they could be had.
    pub(super) bytes: Vec<u8>,
    /// What is missing.
    pub(super) missing: Option<String>,
}

/// Unpacks a file, also one of several parts; `cut`: these are not all of its bytes.
pub(super) fn unpack(packed: &[u8], cut: bool) -> Unpacked {
    unpack_at_most(packed, cut, MOST_UNPACKED)
}

fn unpack_at_most(packed: &[u8], cut: bool, most: u64) -> Unpacked {
    let mut bytes = Vec::new();
    // What came before the end or the fault stays.
    let read = MultiGzDecoder::new(packed).take(most + 1).read_to_end(&mut bytes);
    let missing = match read {
        _ if bytes.len() as u64 > most => Some(format!("only its first {most} bytes are unpacked")),
        Err(_) if cut => Some(format!("only its first {} packed bytes are read", packed.len())),
        Err(error) => Some(format!("it can't be unpacked to its end ({error})")),
        Ok(_) => None,
    };
    bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Unpacked { bytes, missing }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn parts_are_unpacked_one_after_the_other() {
        let both = [pack(b"one\n"), pack(b"two\n")].concat();
        let unpacked = unpack(&both, false);
        assert_eq!((unpacked.bytes.as_slice(), unpacked.missing), (&b"one\ntwo\n"[..], None));
    }

    #[test]
    fn of_a_cut_or_broken_file_the_beginning_is_told() {
        let text: Vec<u8> = (0..4000_u32).flat_map(|number| format!("{number}\n").into_bytes()).collect();
        let whole = pack(&text);
        for end in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
            for cut in [false, true] {
                let unpacked = unpack(&whole[..end], cut);
                assert!(text.starts_with(&unpacked.bytes), "{end}");
                assert!(unpacked.missing.is_some(), "{end}");
            }
        }
        assert!(!unpack(&whole[..whole.len() - 8], false).bytes.is_empty());
        let mut wrong = whole;
        let middle = wrong.len() / 2;
        wrong[middle] ^= 0xff;
        assert!(unpack(&wrong, false).missing.is_some());
        for no_archive in [&b"x"[..], b"\x1f\x8b", b"\x1f\x8b\x08\x1c\xff\xff"] {
            let unpacked = unpack(no_archive, false);
            assert!(unpacked.bytes.is_empty() && unpacked.missing.is_some());
        }
    }

    #[test]
    fn what_unpacks_without_end_is_bounded() {
        let bomb = pack(&vec![b'a'; 4 << 20]);
        assert!(bomb.len() < 8192, "it is one: {}", bomb.len());
        let unpacked = unpack_at_most(&bomb, false, 1000);
        assert_eq!(unpacked.bytes.len(), 1000);
        assert_eq!(unpacked.missing.as_deref(), Some("only its first 1000 bytes are unpacked"));
        assert_eq!(unpack_at_most(&bomb, false, 4 << 20).missing, None);
    }
}
