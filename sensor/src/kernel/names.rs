//! Marks on whole file systems: the kernel's own word of every name that goes, and by whom.
//!
//! What fanotify tells of a running file (`marks`) starts when the file is marked, a moment after it
//! was first executed. These marks are there before. Nobody is woken for them: they are read each
//! round, and searched when something running has lost its name. They cost an unlink or a rename about
//! a microsecond and other calls nothing, where a tracepoint of a system call makes every call slower.

use std::{
    collections::HashMap,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::{
        fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags},
        statfs::{BTRFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, statfs},
        statvfs::statvfs,
    },
};

use super::{Gap, marks::no_group, refusal::explain};
use crate::event::{
    exe_deleted::inner,
    touch::{self, Touches},
};

/// Its name as a hook.
pub(super) const HOOK: &str = "fanotify/filesystem";

/// `FAN_REPORT_FID | …_DIR_FID | …_NAME | …_TARGET_FID` (`include/uapi/linux/fanotify.h`), the last from Linux 5.17 on.
const REPORT: u32 = 0x200 | 0x400 | 0x800 | 0x1000;
/// Most that is read at once, bytes.
const MOST: usize = 64 * 1024;
/// Most file systems whose devices are remembered.
const DEVICES_MOST: usize = 4096;
/// Most readings in a row, so that a flood can't keep the rest of the sensor waiting.
const READS_MOST: usize = 64;

/// The marks.
pub(super) struct Names {
    group: Fanotify,
    /// Device of each file system that is marked, by its id; none where it isn't known.
    devices: HashMap<u64, Option<u32>>,
    buffer: Vec<u8>,
    /// The device of the root's file system.
    root: u64,
    /// Its mark was gone.
    taken: bool,
}

/// What became of a file system.
pub(super) enum Watched {
    /// From now on.
    Now,
    /// It is gone.
    Gone,
    /// It lies over others, which are watched.
    Beneath,
    /// The kernel can't.
    Refused(Errno),
}

/// What a file system that takes no mark means.
pub(super) fn refused(errno: Errno) -> Gap {
    Gap {
        reason: format!("a file system on which programs run takes no mark: {}", explain(&errno, &[]).reason),
        missing: "marks of file systems".to_owned(),
        effect: "there, who took the name of a file in the first moments of its running".to_owned(),
        remedy: String::new(),
    }
}

/// What a group has whose marks were taken away.
pub(super) fn taken() -> Gap {
    Gap {
        reason: "somebody took away the sensor's marks on file systems (FAN_MARK_FLUSH or _REMOVE, by a descriptor got from the sensor)"
            .to_owned(),
        missing: "its marks".to_owned(),
        effect: "for up to a second: who took the name of a file".to_owned(),
        remedy: "they were set again; find who did it, by the events before this one".to_owned(),
    }
}

impl Names {
    /// With a mark on the file system of `/`, or why not.
    pub(super) fn open() -> Result<Self, Gap> {
        Self::new().map_err(|error| no_group(&error, "such a mark on the file system of /"))
    }

    /// With a mark on the file system of `/`.
    pub(super) fn new() -> io::Result<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_MARKS
            | InitFlags::from_bits_retain(REPORT);
        let group = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)?;
        let root = nix::sys::stat::stat("/")?.st_dev;
        let mut names = Self { group, devices: HashMap::new(), buffer: vec![0; MOST], root, taken: false };
        names.set(Path::new("/"))?;
        Ok(names)
    }

    /// Marks what is mounted on these paths, as far as the kernel can; what it can't is told when something runs there.
    pub(super) fn mounted(&mut self, paths: impl Iterator<Item = PathBuf>) {
        if self.devices.len() > DEVICES_MOST {
            self.devices.clear();
        }
        for path in paths {
            let _: Result<(), Errno> = self.set(&path);
        }
    }

    /// Marks the file system on which `path` is, for a file that wasn't seen before: of a device it can't be
    /// known that it is still the same file system.
    pub(super) fn watch(&mut self, path: &Path) -> Watched {
        match self.set(path) {
            Ok(()) => Watched::Now,
            Err(Errno::ENOENT | Errno::ESRCH) => Watched::Gone,
            Err(errno) => match statfs(path) {
                Ok(known) if known.filesystem_type() == OVERLAYFS_SUPER_MAGIC => Watched::Beneath,
                _ => Watched::Refused(errno),
            },
        }
    }

    fn set(&mut self, path: &Path) -> Result<(), Errno> {
        let mask = MaskFlags::FAN_DELETE | MaskFlags::FAN_RENAME;
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        if !self.devices.is_empty() && nix::sys::stat::stat(path)?.st_dev == self.root {
            // Set again here, nobody would see that it was gone.
            self.taken |= self.lacks(path);
        }
        self.group.mark(flags, mask, nix::fcntl::AT_FDCWD, Some(path))?;
        let device = match statfs(path)?.filesystem_type() {
            // Its files have device numbers that the kernel uses nowhere else.
            BTRFS_SUPER_MAGIC => None,
            _ => Some(inner(nix::sys::stat::stat(path)?.st_dev)),
        };
        self.devices.insert(statvfs(path)?.filesystem_id(), device);
        Ok(())
    }

    /// Whether every name that goes on the file system of this device is told with that device.
    pub(super) fn tells(&self, device: u32) -> bool {
        self.devices.values().any(|known| *known == Some(device))
    }

    /// Whether somebody took marks away since this was last asked: that of the root's file system, which is never
    /// unmounted. Those of others go with their file systems.
    pub(super) fn taken(&mut self) -> bool {
        self.taken |= self.lacks(Path::new("/"));
        std::mem::take(&mut self.taken)
    }

    /// Whether there is no mark. One that is there is asked to leave out what it doesn't ask for, and stays as it is.
    fn lacks(&self, path: &Path) -> bool {
        let flags = MarkFlags::FAN_MARK_REMOVE | MarkFlags::FAN_MARK_FILESYSTEM;
        let answer = self.group.mark(flags, MaskFlags::FAN_CREATE, nix::fcntl::AT_FDCWD, Some(path));
        answer == Err(Errno::ENOENT)
    }

    /// What went since this was last asked, in order.
    pub(super) fn gone(&mut self) -> Touches {
        let mut touches = Touches::default();
        for _ in 0..READS_MOST {
            match nix::unistd::read(self.group.as_fd(), &mut self.buffer) {
                Ok(len) if len > 0 => touch::decode(self.buffer.get(..len).unwrap_or(&[]), &mut touches),
                _ => break,
            }
        }
        for touch in &mut touches.told {
            touch.device = self.devices.get(&touch.filesystem).copied().flatten();
        }
        touches
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::MetadataExt,
        process::{self, Command},
    };

    use sensor_common::wire::name::hash;

    use super::*;

    #[test]
    fn marks_that_were_taken_away_are_missed() {
        let Ok(mut names) = Names::new() else { return };
        assert!(!names.taken());
        names.mounted([PathBuf::from("/")].into_iter());
        assert!(!names.taken(), "asking leaves it there");
        let flush = MarkFlags::FAN_MARK_FLUSH | MarkFlags::FAN_MARK_FILESYSTEM;
        let gone = |names: &Names| {
            names.group.mark(flush, MaskFlags::empty(), nix::fcntl::AT_FDCWD, None::<&Path>).unwrap();
        };
        gone(&names);
        assert!(names.taken());
        assert!(matches!(names.watch(Path::new("/")), Watched::Now));
        assert!(names.taken(), "that it was set again doesn't hide it");
        assert!(!names.taken());
        gone(&names);
        names.mounted([PathBuf::from("/")].into_iter());
        assert!(names.taken() && !names.taken());
    }

    #[test]
    fn tells_who_took_which_name() {
        let mut names = match Names::new() {
            Ok(names) => names,
            Err(error) => {
                say!("skipped: no mark on the file system of /: {error}");
                return;
            }
        };
        let folder = std::env::temp_dir().join(format!("sensor-names-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (one, two) = (folder.join("one"), folder.join("two"));
        fs::write(&one, b"x").unwrap();
        let (file, directory) = (fs::metadata(&one).unwrap(), fs::metadata(&folder).unwrap());
        let device = inner(file.dev());
        assert!(matches!(names.watch(&folder), Watched::Now) && names.tells(device));

        let mut mv = Command::new("mv").args([&one, &two]).spawn().unwrap();
        mv.wait().unwrap();
        let mut rm = Command::new("rm").arg(&two).spawn().unwrap();
        rm.wait().unwrap();
        fs::remove_dir(&folder).unwrap();
        let touches = names.gone().told;
        let of = |pid| touches.iter().find(move |touch| touch.pid == pid).unwrap();
        for (touch, from, to) in [(of(mv.id()), "one", Some("two")), (of(rm.id()), "two", None)] {
            let old = touch.old.unwrap();
            assert_eq!(touch.device, Some(device));
            assert!(touch.file.is_of(file.ino(), 0) && old.directory.is_of(directory.ino(), 0), "{touch:?}");
            assert_eq!(old.name, hash(from.as_bytes()));
            assert_eq!(touch.new.map(|new| new.name), to.map(|name| hash(name.as_bytes())));
        }
    }
}
