//! What is kept in the folder, within bounds of size, age and number.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    digest::digest,
    folder::{Folder, FolderError, Name, Runner},
};
use crate::{config, record::Text};

/// Most runners that are noted of one executable; the first is kept, and the last.
const RUNNERS_MOST: usize = 32;
/// Most executables.
const IMAGES_MOST: usize = 4096;
/// What was begun so long ago will not be finished, seconds.
const UNFINISHED: u64 = 3600;

/// An executable that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Its hash.
    pub sha256: Text,
    /// Bytes.
    pub size: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// Why an executable isn't kept.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says what it is in its message")]
pub enum Missing {
    #[error("it has {size} bytes, more than are kept of one file (evidence.max_file_bytes)")]
    TooLarge { size: u64 },
    #[error("it could not be kept: {0}")]
    Failed(#[from] io::Error),
}

/// The folder and what is in it.
pub struct Store {
    folder: Folder,
    limits: config::Evidence,
    images: HashMap<Text, Image>,
    /// How often something was kept.
    kept: u64,
}

#[derive(Default)]
struct Image {
    size: u64,
    /// When it was last kept: seconds, for its age.
    when: u64,
    /// At which time of keeping, for who goes first: many are kept in a second, and clocks are set back.
    turn: u64,
    /// Names of the files that say who ran it, oldest first.
    runners: VecDeque<String>,
}

impl Store {
    /// What is in a folder, which is made where it isn't there.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn open(path: &Path, limits: &config::Evidence, now: u64) -> Result<Self, FolderError> {
        let folder = Folder::make(path)?;
        let mut store = Self { folder, limits: limits.clone(), images: HashMap::new(), kept: 0 };
        store.look();
        store.bound(now, 0);
        Ok(store)
    }

    /// Reads what is there. What can't be listed is not counted, and stays.
    fn look(&mut self) {
        let mut entries = self.folder.entries().unwrap_or_default();
        entries.sort_by_key(|entry| entry.when);
        for entry in entries {
            match entry.name {
                Name::Image(sha256) => {
                    let image = self.images.entry(sha256).or_default();
                    self.kept += 1;
                    (image.size, image.when, image.turn) = (entry.size, entry.when, self.kept);
                }
                Name::Runner(runner) => {
                    self.images.entry(runner.sha256).or_default().runners.push_back(entry.file);
                }
                Name::Unfinished => {}
            }
        }
    }

    /// Keeps an executable, and who ran it.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn keep(&mut self, file: &File, runners: &[(Text, u32)], now: u64) -> Result<Captured, Missing> {
        let size = file.metadata()?.len();
        let most = self.limits.max_file_bytes.min(self.limits.max_bytes);
        let too_large = |size| Missing::TooLarge { size };
        if size > most {
            return Err(too_large(size));
        }
        let mut found = digest(file, most)?.ok_or_else(|| too_large(size))?;
        if !self.folder.holds(&found) {
            self.bound(now, size);
            // It may have been written to since: named by what is there.
            found = self.folder.put(file, most)?.ok_or_else(|| too_large(size))?;
        }
        let image = self.images.entry(found.sha256.clone()).or_default();
        self.kept += 1;
        (image.size, image.when, image.turn) = (found.size, now, self.kept);
        self.note(&found.sha256, runners)?;
        self.bound(now, 0);
        let path = self.folder.path_of(&found.sha256);
        Ok(Captured { sha256: found.sha256, size: found.size, path })
    }

    fn note(&mut self, sha256: &Text, runners: &[(Text, u32)]) -> io::Result<()> {
        let Some(image) = self.images.get_mut(sha256) else { return Ok(()) };
        for (entity, pid) in runners.iter().take(RUNNERS_MOST) {
            let runner = Runner { sha256: sha256.clone(), entity: entity.clone(), pid: *pid };
            let name = runner.name();
            if image.runners.contains(&name) {
                continue;
            }
            self.folder.note(&runner)?;
            image.runners.push_back(name);
            if image.runners.len() > RUNNERS_MOST {
                // The first stays: it is whose alert was the first.
                image.runners.remove(1).iter().for_each(|name| self.folder.remove(name));
            }
        }
        Ok(())
    }

    /// Removes what is too old, and the oldest until so many more bytes have room.
    pub fn bound(&mut self, now: u64, more: u64) {
        let old = now.saturating_sub(self.limits.max_age_s);
        let mut order: Vec<_> =
            self.images.iter().map(|(sha256, image)| (image.turn, image.when, sha256.clone())).collect();
        order.sort_unstable();
        let mut sum = self.bytes().saturating_add(more);
        for (_, when, sha256) in order {
            let full = sum > self.limits.max_bytes || self.images.len() > IMAGES_MOST;
            if when >= old && !full {
                continue;
            }
            let Some(image) = self.images.remove(&sha256) else { continue };
            sum = sum.saturating_sub(image.size);
            self.folder.remove(&sha256.to_str_lossy());
            image.runners.iter().for_each(|name| self.folder.remove(name));
        }
    }

    /// Removes what was begun and never finished, by this run or one that was killed.
    pub fn clear(&self, now: u64) {
        let entries = self.folder.entries().unwrap_or_default();
        let stale =
            |name: &Name, when: u64| *name == Name::Unfinished && when.saturating_add(UNFINISHED) < now;
        for entry in entries.iter().filter(|entry| stale(&entry.name, entry.when)) {
            self.folder.remove(&entry.file);
        }
    }

    /// How much is kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.images.values().map(|image| image.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sensor-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    fn keep(store: &mut Store, place: &Path, text: &str, pid: u32, now: u64) -> Result<Captured, Missing> {
        let source = place.join("source");
        fs::write(&source, text).unwrap();
        let entity = Text::from(format!("{pid:032x}"));
        store.keep(&File::open(&source).unwrap(), &[(entity, pid)], now)
    }

    fn names(path: &Path) -> usize {
        fs::read_dir(path).unwrap().count()
    }

    #[test]
    fn the_oldest_makes_room_and_takes_its_runners_along() {
        let place = place("bounds");
        let path = place.join("evidence");
        let limits = config::Evidence {
            max_bytes: 10,
            max_file_bytes: 8,
            max_age_s: 100,
            ..config::Evidence::default()
        };
        let mut store = Store::open(&path, &limits, 1000).unwrap();
        assert!(matches!(keep(&mut store, &place, "123456789", 1, 1000), Err(Missing::TooLarge { size: 9 })));
        let first = keep(&mut store, &place, "12345", 1, 1000).unwrap();
        let second = keep(&mut store, &place, "abcde", 2, 1000).unwrap();
        assert_eq!((store.bytes(), names(&path)), (10, 4));
        assert_eq!(
            keep(&mut store, &place, "12345", 3, 1000).unwrap(),
            first,
            "it is kept once, and newer now"
        );
        keep(&mut store, &place, "ABC", 4, 1003).unwrap();
        assert!(first.path.exists() && !second.path.exists());
        assert_eq!((store.bytes(), names(&path)), (8, 5));
        store.bound(1103, 0);
        assert_eq!(store.bytes(), 3, "what is too old goes");
        let mut again = Store::open(&path, &limits, 0).unwrap();
        assert_eq!(again.bytes(), 3);
        again.bound(u64::MAX, 0);
        assert_eq!((again.bytes(), names(&path)), (0, 0));
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn runners_are_bounded_and_the_first_stays() {
        let place = place("runners");
        let path = place.join("evidence");
        let mut store = Store::open(&path, &config::Evidence::default(), 1000).unwrap();
        for pid in 1..=100 {
            keep(&mut store, &place, "x", pid, 1000).unwrap();
        }
        assert_eq!(names(&path), 1 + RUNNERS_MOST);
        let runner = |pid: u32| {
            fs::read_dir(&path)
                .unwrap()
                .any(|entry| entry.unwrap().file_name().to_string_lossy().ends_with(&format!(".{pid}")))
        };
        assert!(runner(1) && runner(100) && !runner(2));
        fs::write(path.join("tmp-1-1"), b"").unwrap();
        store.clear(0);
        assert!(path.join("tmp-1-1").exists());
        store.clear(u64::MAX);
        assert!(!path.join("tmp-1-1").exists());
        fs::remove_dir_all(&place).unwrap();
    }
}
