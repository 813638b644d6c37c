//! The hashes of what is really running: of the opened executable, and of what else a process has mapped to be executed.
//!
//! Path, inode and bytes of a row are those of one descriptor. What a program or another host answers for (FUSE, NFS) isn't
//! asked unless that is wanted, and all is read by a thread that is given up when nothing comes any more.

use std::{io, path::Path, sync::Arc};

use crate::{
    evidence::digest::Digest,
    field::Field,
    format::text::escape,
    procfs::{Reader, mapped::Mapping, space::Lead},
    record::{Record, Text, Value},
};

mod source;

use source::{Place, Source, explain};

/// What is hashed, and how much at most.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Largest file, bytes.
    pub file_most: u64,
    /// All files together, bytes.
    pub most: u64,
    /// The MD5 too, which some package managers have on record.
    pub md5: bool,
    /// What else is mapped to be executed.
    pub mappings: bool,
    /// Also what may never be answered for.
    pub ask_all: bool,
}

/// What a file is to who was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The file itself was asked for.
    File,
    /// The process executes it.
    Executable,
    /// The process has it mapped to be executed.
    Mapping,
}

impl Role {
    /// Its name in `sensor.file.role`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Executable => "executable",
            Self::Mapping => "mapping",
        }
    }
}

/// A file that was hashed.
#[derive(Clone, Debug)]
pub struct Hashed {
    /// What it is to the process.
    pub role: Role,
    /// Its path, without the kernel's mark.
    pub path: Text,
    /// `present`, `deleted`, `replaced` or `memfd`.
    pub state: &'static str,
    /// The device that holds it, as `stat(2)` tells.
    pub device: u64,
    /// Its inode number.
    pub inode: u64,
    /// Its SHA-256 and size.
    pub digest: Digest,
    /// Its MD5, when wanted.
    pub md5: Option<Text>,
    /// It changed at each reading: the hash is of no one state of it.
    pub changed: bool,
}

/// What a process has to execute.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// The executable first.
    pub files: Vec<Hashed>,
    /// Bytes of memory that can be executed and that no file backs.
    pub nameless_bytes: u64,
    /// The executable is nowhere mapped to be executed.
    pub unmapped: bool,
    /// What couldn't be read, a sentence each.
    pub parts: Vec<String>,
}

impl Hashed {
    /// What is odd about it, with how odd.
    pub fn findings(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let mapping = self.role == Role::Mapping;
        let state = match self.state {
            "memfd" if mapping => {
                Some((73, "code is mapped that never had a name: it lives in memory (memfd)"))
            }
            "memfd" => Some((73, "the executable never had a name: it runs from memory (memfd)")),
            "deleted" if mapping => Some((47, "code is mapped from a file that was deleted")),
            "deleted" => Some((73, "the executable was deleted while it runs")),
            "replaced" if mapping => {
                Some((21, "code is mapped from a file whose name belongs to another by now"))
            }
            "replaced" => Some((47, "the executable's name belongs to another file now")),
            _ => None,
        };
        let changed = self.changed.then_some((47, "somebody writes to it: it changed at each reading"));
        state.into_iter().chain(changed)
    }
}

impl Images {
    /// What is odd about all of it, with how odd.
    pub fn findings(&self) -> impl Iterator<Item = (u64, String)> {
        let nameless = (self.nameless_bytes != 0).then(|| {
            let bytes = self.nameless_bytes;
            (21, format!("{bytes} bytes of memory can be executed and are of no file: a just-in-time compiler's, or code that was put there"))
        });
        let unmapped = self.unmapped.then(|| {
            (73, "the executable isn't mapped to be executed: the process runs something else".to_owned())
        });
        nameless.into_iter().chain(unmapped)
    }
}

/// Sets what is known of a file.
pub fn set(hashed: &Hashed, record: &mut Record) {
    record.set(Field::FilePath, hashed.path.clone());
    record.set(Field::FileSize, hashed.digest.size);
    record.set(Field::FileHashSha256, hashed.digest.sha256.clone());
    record.set(Field::FileInode, Value::Id(hashed.inode));
    record.set(Field::FileDevice, Value::Id(hashed.device));
    record.set(Field::SensorFileRole, hashed.role.word());
    record.set(Field::SensorFileState, hashed.state);
    if hashed.changed {
        record.set(Field::SensorFileChanged, true);
    }
}

/// Why nothing of a process was hashed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is none.
    #[error("there is no process {0}")]
    Gone(u32),
    /// It executes nothing.
    #[error("process {0} executes no file: it has ended, or is a thread of the kernel")]
    NoFile(u32),
    /// Another's.
    #[error("opening what process {0} executes: only root may do that with other users' processes")]
    Denied(u32),
    /// Its executable can't be read.
    #[error("reading what process {pid} executes: {why}")]
    Unread {
        /// The process.
        pid: u32,
        /// Why.
        why: String,
        /// It wasn't asked for, as nobody may answer.
        unsure: bool,
    },
}

/// What a process executes, and what else it has mapped to be executed.
///
/// # Errors
/// When there is no such process, or its executable can't be read.
pub fn of_process(reader: &mut Reader, pid: u32, wanted: Wanted) -> Result<Images, ProcessError> {
    let none = || if reader.keeps(pid) { ProcessError::Denied(pid) } else { ProcessError::Gone(pid) };
    let start = reader.seen(pid).ok_or_else(none)?.start;
    let place = Arc::new(Place::of(reader, pid, wanted.ask_all));
    let source = Source { path: reader.executable(pid), role: Role::Executable, place: Arc::clone(&place) };
    let executable = source.hashed(wanted.file_most, wanted.md5).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ProcessError::NoFile(pid),
        io::ErrorKind::PermissionDenied => ProcessError::Denied(pid),
        kind => ProcessError::Unread {
            pid,
            why: explain(&error, wanted.file_most),
            unsure: kind == io::ErrorKind::WouldBlock,
        },
    })?;
    let mut images = Images { files: vec![executable], ..Images::default() };
    if wanted.mappings {
        add_mappings(reader, pid, wanted, &place, &mut images);
    }
    // What was opened by this number may have been another's since.
    match reader.seen(pid) {
        Some(seen) if seen.start == start => Ok(images),
        _ => Err(ProcessError::Gone(pid)),
    }
}

fn add_mappings(reader: &mut Reader, pid: u32, wanted: Wanted, place: &Arc<Place>, images: &mut Images) {
    let mut left = images.files.iter().fold(wanted.most, |left, file| left.saturating_sub(file.digest.size));
    let mappings = match reader.mappings(pid) {
        Ok(mappings) => mappings,
        Err(error) => return images.parts.push(format!("what else it has mapped to be executed: {error}")),
    };
    images.nameless_bytes = mappings.nameless_bytes;
    if mappings.more {
        images.parts.push("all of what it has mapped to be executed: there is too much of it".to_owned());
    }
    let own = images.files.first().map(|file| (file.device, file.inode, file.path.clone()));
    let is_own = |mapping: &Mapping| {
        own.as_ref().is_some_and(|(device, inode, path)| {
            // A mount of layers may show a file's numbers or those of the layer.
            mapping.is(*device, *inode) || mapping.path == *path
        })
    };
    images.unmapped = !mappings.files.iter().any(is_own);
    for mapping in mappings.files.iter().filter(|mapping| !is_own(mapping)) {
        let most = wanted.file_most.min(left);
        match open_mapping(reader, pid, mapping, place, most, wanted.md5) {
            Ok(hashed) => {
                left = left.saturating_sub(hashed.digest.size);
                images.files.push(hashed);
            }
            Err(error) => {
                let why = explain(&error, most);
                images.parts.push(format!("{}: {why}", escape(mapping.path.as_bytes())));
            }
        }
    }
}

/// By the mapping itself where we may; else by its name, if that still leads to the file.
fn open_mapping(
    reader: &Reader,
    pid: u32,
    mapping: &Mapping,
    place: &Arc<Place>,
    most: u64,
    md5: bool,
) -> io::Result<Hashed> {
    let source = |path| Source { path, role: Role::Mapping, place: Arc::clone(place) };
    match source(reader.mapped(pid, mapping)).hashed(most, md5) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        result => return result,
    }
    if place.space.lead(&mapping.path, mapping.inode()) == Lead::There {
        let hashed = source(reader.mapped_by_name(pid, mapping)).hashed(most, md5)?;
        if mapping.is(hashed.device, hashed.inode) {
            return Ok(Hashed { path: mapping.path.clone(), state: "present", ..hashed });
        }
    }
    Err(io::Error::other("its name leads to another file, and only root may open what is mapped itself"))
}

/// A file by its path, whoever answers for it.
///
/// # Errors
/// When it can't be read, is no regular file, or is too large.
pub fn of_file(proc: &Path, path: &Path, wanted: Wanted) -> Result<Hashed, String> {
    let place = Arc::new(Place::any(proc));
    let hashed =
        Source { path: path.to_owned(), role: Role::File, place }.hashed(wanted.file_most, wanted.md5);
    hashed.map_err(|error| explain(&error, wanted.file_most))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const ALL: Wanted =
        Wanted { file_most: u64::MAX, most: u64::MAX, md5: true, mappings: true, ask_all: false };

    fn proc() -> PathBuf {
        PathBuf::from("/proc")
    }

    #[test]
    fn this_process_and_its_libraries() {
        let mut reader = Reader::new(proc());
        let images = of_process(&mut reader, std::process::id(), ALL).unwrap();
        let own = &images.files[0];
        assert_eq!((own.role, own.state, own.changed), (Role::Executable, "present", false));
        assert!(!images.unmapped);
        let path = std::env::current_exe().unwrap();
        let again = of_file(&proc(), &path, ALL).unwrap();
        assert_eq!((&again.digest, &again.md5), (&own.digest, &own.md5));
        assert!(
            images.files.iter().skip(1).all(|file| file.role == Role::Mapping && file.inode != own.inode)
        );
        let bound = Wanted { file_most: 1, ..ALL };
        assert!(
            of_process(&mut reader, std::process::id(), bound)
                .unwrap_err()
                .to_string()
                .contains("more than 1")
        );
        assert!(matches!(of_process(&mut reader, 2, ALL), Err(ProcessError::NoFile(2))));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for path in ["/dev/zero", "/tmp", "/no/such"] {
            assert!(of_file(&proc(), Path::new(path), ALL).is_err(), "{path}");
        }
        let known = "d41d8cd98f00b204e9800998ecf8427e";
        let empty = of_file(&proc(), Path::new("/dev/null"), ALL);
        assert!(empty.is_err());
        let path = std::env::temp_dir().join(format!("sensor-hashed-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let empty = of_file(&proc(), &path, ALL).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(empty.md5.unwrap().to_str_lossy(), known);
    }
}
