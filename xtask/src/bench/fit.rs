//! Straight lines through what was measured: how a cost grows, and how sure that is.

/// A line by least squares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fit {
    /// How much it rises for each unit.
    pub(crate) slope: f64,
    /// Half of the interval in which the slope is with 95 % confidence; no number for two points.
    pub(crate) spread: f64,
}

impl Fit {
    /// The line through these points.
    pub(crate) fn line(points: &[(f64, f64)]) -> Self {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let square: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / square;
        let beside = |(x, y): &(f64, f64)| (y - mean_y - slope * (x - mean_x)).powi(2);
        let free = points.len().saturating_sub(2);
        let error = (points.iter().map(beside).sum::<f64>() / free as f64 / square).sqrt();
        Self { slope, spread: student(free) * error }
    }

    /// The exponent of a power that fits: 0 where it is flat, 1 where it is linear, 2 where it is quadratic.
    pub(crate) fn exponent(points: &[(f64, f64)]) -> Self {
        let logs: Vec<_> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
        Self::line(&logs)
    }
}

/// The exponent between the last two points alone: what is quadratic shows there first, when all before it was small.
pub(crate) fn last_exponent(points: &[(f64, f64)]) -> f64 {
    let [.., before, last] = points else { return f64::NAN };
    (last.1 / before.1).ln() / (last.0 / before.0).ln()
}

/// The quantile 0.975 of Student's distribution with so many degrees of freedom.
fn student(free: usize) -> f64 {
    const FIRST: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    match free {
        0 => f64::NAN,
        1..=10 => FIRST.get(free - 1).copied().unwrap_or(f64::NAN),
        // What is left of its difference to the normal distribution, to a hundredth.
        _ => 1.96 + 2.46 / free as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 0.005
    }

    #[test]
    fn lines_have_their_slope_and_its_interval() {
        let fit = Fit::line(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 7.0)]);
        assert!(near(fit.slope, 2.0) && near(fit.spread, 0.0));
        // Worked out by hand: residuals ±0.3, ±0.1, four points.
        let fit = Fit::line(&[(0.0, 0.0), (1.0, 1.0), (2.0, 1.0), (3.0, 2.0)]);
        assert!(near(fit.slope, 0.6), "{fit:?}");
        assert!(near(fit.spread, 4.303 * (0.2_f64 / 2.0 / 5.0).sqrt()), "{fit:?}");
        assert!(Fit::line(&[(0.0, 0.0), (1.0, 1.0)]).spread.is_nan());
    }

    #[test]
    fn powers_have_their_exponent() {
        for power in [0.0, 1.0, 2.0] {
            let points: Vec<_> = [100.0, 1000.0, 30_000.0].map(|x: f64| (x, 7.0 * x.powf(power))).to_vec();
            assert!(near(Fit::exponent(&points).slope, power));
            assert!(near(last_exponent(&points), power));
        }
        assert!(last_exponent(&[(1.0, 1.0)]).is_nan());
    }

    #[test]
    fn what_grows_late_shows_at_the_end() {
        let points: Vec<_> =
            [100.0, 1000.0, 10_000.0, 30_000.0].map(|x: f64| (x, 1e4 + x * x / 1e4)).to_vec();
        assert!(Fit::exponent(&points).slope < 0.5);
        assert!(last_exponent(&points) > 1.0);
    }

    #[test]
    fn few_points_are_less_sure() {
        assert!(near(student(1), 12.706) && near(student(10), 2.228) && student(0).is_nan());
        assert!((student(30) - 2.042).abs() < 0.01 && (student(120) - 1.98).abs() < 0.01);
        assert!((student(11) - 2.201).abs() < 0.02);
    }
}
