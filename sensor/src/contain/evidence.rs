//! What they execute, kept before they end: each file once, with who ran it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::mpsc::channel,
    time::Duration,
};

use crate::{
    background, config,
    event::{Key, Running},
    evidence::{Captured, Store},
    procfs::Reader,
    record::Text,
};

/// How long one file may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file that runs: device, inode, change time, generation.
type File = (u32, u64, u64, u32);

/// Which file it is; none of what executes none.
fn file_of(running: &Running) -> Option<File> {
    (running.inode != 0).then_some((running.device, running.inode, running.ctime, running.generation))
}

/// What was kept.
#[derive(Debug, Default)]
pub struct Kept {
    files: HashMap<File, Result<Captured, String>>,
    /// Why nothing is kept at all, or not all was tried.
    pub told: Option<String>,
}

impl Kept {
    /// What became of a file; none where it wasn't tried.
    #[must_use]
    pub fn of(&self, running: &Running) -> Option<&Result<Captured, String>> {
        self.files.get(&file_of(running)?)
    }

    /// How many files were kept.
    #[must_use]
    pub fn count(&self) -> usize {
        self.files.values().filter(|kept| kept.is_ok()).count()
    }

    /// Keeps what these execute and isn't here yet. `now`: seconds since the epoch.
    pub fn add(
        &mut self,
        limits: &config::Evidence,
        proc: &Path,
        runners: impl IntoIterator<Item = (Key, Running, Text)>,
        now: u64,
    ) {
        let Some(folder) = limits.folder.get() else { return };
        let mut wanted: HashMap<File, Vec<Runner>> = HashMap::new();
        for runner in runners {
            if let Some(file) = file_of(&runner.1).filter(|file| !self.files.contains_key(file)) {
                wanted.entry(file).or_default().push(runner);
            }
        }
        if wanted.is_empty() {
            return;
        }
        let mut order: Vec<_> = wanted.into_iter().collect();
        order.sort_unstable_by_key(|(file, runners)| (runners.first().map(|(key, ..)| *key), *file));
        let store = match Store::open(folder, limits, now) {
            Ok(store) => store,
            Err(error) => return self.told = Some(error.to_string()),
        };
        let files: Vec<File> = order.iter().map(|(file, _)| *file).collect();
        let (tell, told) = channel();
        let proc = proc.to_owned();
        // A file may lie where nobody answers: then its thread is given up.
        let work = move || keep(store, &proc, order, now, |kept| tell.send(kept).is_ok());
        if let Err(error) = background::begin("keep", work) {
            return self.told = Some(error.to_string());
        }
        for file in files {
            let Ok(kept) = told.recv_timeout(PATIENCE) else {
                return self.told =
                    Some("reading an executable took too long: the others weren't kept".to_owned());
            };
            self.files.insert(file, kept);
        }
    }
}

/// Who runs a file, what that is as the kernel sees it, and the entity id.
type Runner = (Key, Running, Text);

fn keep(
    mut store: Store,
    proc: &Path,
    files: Vec<(File, Vec<Runner>)>,
    now: u64,
    tell: impl Fn(Result<Captured, String>) -> bool,
) {
    let reader = Reader::new(PathBuf::from(proc));
    for (_, runners) in files {
        let mut kept = Err("nobody who runs it lives any more".to_owned());
        let names: Vec<(Text, u32)> = runners
            .iter()
            .filter(|(_, _, entity)| !entity.is_empty())
            .map(|(key, _, entity)| (entity.clone(), key.pid))
            .collect();
        // The first who still runs it.
        for (key, running, _) in &runners {
            match open(&reader, *key, running) {
                Ok(file) => {
                    kept = store.keep(&file, &names, now).map_err(|missing| missing.to_string());
                    break;
                }
                Err(why) => kept = Err(why),
            }
        }
        if !tell(kept) {
            return;
        }
    }
}

fn open(reader: &Reader, key: Key, running: &Running) -> Result<std::fs::File, String> {
    // A main thread that has ended has none; the others do.
    let mut opened = open_of(reader, key.pid, running);
    for thread in reader.threads(key.pid) {
        if opened.is_ok() {
            break;
        }
        opened = open_of(reader, thread, running);
    }
    opened
}

fn open_of(reader: &Reader, thread: u32, running: &Running) -> Result<std::fs::File, String> {
    let path = reader.executable(thread);
    let surely = reader.answering(thread).surely(&path).map_err(|error| error.to_string())?;
    if running.foreign() || !surely {
        return Err("a program or another host answers for its file system, and may never do so".to_owned());
    }
    reader.open_executable(thread, running.device).map_err(|error| error.to_string())
}
