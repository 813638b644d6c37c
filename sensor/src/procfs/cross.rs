//! What else knows of processes than a listing: to find those that a listing doesn't show.

use std::{fs::File, io::Read, path::PathBuf};

use super::{Reader, folder::Folder, space::mount_points};

/// Most cgroups that are gone through, and most bytes of one's list.
const MOST_CGROUPS: usize = 65_536;
const MOST_LIST: u64 = 4 * 1024 * 1024;

impl Reader {
    /// Whether this number is a process of its own, not another's thread: also one that no listing shows.
    #[must_use]
    pub fn is_process(&self, pid: u32) -> bool {
        self.thread_group(pid) == Some(pid)
    }

    /// The number that a process has in its own pid namespace.
    #[must_use]
    pub fn pid_inside(&self, pid: u32) -> Option<u32> {
        let status = Folder::open(&self.root.join(pid.to_string()))?.text("status")?;
        let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"))?;
        std::str::from_utf8(line).ok()?.split_ascii_whitespace().last()?.parse().ok()
    }

    /// The largest pid that there can be.
    #[must_use]
    pub fn largest_pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.root.join("sys/kernel/pid_max")).unwrap_or_default();
        text.trim().parse().unwrap_or(4_194_304)
    }

    /// Whether /proc is mounted such that it keeps the processes of others from us (`hidepid`, `proc(5)`).
    #[must_use]
    pub fn hides_others(&self) -> bool {
        let info = self.mountinfo("self");
        let own = mount_points(&info).filter(|(point, kind, _)| *kind == b"proc" && *point == self.root);
        let Some((_, _, options)) = own.last() else { return false };
        let hiding = [
            &b"hidepid=1"[..],
            b"hidepid=2",
            b"hidepid=4",
            b"hidepid=noaccess",
            b"hidepid=invisible",
            b"hidepid=ptraceable",
        ];
        let hides = options.split(|byte| *byte == b',').any(|option| hiding.contains(&option));
        hides && !nix::unistd::geteuid().is_root()
    }

    /// Whether a process lives that /proc keeps from us so.
    #[must_use]
    pub fn keeps(&self, pid: u32) -> bool {
        let lives = |pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None);
        let others = |pid| lives(pid) == Err(nix::errno::Errno::EPERM);
        // No number, or that of a group, is no process.
        self.hides_others() && i32::try_from(pid).is_ok_and(|pid| pid > 0 && others(pid))
    }

    /// The numbers of processes over whose folder something else is mounted.
    #[must_use]
    pub fn covered(&self) -> Vec<u32> {
        let info = self.mountinfo("self");
        let pids = mount_points(&info).filter_map(|(point, _, _)| {
            point.strip_prefix(&self.root).ok()?.iter().next()?.to_str()?.parse().ok()
        });
        pids.collect()
    }

    /// The processes that the cgroups of version 2 list.
    #[must_use]
    pub fn in_cgroups(&self) -> Vec<u32> {
        let mut waiting: Vec<PathBuf> = self.cgroup_root().into_iter().collect();
        let mut pids = Vec::new();
        let mut left = MOST_CGROUPS;
        while let Some(folder) = waiting.pop() {
            let mut text = String::new();
            // A threaded one lists none, one of another pid namespace zeros.
            let list = File::open(folder.join("cgroup.procs"));
            let _ = list.and_then(|list| list.take(MOST_LIST).read_to_string(&mut text));
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
            for entry in std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok) {
                if left != 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    left -= 1;
                    waiting.push(entry.path());
                }
            }
        }
        pids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known_by_other_ways() {
        let reader = Reader::new("/proc".into());
        let pid = std::process::id();
        assert!(
            reader.is_process(pid)
                && reader.pid_inside(pid).is_some()
                && reader.largest_pid() >= pid
                && !reader.covered().contains(&pid)
        );
        let cgroups = reader.in_cgroups();
        assert!(cgroups.is_empty() || cgroups.contains(&pid), "{cgroups:?}");
    }
}
