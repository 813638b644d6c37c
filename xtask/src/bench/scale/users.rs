//! Work of more and more users.

use nix::sys::wait::waitpid;

use super::super::{Report, failed};
use super::growth::Series;
use super::point::NAMES;
use super::{Bench, USUAL};
use crate::error::Result;
use crate::say;

/// The first of them: none that the host has.
const FIRST: u32 = 100_000;
/// Events of a process that executes nothing.
const EVENTS: u64 = 2;

/// Measures it.
pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    let count = bench.args.spawns;
    let title = format!("users that {count} processes are of in turn, which are born and end\n{NAMES}");
    let mut series = Series::new("users", title);
    let points: Vec<u32> = [1, 10, 100, 1000].into_iter().chain((count > 1000).then_some(count)).collect();
    for users in bench.args.wanted(&points) {
        say(&format!("{users} users"));
        let defines = [format!("-DTIMES={count}"), format!("-DUSERS={users}"), format!("-DOWNER={FIRST}")];
        let program = bench.lab.program("turns", &defines)?;
        let mut turns = || {
            waitpid(program.spawn()?, None).map_err(failed("wait for a program"))?;
            Ok(u64::from(count) * EVENTS)
        };
        let point = bench.point(super::processes::HOOKS, &mut turns)?;
        series.add(users, &point.costs(), point.lost);
    }
    series.tables(USUAL).into_iter().for_each(|table| report.add(table));
    Ok(())
}
