//! Keeps the calling thread, and what it starts, on one CPU.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::failed;
use crate::error::Result;

const ITSELF: Pid = Pid::from_raw(0);

/// Does something on one CPU, or wherever the kernel likes.
pub(crate) fn on<T>(cpu: Option<usize>, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(cpu) = cpu else {
        return act();
    };
    let before = sched_getaffinity(ITSELF).map_err(failed("ask for the allowed CPUs"))?;
    let mut one = CpuSet::new();
    one.set(cpu).map_err(failed("choose a CPU"))?;
    sched_setaffinity(ITSELF, &one).map_err(failed("stay on one CPU"))?;
    let result = act();
    sched_setaffinity(ITSELF, &before).map_err(failed("leave one CPU"))?;
    result
}

/// The CPUs that this process may use.
pub(crate) fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(ITSELF).map_err(failed("ask for the allowed CPUs"))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}
