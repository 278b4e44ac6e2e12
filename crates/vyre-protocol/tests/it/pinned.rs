//! Bytes that other sides rely on.

use std::fmt::Write;
use std::mem::offset_of;

use vyre_protocol::geometry::{Counts, Geometry};
use vyre_protocol::header::{RegionHeader, RegionKind};
use vyre_protocol::launch::Launch;
use vyre_protocol::resource::ResourceEntry;
use vyre_protocol::slot::Slot;

#[test]
fn b15_the_generated_glsl_is_pinned() {
    insta::assert_snapshot!(vyre_protocol::glsl::render());
}

#[test]
fn b15_offsets_are_pinned() {
    let geometry = Geometry::new(Counts::default()).unwrap();
    let mut table = String::new();
    for kind in RegionKind::ALL {
        let (offset, bytes) = (geometry.region_offset(kind), geometry.region_bytes(kind));
        writeln!(table, "{kind:<14}{:?} block at {offset}, {bytes} bytes", kind.direction()).unwrap();
    }
    macro_rules! fields {
        ($($type:ident { $($field:ident),+ })+) => {
            $($(writeln!(table, "{}.{} {}", stringify!($type), stringify!($field), offset_of!($type, $field)).unwrap();)+)+
        };
    }
    fields! {
        RegionHeader { magic, version, kind, size, counts, reserved }
        Slot { sequence, operation, tiles, tenant, input, output, length, tile_span, args }
        ResourceEntry { address, length, generation, owner, access, reserved }
        Launch { regions, quantum, fuel, workers, ticks }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn b15_regions_of_a_block_are_ordered_and_disjoint() {
    for slots in [1, 5, 7, 1000, 1 << 20] {
        let geometry = Geometry::new(Counts { slots, ..Counts::default() }).unwrap();
        for kind in RegionKind::ALL {
            let end = geometry.region_offset(kind) + geometry.region_bytes(kind);
            let block = geometry.block_bytes(kind.direction());
            let later = RegionKind::ALL.into_iter().skip(kind as usize + 1);
            let next = later.into_iter().find(|other| other.direction() == kind.direction());
            assert!(end <= next.map_or(block, |next| geometry.region_offset(next)), "{kind} of {slots} slots");
        }
    }
}
