//! `vyre bench vir0`: programs in the resident interpreter, beside the same by hand as a compute shader.

mod work;

use std::time::{Duration, Instant};

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::control::operation_bit;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::{MAX_TILE_BYTES, Operation};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::protocol::vir0::assemble;
use vyre_runtime::protocol::words::SharedWords;
use vyre_runtime::vk::{Bulk, DeviceKind, HandWork, MemoryUse, Parts, PlainDevice, Recorded, Vulkan};
use vyre_runtime::{Bindings, BulkVisibility, EngineKind, LoadedProgram, Options, Resource, Runtime};

use super::all::Effort;
use super::report::{Goal, Ratio, Report, Row, Table};
use super::samples::{SPREAD, spread};
use super::{Common, await_park};
use crate::Failure;
use work::Work;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// KiB of input of each program, about; both sides hold several times as much.
    #[arg(long, default_value_t = KIB, value_parser = clap::value_parser!(u32).range(64..=64512))]
    pub(crate) kib: u32,
    /// Milliseconds of each measurement; each is taken five times.
    #[arg(long, default_value_t = MILLISECONDS, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) milliseconds: u64,
}

/// What a user does not say.
const KIB: u32 = 16 << 10;
const MILLISECONDS: u64 = 100;

impl Arguments {
    /// Those of `vyre bench all`.
    pub(crate) fn of_effort(common: Common, effort: Effort) -> Arguments {
        Arguments { common, kib: effort.pick(KIB, 64), milliseconds: effort.pick(MILLISECONDS, 10) }
    }
}

/// Rounds in which all take turns; one more before them warms up.
const ROUNDS: usize = 5;

/// Time within which a program must have run over its input.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ways to do the work. Another one takes its place before the last, against which they are measured, with a rate for it in [`run`].
const WAYS: [Way; 2] =
    [Way { name: "interpreter", at_most: 3.0 }, Way { name: "hand-written shader", at_most: f64::INFINITY }];

struct Way {
    name: &'static str,
    /// How many times as long as by hand it should take at most, where memory bounds both.
    at_most: f64,
}

/// Some work, and the rates in millions of items a second that the rounds found for each way; none where the way does not exist.
struct Case {
    work: Work,
    live: Live,
    by_hand: Option<Recorded>,
    rates: [Vec<f64>; WAYS.len()],
}

/// A slot, and what it names, which must stay as long as it may run.
struct Live {
    slot: Slot,
    _memory: [Resource; 2],
    _program: LoadedProgram,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    let Common { device, workers, .. } = &arguments.common;
    let operations = [Operation::Exec, Operation::Copy].iter().fold(0, |mask, op| mask | operation_bit(op.code()));
    let park_after = Duration::from_millis(1);
    let options = Options { workers: *workers, park_after, operations, ..Options::new(Counts::default())? };
    let mut runtime = Runtime::open(&device.choice(), &options)?;
    let plain = match runtime.engine().index {
        Some(index) => {
            let vulkan = Vulkan::load(vyre_runtime::validation_from_environment())?;
            Some((PlainDevice::open(&vulkan, index)?, vulkan))
        }
        None => None,
    };
    let mut cases = Vec::new();
    for work in work::all(arguments.kib) {
        let live = interpreted(&mut runtime, &work)?;
        await_park(&runtime);
        let by_hand = plain.as_ref().map(|(device, _)| by_hand(device, &work)).transpose()?;
        cases.push(Case { work, live, by_hand, rates: Default::default() });
    }
    // The outputs were looked at; from here on nobody does.
    runtime.set_bulk_visibility(BulkVisibility::Immediate);
    let time = Duration::from_millis(arguments.milliseconds);
    for round in 0..=ROUNDS {
        for Case { work, live, by_hand, rates } in &mut cases {
            let interpreted = rate(work.items, time, || execute(&mut runtime, &live.slot))?;
            await_park(&runtime);
            let run = |recorded: &mut Recorded| rate(work.items, time, || Ok(recorded.run()?));
            let found = [Some(interpreted), by_hand.as_mut().map(run).transpose()?];
            if round > 0 {
                rates.iter_mut().zip(found).for_each(|(rates, rate)| rates.extend(rate));
            }
        }
    }
    let report = summary(&runtime, &cases);
    runtime.exit(Duration::from_secs(10))?;
    let theirs = plain.map_or(0, |(_, vulkan)| vulkan.validation_messages());
    Ok((report, runtime.validation_messages() + theirs))
}

/// Runs a slot to its end.
fn execute(runtime: &mut Runtime, slot: &Slot) -> Result<(), Failure> {
    let ticket = runtime.publish(Priority::Normal, slot)?;
    let completion = runtime.wait(ticket, PATIENCE)?;
    match completion.status {
        Status::Done => Ok(()),
        Status::Faulted => Err(format!("a slot faulted: {:?} ({:#x})", completion.fault, completion.fault_word).into()),
    }
}

/// Fails if what came of the work is not what must.
fn check(work: &Work, found: &[u8], who: &str) -> Result<(), Failure> {
    let same = found == work.expected;
    if same { Ok(()) } else { Err(format!("{} by the {who} gave a wrong result; see `vyre doctor`", work.name).into()) }
}

/// The slot that does the work in device memory, which has done it once and came to the right result.
fn interpreted(runtime: &mut Runtime, work: &Work) -> Result<Live, Failure> {
    let program = assemble(work.text).map_err(|error| format!("{}: {error}", work.name))?;
    let (reads, writes) = (work.input.len() as u32, work.output.len() as u32);
    let staging = runtime.allocate(reads.max(writes).into(), MemoryUse::HostToDevice)?;
    let source = runtime.allocate(reads.into(), MemoryUse::Local)?;
    let target = runtime.allocate(writes.into(), MemoryUse::Local)?;
    let back = runtime.allocate(writes.into(), MemoryUse::DeviceToHost)?;
    let copy = Slot::new(Operation::Copy);
    for (bytes, place) in [(&work.input, &source), (&work.output, &target)] {
        staging.write(0, bytes)?;
        let slot = Slot { input: staging.at(0), output: place.at(0), ..copy };
        execute(runtime, &slot.tiled(bytes.len() as u32, MAX_TILE_BYTES, 1))?;
    }
    let loaded = runtime.load_program(&program)?;
    let bindings = Bindings { input: source.at(0), output: target.at(0), further: &[], parameters: &work.parameters };
    let slot = loaded.slot(&bindings, work.items, work.span)?;
    execute(runtime, &slot)?;
    let read = Slot { input: target.at(0), output: back.at(0), ..copy };
    execute(runtime, &read.tiled(writes, MAX_TILE_BYTES, 1))?;
    let mut found = vec![0; work.output.len()];
    back.read(0, &mut found)?;
    check(work, &found, WAYS[0].name)?;
    runtime.release(staging);
    runtime.release(back);
    Ok(Live { slot, _memory: [source, target], _program: loaded })
}

/// The same as a dispatch.
fn by_hand(device: &PlainDevice, work: &Work) -> Result<Recorded, Failure> {
    let (reads, writes) = (work.input.len() as u64, work.output.len() as u64);
    let staging = device.allocate(reads.max(writes), MemoryUse::HostToDevice)?;
    let source = device.allocate(reads, MemoryUse::Local)?;
    let target = device.allocate(writes, MemoryUse::Local)?;
    let back = device.allocate(writes, MemoryUse::DeviceToHost)?;
    let whole = |bytes: &[u8]| Parts { bytes: bytes.len() as u32, count: 1 };
    for (bytes, place) in [(&work.input, &source), (&work.output, &target)] {
        let host = staging.region().ok_or("memory for the host is not mapped")?;
        host.write_bytes(0, bytes)?;
        host.publish_fence();
        device.transfer(Bulk::Copy, whole(bytes), &staging, place)?.run()?;
    }
    let mut parameters = [0; 5];
    parameters[..work.parameters.len()].copy_from_slice(&work.parameters);
    let hand = HandWork { items: work.items, span: work.span, parameters };
    let mut recorded = device.hand_written(work.shader, &hand, &source, &target)?;
    recorded.run()?;
    device.transfer(Bulk::Copy, whole(&work.output), &target, &back)?.run()?;
    let mut found = vec![0; work.output.len()];
    back.region().ok_or("memory for the host is not mapped")?.read_bytes(0, &mut found)?;
    check(work, &found, WAYS[WAYS.len() - 1].name)?;
    Ok(recorded)
}

/// Millions of items a second of doing the work again and again.
fn rate(items: u32, time: Duration, mut run: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut times = 0;
    while times == 0 || start.elapsed() < time {
        run()?;
        times += 1;
    }
    Ok(f64::from(items) * f64::from(times) / 1e6 / start.elapsed().as_secs_f64())
}

fn summary(runtime: &Runtime, cases: &[Case]) -> Report {
    let (mut rows, mut ratios) = (Vec::new(), Vec::new());
    for Case { work, rates, .. } in cases {
        let hand = &rates[WAYS.len() - 1];
        for (Way { name, at_most }, rates) in WAYS.iter().zip(rates).filter(|(_, rates)| !rates.is_empty()) {
            rows.push(Row { name: format!("{}, {name}", work.name), values: spread(rates) });
            let goal = (work.by_memory && at_most.is_finite()).then_some(Goal::AtMost(*at_most));
            let rounds: Vec<f64> = hand.iter().zip(rates).map(|(theirs, ours)| theirs / ours).collect();
            let what = format!("{}: time of the {name} over the hand-written shader's", work.name);
            ratios.extend(at_most.is_finite().then(|| Ratio::of_rounds(what, rounds, goal)).flatten());
        }
    }
    let mut notes = super::reference_note(runtime);
    notes.push("each result was compared with the host's first; saxpy, dot and histogram are bound by memory".into());
    notes.push("an item of crc32 is a block of 64 bytes, one of mandelbrot up to 100 steps".into());
    if runtime.engine().kind == EngineKind::Vulkan(DeviceKind::Software) {
        notes.push("a dispatch has all processors, the live kernel leaves one to the host".into());
    }
    let columns = SPREAD.map(Into::into).into();
    Report {
        bench: "vir0",
        engine: runtime.engine().to_string(),
        workers: runtime.engine().workers,
        tables: vec![Table { title: "programs".into(), unit: "million items per second", columns, rows }],
        ratios,
        plots: Vec::new(),
        timelines: Vec::new(),
        notes,
    }
}
