//! Files that run, held open: what an open descriptor leads to stays, whatever becomes of its names.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};

use crate::{
    event::{Running, exe_deleted::inner},
    record::Text,
};

/// How many seconds a file stays held that nobody runs any more: an alert about it may still come.
const PATIENCE: u64 = 2;
/// Most hashes of files that aren't held any more.
const KNOWN_MOST: usize = 8192;

/// Which file: its device as the kernel has it inside, none where the files of one device have several (btrfs), and its inode
/// number. While it is held, no other file has these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Which {
    device: Option<u32>,
    inode: u64,
}

/// A file in one state: what is written to it, or done to its names, changes the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Which file.
    pub which: Which,
    /// When it was last changed (`st_ctime`), nanoseconds since the epoch.
    pub ctime: u64,
    /// Its size, bytes.
    pub size: u64,
}

impl State {
    /// Whether a process runs the file in this state.
    #[must_use]
    pub fn is_of(&self, running: &Running) -> bool {
        let same = self.which.device.is_none_or(|device| device == running.device);
        same && self.which.inode == running.inode && self.ctime == running.ctime
    }

    /// Of an open file; none when it is no regular one.
    ///
    /// # Errors
    /// When it can't be asked.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        let facts = file.metadata()?;
        let seconds = u64::try_from(facts.ctime()).unwrap_or(0);
        let ctime = seconds * 1_000_000_000 + u64::try_from(facts.ctime_nsec()).unwrap_or(0);
        let device = match fstatfs(file)?.filesystem_type() {
            BTRFS_SUPER_MAGIC => None,
            _ => Some(inner(facts.dev())),
        };
        let which = Which { device, inode: facts.ino() };
        Ok(facts.is_file().then_some(Self { which, ctime, size: facts.len() }))
    }
}

/// One that is held.
struct Entry {
    file: Arc<File>,
    state: State,
    sha256: Option<Text>,
    /// The last beat in which it was run or executed.
    beat: u64,
}

/// All of them.
pub struct Held {
    inside: Mutex<Inside>,
    most: usize,
}

#[derive(Default)]
struct Inside {
    entries: HashMap<Which, Entry>,
    known: HashMap<State, Text>,
    beat: u64,
}

/// What became of a file that was to be held.
pub enum Taken {
    /// It is held, and was before.
    Before,
    /// It is held from now on, and its hash isn't known.
    New(State, Arc<File>),
    /// It is held from now on, and its hash is known.
    Known(State, Text),
    /// It is none that can be held.
    Refused,
}

impl Held {
    /// At most so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { inside: Mutex::default(), most: most.max(1) }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a file. What has to make room for it goes to `closed`.
    pub fn take(&self, file: File, closed: &mut Vec<Arc<File>>) -> Taken {
        let Ok(Some(state)) = State::of(&file) else { return Taken::Refused };
        let mut guard = self.inside();
        let inside = &mut *guard;
        let beat = inside.beat;
        if let Some(entry) = inside.entries.get_mut(&state.which).filter(|entry| entry.state == state) {
            entry.beat = beat;
            return Taken::Before;
        }
        if inside.entries.len() >= self.most && !inside.entries.contains_key(&state.which) {
            let oldest = inside.entries.iter().min_by_key(|(_, entry)| entry.beat).map(|(which, _)| *which);
            closed.extend(oldest.and_then(|which| inside.entries.remove(&which)).map(|entry| entry.file));
        }
        let sha256 = inside.known.get(&state).cloned();
        let file = Arc::new(file);
        let entry = Entry { file: Arc::clone(&file), state, sha256: sha256.clone(), beat };
        closed.extend(inside.entries.insert(state.which, entry).map(|before| before.file));
        match sha256 {
            Some(sha256) => Taken::Known(state, sha256),
            None => Taken::New(state, file),
        }
    }

    /// What is known of a file that runs: whether it is held in that state or a later one, and its hash as it was when it was
    /// executed.
    #[must_use]
    pub fn known(&self, running: &Running) -> (bool, Option<Text>) {
        let mut inside = self.inside();
        let beat = inside.beat;
        let Some(entry) = inside.entry(running).filter(|entry| entry.state.ctime >= running.ctime) else {
            return (false, None);
        };
        entry.beat = beat;
        let same = entry.state.ctime == running.ctime;
        (true, entry.sha256.clone().filter(|_| same))
    }

    /// A file that runs, or ran. One that has a name is not one that has none: its number was used again.
    #[must_use]
    pub fn get(&self, running: &Running) -> Option<Arc<File>> {
        let file = self.inside().entry(running).map(|entry| Arc::clone(&entry.file))?;
        let named = file.metadata().is_ok_and(|facts| facts.nlink() != 0);
        (running.nlink != 0 || !named).then_some(file)
    }

    /// The hash of a file in this state was found.
    pub fn hashed(&self, state: State, sha256: &Text) {
        let mut inside = self.inside();
        if inside.known.len() >= KNOWN_MOST {
            inside.known.clear();
        }
        inside.known.insert(state, sha256.clone());
        if let Some(entry) = inside.entries.get_mut(&state.which).filter(|entry| entry.state == state) {
            entry.sha256 = Some(sha256.clone());
        }
    }

    /// A second has passed, and these run. `closing` is called with each file that nobody runs any more, before it is let go.
    pub fn keep<'r>(
        &self,
        running: impl Iterator<Item = &'r Running>,
        mut closing: impl FnMut(&File),
    ) -> Vec<Arc<File>> {
        let mut inside = self.inside();
        inside.beat += 1;
        let beat = inside.beat;
        for running in running {
            if let Some(entry) = inside.entry(running) {
                entry.beat = beat;
            }
        }
        inside.drop_those(|entry| beat - entry.beat > PATIENCE, &mut closing)
    }

    /// Somebody ended on these devices: what nobody runs there is let go of at once.
    pub fn release<'r>(
        &self,
        devices: &HashSet<u32>,
        running: impl Iterator<Item = &'r Running>,
        mut closing: impl FnMut(&File),
    ) -> Vec<Arc<File>> {
        let mut inside = self.inside();
        let on = |running: &&Running| devices.contains(&running.device);
        let kept: HashSet<_> = running.filter(on).filter_map(|running| inside.which(running)).collect();
        let there = |which: Which| which.device.is_some_and(|device| devices.contains(&device));
        inside
            .drop_those(|entry| there(entry.state.which) && !kept.contains(&entry.state.which), &mut closing)
    }
}

impl Inside {
    /// Which of those that are held a process runs. Where devices don't tell, only when no other has that number.
    fn which(&self, running: &Running) -> Option<Which> {
        let exact = Which { device: Some(running.device), inode: running.inode };
        let any = Which { device: None, inode: running.inode };
        [exact, any].into_iter().find(|which| self.entries.contains_key(which))
    }

    fn entry(&mut self, running: &Running) -> Option<&mut Entry> {
        let which = self.which(running)?;
        self.entries.get_mut(&which)
    }

    fn drop_those(
        &mut self,
        those: impl Fn(&Entry) -> bool,
        closing: &mut impl FnMut(&File),
    ) -> Vec<Arc<File>> {
        let out = self.entries.extract_if(|_, entry| those(entry));
        out.map(|(_, entry)| {
            closing(&entry.file);
            entry.file
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (std::path::PathBuf, Running) {
        let path = std::env::temp_dir().join(format!("sensor-held-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let state = State::of(&File::open(&path).unwrap()).unwrap().unwrap();
        let (device, inode) = (state.which.device.unwrap_or(0), state.which.inode);
        (path, Running { device, inode, ctime: state.ctime, nlink: 1, ..Running::default() })
    }

    fn take(held: &Held, path: &std::path::Path, closed: &mut Vec<Arc<File>>) -> Taken {
        held.take(File::open(path).unwrap(), closed)
    }

    #[test]
    fn holds_hashes_and_lets_go() {
        let (path, running) = file("one", "abc");
        let (held, mut closed) = (Held::new(8), Vec::new());
        let Taken::New(state, _) = take(&held, &path, &mut closed) else { panic!("it is new") };
        assert!(matches!(take(&held, &path, &mut closed), Taken::Before));
        assert_eq!(held.known(&running), (true, None));
        held.hashed(state, &Text::from("ba78"));
        assert_eq!(held.known(&running), (true, Some(Text::from("ba78"))));
        let changed = Running { ctime: running.ctime + 1, ..running };
        assert_eq!(held.known(&changed), (false, None), "it was changed before it was executed");
        let changed = Running { ctime: running.ctime - 1, ..running };
        assert_eq!(held.known(&changed), (true, None), "it was changed since");
        for beat in 0..=PATIENCE {
            let mut named = 0;
            let gone = held.keep([].into_iter(), |_| named += 1);
            assert_eq!((gone.len(), named), if beat == PATIENCE { (1, 1) } else { (0, 0) });
        }
        assert_eq!(held.known(&running), (false, None));
        assert!(matches!(take(&held, &path, &mut closed), Taken::Known(..)), "its hash is remembered");
        let here = HashSet::from([running.device]);
        assert!(held.release(&here, [&running].into_iter(), |_| ()).is_empty(), "somebody runs it");
        assert_eq!(held.release(&here, [].into_iter(), |_| ()).len(), 1);
        assert!(held.inside().entries.is_empty() && closed.is_empty());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_was_written_to_is_hashed_anew() {
        let (path, running) = file("two", "abc");
        let (held, mut closed) = (Held::new(8), Vec::new());
        assert!(matches!(take(&held, &path, &mut closed), Taken::New(..)));
        std::fs::write(&path, "abcd").unwrap();
        assert!(matches!(take(&held, &path, &mut closed), Taken::New(..)));
        assert_eq!((closed.len(), held.inside().entries.len()), (1, 1));
        assert!(held.get(&running).is_some());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_one_that_was_run_longest_ago_makes_room() {
        let ((one, first), (two, second)) = (file("three", "1"), file("four", "2"));
        let (held, mut closed) = (Held::new(1), Vec::new());
        take(&held, &one, &mut closed);
        take(&held, &two, &mut closed);
        assert_eq!((closed.len(), held.inside().entries.len()), (1, 1));
        assert!(held.get(&first).is_none() && held.get(&second).is_some());
        assert!(matches!(held.take(File::open("/dev/null").unwrap(), &mut closed), Taken::Refused));
        std::fs::remove_file(&one).unwrap();
        std::fs::remove_file(&two).unwrap();
    }
}
