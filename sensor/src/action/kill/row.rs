//! A process of the plan or of the report, as a record.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    contain::{
        Containment, Failed, Way,
        care::firsts,
        evidence::Kept,
        frozen::Frozen,
        targets::Member,
        verify::{Comer, Comers},
    },
    event::{Key, Running, contain::Target},
    field::Field,
    host::Host,
    look::{
        Look, Row as Swept,
        described::{Described, Describer, find},
    },
    procfs::Reader,
    record::{Record, Text},
};

/// What became of a process, or is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Result {
    /// It lives on.
    Alive,
    /// It came again, and was ended.
    Respawned,
    /// It came in the place of one that was ended, and isn't meant by what was asked for.
    Spared,
    /// It is left alone.
    Refused,
    /// It is to be ended or frozen.
    Planned,
    /// It is held still.
    Frozen,
    /// It ended.
    Ended,
    /// It goes on.
    Thawed,
}

impl Result {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Respawned => "respawned",
            Self::Spared => "spared",
            Self::Refused => "refused",
            Self::Planned => "planned",
            Self::Frozen => "frozen",
            Self::Ended => "ended",
            Self::Thawed => "thawed",
        }
    }

    /// Whether it is as it was wanted.
    pub(super) fn is_done(self) -> bool {
        matches!(self, Self::Ended | Self::Frozen | Self::Thawed | Self::Planned)
    }
}

/// One process.
pub(super) struct Row {
    pub(super) record: Record,
    pub(super) key: Key,
    pub(super) became: Result,
    /// How odd it is, as `event.severity`.
    pub(super) severity: u64,
    /// Why it lives, or is left alone; what ends with it.
    pub(super) notes: Vec<String>,
    /// It lives since that isn't permitted.
    pub(super) forbidden: bool,
}

impl Row {
    fn new(record: Record, key: Key, became: Result, severity: u64) -> Self {
        let mut row = Self { record, key, became, severity, notes: Vec::new(), forbidden: false };
        row.became(became);
        row
    }

    fn became(&mut self, became: Result) {
        self.became = became;
        self.record.set(Field::SensorContainResult, became.word());
    }

    fn note(&mut self, note: String) {
        self.record.set(Field::SensorReason, Text::from(note.clone()));
        self.notes.push(note);
    }

    /// As the event names it.
    pub(super) fn target(&self) -> Target {
        let text = |field| self.record.text(field).cloned().unwrap_or_default();
        Target {
            pid: self.key.pid,
            entity: text(Field::ProcessEntityId),
            executable: text(Field::ProcessExecutable),
            result: self.became.word(),
        }
    }
}

/// What was seen of processes while they lived.
#[derive(Default)]
pub(super) struct Seen {
    all: BTreeMap<Key, (Described, Running, Text)>,
}

impl Seen {
    /// What a process executes, and its entity id.
    pub(super) fn runs(&self, key: Key) -> Option<(Running, Text)> {
        self.all.get(&key).map(|(_, running, entity)| (*running, entity.clone()))
    }

    fn of(host: &Host, look: &Look, meant: impl Fn(Key) -> bool) -> Self {
        let processes: Vec<_> = look.all().into_iter().filter(|process| meant(process.key)).collect();
        let mut describer = Describer::new(look, host, &processes);
        let described = processes.iter().map(|process| {
            let described = describer.describe(process);
            (process.key, (described, process.image.running, process.entity.clone()))
        });
        Self { all: described.collect() }
    }
}

/// Looks at all who are meant, or are left alone.
pub(super) fn look(host: &Host, contain: &mut Containment<'_>) -> Seen {
    let looked = Look::by(host, contain.sweeper.kernel());
    let Ok(look) = looked else { return Seen::default() };
    let targets = &contain.targets;
    Seen::of(host, &look, |key| targets.members.contains_key(&key) || targets.refused.contains_key(&key))
}

/// The same of a few.
pub(super) fn few(host: &Host, contain: &Containment<'_>, keys: &[Key]) -> Seen {
    if keys.is_empty() {
        return Seen::default();
    }
    let mut seen = Seen::default();
    for key in keys {
        if let Some(member) = contain.targets.members.get(key) {
            let described = Described {
                record: bare(host, member),
                verdict: crate::look::executable::Verdict::Present,
                severity: 0,
            };
            seen.all.insert(*key, (described, member.row.running, Text::default()));
        }
    }
    seen
}

/// Who is meant and who is left alone, before anything is done.
pub(super) fn planned(host: &Host, contain: &mut Containment<'_>, rows: &[Swept]) -> Vec<Row> {
    let seen = look(host, contain);
    let mut plan = after(host, contain, &seen, &Kept::default(), Result::Planned);
    let pids: Vec<u32> = contain.targets.members.keys().map(|key| key.pid).collect();
    let firsts = firsts(rows, &pids, &contain.sweeper.reader);
    for row in &mut plan {
        if let Some(others) = firsts.get(&row.key.pid).filter(|_| row.became == Result::Planned) {
            row.note(format!("it is the first of its pid namespace: all {others} others in it end with it"));
        }
    }
    plan
}

/// What became of each: so if it doesn't live.
pub(super) fn after(
    host: &Host,
    contain: &mut Containment<'_>,
    seen: &Seen,
    kept: &Kept,
    became: Result,
) -> Vec<Row> {
    let known = known(contain, became);
    let mut rows = Vec::new();
    for (key, member) in &contain.targets.members {
        let mut row = one(host, *key, member, seen, known.of(*key, became));
        if row.became == Result::Alive {
            row.forbidden = contain.failed.get(key).is_some_and(|failed| failed.forbidden);
            row.note(known.loose.get(key).cloned().unwrap_or_else(|| contain.why_alive(*key)));
        }
        set_means(&mut row.record, contain.way, became, contain);
        // What it executed when it was held, which may be another than when it was found.
        let running = seen.runs(*key).map_or(member.row.running, |(running, _)| running);
        set_kept(&mut row.record, kept, &running);
        rows.push(row);
    }
    for (key, (member, reason)) in &contain.targets.refused {
        let mut row = one(host, *key, member, seen, Result::Refused);
        row.note((*reason).to_owned());
        rows.push(row);
    }
    rows.sort_by_key(|row| (row.became, std::cmp::Reverse(row.severity), row.key.pid));
    rows
}

/// What is known of those who are meant, by now.
struct Known {
    living: BTreeSet<Key>,
    failed: BTreeSet<Key>,
    /// Who isn't held, and why.
    loose: BTreeMap<Key, String>,
}

fn known(contain: &mut Containment<'_>, wanted: Result) -> Known {
    // First, as who goes on may have ended since, and bears others.
    let loose = if wanted == Result::Frozen { contain.loose() } else { BTreeMap::new() };
    let failed = contain.failed.keys().copied().collect();
    Known { living: contain.living().into_iter().collect(), failed, loose }
}

impl Known {
    /// What became of one who was to become so.
    fn of(&self, key: Key, wanted: Result) -> Result {
        let lives = self.living.contains(&key);
        match wanted {
            Result::Ended if lives => Result::Alive,
            Result::Frozen if !lives => Result::Ended,
            Result::Frozen if self.failed.contains(&key) || self.loose.contains_key(&key) => Result::Alive,
            wanted => wanted,
        }
    }
}

fn one(host: &Host, key: Key, member: &Member, seen: &Seen, became: Result) -> Row {
    let (record, severity) = match seen.all.get(&key) {
        Some((described, ..)) => (described.record.clone(), described.severity),
        None => (bare(host, member), 0),
    };
    let mut row = Row::new(record, key, became, severity);
    row.record.set(Field::SensorMatches, member.why.iter().map(|word| Text::from(*word)).collect::<Vec<_>>());
    row
}

/// What is known of one that ended before it was looked at.
fn bare(host: &Host, member: &Member) -> Record {
    let mut record = host.common();
    record.set(Field::Timestamp, host.now());
    record.set(Field::EventKind, "state");
    record.set(Field::ProcessPid, member.row.key.pid);
    record.set(Field::ProcessName, member.name.clone());
    let [_, _, _, _, effective, ..] = member.row.actor.ids;
    record.set(Field::UserId, Text::from(effective.to_string()));
    record
}

fn set_means(record: &mut Record, way: Way, became: Result, contain: &Containment<'_>) {
    if became != Result::Planned {
        record.set(Field::SensorContainMeans, way.word());
        record.set(Field::SensorContainId, Text::from(contain.id.to_string()));
    }
}

fn set_kept(record: &mut Record, kept: &Kept, running: &Running) {
    match kept.of(running) {
        Some(Ok(captured)) => {
            record.set(Field::ProcessHashSha256, captured.sha256.clone());
            record.set(Field::SensorEvidenceSha256, captured.sha256.clone());
            record.set(Field::SensorEvidenceSize, captured.size);
            let path = captured.path.as_os_str().as_encoded_bytes();
            record.set(Field::SensorEvidencePath, Text::copy_from(path));
        }
        Some(Err(why)) => record.set(Field::SensorEvidenceMissing, Text::from(why.clone())),
        None => {}
    }
}

/// Adds who came again: those whom the rule means are among the rows already.
pub(super) fn add_comers(host: &Host, rows: &mut Vec<Row>, comers: &Comers) {
    for (key, comer) in &comers.all {
        let member = Member { row: comer.row, why: Vec::new(), name: comer.name.clone(), home: None };
        let at = rows.iter().position(|row| row.key == *key).unwrap_or_else(|| {
            rows.push(Row::new(bare(host, &member), *key, Result::Spared, 0));
            rows.len() - 1
        });
        let Some(row) = rows.get_mut(at) else { continue };
        if row.became == Result::Ended {
            row.became(Result::Respawned);
        }
        if let Some(executable) = &comer.executable {
            row.record.set(Field::ProcessExecutable, executable.clone());
            row.record.set(Field::ProcessArgs, comer.args.clone());
        }
        row.severity = find(&mut row.record, [(73, "it came again after it was ended")]).max(row.severity);
    }
    rows.sort_by_key(|row| (row.became, std::cmp::Reverse(row.severity), row.key.pid));
}

/// Adds what starts those who came again.
pub(super) fn add_starters(rows: &mut [Row], comers: &Comers, starters: impl Fn(&Comer) -> Vec<String>) {
    for row in rows {
        let Some(comer) = comers.all.get(&row.key) else { continue };
        let found = starters(comer);
        row.notes.extend(found.iter().map(|what| format!("started by {what}")));
        row.record.set(Field::SensorContainStarters, found.into_iter().map(Text::from).collect::<Vec<_>>());
    }
}

/// Those who were to be let go on and live: so they do, but those with whom that failed.
pub(super) fn thawed(
    host: &Host,
    frozen: &Frozen,
    failed: &BTreeMap<Key, Failed>,
    reader: &Reader,
) -> Vec<Row> {
    let row = |key: Key| {
        let mut record = host.common();
        record.set(Field::Timestamp, host.now());
        record.set(Field::EventKind, "state");
        record.set(Field::ProcessPid, key.pid);
        if let Some(seen) = reader.seen(key.pid) {
            record.set(Field::ProcessName, seen.name);
        }
        let mut row = Row::new(record, key, Result::Thawed, 0);
        if let Some(failed) = failed.get(&key) {
            row.became(Result::Alive);
            row.forbidden = failed.forbidden;
            row.note(failed.why.clone());
        }
        row
    };
    frozen.living(reader).into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_lives_and_is_held_is_frozen() {
        let key = |pid| Key { pid, start: 7 };
        let known = Known {
            living: [1, 2, 3].map(key).into(),
            failed: [2, 4].map(key).into(),
            loose: [(key(3), "it goes on".to_owned())].into(),
        };
        let became = |wanted| [1, 2, 3, 4, 5].map(|pid| known.of(key(pid), wanted));
        let (alive, ended) = (Result::Alive, Result::Ended);
        assert_eq!(became(Result::Frozen), [Result::Frozen, alive, alive, ended, ended]);
        assert_eq!(became(ended), [alive, alive, alive, ended, ended]);
        assert_eq!(became(Result::Planned), [Result::Planned; 5]);
    }
}
