//! What costs came to at each size, as a table, a plot and ratios.

use crate::Failure;
use crate::bench::report::{Axis, Curve, Goal, Plot, Ratio, Row, Table};
use crate::bench::samples::spread;

/// Rounds in which all sizes take turns; one more before them warms up.
const ROUNDS: usize = 5;

/// Some costs that are measured together.
pub(super) struct Dimension {
    /// What there are more and more of.
    pub(super) what: &'static str,
    /// Unit of all costs, and its name in full.
    pub(super) unit: [&'static str; 2],
    pub(super) costs: &'static [Cost],
}

/// Microseconds, for [`Dimension::unit`].
pub(super) const MICROSECONDS: [&str; 2] = ["us", "microseconds"];

pub(super) struct Cost {
    name: &'static str,
    /// The smallest size from which on it should stay as it is, and by how much the largest may differ.
    flat: Option<(u32, Goal)>,
}

impl Cost {
    /// One that should not grow with any size.
    pub(super) const fn flat(name: &'static str) -> Cost {
        Cost::flat_from(name, 0)
    }

    /// One that should not grow with sizes above this one. Caches alone make a large table somewhat dearer than a small one.
    pub(super) const fn flat_from(name: &'static str, size: u32) -> Cost {
        Cost { name, flat: Some((size, Goal::AtMost(1.5))) }
    }

    /// A rate that should not fall.
    pub(super) const fn rate(name: &'static str) -> Cost {
        Cost { name, flat: Some((0, Goal::AtLeast(0.7))) }
    }

    /// One that is only shown.
    pub(super) const fn shown(name: &'static str) -> Cost {
        Cost { name, flat: None }
    }
}

/// What was found.
pub(super) struct Growth {
    dimension: &'static Dimension,
    sizes: Vec<u32>,
    /// By size, then cost, then round.
    found: Vec<Vec<Vec<f64>>>,
}

impl Growth {
    /// Measures all sizes in turns. `turn` takes the index of a size and gives its costs.
    pub(super) fn measure(
        dimension: &'static Dimension,
        sizes: Vec<u32>,
        mut turn: impl FnMut(usize) -> Result<Vec<f64>, Failure>,
    ) -> Result<Growth, Failure> {
        let mut found = vec![vec![Vec::new(); dimension.costs.len()]; sizes.len()];
        for round in 0..=ROUNDS {
            for (size, found) in found.iter_mut().enumerate() {
                let costs = turn(size)?;
                if round > 0 {
                    found.iter_mut().zip(costs).for_each(|(found, cost)| found.push(cost));
                }
            }
        }
        Ok(Growth { dimension, sizes, found })
    }

    /// Medians of the rounds.
    pub(super) fn table(&self) -> Table {
        let row = |(size, costs): (&u32, &Vec<Vec<f64>>)| Row {
            name: size.to_string(),
            values: costs.iter().map(|rounds| spread(rounds)[0]).collect(),
        };
        Table {
            title: format!("by {}", self.dimension.what),
            unit: self.dimension.unit[0],
            columns: self.dimension.costs.iter().map(|cost| cost.name.into()).collect(),
            rows: self.sizes.iter().zip(&self.found).map(row).collect(),
        }
    }

    pub(super) fn plot(&self) -> Plot {
        let points = |cost: usize| {
            self.sizes.iter().zip(&self.found).map(move |(size, costs)| (f64::from(*size), spread(&costs[cost])[0]))
        };
        let costs = self.dimension.costs.iter().enumerate();
        Plot {
            title: format!("Cost by {}", self.dimension.what),
            x: Axis { label: self.dimension.what, log: true },
            y: Axis { label: self.dimension.unit[1], log: true },
            curves: costs.map(|(i, cost)| Curve { name: cost.name.into(), points: points(i).collect() }).collect(),
        }
    }

    /// Of each cost that should be flat: the largest size over the smallest.
    pub(super) fn ratios(&self) -> impl Iterator<Item = Ratio> {
        self.dimension.costs.iter().enumerate().filter_map(|(i, cost)| {
            let (from, goal) = cost.flat?;
            let last = self.sizes.len() - 1;
            let first = self.sizes.iter().position(|size| *size >= from).filter(|first| *first < last)?;
            let what =
                format!("{}, {}: {} over {}", self.dimension.what, cost.name, self.sizes[last], self.sizes[first]);
            let (largest, smallest) = (&self.found[last][i], &self.found[first][i]);
            let rounds = largest.iter().zip(smallest).map(|(largest, smallest)| largest / smallest).collect();
            let ratio = Ratio::of_rounds(what, rounds, Some(goal))?;
            Some(Ratio { value: spread(largest)[0] / spread(smallest)[0], ..ratio })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMENSION: Dimension = Dimension {
        what: "things",
        unit: MICROSECONDS,
        costs: &[Cost::flat("even"), Cost::flat_from("even from 10 on", 10), Cost::rate("falling"), Cost::shown("any")],
    };

    #[test]
    fn ratios_are_of_the_largest_size_over_the_smallest_that_counts() {
        let sizes = vec![1, 10, 100];
        let mut turns = 0;
        let turn = |size: usize| {
            // The first round, which warms up, does not count.
            let cold = if turns < 3 { 1000.0 } else { 0.0 };
            turns += 1;
            let cost = [1.0, 2.0, 4.0][size];
            Ok(vec![1.0 + cold, cost, 1.0 / cost, cost])
        };
        let growth = Growth::measure(&DIMENSION, sizes, turn).unwrap();
        let ratios: Vec<_> = growth.ratios().map(|ratio| ratio.to_string()).collect();
        let of = |what: &str, value: &str, goal: &str| {
            format!("things, {what}: {value} (rounds: {value} to {value}), goal {goal}")
        };
        let expected = [
            of("even: 100 over 1", "1.00", "at most 1.5: reached"),
            of("even from 10 on: 100 over 10", "2.00", "at most 1.5: not reached"),
            of("falling: 100 over 1", "0.25", "at least 0.7: not reached"),
        ];
        assert_eq!(ratios, expected);
        assert_eq!(growth.table().rows[1].values, [1.0, 2.0, 0.5, 2.0]);
        assert_eq!(growth.plot().curves[3].points, [(1.0, 1.0), (10.0, 2.0), (100.0, 4.0)]);
    }

    #[test]
    fn one_size_has_no_ratio() {
        let growth = Growth::measure(&DIMENSION, vec![10], |_| Ok(vec![1.0; 4])).unwrap();
        assert_eq!(growth.ratios().count(), 0);
    }
}
