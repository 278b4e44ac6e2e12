//! Publishes one slot to a kernel that is already running, and waits for its completion.
use vyre_protocol::geometry::Priority;
use vyre_protocol::operation::Operation;
use vyre_protocol::ring::Ring;
use vyre_protocol::slot::Slot;
use vyre_vk::{KernelConfig, Vulkan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let vulkan = Vulkan::load(false)?;
    for device in vulkan.devices()? {
        println!("{}: {} ({}), {}", device.index, device.name, device.kind, device.memory);
    }
    let config = KernelConfig::default();
    let mut resident = vulkan.open(0, &config)?;
    resident.launch()?;
    let mut ring = Ring::new(config.geometry, resident.ring_memory());
    let ticket = ring.publish(Priority::Normal, &Slot::new(Operation::Nop))?;
    resident.note_outstanding(1);
    let completion = loop {
        resident.health()?;
        if let Some(completion) = ring.reap()? {
            break completion;
        }
    };
    println!("{ticket:?} is {:?} after {:?}", completion.status, resident.quanta());
    Ok(resident.stop()?)
}
