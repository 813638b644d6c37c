//! Puts a finished file where others read it: at once, and only when it changes something.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// Makes `path` hold `bytes`. A file that already does is left alone, so that nothing is rebuilt
/// for it; readers see the old file or the new one, never a part.
pub(crate) fn place(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    fs::write(&draft, bytes).map_err(Error::file("write", &draft))?;
    fs::rename(&draft, path).map_err(Error::file("replace", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_an_equal_file_alone() {
        let folder = std::env::temp_dir().join(format!("place-{}", std::process::id()));
        let path = folder.join("file");
        place(&path, b"one").unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        place(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        place(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
