//! The SHA-256 of a file, and copies that are named by it.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
};

use sha2::{Digest as _, Sha256};

use crate::record::Text;

/// How much is read at once, bytes.
const PIECE: usize = 256 * 1024;
/// And least, of however small a file.
const LEAST: usize = 32 * 1024;

/// What a file's bytes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// 64 hexadecimal digits.
    pub sha256: Text,
    /// How many bytes there were.
    pub size: u64,
}

/// Reads a file from its start, whatever its descriptor's position; none when it has more than `most` bytes.
///
/// # Errors
/// When it can't be read.
pub fn digest(file: &File, most: u64) -> io::Result<Option<Digest>> {
    copy(file, &mut io::sink(), most)
}

/// The same, and writes what it reads.
///
/// # Errors
/// When it can't be read or written.
pub fn copy(file: &File, to: &mut impl Write, most: u64) -> io::Result<Option<Digest>> {
    // What isn't read need not be cleared. What it says of its size is only a hint: it may grow, or be of /proc.
    let room = usize::try_from(file.metadata()?.len()).map_or(PIECE, |size| size.clamp(LEAST, PIECE));
    let (mut piece, mut size, mut hash) = (vec![0; room], 0_u64, Sha256::new());
    loop {
        let read = match file.read_at(&mut piece, size) {
            Ok(0) => return Ok(Some(Digest { sha256: hexadecimal(&hash.finalize()), size })),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = piece.get(..read).unwrap_or_default();
        size = size.saturating_add(read as u64);
        if size > most {
            return Ok(None);
        }
        hash.update(bytes);
        to.write_all(bytes)?;
    }
}

/// As hexadecimal digits.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> Text {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    Text::from(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_and_its_hash() {
        let path = std::env::temp_dir().join(format!("sensor-digest-{}", std::process::id()));
        let bytes: Vec<u8> = (0..PIECE * 2 + 3).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        let mut copied = Vec::new();
        let found = copy(&file, &mut copied, u64::MAX).unwrap().unwrap();
        assert_eq!((found.size, &copied), (bytes.len() as u64, &bytes));
        assert_eq!(digest(&file, bytes.len() as u64).unwrap(), Some(found));
        assert_eq!(digest(&file, bytes.len() as u64 - 1).unwrap(), None);
        std::fs::write(&path, b"abc").unwrap();
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(&file, 3).unwrap().unwrap().sha256.as_bytes(), known.as_bytes());
        std::fs::remove_file(&path).unwrap();
    }
}
