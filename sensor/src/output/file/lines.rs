//! Where the whole lines of a file end.

use std::{fs::File, io, os::unix::fs::FileExt};

/// How much is read at once, and longest piece of a line that is cut off.
const STEP: u64 = 64 * 1024;
const TORN_MOST: u64 = 16 << 20;

/// The end of its last whole line: of a file of lines its end, unless its writer was ended in the middle of one.
///
/// # Errors
/// When it can't be read, or there is no end of a line far and wide.
pub(super) fn whole(file: &File, len: u64) -> io::Result<u64> {
    let mut buffer = vec![0; STEP as usize];
    let mut end = len;
    while end > 0 && len - end < TORN_MOST {
        let start = end.saturating_sub(STEP);
        let piece = buffer.get_mut(..(end - start) as usize).unwrap_or_default();
        file.read_exact_at(piece, start)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    match end {
        0 => Ok(0),
        _ => Err(io::Error::other("it holds no lines: is it the right file?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(bytes: &[u8]) -> io::Result<u64> {
        let path = std::env::temp_dir().join(format!("sensor-lines-{}-{}", std::process::id(), bytes.len()));
        std::fs::write(&path, bytes).unwrap();
        let result = whole(&File::open(&path).unwrap(), bytes.len() as u64);
        std::fs::remove_file(path).unwrap();
        result
    }

    #[test]
    fn the_last_whole_line_is_found_however_long_the_torn_one_is() {
        assert_eq!(end(b"").unwrap(), 0);
        assert_eq!(end(b"a\nbc\n").unwrap(), 5);
        assert_eq!(end(b"a\nbcd").unwrap(), 2);
        assert_eq!(end(b"torn").unwrap(), 0);
        for torn in [STEP, STEP - 1, STEP + 1, 5 * STEP] {
            let bytes = [b"whole\n", &*vec![b'x'; torn as usize]].concat();
            assert_eq!(end(&bytes).unwrap(), 6, "{torn}");
        }
        assert!(end(&vec![b'x'; TORN_MOST as usize + 2]).is_err());
    }
}
