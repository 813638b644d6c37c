//! How often the kernel skipped a program, less what another told in its stead.

/// What was read of a program so far.
#[derive(Debug, Default)]
pub(super) struct Skips {
    misses: u64,
    told: u64,
    /// Told since the reading before last, and not yet skipped.
    ahead: u64,
}

impl Skips {
    /// Of two totals, the second of which was read after the first: what was newly skipped and not told.
    ///
    /// Some changes are told twice (decision 32). Such a one hides what is skipped until the next reading, and nothing
    /// that is skipped later.
    pub(super) fn read(&mut self, misses: u64, told: u64) -> u64 {
        let missed = misses.saturating_sub(self.misses).saturating_sub(self.ahead);
        let new = told.saturating_sub(self.told);
        (self.misses, self.told) = (misses.max(self.misses), told.max(self.told));
        self.ahead = new.saturating_sub(missed);
        missed.saturating_sub(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_between_the_two_readings_is_no_loss() {
        let mut skips = Skips::default();
        assert_eq!([skips.read(0, 1), skips.read(1, 1), skips.read(1, 1)], [0, 0, 0]);
    }

    #[test]
    fn what_is_told_twice_hides_no_later_loss() {
        let mut skips = Skips::default();
        assert_eq!([skips.read(0, 1), skips.read(0, 1), skips.read(1, 1)], [0, 0, 1]);
    }

    #[test]
    fn what_nobody_told_is_lost_once() {
        let mut skips = Skips::default();
        assert_eq!([skips.read(5, 2), skips.read(5, 2), skips.read(7, 3)], [3, 0, 1]);
    }
}
