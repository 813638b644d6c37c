//! `contain`: somebody acted on the host by the sensor.

use super::Action;
use crate::{
    field::Field,
    record::{Record, Text, Value},
};

/// What the catalogue says.
pub const ACTION: Action = Action {
    name: "contain",
    kind: "event",
    category: &["process"],
    types: &["end"],
    sentence: "Somebody contained processes or ports by `sensor kill` or `sensor port`: who, what, why, and what came of it. The process is the command, and its login that of the person.",
    hooks: "the command itself",
    fields: &[
        Field::EventOutcome,
        Field::EventReason,
        Field::SensorReason,
        Field::SensorContainMethod,
        Field::SensorContainTarget,
        Field::SensorContainCount,
        Field::SensorRuleId,
        Field::SensorTargets,
    ],
    process: true,
};

/// Most processes that one event names; the count has all.
pub const TARGETS_MOST: usize = 256;

/// What is done, each with its word, and its category and type in the standard's words.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident $word:literal $category:literal $kind:literal;)*) => {
        /// What is done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Method {
            $($(#[$doc])* $name,)*
        }

        impl Method {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its word in `sensor.contain.method`.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            fn category(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$category],)* }
            }

            fn kind(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$kind],)* }
            }
        }
    };
}
methods! {
    /// Processes are ended.
    Kill "kill" "process" "end";
    /// Processes are stopped where they are.
    Freeze "freeze" "process" "change";
    /// Frozen processes go on.
    Thaw "thaw" "process" "change";
    /// A port is closed.
    PortClose "port_close" "configuration" "creation";
    /// All is closed but what is allowed.
    PortIsolate "port_isolate" "configuration" "creation";
    /// A rule stays.
    PortConfirm "port_confirm" "configuration" "change";
    /// A rule is taken back by somebody.
    PortUndo "port_undo" "configuration" "deletion";
    /// A rule ends by itself: its time is over, or nobody confirmed it.
    PortExpire "port_expire" "configuration" "deletion";
}

/// A process to which something was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Its pid.
    pub pid: u32,
    /// Its id that isn't used again, where it is known.
    pub entity: Text,
    /// The file that it executes, where it is known.
    pub executable: Text,
    /// What became of it, in a word: `ended`, `frozen`, `alive`, `refused` and the like.
    pub result: &'static str,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contained {
    /// What.
    pub method: Method,
    /// To what, as it was asked for: `user alice`, `port 8080/tcp`.
    pub target: Text,
    /// Why, as the person said.
    pub why: Option<Text>,
    /// Whether all of it was done.
    pub done: bool,
    /// What came of it, in a sentence.
    pub sentence: Text,
    /// The processes.
    pub targets: Vec<Target>,
    /// The rule of the firewall.
    pub rule: Option<Text>,
}

impl Contained {
    /// Begins a record of it.
    #[must_use]
    pub fn record(&self) -> Record {
        let mut record = ACTION.record();
        record.set(Field::EventCategory, self.method.category());
        record.set(Field::EventType, self.method.kind());
        record.set(Field::EventOutcome, if self.done { "success" } else { "failure" });
        if let Some(why) = &self.why {
            record.set(Field::EventReason, why.clone());
        }
        record.set(Field::SensorReason, self.sentence.clone());
        record.set(Field::SensorContainMethod, self.method.word());
        record.set(Field::SensorContainTarget, self.target.clone());
        if let Some(rule) = &self.rule {
            record.set(Field::SensorRuleId, rule.clone());
        }
        if !self.targets.is_empty() {
            record.set(Field::SensorContainCount, self.targets.len() as u64);
            let targets: Vec<Record> = self.targets.iter().take(TARGETS_MOST).map(Target::record).collect();
            record.set(Field::SensorTargets, targets);
        }
        record
    }
}

/// Why something is no such event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is another event.
    #[error("it isn't what `sensor kill` or `sensor port` did")]
    Action,
    /// It has no method, or an unknown one.
    #[error("it says no method that the sensor knows")]
    Method,
    /// It lacks what each has.
    #[error("it lacks {}", .0.name())]
    Lacks(Field),
    /// It names more processes than one may.
    #[error("it names more than {TARGETS_MOST} processes")]
    Targets,
}

/// What a verb says that it did, checked: only what such an event has of its own. Who did it is for others to say.
///
/// # Errors
/// When it is no such event.
pub fn checked(given: &Record) -> Result<Record, Unfit> {
    let word = |field| given.text(field).map(Text::as_bytes);
    if word(Field::EventAction) != Some(ACTION.name.as_bytes()) {
        return Err(Unfit::Action);
    }
    let said = word(Field::SensorContainMethod).ok_or(Unfit::Method)?;
    let method = Method::ALL.iter().find(|method| method.word().as_bytes() == said).ok_or(Unfit::Method)?;
    let mut record = ACTION.record();
    record.set(Field::EventCategory, method.category());
    record.set(Field::EventType, method.kind());
    for field in ACTION.fields {
        if let Some(value) = given.get(*field) {
            record.set(*field, value.clone());
        }
    }
    let done = word(Field::EventOutcome).map(|outcome| outcome == b"success");
    record.set(Field::EventOutcome, if done == Some(true) { "success" } else { "failure" });
    record.set(Field::SensorContainMethod, method.word());
    if let Some(targets) = given.get(Field::SensorTargets) {
        let Value::Records(targets) = targets else { return Err(Unfit::Targets) };
        if targets.len() > TARGETS_MOST {
            return Err(Unfit::Targets);
        }
        record.set(Field::SensorTargets, targets.iter().map(target).collect::<Vec<_>>());
    }
    let lacks = |field: &&Field| !given.has(**field);
    let must = [Field::EventOutcome, Field::SensorReason, Field::SensorContainTarget];
    match must.iter().find(lacks) {
        Some(field) => Err(Unfit::Lacks(*field)),
        None => Ok(record),
    }
}

/// What a process among them has, and nothing else.
fn target(given: &Record) -> Record {
    let mut record = Record::with_capacity(TARGET.len());
    for field in TARGET {
        if let Some(value) = given.get(*field) {
            record.set(*field, value.clone());
        }
    }
    record
}

/// Most that is told of a name, bytes: all of them are to fit into one line, a control character taking six signs of it.
const NAME_MOST: usize = 512;

/// The beginning of what is longer, with a mark.
fn head(text: &[u8]) -> Vec<u8> {
    match text.get(..NAME_MOST) {
        Some(head) if text.len() > NAME_MOST => [head, "…".as_bytes()].concat(),
        _ => text.to_vec(),
    }
}

const TARGET: &[Field] =
    &[Field::TargetPid, Field::TargetEntityId, Field::TargetExecutable, Field::TargetResult];

impl Target {
    fn record(&self) -> Record {
        let mut record = Record::with_capacity(TARGET.len());
        record.set(Field::TargetPid, self.pid);
        for (field, text) in
            [(Field::TargetEntityId, &self.entity), (Field::TargetExecutable, &self.executable)]
        {
            if !text.is_empty() {
                record.set(field, Text::copy_from(&head(text.as_bytes())));
            }
        }
        record.set(Field::TargetResult, self.result);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contained(targets: usize) -> Contained {
        Contained {
            method: Method::Kill,
            target: Text::from("user alice"),
            why: None,
            done: true,
            sentence: Text::from("all ended"),
            targets: vec![Target { pid: 7, result: "ended", ..Target::default() }; targets],
            rule: None,
        }
    }

    /// As it comes from another process: words are texts by then.
    fn handed(record: &Record) -> Record {
        let mut other = Record::new();
        for (field, value) in record.iter() {
            let value = match value {
                Value::Word(word) => Value::Text(Text::from(*word)),
                Value::Words(words) => words.iter().map(|word| Text::from(*word)).collect::<Vec<_>>().into(),
                Value::Records(inner) => Value::Records(inner.iter().map(handed).collect()),
                other => other.clone(),
            };
            other.set(field, value);
        }
        other
    }

    #[test]
    fn as_many_as_are_told_fit_into_a_line() {
        let long = head(&[1; 4000]);
        assert!(long.len() < 4000 && long.ends_with("…".as_bytes()));
        assert_eq!(head(b"/bin/sh"), b"/bin/sh");
        // With the rest of each, and of the event.
        assert!(TARGETS_MOST * (long.len() * 6 + 256) < 1024 * 1024 - 65536);
    }

    #[test]
    fn what_is_handed_over_comes_out_the_same() {
        for method in Method::ALL {
            let contained = Contained {
                method: *method,
                why: Some(Text::from("a\u{1b} drill")),
                rule: Some(Text::from("1234abcd")),
                ..contained(3)
            };
            let record = contained.record();
            let checked = checked(&handed(&record)).unwrap();
            assert_eq!(handed(&checked), handed(&record));
        }
    }

    #[test]
    fn what_is_no_such_event_is_refused_and_what_is_not_its_own_left_out() {
        let record = contained(1).record();
        let without = |field| {
            let mut other = Record::new();
            record
                .iter()
                .filter(|(own, _)| *own != field)
                .for_each(|(own, value)| other.set(own, value.clone()));
            checked(&handed(&other))
        };
        assert_eq!(without(Field::EventAction), Err(Unfit::Action));
        assert_eq!(without(Field::SensorContainMethod), Err(Unfit::Method));
        assert_eq!(without(Field::SensorReason), Err(Unfit::Lacks(Field::SensorReason)));
        assert_eq!(without(Field::EventOutcome), Err(Unfit::Lacks(Field::EventOutcome)));
        let with = |field, value: Value| {
            let mut other = record.clone();
            other.set(field, value);
            checked(&handed(&other))
        };
        assert_eq!(with(Field::EventAction, Value::Word("exec")), Err(Unfit::Action));
        assert_eq!(with(Field::SensorContainMethod, Value::Word("burn")), Err(Unfit::Method));
        let many = vec![Target::default().record(); TARGETS_MOST + 1];
        assert_eq!(with(Field::SensorTargets, Value::Records(many)), Err(Unfit::Targets));
        let alone = checked(&forged()).unwrap();
        for (field, _) in alone.iter() {
            let own = [Field::EventKind, Field::EventCategory, Field::EventType, Field::EventAction];
            assert!(ACTION.fields.contains(&field) || own.contains(&field), "{}", field.name());
        }
        assert_eq!(alone.get(Field::EventKind), Some(&Value::Word("event")));
    }

    /// With what isn't its own, said by somebody else.
    fn forged() -> Record {
        let mut record = contained(1).record();
        for field in
            [Field::EventId, Field::HostName, Field::ProcessExecutable, Field::UserName, Field::EventKind]
        {
            record.set(field, "forged");
        }
        record.set(Field::EventSequence, 1_u64);
        handed(&record)
    }

    #[test]
    fn many_targets_are_counted() {
        let contained = contained(TARGETS_MOST + 1);
        let record = contained.record();
        assert_eq!(record.number(Field::SensorContainCount), Some(TARGETS_MOST as u64 + 1));
        match record.get(Field::SensorTargets) {
            Some(Value::Records(told)) => {
                assert_eq!(told.len(), TARGETS_MOST);
                assert!(!told[0].has(Field::TargetEntityId));
            }
            other => panic!("{other:?}"),
        }
        assert!(!record.has(Field::EventReason) && !record.has(Field::SensorRuleId));
    }
}
