//! Where the time of a start goes.

use std::time::{Duration, Instant};

/// How long the steps of a start took. A step that an engine does not have took no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StartTimes {
    /// Making the logical device.
    pub device: Duration,
    /// Compiling the kernel, or finding it in a cache.
    pub pipeline: Duration,
    /// Allocating the regions and putting them into their initial state.
    pub memory: Duration,
    /// Finding out how many workers there are.
    pub workers: Duration,
    /// From the first submission until a worker had checked the regions. llvmpipe generates its code here.
    pub launch: Duration,
}

/// Tells how long each step took.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Time since the last lap, or the start.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}
