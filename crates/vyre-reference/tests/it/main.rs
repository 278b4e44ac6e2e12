//! What only the reference engine can show: launches on wrong regions, tickets and completions at the wrap of 32 bits.

use std::time::{Duration, Instant};

use vyre_protocol::control::DOORBELLS;
use vyre_protocol::fault::LaunchFault;
use vyre_protocol::geometry::{Counts, Geometry, Priority};
use vyre_protocol::header::RegionKind;
use vyre_protocol::local::{COMPLETION_TAIL, HOT, SLOT_STATE_WORDS, SLOT_STATES};
use vyre_protocol::operation::Operation;
use vyre_protocol::slot::Slot;
use vyre_protocol::stamped;
use vyre_protocol::status::{Counters, LaunchReport};
use vyre_protocol::words::SharedWords;
use vyre_reference::Reference;

fn engine(slots: u32, workers: u32) -> Reference {
    Reference::new(Geometry::new(Counts { slots, ..Counts::default() }).unwrap(), workers)
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "nothing came");
        std::thread::yield_now();
    }
}

#[test]
fn launches_on_wrong_regions_are_refused_with_their_reason() {
    for (kind, word, expected) in [
        (RegionKind::Ring, 0, LaunchFault::Magic),
        (RegionKind::Status, 1, LaunchFault::Version),
        (RegionKind::Completions, 2, LaunchFault::Kind),
        (RegionKind::Resources, 3, LaunchFault::Size),
        (RegionKind::DebugLog, 9, LaunchFault::Geometry),
    ] {
        let mut engine = engine(16, 3);
        engine.region(kind).store(word, 0x1234_5678);
        engine.start().unwrap();
        let status = engine.region(RegionKind::Status);
        let report = until(|| LaunchReport::load(&status).unwrap());
        assert_eq!((report.fault, report.region), (expected, kind as u32));
    }
}

/// Plays the host by hand, so that counting can begin anywhere.
#[test]
fn tickets_and_completions_go_on_across_the_wrap_of_32_bits() {
    let mut engine = engine(25, 2);
    let geometry = Geometry::new(Counts { slots: 25, ..Counts::default() }).unwrap();
    let partition = geometry.partition(Priority::Normal);
    let (local, control) = (engine.region(RegionKind::Local), engine.region(RegionKind::Control));
    let (ring, completions) = (engine.region(RegionKind::Ring), engine.region(RegionKind::Completions));
    // Ten tickets before the wire form starts again at 0, and ten completions before the position does.
    let first = u64::from(partition.modulus()) - 10;
    let tail = 0_u32.wrapping_sub(10);
    for ticket in first..first + u64::from(partition.length) {
        let state = (SLOT_STATES + partition.slot(ticket) * SLOT_STATE_WORDS) as usize;
        let generation = partition.sequence(ticket) - 1;
        local.store(state, (generation & 0xffff) << 16);
    }
    let place = Priority::Normal.index();
    local.store(HOT as usize + place, partition.wire(first));
    local.store(COMPLETION_TAIL as usize, tail);
    control.store(DOORBELLS as usize + place, partition.wire(first));
    engine.start().unwrap();
    for i in 0..50 {
        let ticket = first + i;
        let base = 16 + 16 * partition.slot(ticket) as usize;
        for (word, value) in Slot::new(Operation::Nop).to_words().into_iter().enumerate().skip(1) {
            ring.store(base + word, value);
        }
        ring.publish_fence();
        ring.store(base, partition.sequence(ticket));
        ring.publish_fence();
        control.store(DOORBELLS as usize + place, partition.wire(ticket + 1));
        engine.wake();
        let (position, records) = (tail.wrapping_add(i as u32), geometry.completion_records());
        let record = 16 + 16 * (position & (records - 1)) as usize;
        let [wire, ..] = until(|| stamped::load(&completions, record, stamped::stamp(position, records)));
        assert_eq!(wire, partition.wire(ticket), "ticket {ticket}");
        assert_eq!(partition.widen(wire, ticket + 1), Some(ticket));
    }
}

#[test]
fn idle_workers_sleep_and_wake() {
    let mut engine = engine(25, 2);
    engine.start().unwrap();
    let quanta = || engine.quanta();
    let before = until(|| Some(quanta()).filter(|quanta| quanta.finished >= 2 && quanta.launched == quanta.finished));
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(quanta(), before, "workers that have nothing to do sleep until they are woken");
    let status = engine.region(RegionKind::Status);
    assert!(Counters::load(&status).is_some_and(|(_, counters)| counters.resident_peak >= 1));
}
