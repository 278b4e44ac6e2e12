//! The operations on words: each against a model, on every engine.

use std::time::{Duration, Instant};

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::fault::Fault;
use vyre_runtime::protocol::geometry::{Counts, Geometry, Priority};
use vyre_runtime::protocol::operation::{ACCUMULATORS, MAX_BINS, MAX_TILE_BYTES, Operation, RUN_SLOTS, Reduction};
use vyre_runtime::protocol::slot::{Operand, Slot};
use vyre_runtime::protocol::tenants::TenantConfig;
use vyre_runtime::vk::{DeviceKind, MemoryUse};
use vyre_runtime::{EngineKind, Options, Resource, WaitError};

use crate::Open;
use crate::cases::{LONG, end, noise, options, run};

fn word_slot(operation: Operation, place: Operand, args: &[u32]) -> Slot {
    let slot = Slot { input: place, output: place, ..Slot::new(operation) };
    slot.tiled(4, 4, 1).with_args(args).unwrap()
}

/// What is published first and most urgently waits for the kernel that can run it; what the small one can run does not wait for that.
pub(crate) fn a_small_start_runs_scalar_slots_and_leaves_the_others_to_the_whole_kernel(open: Open) {
    let mut runtime = open(&options(64, Some(1)));
    let small = runtime.engine().kind == EngineKind::Vulkan(DeviceKind::Software);
    let memory = runtime.allocate(64, MemoryUse::Local).unwrap();
    let add = word_slot(Operation::AtomicAdd, memory.at(0), &[1]);
    assert_eq!(run(&mut runtime, &word_slot(Operation::StoreU32, memory.at(0), &[0])).status, Status::Done);
    let unknown = runtime.publish(Priority::Critical, &Slot::with_code(0xfff0)).unwrap();
    let mut scalars = 0;
    let faulted = loop {
        let found = runtime.publish(Priority::Low, &add).unwrap();
        assert_eq!(runtime.wait(found, LONG).unwrap().status, Status::Done);
        scalars += 1;
        match runtime.wait(unknown, Duration::ZERO) {
            Ok(completion) => break completion,
            Err(error) => assert!(matches!(error, WaitError::Timeout { .. }), "{error}"),
        }
        assert!(small || scalars < 1000, "this engine has the whole kernel from the start");
    };
    assert_eq!((faulted.status, faulted.fault), (Status::Faulted, Fault::UnknownOperation));
    assert_eq!(runtime.quanta().switches, u64::from(small), "the whole kernel took over, where a start is small");
    assert_eq!(run(&mut runtime, &add).results[0], scalars);
    end(runtime);
}

pub(crate) fn words_are_stored_loaded_added_and_swapped(open: Open) {
    let mut runtime = open(&options(320, None));
    let memory = runtime.allocate(64, MemoryUse::Local).unwrap();
    let place = memory.at(60);
    let mut word = |operation, args: &[u32]| {
        let completion = run(&mut runtime, &word_slot(operation, place, args));
        assert_eq!(completion.status, Status::Done, "{operation:?}: {:?}", completion.fault);
        completion.results[0]
    };
    assert_eq!(word(Operation::StoreU32, &[0xffff_fff0]), 0);
    assert_eq!(word(Operation::LoadU32, &[]), 0xffff_fff0);
    assert_eq!(word(Operation::AtomicAdd, &[0x20]), 0xffff_fff0);
    assert_eq!(word(Operation::CompareSwap, &[0x11, 7]), 0x10, "the word is another, so nothing is stored");
    assert_eq!(word(Operation::CompareSwap, &[0x10, 7]), 0x10);
    assert_eq!(word(Operation::LoadU32, &[]), 7);
    end(runtime);
}

/// Equal slots are all run: a predecessor took equal additions for one.
pub(crate) fn s10_equal_additions_all_count(open: Open) {
    let mut runtime = open(&options(320, None));
    let memory = runtime.allocate(4, MemoryUse::Local).unwrap();
    run(&mut runtime, &word_slot(Operation::StoreU32, memory.at(0), &[0]));
    let mut before = Vec::new();
    for _ in 0..20 {
        let slots = [word_slot(Operation::AtomicAdd, memory.at(0), &[3]); 50];
        runtime.publish_all(Priority::Normal, &slots).unwrap();
        runtime.drain(LONG).unwrap();
        while let Some(completion) = runtime.reap().unwrap() {
            before.push(completion.results[0]);
        }
    }
    before.sort_unstable();
    assert!(before.iter().copied().eq((0..3000).step_by(3)), "each addition saw another value");
    assert_eq!(run(&mut runtime, &word_slot(Operation::LoadU32, memory.at(0), &[])).results[0], 3000);
    end(runtime);
}

/// Status, fault, its word and the first result of a completion.
type Said = (Status, Fault, u32, u32);

/// A batch of scalar slots, but for the one of two tiles at `ending`, with what their completions must say. Each has a
/// word of its own, since those of a run are in no order. `denied` is of a tenant that may not do it.
fn scalar_slots(memory: &Resource, words: &mut [u32], denied: &Slot, ending: u32) -> (Vec<Slot>, Vec<Said>) {
    let done = |slot, result| (slot, (Status::Done, Fault::None, 0, result));
    let faulted = |slot, fault, word| (slot, (Status::Faulted, fault, word, 0));
    let nop = Slot::new(Operation::Nop);
    let mut slot = |(i, word): (u32, &mut u32)| {
        let (old, place, value) = (*word, memory.at(4 * i), ending << 16 | i);
        let load = word_slot(Operation::LoadU32, place, &[]);
        match (i * 5 + ending) % 9 {
            _ if i == ending => done(Slot { tiles: 2, ..nop }, 0),
            // A batch of slots that reach no memory.
            _ if ending.is_multiple_of(4) => done(nop, 0),
            0 => {
                *word = value;
                done(word_slot(Operation::StoreU32, place, &[value]), 0)
            }
            1 => {
                *word = old.wrapping_add(value);
                done(word_slot(Operation::AtomicAdd, place, &[value]), old)
            }
            2 => {
                *word = value;
                done(word_slot(Operation::CompareSwap, place, &[old, value]), old)
            }
            3 => done(word_slot(Operation::CompareSwap, place, &[!old, value]), old),
            4 => done(load, old),
            5 => faulted(Slot { input: memory.at(4 * i + 2), ..load }, Fault::Misaligned, 4 * i + 2),
            6 => faulted(*denied, Fault::AccessDenied, denied.output.handle),
            7 => faulted(Slot { length: i + 8, ..load }, Fault::BadArgument, i + 8),
            _ => done(nop, 0),
        }
    };
    (0..).zip(words).map(&mut slot).unzip()
}

/// Batches longer than a run, with a slot that ends it at each place in turn.
pub(crate) fn runs_of_scalar_slots_match_a_model(open: Open) {
    let batch = RUN_SLOTS + 9;
    // No multiple of the batch, so that runs begin everywhere and cross the partition's end.
    let slots = 2 * batch + 27;
    let counts = Counts { slots, ..Counts::default() };
    let geometry = Geometry::with_offsets(counts, [0, 0, 0, slots, slots, slots]).unwrap();
    let mut runtime = open(&Options { geometry, ..options(slots, None) });
    let [owner, tenant] = [(); 2].map(|()| runtime.register_tenant(TenantConfig::default()).unwrap());
    let theirs = runtime.allocate_for(owner, 4, MemoryUse::Local).unwrap();
    let denied = Slot { tenant, ..word_slot(Operation::AtomicAdd, theirs.at(0), &[1]) };
    let memory = runtime.allocate(u64::from(4 * batch), MemoryUse::Local).unwrap();
    let mut words: Vec<u32> = (0..batch).collect();
    for i in &words {
        run(&mut runtime, &word_slot(Operation::StoreU32, memory.at(4 * i), &[*i]));
    }
    for ending in 0..=batch {
        let (slots, expected) = scalar_slots(&memory, &mut words, &denied, ending);
        let tickets = runtime.publish_all(Priority::Normal, &slots).unwrap();
        runtime.drain(LONG).unwrap();
        let mut found = vec![None; slots.len()];
        while let Some(completion) = runtime.reap().unwrap() {
            let i = (completion.ticket.number - tickets.start) as usize;
            assert_eq!(completion.operation, slots[i].operation, "slot {i} beside one that ends a run at {ending}");
            let said = (completion.status, completion.fault, completion.fault_word, completion.results[0]);
            assert_eq!(found[i].replace(said), None, "slot {i} has completed twice");
        }
        for (i, said) in expected.into_iter().enumerate() {
            assert_eq!(found[i], Some(said), "slot {i} beside one that ends a run at {ending}: {:?}", slots[i]);
        }
    }
    end(runtime);
}

pub(crate) fn bad_word_slots_fault(open: Open) {
    let mut runtime = open(&options(320, None));
    let shared = runtime.allocate(4096, MemoryUse::DeviceToHost).unwrap();
    let memory = runtime.allocate(4096, MemoryUse::Local).unwrap();
    let (place, handle) = (memory.at(0), shared.handle().word());
    let store = word_slot(Operation::StoreU32, place, &[1]);
    let reduce = Slot { input: place, output: place, ..Slot::new(Operation::Reduce) }.tiled(64, 64, 1);
    let reduce = |args: &[u32]| reduce.with_args(args).unwrap();
    let histogram = Slot { input: place, output: place, ..Slot::new(Operation::Histogram) }.tiled(64, 64, 1);
    let histogram = |args: &[u32]| histogram.with_args(args).unwrap();
    let cases = [
        (word_slot(Operation::AtomicAdd, shared.at(0), &[1]), Fault::AccessDenied, handle),
        (word_slot(Operation::CompareSwap, shared.at(0), &[1, 2]), Fault::AccessDenied, handle),
        (Slot { output: shared.at(0), ..histogram(&[0]) }, Fault::AccessDenied, handle),
        (Slot { tiles: 2, ..store }, Fault::BadArgument, 2),
        (Slot { length: 8, ..store }, Fault::BadArgument, 8),
        (word_slot(Operation::StoreU32, memory.at(4096), &[1]), Fault::OutOfRange, 4096),
        (word_slot(Operation::LoadU32, memory.at(2), &[]), Fault::Misaligned, 2),
        // An empty part of a message took the reference engine's worker with it.
        (Slot { output: place, ..Slot::new(Operation::Blake3) }.tiled(0, 1, 1024), Fault::BadArgument, 0),
        (reduce(&[0, 1]), Fault::BadArgument, 0),
        (reduce(&[9, 1]), Fault::BadArgument, 9),
        (reduce(&[1, 0]), Fault::BadArgument, 0),
        (Slot { output: memory.at(4), ..reduce(&[1, 1]) }, Fault::Misaligned, 4),
        (Slot { length: 62, ..reduce(&[1, 1]) }, Fault::Misaligned, 62),
        (histogram(&[2]), Fault::BadArgument, 2),
        (histogram(&[1, 0, 0, 0]), Fault::BadArgument, 0),
        (histogram(&[1, 0, 0, MAX_BINS + 1]), Fault::BadArgument, MAX_BINS + 1),
        (histogram(&[1, 0, 32, 4]), Fault::BadArgument, 32),
        (Slot { output: memory.at(3076), ..histogram(&[0]) }, Fault::OutOfRange, 3076),
    ];
    for (slot, fault, word) in cases {
        let found = run(&mut runtime, &slot);
        assert_eq!((found.status, found.fault, found.fault_word), (Status::Faulted, fault, word), "{slot:?}");
    }
    end(runtime);
}

/// A tile's result by the definition in the operation table.
fn model(reduction: Reduction, words: &[u32]) -> u32 {
    let mut sums = vec![reduction.identity(); ACCUMULATORS as usize];
    for (i, word) in words.iter().enumerate() {
        sums[i % 32] = reduction.join(sums[i % 32], *word);
    }
    for stride in [16, 8, 4, 2, 1] {
        for j in 0..stride {
            sums[j] = reduction.join(sums[j], sums[j + stride]);
        }
    }
    sums[0]
}

fn stamped(resource: &Resource, offset: usize, stamp: u32) -> u32 {
    let start = Instant::now();
    loop {
        match resource.read_stamped_word(offset, stamp).unwrap() {
            Some(word) => return word,
            None => assert!(start.elapsed() < Duration::from_secs(10), "the result at {offset} never came"),
        }
    }
}

pub(crate) fn reductions_match_a_model(open: Open) {
    let mut runtime = open(&options(320, None));
    let len = 100_000;
    let input = runtime.allocate(len, MemoryUse::HostToDevice).unwrap();
    let output = runtime.allocate(800, MemoryUse::DeviceToHost).unwrap();
    let integers = noise(len as usize, 5);
    // Floats of all magnitudes whose sums stay normal numbers.
    let float = |word: &[u8; 4]| f32::from(i16::from_le_bytes([word[0], word[1]])) * (f32::from(word[2]) / 4.0).exp2();
    let floats: Vec<u8> = integers.as_chunks::<4>().0.iter().flat_map(|word| float(word).to_le_bytes()).collect();
    let mut stamp = 0;
    for (reduction, name) in Reduction::ALL {
        let data = if name.ends_with("F32") { &floats } else { &integers };
        input.write(0, data).unwrap();
        let words: Vec<u32> = data.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        for (length, span) in [(0, 64), (4, 4), (124, 128), (4096, 1000), (len as u32, MAX_TILE_BYTES)] {
            stamp += 1;
            let slot = Slot { input: input.at(0), output: output.at(8), ..Slot::new(Operation::Reduce) };
            let slot = slot.tiled(length, span, 1).with_args(&[reduction.code(), stamp]).unwrap();
            assert_eq!(run(&mut runtime, &slot).status, Status::Done);
            let tiles: Vec<_> = words[..length as usize / 4].chunks(span as usize / 4).collect();
            for tile in 0..tiles.len().max(1) {
                let expected = model(*reduction, tiles.get(tile).copied().unwrap_or_default());
                assert_eq!(stamped(&output, 8 + 8 * tile, stamp), expected, "{name} of {length} bytes, tile {tile}");
            }
        }
    }
    end(runtime);
}

pub(crate) fn histograms_match_a_model(open: Open) {
    let mut runtime = open(&options(320, None));
    let len = 100_000;
    let input = runtime.allocate(len, MemoryUse::HostToDevice).unwrap();
    let bins = runtime.allocate(1024, MemoryUse::Local).unwrap();
    let data = noise(len as usize, 6);
    input.write(0, &data).unwrap();
    let words: Vec<u32> = data.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    // Bytes; then words from 2^30 on in 40 bins of 2^26, so that some fall outside on either side.
    for (args, count) in [([0, 0, 0, 0], 256), ([1, 1 << 30, 26, 40], 40)] {
        let fill = Slot { output: bins.at(0), ..Slot::new(Operation::Fill) }.tiled(1024, 1024, 1);
        assert_eq!(run(&mut runtime, &fill).status, Status::Done);
        let slot = Slot { input: input.at(0), output: bins.at(0), ..Slot::new(Operation::Histogram) };
        // Twice, with tiles on and off the alignment of wide loads: counts are added to what is there.
        for span in [4096, 1000] {
            let slot = slot.tiled(len as u32, span, 1).with_args(&args).unwrap();
            assert_eq!(run(&mut runtime, &slot).status, Status::Done);
        }
        let mut expected = vec![0_u32; 256];
        let elements: Vec<u32> = match args[0] {
            0 => data.iter().map(|byte| u32::from(*byte)).collect(),
            _ => words.iter().map(|word| word.wrapping_sub(args[1]) >> args[2]).collect(),
        };
        elements.iter().filter(|bin| **bin < count).for_each(|bin| expected[*bin as usize] += 2);
        for bin in (0..256).step_by(5) {
            let found = run(&mut runtime, &word_slot(Operation::LoadU32, bins.at(4 * bin), &[])).results[0];
            assert_eq!(found, expected[bin as usize], "bin {bin} of {args:?}");
        }
    }
    end(runtime);
}

/// Its handle still stands for the memory, so that stays.
pub(crate) fn a_dropped_resource_stays_where_slots_find_it(open: Open) {
    let mut runtime = open(&options(320, None));
    let memory = runtime.allocate(1 << 20, MemoryUse::Local).unwrap();
    let place = memory.at(4);
    drop(memory);
    // What would come to lie there.
    let others: Vec<_> = (0..8).map(|_| runtime.allocate(1 << 20, MemoryUse::HostToDevice).unwrap()).collect();
    others.iter().for_each(|other| other.write(0, &[0xee; 4096]).unwrap());
    run(&mut runtime, &word_slot(Operation::StoreU32, place, &[77]));
    assert_eq!(run(&mut runtime, &word_slot(Operation::LoadU32, place, &[])).results[0], 77);
    let mut bytes = vec![0; 4096];
    others.iter().for_each(|other| {
        other.read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0xee));
    });
    end(runtime);
}

/// A worker that sleeps while its slot ends counts its next tile in the slot behind it, where nobody else takes that tile.
pub(crate) fn tiles_of_slots_that_follow_each_other_run_once(open: Open) {
    let mut runtime = open(&options(5, None));
    let (tile, most, count) = (64, 12, 400);
    let input = runtime.allocate(tile * most, MemoryUse::HostToDevice).unwrap();
    input.write(0, &vec![7; (tile * most) as usize]).unwrap();
    let bins = runtime.allocate(1024, MemoryUse::Local).unwrap();
    let fill = Slot { output: bins.at(0), ..Slot::new(Operation::Fill) }.tiled(1024, 1024, 1);
    assert_eq!(run(&mut runtime, &fill).status, Status::Done);
    let slot = Slot { input: input.at(0), output: bins.at(0), ..Slot::new(Operation::Histogram) };
    let mut bytes = 0;
    // One slot in the ring, so that each follows the other at once.
    for i in 0..count {
        let tiles = 2 + i % (most as u32 - 1);
        let completion = run(&mut runtime, &slot.tiled(tiles * tile as u32, tile as u32, 1));
        assert_eq!(completion.status, Status::Done);
        bytes += tiles * tile as u32;
    }
    let found = run(&mut runtime, &word_slot(Operation::LoadU32, bins.at(4 * 7), &[])).results[0];
    assert_eq!(found, bytes);
    end(runtime);
}

pub(crate) fn s10_b18_observables_are_set_by_operations_and_seen_by_the_host(open: Open) {
    let mut runtime = open(&options(320, None));
    let count = Counts::default().observables;
    for index in [0, count - 1] {
        assert_eq!(runtime.observable(index).unwrap(), 0);
        let place = Operand::observable(index);
        let waits_in_vain = runtime.wait_observable(index, |value| value != 0, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(waits_in_vain, WaitError::Observable { last: 0, .. }), "{waits_in_vain}");
        let store = word_slot(Operation::StoreU32, place, &[index + 7]);
        let ticket = runtime.publish(Priority::Normal, &store).unwrap();
        assert_eq!(runtime.wait_observable(index, |value| value != 0, LONG).unwrap(), index + 7);
        assert_eq!(runtime.wait(ticket, LONG).unwrap().status, Status::Done);
        assert_eq!(run(&mut runtime, &word_slot(Operation::LoadU32, place, &[])).results[0], index + 7);
    }
    for slot in [
        word_slot(Operation::StoreU32, Operand::observable(count), &[1]),
        word_slot(Operation::LoadU32, Operand::observable(u32::MAX), &[]),
    ] {
        assert_eq!(run(&mut runtime, &slot).status, Status::Faulted);
    }
    let add = run(&mut runtime, &word_slot(Operation::AtomicAdd, Operand::observable(0), &[1]));
    assert_eq!((add.fault, add.fault_word), (Fault::AccessDenied, u32::MAX), "the host reads it, so no step is atomic");
    assert!(matches!(runtime.observable(count), Err(WaitError::NoObservable { .. })));
    end(runtime);
}
