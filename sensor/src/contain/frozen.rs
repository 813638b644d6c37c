//! Who was left held still, noted so that a later command can let them go on: by the cgroup they came from, or by a signal.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{fcntl::OFlag, unistd::geteuid};
use rustix::process::Signal;

use super::{Containment, Failed, Id, group::Group, handle};
use crate::{event::Key, procfs::Reader};

/// How names of notes begin; an id follows.
const PREFIX: &str = "frozen-";
/// Most bytes of a note that are read.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// Most notes that are looked at.
const NOTES_MOST: usize = 1024;
/// How often it is looked who is left in a group. What is frozen bears nobody: one look is enough, but for who was on the way.
const ROUNDS: usize = 8;
/// The first line.
const HEAD: &[u8] = b"sensor frozen 1";

/// What came of letting them go on.
#[derive(Debug)]
pub struct Released {
    /// Who couldn't be let go on, and why.
    pub failed: BTreeMap<Key, Failed>,
    /// What became of the cgroup.
    pub group: io::Result<()>,
}

/// Those who are held still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    id: Id,
    /// Each, and the cgroup that it came from if it was moved into another.
    held: Vec<(Key, Option<PathBuf>)>,
}

impl Frozen {
    /// All that a containment holds.
    #[must_use]
    pub fn of(contain: &Containment<'_>) -> Self {
        let members = &contain.targets.members;
        Self {
            id: contain.id,
            held: members.iter().map(|(key, member)| (*key, member.home.clone())).collect(),
        }
    }

    /// Those of a cgroup of which no note is left: they go on in it.
    #[must_use]
    pub fn unknown(id: Id) -> Self {
        Self { id, held: Vec::new() }
    }

    /// Each.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.held.iter().map(|(key, _)| *key)
    }

    /// Those of them who live: of another that has the number of one by now nothing is known.
    #[must_use]
    pub fn living(&self, reader: &Reader) -> Vec<Key> {
        self.keys().filter(|key| handle::lives(reader, *key)).collect()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Notes them in a folder that only we can write.
    ///
    /// # Errors
    /// When it can't be written, or others could write there.
    pub fn note(&self, folder: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => owned(folder)?,
        }
        let mut text = HEAD.to_vec();
        for (key, home) in &self.held {
            let home = home.as_ref().map(|home| home.as_os_str().as_bytes()).unwrap_or_default();
            text.extend([format!("\n{} {} ", key.pid, key.start).as_bytes(), home].concat());
        }
        let path = folder.join(format!("{PREFIX}{}", self.id));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&text)
    }

    /// What was noted.
    ///
    /// # Errors
    /// When there is no such note, or others could have written it.
    pub fn read(folder: &Path, id: Id) -> io::Result<Self> {
        owned(folder)?;
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let path = folder.join(format!("{PREFIX}{id}"));
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        let mut text = Vec::new();
        File::take(file, MOST_BYTES).read_to_end(&mut text)?;
        let held = parse(&text).ok_or_else(|| io::Error::other("it isn't what the sensor wrote"))?;
        Ok(Self { id, held })
    }

    /// Removes the note.
    ///
    /// # Errors
    /// When it stays.
    pub fn forget(&self, folder: &Path) -> io::Result<()> {
        fs::remove_file(folder.join(format!("{PREFIX}{}", self.id)))
    }

    /// Lets them go on, those who still live. If one can't be, the others go on.
    #[must_use]
    pub fn release(&self, reader: &Reader) -> Released {
        let mut failed = BTreeMap::new();
        let group = Group::find(reader, self.id);
        let inside = group.as_ref().map_or_else(|_| Vec::new(), |group| group.pids().unwrap_or_default());
        for (key, home) in &self.held {
            let gone_on = match &group {
                Ok(group) if inside.contains(&key.pid) && handle::lives(reader, *key) => {
                    group.put_back(key.pid, home.as_deref())
                }
                // By its cgroup, and then no signal.
                _ if home.is_some() => Ok(()),
                _ => handle::send(reader, *key, Signal::CONT),
            };
            if let Err(error) = gone_on {
                failed.insert(*key, Failed::new("it can't be let go on", &error));
            }
        }
        Released { failed, group: self.end_group(group, &inside) }
    }

    fn end_group(&self, group: io::Result<Group>, inside: &[u32]) -> io::Result<()> {
        match group {
            // The kernel still holds who ended in it.
            Ok(group) if self.held.is_empty() && inside.is_empty() => {
                let _: bool = group.remove();
                Err(io::ErrorKind::NotFound.into())
            }
            Ok(group) => {
                self.empty(&group);
                // Who couldn't be moved out.
                let thawed = group.thaw();
                let _: bool = group.remove();
                thawed
            }
            Err(error) if self.held.is_empty() => Err(error),
            Err(_) => Ok(()),
        }
    }

    /// Moves out who was born in the group, or put there by others, after it was last looked who is held: else their
    /// children would be in it for ever. They go where the first of the others came from.
    fn empty(&self, group: &Group) {
        let Some(home) = self.held.iter().find_map(|(_, home)| home.as_deref()) else { return };
        for _ in 0..ROUNDS {
            let left = group.pids().unwrap_or_default();
            if left.is_empty() {
                return;
            }
            left.iter().for_each(|pid| drop(group.put_back(*pid, Some(home))));
        }
    }
}

/// Removes the notes of those of whom nobody lives any more.
pub fn clear(folder: &Path, reader: &Reader) {
    let entries = fs::read_dir(folder).into_iter().flatten().take(NOTES_MOST).filter_map(Result::ok);
    for entry in entries {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|id| id.parse().ok());
        let frozen = id.and_then(|id| Frozen::read(folder, id).ok());
        if let Some(frozen) = frozen.filter(|frozen| !frozen.keys().any(|key| handle::lives(reader, key))) {
            // What stays is removed the next time.
            drop(frozen.forget(folder));
        }
    }
}

/// Only what root, or who runs this, could write.
fn owned(folder: &Path) -> io::Result<()> {
    let facts = fs::symlink_metadata(folder)?;
    match facts.is_dir() && facts.uid() == geteuid().as_raw() && facts.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(io::Error::other("it is no folder, another user's, or others may write to it")),
    }
}

/// A line each: pid, start, cgroup.
fn parse(text: &[u8]) -> Option<Vec<(Key, Option<PathBuf>)>> {
    let lines = text.strip_prefix(HEAD)?;
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let held = lines.map(|line| {
        let mut columns = line.splitn(3, |byte| *byte == b' ');
        let mut number = || std::str::from_utf8(columns.next()?).ok()?.parse::<u64>().ok();
        let (pid, start) = (number()?, number()?);
        let home = Some(columns.next()?).filter(|home| home.starts_with(b"/"));
        Some((
            Key { pid: u32::try_from(pid).ok()?, start },
            home.map(|home| PathBuf::from(OsStr::from_bytes(home))),
        ))
    });
    held.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let folder = std::env::temp_dir().join(format!("sensor-frozen-{}", std::process::id()));
        let key = |pid| Key { pid, start: 77 };
        let held = vec![(key(5), Some(PathBuf::from("/a b/c"))), (key(6), None)];
        let frozen = Frozen { id: Id(0xab), held };
        frozen.note(&folder).unwrap();
        assert!(frozen.note(&folder).is_err(), "nothing is overwritten");
        assert_eq!(Frozen::read(&folder, Id(0xab)).unwrap(), frozen);
        assert!(Frozen::read(&folder, Id(1)).is_err());
        frozen.forget(&folder).unwrap();
        fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn who_has_the_number_of_one_that_ended_is_another() {
        let reader = Reader::new("/proc".into());
        let own = reader.seen(std::process::id()).unwrap();
        let key = Key { pid: own.pid, start: own.start };
        let another = Key { start: own.start + handle::TICK_NS, ..key };
        let frozen = Frozen { id: Id(1), held: vec![(key, None), (another, None)] };
        assert_eq!(frozen.living(&reader), [key]);
    }

    #[test]
    fn what_is_broken_is_no_note() {
        for text in [
            &b""[..],
            b"x",
            b"sensor frozen 1\nx",
            b"sensor frozen 1\n1",
            b"sensor frozen 1\n1 2",
            b"sensor frozen 1\n-1 2 ",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse(b"sensor frozen 1"), Some(Vec::new()));
    }
}
