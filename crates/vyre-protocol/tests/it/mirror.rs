//! Resident mirrors. The names carry the contract's numbers.

use vyre_protocol::completion::{Status, WireCompletion};
use vyre_protocol::control::DOORBELLS;
use vyre_protocol::debuglog::{LogEntry, LogRecord};
use vyre_protocol::decode::DecodeError;
use vyre_protocol::fault::Fault;
use vyre_protocol::geometry::{GeometryError, Priority};
use vyre_protocol::header::RegionKind;
use vyre_protocol::mirror::{Mirror, MirrorError, READ_BACK, Readback, ReadbackError, SlotState, WorkItem};
use vyre_protocol::operation::Operation;
use vyre_protocol::slot::{Slot, SlotError};
use vyre_protocol::stamped;

const NOP: Slot = Slot::new(Operation::Nop);
const BAD: Slot = Slot::with_code(31);

fn mirror(slots: u32) -> Mirror {
    Mirror::new(slots, 2, 3).unwrap()
}

/// All bytes of a mirror.
fn bytes(mirror: &Mirror) -> Vec<u8> {
    let back = READ_BACK.iter().flat_map(|kind| mirror.readback().region(*kind).unwrap());
    mirror.control().iter().chain(mirror.ring()).chain(back).copied().collect()
}

/// A readback in which every published slot is done but those named.
fn ran(mirror: &Mirror, faulted: &[u32]) -> Readback {
    let mut readback = Readback::default();
    readback.clear(mirror.geometry());
    for priority in Priority::ALL {
        for (index, slot) in mirror.published(priority) {
            let (priority, wire_ticket) = mirror.ticket(index);
            let wrong = faulted.contains(&index);
            let (status, fault) = if wrong { (Status::Faulted, Fault::BadHandle) } else { (Status::Done, Fault::None) };
            let completion = WireCompletion {
                wire_ticket,
                priority,
                status,
                fault,
                fault_word: 0,
                operation: slot.operation,
                tenant: slot.tenant,
                results: [index, 0],
                clock: [0; 2],
            };
            readback.complete(index, &completion);
        }
    }
    readback
}

#[test]
fn a1_impossible_counts_are_refused_before_anything_is_allocated() {
    for (slots, tenants, observables, name) in
        [(u32::MAX, 1, 1, "slots"), (1, u32::MAX, 1, "tenants"), (1, 1, u32::MAX, "observables"), (0, 1, 1, "slots")]
    {
        let refused = Mirror::new(slots, tenants, observables).unwrap_err();
        assert!(matches!(refused, GeometryError::Count { what, .. } if what == name), "{refused}");
    }
    let mirror = mirror(7);
    let geometry = mirror.geometry();
    assert_eq!(mirror.ring().len(), geometry.region_bytes(RegionKind::Ring) as usize);
    assert_eq!(mirror.control().len(), geometry.region_bytes(RegionKind::Control) as usize);
    for kind in READ_BACK {
        assert_eq!(mirror.readback().region(kind).unwrap().len(), geometry.region_bytes(kind) as usize);
    }
}

#[test]
fn a2_publishing_leaves_all_other_slots_as_they_are() {
    let mut mirror = mirror(20);
    mirror.publish(3, &[Slot { args: [9; 6], ..NOP }]).unwrap();
    let before = mirror.ring().to_vec();
    mirror.publish(11, &[Slot { args: [7; 6], ..NOP }]).unwrap();
    let changed: Vec<_> = (0..before.len()).filter(|i| before[*i] != mirror.ring()[*i]).collect();
    assert!(changed.iter().all(|byte| (64 + 64 * 11..64 + 64 * 12).contains(byte)) && !changed.is_empty());
    assert_eq!(before.len(), mirror.ring().len());
}

#[test]
fn a3_default_partitions_are_whole_and_none_is_empty() {
    for slots in 5..60 {
        let offsets = mirror(slots).geometry().offsets();
        assert!(offsets[0] == 0 && offsets[5] == slots && offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
        let normal = offsets[3] - offsets[2];
        assert_eq!(normal, slots / 5 + slots % 5, "the remainder is NORMAL's");
    }
}

#[test]
fn a4_reset_reuses_all_storage() {
    let mut mirror = mirror(20);
    let fresh = bytes(&mirror);
    mirror.publish_batch(4, &[NOP; 3]).unwrap();
    let mut readback = ran(&mirror, &[]);
    mirror.apply(&mut readback).unwrap();
    let places = |mirror: &Mirror| {
        let back = READ_BACK.map(|kind| mirror.readback().region(kind).unwrap().as_ptr());
        (mirror.control().as_ptr(), mirror.ring().as_ptr(), back)
    };
    let before = places(&mirror);
    mirror.reset();
    assert_eq!((places(&mirror), bytes(&mirror) == fresh), (before, true));
    assert!((0..20).all(|index| mirror.state(index) == Some(SlotState::Free)));
}

#[test]
fn a5_parts_are_validated_and_the_wrong_one_is_named() {
    let mut whole = mirror(10);
    whole.publish(2, &[NOP]).unwrap();
    let again = Mirror::from_parts(whole.control(), whole.ring(), whole.readback().clone()).unwrap();
    assert_eq!(again, whole);
    assert_eq!(again.state(2), Some(SlotState::Published));
    let refused = |control: &[u8], ring: &[u8], readback: &Readback| {
        Mirror::from_parts(control, ring, readback.clone()).unwrap_err()
    };
    let other = mirror(11);
    assert_eq!(
        refused(whole.control(), other.ring(), whole.readback()),
        ReadbackError::Geometry { region: RegionKind::Ring }
    );
    assert_eq!(
        refused(whole.control(), whole.ring(), other.readback()),
        ReadbackError::Geometry { region: RegionKind::Status }
    );
    let short = refused(&whole.control()[4..], whole.ring(), whole.readback());
    assert!(matches!(short, ReadbackError::Region(DecodeError::Magic { region: RegionKind::Control, .. })), "{short}");
    let short = refused(whole.control(), &whole.ring()[..70], whole.readback());
    assert!(matches!(short, ReadbackError::Region(DecodeError::Size { region: RegionKind::Ring, .. })), "{short}");
    let mut bad = whole.ring().to_vec();
    bad[64 + 2 * 64 + 8] = 0;
    let wrong = refused(whole.control(), &bad, whole.readback());
    assert!(matches!(wrong, ReadbackError::Region(DecodeError::Field { field: "tiles", .. })), "{wrong}");
}

#[test]
fn a6_work_items_go_to_a_window_and_nowhere_else() {
    let mut mirror = mirror(20);
    let item = |parameter| WorkItem { operation: Operation::StoreU32.code(), input: 0, output: 5, parameter };
    mirror.publish(8, &[NOP]).unwrap();
    assert_eq!(mirror.publish_items(9, &[item(1), item(2), item(3)]), Ok(3));
    let all: Vec<_> = Priority::ALL.into_iter().flat_map(|priority| mirror.published(priority)).collect();
    assert!(all.iter().map(|(index, _)| *index).eq([8, 9, 10, 11]));
    assert_eq!(all[2].1.args, [2, 0, 0, 0, 0, 0]);
    assert_eq!((all[2].1.output.handle, all[2].1.length), (5, 4));
}

#[test]
fn a9_equality_ignores_scratch_and_a_clone_has_its_own() {
    let mut one = mirror(10);
    let two = one.clone();
    let mut scratch = one.take_scratch();
    scratch.clear(one.geometry());
    one.put_scratch(scratch);
    assert_eq!(one, two);
    let mut three = one.clone();
    assert_ne!(one.take_scratch().region(RegionKind::Status), None);
    assert_ne!(three.take_scratch().region(RegionKind::Status).unwrap().len(), 0);
}

#[test]
fn s10_a10_an_invalid_readback_changes_nothing() {
    let mut mirror = mirror(10);
    mirror.publish(2, &[NOP, NOP]).unwrap();
    let good = ran(&mirror, &[]);
    let before = mirror.clone();
    let mut cases = Vec::new();
    let mut with = |kind, at: usize, bytes: &[u8]| {
        let mut readback = good.clone();
        readback.region_mut(kind).unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
        cases.push(readback);
    };
    for kind in READ_BACK {
        for (at, byte) in [(0, 1), (4, 99), (8, 77), (12, 1), (16, 9)] {
            with(kind, at, &[byte]);
        }
    }
    // The completion of slot 2 is missing, torn, of another ticket, of no status.
    let completion = 64 + 2 * 64;
    with(RegionKind::Completions, completion, &[0; 64]);
    with(RegionKind::Completions, completion + 4, &[9]);
    with(RegionKind::Completions, completion, &[9]);
    with(RegionKind::Completions, completion + 9, &[7]);
    let line = LogRecord {
        format: 0,
        worker: 0,
        tenant: 0,
        wire_ticket: 0,
        priority: Priority::Low,
        arg_count: 9,
        args: [0; 4],
    };
    with(RegionKind::DebugLog, 64, &stamped::encode(1, &LogEntry::Line(line).encode()));
    with(RegionKind::IoRequests, 64, &stamped::encode(1, &[0; 8]));
    for mut readback in cases {
        let kept = readback.clone();
        assert!(mirror.apply(&mut readback).is_err());
        assert_eq!((&mirror, readback), (&before, kept));
    }
    let mut readback = good;
    mirror.apply(&mut readback).unwrap();
    assert_eq!((mirror.state(2), mirror.completion(3).unwrap().results), (Some(SlotState::Done), [3, 0]));
}

#[test]
fn b18_the_first_and_the_last_observable_are_read_and_none_behind_them() {
    let mut mirror = mirror(5);
    let mut readback = ran(&mirror, &[]);
    let status = readback.region_mut(RegionKind::Status).unwrap();
    status[48 * 4] = 11;
    status[48 * 4 + 8] = 13;
    mirror.apply(&mut readback).unwrap();
    assert_eq!([mirror.observable(0), mirror.observable(2)], [Ok(11), Ok(13)]);
    for index in [3, u32::MAX] {
        assert_eq!(mirror.observable(index), Err(MirrorError::Observable { index, count: 3 }));
    }
}

#[test]
fn c19_a_completed_place_takes_a_slot_again_with_nothing_of_the_old_one() {
    let mut mirror = mirror(10);
    mirror.publish(4, &[Slot { args: [5; 6], tiles: 3, ..NOP }]).unwrap();
    let mut readback = ran(&mirror, &[]);
    mirror.apply(&mut readback).unwrap();
    mirror.publish(4, &[Slot { tenant: 1, ..Slot::with_code(0x1234) }]).unwrap();
    let (_, slot) = mirror.published(Priority::Normal).next().unwrap();
    assert_eq!(slot, Slot { sequence: 1, tenant: 1, ..Slot::with_code(0x1234) });
}

#[test]
fn c20_taken_places_are_refused_each_with_its_state() {
    let mut mirror = mirror(10);
    mirror.publish(4, &[NOP, NOP]).unwrap();
    let occupied = |index, state| Err(MirrorError::Occupied { index, state });
    assert_eq!(mirror.publish(4, &[NOP]), occupied(4, SlotState::Published));
    let mut readback = ran(&mirror, &[5]);
    mirror.apply(&mut readback).unwrap();
    assert_eq!(mirror.publish(5, &[NOP]), occupied(5, SlotState::Faulted));
    assert_eq!(mirror.take(5).unwrap().fault, Fault::BadHandle);
    assert_eq!((mirror.take(5), mirror.publish(5, &[NOP])), (None, Ok(1)));
}

#[test]
fn c21_c24_indices_beyond_the_ring_are_refused_and_change_nothing() {
    let mut mirror = mirror(10);
    let before = mirror.clone();
    for start in [10, 11, u32::MAX - 1, u32::MAX] {
        assert_eq!(mirror.publish(start, &[NOP]), Err(MirrorError::Overrun { start, items: 1, slots: 10 }));
        assert_eq!(mirror.state(start), None);
        assert_eq!(mirror.completion(start), None);
    }
    assert_eq!(mirror, before);
    assert_eq!(mirror.publish(9, &[NOP]), Ok(1));
}

#[test]
fn d25_a_window_is_published_whole_or_not_at_all() {
    let mut mirror = mirror(20);
    mirror.publish(12, &[NOP]).unwrap();
    let before = mirror.clone();
    let bad = MirrorError::Slot { index: 10, source: SlotError::ReservedOperation { code: 31 } };
    assert_eq!(mirror.publish(8, &[NOP, NOP, BAD]), Err(bad));
    assert_eq!(mirror.publish(8, &[NOP; 5]), Err(MirrorError::Occupied { index: 12, state: SlotState::Published }));
    assert_eq!(mirror.publish(18, &[NOP; 3]), Err(MirrorError::Overrun { start: 18, items: 3, slots: 20 }));
    assert_eq!(mirror, before);
}

#[test]
fn d26_a_batch_and_its_fence_take_one_place_more() {
    let mut mirror = mirror(20);
    assert_eq!(mirror.publish_batch(8, &[NOP, NOP]), Ok(3), "two slots and the fence fill NORMAL but one place");
    assert_eq!(mirror.publish_batch(11, &[]), Ok(1), "an empty batch is a fence");
    let fences: Vec<_> = mirror.published(Priority::Normal).filter(|(_, slot)| slot.operation == 11).collect();
    assert_eq!(fences.iter().map(|(index, slot)| (*index, slot.args[0])).collect::<Vec<_>>(), [(10, 2), (11, 3)]);
    let before = mirror.clone();
    mirror.publish(14, &[NOP]).unwrap();
    let taken = MirrorError::Occupied { index: 14, state: SlotState::Published };
    assert_eq!(mirror.publish_batch(12, &[NOP, NOP]), Err(taken), "the fence's place is taken");
    assert_eq!(mirror.publish_batch(2, &[NOP, NOP]), Err(MirrorError::Partition { start: 2, items: 2 }));
    assert_eq!(before.published(Priority::Critical).count(), 0);
    assert_eq!((mirror.publish_batch(0, &[NOP]), mirror.publish_batch(2, &[NOP])), (Ok(2), Ok(2)), "back to back");
}

#[test]
fn d27_nothing_at_the_end_is_published_and_past_it_refused() {
    let mut mirror = mirror(10);
    assert_eq!(mirror.publish(10, &[]), Ok(0));
    assert_eq!(mirror.publish(11, &[]), Err(MirrorError::Overrun { start: 11, items: 0, slots: 10 }));
    assert_eq!(mirror.publish(u32::MAX, &[NOP; 3]), Err(MirrorError::Overrun { start: u32::MAX, items: 3, slots: 10 }));
    assert_eq!(mirror.publish(0, &[NOP; 11]), Err(MirrorError::Overrun { start: 0, items: 11, slots: 10 }), "D28");
}

#[test]
fn doorbells_say_how_far_a_partition_is_published() {
    let mut mirror = mirror(20);
    mirror.publish(10, &[NOP]).unwrap();
    let doorbell = |mirror: &Mirror, partition: usize| {
        let at = 4 * (DOORBELLS as usize + partition);
        u32::from_le_bytes(mirror.control()[at..at + 4].try_into().unwrap())
    };
    assert_eq!((doorbell(&mirror, 2), doorbell(&mirror, 1)), (3, 0));
    mirror.publish(8, &[NOP]).unwrap();
    assert_eq!(doorbell(&mirror, 2), 3);
}

#[test]
fn completions_of_earlier_dispatches_stay_until_they_are_taken() {
    let mut mirror = mirror(10);
    mirror.publish(4, &[NOP]).unwrap();
    let mut readback = ran(&mirror, &[]);
    mirror.apply(&mut readback).unwrap();
    mirror.publish(5, &[NOP]).unwrap();
    let mut next = ran(&mirror, &[]);
    mirror.apply(&mut next).unwrap();
    assert_eq!([mirror.completion(4), mirror.completion(5)].map(|found| found.unwrap().results[0]), [4, 5]);
    let mut kept = Readback::default();
    mirror.snapshot(&mut kept);
    assert_eq!(&kept, mirror.readback());
}

#[test]
fn b13_dirty_and_larger_storage_is_written_alike_and_keeps_its_capacity() {
    let (small, large) = (mirror(5), mirror(500));
    let mut fresh = Readback::default();
    assert_eq!(fresh.clear(small.geometry()), 4);
    let mut used = Readback::default();
    used.clear(large.geometry());
    for kind in READ_BACK {
        used.region_mut(kind).unwrap().fill(0xee);
    }
    let before = READ_BACK.map(|kind| used.region(kind).unwrap().as_ptr());
    assert_eq!(used.clear(small.geometry()), 0);
    assert_eq!(used, fresh);
    assert_eq!(READ_BACK.map(|kind| used.region(kind).unwrap().as_ptr()), before);
    assert_eq!(used.clear(large.geometry()), 0, "the capacity was kept");
}
