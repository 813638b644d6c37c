//! How often something took how long.

use super::number::Sample;
use super::report::{Figure, Table};

/// Where a step of the histogram ends, milliseconds.
const BOUNDS: [f64; 11] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, f64::INFINITY];
/// How long the longest bar is.
const LONGEST: f64 = 50.0;

/// A table of it, in which each step has a bar; what is empty before the first and after the last is left out.
pub(crate) fn table(title: impl Into<String>, sample: &Sample) -> Table {
    let mut table = Table::new(title);
    let counts = counts(sample);
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let first = counts.iter().position(|count| *count != 0).unwrap_or(0);
    let last = counts.iter().rposition(|count| *count != 0).unwrap_or(0);
    let mut from = 0.0;
    for (at, (count, to)) in counts.iter().zip(BOUNDS).enumerate() {
        if (first..=last).contains(&at) {
            let percent = 100.0 * *count as f64 / sample.count().max(1) as f64;
            let figure = Figure::new(name(from, to)).value("events", *count as f64, 0);
            table.figures.push(figure.value("%", percent, 1).drawn(bar(*count, most)));
        }
        from = to;
    }
    table
}

/// How many there are in each step.
fn counts(sample: &Sample) -> [usize; BOUNDS.len()] {
    let mut counts = [0; BOUNDS.len()];
    for value in sample.values() {
        let at = BOUNDS.iter().position(|bound| value < bound);
        if let Some(count) = at.and_then(|at| counts.get_mut(at)) {
            *count += 1;
        }
    }
    counts
}

fn name(from: f64, to: f64) -> String {
    if to.is_finite() { format!("{from} to {to}") } else { format!("{from} and more") }
}

/// What there is at all can be seen.
fn bar(count: usize, most: usize) -> String {
    let length = (LONGEST * count as f64 / most as f64).ceil() as usize;
    "█".repeat(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_in_one_step() {
        let mut sample = Sample::default();
        [0.3, 0.5, 0.7, 700.0].into_iter().for_each(|value| sample.add(value));
        assert_eq!(counts(&sample), [0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 1]);
        let text = table("T", &sample).text();
        assert!(text.contains("0.5 to 1") && text.contains("100 and more"), "{text}");
        assert!(!text.contains("0.1 to 0.2"), "{text}");
        assert!(table("T", &sample).json().contains("\"name\":\"0.5 to 1\",\"events\":2,\"%\":50"));
    }

    #[test]
    fn bars_are_as_long_as_they_say() {
        assert_eq!(bar(10, 10).chars().count(), 50);
        assert_eq!((bar(1, 100_000).chars().count(), bar(0, 5).len()), (1, 0));
    }
}
