//! Fills a buffer through the ring, with host threads as the device.

use vyre_protocol::geometry::{Counts, Geometry, Priority};
use vyre_protocol::operation::Operation;
use vyre_protocol::resource::{Handle, ResourceEntry, SHARED, WRITE};
use vyre_protocol::ring::Ring;
use vyre_protocol::slot::{Operand, Slot};
use vyre_protocol::words::SharedWords;
use vyre_reference::{Backing, Reference, Span};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let geometry = Geometry::new(Counts::default())?;
    let mut engine = Reference::new(geometry, 2);
    let words = Span::new(1024);
    let entry = ResourceEntry { length: 4096, generation: 1, owner: SHARED, access: WRITE, ..Default::default() };
    engine.bind(0, &entry, Backing::Words(words.clone()));
    engine.start()?;
    let mut ring = Ring::new(geometry, engine.ring_memory());
    let output = Operand { handle: Handle::new(0, 1).word(), offset: 0 };
    let slot = Slot { output, ..Slot::new(Operation::Fill) }.tiled(4096, 1024, 1).with_args(&[7])?;
    ring.publish(Priority::Normal, &slot)?;
    engine.wake();
    while ring.reap()?.is_none() {}
    assert!((0..1024).all(|word| words.load(word) == 7));
    Ok(())
}
