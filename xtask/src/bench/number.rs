//! What many measurements come to.

use super::quiet::{Look, Quiet};
use crate::error::Result;

/// Measurements of one thing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// Takes one more.
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Takes all of another.
    pub(crate) fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// All, as they came.
    pub(crate) fn values(&self) -> &[f64] {
        &self.0
    }

    /// The smallest: what others disturbed least.
    pub(crate) fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value that this part of all is not above (nearest rank).
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (part * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// The middle; of an even number of measurements the mean of the middle two.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let upper = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
        let lower = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
        f64::midpoint(lower, upper)
    }
}

/// The same work without and with the sensor, measured in turns.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) without: Sample,
    pub(crate) with: Sample,
    /// Of each pair: what is slow for a while, is slow for both.
    pub(crate) ratios: Sample,
    /// How many pairs were measured again, as others disturbed them.
    pub(crate) again: u32,
}

impl Pairs {
    /// Measures both, each round in the other order. Pairs that others disturb are measured again,
    /// but not for ever: after twice as many as there are rounds all pairs count.
    pub(crate) fn measure(
        rounds: u32,
        quiet: &mut Quiet,
        mut without: impl FnMut() -> Result<f64>,
        mut with: impl FnMut() -> Result<f64>,
    ) -> Result<Self> {
        let mut pairs = Self::default();
        for round in 0..rounds {
            loop {
                quiet.wait()?;
                let look = Look::now()?;
                let (bare, watched) = one(round, &mut without, &mut with)?;
                if pairs.again >= 2 * rounds || !look.disturbed()? {
                    pairs.add(bare, watched);
                    break;
                }
                pairs.again += 1;
            }
        }
        Ok(pairs)
    }

    /// Measures both so shortly after each other that what disturbs one pair of them is outweighed by the others.
    pub(crate) fn in_turns(
        rounds: u32,
        mut without: impl FnMut() -> Result<f64>,
        mut with: impl FnMut() -> Result<f64>,
    ) -> Result<Self> {
        let mut pairs = Self::default();
        for round in 0..rounds {
            let (bare, watched) = one(round, &mut without, &mut with)?;
            pairs.add(bare, watched);
        }
        Ok(pairs)
    }

    fn add(&mut self, bare: f64, watched: f64) {
        self.without.add(bare);
        self.with.add(watched);
        self.ratios.add(watched / bare);
    }
}

fn one(
    round: u32,
    without: &mut impl FnMut() -> Result<f64>,
    with: &mut impl FnMut() -> Result<f64>,
) -> Result<(f64, f64)> {
    if round.is_multiple_of(2) {
        let bare = without()?;
        Ok((bare, with()?))
    } else {
        let watched = with()?;
        Ok((without()?, watched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample(values.to_vec())
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(sample(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(sample(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert!(sample(&[]).median().is_nan());
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let all = sample(&(1..=200).map(f64::from).collect::<Vec<_>>());
        assert_eq!(all.quantile(0.9), 180.0);
        assert_eq!(all.quantile(0.99), 198.0);
        assert_eq!(all.quantile(1.0), 200.0);
        assert_eq!(sample(&[5.0]).quantile(0.01), 5.0);
    }

    #[test]
    fn pairs_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        let note = |what, value| {
            order.borrow_mut().push(what);
            Ok(value)
        };
        let (mut bare, mut watched) = (|| note('a', 2.0), || note('b', 3.0));
        for round in 0..3 {
            assert_eq!(one(round, &mut bare, &mut watched).unwrap(), (2.0, 3.0));
        }
        assert_eq!(order.into_inner(), "abbaab");
    }
}
