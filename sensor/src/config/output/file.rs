//! `type = "file"`.

use std::{
    num::NonZero,
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

/// A file of lines, and the older ones beside it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Which; older ones are called `PATH.1`, `PATH.2` and so on.
    pub path: WholePath,
    /// When it has so many bytes the next one is begun; 0 for never.
    #[serde(default)]
    pub max_bytes: RotateBytes,
    /// When its first event is so many seconds older than the next, the next one is begun; 0 for never.
    #[serde(default)]
    pub max_age_s: RotateAge,
    /// How many older ones are kept.
    #[serde(default)]
    pub keep: Keep,
}

/// A path from the root on that names a file, without `..`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PathBuf")]
pub struct WholePath(PathBuf);

impl WholePath {
    /// It.
    #[must_use]
    pub fn get(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<PathBuf> for WholePath {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, String> {
        let plain = path.components().all(|part| !matches!(part, Component::ParentDir));
        let named = path.file_name().is_some() && !path.as_os_str().as_encoded_bytes().ends_with(b"/");
        match path.is_absolute() && plain && named {
            true => Ok(Self(path)),
            false => {
                Err(format!("{} is no whole path of a file: give one that begins with /", path.display()))
            }
        }
    }
}

/// Size at which a file is put aside, bytes; none for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct RotateBytes(Option<NonZero<u64>>);

impl RotateBytes {
    /// Smallest: less is one event.
    const LEAST: u64 = 64 * 1024;

    /// How many.
    #[must_use]
    pub fn get(self) -> Option<NonZero<u64>> {
        self.0
    }
}

impl Default for RotateBytes {
    fn default() -> Self {
        Self(NonZero::new(100 << 20))
    }
}

impl TryFrom<u64> for RotateBytes {
    type Error = String;

    fn try_from(bytes: u64) -> Result<Self, String> {
        match bytes {
            0 | Self::LEAST.. => Ok(Self(NonZero::new(bytes))),
            _ => Err(format!(
                "{bytes} bytes are too few for a file: give {} or more, or 0 for never",
                Self::LEAST
            )),
        }
    }
}

/// Age at which a file is put aside, seconds; none for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct RotateAge(Option<NonZero<u32>>);

impl RotateAge {
    /// How many.
    #[must_use]
    pub fn get(self) -> Option<NonZero<u32>> {
        self.0
    }
}

impl TryFrom<u64> for RotateAge {
    type Error = String;

    fn try_from(seconds: u64) -> Result<Self, String> {
        match u32::try_from(seconds) {
            Ok(seconds @ (0 | 60..=31_622_400)) => Ok(Self(NonZero::new(seconds))),
            _ => Err(format!("{seconds} is no age for a file: give 60 to 31622400 seconds, or 0 for never")),
        }
    }
}

/// How many older files are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Keep(u16);

impl Keep {
    /// How many.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self(10)
    }
}

impl TryFrom<u64> for Keep {
    type Error = String;

    fn try_from(count: u64) -> Result<Self, String> {
        match u16::try_from(count) {
            Ok(count @ 1..=1000) => Ok(Self(count)),
            _ => Err(format!("{count} is no number of files to keep: give 1 to 1000")),
        }
    }
}
