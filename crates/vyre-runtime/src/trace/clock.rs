//! A device's clock on the host's time.
//!
//! A device's clock counts from a moment and in a unit that nothing tells; `VK_KHR_calibrated_timestamps` tells of the clock that
//! queries write, which need not be the one that shaders read. But each tile says something: the host published its slot before the
//! tile began, and saw its record after the tile had ended. The lines `host = slope * device + offset` that break none of these
//! bounds lie between two convex hulls, and the bounds of the quickest tiles leave little room between them (Duda, Harrus, Haddad,
//! Bernard: Estimating global time in distributed systems, ICDCS 1987).

/// A bound: device clock since the first reading, and nanoseconds of the host.
type Point = (f64, f64);

/// What the tiles of a run say of the device's clock.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    /// The first reading, from which the points count.
    base: Option<u64>,
    /// The host's time at a reading is not before these.
    before: Vec<Point>,
    /// Nor is it behind these; with both signs turned, so that both sides are upper hulls.
    after: Vec<Point>,
    /// Smallest difference between two readings that follow each other, other than 0: at least what the clock ticks in.
    tick: Option<u64>,
    last: u64,
    /// Newest reading as the device gave it, and what the laps of its low word come to where the high word stands still.
    newest: u64,
    laps: u64,
    earliest: f64,
    latest: f64,
}

/// The device's clock on the host's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    base: u64,
    slope: f64,
    offset: f64,
    /// Most nanoseconds by which the line may be wrong between the first reading and the last.
    pub(crate) error: f64,
}

impl Line {
    /// Nanoseconds of the host at a reading.
    pub(crate) fn host(&self, clock: u64) -> f64 {
        self.offset + self.slope * since(clock, self.base)
    }
}

/// Points that may pile up before all but the hull are dropped.
const MOST_POINTS: usize = 4096;

/// Halvings of a search; as many as a number has digits, and some.
const STEPS: u32 = 100;

fn since(clock: u64, base: u64) -> f64 {
    clock.wrapping_sub(base).cast_signed() as f64
}

/// Most nanoseconds by which bounds may be broken; beyond, the readings are not of one clock.
const MOST_SLACK: f64 = 1e6;

/// A lap of the low word of a reading.
const LAP: u64 = 1 << 32;

impl Bounds {
    /// A reading as it would be if the high word counted: llvmpipe's stands still. Readings of several workers come in nearly the
    /// order in which they were made, so one that lies far back is of the next lap, unless the high word says otherwise.
    pub(crate) fn unwrap(&mut self, clock: u64) -> u64 {
        let same_lap = clock / LAP == self.newest / LAP;
        let ahead = clock.wrapping_sub(self.newest).cast_signed();
        if same_lap && self.laps > 0 && ahead > (LAP / 2).cast_signed() {
            return clock + self.laps - LAP;
        }
        if same_lap && ahead < -(LAP / 2).cast_signed() {
            self.laps += LAP;
        }
        self.newest = clock;
        clock.wrapping_add(self.laps)
    }

    /// Tells when a tile began and ended by the device's clock, when the host had its slot published, if that is known, and when it
    /// saw its record, in nanoseconds.
    pub(crate) fn add(&mut self, [start, end]: [u64; 2], published: Option<f64>, seen: f64) {
        let base = *self.base.get_or_insert(start);
        for clock in [start, end] {
            let step = clock.abs_diff(self.last);
            self.tick = if step == 0 { self.tick } else { Some(self.tick.map_or(step, |tick| tick.min(step))) };
            self.last = clock;
        }
        let [start, end] = [start, end].map(|clock| since(clock, base));
        (self.earliest, self.latest) = (self.earliest.min(start), self.latest.max(end));
        if let Some(published) = published {
            add(&mut self.before, (start, published));
        }
        add(&mut self.after, (-end, -seen));
    }

    /// The line in the middle of those that break no bound. `None` while the readings tell nothing, or contradict each other.
    pub(crate) fn line(&self) -> Option<Line> {
        let (mut before, mut after) = (self.before.clone(), self.after.clone());
        keep_hull(&mut before);
        keep_hull(&mut after);
        let (lowest, highest) = (|slope| support(&before, slope), |slope| -support(&after, slope));
        let first = before.iter().map(|point| point.1).reduce(f64::min)?;
        let last = after.iter().map(|point| -point.1).reduce(f64::max)?;
        let steepest = 2.0 * (last - first) / (self.latest - self.earliest);
        if !steepest.is_finite() || steepest <= 0.0 {
            return None;
        }
        let room = |slope: f64| highest(slope) - lowest(slope);
        let best = highest_at([0.0, steepest], room);
        // A clock that ticks coarsely or drifts breaks bounds by a little; they give way by as much.
        let slack = (-room(best) / 2.0).max(0.0);
        if slack > MOST_SLACK {
            return None;
        }
        let allowed = |slope: f64| room(slope) + 2.0 * slack >= 0.0;
        let slopes = [edge(best, 0.0, allowed), edge(best, steepest, allowed)];
        // The middle of what is possible, and how far it goes to either side.
        let possible = |at: f64| {
            let top = highest_at(slopes, |slope| slope * at + highest(slope));
            let bottom = highest_at(slopes, |slope| -slope * at - lowest(slope));
            let (top, bottom) = (top * at + highest(top) + slack, bottom * at + lowest(bottom) - slack);
            ((top + bottom) / 2.0, (top - bottom) / 2.0)
        };
        let ((from, error_first), (to, error_last)) = (possible(self.earliest), possible(self.latest));
        let slope = (to - from) / (self.latest - self.earliest);
        let error = error_first.max(error_last) + slope * self.tick.unwrap_or(0) as f64;
        Some(Line { base: self.base?, slope, offset: from - slope * self.earliest, error })
    }
}

fn add(points: &mut Vec<Point>, point: Point) {
    if points.len() >= MOST_POINTS {
        keep_hull(points);
    }
    points.push(point);
}

/// Least offset of a line of this slope that is below none of the points.
fn support(points: &[Point], slope: f64) -> f64 {
    points.iter().map(|(x, y)| y - slope * x).fold(f64::NEG_INFINITY, f64::max)
}

/// Drops the points below the upper convex hull (Andrew's monotone chain).
fn keep_hull(points: &mut Vec<Point>) {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut kept = 0;
    for i in 0..points.len() {
        let point = points[i];
        while kept >= 2 && !is_above(points[kept - 2], points[kept - 1], point) {
            kept -= 1;
        }
        points[kept] = point;
        kept += 1;
    }
    points.truncate(kept);
}

/// Whether `b` is above the line from `a` to `c`.
fn is_above(a: Point, b: Point, c: Point) -> bool {
    (b.0 - a.0) * (c.1 - a.1) < (b.1 - a.1) * (c.0 - a.0)
}

/// Where a concave function is highest.
fn highest_at([mut low, mut high]: [f64; 2], function: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..STEPS {
        let third = (high - low) / 3.0;
        if function(low + third) < function(high - third) { low += third } else { high -= third }
    }
    (low + high) / 2.0
}

/// The last place from `inside` towards `outside` that is allowed.
fn edge(mut inside: f64, mut outside: f64, allowed: impl Fn(f64) -> bool) -> f64 {
    if allowed(outside) {
        return outside;
    }
    for _ in 0..STEPS {
        let middle = (inside + outside) / 2.0;
        if allowed(middle) { inside = middle } else { outside = middle }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from 0 to 1 that look random.
    fn noise() -> impl FnMut() -> f64 {
        let mut state = 1_u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / f64::from(1 << 24)
        }
    }

    /// Tiles of a clock of `rate` ticks a nanosecond that shows multiples of `tick`: what the line says of each is within its error.
    fn check(rate: f64, tick: f64, tiles: usize, between: f64) -> f64 {
        let (mut bounds, mut random, mut now) = (Bounds::default(), noise(), 5e6);
        let mut readings = Vec::new();
        let clock = |time: f64| ((time * rate + 7e15) / tick).floor() as u64 * tick as u64;
        for _ in 0..tiles {
            let published = now;
            let start = published + 800.0 + 20_000.0 * random();
            let end = start + 3000.0 * random();
            let seen = end + 700.0 + 30_000.0 * random();
            bounds.add([clock(start), clock(end)], Some(published), seen);
            readings.push((start, clock(start)));
            readings.push((end, clock(end)));
            now = seen + between * random();
        }
        let line = bounds.line().unwrap();
        for (time, reading) in readings {
            let wrong = (line.host(reading) - time).abs();
            assert!(wrong <= line.error, "{rate} ticks of {tick}: {wrong} ns beyond {line:?}");
        }
        line.error
    }

    #[test]
    fn each_reading_is_placed_within_the_error() {
        for rate in [1.0, 2.7, 0.1] {
            for tiles in [1, 2, 10, 100, 20_000] {
                let error = check(rate, 1.0, tiles, 1e6);
                assert!(error < if tiles < 100 { 60_000.0 } else { 4000.0 }, "{tiles} tiles: {error} ns");
            }
        }
    }

    #[test]
    fn a_coarse_clock_costs_its_tick() {
        let error = check(1.0, 1024.0, 10_000, 1e6);
        assert!((1024.0..5000.0).contains(&error), "{error} ns");
        // So coarse that bounds break.
        check(1.0, 65_536.0, 10_000, 1e6);
    }

    #[test]
    fn a_high_word_that_stands_still_is_made_up_for() {
        let (mut bounds, mut now) = (Bounds::default(), 0.0);
        let clock = |time: f64| (time as u64 + 4_200_000_000) & (LAP - 1);
        let mut readings = Vec::new();
        for _ in 0..1000 {
            // The tiles of two workers, whose records come the wrong way round.
            for start in [now + 5000.0, now + 1000.0] {
                let reading = [start, start + 2000.0].map(|time| bounds.unwrap(clock(time)));
                bounds.add(reading, Some(now), now + 9000.0);
                readings.push((start, reading[0]));
            }
            now += 2e7;
        }
        let line = bounds.line().unwrap();
        assert!(line.error < 10_000.0, "{line:?}");
        assert!(readings.iter().all(|(time, reading)| (line.host(*reading) - time).abs() <= line.error));
    }

    #[test]
    fn readings_of_no_one_clock_give_no_line() {
        let mut bounds = Bounds::default();
        for (clock, time) in [(10, 1e9), (4_000_000_000, 1.1e9), (20, 1.2e9), (4_000_000_010, 1.3e9)] {
            bounds.add([clock, clock + 5], Some(time), time + 1000.0);
        }
        assert!(bounds.line().is_none());
    }

    #[test]
    fn without_two_readings_there_is_no_line() {
        assert!(Bounds::default().line().is_none());
        let mut bounds = Bounds::default();
        bounds.add([7, 7], Some(1.0), 2.0);
        assert!(bounds.line().is_none());
        bounds.add([7, 9], None, 3.0);
        assert!(bounds.line().is_some());
    }
}
