//! Every number the sensor tells of itself: what was delivered, what was lost, where and why.

use std::collections::BTreeMap;

/// What becomes of what was seen, in user space.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    delivered: BTreeMap<&'static str, u64>,
    lost: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    told: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    found: BTreeMap<&'static str, u64>,
    /// What was lost after it had counted as delivered.
    later: BTreeMap<(&'static str, &'static str, &'static str), u64>,
}

impl Counts {
    /// One event of this action went to the output.
    pub fn delivered(&mut self, action: &'static str) {
        *self.delivered.entry(action).or_default() += 1;
    }

    /// One event of this action was found by user space, by no hook.
    pub fn found(&mut self, action: &'static str) {
        *self.found.entry(action).or_default() += 1;
    }

    /// How many of an action were found so.
    #[must_use]
    pub fn found_of(&self, action: &str) -> u64 {
        self.found.get(action).copied().unwrap_or(0)
    }

    /// This many of an action were lost at a stage for a reason.
    pub fn lost(&mut self, stage: &'static str, action: &'static str, reason: &'static str, count: u64) {
        if count != 0 {
            *self.lost.entry((stage, action, reason)).or_default() += count;
        }
    }

    /// This many were lost on the way from where they are kept, for one of those who read them there: they were delivered before.
    pub fn lost_later(
        &mut self,
        stage: &'static str,
        action: &'static str,
        reason: &'static str,
        count: u64,
    ) {
        if count != 0 {
            *self.later.entry((stage, action, reason)).or_default() += count;
        }
    }

    /// What was lost since this was last asked: stage, action, reason, how many.
    pub fn news(&mut self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
        let mut news = Vec::new();
        for ((stage, action, reason), count) in self.lost.iter().chain(&self.later) {
            let told = self.told.entry((stage, action, reason)).or_default();
            if *count > *told {
                news.push((*stage, *action, *reason, *count - *told));
                *told = *count;
            }
        }
        news
    }

    /// How many of an action were delivered.
    #[must_use]
    pub fn delivered_of(&self, action: &str) -> u64 {
        self.delivered.get(action).copied().unwrap_or(0)
    }

    /// How many of an action were lost for a reason, at whatever stage.
    #[must_use]
    pub fn lost_for(&self, action: &str, reason: &str) -> u64 {
        let of = |(at, _): &(&(&str, &str, &str), &u64)| at.1 == action && at.2 == reason;
        self.lost.iter().filter(of).map(|(_, count)| count).sum()
    }

    /// How many of an action were lost, at whatever stage.
    #[must_use]
    pub fn lost_of(&self, action: &str) -> u64 {
        self.lost.iter().filter(|((_, of, _), _)| *of == action).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_told_once() {
        let mut counts = Counts::default();
        counts.lost("kernel", "exec", "ring_full", 2);
        counts.lost("output", "exec", "full", 1);
        counts.lost("output", "exec", "full", 0);
        assert_eq!(counts.news(), [("kernel", "exec", "ring_full", 2), ("output", "exec", "full", 1)]);
        counts.lost("output", "exec", "full", 4);
        assert_eq!(counts.news(), [("output", "exec", "full", 4)]);
        assert_eq!((counts.lost_of("exec"), counts.lost_for("exec", "full")), (7, 5));
        counts.lost_later("output", "exec", "refused", 3);
        assert_eq!(counts.news(), [("output", "exec", "refused", 3)]);
        assert_eq!(counts.lost_of("exec"), 7, "it was delivered, and counts once");
        counts.delivered("exec");
        counts.found("socket_listen");
        assert_eq!((counts.found_of("socket_listen"), counts.found_of("exec")), (1, 0));
        assert_eq!((counts.delivered_of("exec"), counts.delivered_of("exit")), (1, 0));
    }
}
