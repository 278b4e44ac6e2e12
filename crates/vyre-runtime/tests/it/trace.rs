//! Traced runs, on every engine.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use vyre_runtime::io::Source;
use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::{Operation, Reduction};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::protocol::tenants::TenantConfig;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Client, EngineKind, FileHasher, HashOptions, Options, Quanta, Runtime, Trace, TraceClock};

use crate::Open;
use crate::cases::{LONG, NOP, end, noise};

fn options(trace_events: usize, log_records: u32) -> Options {
    let counts = Counts { slots: 320, log_records, ..Counts::default() };
    Options { trace_events, park_after: Duration::from_millis(5), ..Options::new(counts).unwrap() }
}

/// Slots of all priorities, of one tile and of many, with fences, a fault, and idle gaps.
fn mix(runtime: &mut Runtime) {
    let memory = runtime.allocate(256 << 10, MemoryUse::Local).unwrap();
    let results = runtime.allocate(8 * 64, MemoryUse::DeviceToHost).unwrap();
    let reduce = Slot { input: memory.at(0), output: results.at(0), ..Slot::new(Operation::Reduce) };
    let reduce = reduce.with_args(&[Reduction::Sum.code(), 1]).unwrap().tiled(256 << 10, 4096, 1);
    let format = runtime.register_format("a line").unwrap();
    let tenant = runtime.register_tenant(TenantConfig::default()).unwrap();
    for _ in 0..3 {
        for priority in Priority::ALL {
            runtime.publish_batch(priority, &[NOP, reduce, Slot { tiles: 7, ..NOP }]).unwrap();
        }
        runtime.publish_batch(Priority::High, &[Slot { tenant, ..NOP }]).unwrap();
        runtime.publish(Priority::High, &Slot { tiles: 5, ..Slot::with_code(0xfff0) }).unwrap();
        runtime.publish(Priority::Idle, &Slot::printf(format, &[]).unwrap()).unwrap();
        runtime.drain(LONG).unwrap();
        await_park(runtime);
    }
    while runtime.reap().unwrap().is_some() {}
}

/// Gives the engine the time to park. What a thread of the reference engine does nobody sees from here.
fn await_park(runtime: &Runtime) {
    let start = Instant::now();
    let in_flight = |quanta: Quanta| quanta.launched - quanta.finished;
    match runtime.engine().kind {
        EngineKind::Reference => std::thread::sleep(Duration::from_millis(100)),
        EngineKind::Vulkan(_) => {
            while in_flight(runtime.quanta()) > 0 {
                assert!(start.elapsed() < LONG, "the relay did not park");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn check_clock(trace: &Trace, runtime: &Runtime) -> Duration {
    match (trace.clock, runtime.engine().kind) {
        (TraceClock::Host, EngineKind::Reference) => Duration::ZERO,
        (TraceClock::Device { error }, EngineKind::Vulkan(_)) => {
            assert!(error < Duration::from_millis(50), "{error:?}");
            error
        }
        (TraceClock::Seen, EngineKind::Vulkan(_)) => Duration::ZERO,
        other => panic!("{other:?}"),
    }
}

/// Each slot has as many tile events as tiles, none twice, and they lie between its ends.
fn check_slots(trace: &Trace, error: Duration) {
    let mut tiles: HashMap<_, Vec<_>> = HashMap::new();
    for tile in &trace.tiles {
        tiles.entry(tile.ticket).or_default().push(tile);
    }
    for slot in &trace.slots {
        let mut own = tiles.remove(&slot.ticket).unwrap_or_default();
        own.sort_by_key(|tile| tile.tile);
        assert!(own.iter().map(|tile| tile.tile).eq(0..slot.tiles), "{slot:?}: {own:?}");
        for tile in own {
            // A record may be seen behind its slot's completion: another worker that has yet to write one before it holds it up.
            let ended = trace.clock == TraceClock::Seen || tile.end <= slot.reaped + error;
            let inside = tile.start + error >= slot.published && ended;
            assert!(inside && tile.start <= tile.end, "{slot:?} {tile:?} {error:?}");
            assert_eq!((tile.operation, tile.tenant), (slot.operation, slot.tenant));
        }
    }
    assert!(tiles.is_empty(), "tiles of no slot: {tiles:?}");
}

fn check_workers(trace: &Trace, workers: u32) {
    let mut of_worker: HashMap<_, Vec<_>> = HashMap::new();
    for tile in &trace.tiles {
        assert!(tile.worker < workers);
        of_worker.entry(tile.worker).or_default().push((tile.start, tile.end));
    }
    for (worker, mut tiles) in of_worker {
        tiles.sort_unstable();
        let overlap = tiles.windows(2).find(|pair| pair[0].1 > pair[1].0);
        assert!(overlap.is_none(), "worker {worker}: {overlap:?}");
    }
}

/// Each tile lies in a quantum, or in two that follow each other; of its worker where workers have quanta of their own.
fn check_quanta(trace: &Trace, error: Duration) {
    let quanta = |worker| {
        let spans = trace.engine_spans.iter().filter(|span| !span.parked);
        spans.filter(move |span| span.worker.is_none_or(|other| other == worker))
    };
    for tile in trace.tiles.iter() {
        let launched =
            quanta(tile.worker).any(|span| span.start <= tile.start + error && tile.start <= span.end + error);
        let ended = quanta(tile.worker).any(|span| span.start <= tile.end + error && tile.end <= span.end + error);
        assert!(trace.clock == TraceClock::Seen || launched && ended, "{tile:?} {error:?}");
        assert!(quanta(tile.worker).any(|span| span.start <= tile.start + error), "{tile:?}");
    }
}

fn json(trace: &Trace) -> Vec<serde_json::Value> {
    let mut bytes = Vec::new();
    trace.write_chrome(&mut bytes).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn check_json(trace: &Trace) {
    let events = json(trace);
    let count = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    // The run is one more.
    let spans = 1 + trace.engine_spans.len() + trace.reads.len();
    let (complete, instant) = match trace.clock {
        TraceClock::Seen => (spans, trace.tiles.len()),
        _ => (spans + trace.tiles.len(), 0),
    };
    assert_eq!(
        (count("X"), count("i"), count("b"), count("e")),
        (complete, instant, trace.slots.len(), trace.slots.len())
    );
    let groups: HashSet<_> = events.iter().map(|event| event["pid"].as_u64()).collect();
    for event in &events {
        assert!(event["pid"].as_u64() > Some(0) && event["tid"].as_u64() > Some(0), "{event}");
        assert!(event["ph"] == "M" || event["ts"].as_f64() >= Some(0.0), "{event}");
        assert!(event["ph"] != "X" || event["dur"].as_f64() >= Some(0.0), "{event}");
        // Perfetto shows a slot under its priority only if its number is of the group, and sorts tracks with the number of a group first.
        let slot = event["ph"] == "b" || event["ph"] == "e";
        assert!(event["id"].is_null() && event["id2"]["local"].is_string() == slot, "{event}");
        assert!(!groups.contains(&event["tid"].as_u64()), "{event}");
    }
    let run = events.iter().find(|event| event["ph"] == "X").unwrap();
    let (from, to) = (run["ts"].as_f64().unwrap(), run["ts"].as_f64().unwrap() + run["dur"].as_f64().unwrap());
    assert!(run["name"].as_str().unwrap().contains(&format!("{} dropped", trace.dropped)), "{run}");
    for event in events.iter().filter(|event| event["ph"] != "M") {
        let (start, length) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap_or(0.0));
        assert!(from <= start && start + length <= to + 0.01, "{event} {run}");
    }
    // What is drawn on one track does not overlap.
    let mut tracks: HashMap<_, Vec<_>> = HashMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let (start, length) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
        let track = (event["pid"].as_u64(), event["tid"].as_u64());
        tracks.entry(track).or_default().push((start, start + length));
    }
    for (track, mut spans) in tracks {
        spans.sort_by(|a, b| a.0.total_cmp(&b.0));
        let overlap = spans.windows(2).find(|pair| pair[0].1 > pair[1].0 + 0.01);
        assert!(overlap.is_none(), "{track:?}: {overlap:?}");
    }
}

pub(crate) fn a_trace_has_every_slot_tile_and_quantum(open: Open) {
    let mut runtime = open(&options(1 << 20, 1 << 12));
    mix(&mut runtime);
    let workers = runtime.engine().workers;
    runtime.exit(LONG).unwrap();
    let trace = runtime.take_trace().unwrap();
    let error = check_clock(&trace, &runtime);
    assert_eq!((trace.dropped, trace.overwritten), (0, 0));
    assert_eq!(trace.slots.len(), 3 * (4 * 5 + 2 + 2));
    assert_eq!(trace.tiles.len(), 3 * ((1 + 64 + 7 + 1) * 5 + 2 + 5 + 1));
    assert_eq!(trace.slots.iter().filter(|slot| slot.status == Some(Status::Faulted)).count(), 3);
    assert!(trace.engine_spans.iter().any(|span| span.parked), "the idle gaps are long enough for a park");
    let finished = trace.engine_spans.iter().filter(|span| !span.parked).count() as u64;
    assert_eq!(finished, runtime.quanta().finished);
    check_slots(&trace, error);
    check_workers(&trace, workers);
    check_quanta(&trace, error);
    check_json(&trace);
    let lines = std::iter::from_fn(|| runtime.read_log()).filter(|line| line.text == "a line").count();
    assert_eq!(lines, 3, "lines are still there");
    let again = runtime.take_trace().unwrap();
    assert_eq!((again.events(), again.dropped), (0, 0), "what was taken is gone");
    runtime.relaunch().unwrap();
    runtime.publish(Priority::Normal, &NOP).unwrap();
    runtime.drain(LONG).unwrap();
    runtime.abort();
    let trace = runtime.take_trace().unwrap();
    assert_eq!((trace.slots.len(), trace.tiles.len()), (1, 1), "a second launch is traced too");
    check_slots(&trace, check_clock(&trace, &runtime));
    assert_eq!(runtime.validation_messages(), 0);
}

pub(crate) fn what_a_trace_lacks_is_counted(open: Open) {
    let mut runtime = open(&options(30, 2));
    runtime.publish_all(Priority::Normal, &[NOP; 40]).unwrap();
    runtime.publish(Priority::High, &Slot { tiles: 20_000, ..NOP }).unwrap();
    // Nobody looks, so the log overflows.
    std::thread::sleep(Duration::from_millis(50));
    runtime.drain(LONG).unwrap();
    runtime.exit(LONG).unwrap();
    let trace = runtime.take_trace().unwrap();
    assert_eq!(trace.events(), 30);
    assert!(trace.overwritten > 0 && trace.overwritten <= 20_040);
    let found = trace.events() as u64 + trace.dropped + trace.overwritten;
    let spans = found.checked_sub(20_040 + 41).expect("every tile and slot is there, dropped or overwritten");
    let Quanta { finished, parks, .. } = runtime.quanta();
    match runtime.engine().kind {
        EngineKind::Reference => assert!(spans >= finished),
        EngineKind::Vulkan(_) => assert_eq!(spans, finished + parks),
    }
    check_json(&trace);
    let mut untraced = open(&options(0, 2));
    untraced.publish(Priority::Normal, &NOP).unwrap();
    untraced.drain(LONG).unwrap();
    assert!(untraced.take_trace().is_none());
    untraced.publish_all(Priority::Normal, &[NOP; 40]).unwrap();
    untraced.drain(LONG).unwrap();
    assert!(untraced.read_log().is_none());
    assert_eq!(untraced.log_dropped(), 0, "an untraced kernel leaves no records");
    end(untraced);
}

pub(crate) fn a_cancelled_slot_ends_with_the_kernel(open: Open) {
    let mut runtime = open(&options(1 << 20, 1 << 12));
    runtime.publish(Priority::Normal, &NOP).unwrap();
    runtime.drain(LONG).unwrap();
    runtime.publish_all(Priority::Idle, &[Slot { tiles: 65_535, ..NOP }; 20]).unwrap();
    let cancelled = runtime.abort().cancelled;
    let trace = runtime.take_trace().unwrap();
    let found: Vec<_> = trace.slots.iter().filter(|slot| slot.status.is_none()).map(|slot| slot.ticket).collect();
    assert_eq!(found, cancelled);
    assert!(!found.is_empty());
    check_json(&trace);
}

pub(crate) fn reserved_slots_are_traced_from_their_publication_on(open: Open) {
    let client = Client::new(open(&options(1 << 20, 1 << 12)));
    let reserved = client.reserve(Priority::Low, &[NOP, Slot { tiles: 3, ..NOP }]).unwrap();
    let tickets: Vec<_> = reserved.tickets().collect();
    client.reserve(Priority::High, &[NOP]).map(drop).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    reserved.publish();
    client.wait_all(&tickets, LONG).unwrap();
    client.with(|runtime| runtime.exit(LONG)).unwrap();
    let trace = client.with(|runtime| runtime.take_trace()).unwrap();
    // With several workers either may complete first.
    let mut found: Vec<_> = trace.slots.iter().map(|slot| slot.ticket).collect();
    found.sort_by_key(|ticket| ticket.number);
    assert_eq!(found, tickets);
    assert!(trace.slots.iter().all(|slot| slot.published >= Duration::from_millis(20)));
    client.with(|runtime| check_slots(&trace, check_clock(&trace, runtime)));
}

pub(crate) fn a_rebuild_counts_what_it_takes_along(open: Open) {
    let mut runtime = open(&options(1 << 20, 1 << 12));
    runtime.publish_all(Priority::Normal, &[NOP; 10]).unwrap();
    runtime.drain(LONG).unwrap();
    runtime.rebuild().unwrap();
    runtime.publish_all(Priority::Normal, &[NOP; 3]).unwrap();
    runtime.drain(LONG).unwrap();
    runtime.exit(LONG).unwrap();
    let trace = runtime.take_trace().unwrap();
    assert!(trace.dropped >= 20, "ten slots and ten tiles: {}", trace.dropped);
    assert_eq!((trace.slots.len(), trace.tiles.len(), trace.overwritten), (3, 3, 0));
    check_slots(&trace, check_clock(&trace, &runtime));
}

pub(crate) fn a_traced_hash_is_that_of_an_untraced_one(open: Open) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = noise(3_000_000, 5);
    std::fs::write(file.path(), &data).unwrap();
    let source = Source::Path(file.path().into());
    let mut found = Vec::new();
    for trace_events in [0, 1 << 20] {
        let hashing = HashOptions { block_size: 64 << 10, ..HashOptions::default() };
        let mut hasher = FileHasher::new(open(&options(trace_events, 1 << 12)), hashing).unwrap();
        found.push(hasher.hash(&source, &AtomicBool::new(false), |_, _| {}).unwrap().hash);
        hasher.runtime_mut().exit(LONG).unwrap();
        let reads = hasher.staging().reader.counters().reads as usize;
        let workers = hasher.runtime().engine().workers;
        let Some(trace) = hasher.take_trace() else { continue };
        let error = check_clock(&trace, hasher.runtime());
        let slots = trace.slots.iter().filter(|slot| slot.operation == Operation::Blake3.code()).count();
        assert_eq!((slots, trace.reads.len(), trace.dropped, trace.overwritten), (46, reads, 0, 0));
        assert_eq!(trace.reads.iter().filter_map(|read| read.bytes).map(u64::from).sum::<u64>(), data.len() as u64);
        assert!(trace.reads.iter().all(|read| read.file == 1 && read.start <= read.end));
        check_slots(&trace, error);
        check_workers(&trace, workers);
        check_json(&trace);
        assert_eq!(hasher.runtime().validation_messages(), 0);
    }
    assert_eq!(found, [blake3::hash(&data); 2]);
}
