//! What an output's thread and the rest of the sensor tell each other.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::event::ACTIONS;

/// Events by their action.
pub type ByAction = BTreeMap<&'static str, u64>;

/// Both sides of it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Rung when there is something to do instead of waiting.
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Until when it may go on, once it is to stop.
    until: Option<Duration>,
    reopen: bool,
    tidings: Tidings,
    changed: bool,
}

/// How an output is, and what became of events since that was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tidings {
    /// Why nothing goes, as long as that is so.
    pub trouble: Option<String>,
    /// What can't be known of what went.
    pub doubt: Option<String>,
    /// Events that arrived.
    pub delivered: ByAction,
    /// Events that the far side refused for good.
    pub refused: ByAction,
    /// Events that the journal dropped before they were read.
    pub dropped: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // What it holds is whole after each step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is to stop: by then at the latest.
    pub(super) fn stop(&self, until: Duration) {
        self.state().until = Some(until);
        self.bell.notify_all();
    }

    /// How long it may still go on, once it is to stop.
    pub(super) fn left(&self, now: Duration) -> Option<Duration> {
        self.state().until.map(|until| until.saturating_sub(now))
    }

    /// Everything is to be opened anew, at once.
    pub(super) fn reopen(&self) {
        self.state().reopen = true;
        self.bell.notify_all();
    }

    pub(super) fn take_reopen(&self) -> bool {
        std::mem::take(&mut self.state().reopen)
    }

    /// Waits, so long at most, or until it is told something.
    pub(super) fn sleep(&self, pause: Duration) {
        let state = self.state();
        let before = (state.until, state.reopen);
        let same = |state: &mut State| (state.until, state.reopen) == before;
        drop(self.bell.wait_timeout_while(state, pause, same));
    }

    pub(super) fn trouble(&self, trouble: Option<String>) {
        let mut state = self.state();
        // Its words may change with each try.
        state.changed |= state.tidings.trouble.is_some() != trouble.is_some();
        state.tidings.trouble = trouble;
    }

    pub(super) fn doubts(&self, doubt: Option<&str>) {
        let mut state = self.state();
        if state.tidings.doubt.as_deref() != doubt {
            state.tidings.doubt = doubt.map(str::to_owned);
            state.changed = true;
        }
    }

    pub(super) fn delivered(&self, action: &str) {
        *self.state().tidings.delivered.entry(known(action)).or_default() += 1;
    }

    pub(super) fn refused(&self, action: &str) {
        *self.state().tidings.refused.entry(known(action)).or_default() += 1;
    }

    pub(super) fn dropped(&self, count: u64) {
        self.state().tidings.dropped += count;
    }

    /// How it is, and whether that is otherwise than when this was last asked; counts begin anew.
    pub(super) fn tidings(&self) -> (Tidings, bool) {
        let mut state = self.state();
        let told = state.tidings.clone();
        let Tidings { trouble, doubt, .. } = std::mem::take(&mut state.tidings);
        state.tidings = Tidings { trouble, doubt, ..Tidings::default() };
        (told, std::mem::take(&mut state.changed))
    }
}

/// The action's name in the catalogue; a journal may hold those of another version.
fn known(action: &str) -> &'static str {
    ACTIONS.iter().find(|known| known.name == action).map_or("unknown", |known| known.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_once_and_trouble_as_long_as_it_lasts() {
        let shared = Shared::default();
        shared.delivered("exec");
        shared.delivered("exec");
        shared.refused("of_tomorrow");
        shared.dropped(3);
        shared.trouble(Some("x".to_owned()));
        let (told, changed) = shared.tidings();
        assert_eq!((told.delivered.get("exec"), told.refused.get("unknown")), (Some(&2), Some(&1)));
        assert!(changed && told.dropped == 3 && told.trouble.is_some());
        shared.trouble(Some("y".to_owned()));
        let (told, changed) = shared.tidings();
        assert_eq!(told, Tidings { trouble: Some("y".to_owned()), ..Tidings::default() });
        assert!(!changed, "it is still so");
        shared.trouble(None);
        assert!(shared.tidings().1);
    }

    #[test]
    fn who_sleeps_is_woken_by_what_there_is_to_do() {
        let shared = Shared::default();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| shared.sleep(Duration::from_secs(3600)));
            while !sleeper.is_finished() {
                shared.stop(Duration::ZERO);
                // Told before it slept it doesn't wake again: tell something else.
                shared.reopen();
                let _ = shared.take_reopen();
                shared.stop(Duration::from_secs(1));
                std::thread::yield_now();
            }
        });
        assert_eq!(shared.left(Duration::from_secs(2)), Some(Duration::ZERO));
    }
}
