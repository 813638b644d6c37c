//! Which events an output wants.

use super::cursor::Entry;
use crate::config;

/// What an event must be; what isn't asked for lets all pass.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    actions: Vec<String>,
    users: Vec<String>,
    severity_min: u64,
}

impl Filter {
    /// As it is configured.
    #[must_use]
    pub fn new(wanted: &config::Wanted) -> Self {
        Self {
            actions: wanted.actions.clone(),
            users: wanted.users.clone(),
            severity_min: wanted.severity_min,
        }
    }

    /// Whether the event is wanted.
    pub fn wants(&self, entry: &Entry) -> bool {
        let among = |list: &[String], one: Option<&str>| {
            list.is_empty() || one.is_some_and(|one| list.iter().any(|wanted| wanted == one))
        };
        entry.severity >= self.severity_min
            && among(&self.actions, Some(&entry.action))
            && among(&self.users, entry.user.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: &str, user: Option<&str>, severity: u64) -> Entry {
        Entry {
            position: 1,
            id: String::new(),
            time: 0,
            action: action.to_owned(),
            severity,
            user: user.map(str::to_owned),
            line: String::new(),
        }
    }

    #[test]
    fn what_is_not_asked_for_lets_all_pass() {
        assert!(Filter::default().wants(&entry("loss", None, 0)));
    }

    #[test]
    fn all_conditions_must_hold() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let filter = Filter { actions: words(&["exec", "exit"]), users: words(&["root"]), severity_min: 47 };
        assert!(filter.wants(&entry("exit", Some("root"), 47)));
        assert!(!filter.wants(&entry("fork", Some("root"), 47)));
        assert!(!filter.wants(&entry("exec", Some("alice"), 47)));
        assert!(!filter.wants(&entry("exec", None, 47)), "nobody is no user");
        assert!(!filter.wants(&entry("exec", Some("root"), 46)));
    }
}
