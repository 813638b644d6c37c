//! The verifier's work on each program is within its budget, on this kernel.

use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::answer::Answer;
use tests::budget::{Table, column, costs, line};
use tests::netns::{ALLOWED, world};
use tests::place::{cgroups, mount_bind, mount_bpf};
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
    loads.extend(firewall());
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

/// The programs of a rule without nftables, in a network where it is nobody's business.
fn firewall() -> Vec<verifier::Load> {
    // Without cgroups of version 2 there is no such rule.
    if cgroups().is_none() {
        return Vec::new();
    }
    world(|_| {
        let nft = Path::new("/usr/sbin/nft");
        if nft.exists() {
            mount_bind(Path::new("/dev/null"), nft);
        }
        mount_bpf(Path::new("/sys/fs/bpf"));
        let loads = verifier::loads(words!["port", "isolate", "--allow", ALLOWED[0], "--yes"]);
        let rules = Answer::to(&["port", "list"]).rows;
        assert_eq!(rules.len(), 1, "{rules:?}");
        Answer::to(&["port", "undo", rules[0].str("sensor.rule.id")]).status(0);
        loads
    })
}
