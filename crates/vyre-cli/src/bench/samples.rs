//! What one way to do a thing took, over several rounds.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::report::{Curve, Row};
use crate::Failure;

/// What all rounds found, and the median of each.
pub(crate) struct Samples {
    all: Histogram<u64>,
    medians: Vec<f64>,
}

/// Columns of [`Samples::row`].
pub(crate) const COLUMNS: [&str; 5] = ["min", "p50", "p99", "p99.9", "max"];

/// Points of a curve: the lower half of a distribution is told by few, its tail by many.
const POINTS_PER_HALVING: u32 = 5;

impl Samples {
    pub(crate) fn new() -> Result<Samples, Failure> {
        Ok(Samples { all: Histogram::new(3)?, medians: Vec::new() })
    }

    /// Takes a round.
    pub(crate) fn add_round(&mut self, durations: impl IntoIterator<Item = Duration>) -> Result<(), Failure> {
        let mut round = Histogram::<u64>::new(3)?;
        for duration in durations {
            round.record(duration.as_nanos() as u64)?;
        }
        self.medians.push(round.value_at_quantile(0.5) as f64);
        self.all.add(&round)?;
        Ok(())
    }

    /// Median in nanoseconds.
    pub(crate) fn median(&self) -> f64 {
        self.all.value_at_quantile(0.5) as f64
    }

    /// Medians of the rounds in nanoseconds, in order.
    pub(crate) fn medians(&self) -> &[f64] {
        &self.medians
    }

    /// A line of a table with [`COLUMNS`], in microseconds.
    pub(crate) fn row(&self, name: impl Into<String>) -> Row {
        let quantiles = [0.0, 0.5, 0.99, 0.999, 1.0];
        let values = quantiles.map(|quantile| self.all.value_at_quantile(quantile) as f64 / 1e3);
        Row { name: name.into(), values: values.into() }
    }

    /// The distribution: microseconds, and the share of samples that took longer.
    pub(crate) fn tail(&self, name: impl Into<String>) -> Curve {
        let total = self.all.len().max(1) as f64;
        let quantiles = self.all.iter_quantiles(POINTS_PER_HALVING);
        let points = quantiles.map(|step| (step.value_iterated_to() as f64 / 1e3, 1.0 - step.quantile()));
        Curve { name: name.into(), points: points.filter(|(_, share)| *share >= 0.5 / total).collect() }
    }
}

/// Columns of [`spread`].
pub(crate) const SPREAD: [&str; 3] = ["median", "min", "max"];

/// Median, smallest and largest of what each round found.
pub(crate) fn spread(rounds: &[f64]) -> Vec<f64> {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    vec![sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_kept_apart_and_added_up() {
        let mut samples = Samples::new().unwrap();
        samples.add_round((1..=3).map(Duration::from_micros)).unwrap();
        samples.add_round([Duration::from_micros(10); 4]).unwrap();
        let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.01;
        assert!(near(samples.medians()[0], 2e3) && near(samples.medians()[1], 10e3), "{:?}", samples.medians());
        assert!(near(samples.median(), 10e3));
        let row = samples.row("x").values;
        assert!(near(row[0], 1.0) && near(row[4], 10.0), "{row:?}");
        let tail = samples.tail("x").points;
        assert!(tail.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1), "{tail:?}");
    }
}
