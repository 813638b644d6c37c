//! What is mounted where a process lives, and where its paths lead.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat2, statx},
    io::Errno,
};

use super::{Reader, answering::Answering, seen::space_of};
use crate::record::Text;

/// A mount namespace, as it can be entered by its root.
#[derive(Clone, Debug, Default)]
pub struct Space {
    root: PathBuf,
    foreign: Vec<PathBuf>,
    overlays: Vec<Overlay>,
    answering: Answering,
}

/// A mount of layers.
#[derive(Clone, Debug)]
struct Overlay {
    point: PathBuf,
    /// Where what is written to it goes, by a path of the host.
    upper: PathBuf,
}

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// To the file.
    There,
    /// To another.
    Elsewhere,
    /// To none.
    Nowhere,
    /// Not asked: who answers for the file system may never do so, or we may not.
    Unasked,
}

impl Reader {
    /// The mount namespace of a process; of ours, with our root, where none is given.
    #[must_use]
    pub fn space(&self, pid: Option<u32>) -> Space {
        match pid {
            Some(pid) => self.space_at(&pid.to_string(), self.root.join(pid.to_string()).join("root")),
            None => self.space_at("self", self.root.parent().unwrap_or(Path::new("/")).to_owned()),
        }
    }

    /// That of a process, entered by this root.
    pub(super) fn space_at(&self, process: &str, root: PathBuf) -> Space {
        let (mounts, of_users) = (self.mountinfo(process), self.is_users(process));
        let mut answering = Answering::default();
        answering.add(&mounts, of_users);
        // A root that was changed to a folder lies on a mount that the process itself isn't shown.
        answering.add(&self.mountinfo("self"), self.is_users("self"));
        Space { root, foreign: places(&mounts, of_users).1, overlays: overlays(&mounts), answering }
    }
}

impl Space {
    /// Where a path leads, for a file of this inode number.
    #[must_use]
    pub fn lead(&self, path: &Text, inode: u64) -> Lead {
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        if self.foreign.iter().any(|foreign| path.starts_with(foreign)) {
            return Lead::Unasked;
        }
        match self.at(path) {
            Ok(file) if file.stx_ino == inode => Lead::There,
            // In the middle of an unlink the name is still there, of a file with no links.
            Ok(file) if file.stx_nlink == 0 => Lead::Nowhere,
            Ok(_) => Lead::Elsewhere,
            Err(Errno::NOENT) => Lead::Nowhere,
            Err(_) => Lead::Unasked,
        }
    }

    /// What is at a path, one name after the other: none is looked up where others than the kernel answer. Such a path is the
    /// kernel's own, which has no links: one on the way was put there since, and may lead to where nobody ever answers.
    pub(super) fn at(&self, path: &Path) -> rustix::io::Result<Statx> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let asked = |place: OwnedFd| self.answering.knows(&place).then_some(place).ok_or(Errno::OPNOTSUPP);
        let root = rustix::fs::open(&self.root, flags, Mode::empty()).map_err(|_| Errno::ACCESS)?;
        let mut place = asked(root)?;
        for name in path.components().filter(|component| *component != Component::RootDir) {
            place =
                asked(openat2(&place, name.as_os_str(), flags | OFlags::NOFOLLOW, Mode::empty(), resolve)?)?;
        }
        let wanted = StatxFlags::INO | StatxFlags::NLINK;
        statx(&place, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, wanted)
    }

    /// Whether a file on a mount of layers is not of the image, but was written since.
    #[must_use]
    pub fn written(&self, path: &Text) -> bool {
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        let over = self.overlays.iter().filter(|overlay| path.starts_with(&overlay.point));
        let Some(nearest) = over.max_by_key(|overlay| overlay.point.as_os_str().len()) else { return false };
        let Ok(inside) = path.strip_prefix(&nearest.point) else { return false };
        fs::symlink_metadata(nearest.upper.join(inside)).is_ok_and(|file| file.is_file())
    }
}

/// Where mounts are in the lines of `mountinfo`, with the type and the options of the file system.
pub(super) fn mount_points(bytes: &[u8]) -> impl Iterator<Item = (PathBuf, &[u8], &[u8])> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let point = fields.nth(4)?;
        // After the dash: type, source, options.
        let mut after = fields.skip_while(|field| *field != b"-").skip(1);
        Some((path_of(point), after.next()?, after.nth(1).unwrap_or_default()))
    })
}

/// Where namespaces of a sort are mounted, with their numbers, in the lines of `mountinfo`: the root of such a mount is
/// called like the namespace (`net:[4026531840]`).
pub(super) fn mounted_namespaces<'b>(
    bytes: &'b [u8],
    sort: &'b [u8],
) -> impl Iterator<Item = (u32, PathBuf)> + 'b {
    bytes.split(|byte| *byte == b'\n').filter_map(move |line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let of_sort = root.strip_prefix(sort)?.starts_with(b":[");
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        (of_sort && kind == b"nsfs").then_some(())?;
        Some((space_of(root)?, path_of(point)))
    })
}

/// Mounts of type `overlay` in the lines of `mountinfo`, with their `upperdir`.
fn overlays(bytes: &[u8]) -> Vec<Overlay> {
    let all = mount_points(bytes).filter(|(_, kind, _)| *kind == b"overlay");
    all.filter_map(|(point, _, options)| {
        let mut options = options.split(|byte| *byte == b',');
        let upper = options.find_map(|option| option.strip_prefix(b"upperdir="))?;
        Some(Overlay { point, upper: path_of(upper) })
    })
    .collect()
}

fn path_of(field: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&unescaped(field)))
}

/// File systems of other hosts, or of programs.
const FOREIGN: [&[u8]; 11] =
    [b"nfs", b"cifs", b"smb", b"fuse", b"virtiofs", b"9p", b"afs", b"ceph", b"coda", b"lustre", b"autofs"];

/// Whether others than the kernel answer for a file system of this type.
pub(super) fn is_foreign(kind: &[u8]) -> bool {
    FOREIGN.iter().any(|foreign| kind.starts_with(foreign))
}

/// Mount points in the lines of `mountinfo`: those that can be entered, and those of `FOREIGN` file systems. Its fields
/// are: ids, device, root, point, options, some more, a dash, type (`proc_pid_mountinfo(5)`). `of_users`: who lives there may
/// have mounted overlays, which ask what lies below them in his name.
pub(super) fn places(bytes: &[u8], of_users: bool) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut places, mut foreign) = (Vec::new(), Vec::<PathBuf>::new());
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        let (Some(point), Some(options)) = (fields.nth(4), fields.next()) else { continue };
        let kind = fields.skip_while(|field| *field != b"-").nth(1).unwrap_or(b"");
        let point = path_of(point);
        if is_foreign(kind) || (of_users && kind == b"overlay") {
            foreign.push(point);
        } else if !options.split(|byte| *byte == b',').any(|option| option == b"noexec") {
            places.push(point);
        }
    }
    // Anybody may have mounted as many as there is room for.
    let far: HashSet<&Path> = foreign.iter().map(PathBuf::as_path).collect();
    places.retain(|place| !place.ancestors().any(|above| far.contains(above)));
    (places, foreign)
}

/// Without the octal escapes of blanks and backslashes.
fn unescaped(mut field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    while let Some((byte, rest)) = field.split_first() {
        field = rest;
        match rest.split_at_checked(3) {
            Some(([a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'], after)) if *byte == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                field = after;
            }
            _ => bytes.push(*byte),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn mounts_are_those_that_can_be_entered_without_waiting() {
        let lines = b"1 0 8:1 / / rw,relatime - ext4 /dev/x rw\n\
            2 1 0:5 / /proc rw,noexec - proc proc rw\n\
            3 1 0:6 / /a\\040b\\134 rw shared:1 - tmpfs tmpfs rw\n\
            4 1 0:7 / /far rw - nfs4 host:/ rw\n\
            5 4 0:8 / /far/near rw - tmpfs tmpfs rw\n\
            broken\n\xff";
        let (entered, foreign) = places(lines, false);
        assert_eq!(entered, [PathBuf::from("/"), PathBuf::from("/a b\\")]);
        assert_eq!(foreign, [PathBuf::from("/far")]);
        let layers = b"1 0 0:9 / / rw - overlay overlay rw,lowerdir=/l\n2 1 0:5 / /t rw - tmpfs tmpfs rw\n";
        assert_eq!(places(layers, false).0.len(), 2);
        assert_eq!(places(layers, true), (Vec::new(), vec![PathBuf::from("/")]));
        assert_eq!(unescaped(b"\\04"), b"\\04");
        let own = Reader::new("/proc".into()).mounts(std::process::id()).unwrap();
        assert!(own.iter().any(|place| place.ends_with("root")), "{own:?}");
    }

    #[test]
    fn namespaces_are_known_by_the_root_of_their_mount() {
        let lines = b"9 1 0:4 net:[4026532000] /run/netns/a\\040b rw shared:5 - nsfs nsfs rw\n\
            9 1 0:4 mnt:[4026532001] /run/m rw - nsfs nsfs rw\n\
            9 1 0:4 net:[4026532002] /fake rw - tmpfs x rw\n9 1 0:4 net:[x] /bad rw - nsfs nsfs rw\n";
        let all: Vec<_> = mounted_namespaces(lines, b"net").collect();
        assert_eq!(all, [(4_026_532_000, PathBuf::from("/run/netns/a b"))]);
    }

    #[test]
    fn layers_are_known_by_where_they_are_written() {
        let lines = b"1 0 0:9 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/u\\040p,workdir=/w\n\
            2 1 0:8 / /t rw - tmpfs tmpfs rw\n3 1 0:7 / /ro ro - overlay o ro,lowerdir=/a:/b\n";
        let all = overlays(lines);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].point.as_path(), all[0].upper.as_path()), (Path::new("/"), Path::new("/u p")));
    }

    #[test]
    fn many_mounts_are_gone_through_in_no_time() {
        let line = |at: usize| {
            let kind = ["tmpfs", "fuse.x"][at % 2];
            format!("{at} 1 0:7 / /home/somebody/{at} rw - {kind} {kind} rw\n")
        };
        let lines: String = (0..20_000).map(line).collect();
        let began = std::time::Instant::now();
        let (near, far) = places(lines.as_bytes(), false);
        assert_eq!((near.len(), far.len()), (10_000, 10_000));
        // Each by each would be a hundred million.
        let took = began.elapsed();
        assert!(took < std::time::Duration::from_secs(1), "{took:?}");
    }

    #[test]
    fn a_link_on_the_way_is_not_followed() {
        let folder = std::env::temp_dir().join(format!("sensor-lead-{}", std::process::id()));
        let (real, link) = (folder.join("real"), folder.join("link"));
        fs::create_dir_all(&real).unwrap();
        fs::write(real.join("x"), "").unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let space = Reader::new("/proc".into()).space(None);
        let inode = fs::metadata(real.join("x")).unwrap().ino();
        let lead = |at: PathBuf| space.lead(&Text::from(at.to_str().unwrap().to_owned()), inode);
        let leads = [real.join("x"), link.join("x"), link.clone()].map(lead);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(leads, [Lead::There, Lead::Unasked, Lead::Elsewhere]);
        // A mount that no list shows.
        let unknown = Space { answering: Answering::default(), ..space };
        assert_eq!(unknown.lead(&Text::from("/no/such/file"), 1), Lead::Unasked);
    }

    #[test]
    fn a_path_leads_to_its_file() {
        let space = Reader::new("/proc".into()).space(None);
        let inode = fs::metadata("/bin/sh").unwrap().ino();
        let real = Text::from(fs::canonicalize("/bin/sh").unwrap().to_str().unwrap().to_owned());
        assert_eq!(space.lead(&real, inode), Lead::There);
        assert_eq!(space.lead(&real, inode + 1), Lead::Elsewhere);
        assert_eq!(space.lead(&Text::from("/no/such/file"), 1), Lead::Nowhere);
        assert!(!space.written(&Text::from("/no/such/file")));
    }
}
