//! `vyre bench ops`: bulk operations through the live ring, beside a plain dispatch of the same code and what one would use instead.

mod sides;

use std::time::{Duration, Instant};

use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::{Bulk, DeviceKind, Parts, Recorded};
use vyre_runtime::{EngineKind, Runtime};

use super::all::Effort;
use super::report::{Axis, Curve, Goal, Plot, Ratio, Report, Row, Table};
use super::samples::{SPREAD, spread};
use super::{Common, GIB, await_park, noise};
use crate::Failure;
use sides::{Live, Plain, command_name, expected};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// MiB of input, in four slots; each side holds four times as much.
    #[arg(long, default_value_t = MIB, value_parser = clap::value_parser!(u32).range(1..=2048))]
    pub(crate) mib: u32,
    /// Milliseconds of each measurement; each is taken five times.
    #[arg(long, default_value_t = MILLISECONDS, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) milliseconds: u64,
}

/// What a user does not say.
const MIB: u32 = 64;
const MILLISECONDS: u64 = 100;

impl Arguments {
    /// Those of `vyre bench all`.
    pub(crate) fn of_effort(common: Common, effort: Effort) -> Arguments {
        Arguments { common, mib: effort.pick(MIB, 4), milliseconds: effort.pick(MILLISECONDS, 10) }
    }
}

/// Slots that are outstanding together, or dispatches of a command buffer.
const PARTS: u32 = 4;

/// What is measured; COPY by the size of a slot too.
const BULK: [Bulk; 5] = [Bulk::Copy, Bulk::Fill(0x5eed_f00d), Bulk::Reduce, Bulk::Histogram, Bulk::Blake3];

/// Smallest slot of COPY, and how much larger the next one is.
const SMALLEST: u32 = 4096;
const STEP: u32 = 4;

/// Rounds in which all take turns; one more before them warms up.
const ROUNDS: usize = 5;

/// Ways to do the work, in the order of [`names`].
const WAYS: usize = 4;

/// Bytes of a workgroup's part in a plain dispatch, which pays nothing for having many.
const DISPATCH_TILE: u32 = 16 << 10;

/// Some work, and the rates in GiB/s that the rounds found for each way; none where the way does not exist.
struct Case {
    bulk: Bulk,
    parts: Parts,
    slots: Vec<Slot>,
    dispatch: Option<Recorded>,
    command: Option<Recorded>,
    rates: [Vec<f64>; WAYS],
}

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    let data = noise((arguments.mib as usize) << 20, 0);
    let mut live = Live::open(&arguments.common.device.choice(), arguments.common.workers, &data)?;
    let mut plain = live.runtime.engine().index.map(|index| Plain::open(index, &data)).transpose()?;
    let largest = data.len() as u32 / PARTS;
    let sizes =
        std::iter::successors(Some(SMALLEST), |bytes| bytes.checked_mul(STEP)).take_while(|bytes| *bytes < largest);
    let work = sizes.map(|bytes| (Bulk::Copy, bytes)).chain(BULK.map(|bulk| (bulk, largest)));
    let mut cases = Vec::new();
    for (bulk, bytes) in work {
        cases.push(checked(&mut live, &mut plain, &data, bulk, bytes)?);
    }
    live.deliver_at_once();
    let time = Duration::from_millis(arguments.milliseconds);
    for round in 0..=ROUNDS {
        let mut found = Vec::new();
        for case in &mut cases {
            found.push([Some(rate(case.parts, time, || live.run(&case.slots))?), None, None, None]);
        }
        await_park(&live.runtime);
        for (case, found) in cases.iter_mut().zip(&mut found) {
            let [_, rivals @ ..] = found;
            *rivals = case.rivals(time, &data)?;
        }
        for (case, found) in cases.iter_mut().zip(found).filter(|_| round > 0) {
            case.rates.iter_mut().zip(found).for_each(|(rates, rate)| rates.extend(rate));
        }
    }
    let report = summary(&live.runtime, &cases);
    live.runtime.exit(Duration::from_secs(10))?;
    let theirs = plain.map_or(0, |plain| plain.vulkan.validation_messages());
    Ok((report, live.runtime.validation_messages() + theirs))
}

/// The work on all sides, each of which has done it once and has come to what the host expects.
fn checked(live: &mut Live, plain: &mut Option<Plain>, data: &[u8], bulk: Bulk, bytes: u32) -> Result<Case, Failure> {
    let check = |found: Vec<u8>, parts: Parts, who: &str| match found == expected(bulk, data, parts) {
        true => Ok(()),
        false => Err(format!("{bulk:?} of {bytes} bytes by {who} gave a wrong result; see `vyre doctor`")),
    };
    let parts = Parts { bytes, count: PARTS, tile: live.runtime.tile_bytes(bytes) };
    check(live.outcome(bulk, parts)?, parts, "the live ring")?;
    let (mut dispatch, mut command) = (None, None);
    if let Some(plain) = plain {
        let parts = Parts { tile: DISPATCH_TILE, ..parts };
        dispatch = Some(plain.dispatch(bulk, parts)?);
        command = plain.command(bulk, parts)?;
        for (work, who) in [(&mut dispatch, "a plain dispatch"), (&mut command, "Vulkan's own command")] {
            if let Some(work) = work {
                check(plain.outcome(bulk, parts, work)?, parts, who)?;
            }
        }
    }
    let slots = live.slots(bulk, parts);
    Ok(Case { bulk, parts, slots, dispatch, command, rates: Default::default() })
}

impl Case {
    /// Rates of what there is beside the live ring.
    fn rivals(&mut self, time: Duration, data: &[u8]) -> Result<[Option<f64>; WAYS - 1], Failure> {
        let parts = self.parts;
        let recorded = |work: &mut Option<Recorded>| match work {
            Some(work) => rate(parts, time, || Ok(work.run()?)).map(Some),
            None => Ok(None),
        };
        let (dispatch, command) = (recorded(&mut self.dispatch)?, recorded(&mut self.command)?);
        let hash = || {
            std::hint::black_box(blake3::hash(data));
            Ok(())
        };
        let host = if self.bulk == Bulk::Blake3 { Some(rate(parts, time, hash)?) } else { None };
        Ok([dispatch, command, host])
    }
}

/// GiB/s of doing the work again and again.
fn rate(parts: Parts, time: Duration, mut run: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut times = 0;
    while times == 0 || start.elapsed() < time {
        run()?;
        times += 1;
    }
    let bytes = f64::from(parts.bytes) * f64::from(parts.count) * f64::from(times);
    Ok(bytes / GIB / start.elapsed().as_secs_f64())
}

/// The ways to do an operation.
fn names(bulk: Bulk) -> [&'static str; WAYS] {
    ["live", "plain dispatch", command_name(bulk).unwrap_or_default(), "blake3 crate, one thread"]
}

fn summary(runtime: &Runtime, cases: &[Case]) -> Report {
    let (rows, ratios) = full_size(cases);
    let (by_size, curves) = copies(cases);
    let largest = cases.iter().map(|case| case.parts.bytes).max().unwrap_or(0);
    let mut notes = super::reference_note(runtime);
    notes.push("bytes count once, also where they are read and written".into());
    notes.push("the live kernel holds all five operations, a plain dispatch the one that it runs".into());
    if runtime.engine().kind == EngineKind::Vulkan(DeviceKind::Software) {
        notes.push("a plain dispatch has all processors, the live kernel leaves one to the host".into());
    }
    let title = format!("{PARTS} slots of {} KiB", largest >> 10);
    Report {
        bench: "ops",
        engine: runtime.engine().to_string(),
        workers: runtime.engine().workers,
        tables: vec![Table { title, unit: "GiB/s", columns: SPREAD.map(Into::into).into(), rows }, by_size],
        ratios,
        plots: vec![Plot {
            title: format!("COPY in {PARTS} slots, by their size"),
            x: Axis { label: "bytes of a slot", log: true },
            y: Axis { label: "GiB per second", log: true },
            curves,
        }],
        timelines: Vec::new(),
        notes,
    }
}

/// Rows and ratios of the largest slots.
fn full_size(cases: &[Case]) -> (Vec<Row>, Vec<Ratio>) {
    let (mut rows, mut ratios) = (Vec::new(), Vec::new());
    for case in &cases[cases.len() - BULK.len()..] {
        let operation = format!("{:?}", case.bulk.operation()).to_uppercase();
        for (way, name) in names(case.bulk).into_iter().enumerate().filter(|(way, _)| !case.rates[*way].is_empty()) {
            rows.push(Row { name: format!("{operation}, {name}"), values: spread(&case.rates[way]) });
            let goal = (way == 1).then_some(Goal::AtLeast(0.9));
            let rounds = case.rates[0].iter().zip(&case.rates[way]).map(|(ours, theirs)| ours / theirs).collect();
            let ratio = || Ratio::of_rounds(format!("{operation}: live over {name}"), rounds, goal);
            ratios.extend((way > 0).then(ratio).flatten());
        }
    }
    (rows, ratios)
}

/// COPY by the size of a slot, as a table of medians and as curves.
fn copies(cases: &[Case]) -> (Table, Vec<Curve>) {
    let copies: Vec<_> = cases.iter().filter(|case| case.bulk == Bulk::Copy).collect();
    let ways = names(Bulk::Copy).into_iter().enumerate();
    let ways: Vec<_> = ways.filter(|(way, _)| copies.iter().all(|case| !case.rates[*way].is_empty())).collect();
    let median = |case: &Case, way: usize| spread(&case.rates[way])[0];
    let row = |case: &&Case| {
        let values = ways.iter().map(|(way, _)| median(case, *way)).collect();
        Row { name: format!("{} KiB", case.parts.bytes >> 10), values }
    };
    let curve = |(way, name): &(usize, &str)| {
        let points = copies.iter().map(|case| (case.parts.bytes.into(), median(case, *way))).collect();
        Curve { name: (*name).into(), points }
    };
    let table = Table {
        title: format!("COPY in {PARTS} slots, medians"),
        unit: "GiB/s",
        columns: ways.iter().map(|(_, name)| (*name).into()).collect(),
        rows: copies.iter().map(row).collect(),
    };
    (table, ways.iter().map(curve).collect())
}
