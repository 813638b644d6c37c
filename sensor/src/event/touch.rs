//! Somebody touched a file, or took a name out of its directory: what fanotify tells (`fanotify(7)`).

use sensor_common::wire::name::hash;

/// Most words that are kept of a handle: the longest is overlayfs's, with another one inside.
const WORDS: usize = 12;

/// A file or directory, as its file system identifies it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handle([u32; WORDS]);

impl Handle {
    /// One of these words; what is too many is left out.
    #[must_use]
    pub fn new(words: impl IntoIterator<Item = u32>) -> Self {
        let mut handle = Self::default();
        handle.0.iter_mut().zip(words).for_each(|(place, word)| *place = word);
        handle
    }

    /// Whether it is that of an inode with this number and generation (0 where the file system keeps
    /// none, or where it isn't known): on the file systems that we know they are words of the handle.
    #[must_use]
    pub fn is_of(&self, inode: u64, generation: u32) -> bool {
        let [a, b, c, d, ..] = inode.to_le_bytes();
        self.0.contains(&u32::from_le_bytes([a, b, c, d]))
            && (generation == 0 || self.0.contains(&generation))
    }
}

/// A name in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub directory: Handle,
    /// Hash of the name.
    pub name: u32,
    /// The name looks like one that overlayfs gives for a moment (`ovl_tempname`, `fs/overlayfs/dir.c`).
    pub temporary: bool,
}

/// Somebody did something to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touch {
    /// The process, or its thread where only the file is told of; 0 for one of another pid namespace.
    pub pid: u32,
    /// The id of the file system (`statvfs(3)`).
    pub filesystem: u64,
    /// Its device number as the kernel has it inside, where that is known.
    pub device: Option<u32>,
    /// The file.
    pub file: Handle,
    /// The name that went; none where only the file is told of.
    pub old: Option<Place>,
    /// The name that it has now, when it was renamed: what had that name before has lost it.
    pub new: Option<Place>,
    /// It is known already what lost its name by it.
    pub claimed: bool,
}

/// What was read from a group.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// In order.
    pub told: Vec<Touch>,
    /// How often the kernel had no room for more.
    pub overflows: u64,
}

/// Understands what was read from a fanotify group; damage ends it.
///
/// `struct fanotify_event_metadata`, then information records, each with its size in its head
/// (`include/uapi/linux/fanotify.h`).
pub fn decode(mut bytes: &[u8], touches: &mut Touches) {
    while let Some(len) = word(bytes, 0) {
        let Some((event, rest)) = bytes.split_at_checked(len as usize) else { return };
        bytes = rest;
        let Some((mask, pid)) = word(event, MASK).zip(word(event, PID)) else { return };
        if mask & Q_OVERFLOW == 0 {
            touches.told.extend(touch(pid, event.get(RECORDS..).unwrap_or(&[])));
        } else {
            touches.overflows += 1;
        }
    }
}

/// Where `mask`, `pid` and the first record are.
const MASK: usize = 8;
const PID: usize = 20;
const RECORDS: usize = 24;
/// `FAN_Q_OVERFLOW`.
const Q_OVERFLOW: u32 = 0x4000;
/// `FAN_EVENT_INFO_TYPE_FID`, `…_DFID_NAME`, `…_OLD_DFID_NAME`, `…_NEW_DFID_NAME`.
const FID: u8 = 1;
const DFID_NAME: u8 = 2;
const OLD_DFID_NAME: u8 = 10;
const NEW_DFID_NAME: u8 = 12;
/// Where a record has its file system, the size of its handle, and the handle.
const FILESYSTEM: usize = 4;
const HANDLE_BYTES: usize = 12;
const HANDLE: usize = 20;

fn touch(pid: u32, mut records: &[u8]) -> Option<Touch> {
    let mut touch = Touch { pid, ..Touch::default() };
    while let Some([kind, _, a, b]) = records.first_chunk() {
        let (record, rest) = records.split_at_checked(usize::from(u16::from_ne_bytes([*a, *b])))?;
        let (handle, name) = handle(record)?;
        let place = Some(Place { directory: handle, name: hash(name), temporary: name.starts_with(b"#") });
        match *kind {
            FID => touch.file = handle,
            DFID_NAME | OLD_DFID_NAME => touch.old = place,
            NEW_DFID_NAME => touch.new = place,
            _ => {}
        }
        touch.filesystem =
            u64::from(word(record, FILESYSTEM)?) | u64::from(word(record, FILESYSTEM + 4)?) << 32;
        records = rest;
    }
    Some(touch)
}

/// The handle of a record, and the name after it up to its NUL, if there is one.
fn handle(record: &[u8]) -> Option<(Handle, &[u8])> {
    let len = word(record, HANDLE_BYTES)? as usize;
    let (handle, name) = record.get(HANDLE..)?.split_at_checked(len)?;
    let words = handle.chunks_exact(4).filter_map(|word| word.first_chunk());
    let handle = Handle::new(words.map(|word| u32::from_ne_bytes(*word)));
    Some((handle, name.split(|byte| *byte == 0).next()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event with records of (type, words of the handle, name).
    fn event(mask: u32, records: &[(u8, &[u32], &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; RECORDS];
        bytes[MASK..MASK + 4].copy_from_slice(&mask.to_ne_bytes());
        bytes[PID..PID + 4].copy_from_slice(&9_u32.to_ne_bytes());
        for (kind, words, name) in records {
            let len = (HANDLE + 4 * words.len() + name.len()).next_multiple_of(4);
            let end = bytes.len() + len;
            bytes.extend([*kind, 0]);
            bytes.extend(u16::try_from(len).unwrap().to_ne_bytes());
            for word in [1, 2, u32::try_from(4 * words.len()).unwrap(), 0].iter().chain(*words) {
                bytes.extend(word.to_ne_bytes());
            }
            bytes.extend(*name);
            bytes.resize(end, 0);
        }
        let len = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        bytes
    }

    fn decoded(bytes: &[u8]) -> Touches {
        let mut touches = Touches::default();
        decode(bytes, &mut touches);
        touches
    }

    #[test]
    fn tells_the_file_what_went_and_what_was_replaced() {
        let mut bytes = event(4, &[(FID, &[7, 70], b"")]);
        bytes.extend(event(0x200, &[(DFID_NAME, &[5, 50], b"x\0"), (FID, &[7, 70], b"")]));
        let renamed: [(u8, &[u32], &[u8]); 3] =
            [(OLD_DFID_NAME, &[5], b"x\0"), (NEW_DFID_NAME, &[6], b"y\0"), (FID, &[7, 70], b"")];
        bytes.extend(event(0x1000_0000, &renamed));
        let touches = decoded(&bytes);
        let [touched, gone, moved] = touches.told.as_slice() else { panic!("{touches:?}") };
        assert_eq!((touched.pid, touched.filesystem, touched.old), (9, 2 << 32 | 1, None));
        let old = gone.old.unwrap();
        assert_eq!((old.name, old.directory.is_of(5, 50), gone.new), (hash(b"x"), true, None));
        assert!(gone.file.is_of(7, 70) && gone.file.is_of((1 << 32) | 7, 0) && !gone.file.is_of(7, 71));
        assert_eq!(moved.new.map(|new| new.name), Some(hash(b"y")));
    }

    #[test]
    fn an_overflow_is_counted() {
        assert_eq!(decoded(&event(Q_OVERFLOW, &[])), Touches { told: vec![], overflows: 1 });
    }

    #[test]
    fn damage_ends_the_reading() {
        let bytes = event(0x200, &[(DFID_NAME, &[5, 50], b"x\0"), (FID, &[7, 70], b"")]);
        for len in 0..bytes.len() {
            assert!(decoded(&bytes[..len]).told.is_empty());
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 255] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let _ = decoded(&bytes);
            }
        }
        assert!(decoded(&[0; 64]).told.is_empty());
    }
}
