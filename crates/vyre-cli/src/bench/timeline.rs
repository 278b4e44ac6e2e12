//! A short traced run as a figure: what relay and workers do when, with parks between bursts of slots.

use std::collections::BTreeMap;
use std::time::Duration;

use vyre_runtime::protocol::geometry::{Counts, Priority, limits};
use vyre_runtime::protocol::operation::{MAX_TILE_BYTES, Operation, Reduction};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{EngineSpan, Options, Runtime, Trace};

use super::latency::warm_up;
use super::report::{Span, Timeline, Track};
use super::{Common, NOP, NOP_ONLY, await_park, whole_kernel};
use crate::Failure;

/// Bursts of slots, each from a park to the next.
const BURSTS: u32 = 3;

/// Time without work until the engine parks, and how long it then stays parked.
const PARK_AFTER: Duration = Duration::from_millis(1);
const GAP: Duration = Duration::from_millis(5);

/// Workers that are shown; of thousands nobody could tell one from another.
const MOST_WORKERS: usize = 12;

/// Most events of the run: tiles, and quanta that follow each other in the gaps.
const EVENTS: usize = 1 << 16;

/// What spans are, in the order of the legend.
const KINDS: [&str; 4] = ["quantum", "parked", "tile of FILL", "tile of REDUCE"];
const QUANTUM: usize = 0;
const PARKED: usize = 1;

fn kind_of(operation: u32) -> Option<usize> {
    let operations = [Operation::Fill, Operation::Reduce];
    operations.iter().position(|known| known.code() == operation).map(|place| PARKED + 1 + place)
}

/// Runs slots on an engine of its own, whose kernel leaves records. Gives the figure, what there is to say about it, and messages of
/// the validation layer.
pub(super) fn record(common: &Common) -> Result<(Timeline, Vec<String>, u64), Failure> {
    let counts = Counts { log_records: limits::LOG_RECORDS, ..Counts::default() };
    let operations = NOP_ONLY | 1 << Operation::Fill.code() | 1 << Operation::Reduce.code();
    let (workers, park_after, trace_events) = (common.workers, PARK_AFTER, EVENTS);
    let options = Options { workers, park_after, operations, trace_events, ..whole_kernel(counts)? };
    let mut runtime = Runtime::open(&common.device.choice(), &options)?;
    let tiles = runtime.engine().workers.clamp(64, 1024);
    let bytes = tiles * MAX_TILE_BYTES;
    let memory = runtime.allocate(bytes.into(), MemoryUse::Local)?;
    let sums = runtime.allocate((tiles * 8).into(), MemoryUse::DeviceToHost)?;
    let fill = Slot { output: memory.at(0), ..Slot::new(Operation::Fill) }.tiled(bytes, MAX_TILE_BYTES, 1);
    let reduce = Slot { input: memory.at(0), output: sums.at(0), ..Slot::new(Operation::Reduce) };
    let reduce = reduce.with_args(&[Reduction::Sum.code(), 1])?.tiled(bytes, MAX_TILE_BYTES, 1);
    warm_up(&mut runtime, &[NOP])?;
    for _ in 0..BURSTS {
        runtime.publish_all(Priority::Normal, &[fill, reduce])?;
        runtime.drain(Duration::from_secs(60))?;
        await_park(&runtime);
        std::thread::sleep(GAP);
    }
    runtime.exit(Duration::from_secs(10))?;
    let trace = runtime.take_trace().ok_or("nothing was traced")?;
    let (timeline, shown) = draw(&trace);
    let mut notes = vec![format!("timeline: a kernel that leaves a record of each tile; {}", trace.clock)];
    if shown < runtime.engine().workers as usize {
        let workers = runtime.engine().workers;
        notes.push(format!("timeline: {shown} of {workers} workers are shown, those that ran most tiles"));
    }
    if trace.dropped + trace.overwritten > 0 {
        notes.push(format!("timeline: {} events are missing", trace.dropped + trace.overwritten));
    }
    Ok((timeline, notes, runtime.validation_messages()))
}

/// The time on the axis.
fn microseconds(time: Duration, origin: Duration) -> f64 {
    time.saturating_sub(origin).as_nanos() as f64 / 1e3
}

/// Draws what came behind the first slot that is no NOP, and says how many workers that shows.
fn draw(trace: &Trace) -> (Timeline, usize) {
    let bursts = trace.slots.iter().filter(|slot| kind_of(slot.operation).is_some());
    let origin = bursts.map(|slot| slot.published).min().unwrap_or_default();
    let span = |kind, [start, end]: [Duration; 2]| {
        let [start, end] = [start, end].map(|time| microseconds(time, origin));
        Span { kind, start, end }
    };
    let mut relay = Track { name: "relay".into(), spans: Vec::new() };
    let mut workers = BTreeMap::<u32, Vec<Span>>::new();
    let mut busy_until = origin;
    for EngineSpan { worker, parked, start, end } in trace.engine_spans.iter().copied().filter(|span| span.end > origin)
    {
        let kind = if parked { PARKED } else { QUANTUM };
        match worker {
            Some(worker) => workers.entry(worker).or_default().push(span(kind, [start, end])),
            // A quantum is submitted behind the one before it, and begins when that ends.
            None => relay.spans.push(span(kind, [start.max(busy_until), end])),
        }
        busy_until = busy_until.max(end);
    }
    let mut counts = BTreeMap::<u32, usize>::new();
    for tile in &trace.tiles {
        let Some(kind) = kind_of(tile.operation) else { continue };
        *counts.entry(tile.worker).or_default() += 1;
        workers.entry(tile.worker).or_default().push(span(kind, [tile.start, tile.end]));
    }
    let mut shown: Vec<_> = workers.keys().copied().collect();
    shown.sort_by_key(|worker| std::cmp::Reverse(counts.get(worker).copied().unwrap_or(0)));
    shown.truncate(MOST_WORKERS);
    shown.sort_unstable();
    let track = |worker| Track { name: format!("worker {worker}"), spans: workers.remove(&worker).unwrap_or_default() };
    let number = shown.len();
    let tracks = (!relay.spans.is_empty()).then_some(relay).into_iter().chain(shown.into_iter().map(track)).collect();
    let title = "What relay and workers do: bursts of FILL and REDUCE, with parks between".into();
    (Timeline { title, kinds: KINDS.map(Into::into).into(), tracks }, number)
}
