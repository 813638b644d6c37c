//! Processes that are kept from those who list them: what one source shows and a listing doesn't, each looked at
//! again before it is said.

use std::collections::{BTreeMap, BTreeSet};

use super::Row;
use crate::procfs::Reader;

/// How a process is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// No listing of /proc shows it.
    Unlisted,
    /// Something else is mounted over its folder.
    Covered,
}

impl Hidden {
    /// What that means.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Unlisted => {
                "no listing of /proc shows this process, and it lives: something in the kernel hides it"
            }
            Self::Covered => {
                "something is mounted over this process's folder in /proc, which hides it from ps and the like"
            }
        }
    }
}

/// How many numbers are tried where only trying tells.
const TRIED_MOST: u32 = 4_194_304;

/// Finds who is hidden; `sweep`: the kernel's own list, where it can be had.
pub(super) fn find(
    reader: &Reader,
    listed: &[u32],
    mut sweep: impl FnMut() -> Option<Vec<Row>>,
) -> BTreeMap<u32, Hidden> {
    let mut hidden: BTreeMap<u32, Hidden> =
        reader.covered().into_iter().map(|pid| (pid, Hidden::Covered)).collect();
    // Where others are kept from us by rule, a listing that lacks them says nothing.
    if reader.hides_others() {
        return hidden;
    }
    let mut living = || -> BTreeSet<u32> {
        let swept = sweep().map(|rows| rows.iter().map(|row| row.key.pid).collect());
        let mut living: BTreeSet<u32> = swept.unwrap_or_else(|| tried(reader));
        living.extend(reader.in_cgroups());
        living
    };
    let known: BTreeSet<u32> = listed.iter().copied().collect();
    let suspects: Vec<u32> = living().into_iter().filter(|pid| !known.contains(pid)).collect();
    if suspects.is_empty() {
        return hidden;
    }
    // Who was born or ended between two readings is no suspect any more.
    let now: BTreeSet<u32> = reader.listed().unwrap_or_default().into_iter().collect();
    let still = living();
    let of_suspects = |pid: &u32| !now.contains(pid) && still.contains(pid) && reader.is_process(*pid);
    hidden.extend(suspects.into_iter().filter(of_suspects).map(|pid| (pid, Hidden::Unlisted)));
    hidden
}

/// Numbers to which a process answers.
fn tried(reader: &Reader) -> BTreeSet<u32> {
    let lives = |pid: &u32| {
        let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
        !matches!(nix::sys::signal::kill(pid, None), Err(nix::errno::Errno::ESRCH))
    };
    (1..=reader.largest_pid().min(TRIED_MOST)).filter(lives).collect()
}
