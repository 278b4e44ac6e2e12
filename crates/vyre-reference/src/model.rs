//! Models for loom: the ring's host side and the workers' claim code, run in every order of their atomics that is worth telling apart.
//!
//! `cargo xtask test --tier loom` runs them; `VYRE_LOOM_SECONDS` and `VYRE_LOOM_PREEMPTIONS` let them go deeper. Most models run their threads for a few steps and then finish what is left alone, so that there is no
//! loop without end to explore; those about sleep end because workers sleep. Each prints how many interleavings there were. Some leave out one
//! fence each and must fail.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use loom::model::Builder;
use loom::thread;
use vyre_protocol::completion::Status;
use vyre_protocol::fault::Fault;
use vyre_protocol::geometry::{Counts, Geometry, Priority};
use vyre_protocol::header::RegionKind;
use vyre_protocol::launch::SMALLEST_FUEL;
use vyre_protocol::local::{NO_TILES_LEFT, SLOT_STATES, STATE_COUNTER, STATE_DONE, TILE_COUNT_BITS};
use vyre_protocol::operation::{Operation, USER_OPERATIONS};
use vyre_protocol::resource::{ATOMIC, Handle, READ, ResourceEntry, SHARED, WRITE};
use vyre_protocol::ring::{Completion, Ring, RingMemory};
use vyre_protocol::slot::{Operand, Slot};
use vyre_protocol::tenants::{Revocation, TenantConfig, TenantError};
use vyre_protocol::words::SharedWords;

use crate::bell::{Bell, Crew, Looking};
use crate::custom::CustomFunction;
use crate::engine::{Regions, Resources};
use crate::ops::Backing;
use crate::span::Span;
use crate::sync::{AtomicBool, AtomicU32, Ordering, PLANTED};
use crate::worker::Worker;

const NOP: Slot = Slot::new(Operation::Nop);

/// What the threads of a model share: all regions, and one word of memory that operations work on.
struct Device {
    geometry: Geometry,
    regions: Regions,
    resources: Resources,
    crew: Crew,
    completed: Bell,
    memory: Span,
    custom: [(u32, CustomFunction); 1],
}

impl Device {
    /// With all slots in the NORMAL partition.
    fn new(slots: u32) -> Arc<Device> {
        let counts = Counts { slots, tenants: 2, observables: 1, resources: 1, log_records: 1, io_requests: 1 };
        let geometry = Geometry::with_offsets(counts, [0, 0, 0, slots, slots, slots]).unwrap();
        let regions = Regions::new(&geometry);
        regions.reset(&geometry);
        let memory = Span::new(1);
        let (generation, access) = (1, READ | WRITE | ATOMIC);
        let entry = ResourceEntry { address: [0; 2], length: 4, generation, owner: SHARED, access, reserved: [0; 2] };
        entry.store(regions.get(RegionKind::Resources), 0);
        let resources = Resources(RwLock::new(vec![Some((generation, Backing::Words(memory.clone())))]));
        let (crew, completed) = (Crew::new(3), Bell::default());
        let custom = [(USER_OPERATIONS, begin_together())];
        Arc::new(Device { geometry, regions, resources, crew, completed, memory, custom })
    }

    fn ring(&self) -> Ring<Span> {
        let region = |kind| self.regions.get(kind).clone();
        let memory = RingMemory {
            control: region(RegionKind::Control),
            slots: region(RegionKind::Ring),
            completions: region(RegionKind::Completions),
        };
        Ring::new(self.geometry, memory)
    }

    fn worker(&self, id: u32) -> Worker<'_> {
        let looking = Looking::new(&self.crew, id);
        let mut worker = Worker::new(&self.regions, &self.resources, &self.completed, looking, id, 2);
        worker.custom = &self.custom;
        worker
    }

    /// Looks at the host and runs what there is to be taken.
    fn step(&self, id: u32) -> bool {
        let mut worker = self.worker(id);
        worker.look(true);
        worker.act() != 0
    }

    /// A thread that takes that many steps.
    fn spawn(self: &Arc<Self>, id: u32, steps: usize) -> thread::JoinHandle<()> {
        let device = Arc::clone(self);
        thread::spawn(move || {
            for _ in 0..steps {
                device.step(id);
            }
        })
    }

    fn await_sleepers(&self, count: u32) {
        while self.crew.sleepers() < count {
            thread::yield_now();
        }
    }

    /// Runs what is left, alone, and reaps all.
    fn finish(&self, ring: &mut Ring<Span>) -> Vec<Completion> {
        while self.step(0) {}
        let completions = reap(ring);
        let tally = ring.tally();
        assert_eq!(tally.outstanding(), 0, "{tally:?}");
        assert_eq!(tally.published, tally.done + tally.faulted + tally.cancelled);
        completions
    }
}

/// Ends when it has been begun twice.
fn begin_together() -> CustomFunction {
    let begun = AtomicU32::new(0);
    Arc::new(move |_| {
        begun.fetch_add(1, Ordering::AcqRel);
        while begun.load(Ordering::Acquire) < 2 {
            thread::yield_now();
        }
        Ok(())
    })
}

fn reap(ring: &mut Ring<Span>) -> Vec<Completion> {
    std::iter::from_fn(|| ring.reap().unwrap()).collect()
}

fn word(operation: Operation, value: u32) -> Slot {
    let place = Operand { handle: Handle::new(0, 1).word(), offset: 0 };
    let slot = Slot { input: place, output: place, args: [value, 0, 0, 0, 0, 0], ..Slot::new(operation) };
    slot.tiled(4, 4, 1)
}

fn numbers(completions: &[Completion]) -> Vec<u64> {
    completions.iter().map(|completion| completion.ticket.number).collect()
}

/// Explores a model and prints how many interleavings there were.
fn explore(name: &str, preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|value| value.parse::<u64>().ok());
    let seconds = number("VYRE_LOOM_SECONDS").unwrap_or(20);
    let mut builder = Builder::new();
    builder.max_branches = 1_000_000;
    builder.preemption_bound = Some(number("VYRE_LOOM_PREEMPTIONS").map_or(preemptions, |given| given as usize));
    builder.max_duration = Some(Duration::from_secs(seconds));
    let explored = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&explored);
    let start = Instant::now();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let all = if start.elapsed().as_secs() < seconds { "all" } else { "the first" };
    let explored = explored.load(Ordering::Relaxed);
    let preemptions = builder.preemption_bound.unwrap_or(usize::MAX);
    println!("{name}: {all} {explored} interleavings with at most {preemptions} preemptions");
}

/// The same for a model that must fail, since fences of an ordering are left out.
fn expect_failure(name: &str, without: Ordering, model: impl Fn() + Sync + Send + 'static) {
    PLANTED.set(Some(without));
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| explore(name, 2, model)));
    PLANTED.set(None);
    assert!(found.is_err(), "{name}: the planted bug was not found");
    println!("{name}: the bug was found");
}

/// A slot that is published while two workers look runs once.
fn one_slot_two_workers() {
    let device = Device::new(2);
    let mut ring = device.ring();
    let workers = [device.spawn(1, 1), device.spawn(2, 1)];
    ring.publish(Priority::Normal, &word(Operation::AtomicAdd, 1)).unwrap();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let completions = device.finish(&mut ring);
    assert_eq!((numbers(&completions), device.memory.load(0)), (vec![0], 1));
}

/// Three slots in a row beside two workers: each takes what it finds in one go, and each slot runs once.
fn run_of_slots() {
    let device = Device::new(3);
    let mut ring = device.ring();
    let workers = [device.spawn(1, 1), device.spawn(2, 1)];
    ring.publish(Priority::Normal, &word(Operation::AtomicAdd, 1)).unwrap();
    ring.publish_all(Priority::Normal, &[word(Operation::AtomicAdd, 2), word(Operation::AtomicAdd, 4)]).unwrap();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let mut order = numbers(&device.finish(&mut ring));
    order.sort_unstable();
    assert_eq!((order, device.memory.load(0)), (vec![0, 1, 2], 7));
}

/// What a slot stored is there for whoever has its completion.
fn stored_before_completed() {
    let device = Device::new(1);
    let mut ring = device.ring();
    ring.publish(Priority::Normal, &word(Operation::StoreU32, 7)).unwrap();
    let worker = device.spawn(1, 1);
    if let Some(completion) = ring.reap().unwrap() {
        assert_eq!((completion.status, device.memory.load(0)), (Status::Done, 7));
    }
    worker.join().unwrap();
    device.finish(&mut ring);
}

/// A ring of one slot, published again as soon as its completion is there, beside a worker that slept through it.
fn recycled_slot() {
    let device = Device::new(1);
    let mut ring = device.ring();
    ring.publish(Priority::Normal, &word(Operation::AtomicAdd, 1)).unwrap();
    let workers = [device.spawn(1, 1), device.spawn(2, 1)];
    let mut order = numbers(&reap(&mut ring));
    if !order.is_empty() {
        ring.publish(Priority::Normal, &word(Operation::AtomicAdd, 10)).unwrap();
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let expected = if order.is_empty() { (vec![0], 1) } else { (vec![0, 1], 11) };
    order.extend(numbers(&device.finish(&mut ring)));
    assert_eq!((order, device.memory.load(0)), expected);
}

/// Two tiles, two workers: the last one completes the slot, once, with the fault that came first.
fn tiles_of_one_slot() {
    let device = Device::new(1);
    let mut ring = device.ring();
    ring.publish(Priority::Normal, &Slot { tiles: 2, ..Slot::with_code(0x2000) }).unwrap();
    let workers = [device.spawn(1, 1), device.spawn(2, 1)];
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let completions = device.finish(&mut ring);
    assert_eq!(completions.len(), 1);
    assert_eq!((completions[0].fault, completions[0].fault_word), (Fault::UnknownOperation, 0x2000));
    ring.publish(Priority::Normal, &Slot { tiles: 2, ..NOP }).unwrap();
    assert_eq!(device.finish(&mut ring)[0].status, Status::Done, "the slot's state was cleared");
}

/// The same on a slot that is published again, beside a worker that may sleep through the first time: it then takes a tile of the second
/// slot while it means the first.
fn recycled_slot_of_many_tiles() {
    let device = Device::new(1);
    let mut ring = device.ring();
    ring.publish(Priority::Normal, &Slot { tiles: 2, ..NOP }).unwrap();
    let worker = device.spawn(1, 1);
    let steps = [device.step(0), device.step(0)];
    let mut order = numbers(&reap(&mut ring));
    if !order.is_empty() {
        ring.publish(Priority::Normal, &Slot { tiles: 3, ..NOP }).unwrap();
        device.step(0);
    }
    worker.join().unwrap();
    order.extend(numbers(&device.finish(&mut ring)));
    let expected = if steps == [true; 2] { vec![0, 1] } else { order.clone() };
    assert_eq!(order, expected);
    // Every tile was counted, and ended, once.
    let state = device.regions.get(RegionKind::Local);
    assert_eq!(state.load((SLOT_STATES + STATE_DONE) as usize), 0);
    let counter = state.load((SLOT_STATES + STATE_COUNTER) as usize);
    assert!(counter & ((1 << TILE_COUNT_BITS) - 1) <= NO_TILES_LEFT, "{counter:#x} after {order:?}");
}

/// A fence completes behind what is before it, and what is behind it sees what was before it.
fn fence() {
    let device = Device::new(3);
    let mut ring = device.ring();
    let slots = [word(Operation::StoreU32, 7), Slot::new(Operation::Fence), word(Operation::LoadU32, 0)];
    ring.publish_all(Priority::Normal, &slots).unwrap();
    let workers = [device.spawn(1, 2), device.spawn(2, 2)];
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let completions = device.finish(&mut ring);
    assert_eq!((numbers(&completions), completions[2].results[0]), (vec![0, 1, 2], 7));
}

/// Two workers take runs that overlap, since one has seen more slots than the other. When both have completed the host fills the partition once
/// more, and the front must not have stayed a lap behind.
fn overlapping_runs() {
    let device = Device::new(2);
    let mut ring = device.ring();
    ring.publish(Priority::Normal, &NOP).unwrap();
    let workers = [device.spawn(1, 1), device.spawn(2, 1)];
    ring.publish(Priority::Normal, &NOP).unwrap();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let before = reap(&mut ring).len();
    let more = if before == 2 { 2 } else { 0 };
    ring.publish_all(Priority::Normal, &[NOP; 2][..more]).unwrap();
    assert_eq!(before + device.finish(&mut ring).len(), 2 + more);
}

/// A slot of a tenant that is revoked meanwhile is done, or faults and does nothing; then the tenant's number is free again.
fn revocation() {
    let device = Device::new(1);
    let mut ring = device.ring();
    let tenant = ring.register_tenant(TenantConfig::default()).unwrap();
    ring.publish(Priority::Normal, &Slot { tenant, ..word(Operation::AtomicAdd, 1) }).unwrap();
    let worker = device.spawn(1, 1);
    ring.revoke_tenant(tenant, Revocation::Cancel).unwrap();
    let refused = ring.publish(Priority::Normal, &Slot { tenant, ..NOP });
    assert!(refused.is_err());
    let others = ring.register_tenant(TenantConfig::default());
    worker.join().unwrap();
    let early = others.is_ok();
    let completions = device.finish(&mut ring);
    assert!(!early, "the number was given again while a slot was outstanding");
    assert_eq!(others, Err(TenantError::NoneFree { count: 2 }));
    let (status, fault) = (completions[0].status, completions[0].fault);
    let expected = if status == Status::Done { (Fault::None, 1) } else { (Fault::UnknownTenant, 0) };
    assert_eq!((fault, device.memory.load(0)), expected);
    assert_eq!(ring.register_tenant(TenantConfig::default()), Ok(tenant));
}

/// A producer that publishes behind a reservation, and the reservation after it: in the order of the tickets.
fn reservation() {
    let device = Device::new(2);
    let mut ring = device.ring();
    let worker = device.spawn(1, 2);
    let reserved = ring.reserve(Priority::Normal, &[word(Operation::StoreU32, 1)]).unwrap();
    ring.publish(Priority::Normal, &word(Operation::StoreU32, 2)).unwrap();
    assert_eq!(reap(&mut ring), [], "nothing passes a reservation");
    ring.commit(reserved, &[word(Operation::StoreU32, 1)]);
    worker.join().unwrap();
    let completions = device.finish(&mut ring);
    assert_eq!((numbers(&completions), device.memory.load(0)), (vec![0, 1], 2));
}

/// Whole turns, with the lease to look at the host and the mirror for the others.
fn lease_and_mirror() {
    let device = Device::new(2);
    let mut ring = device.ring();
    let spawn = |id| {
        let device = Arc::clone(&device);
        thread::spawn(move || {
            device.worker(id).run_turns(SMALLEST_FUEL, 2);
        })
    };
    let workers = [spawn(0), spawn(1)];
    ring.publish(Priority::Normal, &word(Operation::AtomicAdd, 1)).unwrap();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let completions = device.finish(&mut ring);
    assert_eq!((numbers(&completions), device.memory.load(0)), (vec![0], 1));
}

/// A thread that plays a worker until `through`: it sleeps while there is nothing to do.
fn spawn_sleeper(device: &Arc<Device>, id: u32, through: &Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let (device, through) = (Arc::clone(device), Arc::clone(through));
    thread::spawn(move || {
        let mut worker = device.worker(id);
        while !through.load(Ordering::Acquire) {
            worker.look(true);
            if worker.act() == 0 {
                // Somebody who is about to take the rest, or to open a slot for it, goes first.
                thread::yield_now();
                // A lost wake-up is a deadlock here, since loom's time never ends.
                worker.looking.sleep(|| device.regions.is_published() || through.load(Ordering::Relaxed));
            }
        }
    })
}

/// Publishes slots one by one beside workers that fall asleep, of which at least so many do so first, and a client that does; ends when all
/// have completed.
fn publish_to_sleepers(workers: u32, asleep: u32, slots: &[Slot]) {
    let device = Device::new(slots.len() as u32);
    let mut ring = device.ring();
    let through = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..workers).map(|id| spawn_sleeper(&device, id + 1, &through)).collect();
    device.await_sleepers(asleep);
    for slot in slots {
        ring.publish(Priority::Normal, slot).unwrap();
        device.crew.call();
    }
    let mut completions = Vec::new();
    while completions.len() < slots.len() {
        device.completed.sleep(Duration::MAX, || ring.has_completion());
        completions.extend(reap(&mut ring));
    }
    through.store(true, Ordering::Release);
    device.crew.call_all();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert!(!device.step(0), "nothing was left");
    assert!(completions.iter().all(|completion| completion.status == Status::Done), "{completions:?}");
}

/// A worker that falls asleep while a slot is published wakes, or does not fall asleep; so does a client that waits for it.
fn park_and_wake() {
    publish_to_sleepers(1, 0, &[NOP]);
}

/// The same with two slots: what is published while a worker looks is not left to one that falls asleep.
fn looking_worker() {
    publish_to_sleepers(1, 0, &[NOP; 2]);
}

/// A slot whose tiles end when two have begun: each needs a worker of its own.
const TOGETHER: Slot = Slot { operation: USER_OPERATIONS, ..NOP };

/// Two workers, of which one is called. It calls the other, since it sees more than it takes.
fn one_calls_the_other() {
    publish_to_sleepers(2, 2, &[Slot { tiles: 2, ..TOGETHER }]);
}

/// A slot comes while a worker looks, so that nobody is called; that worker takes a long one, and calls the other.
fn slot_beside_a_long_one() {
    let device = Device::new(2);
    let mut ring = device.ring();
    let (through, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let sleeper = spawn_sleeper(&device, 1, &through);
    device.await_sleepers(1);
    ring.publish(Priority::Normal, &TOGETHER).unwrap();
    let (other, seen) = (Arc::clone(&device), Arc::clone(&looks));
    let worker = thread::spawn(move || {
        let mut worker = other.worker(2);
        worker.looking.found_nothing();
        seen.store(true, Ordering::Release);
        worker.look(true);
        while worker.act() == 0 {
            thread::yield_now();
            worker.look(true);
        }
    });
    while !looks.load(Ordering::Acquire) {
        thread::yield_now();
    }
    ring.publish(Priority::Normal, &TOGETHER).unwrap();
    device.crew.call();
    worker.join().unwrap();
    through.store(true, Ordering::Release);
    device.crew.call_all();
    sleeper.join().unwrap();
    assert_eq!(device.finish(&mut ring).len(), 2);
}

#[test]
fn a_slot_runs_once() {
    explore("one slot, two workers", 2, one_slot_two_workers);
}

#[test]
fn a_run_of_slots_runs_once() {
    explore("run of slots, two workers", 2, run_of_slots);
}

#[test]
fn a_front_is_never_a_lap_behind() {
    explore("overlapping runs", 2, overlapping_runs);
}

#[test]
fn results_are_there_with_the_completion() {
    explore("stored before completed", 3, stored_before_completed);
}

#[test]
fn a_recycled_slot_is_not_mistaken() {
    explore("recycled slot", 2, recycled_slot);
}

#[test]
fn a_slot_of_many_tiles_completes_once() {
    explore("tiles of one slot", 2, tiles_of_one_slot);
}

#[test]
fn a_stray_tile_is_adopted() {
    explore("recycled slot of many tiles", 2, recycled_slot_of_many_tiles);
}

#[test]
fn f39_fences_hold() {
    explore("fence", 2, fence);
}

#[test]
fn f35_revocation_is_all_or_nothing() {
    explore("revocation", 3, revocation);
}

#[test]
fn reservations_keep_the_order() {
    explore("reservation", 3, reservation);
}

#[test]
fn the_lease_loses_no_slot() {
    explore("lease and mirror", 2, lease_and_mirror);
}

#[test]
fn no_wake_up_is_lost() {
    explore("park and wake", 2, park_and_wake);
}

#[test]
fn a_worker_that_looks_finds_what_nobody_was_woken_for() {
    explore("looking worker", 2, looking_worker);
}

#[test]
fn workers_call_each_other() {
    explore("one calls the other", 2, one_calls_the_other);
}

#[test]
fn no_slot_waits_for_a_long_one() {
    explore("slot beside a long one", 2, slot_beside_a_long_one);
}

#[test]
fn a_missing_release_is_found() {
    expect_failure("stored before completed, without release fences", Ordering::Release, stored_before_completed);
}

#[test]
fn a_missing_fence_between_sleeper_and_waker_is_found() {
    expect_failure("park and wake, without sequentially consistent fences", Ordering::SeqCst, park_and_wake);
    expect_failure("looking worker, without them", Ordering::SeqCst, looking_worker);
}
