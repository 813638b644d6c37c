//! The verifier's work on each program is within its budget, on this kernel.

use std::fs;
use std::time::Duration;
use tests::budget::{Table, column, costs, line};
use tests::skip::skip;
use tests::{Folder, lock, verifier, words};

#[test]
fn every_program_is_within_its_budget() {
    if skip() {
        return;
    }
    let _lock = lock::alone();
    let folder = Folder::new();
    let calls = folder.at("calls.toml");
    fs::write(&calls, "[kernel]\nnames = \"tracepoints\"\n").unwrap();
    // As it is begun, and with the tracepoints, which the marks leave out.
    let mut loads = verifier::loads(words!["doctor"]);
    loads.extend(verifier::loads(words!["doctor", "--config", &calls]));
    assert!(loads.len() > 20 && loads.iter().any(|load| load.took > Duration::ZERO), "{loads:?}");
    let costs = costs(loads);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let release = release.trim_end();
    for (program, cost) in &costs {
        println!("{}", line(release, program, *cost));
    }
    let kernel = column(release).unwrap_or_else(|| panic!("no series in {release}"));
    let complaints = Table::kept().complaints(&kernel, &costs);
    assert!(
        complaints.is_empty(),
        "{}\nmake it cheaper for the verifier, or, when it is worth it, run `cargo xtask verifier` and commit docs/verifier.md",
        complaints.join("\n")
    );
}
