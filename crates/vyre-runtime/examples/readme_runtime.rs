//! Copies bytes with the resident kernel of whatever engine this machine has.
use std::time::Duration;

use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::{MAX_TILE_BYTES, Operation};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{DeviceChoice, Options, Runtime};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut runtime = Runtime::open(&DeviceChoice::Auto, &Options::new(Counts::default())?)?;
    println!("{}", runtime.engine());
    let input = runtime.allocate(1 << 20, MemoryUse::HostToDevice)?;
    let output = runtime.allocate(1 << 20, MemoryUse::DeviceToHost)?;
    input.write(0, b"resident")?;
    let slot = Slot { input: input.at(0), output: output.at(0), ..Slot::new(Operation::Copy) };
    let ticket = runtime.publish(Priority::Normal, &slot.tiled(1 << 20, MAX_TILE_BYTES, 1))?;
    println!("{:?}", runtime.wait(ticket, Duration::from_secs(10))?);
    let mut bytes = [0; 8];
    output.read(0, &mut bytes)?;
    assert_eq!(&bytes, b"resident");
    Ok(runtime.exit(Duration::from_secs(10))?)
}
