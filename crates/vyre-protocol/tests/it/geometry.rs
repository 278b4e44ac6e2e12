//! Counts, partitions, tickets.

use proptest::prelude::*;
use vyre_protocol::geometry::{Counts, Geometry, GeometryError, Partition, Priority, limits};
use vyre_protocol::resource::Handle;
use vyre_protocol::stamped;

fn counts_with(index: usize, value: u32) -> Counts {
    let mut words = Counts::default().to_words();
    words[index] = value;
    Counts::from_words(words)
}

#[test]
fn a1_sizes_beyond_the_limits_are_errors_that_name_the_count() {
    let maxima = [
        limits::SLOTS,
        limits::TENANTS,
        limits::OBSERVABLES,
        limits::RESOURCES,
        limits::LOG_RECORDS,
        limits::IO_REQUESTS,
    ];
    for (index, max) in maxima.into_iter().enumerate() {
        assert!(Geometry::new(counts_with(index, max)).is_ok());
        for wrong in [0, max + 1, u32::MAX] {
            let Err(GeometryError::Count { found, .. }) = Geometry::new(counts_with(index, wrong)) else {
                panic!("{wrong} was accepted for count {index}");
            };
            assert_eq!(found, wrong);
        }
    }
}

#[test]
fn a3_default_offsets_start_at_zero_are_monotone_and_give_the_remainder_to_normal() {
    for slots in 1..200 {
        let geometry = Geometry::new(Counts { slots, ..Counts::default() }).unwrap();
        let offsets = geometry.offsets();
        assert_eq!((offsets[0], offsets[5]), (0, slots));
        assert!(offsets.is_sorted());
        let lengths = Priority::ALL.map(|priority| geometry.partition(priority).length);
        assert_eq!(lengths[2], slots / 5 + slots % 5);
        assert!(slots < 5 || lengths.iter().all(|length| *length > 0));
    }
}

#[test]
fn offsets_of_ones_own_choice_are_checked() {
    let counts = Counts { slots: 10, ..Counts::default() };
    assert!(Geometry::with_offsets(counts, [0, 0, 0, 10, 10, 10]).is_ok());
    let wrong = [[1, 2, 3, 4, 5, 10], [0, 3, 2, 4, 5, 10], [0, 1, 2, 3, 4, 9], [0, 1, 2, 3, 11, 10], [0; 6]];
    for offsets in wrong {
        assert!(Geometry::with_offsets(counts, offsets).is_err(), "{offsets:?}");
    }
}

#[test]
fn a_partition_of_length_zero_never_divides_by_zero() {
    let empty = Partition { first: 3, length: 0 };
    assert_eq!((empty.laps(), empty.modulus(), empty.widen(0, 0)), (0, 0, None));
}

#[test]
fn generations_of_handles_skip_zero() {
    let mut generation = 1;
    for _ in 0..5000 {
        generation = Handle::next_generation(generation);
        assert!(generation > 0 && Handle::new(7, generation).generation() == generation);
    }
    assert_eq!(Handle::new(7, 3).index(), 7);
}

#[test]
fn stamps_are_never_zero_and_differ_from_lap_to_lap_across_the_wrap() {
    for records in [2, 8, 1 << 20] {
        for position in [0, 1, records, u32::MAX - records, u32::MAX - 1, u32::MAX] {
            let next = position.wrapping_add(records);
            assert_ne!(stamped::stamp(position, records), 0);
            assert_ne!(stamped::stamp(position, records), stamped::stamp(next, records));
        }
    }
}

proptest! {
    #[test]
    fn places_are_those_of_each_ticket(first in 0..100_u32, length in 1..=1_000_000_u32, laps in 0..3_u64, back in 0..50_u64) {
        let partition = Partition { first, length };
        let start = (laps * u64::from(partition.modulus())).saturating_sub(back);
        let places: Vec<_> = partition.places(start..start + 100).collect();
        let expected: Vec<_> = (start..start + 100).map(|ticket| (partition.slot(ticket), partition.sequence(ticket))).collect();
        prop_assert_eq!(places, expected);
    }

    #[test]
    fn wire_tickets_widen_back_for_every_outstanding_ticket(
        length in 1_u32..1 << 20, lap in 0_u64..1 << 30, rest: u32, back in 1_u64..1 << 20,
    ) {
        let partition = Partition { first: 5, length };
        let published = lap * u64::from(partition.modulus()) / 7 + u64::from(rest);
        let back = back.min(u64::from(length)).min(published);
        prop_assume!(back > 0);
        let ticket = published - back;
        prop_assert_eq!(partition.widen(partition.wire(ticket), published), Some(ticket));
        prop_assert_eq!(partition.slot(ticket), 5 + partition.wire(ticket) % length);
        prop_assert!(partition.sequence(ticket) > 0);
        prop_assert_ne!(partition.sequence(ticket), partition.sequence(ticket + u64::from(length)));
    }

    #[test]
    fn a_ticket_that_cannot_be_outstanding_is_refused(length in 1_u32..1000, published in 0_u64..5000, wire: u32) {
        let partition = Partition { first: 0, length };
        if let Some(ticket) = partition.widen(wire, published) {
            prop_assert!(ticket < published && published - ticket <= u64::from(length));
            prop_assert_eq!(partition.wire(ticket), wire);
        }
    }
}
