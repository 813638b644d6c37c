//! Beside more and more processes that wait, and how soon verbs answer there.

use super::super::Report;
use super::super::crowd::{Crowd, Has};
use super::super::look;
use super::super::number::Sample;
use super::super::storm::Spawns;
use super::growth::{Growth, Series};
use super::point::NAMES;
use super::{Bench, USUAL};
use crate::error::Result;
use crate::say;

/// A user that nobody else is.
const OWNER: &str = "54321";
/// How often a verb is asked; its quickest answer counts.
const ASKED: u32 = 3;
/// Verbs, and what they are called here.
const VERBS: &[(&str, &[&str])] = &[
    ("ps s", &["ps", "--format", "json"]),
    ("ports s", &["ports", "--format", "json"]),
    ("who s", &["who", "--format", "json"]),
];

/// The programs that a process meets from its birth to its end.
pub(super) const HOOKS: &[&str] = &["sched_process_"];
/// Events of a process.
pub(super) const EVENTS: u64 = 3;

/// Measures it.
pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    let spawns = Spawns::new(bench.lab, bench.args.spawns)?;
    let title = format!(
        "processes that wait, and {} short ones as work\n{NAMES};\nps, ports, who: the verb's answer in JSON, seconds",
        spawns.count()
    );
    let mut series = Series::new("processes", title);
    for count in bench.args.points() {
        say(&format!("beside {count} processes"));
        let crowd = Crowd::gather(bench.lab, count, OWNER, Has::Nothing)?;
        let mut storm = || spawns.run(None).map(|_| u64::from(spawns.count()) * EVENTS);
        let point = bench.point(HOOKS, &mut storm)?;
        let mut costs = point.costs();
        for (name, words) in VERBS {
            let mut seconds = Sample::default();
            for _ in 0..ASKED {
                seconds.add(look::answered(&bench.lab.sensor(), words)?);
            }
            costs.push((name, seconds.least(), 3));
        }
        crowd.leave()?;
        series.add(count, &costs, point.lost);
    }
    let mut growths = USUAL.to_vec();
    growths.extend(VERBS.iter().map(|(name, _)| (*name, Growth::Linear)));
    series.tables(&growths).into_iter().for_each(|table| report.add(table));
    Ok(())
}
