//! All that is to be said of a process, as a record.

use std::collections::HashMap;

use super::{
    Look,
    executable::{Judge, Verdict},
};
use crate::{
    enrich::Enricher,
    event::process_snapshot,
    field::Field,
    host::Host,
    package::{Package, Packages},
    process::Process,
    record::{Record, Text, Time},
};

/// A process, and what is to be thought of it.
#[derive(Clone, Debug)]
pub struct Described {
    /// What is known of it.
    pub record: Record,
    /// What is to be thought of its executable.
    pub verdict: Verdict,
    /// How odd it is, as `event.severity`; 0 is not odd.
    pub severity: u64,
}

/// Describes one after the other.
pub struct Describer<'a> {
    look: &'a Look,
    judge: Judge<'a>,
    enricher: Enricher,
    owners: HashMap<Text, Package>,
    common: Record,
    now: Time,
    page_bytes: u64,
}

impl<'a> Describer<'a> {
    /// Of these processes of what was looked at; the packages of their executables are asked for at once.
    #[must_use]
    pub fn new(look: &'a Look, host: &Host, processes: &[&Process]) -> Self {
        let mut paths: Vec<Text> =
            processes.iter().filter_map(|process| process.image.executable.clone()).collect();
        paths.sort_unstable();
        paths.dedup();
        Self {
            look,
            judge: Judge::new(look),
            enricher: Enricher::new(host.passwd(), host.boot()),
            owners: Packages::new(host.root()).owners(&paths),
            common: host.common(),
            now: host.now(),
            page_bytes: host.page_bytes(),
        }
    }

    /// Who it is and what it executes, with what is odd about that.
    pub fn describe(&mut self, process: &Process) -> Described {
        let mut record = process_snapshot::ACTION.record();
        self.enricher.set(process, &mut record);
        record.extend_from(&self.common);
        record.set(Field::Timestamp, self.now);
        // The records of packages are those of our root.
        let owner = process.image.executable.as_ref().and_then(|path| self.owners.get(path));
        let owner = owner.filter(|_| self.judge.is_own(process));
        if let Some(package) = owner {
            record.set(Field::PackageName, package.name.clone());
            record.set(Field::PackageType, package.kind);
        }
        let verdict = self.judge.verdict(process, owner.is_some());
        record.set(Field::SensorExeVerdict, verdict.word());
        if let Some(state) = verdict.state() {
            record.set(Field::SensorExeState, state);
        }
        let beside = self.look.beside.get(&process.key.pid);
        if let Some(seen) = beside.and_then(|beside| beside.seen.as_ref()) {
            record.set(Field::SensorUsageCpuNs, seen.cpu_ns);
            record.set(Field::SensorUsageRssBytes, seen.rss_pages.saturating_mul(self.page_bytes));
            if !record.has(Field::ProcessName) {
                record.set(Field::ProcessName, seen.name.clone());
            }
        }
        let hidden = beside.and_then(|beside| beside.hidden).map(|hidden| (99, hidden.sentence()));
        let odd = verdict.sentence().map(|sentence| (verdict.severity(), sentence));
        let severity = find(&mut record, hidden.into_iter().chain(odd));
        Described { record, verdict, severity }
    }
}

/// Adds what is odd to what was found before, and gives how odd all of it is: as its oddest.
pub fn find(record: &mut Record, findings: impl IntoIterator<Item = (u64, impl Into<Text>)>) -> u64 {
    let before = record.number(Field::EventSeverity).unwrap_or(0);
    let (odds, mut sentences): (Vec<u64>, Vec<Text>) =
        findings.into_iter().map(|(odd, sentence)| (odd, sentence.into())).unzip();
    let found = odds.into_iter().max().unwrap_or(0);
    // The oddest stand first.
    let at = if found > before { sentences.len() } else { 0 };
    sentences.splice(at..at, record.texts(Field::SensorFindings).iter().cloned());
    let severity = before.max(found);
    if severity != 0 {
        record.set(Field::EventSeverity, severity);
        record.set(Field::SensorFindings, sentences);
    }
    severity
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oddest_stand_first() {
        let mut record = Record::new();
        assert_eq!(find(&mut record, Vec::<(u64, Text)>::new()), 0);
        assert!(!record.has(Field::SensorFindings));
        for (odd, sentence, severity) in [(47, "a", 47), (73, "b", 73), (21, "c", 73)] {
            assert_eq!(find(&mut record, [(odd, sentence)]), severity);
        }
        let told: Vec<_> =
            record.texts(Field::SensorFindings).iter().map(|text| text.to_str_lossy()).collect();
        assert_eq!(told, ["b", "a", "c"]);
        assert_eq!(record.number(Field::EventSeverity), Some(73));
    }
}
