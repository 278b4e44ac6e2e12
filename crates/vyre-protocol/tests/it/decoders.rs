//! Decoders take any bytes and say what is wrong with them.

use proptest::prelude::*;
use vyre_protocol::completion::{Status as SlotStatus, WireCompletion};
use vyre_protocol::control::{Control, initialise};
use vyre_protocol::debuglog::{LogEntry, LogRecord, TileRecord};
use vyre_protocol::decode::DecodeError;
use vyre_protocol::fault::Fault;
use vyre_protocol::geometry::{Counts, Geometry, Priority};
use vyre_protocol::header::{RegionHeader, RegionKind};
use vyre_protocol::ioqueue::{IoRequest, IoResponse};
use vyre_protocol::resource::ResourceEntry;
use vyre_protocol::slot::{Operand, Slot, SlotError};
use vyre_protocol::stamped;
use vyre_protocol::status::Status;
use vyre_protocol::words::SharedWords;

use crate::ring::words;

/// The bytes of a freshly initialised region.
pub(crate) fn region(kind: RegionKind) -> Vec<u8> {
    let counts = Counts { slots: 10, tenants: 3, observables: 4, resources: 6, log_records: 4, io_requests: 4 };
    let geometry = Geometry::new(counts).unwrap();
    let direction = kind.direction();
    let block = words(geometry.block_bytes(direction) as usize / 4);
    initialise(&geometry, direction, &block);
    let first = geometry.region_offset(kind) as usize / 4;
    let len = geometry.region_bytes(kind) as usize / 4;
    (first..first + len).flat_map(|word| block.load(word).to_le_bytes()).collect()
}

fn with_word(mut bytes: Vec<u8>, word: usize, value: u32) -> Vec<u8> {
    bytes[4 * word..4 * word + 4].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[test]
fn b16_each_wrong_header_word_is_its_own_error() {
    for kind in [RegionKind::Control, RegionKind::Status, RegionKind::Resources, RegionKind::Completions] {
        let decode = |bytes: &[u8]| RegionHeader::decode(bytes, kind);
        let good = region(kind);
        assert_eq!(decode(&good).unwrap().slots, 10);
        let wrong = |word, value| decode(&with_word(good.clone(), word, value)).unwrap_err();
        assert!(matches!(wrong(0, 1), DecodeError::Magic { found: 1, .. }));
        assert!(matches!(wrong(1, 9), DecodeError::Version { found: 9, .. }));
        assert!(matches!(wrong(2, 99), DecodeError::Kind { found: 99, .. }));
        assert!(matches!(wrong(3, 64), DecodeError::Field { offset: 12, field: "size", found: 64, .. }));
        assert!(matches!(wrong(4, 0), DecodeError::Geometry { .. }));
        assert!(matches!(wrong(15, 5), DecodeError::Field { offset: 60, field: "reserved", .. }));
        assert!(matches!(decode(&good[..good.len() - 1]), Err(DecodeError::Size { .. })));
        assert!(matches!(decode(&good[..63]), Err(DecodeError::Size { expected: 64, found: 63, .. })));
    }
}

#[test]
fn control_is_read_back_and_each_wrong_field_is_named() {
    let good = region(RegionKind::Control);
    let control = Control::decode(&good).unwrap();
    assert_eq!(control.tenants.len(), 3);
    let field = |word, value| match Control::decode(&with_word(good.clone(), word, value)) {
        Err(DecodeError::Field { field, offset, .. }) if offset == 4 * word => field,
        other => panic!("word {word}: {other:?}"),
    };
    assert_eq!(field(16, u32::MAX), "doorbell");
    assert_eq!(field(21, 7), "command");
    assert_eq!(field(23, 1), "reserved");
    assert_eq!(field(38, 1), "laps");
    assert_eq!(field(48, 3), "tenant state");
    assert_eq!(field(55, 3), "reserved");
    assert!(matches!(Control::decode(&with_word(good, 33, 99)), Err(DecodeError::Geometry { .. })));
}

#[test]
fn status_gives_every_observable_and_refuses_unknown_launch_faults() {
    let mut good = region(RegionKind::Status);
    let end = good.len();
    good[end - 4..].copy_from_slice(&42_u32.to_le_bytes());
    let status = Status::decode(&good).unwrap();
    assert_eq!((status.observables.len(), status.observables[3], status.counters, status.launch), (4, 42, None, None));
    good[128..192].copy_from_slice(&stamped::encode(1, &[77, 0, 8, 1, 0, 0, 0, 0]));
    assert!(matches!(Status::decode(&good), Err(DecodeError::Field { field: "launch fault", found: 77, .. })));
}

#[test]
fn resources_are_read_back_and_each_wrong_field_is_named() {
    let good = region(RegionKind::Resources);
    assert_eq!(ResourceEntry::decode_table(&good).unwrap(), vec![ResourceEntry::default(); 6]);
    for (word, value, name) in [(3, 4096, "generation"), (4, 3, "owner"), (5, 16, "access"), (7, 1, "reserved")] {
        match ResourceEntry::decode_table(&with_word(good.clone(), 16 + 8 + word, value)) {
            Err(DecodeError::Field { field, .. }) => assert_eq!(field, name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn slots_are_read_back_and_each_wrong_field_is_named() {
    assert_eq!(Slot::decode(&[0; 64]), Ok(None));
    let bytes = |slot: Slot| -> Vec<u8> { slot.to_words().iter().flat_map(|word| word.to_le_bytes()).collect() };
    let slot = Slot { sequence: 3, args: [1, 2, 3, 4, 5, 6], ..Slot::with_code(0x1000) };
    assert_eq!(Slot::decode(&bytes(slot)), Ok(Some(slot)));
    for (slot, name) in [
        (Slot { sequence: 0, ..slot }, "unpublished slot"),
        (Slot { operation: 99, ..slot }, "operation"),
        (Slot { tiles: 0, ..slot }, "tiles"),
        (Slot { tiles: 65_536, ..slot }, "tiles"),
        (Slot { tenant: 1 << 20, ..slot }, "tenant"),
    ] {
        match Slot::decode(&bytes(slot)) {
            Err(DecodeError::Field { field, .. }) => assert_eq!(field, name),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(Slot::decode(&[0; 63]), Err(DecodeError::Size { expected: 64, found: 63, .. })));
}

#[test]
fn c22_as_many_arguments_as_fit_are_accepted_and_one_more_is_refused() {
    let slot = Slot::with_code(0x1000);
    assert_eq!(slot.with_args(&[7; 6]).unwrap().args, [7; 6]);
    assert_eq!(slot.with_args(&[7; 7]), Err(SlotError::TooManyArguments { given: 7 }));
    let twice = slot.with_args(&[7; 6]).unwrap().with_args(&[1]).unwrap();
    assert_eq!(twice.args, [1, 0, 0, 0, 0, 0], "stale arguments are zeroed");
}

#[test]
fn io_responses_refuse_an_error_with_bytes() {
    let bytes = |words: [u32; 4]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    assert_eq!(IoResponse::decode(&bytes([1, 0, 9, 0])), Ok(IoResponse { stamp: 1, errno: 0, bytes: 9 }));
    for (wrong, name) in [([1, 5, 9, 0], "bytes"), ([1, 4096, 0, 0], "errno"), ([1, 0, 0, 1], "reserved")] {
        assert!(matches!(IoResponse::decode(&bytes(wrong)), Err(DecodeError::Field { field, .. }) if field == name));
    }
    assert!(matches!(IoResponse::decode(&[0; 15]), Err(DecodeError::Size { .. })));
}

#[test]
fn a_record_whose_stamps_differ_is_not_there() {
    let mut bytes = stamped::encode(7, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(stamped::decode(&bytes), Some((7, [1, 2, 3, 4, 5, 6, 7, 8])));
    bytes[60] ^= 1;
    assert_eq!(stamped::decode(&bytes), None);
    assert_eq!(stamped::decode(&bytes[1..]), None);
}

proptest! {
    #[test]
    fn b14_no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), record: [u32; 8]) {
        let _ = Control::decode(&bytes);
        let _ = Status::decode(&bytes);
        let _ = ResourceEntry::decode_table(&bytes);
        let _ = Slot::decode(&bytes);
        let _ = IoResponse::decode(&bytes);
        let _ = WireCompletion::decode(&record);
        let _ = LogEntry::decode(&record);
        let _ = IoRequest::decode(&record);
    }

    #[test]
    fn b14_no_mutation_of_good_bytes_makes_a_decoder_panic(at: prop::sample::Index, value: u32) {
        let control = region(RegionKind::Control);
        let _ = Control::decode(&with_word(control.clone(), at.index(control.len() / 4), value));
        let status = region(RegionKind::Status);
        let _ = Status::decode(&with_word(status.clone(), at.index(status.len() / 4), value));
        let table = region(RegionKind::Resources);
        let _ = ResourceEntry::decode_table(&with_word(table.clone(), at.index(table.len() / 4), value));
    }

    #[test]
    fn completions_survive_the_round_trip(wire_ticket: u32, p in 0_u32..5, fault in 0_u32..9, word: u32, results: [u32; 2]) {
        let fault = Fault::from_code(fault).unwrap();
        let completion = WireCompletion {
            wire_ticket,
            priority: Priority::from_index(p).unwrap(),
            status: if fault == Fault::None { SlotStatus::Done } else { SlotStatus::Faulted },
            fault,
            fault_word: word,
            operation: word & 0xffff,
            tenant: word >> 20,
            results,
            clock: [word, wire_ticket],
        };
        prop_assert_eq!(WireCompletion::decode(&completion.encode()), Ok(completion));
    }

    #[test]
    fn log_records_and_io_requests_survive_the_round_trip(words: [u32; 4], p in 0_u32..5, count in 0_u32..5, offset: u64) {
        let priority = Priority::from_index(p).unwrap();
        let mut args = words;
        args[count as usize..].fill(0);
        let (worker, tenant) = (words[0] & 0xffff, words[1] & 0xffff);
        let (wire_ticket, arg_count) = (words[3], count);
        let line = LogEntry::Line(LogRecord { format: words[2], worker, tenant, wire_ticket, priority, arg_count, args });
        prop_assert_eq!(LogEntry::decode(&line.encode()), Ok(line));
        let (tile, operation, clock) = (words[2] & 0xffff, words[2] >> 16, [offset, !offset]);
        let tile = LogEntry::Tile(TileRecord { tile, operation, worker, tenant, wire_ticket, priority, clock });
        prop_assert_eq!(LogEntry::decode(&tile.encode()), Ok(tile));
        let destination = Operand { handle: words[0], offset: words[1] };
        let (capability, length) = (words[2], words[3] | 1);
        let request = IoRequest { capability, offset, length, destination, wire_ticket: words[0], priority, tenant };
        prop_assert_eq!(IoRequest::decode(&request.encode()), Ok(request));
    }
}

#[test]
fn e29_packed_operations_come_back_and_none_is_a_valid_slot() {
    use vyre_protocol::packed::Inner;
    let (input, output) = (Operand { handle: 1, offset: 4 }, Operand { handle: 2, offset: 8 });
    let programs: [&[Inner]; 3] = [
        &[],
        &[
            Inner::Nop,
            Inner::LoadU32 { offset: (1 << 26) - 4 },
            Inner::CompareSwap { offset: 4, expected: 5, value: 6 },
        ],
        &[Inner::StoreU32 { offset: 0, value: u32::MAX }, Inner::AtomicAdd { offset: 8, value: 7 }, Inner::Nop],
    ];
    for operations in programs {
        let slot = Slot::packed(input, output, operations).unwrap();
        assert_eq!(slot.validate(1), Ok(()));
        assert!(slot.inner().map(Result::unwrap).eq(operations.iter().copied()), "{slot:?}");
        assert_eq!(slot.operations().count(), 1 + operations.len());
    }
}

#[test]
fn b17_counters_come_back_whatever_they_are() {
    use vyre_protocol::status::{COUNTERS, Counters};
    for value in [0, 1, 42, u32::MAX] {
        let counters = Counters {
            claimed: value,
            completed: value.wrapping_add(1),
            faulted: value,
            tiles: value,
            turns: value,
            idle_turns: value,
            quanta: value,
            resident_peak: value,
        };
        let mut bytes = region(RegionKind::Status);
        let at = COUNTERS as usize * 4;
        // The stamp counts snapshots and may be anything but 0.
        for stamp in [1, u32::MAX] {
            bytes[at..at + 64].copy_from_slice(&stamped::encode(stamp, &counters.to_record()));
            assert_eq!(Status::decode(&bytes).unwrap().counters, Some((stamp, counters)));
        }
    }
}
