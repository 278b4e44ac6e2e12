//! Whatever a device writes to the completion ring, the host neither panics nor loses count.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use vyre_protocol::geometry::{Counts, Geometry, Priority};
use vyre_protocol::operation::Operation;
use vyre_protocol::ring::{Ring, RingMemory};
use vyre_protocol::slot::Slot;
use vyre_protocol::stamped;

fuzz_target!(|data: &[u8]| {
    let words = |len: usize| -> Arc<[AtomicU32]> { (0..len).map(|_| AtomicU32::new(0)).collect() };
    let geometry = Geometry::new(Counts { slots: 10, ..Counts::default() }).expect("ten slots are possible");
    let completions = words(16 + 16 * 16);
    let memory = RingMemory { control: words(64), slots: words(16 + 160), completions: completions.clone() };
    let mut ring = Ring::new(geometry, memory);
    for (position, record) in data.chunks_exact(32).enumerate() {
        let priority = Priority::ALL[record[0] as usize % 5];
        let _ = ring.publish(priority, &Slot::new(Operation::Nop));
        let record = std::array::from_fn(|i| u32::from_le_bytes([0, 1, 2, 3].map(|b| record[4 * i + b])));
        let base = 16 + 16 * (position % 16);
        stamped::store(&completions, base, stamped::stamp(position as u32, 16), &record);
        let _ = ring.reap();
    }
    ring.cancel_outstanding();
    let tally = ring.tally();
    assert_eq!(tally.published, tally.done + tally.faulted + tally.cancelled);
});
