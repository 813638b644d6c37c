//! `contain`: somebody acted on the host by the sensor.

use super::Action;
use crate::{
    field::Field,
    record::{Record, Text},
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

impl Target {
    fn record(&self) -> Record {
        let mut record = Record::with_capacity(4);
        record.set(Field::TargetPid, self.pid);
        for (field, text) in
            [(Field::TargetEntityId, &self.entity), (Field::TargetExecutable, &self.executable)]
        {
            if !text.is_empty() {
                record.set(field, text.clone());
            }
        }
        record.set(Field::TargetResult, self.result);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Value;

    #[test]
    fn many_targets_are_counted() {
        let contained = Contained {
            method: Method::Kill,
            target: Text::from("user alice"),
            why: None,
            done: true,
            sentence: Text::from("all ended"),
            targets: vec![Target { pid: 7, result: "ended", ..Target::default() }; TARGETS_MOST + 1],
            rule: None,
        };
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
