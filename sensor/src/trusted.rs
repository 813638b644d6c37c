//! Files that only root or we ourselves could have made as they are, and the keys and passwords in them.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::{fcntl::OFlag, unistd::geteuid};

/// Longest key: tokens that say who they are for may be long.
const LONGEST: u64 = 8192;
/// What nobody else may do with a file that holds one.
pub const SECRET: (u32, &str) = (0o077, "read it");

/// Opens a file that only root or we ourselves could have made so, and on which nobody else has one of these permissions.
///
/// # Errors
/// When it can't be opened, or isn't so; in a few words.
pub fn open(path: &Path, forbidden: u32, what_others_may: &str) -> Result<File, String> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let file = file.map_err(|error| error.to_string())?;
    let facts = file.metadata().map_err(|error| error.to_string())?;
    if !facts.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if facts.uid() != 0 && facts.uid() != geteuid().as_raw() {
        return Err(format!("it belongs to user {}: chown root", facts.uid()));
    }
    if facts.mode() & forbidden != 0 {
        let mode = facts.mode() & 0o7777 & !forbidden;
        return Err(format!("others may {what_others_may}: chmod {mode:o}"));
    }
    Ok(file)
}

/// Whether only root can put another file in the place of this one: it and all folders above it are root's, and nobody else
/// may write to them. `path`: without links.
#[must_use]
pub fn is_roots(path: &Path) -> bool {
    let safe =
        |path: &Path| fs::metadata(path).is_ok_and(|facts| facts.uid() == 0 && facts.mode() & 0o022 == 0);
    path.is_absolute() && path.ancestors().all(safe)
}

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
        let text = bounded(path)?;
        let key = text.as_deref().unwrap_or_default().trim();
        // It becomes a header of a request.
        match key.bytes().all(|byte| byte.is_ascii_graphic()) && !key.is_empty() {
            true => Ok(Self(key.to_owned())),
            false => Err("it holds no key: one line of letters and digits".to_owned()),
        }
    }

    /// Reads a password: one line, of whatever letters.
    ///
    /// # Errors
    /// When there is none, or others may read it; in a few words.
    pub fn read_password(path: &Path) -> Result<Self, String> {
        let text = bounded(path)?;
        let line = text.as_deref().unwrap_or_default().trim_end_matches(['\r', '\n']);
        match line.chars().any(char::is_control) || line.is_empty() {
            true => Err("it holds no password: one line".to_owned()),
            false => Ok(Self(line.to_owned())),
        }
    }

    /// As a part of something else that is to be kept as it.
    #[must_use]
    pub fn map(self, make: impl FnOnce(&str) -> String) -> Self {
        Self(make(&self.0))
    }

    /// As the service wants it.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }
}

/// What such a file holds; none when that is too long.
fn bounded(path: &Path) -> Result<Option<String>, String> {
    let mut text = String::new();
    let (forbidden, what) = SECRET;
    let file = open(path, forbidden, what)?;
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok((text.len() as u64 <= LONGEST).then_some(text))
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
        for wrong in ["", "\n", "a b", "a\r\nb", "ä", &"x".repeat(8193)] {
            assert!(read(wrong, 0o600).is_err(), "{wrong:?}");
        }
        let password = |text: &str| {
            fs::write(&path, text).unwrap();
            Key::read_password(&path).map(|key| key.get().to_owned())
        };
        assert_eq!(password(" p\u{e4}ss w\r\n"), Ok(" p\u{e4}ss w".to_owned()));
        assert!(password("\n").is_err() && password("a\nb").is_err() && password("a\u{1b}b").is_err());
        fs::remove_file(&path).unwrap();
        assert!(Key::read(&path).is_err() && Key::read(Path::new("/dev/zero")).is_err());
    }
}
