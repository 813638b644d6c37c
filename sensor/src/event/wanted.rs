//! Which events somebody wants: the same conditions for who watches (`watch`) and for an output.

use crate::{
    field::Field,
    record::{Record, Value},
};

/// What an event must be; what isn't asked for lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// One of these actions.
    pub actions: Vec<String>,
    /// Of one of these users, by name or number: who logged in, who started the process, or as whom it acts.
    pub users: Vec<String>,
    /// With this severity at least; one without any has 0.
    pub severity_min: u64,
    /// Of this process.
    pub pid: Option<u32>,
}

/// An event, in whatever form it is at hand.
pub trait Told {
    /// `event.action`.
    fn action(&self) -> &str;
    /// `event.severity`; 0 where there is none.
    fn severity(&self) -> u64;
    /// Whether it is of this process (`process.pid`).
    fn is_of_process(&self, pid: u32) -> bool;
    /// Whether one of its users has this name or number.
    fn is_of_user(&self, user: &str) -> bool;
}

/// The names and numbers of an event's users.
pub const USERS: [Field; 6] = [
    Field::UserId,
    Field::UserName,
    Field::ProcessRealUserId,
    Field::ProcessRealUserName,
    Field::SensorLoginUid,
    Field::SensorLoginName,
];

impl Wanted {
    /// Whether this event is wanted: all conditions hold.
    pub fn wants(&self, event: &impl Told) -> bool {
        let one_of =
            |list: &[String], is: &dyn Fn(&str) -> bool| list.is_empty() || list.iter().any(|one| is(one));
        event.severity() >= self.severity_min
            && one_of(&self.actions, &|action| event.action() == action)
            && self.pid.is_none_or(|pid| event.is_of_process(pid))
            // Of an event that was kept, it takes the longest to say.
            && one_of(&self.users, &|user| event.is_of_user(user))
    }
}

impl Told for Record {
    fn action(&self) -> &str {
        match self.get(Field::EventAction) {
            Some(Value::Word(word)) => word,
            Some(Value::Text(text)) => std::str::from_utf8(text.as_bytes()).unwrap_or_default(),
            _ => "",
        }
    }

    fn severity(&self) -> u64 {
        self.number(Field::EventSeverity).unwrap_or(0)
    }

    fn is_of_process(&self, pid: u32) -> bool {
        self.number(Field::ProcessPid) == Some(u64::from(pid))
    }

    fn is_of_user(&self, user: &str) -> bool {
        USERS.iter().any(|field| match self.get(*field) {
            Some(Value::Text(text)) => text.as_bytes() == user.as_bytes(),
            Some(Value::Id(number) | Value::U64(number)) => number.to_string() == user,
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Text;

    fn record() -> Record {
        let mut record = Record::new();
        record.set(Field::EventAction, "exec");
        record.set(Field::EventSeverity, 47_u64);
        record.set(Field::ProcessPid, 7_u32);
        record.set(Field::UserId, Value::Id(0));
        record.set(Field::UserName, Text::from("root"));
        record.set(Field::ProcessRealUserId, Value::Id(1000));
        record.set(Field::SensorLoginUid, Value::Id(1001));
        record
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_is_not_asked_for_lets_all_pass() {
        assert!(Wanted::default().wants(&record()) && Wanted::default().wants(&Record::new()));
    }

    #[test]
    fn all_conditions_must_hold() {
        let all = Wanted {
            actions: words(&["exit", "exec"]),
            users: words(&["root"]),
            severity_min: 47,
            pid: Some(7),
        };
        assert!(all.wants(&record()));
        for wrong in [
            Wanted { actions: words(&["exit"]), ..all.clone() },
            Wanted { users: words(&["eve"]), ..all.clone() },
            Wanted { severity_min: 73, ..all.clone() },
            Wanted { pid: Some(8), ..all.clone() },
        ] {
            assert!(!wrong.wants(&record()), "{wrong:?}");
        }
        assert!(!all.wants(&Record::new()), "nobody is no user");
    }

    #[test]
    fn a_user_is_any_of_three_by_name_or_number() {
        for (user, is) in
            [("0", true), ("root", true), ("1000", true), ("1001", true), ("1", false), ("00", false)]
        {
            assert_eq!(record().is_of_user(user), is, "{user}");
        }
    }
}
