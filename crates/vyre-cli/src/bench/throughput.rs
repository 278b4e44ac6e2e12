//! `vyre bench throughput`: slots per second through the live ring, beside the same kernel submitted and recorded.

use std::time::{Duration, Instant};

use vyre_runtime::Runtime;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::ring::PublishError;
use vyre_runtime::vk::{SubmitFence, Vulkan};

use super::all::Effort;
use super::report::{Axis, Curve, Goal, Plot, Ratio, Report, Row, Table};
use super::samples::{SPREAD, spread};
use super::{Common, NOP, NOP_ONLY, await_park, options, rival};
use crate::Failure;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Milliseconds of each measurement; each is taken five times.
    #[arg(long, default_value_t = MILLISECONDS, value_parser = clap::value_parser!(u64).range(10..))]
    pub(crate) milliseconds: u64,
}

impl Arguments {
    /// Those of `vyre bench all`.
    pub(crate) fn of_effort(common: Common, effort: Effort) -> Arguments {
        Arguments { common, milliseconds: effort.pick(MILLISECONDS, 40) }
    }
}

/// Milliseconds of each measurement, where a user does not say.
const MILLISECONDS: u64 = 300;

/// Slots of the ring, all NORMAL.
pub(crate) const SLOTS: u32 = 8192;

/// Slots published at once.
const BATCHES: [usize; 5] = [1, 8, 64, 512, 2048];

/// Dispatches in the rival's command buffer.
const RECORDED: usize = 1000;

/// Rounds in which all take turns; one more before them warms up.
const ROUNDS: usize = 5;

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    let counts = Counts { slots: SLOTS, ..Counts::default() };
    let options = options(counts, arguments.common.workers, NOP_ONLY)?;
    let mut runtime = Runtime::open(&arguments.common.device.choice(), &options)?;
    let mut rivals: Vec<(SubmitFence, Vulkan)> = Vec::new();
    for dispatches in [1, RECORDED] {
        rivals.extend(rival(&runtime, options.geometry, dispatches)?);
    }
    let time = Duration::from_millis(arguments.milliseconds);
    let mut samples = vec![Vec::new(); BATCHES.len() + rivals.len()];
    for round in 0..=ROUNDS {
        let mut found = Vec::new();
        for batch in BATCHES {
            found.push(live(&mut runtime, batch, time)?);
        }
        await_park(&runtime);
        for ((rival, _), tasks) in rivals.iter_mut().zip([1, RECORDED]) {
            found.push(submitted(rival, tasks, time)?);
        }
        if round > 0 {
            samples.iter_mut().zip(found).for_each(|(samples, rate)| samples.push(rate));
        }
    }
    let report = summary(&runtime, &samples);
    runtime.exit(Duration::from_secs(10))?;
    let theirs = rivals.iter().map(|(_, vulkan)| vulkan.validation_messages());
    Ok((report, runtime.validation_messages() + theirs.sum::<u64>()))
}

/// Slots per second in batches of this size, with the ring kept as full as it gets.
pub(crate) fn live(runtime: &mut Runtime, batch: usize, time: Duration) -> Result<f64, Failure> {
    let slots = vec![NOP; batch];
    let before = runtime.tally().done;
    let start = Instant::now();
    while start.elapsed() < time {
        match runtime.publish_all(Priority::Normal, &slots) {
            Ok(_) => {}
            Err(PublishError::Occupied { .. }) => std::hint::spin_loop(),
            Err(other) => return Err(other.into()),
        }
        while runtime.reap()?.is_some() {}
    }
    runtime.drain(Duration::from_secs(60))?;
    let rate = (runtime.tally().done - before) as f64 / start.elapsed().as_secs_f64();
    while runtime.reap()?.is_some() {}
    Ok(rate)
}

/// Tasks per second of a rival whose submission holds that many.
fn submitted(rival: &mut SubmitFence, tasks: usize, time: Duration) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut submissions = 0;
    while start.elapsed() < time {
        rival.round_trip()?;
        submissions += 1;
    }
    Ok((submissions * tasks) as f64 / start.elapsed().as_secs_f64())
}

/// `samples` has the rates of each way, round by round: ours by batch, then the rivals.
fn summary(runtime: &Runtime, samples: &[Vec<f64>]) -> Report {
    let ours = BATCHES.iter().map(|batch| format!("live, batches of {batch}"));
    let names = ours.chain(["submit + fence".into(), format!("{RECORDED} in a command buffer")]);
    let rows: Vec<_> = names.zip(samples).map(|(name, rates)| Row { name, values: spread(rates) }).collect();
    let (live, rivals) = samples.split_at(BATCHES.len());
    let best = |round: usize| live.iter().map(|rates| rates[round]).fold(0.0, f64::max);
    let goals = [("submit + fence", 50.0), ("the command buffer", 12.0)];
    let ratios = rivals.iter().zip(goals).filter_map(|(rates, (name, goal))| {
        let rounds = rates.iter().enumerate().map(|(round, rate)| best(round) / rate).collect();
        Ratio::of_rounds(format!("best of ours over {name}"), rounds, Some(Goal::AtLeast(goal)))
    });
    let median = |rates: &[f64]| spread(rates)[0];
    let live = BATCHES.iter().zip(live).map(|(batch, rates)| (*batch as f64, median(rates))).collect();
    let level = |rates: &[f64]| BATCHES.map(|batch| (batch as f64, median(rates))).to_vec();
    let theirs = rivals.iter().zip(goals).map(|(rates, (name, _))| Curve { name: name.into(), points: level(rates) });
    Report {
        bench: "throughput",
        engine: runtime.engine().to_string(),
        workers: runtime.engine().workers,
        ratios: ratios.collect(),
        plots: vec![Plot {
            title: "NOP slots from one producer, by the size of its batches".into(),
            x: Axis { label: "slots published at once", log: true },
            y: Axis { label: "slots per second", log: true },
            curves: std::iter::once(Curve { name: "live ring".into(), points: live }).chain(theirs).collect(),
        }],
        tables: vec![Table {
            title: "NOPs from one producer".into(),
            unit: "1/s",
            columns: SPREAD.map(Into::into).into(),
            rows,
        }],
        timelines: Vec::new(),
        notes: super::reference_note(runtime),
    }
}
