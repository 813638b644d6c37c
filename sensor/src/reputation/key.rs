//! The key of a service, from a file that only its owner may read.

use std::{fmt, io::Read, path::Path};

use super::lists::trusted;

/// Longest key.
const LONGEST: u64 = 512;

/// A key: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// Reads it.
    ///
    /// # Errors
    /// When there is none, others may read it, or it is no key; in a few words.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut text = String::new();
        let file = trusted(path, 0o077, "read it")?;
        file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
        let key = text.trim();
        // It becomes a header of a request.
        let plain = key.bytes().all(|byte| byte.is_ascii_graphic());
        match plain && !key.is_empty() && text.len() as u64 <= LONGEST {
            true => Ok(Self(key.to_owned())),
            false => Err("it holds no key: one line of letters and digits".to_owned()),
        }
    }

    /// As the service wants it.
    pub(super) fn get(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_key_is_one_word_that_nobody_else_may_read() {
        let path = std::env::temp_dir().join(format!("sensor-key-{}", std::process::id()));
        let read = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Key::read(&path)
        };
        let key = read("0123abc\n", 0o600).unwrap();
        assert_eq!((key.get(), format!("{key:?}").as_str()), ("0123abc", "Key(…)"));
        assert_eq!(read("x", 0o640), Err("others may read it: chmod 600".to_owned()));
        for wrong in ["", "\n", "a b", "a\r\nb", "ä", &"x".repeat(513)] {
            assert!(read(wrong, 0o600).is_err(), "{wrong:?}");
        }
        fs::remove_file(&path).unwrap();
        assert!(Key::read(&path).is_err() && Key::read(Path::new("/dev/zero")).is_err());
    }
}
