//! `vyre bench latency`: round trips through the live ring, beside submit + fence of the same kernel.

use std::time::{Duration, Instant};

use vyre_runtime::protocol::geometry::{Counts, Geometry, Priority};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::{Options, Runtime};

use super::all::Effort;
use super::report::{Axis, Goal, Plot, Ratio, Report, Table};
use super::samples::{COLUMNS, Samples};
use super::{Common, NOP, NOP_ONLY, await_park, rival};
use crate::Failure;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Round trips of each of the two.
    #[arg(long, default_value_t = SAMPLES, value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) samples: u32,
}

impl Arguments {
    /// Those of `vyre bench all`.
    pub(crate) fn of_effort(common: Common, effort: Effort) -> Arguments {
        Arguments { common, samples: effort.pick(SAMPLES, 2_000) }
    }
}

/// Round trips of each of the two, where a user does not say.
const SAMPLES: u32 = 20_000;

/// Rounds in which the two take turns; one more before them warms both up.
const ROUNDS: u32 = 20;

/// Round trips behind a wake from a park that are not counted.
const WARM_UP: u32 = 20;

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    let park_after = Duration::from_millis(1);
    let workers = arguments.common.workers;
    let options = Options { workers, park_after, operations: NOP_ONLY, ..Options::new(Counts::default())? };
    let mut runtime = Runtime::open(&arguments.common.device.choice(), &options)?;
    let mut rival = rival(&runtime, Geometry::new(Counts::default())?, 1)?;
    let [mut live, mut submitted, mut woken] = [Samples::new()?, Samples::new()?, Samples::new()?];
    for round in 0..=ROUNDS {
        let samples = || 0..arguments.samples / ROUNDS;
        let wake = round_trip(&mut runtime, &[NOP])?;
        warm_up(&mut runtime, &[NOP])?;
        let ours: Vec<_> = samples().map(|_| round_trip(&mut runtime, &[NOP])).collect::<Result<_, _>>()?;
        let mut theirs = Vec::new();
        if let Some((rival, _)) = &mut rival {
            await_park(&runtime);
            theirs = samples().map(|_| rival.round_trip()).collect::<Result<_, _>>()?;
        }
        if round > 0 {
            live.add_round(ours)?;
            woken.add_round([wake])?;
            submitted.add_round(theirs)?;
        }
    }
    let ways = [("live ring", &live), ("submit + fence", &submitted), ("live ring, parked before", &woken)];
    let ways = &ways[..if rival.is_some() { 3 } else { 1 }];
    let report = Report {
        bench: "latency",
        engine: runtime.engine().to_string(),
        workers: runtime.engine().workers,
        tables: vec![Table {
            title: "round trip of a NOP".into(),
            unit: "us",
            columns: COLUMNS.map(Into::into).into(),
            rows: ways.iter().map(|(name, samples)| samples.row(*name)).collect(),
        }],
        ratios: rival.iter().filter_map(|_| ratio(&live, &submitted)).collect(),
        plots: vec![Plot {
            title: "Round trip of a NOP: share of slots that took longer".into(),
            x: Axis { label: "microseconds", log: true },
            y: Axis { label: "share of slots", log: true },
            curves: ways[..ways.len().min(2)].iter().map(|(name, samples)| samples.tail(*name)).collect(),
        }],
        notes: super::reference_note(&runtime),
    };
    runtime.exit(Duration::from_secs(10))?;
    let messages = runtime.validation_messages() + rival.map_or(0, |(_, vulkan)| vulkan.validation_messages());
    Ok((report, messages))
}

/// Submit + fence over live, of the medians.
fn ratio(live: &Samples, submitted: &Samples) -> Option<Ratio> {
    let rounds = submitted.medians().iter().zip(live.medians()).map(|(theirs, ours)| theirs / ours).collect();
    let ratio = Ratio::of_rounds("submit + fence over live, p50", rounds, Some(Goal::AtLeast(40.0)))?;
    Some(Ratio { value: submitted.median() / live.median(), ..ratio })
}

/// Round trips that are not counted, behind a park.
pub(crate) fn warm_up(runtime: &mut Runtime, slots: &[Slot]) -> Result<(), Failure> {
    (0..WARM_UP).try_for_each(|_| round_trip(runtime, slots).map(drop))
}

/// Slots from publish to reaped, together.
pub(crate) fn round_trip(runtime: &mut Runtime, slots: &[Slot]) -> Result<Duration, Failure> {
    let start = Instant::now();
    runtime.publish_all(Priority::Normal, slots)?;
    let mut left = slots.len();
    loop {
        left -= usize::from(runtime.reap()?.is_some());
        if left == 0 {
            return Ok(start.elapsed());
        }
        if start.elapsed() > Duration::from_secs(60) {
            return Err("a slot did not complete within 60 s; see `vyre doctor`".into());
        }
        std::hint::spin_loop();
    }
}
