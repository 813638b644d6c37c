//! How often a service may be asked: so many questions a minute, also over several runs of the sensor.

use std::{io, time::Duration};

use crate::shelf::Shelf;

const FILE: &str = "asked";
const HEAD: &str = "sensor asked 1";
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// The pace.
#[derive(Debug)]
pub struct Pace {
    per_minute: usize,
    /// Where it is kept; else it is that of this run alone.
    shelf: Option<Shelf>,
    state: State,
}

/// What was asked lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// The service wants to be left alone until then, milliseconds since the epoch.
    not_before: u64,
    /// When it was asked.
    asked: Vec<u64>,
}

impl State {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix(HEAD)?.strip_prefix('\n')?.lines();
        let not_before = lines.next()?.parse().ok()?;
        let asked = lines.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { not_before, asked })
    }

    fn text(&self) -> String {
        let asked = self.asked.iter().map(|time| format!("{time}\n"));
        format!("{HEAD}\n{}\n{}", self.not_before, asked.collect::<String>())
    }

    /// How long to wait for one's turn; none: it is now.
    fn turn(&mut self, now: u64, per_minute: usize) -> Option<Duration> {
        // Times to come are of a clock that was set since.
        self.asked.retain(|time| *time <= now && now - time < MINUTE_MS);
        self.asked.sort_unstable();
        match self.not_before.checked_sub(now) {
            Some(left @ 1..=DAY_MS) => return Some(Duration::from_millis(left)),
            // It is over, also for a clock that is set back later, or never was meant.
            _ => self.not_before = 0,
        }
        let too_many = (self.asked.len() + 1).saturating_sub(per_minute);
        let until = too_many.checked_sub(1).and_then(|at| self.asked.get(at)).map(|time| time + MINUTE_MS);
        match until {
            Some(until) => Some(Duration::from_millis(until.saturating_sub(now).max(1))),
            None => {
                self.asked.push(now);
                None
            }
        }
    }
}

impl Pace {
    /// Of so many questions a minute.
    #[must_use]
    pub fn new(per_minute: u32, shelf: Option<Shelf>) -> Self {
        Self { per_minute: per_minute as usize, shelf, state: State::default() }
    }

    /// How long to wait before asking; none: now, and that counts as asked.
    ///
    /// # Errors
    /// When what was asked before can't be read or kept.
    pub fn turn(&mut self, now: u64) -> io::Result<Option<Duration>> {
        let per_minute = self.per_minute;
        self.change(|state| state.turn(now, per_minute))
    }

    /// The service wants to be left alone for so long.
    ///
    /// # Errors
    /// When that can't be kept.
    pub fn leave_alone(&mut self, now: u64, how_long: Duration) -> io::Result<()> {
        let until = now.saturating_add(u64::try_from(how_long.as_millis()).unwrap_or(u64::MAX));
        self.change(|state| state.not_before = state.not_before.max(until))
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let Some(shelf) = &self.shelf else { return Ok(change(&mut self.state)) };
        let _lock = shelf.lock()?;
        // One that is broken is written anew: at worst the service says that it was too much.
        let before = shelf.read(FILE).ok().flatten().and_then(|text| State::parse(&text)).unwrap_or_default();
        let mut state = before.clone();
        let result = change(&mut state);
        if state != before {
            shelf.replace(FILE, &state.text())?;
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_any_minute() {
        let mut pace = Pace::new(2, None);
        let seconds = |s: u64| Some(Duration::from_secs(s));
        assert_eq!(pace.turn(100_000).unwrap(), None);
        assert_eq!(pace.turn(110_000).unwrap(), None);
        assert_eq!(pace.turn(120_000).unwrap(), seconds(40));
        assert_eq!(pace.turn(160_000).unwrap(), None);
        assert_eq!(pace.turn(160_000).unwrap(), seconds(10));
        pace.leave_alone(161_000, Duration::from_secs(30)).unwrap();
        assert_eq!(pace.turn(190_000).unwrap(), seconds(1));
        assert_eq!(pace.turn(191_000).unwrap(), None);
        // The clock was set back.
        assert_eq!(pace.turn(5_000).unwrap(), None);
    }

    #[test]
    fn what_is_kept_is_read_again_and_nothing_else() {
        let state = State { not_before: 5, asked: vec![1, 2] };
        assert_eq!(State::parse(&state.text()), Some(state));
        for broken in
            ["", "sensor asked 1", "sensor asked 1\nx", "sensor asked 2\n1\n", "sensor asked 1\n1\n-2\n"]
        {
            assert_eq!(State::parse(broken), None, "{broken:?}");
        }
    }
}
