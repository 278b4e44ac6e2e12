//! Packed slots.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::control::operation_bit;
use vyre_runtime::protocol::fault::Fault;
use vyre_runtime::protocol::geometry::Priority;
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::packed::{Inner, MAX_INNER_OFFSET, PACKED_WORDS, inner_words};
use vyre_runtime::protocol::ring::PublishError;
use vyre_runtime::protocol::slot::{Operand, Slot, SlotError};
use vyre_runtime::protocol::tenants::{TenantConfig, TenantError};
use vyre_runtime::vk::MemoryUse;

use crate::Open;
use crate::cases::{end, options, run};

/// Words of the memory that the slots of a case share.
const WORDS: u32 = 8;

fn any_inner() -> impl Strategy<Value = Inner> {
    let offset = || (0..WORDS).prop_map(|word| 4 * word);
    let value = || 0..4_u32;
    prop_oneof![
        Just(Inner::Nop),
        offset().prop_map(|offset| Inner::LoadU32 { offset }),
        (offset(), value()).prop_map(|(offset, value)| Inner::StoreU32 { offset, value }),
        (offset(), value()).prop_map(|(offset, value)| Inner::AtomicAdd { offset, value }),
        (offset(), value(), value()).prop_map(|(offset, expected, value)| Inner::CompareSwap {
            offset,
            expected,
            value
        }),
    ]
}

/// What the inner operations give, one after the other.
fn model(memory: &mut [u32], operations: &[Inner]) -> [u32; 2] {
    let mut results = Vec::new();
    for inner in operations {
        match *inner {
            Inner::Nop => {}
            Inner::LoadU32 { offset } => results.push(memory[offset as usize / 4]),
            Inner::StoreU32 { offset, value } => memory[offset as usize / 4] = value,
            Inner::AtomicAdd { offset, value } => {
                let word = &mut memory[offset as usize / 4];
                results.push(*word);
                *word = word.wrapping_add(value);
            }
            Inner::CompareSwap { offset, expected, value } => {
                let word = &mut memory[offset as usize / 4];
                results.push(*word);
                if *word == expected {
                    *word = value;
                }
            }
        }
    }
    results.resize(2, 0);
    [results[0], results[1]]
}

fn size(operations: &[Inner]) -> usize {
    operations.iter().map(|inner| inner_words(inner.operation().code()) as usize).sum()
}

pub(crate) fn s10_e30_whatever_the_encoder_accepts_runs_in_full_and_in_order(open: Open) {
    let mut runtime = open(&options(320, None));
    let memory = runtime.allocate(u64::from(4 * WORDS), MemoryUse::Local).unwrap();
    let word = |operation, offset| Slot { input: memory.at(offset), output: memory.at(offset), ..Slot::new(operation) };
    for offset in (0..WORDS).map(|word| 4 * word) {
        run(&mut runtime, &word(Operation::StoreU32, offset).tiled(4, 4, 1));
    }
    let mut expected = [0; WORDS as usize];
    let mut sizes = [0; PACKED_WORDS + 1];
    let runtime = std::cell::RefCell::new(runtime);
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let expected = std::cell::RefCell::new(&mut expected);
    let sizes_seen = std::cell::RefCell::new(&mut sizes);
    let programs = proptest::collection::vec(any_inner(), 0..=PACKED_WORDS + 1);
    runner
        .run(&programs, |operations| {
            let needed = size(&operations);
            let slot = Slot::packed(memory.at(0), memory.at(0), &operations);
            if needed > PACKED_WORDS {
                prop_assert_eq!(slot, Err(SlotError::PackedFull { needed }));
                return Ok(());
            }
            sizes_seen.borrow_mut()[needed] += 1;
            let completion = run(&mut runtime.borrow_mut(), &slot.unwrap());
            let results = model(*expected.borrow_mut(), &operations);
            prop_assert_eq!((completion.status, completion.results), (Status::Done, results), "{:?}", operations);
            Ok(())
        })
        .unwrap();
    assert!(sizes.iter().all(|count| *count > 0), "every size was tried: {sizes:?}");
    let mut runtime = runtime.into_inner();
    for (i, expected) in expected.into_inner().iter().enumerate() {
        let load = word(Operation::LoadU32, 4 * i as u32).tiled(4, 4, 1);
        assert_eq!(run(&mut runtime, &load).results[0], *expected, "word {i}");
    }
    end(runtime);
}

pub(crate) fn e31_what_cannot_be_packed_is_refused_when_published(open: Open) {
    let mut runtime = open(&options(320, None));
    let nop = Slot::packed(Operand::default(), Operand::default(), &[Inner::Nop]).unwrap();
    for (slot, source) in [
        (Slot { tile_span: 13, ..nop }, SlotError::PackedOperation { code: 13 }),
        (Slot { tile_span: 0, ..nop }, SlotError::PackedOperation { code: 0 }),
        (Slot { tile_span: 2, ..nop }, SlotError::PackedOperation { code: 2 }),
        (Slot { length: 4 * PACKED_WORDS as u32 + 4, ..nop }, SlotError::PackedLength { bytes: 32 }),
        (Slot { length: 6, ..nop }, SlotError::PackedLength { bytes: 6 }),
        (Slot { tile_span: Operation::StoreU32.code(), ..nop }, SlotError::PackedFull { needed: PACKED_WORDS + 1 }),
    ] {
        let refused = runtime.publish(Priority::Normal, &slot);
        assert_eq!(refused, Err(PublishError::Slot { index: 0, source }), "{slot:?}");
    }
    let far = Inner::LoadU32 { offset: MAX_INNER_OFFSET + 4 };
    assert!(matches!(Slot::packed(nop.input, nop.output, &[far]), Err(SlotError::PackedOffset { .. })));
    assert_eq!(runtime.tally().published, 0);
    end(runtime);
}

/// One wrong operation, and none of the slot's runs.
pub(crate) fn a_packed_slot_runs_in_whole_or_not_at_all(open: Open) {
    let mut runtime = open(&options(320, None));
    let memory = runtime.allocate(64, MemoryUse::Local).unwrap();
    let shared = runtime.allocate(64, MemoryUse::DeviceToHost).unwrap();
    let place = memory.at(0);
    let handle = place.handle;
    let store = Inner::StoreU32 { offset: 0, value: 7 };
    let packed = |input, output, inner| Slot::packed(input, output, &[store, inner]).unwrap();
    run(&mut runtime, &Slot { output: place, ..Slot::new(Operation::StoreU32) }.tiled(4, 4, 1));
    for (slot, fault, word) in [
        (packed(place, place, Inner::LoadU32 { offset: 64 }), Fault::OutOfRange, 64),
        (packed(place, memory.at(60), Inner::AtomicAdd { offset: 4, value: 1 }), Fault::OutOfRange, 64),
        (packed(place, memory.at(2), Inner::Nop), Fault::Misaligned, 2),
        (packed(Operand::default(), place, Inner::LoadU32 { offset: 0 }), Fault::BadHandle, 0),
        (
            packed(place, shared.at(0), Inner::AtomicAdd { offset: 0, value: 1 }),
            Fault::AccessDenied,
            shared.at(0).handle,
        ),
        (
            packed(place, Operand { handle, offset: 0xffff_fff0 }, Inner::StoreU32 { offset: 16, value: 1 }),
            Fault::OutOfRange,
            0xffff_fff0,
        ),
        (Slot { tiles: 2, ..packed(place, place, Inner::Nop) }, Fault::BadArgument, 2),
    ] {
        let found = run(&mut runtime, &slot);
        assert_eq!((found.status, found.fault, found.fault_word), (Status::Faulted, fault, word), "{slot:?}");
        assert_eq!(found.results, [0; 2]);
    }
    let config = TenantConfig {
        operations: operation_bit(Operation::Packed.code()) | operation_bit(Operation::LoadU32.code()),
        ..TenantConfig::default()
    };
    let tenant = runtime.register_tenant(config).unwrap();
    let refused = runtime.publish(Priority::Normal, &Slot { tenant, ..packed(place, place, Inner::Nop) });
    let source = TenantError::Denied { tenant, operation: Operation::StoreU32.code() };
    assert_eq!(refused, Err(PublishError::Tenant { index: 0, source }));
    let loads = Slot::packed(place, place, &[Inner::LoadU32 { offset: 0 }]).unwrap();
    let found = run(&mut runtime, &Slot { tenant, ..loads });
    assert_eq!((found.status, found.results), (Status::Done, [0; 2]), "no store of the faulted slots was done");
    end(runtime);
}
