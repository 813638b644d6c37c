//! Processes by the kernel's own word: how much each used since the last reading, up to its very end.

use std::collections::HashMap;

use crate::{
    event::{
        Actor, Key,
        exec::Exec,
        usage::{Total, Used},
    },
    record::Text,
};

/// Most processes that ended in one interval and have a row.
const MOST_ENDED: usize = 65_536;
/// Most that are known by what they did since they were last seen in /proc.
const MOST_RECENT: usize = 65_536;
/// The kernel cuts names there (`TASK_COMM_LEN`).
const NAME: usize = 15;

/// What was told of a process that /proc may never have shown.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// Its effective user.
    pub uid: u32,
    /// Who logged in.
    pub login: Option<u32>,
    /// The name of its image.
    pub name: Option<Text>,
    /// Its executable.
    pub executable: Option<Text>,
    /// The cgroup's path.
    pub cgroup: Option<Text>,
    /// Until it executes something it is what this one is.
    pub creator: Option<Key>,
}

/// A process that ended.
#[derive(Debug)]
pub struct Ended {
    /// Which.
    pub key: Key,
    /// Who it was.
    pub who: Who,
    /// What it used since the last reading, unless it isn't known what it used before.
    pub used: Option<Used>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Lives {
    used: HashMap<Key, (Used, u32)>,
    recent: HashMap<Key, (Who, u32)>,
    ended: Vec<Ended>,
    began: u64,
    round: u32,
    /// There were more than are kept.
    pub truncated: bool,
}

impl Lives {
    /// What was used before now, nanoseconds since boot, doesn't count.
    pub fn new(began: u64, totals: &[Total]) -> Self {
        let used = totals.iter().map(|total| (total.key, (total.used, 0))).collect();
        Self { used, began, ..Self::default() }
    }

    /// A process was born.
    pub fn fork(&mut self, key: Key, creator: Key, actor: &Actor) {
        let like = match self.recent.get(&creator) {
            Some((who, _)) => who.clone(),
            None => Who { creator: Some(creator), ..Who::default() },
        };
        self.learn(key, acting(like, actor));
    }

    /// A process executes something else.
    pub fn exec(&mut self, key: Key, actor: &Actor, exec: &Exec) {
        let path = &exec.executable.path;
        let named = exec.script.as_ref().unwrap_or(path).as_bytes();
        let name = named.rsplit(|byte| *byte == b'/').next().unwrap_or(named);
        let who = Who {
            name: Some(Text::copy_from(name.get(..NAME).unwrap_or(name))),
            executable: Some(path.clone()),
            cgroup: (!exec.cgroup.is_empty()).then(|| exec.cgroup.clone()),
            ..Who::default()
        };
        self.learn(key, acting(who, actor));
    }

    fn learn(&mut self, key: Key, who: Who) {
        if self.recent.len() < MOST_RECENT || self.recent.contains_key(&key) {
            self.recent.insert(key, (who, self.round));
        } else {
            self.truncated = true;
        }
    }

    /// A process ended, and used so much in its life.
    pub fn exit(&mut self, key: Key, actor: &Actor, life: &Used) {
        let before = match self.used.remove(&key) {
            Some((used, _)) => Some(used),
            None if key.start < self.began => None,
            None => Some(Used::default()),
        };
        let known = self.recent.remove(&key).map(|(who, _)| who).unwrap_or_default();
        if self.ended.len() >= MOST_ENDED {
            self.truncated = true;
            return;
        }
        let used = before.map(|before| life.since(&before));
        self.ended.push(Ended { key, who: acting(known, actor), used });
    }

    /// A reading of those that live: what each used since the last one. Whom /proc doesn't show yet, as it was born since, has no
    /// row either: what it used comes with the next reading.
    pub fn read(&mut self, totals: &[Total], shown: impl Fn(Key) -> bool) -> Vec<(Key, Used)> {
        self.round = self.round.wrapping_add(1);
        let round = self.round;
        let mut news = Vec::new();
        for total in totals {
            let known = self.used.get(&total.key).map(|(used, _)| *used);
            if known.is_none() && !shown(total.key) {
                continue;
            }
            let before = known.or_else(|| (total.key.start >= self.began).then(Used::default));
            if let Some(before) = before {
                news.push((total.key, total.used.since(&before)));
            }
            let most = before.unwrap_or_default().at_least(&total.used);
            self.used.insert(total.key, (most, round));
        }
        news
    }

    /// Those that ended since this was last asked. Forgets whom /proc shows now, and whose end was lost.
    pub fn ended(&mut self, shown: impl Fn(Key) -> bool) -> Vec<Ended> {
        let round = self.round;
        let fresh = |seen: u32| round.wrapping_sub(seen) < 2;
        self.used.retain(|_, (_, seen)| fresh(*seen));
        self.recent.retain(|key, (_, seen)| fresh(*seen) && !shown(*key));
        std::mem::take(&mut self.ended)
    }

    /// Whether its end is still to come, as far as is known.
    pub fn knows(&self, key: Key) -> bool {
        self.used.contains_key(&key) || self.recent.contains_key(&key)
    }

    /// Who this is, if /proc hasn't shown it since it was born or executed something.
    pub fn recent(&self, key: Key) -> Option<&Who> {
        self.recent.get(&key).map(|(who, _)| who)
    }
}

fn acting(who: Who, actor: &Actor) -> Who {
    let [_, _, _, _, uid, ..] = actor.ids;
    Who { uid, login: (actor.login_uid != u32::MAX).then_some(actor.login_uid), ..who }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(cpu_ns: u64) -> Used {
        Used { cpu_ns, ..Used::default() }
    }

    fn total(key: Key, cpu_ns: u64) -> Total {
        Total { key, actor: None, used: used(cpu_ns) }
    }

    const OLD: Key = Key { pid: 1, start: 10 };
    const NEW: Key = Key { pid: 2, start: 200 };

    #[test]
    fn a_life_is_told_once_from_the_first_reading_to_the_end() {
        let mut lives = Lives::new(100, &[total(OLD, 1000)]);
        assert_eq!(lives.read(&[total(OLD, 1003), total(NEW, 4)], |key| key == OLD), [(OLD, used(3))]);
        let told = lives.read(&[total(OLD, 1005), total(NEW, 7)], |_| true);
        assert_eq!(told, [(OLD, used(2)), (NEW, used(7))], "all of its life, once there is a row for it");
        lives.exit(OLD, &Actor::default(), &used(1009));
        lives.exit(NEW, &Actor::default(), &used(10));
        // Born and ended between two readings; and one of which it isn't known what it had used.
        lives.exit(Key { pid: 3, start: 300 }, &Actor::default(), &used(3));
        lives.exit(Key { pid: 4, start: 20 }, &Actor::default(), &used(9999));
        let ended: Vec<_> = lives.ended(|_| false).into_iter().map(|it| it.used).collect();
        assert_eq!(ended, [Some(used(4)), Some(used(3)), Some(used(3)), None]);
        assert!(lives.ended(|_| false).is_empty() && lives.used.is_empty());
    }

    #[test]
    fn a_child_is_what_its_creator_is() {
        let mut lives = Lives::new(100, &[]);
        let actor = Actor { ids: [0, 0, 0, 0, 7, 0, 0, 0], login_uid: u32::MAX, ..Actor::default() };
        lives.fork(NEW, OLD, &actor);
        let who = lives.recent(NEW).unwrap();
        assert_eq!((who.uid, who.login, who.creator, who.name.clone()), (7, None, Some(OLD), None));
        let grandchild = Key { pid: 3, start: 300 };
        lives.fork(grandchild, NEW, &actor);
        assert_eq!(lives.recent(grandchild).unwrap().creator, Some(OLD));
        lives.ended(|key| key == NEW);
        assert!(lives.recent(NEW).is_none() && lives.recent(grandchild).is_some());
        for _ in 0..2 {
            lives.read(&[], |_| true);
            lives.ended(|_| false);
        }
        assert!(lives.recent(grandchild).is_none());
    }

    #[test]
    fn a_storm_is_bounded() {
        let mut lives = Lives::new(0, &[]);
        for pid in 0..=u32::try_from(MOST_RECENT).unwrap() {
            let key = Key { pid, start: 1 };
            lives.fork(key, OLD, &Actor::default());
        }
        assert!(std::mem::take(&mut lives.truncated) && lives.recent.len() == MOST_RECENT);
        for pid in 0..=u32::try_from(MOST_ENDED).unwrap() {
            lives.exit(Key { pid, start: 1 }, &Actor::default(), &used(1));
        }
        assert!(lives.truncated && lives.ended.len() == MOST_ENDED);
    }
}
