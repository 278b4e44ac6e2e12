//! `vyre bench latency`: round trips through the live ring, beside submit + fence of the same kernel.

use std::time::{Duration, Instant};

use vyre_runtime::protocol::control::operation_bit;
use vyre_runtime::protocol::geometry::{Counts, Geometry, Priority};
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::{Echo, MemoryUse};
use vyre_runtime::{Options, Resource, Runtime};

use super::all::Effort;
use super::report::{Axis, Goal, Plot, Ratio, Report, Table};
use super::samples::{COLUMNS, Samples};
use super::{Common, NOP, NOP_ONLY, await_park, noise, rival, whole_kernel};
use crate::Failure;
use crate::run::results;

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

/// Bytes of a COPY.
const COPIED: u32 = 4096;
const SEED: u64 = 1;

/// Round trips by the way that they took.
struct Ways {
    live: Samples,
    copied: Samples,
    submitted: Samples,
    woken: Samples,
    echoed: Samples,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    let park_after = Duration::from_millis(1);
    let workers = arguments.common.workers;
    let options = Options { workers, park_after, operations: NOP_ONLY, ..whole_kernel(Counts::default())? };
    let mut runtime = Runtime::open(&arguments.common.device.choice(), &options)?;
    let mut rivals = match rival(&runtime, Geometry::new(Counts::default())?, 1)? {
        Some((submitted, vulkan)) => {
            let index = runtime.engine().index.unwrap_or_default();
            Some((submitted, Echo::new(&vulkan, index)?, vulkan))
        }
        None => None,
    };
    let with_copy = Options { operations: operation_bit(Operation::Copy.code()), ..options };
    let mut copier = Runtime::open(&arguments.common.device.choice(), &with_copy)?;
    let (copy, target) = copy(&mut copier)?;
    let [live, copied, submitted, woken, echoed] =
        [Samples::new()?, Samples::new()?, Samples::new()?, Samples::new()?, Samples::new()?];
    let mut ways = Ways { live, copied, submitted, woken, echoed };
    for round in 0..=ROUNDS {
        let samples = || 0..arguments.samples / ROUNDS;
        let wake = round_trip(&mut runtime, &[NOP])?;
        warm_up(&mut runtime, &[NOP])?;
        let ours: Vec<_> = samples().map(|_| round_trip(&mut runtime, &[NOP])).collect::<Result<_, _>>()?;
        await_park(&runtime);
        warm_up(&mut copier, &[copy])?;
        // A tenth of them: where memory is read at a quantum's end, one takes as long as many others.
        let copies = samples().step_by(10);
        let copied: Vec<_> = copies.map(|_| round_trip(&mut copier, &[copy])).collect::<Result<_, _>>()?;
        let (mut theirs, mut floor) = (Vec::new(), Vec::new());
        if let Some((submitted, echo, _)) = &mut rivals {
            await_park(&copier);
            theirs = samples().map(|_| submitted.round_trip()).collect::<Result<_, _>>()?;
            floor = samples().map(|_| echo.round_trip()).collect::<Result<_, _>>()?;
            echo.rest()?;
        }
        if round > 0 {
            ways.live.add_round(ours)?;
            ways.copied.add_round(copied)?;
            ways.woken.add_round([wake])?;
            ways.submitted.add_round(theirs)?;
            ways.echoed.add_round(floor.into_iter().flatten())?;
        }
    }
    let report = report(&runtime, &ways, rivals.is_some());
    check_copied(&target)?;
    let mut messages = rivals.map_or(0, |(.., vulkan)| vulkan.validation_messages());
    for mut runtime in [runtime, copier] {
        runtime.exit(Duration::from_secs(10))?;
        messages += runtime.validation_messages();
    }
    Ok((report, messages))
}

/// A COPY of [`noise`], and its target, each byte of which the host may read when the completion is delivered.
fn copy(runtime: &mut Runtime) -> Result<(Slot, Resource), Failure> {
    let source = runtime.allocate(COPIED.into(), MemoryUse::HostToDevice)?;
    source.write(0, &noise(COPIED as usize, SEED))?;
    let target = runtime.allocate(COPIED.into(), MemoryUse::DeviceToHost)?;
    Ok((results::copy(&source, &target), target))
}

fn check_copied(target: &Resource) -> Result<(), Failure> {
    let mut found = vec![0; COPIED as usize];
    target.read(0, &mut found)?;
    match found == noise(COPIED as usize, SEED) {
        true => Ok(()),
        false => Err("COPY left other bytes than its input's; see `vyre doctor`".into()),
    }
}

fn report(runtime: &Runtime, ways: &Ways, rivals: bool) -> Report {
    let Ways { live, copied, submitted, woken, echoed } = ways;
    let rows = [
        ("live ring", live),
        ("live ring, COPY of 4 KiB", copied),
        ("submit + fence", submitted),
        ("a word there and back", echoed),
        ("live ring, parked before", woken),
    ];
    let rows = &rows[..if rivals { rows.len() } else { 2 }];
    let mut notes = super::reference_note(runtime);
    if rivals {
        notes.push(
            "a word there and back: a kernel of one lane that only answers, in the same memory; no ring can be faster"
                .into(),
        );
    }
    Report {
        bench: "latency",
        engine: runtime.engine().to_string(),
        workers: runtime.engine().workers,
        tables: vec![Table {
            title: "round trip of a slot".into(),
            unit: "us",
            columns: COLUMNS.map(Into::into).into(),
            rows: rows.iter().map(|(name, samples)| samples.row(*name)).collect(),
        }],
        ratios: if rivals { ratios(ways) } else { Vec::new() },
        plots: vec![Plot {
            title: "Round trip of a slot: share of slots that took longer".into(),
            x: Axis { label: "microseconds", log: true },
            y: Axis { label: "share of slots", log: true },
            curves: rows.iter().take(4).map(|(name, samples)| samples.tail(*name)).collect(),
        }],
        timelines: Vec::new(),
        notes,
    }
}

/// Submit + fence over live, and live over the echo, of the medians.
fn ratios(Ways { live, submitted, echoed, .. }: &Ways) -> Vec<Ratio> {
    let ratio = |what, above: &Samples, below: &Samples, goal| {
        let rounds = above.medians().iter().zip(below.medians()).map(|(above, below)| above / below).collect();
        let ratio = Ratio::of_rounds(what, rounds, goal)?;
        Some(Ratio { value: above.median() / below.median(), ..ratio })
    };
    let goal = Some(Goal::AtLeast(40.0));
    let submitted = ratio("submit + fence over live, p50", submitted, live, goal);
    submitted.into_iter().chain(ratio("live over a word there and back, p50", live, echoed, None)).collect()
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
