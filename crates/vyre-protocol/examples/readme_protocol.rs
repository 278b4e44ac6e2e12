//! Publishes a slot into plain memory and decodes the bytes that a device would see.
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use vyre_protocol::control::initialise;
use vyre_protocol::geometry::{Counts, Direction, Geometry, Priority};
use vyre_protocol::operation::Operation;
use vyre_protocol::ring::{Ring, RingMemory};
use vyre_protocol::slot::{SLOT_BYTES, Slot};
use vyre_protocol::words::SharedWords;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let geometry = Geometry::new(Counts { slots: 5, ..Counts::default() })?;
    let words = |len: usize| -> Arc<[AtomicU32]> { (0..len).map(|_| AtomicU32::new(0)).collect() };
    initialise(&geometry, Direction::HostToDevice, &words(geometry.block_bytes(Direction::HostToDevice) as usize / 4));
    let slots = words(1024);
    let mut ring =
        Ring::new(geometry, RingMemory { control: words(64), slots: slots.clone(), completions: words(256) });
    ring.publish(Priority::Critical, &Slot::new(Operation::Nop))?;
    // The header of the region takes as many bytes as a slot.
    let bytes: Vec<u8> = (16..32).flat_map(|word| slots.load(word).to_le_bytes()).collect();
    assert_eq!(bytes.len(), SLOT_BYTES as usize);
    println!("{:?}", Slot::decode(&bytes)?);
    Ok(())
}
