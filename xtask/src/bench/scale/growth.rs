//! Whether what was measured grows as it may.

use super::super::fit::{Fit, last_exponent};
use super::super::report::{Figure, Table};

/// How a cost may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// Not at all.
    Flat,
    /// With what there is, at most: also with a part that is always there.
    Linear,
}

impl Growth {
    /// Its name, the largest exponent of all points, and that of the last two, which are less sure.
    const fn bars(self) -> (&'static str, f64, f64) {
        match self {
            Self::Flat => ("flat", 0.2, 0.5),
            Self::Linear => ("at most linear", 1.15, 1.5),
        }
    }
}

/// Points of one thing of which there is more and more, and what they cost.
#[derive(Debug)]
pub(super) struct Series {
    title: String,
    table: Table,
    costs: Vec<(f64, Vec<(&'static str, f64)>)>,
}

impl Series {
    pub(super) fn new(name: &str, title: String) -> Self {
        Self { title: name.to_owned(), table: Table::new(title), costs: Vec::new() }
    }

    /// Takes a point: how much there is, and what that costs; a cost with its decimals.
    pub(super) fn add(&mut self, amount: u32, costs: &[(&'static str, f64, usize)], lost: u64) {
        let mut figure = Figure::new(amount.to_string());
        for (name, number, decimals) in costs {
            figure = figure.value(name, *number, *decimals);
        }
        self.table.figures.push(figure.value("lost", lost as f64, 0).at_most("lost", 0.0));
        let numbers = costs.iter().map(|(name, number, _)| (*name, *number)).collect();
        self.costs.push((f64::from(amount), numbers));
    }

    /// The points, and how their costs grow.
    pub(super) fn tables(self, growths: &[(&'static str, Growth)]) -> [Table; 2] {
        let mut table = Table::new(format!(
            "{}: growth, by a power that fits: exponent (0 flat, 1 linear, 2 quadratic), ± with 95 % confidence; \n\
             last: between the last two points alone",
            self.title
        ));
        for (name, growth) in growths {
            let points = self.points(name);
            let fit = Fit::exponent(&points);
            let (word, most, most_last) = growth.bars();
            table.figures.push(
                Figure::new(format!("{name}: {word}"))
                    .value("exponent", fit.slope, 2)
                    .value("±", fit.spread, 2)
                    .value("last", last_exponent(&points), 2)
                    .at_most("exponent", most)
                    .at_most("last", most_last),
            );
        }
        [self.table, table]
    }

    fn points(&self, name: &str) -> Vec<(f64, f64)> {
        let cost =
            |costs: &[(&str, f64)]| costs.iter().find(|(known, _)| *known == name).map(|(_, cost)| *cost);
        self.costs.iter().filter_map(|(amount, costs)| Some((*amount, cost(costs)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(power: f64, growth: Growth) -> Vec<String> {
        let mut series = Series::new("t", "T".to_owned());
        for amount in [100, 1000, 10_000] {
            series.add(amount, &[("cost", f64::from(amount).powf(power), 1)], 0);
        }
        series.tables(&[("cost", growth)])[1].broken()
    }

    #[test]
    fn what_grows_too_fast_is_told() {
        assert!(grown(0.0, Growth::Flat).is_empty() && grown(1.0, Growth::Linear).is_empty());
        assert_eq!(grown(1.0, Growth::Flat).len(), 2);
        assert_eq!(grown(2.0, Growth::Linear).len(), 2);
        let none = Series::new("t", String::new()).tables(&[("cost", Growth::Flat)])[1].broken();
        assert_eq!(none.len(), 2, "what wasn't measured isn't flat");
    }
}
