//! `vyre bench residency`: what it costs to keep workers resident, from one to all.

use std::time::Duration;

use vyre_runtime::Runtime;
use vyre_runtime::protocol::geometry::Counts;

use super::all::Effort;
use super::latency::{round_trip, warm_up};
use super::report::{Axis, Curve, Goal, Plot, Ratio, Report, Row, Table};
use super::samples::{COLUMNS, SPREAD, Samples, spread};
use super::throughput::{SLOTS, live};
use super::{Common, NOP, NOP_ONLY, await_park, options, steps, timeline};
use crate::Failure;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Round trips with each number of workers.
    #[arg(long, default_value_t = SAMPLES, value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) samples: u32,
    /// Milliseconds of each measurement of the rate; each is taken ten times.
    #[arg(long, default_value_t = MILLISECONDS, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) milliseconds: u64,
}

impl Arguments {
    /// Those of `vyre bench all`.
    pub(crate) fn of_effort(common: Common, effort: Effort) -> Arguments {
        let (samples, milliseconds) = (effort.pick(SAMPLES, 1_000), effort.pick(MILLISECONDS, 10));
        Arguments { common, samples, milliseconds }
    }
}

/// What a user does not say.
const SAMPLES: u32 = 20_000;
const MILLISECONDS: u64 = 100;

/// Rounds in which all take turns; one more before them warms up.
const ROUNDS: u32 = 10;

/// Slots published at once where their rate is measured.
const BATCH: usize = 512;

/// How many times more workers the next engine has.
const STEP: u32 = 4;

/// An engine with so many workers, and what was found.
struct Side {
    runtime: Runtime,
    trips: Samples,
    /// Slots per second, round by round.
    rates: Vec<f64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    let mut sides = Vec::new();
    for runtime in open_each(&arguments.common)? {
        sides.push(Side { runtime, trips: Samples::new()?, rates: Vec::new() });
    }
    for round in 0..=ROUNDS {
        for side in &mut sides {
            let (trips, rate) = side.turn(arguments)?;
            if round > 0 {
                side.trips.add_round(trips)?;
                side.rates.push(rate);
            }
        }
    }
    let mut report = summary(&sides);
    let mut messages = 0;
    for side in &mut sides {
        side.runtime.exit(Duration::from_secs(10))?;
        messages += side.runtime.validation_messages();
    }
    // When the others have gone: what is drawn should be its own doing.
    drop(sides);
    let (timeline, notes, more) = timeline::record(&arguments.common)?;
    report.timelines.push(timeline);
    report.notes.extend(notes);
    Ok((report, messages + more))
}

/// Engines with one worker, with more, and with all that the user or the engine chose, side by side.
pub(super) fn open_each(common: &Common) -> Result<Vec<Runtime>, Failure> {
    let open = |workers| -> Result<Runtime, Failure> {
        let counts = Counts { slots: SLOTS, ..Counts::default() };
        Ok(Runtime::open(&common.device.choice(), &options(counts, workers, NOP_ONLY)?)?)
    };
    let all = open(common.workers)?;
    let mut runtimes = Vec::new();
    for workers in steps(1, STEP, all.engine().workers).filter(|workers| *workers < all.engine().workers) {
        runtimes.push(open(Some(workers))?);
    }
    runtimes.push(all);
    Ok(runtimes)
}

impl Side {
    /// Round trips and slots per second. Then it parks, so that the next has the device for itself.
    fn turn(&mut self, arguments: &Arguments) -> Result<(Vec<Duration>, f64), Failure> {
        warm_up(&mut self.runtime, &[NOP])?;
        let samples = 0..arguments.samples / ROUNDS;
        let trips = samples.map(|_| round_trip(&mut self.runtime, &[NOP])).collect::<Result<_, _>>()?;
        let rate = live(&mut self.runtime, BATCH, Duration::from_millis(arguments.milliseconds))?;
        await_park(&self.runtime);
        Ok((trips, rate))
    }

    fn workers(&self) -> u32 {
        self.runtime.engine().workers
    }

    fn name(&self) -> String {
        format!("{} {}", self.workers(), if self.workers() == 1 { "worker" } else { "workers" })
    }
}

/// `sides` are those of [`open_each`].
fn summary(sides: &[Side]) -> Report {
    let all = &sides[sides.len() - 1];
    let curve = |name: &str, value: &dyn Fn(&Side) -> f64| Curve {
        name: name.into(),
        points: sides.iter().map(|side| (f64::from(side.workers()), value(side))).collect(),
    };
    let workers = || Axis { label: "resident workers", log: true };
    let alone = sides.len() == 1;
    let note = "one worker is all that this engine chose: nothing to compare it with; --workers N takes more";
    Report {
        bench: "residency",
        engine: all.runtime.engine().to_string(),
        workers: all.workers(),
        tables: vec![
            Table {
                title: "round trip of a NOP".into(),
                unit: "us",
                columns: COLUMNS.map(Into::into).into(),
                rows: sides.iter().map(|side| side.trips.row(side.name())).collect(),
            },
            Table {
                title: "NOPs from one producer".into(),
                unit: "1/s",
                columns: SPREAD.map(Into::into).into(),
                rows: sides.iter().map(|side| Row { name: side.name(), values: spread(&side.rates) }).collect(),
            },
        ],
        ratios: if alone { Vec::new() } else { ratios(&sides[0], all) },
        // A curve of one point says no more than its table.
        plots: if alone {
            Vec::new()
        } else {
            vec![
                Plot {
                    title: "Round trip of a NOP, p50, by workers".into(),
                    x: workers(),
                    y: Axis { label: "microseconds", log: true },
                    curves: vec![curve("p50", &|side| side.trips.median() / 1e3)],
                },
                Plot {
                    title: "NOPs from one producer, by workers".into(),
                    x: workers(),
                    y: Axis { label: "slots per second", log: true },
                    curves: vec![curve("live ring", &|side| spread(&side.rates)[0])],
                },
            ]
        },
        timelines: Vec::new(),
        notes: alone.then(|| note.into()).into_iter().collect(),
    }
}

fn ratios(one: &Side, all: &Side) -> Vec<Ratio> {
    let over = |all: &[f64], one: &[f64]| all.iter().zip(one).map(|(all, one)| all / one).collect();
    let trips = over(all.trips.medians(), one.trips.medians());
    let trips = Ratio::of_rounds("round trip, p50: all workers over one", trips, Some(Goal::AtMost(1.2)));
    let trips = trips.map(|ratio| Ratio { value: all.trips.median() / one.trips.median(), ..ratio });
    let rates = Ratio::of_rounds("slots per second: all workers over one", over(&all.rates, &one.rates), None);
    trips.into_iter().chain(rates).collect()
}
