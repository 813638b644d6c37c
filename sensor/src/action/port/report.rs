//! Rules as records, and as lines for a person.

use crate::{
    event::{Action, contain::Method},
    field::Field,
    firewall::{
        self, State,
        rule::{Connection, Id, Rule, Scope, Way},
    },
    format::{
        table::{Head, Line, span},
        text::cell::{findings, plain, shown, words},
    },
    host::Host,
    record::{Record, Text, Time, Value},
};

/// What every row says of itself.
const ROW: Action = Action {
    name: "rule_snapshot",
    kind: "state",
    category: &["configuration"],
    types: &["info"],
    sentence: "",
    hooks: "",
    fields: &[],
    process: false,
};

/// A rule.
pub(super) struct Row {
    record: Record,
    /// How long it has, seconds.
    left: Option<u64>,
}

impl Row {
    /// One that is on record.
    pub(super) fn of(rule: &Rule, state: &'static str, host: &Host) -> Self {
        let mut record = common(host);
        record.set(Field::SensorContainMethod, method(rule.scope).word());
        record.set(Field::SensorContainTarget, target(rule.scope));
        if let Some(reason) = &rule.reason {
            record.set(Field::EventReason, reason.clone());
        }
        if let Scope::Close(port) = rule.scope {
            record.set(Field::ServerPort, port.number.get());
            if let Some(transport) = port.transport {
                record.set(Field::NetworkTransport, transport.word());
            }
        }
        record.set(Field::SensorRuleId, rule.id.to_string());
        record.set(Field::SensorRuleState, state);
        let texts = |all: Vec<String>| all.into_iter().map(Text::from).collect::<Vec<_>>();
        if !rule.allow.is_empty() {
            record.set(Field::SensorRuleAllow, texts(rule.allow.iter().map(ToString::to_string).collect()));
        }
        if !rule.kept.is_empty() {
            record.set(Field::SensorRuleKept, texts(rule.kept.iter().map(connection).collect()));
        }
        record.set(Field::SensorRulePersist, rule.persist);
        record.set(Field::SensorRuleWay, rule.way.word());
        record.set(Field::SensorSocketNetns, u64::from(rule.netns).to_string());
        let end = rule.end();
        if let Some(end) = end {
            record.set(Field::SensorRuleUntil, Time(end.epoch));
        }
        Self { record, left: end.map(|end| firewall::until(end, host).as_secs()) }
    }

    /// One that nobody has a record of.
    pub(super) fn unrecorded(id: &Id, way: Way, host: &Host) -> Self {
        let mut record = common(host);
        record.set(Field::SensorRuleId, id.to_string());
        record.set(Field::SensorRuleState, State::Unrecorded.word());
        record.set(Field::SensorRuleWay, way.word());
        Self { record, left: None }
    }

    /// With something that is to be known of it.
    pub(super) fn with(mut self, note: &str) -> Self {
        self.record.set(Field::SensorFindings, vec![Text::from(note.to_owned())]);
        self
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// As a line.
    pub(super) fn line(&self) -> Line {
        let shown = |field| shown(&self.record, field);
        let persist = matches!(self.record.get(Field::SensorRulePersist), Some(Value::Bool(true)));
        let cells = vec![
            shown(Field::SensorRuleId),
            plain(self.record.text(Field::SensorContainTarget).map(Text::as_bytes).unwrap_or_default()),
            shown(Field::SensorRuleState).replace('_', " "),
            self.left.map(span).unwrap_or_default(),
            words(&self.record, Field::SensorRuleAllow).join(" "),
            words(&self.record, Field::SensorRuleKept).join(" "),
            if persist { "yes".to_owned() } else { String::new() },
            shown(Field::SensorRuleWay),
            shown(Field::EventReason),
        ];
        Line { cells, severity: 0, notes: findings(&self.record) }
    }
}

fn common(host: &Host) -> Record {
    let mut record = ROW.record();
    record.extend_from(&host.common());
    record.set(Field::Timestamp, host.now());
    record
}

/// The columns.
pub(super) fn heads() -> [Head; 9] {
    ["ID", "WHAT", "STATE", "LEFT", "ALLOWED", "KEPT", "PERSISTS", "WAY", "REASON"]
        .map(|title| Head { title, right: title == "LEFT" })
}

/// A list, and what guards did.
pub(super) fn text(table: String, rules: usize, told: &[String]) -> String {
    let mut text = if rules == 0 { "no rules\n".to_owned() } else { table };
    if !told.is_empty() {
        text.push_str("\nended by itself:\n");
        told.iter().for_each(|told| text.extend(["  ", plain(told.as_bytes()).as_str(), "\n"]));
    }
    text
}

/// What a rule is about, as it was asked for.
pub(super) fn target(scope: Scope) -> String {
    match scope {
        Scope::Close(port) => format!("port {port}"),
        Scope::Isolate => "host".to_owned(),
    }
}

/// What is done when it is made.
pub(super) fn method(scope: Scope) -> Method {
    match scope {
        Scope::Close(_) => Method::PortClose,
        Scope::Isolate => Method::PortIsolate,
    }
}

/// A connection, from its far end to the one here.
pub(super) fn connection(connection: &Connection) -> String {
    format!("{}->{}", connection.remote, connection.local)
}
