//! How long an output waits before it tries again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The first pause, and the longest.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);

/// Pauses that double, each shortened by chance: many sensors that lost one server don't come back in one moment.
#[derive(Debug)]
pub struct Pace {
    next: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Pace {
    /// Something arrived.
    pub fn succeeded(&mut self) {
        self.next = FIRST;
    }

    /// How long to wait now, at least as long as the far side asks for.
    pub fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        let half = whole / 2;
        (half + half.mul_f64(chance())).max(asked.unwrap_or_default())
    }
}

/// A number from 0 up to 1, another each time.
fn chance() -> f64 {
    // Each of these has keys of its own.
    let drawn = RandomState::new().hash_one(0_u8);
    f64::from((drawn >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew() {
        let mut pace = Pace::default();
        let mut whole = FIRST;
        for _ in 0..20 {
            let pause = pace.failed(None);
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
            whole = (whole * 2).min(LONGEST);
        }
        assert_eq!(whole, LONGEST);
        pace.succeeded();
        assert!(pace.failed(None) <= FIRST);
    }

    #[test]
    fn a_far_side_can_ask_for_more_time_and_not_for_less() {
        let mut pace = Pace::default();
        assert_eq!(pace.failed(Some(Duration::from_secs(3000))), Duration::from_secs(3000));
        assert!(pace.failed(Some(Duration::ZERO)) >= FIRST);
    }

    #[test]
    fn pauses_differ() {
        let pauses: std::collections::HashSet<_> = (0..50).map(|_| Pace::default().failed(None)).collect();
        assert!(pauses.len() > 25, "{pauses:?}");
    }
}
