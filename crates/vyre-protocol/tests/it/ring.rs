//! The host's side of the ring, with a test that plays the device.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use vyre_protocol::completion::{Status, WireCompletion};
use vyre_protocol::fault::Fault;
use vyre_protocol::geometry::{Counts, Geometry, Priority};
use vyre_protocol::operation::Operation;
use vyre_protocol::ring::{PublishError, ReapError, Ring, RingMemory};
use vyre_protocol::slot::{Slot, SlotError};
use vyre_protocol::stamped;
use vyre_protocol::words::SharedWords;

pub(crate) fn words(len: usize) -> Arc<[AtomicU32]> {
    (0..len).map(|_| AtomicU32::new(0)).collect()
}

type Memory = Arc<[AtomicU32]>;

fn ring(slots: u32) -> (Ring<Memory>, RingMemory<Memory>) {
    ring_of(slots, 2)
}

pub(crate) fn ring_of(slots: u32, tenants: u32) -> (Ring<Memory>, RingMemory<Memory>) {
    let geometry = Geometry::new(Counts { slots, tenants, ..Counts::default() }).unwrap();
    let memory = RingMemory { control: words(256), slots: words(16 + 16 * slots as usize), completions: words(4096) };
    (Ring::new(geometry, memory.clone()), memory)
}

pub(crate) fn complete(
    ring: &Ring<Memory>,
    memory: &RingMemory<Memory>,
    position: u32,
    priority: Priority,
    ticket: u64,
) {
    let completion = WireCompletion {
        wire_ticket: ring.geometry().partition(priority).wire(ticket),
        priority,
        status: Status::Done,
        fault: Fault::None,
        fault_word: 0,
        operation: 1,
        tenant: 0,
        results: [0; 2],
        clock: [0; 2],
    };
    put(ring, memory, position, &completion.encode());
}

fn put(ring: &Ring<Memory>, memory: &RingMemory<Memory>, position: u32, record: &stamped::Record) {
    let records = ring.geometry().completion_records();
    let base = 16 + 16 * (position % records) as usize;
    stamped::store(&memory.completions, base, stamped::stamp(position, records), record);
}

pub(crate) fn dump(memory: &RingMemory<Memory>) -> Vec<u32> {
    [&memory.control, &memory.slots].iter().flat_map(|m| (0..SharedWords::len(*m)).map(|i| m.load(i))).collect()
}

const NOP: Slot = Slot::new(Operation::Nop);

#[test]
fn c20_an_outstanding_slot_is_refused_with_its_own_error_and_reaping_frees_it() {
    let (mut ring, memory) = ring(5);
    let first = ring.publish(Priority::Normal, &NOP).unwrap();
    let before = dump(&memory);
    let refused = ring.publish(Priority::Normal, &NOP).unwrap_err();
    assert_eq!(refused, PublishError::Occupied { priority: Priority::Normal, index: 2, ticket: 0 });
    assert_eq!(dump(&memory), before, "a refused publish changes no word");
    assert_eq!(ring.free(Priority::Normal), 0);
    complete(&ring, &memory, 0, Priority::Normal, 0);
    assert_eq!(ring.reap().unwrap().unwrap().ticket, first);
    assert_eq!(ring.publish(Priority::Normal, &NOP).unwrap().number, 1);
}

#[test]
fn c23_reserved_codes_are_refused_and_the_user_range_is_stamped_unchanged() {
    let (mut ring, memory) = ring(5);
    for code in [0, 31, 0xfff, 0x1_0000, u32::MAX] {
        let refused = ring.publish(Priority::Low, &Slot::with_code(code)).unwrap_err();
        assert_eq!(refused, PublishError::Slot { index: 0, source: SlotError::ReservedOperation { code } });
    }
    for (position, code) in [0x1000, 0xffff].into_iter().enumerate() {
        ring.publish(Priority::Low, &Slot::with_code(code)).unwrap();
        assert_eq!(memory.slots.load(16 + 16 * 3 + 1), code);
        complete(&ring, &memory, position as u32, Priority::Low, position as u64);
        ring.reap().unwrap().unwrap();
    }
}

#[test]
fn d25_one_bad_slot_in_a_batch_leaves_the_ring_identical() {
    let (mut ring, memory) = ring(50);
    ring.publish(Priority::High, &NOP).unwrap();
    let before = dump(&memory);
    let bad = [Slot { tiles: 0, ..NOP }, Slot { tenant: 2, ..NOP }, Slot::with_code(30)];
    for bad in bad {
        assert!(matches!(ring.publish_all(Priority::High, &[NOP, NOP, bad]), Err(PublishError::Slot { index: 2, .. })));
    }
    let too_many = ring.publish_all(Priority::High, &vec![NOP; 10]).unwrap_err();
    assert!(matches!(too_many, PublishError::Occupied { index: 10, ticket: 0, .. }), "{too_many}");
    assert_eq!(dump(&memory), before);
    assert_eq!(ring.tally().published, 1);
}

#[test]
fn d28_more_slots_than_the_partition_has_are_refused() {
    let (mut ring, _) = ring(50);
    let refused = ring.publish_all(Priority::Idle, &vec![NOP; 11]).unwrap_err();
    assert_eq!(refused, PublishError::TooMany { priority: Priority::Idle, given: 11, length: 10 });
    assert_eq!(ring.publish_all(Priority::Idle, &vec![NOP; 10]).unwrap(), 0..10);
    assert_eq!(ring.publish_all(Priority::Idle, &[]).unwrap(), 10..10);
}

#[test]
fn what_is_free_ends_at_the_oldest_outstanding_slot_in_any_order_of_completion() {
    let (mut ring, memory) = ring(20);
    let mut published = 0;
    let mut outstanding = Vec::new();
    for position in 0..1000_u32 {
        // As many as there is room for, and not one more.
        let room = ring.free(Priority::Normal);
        published += u64::from(room);
        outstanding.extend(ring.publish_all(Priority::Normal, &vec![NOP; room as usize]).unwrap());
        assert_eq!(ring.free(Priority::Normal), 0);
        assert!(matches!(ring.publish(Priority::Normal, &NOP), Err(PublishError::Occupied { .. })));
        let number = outstanding.swap_remove(position as usize * 7 % outstanding.len());
        complete(&ring, &memory, position, Priority::Normal, number);
        assert_eq!(ring.reap().unwrap().unwrap().ticket.number, number);
        let oldest = outstanding.iter().copied().min().unwrap_or(published);
        assert_eq!(u64::from(ring.free(Priority::Normal)), 4 - (published - oldest));
    }
    ring.cancel_outstanding();
    assert_eq!(ring.free(Priority::Normal), 4);
}

#[test]
fn an_empty_partition_takes_nothing_and_does_not_panic() {
    let (mut ring, _) = ring(3);
    assert_eq!(ring.free(Priority::Critical), 0);
    assert!(matches!(ring.publish(Priority::Critical, &NOP), Err(PublishError::TooMany { length: 0, .. })));
}

#[test]
fn a2_publishing_changes_only_the_slot_and_its_doorbell() {
    let (mut ring, memory) = ring(50);
    for index in 0..SharedWords::len(&memory.slots) {
        memory.slots.store(index, 0x5a5a_5a5a);
    }
    let before = dump(&memory);
    ring.publish(Priority::Normal, &NOP).unwrap();
    let after = dump(&memory);
    let slot = 256 + 16 + 16 * 20;
    for (index, (old, new)) in before.iter().zip(&after).enumerate() {
        let may_change = index == 18 || (slot..slot + 16).contains(&index);
        assert!(old == new || may_change, "word {index}");
    }
}

#[test]
fn a_closed_ring_refuses_and_cancels_what_is_left() {
    let (mut ring, memory) = ring(50);
    ring.publish_all(Priority::Normal, &[NOP; 3]).unwrap();
    ring.publish(Priority::Low, &NOP).unwrap();
    complete(&ring, &memory, 0, Priority::Normal, 1);
    ring.reap().unwrap().unwrap();
    ring.close();
    assert_eq!(ring.publish(Priority::Low, &NOP), Err(PublishError::Closed));
    let cancelled: Vec<_> = ring.cancel_outstanding().into_iter().map(|t| (t.priority, t.number)).collect();
    assert_eq!(cancelled, [(Priority::Normal, 0), (Priority::Normal, 2), (Priority::Low, 0)]);
    let tally = ring.tally();
    assert_eq!(tally.published, tally.done + tally.faulted + tally.cancelled);
}

#[test]
fn nonsense_from_the_device_is_a_typed_error_and_passed_over() {
    let (mut ring, memory) = ring(50);
    ring.publish(Priority::Normal, &NOP).unwrap();
    put(&ring, &memory, 0, &[0, 0xff, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(ring.reap(), Err(ReapError::Record(_))));
    complete(&ring, &memory, 1, Priority::Normal, 1);
    assert_eq!(ring.reap(), Err(ReapError::Ticket { priority: Priority::Normal, wire: 1, visible: 1 }));
    complete(&ring, &memory, 2, Priority::Critical, 0);
    assert!(matches!(ring.reap(), Err(ReapError::Ticket { priority: Priority::Critical, .. })));
    complete(&ring, &memory, 3, Priority::Normal, 0);
    assert!(ring.reap().unwrap().is_some());
    complete(&ring, &memory, 4, Priority::Normal, 0);
    assert!(matches!(ring.reap(), Err(ReapError::Ticket { .. })), "a ticket completes once");
    assert_eq!(ring.reap(), Ok(None));
}

#[test]
fn a_completed_ticket_that_comes_again_does_not_end_the_one_that_has_its_place() {
    let (mut ring, memory) = ring(5);
    ring.publish(Priority::High, &NOP).unwrap();
    complete(&ring, &memory, 0, Priority::High, 0);
    ring.reap().unwrap().unwrap();
    let reservation = ring.reserve(Priority::High, &[NOP]).unwrap();
    complete(&ring, &memory, 1, Priority::High, 0);
    assert_eq!(ring.reap(), Err(ReapError::Ticket { priority: Priority::High, wire: 0, visible: 1 }));
    ring.commit(reservation, &[NOP]);
    complete(&ring, &memory, 2, Priority::High, 1);
    assert_eq!(ring.reap().unwrap().unwrap().ticket.number, 1);
    assert_eq!(ring.free(Priority::High), 1);
}

#[test]
fn thousands_of_laps_keep_tickets_and_stamps_apart() {
    let (mut ring, memory) = ring(5);
    for number in 0..20_000_u32 {
        let ticket = ring.publish(Priority::High, &NOP).unwrap();
        assert_eq!(ring.reap(), Ok(None), "nothing of an earlier lap is taken for this one");
        complete(&ring, &memory, number, Priority::High, ticket.number);
        assert_eq!(ring.reap().unwrap().unwrap().ticket, ticket);
    }
}

/// Memory that writes down what is stored, in order.
#[derive(Clone)]
struct Recorder {
    name: char,
    log: Arc<Mutex<Vec<String>>>,
}

impl SharedWords for Recorder {
    fn len(&self) -> usize {
        usize::MAX
    }
    fn load_acquire(&self, _: usize) -> u32 {
        0
    }
    fn load(&self, _: usize) -> u32 {
        0
    }
    fn store(&self, index: usize, _: u32) {
        self.log.lock().unwrap().push(format!("{}{index}", self.name));
    }
    fn publish_fence(&self) {
        self.log.lock().unwrap().push("fence".into());
    }
}

#[test]
fn c19_payload_then_sequence_then_fence_then_doorbell() {
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let memory = |name| Recorder { name, log: Arc::clone(&log) };
    let memory = RingMemory { control: memory('c'), slots: memory('s'), completions: memory('k') };
    let mut ring = Ring::new(Geometry::new(Counts { slots: 50, ..Counts::default() }).unwrap(), memory);
    ring.publish_all(Priority::Critical, &[NOP, NOP]).unwrap();
    let seen = log.lock().unwrap().join(" ");
    let slot = |base: usize| (1..16).chain([0]).map(|i| format!("s{}", base + i)).collect::<Vec<_>>().join(" ");
    assert_eq!(seen, format!("{} {} fence c16 fence", slot(16), slot(32)));
}

#[test]
fn d26_a_batch_takes_its_slots_and_one_for_the_fence() {
    let (mut ring, memory) = ring(25);
    let word = |index: usize, word: usize| memory.slots.load(16 + 16 * (5 + index) + word);
    assert_eq!(ring.publish_batch(Priority::High, &[NOP, NOP]).unwrap(), 0..3);
    assert_eq!((word(2, 1), word(2, 10)), (Operation::Fence.code(), 2), "the fence waits for both");
    assert_eq!(ring.publish_batch(Priority::High, &[]).unwrap(), 3..4, "an empty batch is one fence");
    assert_eq!((word(3, 1), word(3, 10)), (Operation::Fence.code(), 3));
    let before = dump(&memory);
    let refused = ring.publish_batch(Priority::High, &[NOP]).unwrap_err();
    assert!(matches!(refused, PublishError::Occupied { ticket: 0, .. }), "the fence has no place: {refused}");
    assert_eq!(dump(&memory), before);
    for (position, ticket) in (0..4).enumerate() {
        complete(&ring, &memory, position as u32, Priority::High, ticket);
        ring.reap().unwrap().unwrap();
    }
    assert_eq!(ring.publish_batch(Priority::High, &[NOP]).unwrap(), 4..6);
    assert_eq!(ring.publish_batch(Priority::High, &[NOP]).unwrap(), 6..8, "two batches back to back");
}
