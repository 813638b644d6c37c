//! Where cgroups are mounted, and in which of them a process is (`cgroups(7)`).

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{Reader, folder::Folder, space::mount_points};

/// The cgroups of a process that can hold it still, by their paths in their hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// Of version 2.
    pub unified: Option<PathBuf>,
    /// Of the freezer of version 1.
    pub freezer: Option<PathBuf>,
}

impl Reader {
    /// Where cgroups of version 2 are mounted; in a hybrid system that is beside those of version 1.
    #[must_use]
    pub fn cgroup_root(&self) -> Option<PathBuf> {
        let info = self.mountinfo("self");
        mount_points(&info).find(|(_, kind, _)| *kind == b"cgroup2").map(|(point, _, _)| point)
    }

    /// Where the freezer of version 1 is mounted.
    #[must_use]
    pub fn freezer_root(&self) -> Option<PathBuf> {
        let info = self.mountinfo("self");
        let freezes = |options: &[u8]| options.split(|byte| *byte == b',').any(|option| option == b"freezer");
        mount_points(&info)
            .find(|(_, kind, options)| *kind == b"cgroup" && freezes(options))
            .map(|(point, _, _)| point)
    }

    /// In which cgroups a process is, while it lives.
    #[must_use]
    pub fn cgroups(&self, pid: u32) -> Option<Cgroups> {
        Some(parse(&Folder::open(&self.root.join(pid.to_string()))?.text("cgroup")?))
    }
}

/// A line: number of the hierarchy, controllers, path. One that is gone has a mark.
fn parse(text: &[u8]) -> Cgroups {
    let mut cgroups = Cgroups::default();
    for line in text.split(|byte| *byte == b'\n') {
        let mut columns = line.splitn(3, |byte| *byte == b':');
        let (Some(number), Some(controllers), Some(path)) = (columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        let path = Some(Path::new(OsStr::from_bytes(path)).to_owned());
        match number {
            b"0" => cgroups.unified = path,
            _ if controllers.split(|byte| *byte == b',').any(|name| name == b"freezer") => {
                cgroups.freezer = path;
            }
            _ => {}
        }
    }
    cgroups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let text = b"9:name=systemd:/x\n6:cpu,freezer:/a:b\n0::/system.slice/x.service\nbroken\n0:\n";
        let wanted =
            Cgroups { unified: Some("/system.slice/x.service".into()), freezer: Some("/a:b".into()) };
        assert_eq!(parse(text), wanted);
        assert_eq!(parse(b""), Cgroups::default());
        assert!(Reader::new("/proc".into()).cgroups(std::process::id()).is_some());
    }
}
