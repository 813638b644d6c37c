//! `exe_deleted`: a file that some process is executing loses its name.

use super::{Action, Running, severity};
use crate::{
    field::Field,
    record::{Record, Text, Value},
};

/// What the catalogue says.
pub const ACTION: Action = Action {
    name: "exe_deleted",
    kind: "alert",
    category: &["file"],
    types: &["deletion"],
    sentence: "A file that some process is executing loses its name: unlinked, renamed, or replaced by a rename.",
    hooks: "the ends of vfs_unlink and vfs_rename (fexit); where the kernel refuses that, fanotify marks on file systems; fanotify \
            marks on the inodes that run; the image looked at again when its process ends, or, where the kernel shows \
            none by then (before 6.16), the file that is held; a sweep each second; on kernels \
            with neither perf tracepoints of unlink, unlinkat, rename, renameat, renameat2 and \
            raw tracepoint io_uring_queue_async_work",
    fields: &[
        Field::EventSeverity,
        Field::FilePath,
        Field::FileName,
        Field::FileInode,
        Field::FileDevice,
        Field::SensorMethod,
        Field::SensorSelf,
        Field::SensorReason,
        Field::SensorEvidenceSha256,
        Field::SensorEvidenceSize,
        Field::SensorEvidencePath,
        Field::SensorEvidenceMissing,
        Field::SensorRunners,
        Field::SensorRunnersCount,
    ],
    process: true,
};

/// How a name is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It was removed.
    Unlink,
    /// The file has another name now.
    Rename,
    /// Another file has its name now.
    Replace,
    /// Seen afterwards; how is not known.
    Sweep,
}

impl Method {
    /// Its word in `sensor.method`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unlink => "unlink",
            Self::Rename => "rename",
            Self::Replace => "replace",
            Self::Sweep => "sweep",
        }
    }
}

/// What happened to the name.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// The file, as it is now.
    pub running: Running,
    /// The name it was executed by.
    pub path: Option<Text>,
    /// How.
    pub method: Method,
    /// Who did it runs it.
    pub own: bool,
    /// Who did it is a package manager.
    pub package_manager: bool,
    /// Who did it is not known.
    pub unseen: bool,
    /// How long the youngest runner has been running it, nanoseconds.
    pub age: u64,
}

/// An image that loses its name within this time of being executed looks like an intruder's, nanoseconds.
const FRESH: u64 = 10_000_000_000;

impl Lost {
    /// Sets what this event has beside the process and the runners.
    pub fn set(&self, record: &mut Record) {
        if let Some(path) = &self.path {
            record.set(Field::FileName, basename(path));
            record.set(Field::FilePath, path.clone());
        }
        record.set(Field::FileInode, Value::Id(self.running.inode));
        record.set(Field::FileDevice, Value::Id(device(self.running.device)));
        if self.method == Method::Rename {
            record.set(Field::EventType, &["change"][..]);
        }
        record.set(Field::SensorMethod, self.method.word());
        record.set(Field::SensorSelf, self.own);
        let (severity, reason) = self.verdict();
        record.set(Field::EventSeverity, severity);
        record.set(Field::SensorReason, reason);
    }

    /// How odd it is, and why.
    fn verdict(&self) -> (u64, &'static str) {
        let moved = matches!(self.method, Method::Rename | Method::Replace);
        if self.package_manager && moved {
            return (
                severity::LOW,
                "a package manager put another file in place of one that is running: restart what runs it",
            );
        }
        if self.own {
            return (
                severity::HIGH,
                "the process took away the name of its own image, as intruders do to hide it",
            );
        }
        if self.age < FRESH {
            return (
                severity::HIGH,
                "the image lost its name within seconds of being executed, as intruders do to hide it",
            );
        }
        if self.unseen {
            return (severity::MEDIUM, "a running image lost its name, and no hook saw who took it");
        }
        (severity::MEDIUM, "somebody took away the name of an image that others are running")
    }
}

/// The kernel's inner device number as `stat(2)` gives it (`new_encode_dev`, `include/linux/kdev_t.h`).
#[must_use]
pub fn device(inner: u32) -> u64 {
    let (major, minor) = (u64::from(inner >> 20), u64::from(inner & 0xf_ffff));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The other way: of a device number of `stat(2)`, as the kernel has it inside (`new_decode_dev`).
#[must_use]
pub fn inner(device: u64) -> u32 {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
    (major << 20 | minor) as u32
}

/// What follows the last slash.
#[must_use]
pub fn basename(path: &Text) -> Text {
    let bytes = path.as_bytes();
    let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    path.slice(start..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Lost {
        Lost {
            running: Running { inode: 5, device: 0x0010_0002, ..Running::default() },
            path: Some(Text::from("/tmp/x")),
            method: Method::Unlink,
            own: false,
            package_manager: false,
            unseen: false,
            age: FRESH,
        }
    }

    #[test]
    fn severity_says_how_odd_it_is() {
        let cases = [
            (lost(), severity::MEDIUM),
            (Lost { own: true, ..lost() }, severity::HIGH),
            (Lost { age: FRESH - 1, ..lost() }, severity::HIGH),
            (Lost { package_manager: true, method: Method::Replace, ..lost() }, severity::LOW),
            (Lost { package_manager: true, ..lost() }, severity::MEDIUM),
            (Lost { unseen: true, method: Method::Sweep, ..lost() }, severity::MEDIUM),
        ];
        for (lost, expected) in cases {
            let mut record = ACTION.record();
            lost.set(&mut record);
            assert_eq!(record.get(Field::EventSeverity), Some(&Value::U64(expected)), "{lost:?}");
        }
    }

    #[test]
    fn devices_are_those_of_stat() {
        assert_eq!(device(0x0010_0002), 0x102);
        assert_eq!(device((254 << 20) | 0x101), 254 << 8 | 1 | (0x100 << 12));
        assert_eq!(inner(device((254 << 20) | 0x10101)), 254 << 20 | 0x10101);
    }

    #[test]
    fn names_are_the_last_component() {
        assert_eq!(basename(&Text::from("/a/b")).as_bytes(), b"b");
        assert_eq!(basename(&Text::from("memfd:x")).as_bytes(), b"memfd:x");
        assert_eq!(basename(&Text::from("/")).as_bytes(), b"");
    }
}
