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
use vyre_runtime::{
    Bindings, BulkVisibility, EngineKind, HotPolicy, LoadedProgram, Options, ProgramState, Resource, Runtime,
};

use super::all::Effort;
use super::report::{Goal, Ratio, Report, Row, Table};
use super::samples::{SPREAD, spread};
use super::{Common, await_park, whole_kernel};
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
    /// Also measure the programs as code of the kernel; a software device builds that for minutes.
    #[arg(long)]
    pub(crate) hot: bool,
}

/// What a user does not say: more than the caches of a GPU hold.
const KIB: u32 = 63 << 10;
const MILLISECONDS: u64 = 100;

impl Arguments {
    /// Those of `vyre bench all`.
    pub(crate) fn of_effort(common: Common, effort: Effort) -> Arguments {
        Arguments {
            common,
            kib: effort.pick(KIB, 64),
            milliseconds: effort.pick(MILLISECONDS, 10),
            hot: effort.pick(true, false),
        }
    }
}

/// Rounds in which all take turns; one more before them warms up.
const ROUNDS: usize = 5;

/// Time within which a program must have run over its input.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest time for the kernel that holds the programs; software devices compile it for minutes.
const BUILD: Duration = Duration::from_secs(900);

/// Ways to do the work; they are measured against the last one.
const WAYS: [Way; 3] = [
    Way { name: "interpreter", at_most: 3.0 },
    Way { name: "hot program", at_most: 1.1 },
    Way { name: "hand-written shader", at_most: f64::INFINITY },
];

/// The programs as code of the kernel.
const HOT: usize = 1;

struct Way {
    name: &'static str,
    /// How many times as long as by hand it should take at most, where memory bounds both.
    at_most: f64,
}

/// Some work, and the rates in millions of items a second that the rounds found for each way; none where the way does not exist.
struct Case {
    work: Work,
    by_hand: Option<Recorded>,
    rates: [Vec<f64>; WAYS.len()],
}

/// A slot, and what it names.
struct Live {
    slot: Slot,
    source: Resource,
    target: Resource,
    program: LoadedProgram,
}

/// A runtime that runs the programs in one of the [`WAYS`].
struct Engine {
    way: usize,
    runtime: Runtime,
}

impl Engine {
    fn open(arguments: &Arguments, way: usize, hot: HotPolicy) -> Result<Engine, Failure> {
        let Common { device, workers, .. } = &arguments.common;
        let operations = [Operation::Exec, Operation::Copy].iter().fold(0, |mask, op| mask | operation_bit(op.code()));
        let park_after = Duration::from_millis(1);
        let options = Options { workers: *workers, park_after, operations, hot, ..whole_kernel(Counts::default())? };
        Ok(Engine { way, runtime: Runtime::open(&device.choice(), &options)? })
    }

    /// Loads all programs, has the kernel built that is to hold them, and tries them out. Says of which that kernel has none.
    fn prepare(&mut self, works: &[Work], notes: &mut Vec<String>) -> Result<Vec<Option<Live>>, Failure> {
        let lives: Vec<Live> = works.iter().map(|work| load(&mut self.runtime, work)).collect::<Result<_, _>>()?;
        let mut ready = Vec::new();
        for (work, live) in works.iter().zip(lives) {
            let state = self.runtime.await_program(&live.program, BUILD);
            let runs_so = self.way != HOT || state == ProgramState::Hot;
            if runs_so {
                try_out(&mut self.runtime, work, &live, WAYS[self.way].name)?;
            } else {
                notes.push(format!("{} was not measured as code of the kernel: {state:?}", work.name));
            }
            ready.push(runs_so.then_some(live));
        }
        await_park(&self.runtime);
        // The outputs were looked at; from here on nobody does.
        self.runtime.set_bulk_visibility(BulkVisibility::Immediate);
        Ok(ready)
    }

    fn rate(&mut self, work: &Work, live: &Live, time: Duration) -> Result<f64, Failure> {
        let found = rate(work.items, time, || execute(&mut self.runtime, &live.slot))?;
        await_park(&self.runtime);
        Ok(found)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    let works = work::all(arguments.kib);
    let mut engines = vec![Engine::open(arguments, 0, HotPolicy::Never)?];
    let plain = match engines[0].runtime.engine().index {
        Some(index) => {
            let vulkan = Vulkan::load(vyre_runtime::validation_from_environment())?;
            Some((PlainDevice::open(&vulkan, index)?, vulkan))
        }
        None => None,
    };
    if arguments.hot && plain.is_some() {
        engines.push(Engine::open(arguments, HOT, HotPolicy::Always)?);
    }
    let mut notes = super::reference_note(&engines[0].runtime);
    let lives: Vec<_> =
        engines.iter_mut().map(|engine| engine.prepare(&works, &mut notes)).collect::<Result<_, _>>()?;
    let mut cases = Vec::new();
    for work in works {
        let by_hand = plain.as_ref().map(|(device, _)| by_hand(device, &work)).transpose()?;
        cases.push(Case { work, by_hand, rates: Default::default() });
    }
    let time = Duration::from_millis(arguments.milliseconds);
    for round in 0..=ROUNDS {
        for (index, Case { work, by_hand, rates }) in cases.iter_mut().enumerate() {
            let mut found = [None; WAYS.len()];
            for (engine, lives) in engines.iter_mut().zip(&lives) {
                found[engine.way] = lives[index].as_ref().map(|live| engine.rate(work, live, time)).transpose()?;
            }
            let run = |recorded: &mut Recorded| rate(work.items, time, || Ok(recorded.run()?));
            found[WAYS.len() - 1] = by_hand.as_mut().map(run).transpose()?;
            if round > 0 {
                rates.iter_mut().zip(found).for_each(|(rates, rate)| rates.extend(rate));
            }
        }
    }
    let report = summary(&engines[0].runtime, &cases, notes);
    let mut messages = plain.map_or(0, |(_, vulkan)| vulkan.validation_messages());
    for Engine { mut runtime, .. } in engines {
        runtime.exit(Duration::from_secs(10))?;
        messages += runtime.validation_messages();
    }
    Ok((report, messages))
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

/// A program that is loaded, and memory of the device for its work.
fn load(runtime: &mut Runtime, work: &Work) -> Result<Live, Failure> {
    let program = assemble(work.text).map_err(|error| format!("{}: {error}", work.name))?;
    let source = runtime.allocate(work.input.len() as u64, MemoryUse::Local)?;
    let target = runtime.allocate(work.output.len() as u64, MemoryUse::Local)?;
    let program = runtime.load_program(&program)?;
    let bindings = Bindings { input: source.at(0), output: target.at(0), further: &[], parameters: &work.parameters };
    let slot = program.slot(&bindings, work.items, work.span)?;
    Ok(Live { slot, source, target, program })
}

/// Does the work once, and fails if it does not come to the right result.
fn try_out(runtime: &mut Runtime, work: &Work, live: &Live, who: &str) -> Result<(), Failure> {
    let (reads, writes) = (work.input.len() as u32, work.output.len() as u32);
    let staging = runtime.allocate(reads.max(writes).into(), MemoryUse::HostToDevice)?;
    let back = runtime.allocate(writes.into(), MemoryUse::DeviceToHost)?;
    let copy = Slot::new(Operation::Copy);
    for (bytes, place) in [(&work.input, &live.source), (&work.output, &live.target)] {
        staging.write(0, bytes)?;
        let slot = Slot { input: staging.at(0), output: place.at(0), ..copy };
        execute(runtime, &slot.tiled(bytes.len() as u32, MAX_TILE_BYTES, 1))?;
    }
    execute(runtime, &live.slot)?;
    let read = Slot { input: live.target.at(0), output: back.at(0), ..copy };
    execute(runtime, &read.tiled(writes, MAX_TILE_BYTES, 1))?;
    let mut found = vec![0; work.output.len()];
    back.read(0, &mut found)?;
    runtime.release(staging);
    runtime.release(back);
    check(work, &found, who)
}

/// The same as a dispatch.
fn by_hand(device: &PlainDevice, work: &Work) -> Result<Recorded, Failure> {
    let (reads, writes) = (work.input.len() as u64, work.output.len() as u64);
    let staging = device.allocate(reads.max(writes), MemoryUse::HostToDevice)?;
    let source = device.allocate(reads, MemoryUse::Local)?;
    let target = device.allocate(writes, MemoryUse::Local)?;
    let back = device.allocate(writes, MemoryUse::DeviceToHost)?;
    let whole = |bytes: &[u8]| Parts { bytes: bytes.len() as u32, count: 1, tile: MAX_TILE_BYTES };
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

fn summary(runtime: &Runtime, cases: &[Case], mut notes: Vec<String>) -> Report {
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
