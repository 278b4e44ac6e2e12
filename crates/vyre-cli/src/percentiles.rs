//! What `vyre bench` says of a distribution.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Percentiles in nanoseconds.
#[derive(Serialize)]
pub(crate) struct Percentiles {
    pub(crate) samples: u64,
    pub(crate) min: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Percentiles {
    /// Goes above what [`print`](Self::print) prints.
    pub(crate) const HEADING: &str = "round trip, us         min       p50       p99     p99.9         max";

    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        Percentiles {
            samples: histogram.len(),
            min: histogram.min(),
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }

    pub(crate) fn print(&self, name: &str) {
        let us = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let Percentiles { min, p50, p99, p999, max, .. } = *self;
        let [min, p50, p99, p999, max] = [min, p50, p99, p999, max].map(us);
        println!("{name:<16}{min:>10.2}{p50:>10.2}{p99:>10.2}{p999:>10.2}{max:>12.2}");
    }
}
