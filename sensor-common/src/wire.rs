//! The table of kinds, and the head that every record begins with.
//!
//! A record is `Header`, `Actor`, the body of its kind, then text. Text is addressed by `Span`s
//! of the body, counted from the start of the record.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub mod exec;
pub mod exit;
pub mod fork;
pub mod image;
pub mod name;
pub mod socket;
pub mod traffic;
pub mod usage;

// One body, a kind for each thing that happens: each has an account of its own.
pub use socket as socket_accept;
pub use socket as socket_attempt;
pub use socket as socket_bind;
pub use socket as socket_close;
pub use socket as socket_connect;
pub use socket as socket_listen;
pub use socket as socket_look;

/// Expands `$use!` with one row a kind: `id CONST module Type`. Whatever enumerates kinds is made from it.
#[macro_export]
macro_rules! kinds {
    ($use:ident) => {
        $use! {
            1 FORK fork Fork;
            2 EXEC exec Exec;
            3 EXIT exit Exit;
            4 NAME name Name;
            5 IMAGE image Image;
            6 USAGE usage Usage;
            7 SOCKET_BIND socket_bind SocketBind;
            8 SOCKET_LISTEN socket_listen SocketListen;
            9 SOCKET_CONNECT socket_connect SocketConnect;
            10 SOCKET_ACCEPT socket_accept SocketAccept;
            11 SOCKET_CLOSE socket_close SocketClose;
            12 SOCKET_LOOK socket_look SocketLook;
            13 SOCKET_ATTEMPT socket_attempt SocketAttempt;
        }
    };
}

macro_rules! ids {
    ($($id:literal $name:ident $module:ident $kind:ident;)*) => {
        $(
            #[doc = concat!("Kind of a `", stringify!($module), "` record.")]
            pub const $name: u16 = $id;
        )*
        /// Each kind with its name.
        pub const KINDS: &[(u16, &str)] = &[$(($id, stringify!($module))),*];
    };
}
kinds!(ids);

/// The largest record, bytes: a fixed part, three paths and the arguments.
pub const MAX_RECORD: usize = 32 * 1024;
/// Most bytes of arguments that a record carries.
pub const MAX_ARGS: usize = 16 * 1024;
/// Where text begins: the only records that carry some are those of `exec`.
pub const TEXT: usize = 272;

/// First bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// When, nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub time: u64,
    /// When the process began, nanoseconds since boot (`task_struct.start_boottime` of the leader).
    pub start: u64,
    /// Process id in the host's pid namespace.
    pub pid: u32,
    /// Thread id in the host's pid namespace.
    pub tid: u32,
    /// Size of the whole record, bytes.
    pub size: u32,
    /// One of `KINDS`; any other is told as malformed.
    pub kind: u16,
    /// Bits of the kind.
    pub flags: u16,
}

/// Who acts, as the kernel held it at that moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Actor {
    /// When the parent began, nanoseconds since boot.
    pub parent_start: u64,
    /// Permitted capabilities, a bit each (`capabilities(7)`).
    pub permitted: u64,
    /// Effective capabilities, a bit each.
    pub effective: u64,
    /// Id of the cgroup: of version 2, or of the version-1 controller that was asked for.
    pub cgroup: u64,
    /// Process id of the parent.
    pub parent: u32,
    /// Session id: the pid of the session leader (`setsid(2)`).
    pub session: u32,
    /// Login user, `u32::MAX` when unset.
    pub login_uid: u32,
    /// Login session, `u32::MAX` when unset.
    pub login_session: u32,
    /// Real, then saved, effective and file-system ids, in the kernel's order: uid, gid, suid, sgid, euid, egid, fsuid, fsgid.
    pub ids: [u32; 8],
    /// Major number of the controlling terminal, 0 for none.
    pub tty_major: u32,
    /// Minor number of the controlling terminal.
    pub tty_minor: u32,
    /// Inode numbers of the namespaces: cgroup, ipc, mnt, net, pid, user, uts; 0 where unknown.
    pub namespaces: [u32; 7],
    /// 1 when `no_new_privs` is set (`prctl(2)`).
    pub no_new_privs: u32,
}

impl Actor {
    /// Inode number of the network namespace.
    #[must_use]
    pub fn network_namespace(&self) -> u32 {
        let [_, _, _, network, ..] = self.namespaces;
        network
    }

    /// Inode number of the mount namespace.
    #[must_use]
    pub fn mount_namespace(&self) -> u32 {
        let [_, _, mount, ..] = self.namespaces;
        mount
    }
}

/// What is executed: the file and the name it was executed by.
///
/// Two of them of one process, compared, say whether the name was lost: see `Image::UNHASHED`,
/// `nlink`, and (`parent`, `name_hash`), which change when the name is moved.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Running {
    /// Inode number; 0 when the process has no image (a kernel thread, or one that has let go of it).
    pub inode: u64,
    /// Change time, nanoseconds since the epoch; 0 where unknown.
    pub ctime: u64,
    /// The kernel's address of the name's directory entry: an identity, never shown.
    pub dentry: u64,
    /// The kernel's address of the directory's entry: an identity, never shown.
    pub parent: u64,
    /// Inode number of the directory.
    pub directory: u64,
    /// The kernel's hash and length of the name.
    pub name_hash: u64,
    /// Device number as the kernel has it inside: major << 20 | minor.
    pub device: u32,
    /// Generation of the inode, which tells a reused number.
    pub generation: u32,
    /// Hard links left.
    pub nlink: u32,
    /// File mode, as `st_mode`.
    pub mode: u32,
    /// Bits: `UNHASHED`, `FOREIGN`.
    pub flags: u32,
    /// Owner of the file.
    pub uid: u32,
}

impl Running {
    /// The name is no longer in its directory.
    pub const UNHASHED: u32 = 1;
    /// On a file system for which a process or another host answers: it may never do so.
    pub const FOREIGN: u32 = 2;

    /// Whether it is on a file system that may keep who asks it waiting for ever.
    #[must_use]
    pub fn foreign(&self) -> bool {
        self.flags & Self::FOREIGN != 0
    }

    /// Whether the name by which it was executed is gone, or never was.
    #[inline(always)]
    #[must_use]
    pub fn nameless(&self) -> bool {
        self.flags & Self::UNHASHED != 0 || self.nlink == 0
    }

    /// The same file after it lost its name: moved to another, or removed.
    #[must_use]
    pub fn without_name(mut self, moved: bool) -> Self {
        if moved {
            // To which isn't known; only that it is another.
            self.name_hash = !self.name_hash;
        } else {
            self.flags |= Self::UNHASHED;
            self.nlink = self.nlink.saturating_sub(1);
        }
        self
    }

    /// Whether it is the same file, by whatever name.
    #[must_use]
    pub fn same_file(&self, other: &Self) -> bool {
        self.inode == other.inode && self.device == other.device && self.generation == other.generation
    }
}

/// A piece of text in the tail of a record, bytes from the start of the record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Span {
    /// Where it starts.
    pub offset: u16,
    /// How long it is.
    pub len: u16,
}

/// What the walk from a name up to its root found.
///
/// The text is the names from the leaf up, each ended by a NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Path {
    /// The names.
    pub names: Span,
    /// Bits: `CUT`, `NAMELESS`, `DETACHED`.
    pub flags: u32,
}

impl Path {
    /// Deeper than the programs go, or longer: the names at the top are missing.
    pub const CUT: u32 = 1;
    /// It ends at an entry that was never in a directory: a memfd, a pipe.
    pub const NAMELESS: u32 = 2;
    /// It ends at a mount that is in no namespace any more.
    pub const DETACHED: u32 = 4;
}

const _: () = {
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<Header>() + size_of::<Actor>() + size_of::<exec::Exec>() == TEXT);
};
